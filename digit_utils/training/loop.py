"""Training: a network and its data in, a folder with the trained network out. It can be interrupted and repeated."""

from digit_utils.training import environment  # noqa: F401  # isort: skip  (before Keras)

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from tqdm.auto import tqdm

from digit_utils.datasets.ink import LabelledInk
from digit_utils.files import report_progress
from digit_utils.training.checkpoint import (
    claim_folder,
    load_checkpoint,
    lock_folder,
    save_checkpoint,
    save_learning_curves,
)
from digit_utils.training.config import TrainingConfig
from digit_utils.training.data import TrainingData
from digit_utils.training.identity import run_identity
from digit_utils.training.networks import DigitLoss, computes_in, float32_copy, has_digit_head, to_float32
from digit_utils.training.optimizers import averaged_weights, build_optimizer
from digit_utils.training.prefetch import prefetch_epochs
from digit_utils.types import IMAGE_SIZE, NUM_CLASSES

STATISTICS_BATCHES = 100  # with a momentum of 0.95, batch normalisation forgets a twentieth of its statistics with each


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """A finished run."""

    network: keras.Model  # computes in float32
    history: list[dict[str, float]]  # one record per epoch: epoch, loss, seconds, <dataset>_errors
    folder: Path


def train(
    network: keras.Model,
    config: TrainingConfig,
    training_data: TrainingData,
    folder: str | Path,
    *,
    report: Callable[[str], None] = print,
    show_progress: bool = True,
    workers: int = 0,
) -> TrainingResult:
    """Train a network and keep it in a folder; a folder with an interrupted run is continued after its last epoch.

    The result is the network of the last epoch: none is picked by its validation errors. A finished run is loaded, not
    trained again. With the same initial weights and the same config, the result is the same, interrupted or not.

    While it trains, the folder holds `config.json`, `progress.json` and `checkpoint-NNN.keras`; in the end
    `model.keras` replaces the checkpoint, and `learning_curves.csv` holds the history.

    Args:
        network: a Sequential or functional model from ink, (batch, 28, 28, 1), to 10 logits, or 11 where the last one
            says whether the ink is a digit; for example from `build_network`. It is compiled anew, with
            `config.optimizer` and `DigitLoss`, starts from the weights it has, and is trained in place, in its own
            precision. Layers of your own need `keras.saving.register_keras_serializable`.
        config: how it is trained; `config.network` is not read, the network's own name is recorded in its place.
        training_data: what it is trained on.
        folder: of this run, created if needed.
        report: called with a line of text after each epoch.
        show_progress: show a progress bar within each epoch.
        workers: processes that prepare epochs; 0 for a thread. They change nothing but the time.

    A run may be continued with another backend, precision or kind of processor.

    Raises:
        TrainingFolderError: the folder holds another run, is damaged, or is in use by another process.
        ValueError: the network does not fit the images, the targets or `config.data_mix.non_digits`.
        RuntimeError: a process that prepares epochs was killed.
    """
    _check_network(network, config)
    folder = Path(folder)
    with lock_folder(folder):
        claim_folder(folder, run_identity(network, config, training_data))
        compile_network(network, config, training_data)
        history = load_checkpoint(folder, network)
        if history:
            report(_describe_start(folder, len(history), config.epochs))
        evaluated = float32_copy(network) if config.average_weights else network
        start = time.perf_counter()
        epochs = prefetch_epochs(
            training_data, config.data_mix, seed=config.seed, first=len(history), end=config.epochs, workers=workers
        )
        with contextlib.closing(epochs):
            for inputs, targets in epochs:
                loss = _train_epoch(network, config, inputs, targets, len(history), show_progress=show_progress)
                if config.average_weights:
                    _copy_averaged_weights(network, evaluated, inputs, batch_size=config.batch_size)
                errors = _validation_errors(evaluated, training_data)
                start, seconds = time.perf_counter(), time.perf_counter() - start
                history.append({"epoch": len(history) + 1, "loss": loss, "seconds": round(seconds, 2), **errors})
                if len(history) == config.epochs:
                    network.set_weights(evaluated.get_weights())
                    # Uncompiled, so that it opens where this package, its optimizer and its loss are missing.
                    save_checkpoint(folder, float32_copy(network), history, finished=True)
                else:
                    save_checkpoint(folder, network, history)
                report(_describe_epoch(history[-1], config.epochs))
        report_progress("")
        save_learning_curves(folder, history)
        return TrainingResult(to_float32(network), history, folder)


def _check_network(network: keras.Model, config: TrainingConfig) -> None:
    """Raise ValueError when a network does not fit the images, the targets or the non-digits of a run."""
    expected = (None, IMAGE_SIZE, IMAGE_SIZE, 1)
    if network.input_shape != expected or network.output_shape not in ((None, NUM_CLASSES), (None, NUM_CLASSES + 1)):
        raise ValueError(
            f"{network.name} maps {network.input_shape} to {network.output_shape}; expected a network from {expected} "
            f"to {NUM_CLASSES} logits, or to {NUM_CLASSES + 1} where the last one says whether the ink is a digit"
        )
    if config.data_mix.non_digits and not has_digit_head(network):
        raise ValueError(
            f"non_digits is {config.data_mix.non_digits}, but {network.name} has no logit for 'is a digit'; set it to "
            "0 or choose a network with 11 logits, such as large_cnn"
        )


