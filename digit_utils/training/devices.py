"""Accelerators: what Keras' backend can train on here, and how a run makes good use of it. Any backend will do.

A processor is used as the presets say. A graphics card or a TPU idles with small steps, so it gets larger ones, and
multiplies in 16 bits while weights, loss and gradient sums stay in 32. It would idle most while it waits for the next
epoch's pictures: several processes prepare those. What comes out of a run is a network in 32 bits either way.
"""

import os
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import keras

from digit_utils.training.checkpoint import holds_run
from digit_utils.training.config import TrainingConfig


@dataclass(frozen=True)
class Use:
    """How a kind of accelerator is used."""

    larger_steps: int  # times the preset's batch size
    precision: str  # Keras' dtype policy


USES = {
    "cpu": Use(larger_steps=1, precision="float32"),  # 16 bits were measured to gain nothing there
    "gpu": Use(larger_steps=4, precision="mixed_float16"),  # every GPU since 2018 multiplies it; Keras scales the loss
    "tpu": Use(larger_steps=8, precision="mixed_bfloat16"),  # what its matrix units are made for
}
MOST_WORKERS = 8  # each takes a gigabyte or so


@dataclass(frozen=True)
class Accelerator:
    """What the backend trains on."""

    kind: str  # "cpu", "gpu" or "tpu"
    count: int = 1  # how many of them there are; training uses one

    @property
    def precision(self) -> str:
        """Keras' dtype policy to train with."""
        return USES[self.kind].precision

    @property
    def workers(self) -> int:
        """How many processes should prepare epochs: a thread is enough for a processor, but keeps others waiting."""
        return 0 if self.kind == "cpu" else min(MOST_WORKERS, usable_cores())

    def __str__(self) -> str:
        name = {"cpu": "the processor", "gpu": "a GPU", "tpu": "a TPU"}[self.kind]
        others = f", one of {self.count}" if self.kind != "cpu" and self.count > 1 else ""
        return f"{name}{others}; Keras runs on {keras.backend.backend()}, in {self.precision}"


def usable_cores() -> int:
    """Return how many cores this process may use: no more than OMP_NUM_THREADS says, which a sweep gives its runs."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, max(1, int(limit))) if limit.isdecimal() else cores


def find_accelerator() -> Accelerator:
    """Return what the backend trains on: a GPU or TPU where it sees one, else the processor.

    An Apple GPU ("mps:0") counts as the processor: it is used, but in 32 bits and with the preset's steps.
    """
    try:
        devices = keras.distribution.list_devices()  # "gpu:0"
    except AttributeError:  # PyTorch, for which Keras cannot list any: where it puts a variable tells as well
        devices = [str(getattr(keras.Variable(0.0).value, "device", ""))]  # "cuda:0"
    kinds = [device.partition(":")[0].lower().replace("cuda", "gpu") for device in devices]
    kind = next((kind for kind in ("tpu", "gpu") if kind in kinds), "cpu")
    return Accelerator(kind, max(1, kinds.count(kind)))


def fit_to(
    accelerator: Accelerator,
    config: TrainingConfig,
    *,
    chosen: Collection[str] = (),
    folder: str | Path | None = None,
) -> TrainingConfig:
    """Return a run's configuration with steps that suit an accelerator.

    Larger steps are fewer, so the learning rate grows with the square root of their size.

    Args:
        accelerator: what the run trains on.
        config: the run as the preset has it.
        chosen: names of values that somebody chose on purpose; these stay.
        folder: of the run; where it was begun there on another kind of accelerator, it keeps the steps of that.
    """
    kinds = [accelerator.kind, *(USES if folder else ())]
    fitted = [_with_larger_steps(config, USES[kind].larger_steps, chosen=chosen) for kind in kinds]
    return next((begun for begun in fitted if folder and holds_run(folder, begun)), fitted[0])


def _with_larger_steps(config: TrainingConfig, factor: int, *, chosen: Collection[str]) -> TrainingConfig:
    if "batch_size" in chosen:
        return config
    changes = {"batch_size": config.batch_size * factor, "learning_rate": config.learning_rate * factor**0.5}
    return replace(config, **{name: value for name, value in changes.items() if name not in chosen})
