"""The folder of a training run: who may write to it, the checkpoint to continue from, and the learning curves."""

from digit_utils.training import environment  # noqa: F401  # isort: skip  (before Keras)

import contextlib
import csv
import io
import json
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras

from digit_utils.files import atomic_write, locked, read_json, write_json
from digit_utils.training.config import TrainingConfig
from digit_utils.training.identity import differences

CONFIG, PROGRESS, KERAS_MODEL, CURVES = "config.json", "progress.json", "model.keras", "learning_curves.csv"
LOCK = ".training.lock"  # not the one that a sweep holds on the same folder


class TrainingFolderError(ValueError):
    """A training folder holds another run, is damaged or is in use; the message names it and the remedy."""


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Keep other processes from training in a folder. Raises TrainingFolderError when one already does."""
    with locked(folder / LOCK, blocking=False) as acquired:
        if not acquired:
            raise TrainingFolderError(f"another process trains in {folder}; wait for it, or choose another folder")
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # Windows does not remove open files
                (folder / LOCK).unlink()


def claim_folder(folder: Path, identity: dict[str, Any]) -> None:
    """Write the identity of a new run into a folder, or check that the folder holds a run with the same identity.

    Raises TrainingFolderError when it holds another one, or when its record is damaged.
    """
    path = folder / CONFIG
    if not path.exists():
        write_json(path, identity)
        return
    try:
        found = read_json(path)
    except ValueError as error:
        raise TrainingFolderError(f"{error}; choose another folder, or remove it") from error
    if "architecture" not in found:
        raise TrainingFolderError(
            f"{folder} holds a run of an earlier version of digit_utils; choose another folder, or remove it"
        )
    names = differences(found, identity)
    if names:
        raise TrainingFolderError(
            f"{folder} holds a run with a different {', '.join(names)}; choose another folder, or remove it"
        )


def holds_run(folder: str | Path, config: TrainingConfig) -> bool:
    """Tell whether a folder holds a run with this config, of whatever network and training data."""
    try:
        found = read_json(Path(folder) / CONFIG)["config"]
        expected = json.loads(json.dumps(asdict(config)))
        return {**found, "network": ""} == {**expected, "network": ""}
    except (OSError, ValueError, KeyError, TypeError):  # there is none, or `train` will say what is wrong with it
        return False


def save_checkpoint(
    folder: Path, network: keras.Model, history: list[dict[str, float]], *, finished: bool = False
) -> None:
    """Save a network with its optimizer, then, in one step, make it the checkpoint; remove the older ones."""
    name = KERAS_MODEL if finished else f"checkpoint-{len(history):03d}.keras"
    with atomic_write(folder / name) as temporary:
        network.save(temporary)
    write_json(folder / PROGRESS, {"checkpoint": name, "history": history})
    for old in folder.glob("checkpoint-*.keras"):
        if old.name != name:
            old.unlink()


def load_checkpoint(folder: Path, network: keras.Model) -> list[dict[str, float]]:
    """Restore a compiled network and its optimizer from the checkpoint; return the history, [] without a checkpoint.

    Into a network that was compiled here: the saved one may be compiled for a GPU, and in a precision that is slow on a
    CPU. Of a finished run only the weights are restored.

    Raises TrainingFolderError when the checkpoint is damaged, or belongs to another network or optimizer.
    """
    path = folder / PROGRESS
    if not path.exists():
        return []
    try:
        progress = read_json(path)
        history, finished = progress["history"], progress["checkpoint"] == KERAS_MODEL
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Model doesn't support `jit_compile")  # on the device it was saved on
            saved = keras.models.load_model(folder / progress["checkpoint"], compile=not finished)
    except Exception as error:  # Keras lets through whatever zip, HDF5 and JSON raise for damaged files
        raise TrainingFolderError(
            f"{path} or its checkpoint is damaged ({error}); remove {folder} to train from the start"
        ) from error
    try:
        network.set_weights(saved.get_weights())
        if not finished:
            _restore_optimizer(network, saved.optimizer)
    except ValueError as error:
        raise TrainingFolderError(
            f"the checkpoint in {folder} is of another network or optimizer; remove the folder to train from the start"
        ) from error
    return history


def _restore_optimizer(network: keras.Model, saved: keras.optimizers.Optimizer) -> None:
    """Copy step count, momenta and averages of a saved optimizer; a loss scale only where both have one."""
    optimizer = network.optimizer
    optimizer.build(network.trainable_variables)
    if type(optimizer) is not type(saved):  # one of them is a LossScaleOptimizer, for 16 bits
        optimizer, saved = (getattr(each, "inner_optimizer", each) for each in (optimizer, saved))
    for variable, value in zip(optimizer.variables, saved.variables, strict=True):
        variable.assign(value)


def save_learning_curves(folder: Path, history: list[dict[str, float]]) -> None:
    """Write a run's history as a table, `learning_curves.csv`.

    A resumed run may have other validation sets than it began with, as they have no influence on training: the table
    then has a column for each set that was ever evaluated.
    """
    names = list(dict.fromkeys(name for record in history for name in record))
    table = io.StringIO()
    writer = csv.DictWriter(table, fieldnames=names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    with atomic_write(folder / CURVES) as temporary:
        Path(temporary).write_text(table.getvalue(), encoding="utf-8")
