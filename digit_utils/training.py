"""Training: material in, a folder with a trained network out. It survives interruption and repeats exactly.

The folder of a run holds `config.json`, `progress.json` and `checkpoint-NNN.keras` while it trains, and in the end
`model.keras` instead of the checkpoint, `learning_curves.csv` and `learning_curves.png`. What is made of the network
later lies beside it: `model.tflite` (digit_utils.export) and `metrics.json`.
"""

import contextlib
import csv
import io
import json
import math
import os
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

# Before Keras loads TensorFlow: the same seed gives the same network.
os.environ.setdefault("TF_DETERMINISTIC_OPS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from matplotlib.figure import Figure
from tqdm.auto import tqdm

from digit_utils.data import content_hash
from digit_utils.epochs import Epoch, epochs_ahead
from digit_utils.files import atomic_write, locked, write_json
from digit_utils.ink import IMAGE_SIZE, Strokes
from digit_utils.material import LabelledInk, Material, Recipe
from digit_utils.network import CLASSES, NETWORKS, WITHOUT_DIGIT_HEAD, DigitLoss, build_network, in_full_precision
from digit_utils.optimizers import AveragedAdamW, ConvolutionMuon, averaged_weights
from digit_utils.plots import DPI, show_learning_curves

CONFIG, PROGRESS, KERAS_MODEL = "config.json", "progress.json", "model.keras"
CURVES, CURVES_PICTURE = "learning_curves.csv", "learning_curves.png"
LOCK = ".training.lock"  # not the one that a sweep holds on the same folder
SKETCH_TOLERANCE = 0.02  # far more than another processor makes, far less than nearly any other picture
STATISTICS_BATCHES = 100  # batch normalisation forgets a twentieth of its statistics with each


def _muon(schedule: Any, decay: float, averaged: bool, **memory: float) -> keras.optimizers.Optimizer:
    return ConvolutionMuon(schedule, weight_decay=decay, adam_weight_decay=decay, use_ema=averaged, **memory)


OPTIMIZERS: dict[str, Callable[[Any, float, bool], keras.optimizers.Optimizer]] = {
    "adamw": lambda schedule, decay, averaged: AveragedAdamW(schedule, weight_decay=decay, use_ema=averaged),
    "muon": _muon,
    "brief_muon": partial(_muon, momentum=0.9, adam_beta_2=0.95),  # forgets sooner, for runs of a few hundred steps
}


class TrainingFolderError(ValueError):
    """The folder of a run holds another run, or is damaged; the message names it and the remedy."""


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides what a run learns."""

    network: str = "simple_cnn"  # a name in digit_utils.network
    epochs: int = 8  # times that the material is gone through
    batch_size: int = 128  # pictures a step
    learning_rate: float = 0.002  # at its peak, after the warm-up; it then falls along a cosine
    final_learning_rate: float = 0.0  # where it falls to, as a part of its peak
    averaged: bool = False  # keep the average of the weights on their way (digit_utils.optimizers), not the last ones
    warm_up: float = 0.15  # part of the steps in which the learning rate rises
    optimizer: str = "adamw"  # "adamw" (Loshchilov and Hutter, 2019), "muon" or "brief_muon" (digit_utils.optimizers)
    weight_decay: float = 0.0  # decoupled: what each step takes from the weights, times the learning rate
    seed: int = 0  # of the weights, the order and the augmentation
    recipe: Recipe = field(default_factory=Recipe)

    def __post_init__(self):
        if self.network not in NETWORKS:
            raise ValueError(f"network is {self.network!r}; choose one of {', '.join(map(repr, NETWORKS))}")
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer is {self.optimizer!r}; choose one of {', '.join(map(repr, OPTIMIZERS))}")
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate is {self.learning_rate}; it must be above 0")
        if not 0 <= self.warm_up <= 1:
            raise ValueError(f"warm_up is {self.warm_up}; it is a part of the steps, from 0 to 1")
        if not 0 <= self.final_learning_rate <= 1:
            raise ValueError(
                f"final_learning_rate is {self.final_learning_rate}; it is a part of learning_rate, from 0 to 1"
            )
        if not self.weight_decay >= 0:
            raise ValueError(f"weight_decay is {self.weight_decay}; it must be at least 0")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed is {self.seed}; it must be at least 0 and below 2**32")
        if self.recipe.non_digits and self.network in WITHOUT_DIGIT_HEAD:
            raise ValueError(
                f"non_digits is {self.recipe.non_digits}, yet {self.network} cannot say 'no digit'; "
                "choose network='reader'"
            )


PRESETS: dict[str, TrainingConfig] = {
    "quick": TrainingConfig(
        network="sprint",
        epochs=5,
        batch_size=256,
        learning_rate=0.015,
        optimizer="muon",
        warm_up=0.2,
        recipe=Recipe(label_smoothing=0.1),
    ),
    "full": TrainingConfig(
        network="reader",
        epochs=18,
        learning_rate=0.006,
        final_learning_rate=0.25,
        averaged=True,
        optimizer="muon",
        weight_decay=0.01,
        recipe=Recipe(
            augmentation="strong",
            pen_strokes=18_000,
            allographs=18_000,
            non_digits=14_000,
            photographed=0.3,
            sharpness=0.4,
        ),
    ),
}


def preset(name: str, **changes: Any) -> TrainingConfig:
    """Return a preset with some values changed; those of the recipe are named the same way.

    Raises ValueError for an unknown preset or a value that makes no sense, TypeError for an unknown name.
    """
    if name not in PRESETS:
        raise ValueError(f"there is no preset {name!r}; choose one of {', '.join(map(repr, PRESETS))}")
    config = PRESETS[name]
    of_recipe = {key: changes.pop(key) for key in list(changes) if key in Recipe.__dataclass_fields__}
    return replace(config, **changes, recipe=replace(config.recipe, **of_recipe))


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """What came of a run."""

    network: keras.Model
    history: list[dict[str, float]]  # a record an epoch: epoch, loss, seconds in all, <dataset>_errors
    folder: Path


def train(
    config: TrainingConfig,
    material: Material,
    folder: str | Path,
    *,
    report: Callable[[str], None] = print,
    show_progress: bool = True,
    precision: str = "float32",
    workers: int = 0,
) -> TrainingResult:
    """Train a network and keep it in `folder`; go on from the last whole epoch if the folder holds one.

    The last epoch is the result: none is chosen by looking at figures. A finished run is not trained again.
    `precision` is Keras' dtype policy while it trains; the result computes in float32 whatever that was. `workers` is
    how many processes prepare epochs; with 0 a thread does. It changes nothing but the time. A run may go on with
    another backend and precision, and on another kind of processor, than those it was begun with.

    Raises TrainingFolderError when the folder holds a run with another configuration, is damaged, or when another
    process trains in it, and RuntimeError when the system ends one of the processes that prepare epochs.
    """
    folder = Path(folder)
    with _alone_in(folder):
        _claim(folder, config, material)
        network, history = _resume(folder) or (new_network(config, material, precision=precision), [])
        if len(history) == config.epochs:
            report(f"{folder} holds this run, finished; remove the folder to train anew")
        elif history:
            report(f"goes on after epoch {len(history)} of {config.epochs}")
            network = _made_for_here(network, new_network(config, material, precision=precision), folder=folder)
        start = time.perf_counter()
        read = build_network(config.network) if config.averaged else network  # the one that counts
        with contextlib.closing(prepared_epochs(config, material, first=len(history), workers=workers)) as coming:
            for epoch, (ink, targets) in enumerate(coming, start=len(history)):
                loss = _train_epoch(network, config, ink, targets, epoch, show_progress=show_progress)
                if config.averaged:
                    _take_average(read, network, ink, batch_size=config.batch_size)
                errors = {f"{name}_errors": error_rate(read, digits) for name, digits in material.validation.items()}
                start, seconds = time.perf_counter(), time.perf_counter() - start
                history.append({"epoch": epoch + 1, "loss": loss, "seconds": round(seconds, 2), **errors})
                name = f"checkpoint-{len(history):03d}.keras"
                if len(history) == config.epochs:
                    network.set_weights(read.get_weights())
                    network, name = in_full_precision(network), KERAS_MODEL
                _save_checkpoint(folder, network, history, name=name)
                report(_describe(history[-1], config.epochs))
        _save_curves(folder, history)
        return TrainingResult(network, history, folder)


def new_network(config: TrainingConfig, material: Material, *, precision: str = "float32") -> keras.Model:
    """Return a new network, ready to be trained."""
    keras.utils.set_random_seed(config.seed)
    network = build_network(config.network, precision=precision)
    recipe = config.recipe
    pictures = len(material.scans) + recipe.pen_strokes + recipe.allographs + recipe.non_digits
    pictures += material.own_drawings_an_epoch
    steps = config.epochs * -(-pictures // config.batch_size)
    warm_up = int(config.warm_up * steps)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=config.learning_rate / 20,
        decay_steps=max(1, steps - warm_up),
        alpha=config.final_learning_rate,
        warmup_target=config.learning_rate,
        warmup_steps=warm_up,
    )
    optimizer = OPTIMIZERS[config.optimizer](schedule, config.weight_decay, config.averaged)
    if precision == "mixed_float16":  # Keras would do so by itself, but not when it loads a checkpoint
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    # Keras compiles with XLA but where TensorFlow runs on a CPU: there it was measured to slow these networks down.
    network.compile(optimizer, loss=DigitLoss(), jit_compile="auto")
    return network


def prepared_epochs(
    config: TrainingConfig, material: Material, *, first: int = 0, workers: int = 0
) -> Generator[Epoch, None, None]:
    """Yield the material of each epoch from `first` on; `workers` processes, or a thread, prepare the next ones."""
    return epochs_ahead(material, config.recipe, seed=config.seed, first=first, end=config.epochs, workers=workers)


def _train_epoch(
    network: keras.Model,
    config: TrainingConfig,
    ink: np.ndarray,
    targets: np.ndarray,
    epoch: int,
    *,
    show_progress: bool,
) -> float:
    """Train for one epoch and return its mean loss."""
    _reseed_dropout(network, seed=[config.seed, epoch])
    steps = -(-len(ink) // config.batch_size)
    # Once a second: in a notebook each change is a message, and a reader that waits for the cell keeps only some 1,000.
    bar = tqdm(total=steps, desc=f"epoch {epoch + 1}", leave=False, mininterval=1.0, disable=not show_progress)
    with bar:
        total = 0.0
        for loss in take_steps(network, ink, targets, batch_size=config.batch_size):
            total += loss
            bar.update()
    return total / len(ink)


def take_steps(network: keras.Model, ink: np.ndarray, targets: np.ndarray, *, batch_size: int) -> Iterator[float]:
    """Train on one batch after the other, in the order given, and yield the sum of each one's losses.

    Not `fit`: with TensorFlow that reads arrays through tf.data, whose end was measured to idle, every other time, for
    a third to all of the time that the epoch itself had taken.
    """
    for start in range(0, len(ink), batch_size):
        batch = slice(start, start + batch_size)
        network.reset_metrics()  # before 3.15, Keras tells the mean of all batches since the last call of this
        yield len(ink[batch]) * float(network.train_on_batch(ink[batch], targets[batch]))


def _take_average(average: keras.Model, network: keras.Model, ink: np.ndarray, *, batch_size: int) -> None:
    """Give one network the averaged weights of another that is in training.

    The statistics of batch normalisation belong to the weights, so they are counted anew, on some of the ink.
    """
    average.set_weights(network.get_weights())
    for variable, value in zip(average.trainable_variables, averaged_weights(network.optimizer), strict=True):
        variable.assign(value)
    for start in range(0, min(len(ink), STATISTICS_BATCHES * batch_size), batch_size):
        average(ink[start : start + batch_size], training=True)


def _reseed_dropout(network: keras.Model, *, seed: list[int]) -> None:
    """Give dropout a state that depends on the seed and the epoch alone, so that a resumed run is the same run."""
    for layer in network.layers:
        if hasattr(layer, "seed_generator"):
            layer.seed_generator.state.assign(np.array(seed, "uint32"))


def error_rate(network: keras.Model, digits: LabelledInk) -> float:
    """Return the part of the digits that a network misreads: errors / all of them, whatever the batch size."""
    outputs = network.predict(digits.ink[..., np.newaxis], batch_size=512, verbose=0)
    return float(np.mean(outputs[:, :CLASSES].argmax(axis=1) != digits.labels))


def _describe(record: dict[str, float], epochs: int) -> str:
    errors = ", ".join(
        f"{name.removesuffix('_errors')} {value:.2%}" for name, value in record.items() if name.endswith("_errors")
    )
    return (
        f"epoch {record['epoch']:2d}/{epochs}  loss {record['loss']:.4f}  errors: {errors}  {record['seconds']:.0f} s"
    )


# ------------------------------------------------------------------------------------- what is on the disk


def holds_run(folder: str | Path, config: TrainingConfig) -> bool:
    """Tell whether a folder holds a run with this configuration, on whatever material."""
    try:
        found = json.loads((Path(folder) / CONFIG).read_text(encoding="utf-8"))
        return found["config"] == json.loads(json.dumps(asdict(config)))
    except (OSError, ValueError, KeyError, TypeError):  # there is none, or `train` will say what is wrong with it
        return False


def _identity(config: TrainingConfig, material: Material) -> dict[str, Any]:
    """Return what makes a run this run and no other, as it reads back from JSON."""
    seen = content_hash(
        [
            material.scans.labels,
            *(*_joined(material.strokes), material.stroke_labels),
            *(*_joined(material.own_drawings), material.own_labels),
        ]
    )
    identity = {"config": asdict(config), "data": material.hashes, "material": seen, "ink": _sketch(material.scans.ink)}
    return json.loads(json.dumps(identity))


def _sketch(ink: np.ndarray) -> float:
    """Return a number that tells ink (n, 28, 28) from other ink, but not the same ink of another processor.

    Where OpenCV has other instructions at hand, some pixels differ in their last digits. A hash would refuse to go on
    with a run that was begun on such a machine; this random projection differs by less than SKETCH_TOLERANCE.
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
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes from training in a folder; raise TrainingFolderError where one already does."""
    with locked(folder / LOCK, blocking=False) as alone:
        if not alone:
            raise TrainingFolderError(f"another process trains in {folder}; wait for it, or choose another folder")
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # Windows removes no open file
                (folder / LOCK).unlink()


def _claim(folder: Path, config: TrainingConfig, material: Material) -> None:
    """Write the configuration of a new run, or check that the folder belongs to the same run."""
    path, identity = folder / CONFIG, _identity(config, material)
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
    if isinstance(ink, float) and math.isclose(ink, identity["ink"], rel_tol=0, abs_tol=SKETCH_TOLERANCE):
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


def _save_checkpoint(folder: Path, network: keras.Model, history: list[dict[str, float]], *, name: str) -> None:
    """Keep the network with its optimiser, then, in one step, say that this is the one to go on from."""
    with atomic_write(folder / name) as temporary:
        network.save(temporary)
    write_json(folder / PROGRESS, {"checkpoint": name, "history": history})
    for old in folder.glob("checkpoint-*.keras"):
        if old.name != name:
            old.unlink()


def _resume(folder: Path) -> tuple[keras.Model, list[dict[str, float]]] | None:
    """Return the network and the history of the last whole epoch, or None when there is none."""
    path = folder / PROGRESS
    if not path.exists():
        return None
    try:
        progress = json.loads(path.read_text(encoding="utf-8"))
        with warnings.catch_warnings():  # what it was compiled for does not matter: see _made_for_here
            warnings.filterwarnings("ignore", "Model doesn't support `jit_compile")
            network, history = keras.models.load_model(folder / progress["checkpoint"]), progress["history"]
    except Exception as error:  # Keras lets through whatever zip, HDF5 and JSON make of damaged files
        raise TrainingFolderError(
            f"{path} or its checkpoint is damaged ({error}); remove {folder} to train from the start"
        ) from error
    return network, history


def _made_for_here(checkpoint: keras.Model, network: keras.Model, *, folder: Path) -> keras.Model:
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


def _save_curves(folder: Path, history: list[dict[str, float]]) -> None:
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