def compile_network(network: keras.Model, config: TrainingConfig, training_data: TrainingData) -> None:
    """Compile a network with the optimizer and learning-rate schedule of a run, and with `DigitLoss`."""
    steps = config.epochs * -(-training_data.images_per_epoch(config.data_mix) // config.batch_size)
    warm_up = int(config.warm_up * steps)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=config.learning_rate / 20,
        decay_steps=max(1, steps - warm_up),
        alpha=config.final_learning_rate,
        warmup_target=config.learning_rate,
        warmup_steps=warm_up,
    )
    optimizer = build_optimizer(
        config.optimizer, schedule, weight_decay=config.weight_decay, average_weights=config.average_weights
    )
    if computes_in(network, "float16"):  # Keras would do so by itself, but not when it loads a checkpoint
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    # Keras compiles with XLA except where TensorFlow runs on a CPU: there it was measured to slow these networks down.
    network.compile(optimizer, loss=DigitLoss(), jit_compile="auto")


def _train_epoch(
    network: keras.Model,
    config: TrainingConfig,
    inputs: np.ndarray,
    targets: np.ndarray,
    epoch: int,
    *,
    show_progress: bool,
) -> float:
    """Train for one epoch, a number from 0, and return its mean loss."""
    _seed_dropout(network, config.seed, epoch)
    steps = -(-len(inputs) // config.batch_size)
    # Once a second: in a notebook each change is a message, and a client that waits for the cell keeps only some 1,000.
    bar = tqdm(total=steps, desc=f"epoch {epoch + 1}", leave=False, mininterval=1.0, disable=not show_progress)
    with bar:
        total = 0.0
        batches = train_batches(network, inputs, targets, batch_size=config.batch_size)
        for step, loss in enumerate(batches, start=1):
            total += loss
            bar.update()
            report_progress(f"epoch {epoch + 1} of {config.epochs}, {step / steps:.0%}")
    return total / len(inputs)


def train_batches(network: keras.Model, inputs: np.ndarray, targets: np.ndarray, *, batch_size: int) -> Iterator[float]:
    """Train on one batch after the other, in the order given, and yield the summed loss of each.

    Not `fit`: with TensorFlow that reads arrays through tf.data, whose end was measured to idle, every other time, for
    a third to all of the time that the epoch itself had taken.
    """
    for start in range(0, len(inputs), batch_size):
        batch = slice(start, start + batch_size)
        network.reset_metrics()  # before 3.15, Keras returns the mean of all batches since the last call of this
        yield len(inputs[batch]) * float(network.train_on_batch(inputs[batch], targets[batch]))


def _seed_dropout(network: keras.Model, seed: int, epoch: int) -> None:
    """Make dropout depend on the seed and the epoch alone, so that a resumed run is the same run."""
    for variable in network.variables:
        if variable.name == "seed_generator_state":
            variable.assign(np.array([seed, epoch], "uint32"))


def _copy_averaged_weights(network: keras.Model, average: keras.Model, inputs: np.ndarray, *, batch_size: int) -> None:
    """Give `average` the averaged weights of a network in training.

    The statistics of batch normalisation depend on the weights, so they are estimated anew, from some of the inputs.
    """
    average.set_weights(network.get_weights())
    for variable, value in zip(average.trainable_variables, averaged_weights(network.optimizer), strict=True):
        variable.assign(value)
    for start in range(0, min(len(inputs), STATISTICS_BATCHES * batch_size), batch_size):
        average(inputs[start : start + batch_size], training=True)


def _validation_errors(network: keras.Model, training_data: TrainingData) -> dict[str, float]:
    return {f"{name}_errors": error_rate(network, digits) for name, digits in training_data.validation.items()}


def error_rate(network: keras.Model, digits: LabelledInk) -> float:
    """Return the fraction of digits that a network misreads, in [0, 1]."""
    outputs = network.predict(digits.ink[..., np.newaxis], batch_size=512, verbose=0)
    return float(np.mean(outputs[:, :NUM_CLASSES].argmax(axis=1) != digits.labels))


def _describe_start(folder: Path, done: int, epochs: int) -> str:
    if done == epochs:
        return f"{folder} holds this run, finished; remove the folder to train again"
    return f"continuing after epoch {done} of {epochs}"


def _describe_epoch(record: dict[str, float], epochs: int) -> str:
    errors = ", ".join(
        f"{name.removesuffix('_errors')} {value:.2%}" for name, value in record.items() if name.endswith("_errors")
    )
    return (
        f"epoch {record['epoch']:2d}/{epochs}  loss {record['loss']:.4f}  errors: {errors}  {record['seconds']:.0f} s"
    )
