"""What a training run keeps in its folder: its configuration, checkpoints and learning curves."""

import contextlib
import csv
import io
import json
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

import keras
import numpy as np
from matplotlib.figure import Figure

from digit_utils.datasets.base import content_hash
from digit_utils.files import atomic_write, locked, write_json
from digit_utils.plots import DPI, show_learning_curves
from digit_utils.training.config import TrainingConfig
from digit_utils.training.data import TrainingData
from digit_utils.types import IMAGE_SIZE, Strokes

CONFIG, PROGRESS, KERAS_MODEL = "config.json", "progress.json", "model.keras"
CURVES, CURVES_PICTURE = "learning_curves.csv", "learning_curves.png"
LOCK = ".training.lock"  # not the one that a sweep holds on the same folder
FINGERPRINT_TOLERANCE = 0.02  # far more than another processor makes, far less than nearly any other picture


class TrainingFolderError(ValueError):
    """The folder of a run holds another run, or is damaged; the message names it and the remedy."""


# ------------------------------------------------------------------------------------- what is on the disk


def holds_run(folder: str | Path, config: TrainingConfig) -> bool:
    """Tell whether a folder holds a run with this configuration, on whatever training data."""
    try:
        found = json.loads((Path(folder) / CONFIG).read_text(encoding="utf-8"))
        return found["config"] == json.loads(json.dumps(asdict(config)))
    except (OSError, ValueError, KeyError, TypeError):  # there is none, or `train` will say what is wrong with it
        return False


def _identity(config: TrainingConfig, training_data: TrainingData) -> dict[str, Any]:
    """Return what makes a run this run and no other, as it reads back from JSON."""
    seen = content_hash(
        [
            training_data.scans.labels,
            *(*_joined(training_data.strokes), training_data.stroke_labels),
            *(*_joined(training_data.own_drawings), training_data.own_labels),
        ]
    )
    identity = {
        "config": asdict(config),
        "data": training_data.hashes,
        "training_data": seen,
        "ink": _fingerprint(training_data.scans.ink),
    }
    return json.loads(json.dumps(identity))


def _fingerprint(ink: np.ndarray) -> float:
    """Return a number that tells ink (n, 28, 28) from other ink, but not the same ink of another processor.

    Where OpenCV has other instructions at hand, some pixels differ in their last digits. A hash would refuse to go on
    with a run that was begun on such a machine; this random projection differs by less than FINGERPRINT_TOLERANCE.
    """
    rng = np.random.default_rng(0)
    of_pictures, of_pixels = rng.normal(size=len(ink)).astype(np.float32), rng.normal(size=IMAGE_SIZE**2)
    return float((of_pictures @ ink.reshape(len(ink), IMAGE_SIZE**2)) @ of_pixels)


