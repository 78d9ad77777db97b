"""Training: training data in, a folder with a trained network out. It survives interruption and repeats exactly.

The folder of a run holds `config.json`, `progress.json` and `checkpoint-NNN.keras` while it trains, and in the end
`model.keras` instead of the checkpoint, `learning_curves.csv` and `learning_curves.png`. What is made of the network
later lies beside it: `model.tflite` (digit_utils.training.export) and `metrics.json`.
"""

import contextlib
import os
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from tqdm.auto import tqdm

from digit_utils.datasets.ink import LabelledInk
from digit_utils.training.checkpoint import (
    KERAS_MODEL,
    alone_in,
    claim,
    made_for_here,
    resume,
    save_checkpoint,
    save_curves,
)
from digit_utils.training.config import TrainingConfig
from digit_utils.training.data import TrainingData
from digit_utils.training.networks import DigitLoss, build_network, in_full_precision
from digit_utils.training.optimizers import OPTIMIZERS, averaged_weights
from digit_utils.training.prefetch import Epoch, epochs_ahead
from digit_utils.types import NUM_CLASSES

# Before Keras loads TensorFlow: the same seed gives the same network.
os.environ.setdefault("TF_DETERMINISTIC_OPS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
STATISTICS_BATCHES = 100  # batch normalisation forgets a twentieth of its statistics with each


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """What came of a run."""

    network: keras.Model
    history: list[dict[str, float]]  # a record an epoch: epoch, loss, seconds in all, <dataset>_errors
    folder: Path


def train(
    config: TrainingConfig,
    training_data: TrainingData,
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
    with alone_in(folder):
        claim(folder, config, training_data)
        network, history = resume(folder) or (new_network(config, training_data, precision=precision), [])
        if len(history) == config.epochs:
            report(f"{folder} holds this run, finished; remove the folder to train anew")
        elif history:
            report(f"goes on after epoch {len(history)} of {config.epochs}")
            network = made_for_here(network, new_network(config, training_data, precision=precision), folder=folder)
        start = time.perf_counter()
        read = build_network(config.network) if config.averaged else network  # the one that counts
        with contextlib.closing(prepared_epochs(config, training_data, first=len(history), workers=workers)) as coming:
            for epoch, (ink, targets) in enumerate(coming, start=len(history)):
                loss = _train_epoch(network, config, ink, targets, epoch, show_progress=show_progress)
                if config.averaged:
                    _take_average(read, network, ink, batch_size=config.batch_size)
                errors = {
                    f"{name}_errors": error_rate(read, digits) for name, digits in training_data.validation.items()
                }
                start, seconds = time.perf_counter(), time.perf_counter() - start
                history.append({"epoch": epoch + 1, "loss": loss, "seconds": round(seconds, 2), **errors})
                name = f"checkpoint-{len(history):03d}.keras"
                if len(history) == config.epochs:
                    network.set_weights(read.get_weights())
                    network, name = in_full_precision(network), KERAS_MODEL
                save_checkpoint(folder, network, history, name=name)
                report(_describe(history[-1], config.epochs))
        save_curves(folder, history)
        return TrainingResult(network, history, folder)


def new_network(config: TrainingConfig, training_data: TrainingData, *, precision: str = "float32") -> keras.Model:
    """Return a new network, ready to be trained."""
    keras.utils.set_random_seed(config.seed)
    network = build_network(config.network, precision=precision)
    data_mix = config.data_mix
    pictures = len(training_data.scans) + data_mix.pen_strokes + data_mix.allographs + data_mix.non_digits
    pictures += training_data.own_drawings_an_epoch
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
    config: TrainingConfig, training_data: TrainingData, *, first: int = 0, workers: int = 0
) -> Generator[Epoch, None, None]:
    """Yield the training data of each epoch from `first` on; `workers` processes, or a thread, prepare the next
    ones.
    """
    return epochs_ahead(
        training_data, config.data_mix, seed=config.seed, first=first, end=config.epochs, workers=workers
    )


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
    return float(np.mean(outputs[:, :NUM_CLASSES].argmax(axis=1) != digits.labels))


def _describe(record: dict[str, float], epochs: int) -> str:
    errors = ", ".join(
        f"{name.removesuffix('_errors')} {value:.2%}" for name, value in record.items() if name.endswith("_errors")
    )
    return (
        f"epoch {record['epoch']:2d}/{epochs}  loss {record['loss']:.4f}  errors: {errors}  {record['seconds']:.0f} s"
    )