def _joined(drawings: Sequence[Strokes]) -> tuple[np.ndarray, np.ndarray]:
    """Return the points of all drawings, (n, 2) float64, and how many each stroke has, with -1 before each drawing."""
    counts = [count for drawing in drawings for count in (-1, *map(len, drawing))]
    points = [np.asarray(stroke, np.float64).reshape(-1, 2) for drawing in drawings for stroke in drawing]
    return np.concatenate([np.empty((0, 2)), *points]), np.array(counts, np.int64)


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes from training in a folder; raise TrainingFolderError where one already does."""
    with locked(folder / LOCK, blocking=False) as alone:
        if not alone:
            raise TrainingFolderError(f"another process trains in {folder}; wait for it, or choose another folder")
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # Windows removes no open file
                (folder / LOCK).unlink()


def claim(folder: Path, config: TrainingConfig, training_data: TrainingData) -> None:
    """Write the configuration of a new run, or check that the folder belongs to the same run."""
    path, identity = folder / CONFIG, _identity(config, training_data)
    if not path.exists():
        write_json(path, identity)
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TrainingFolderError(f"{path} is damaged ({error}); remove the folder or choose another") from error
    if not isinstance(found, dict):
        raise TrainingFolderError(f"{path} is damaged (no JSON object); remove the folder or choose another")
    ink = found.get("ink")
    if isinstance(ink, float) and math.isclose(ink, identity["ink"], rel_tol=0, abs_tol=FINGERPRINT_TOLERANCE):
        identity["ink"] = ink
    if found != identity:
        different = sorted(_flat(found).items() ^ _flat(identity).items())
        names = ", ".join(dict.fromkeys(name for name, _ in different))
        raise TrainingFolderError(f"{folder} holds a run with another {names}; choose another folder, or remove it")


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, str]:
    result = {}
    for key, value in tree.items():
        result |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: repr(value)}
    return result


def save_checkpoint(folder: Path, network: keras.Model, history: list[dict[str, float]], *, name: str) -> None:
    """Keep the network with its optimiser, then, in one step, say that this is the one to go on from."""
    with atomic_write(folder / name) as temporary:
        network.save(temporary)
    write_json(folder / PROGRESS, {"checkpoint": name, "history": history})
    for old in folder.glob("checkpoint-*.keras"):
        if old.name != name:
            old.unlink()


def resume(folder: Path) -> tuple[keras.Model, list[dict[str, float]]] | None:
    """Return the network and the history of the last whole epoch, or None when there is none."""
    path = folder / PROGRESS
    if not path.exists():
        return None
    try:
        progress = json.loads(path.read_text(encoding="utf-8"))
        with warnings.catch_warnings():  # what it was compiled for does not matter: see made_for_here
            warnings.filterwarnings("ignore", "Model doesn't support `jit_compile")
            network, history = keras.models.load_model(folder / progress["checkpoint"]), progress["history"]
    except Exception as error:  # Keras lets through whatever zip, HDF5 and JSON make of damaged files
        raise TrainingFolderError(
            f"{path} or its checkpoint is damaged ({error}); remove {folder} to train from the start"
        ) from error
    return network, history


def made_for_here(checkpoint: keras.Model, network: keras.Model, *, folder: Path) -> keras.Model:
    """Return a new network with the weights of a folder's checkpoint and what its optimiser remembers.

    The checkpoint itself may be compiled for a graphics card, and in a precision that is slow on a processor.
    """
    network.optimizer.build(network.trainable_variables)
    old, new = checkpoint.optimizer, network.optimizer
    if type(old) is not type(new):  # one of them scales its loss, for 16 bits
        old, new = (getattr(optimizer, "inner_optimizer", optimizer) for optimizer in (old, new))
    try:
        network.set_weights(checkpoint.get_weights())
        for variable, value in zip(new.variables, old.variables, strict=True):
            variable.assign(value)
    except ValueError as error:
        raise TrainingFolderError(
            f"the checkpoint in {folder} is none of this run's network and optimizer; remove the folder to "
            "train from the start"
        ) from error
    return network


def save_curves(folder: Path, history: list[dict[str, float]]) -> None:
    """Write the learning curves as a table and as a picture.

    A run that was interrupted may go on with other validation digits, which have no say in training: the table then
    has a column for each set that was ever read, and the picture shows them one after the other.
    """
    names = list(dict.fromkeys(name for record in history for name in record))
    table = io.StringIO()
    writer = csv.DictWriter(table, fieldnames=names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    with atomic_write(folder / CURVES) as temporary:
        Path(temporary).write_text(table.getvalue(), encoding="utf-8")
    figure = Figure(figsize=(6, 3.4), dpi=DPI, layout="constrained")
    show_learning_curves(_parts_of(history), ax=figure.subplots())
    with atomic_write(folder / CURVES_PICTURE) as temporary:
        figure.savefig(temporary)


def _parts_of(history: list[dict[str, float]]) -> dict[str, list[dict[str, float]]]:
    """Return the epochs whose networks read the same validation sets, by the first one where the sets changed."""
    parts = [list(records) for _, records in groupby(history, key=frozenset)]
    if len(parts) == 1:
        return {"": history}
    return {f"from epoch {part[0]['epoch']}": part for part in parts}
