"""Devices: what Keras' backend can train on here, and how a run makes good use of it. Any backend will do.

A CPU is used as the presets say. A GPU or TPU idles with small batches, so it gets larger ones, and computes in 16 bits
while weights, loss and gradient sums stay in 32. It would idle even more while it waits for the next epoch, so several
processes prepare those. The trained network computes in 32 bits either way.
"""

from digit_utils.training import environment  # noqa: F401  # isort: skip  (before Keras)

import os
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import keras

from digit_utils.training.checkpoint import holds_run
from digit_utils.training.config import TrainingConfig


@dataclass(frozen=True)
class DeviceSettings:
    """How a kind of device is used."""

    batch_factor: int  # times the preset's batch size
    precision: str  # Keras' dtype policy


DEVICE_SETTINGS = {
    "cpu": DeviceSettings(batch_factor=1, precision="float32"),  # 16 bits were measured to gain nothing there
    "gpu": DeviceSettings(batch_factor=4, precision="mixed_float16"),  # supported by every GPU since 2018
    "tpu": DeviceSettings(batch_factor=8, precision="mixed_bfloat16"),  # what its matrix units are made for
}
MAX_WORKERS = 8


@dataclass(frozen=True)
class Device:
    """What the backend trains on."""

    kind: str  # "cpu", "gpu" or "tpu"
    count: int = 1  # how many of them there are; training uses one

    @property
    def precision(self) -> str:
        """Keras' dtype policy to train with."""
        return DEVICE_SETTINGS[self.kind].precision

    @property
    def workers(self) -> int:
        """How many processes should prepare epochs: none for a CPU, where a thread is fast enough."""
        return 0 if self.kind == "cpu" else min(MAX_WORKERS, usable_cores())

    def __str__(self) -> str:
        name = {"cpu": "the CPU", "gpu": "a GPU", "tpu": "a TPU"}[self.kind]
        others = f", one of {self.count}" if self.kind != "cpu" and self.count > 1 else ""
        return f"{name}{others}, with Keras on {keras.backend.backend()} in {self.precision}"


def usable_cores() -> int:
    """Return how many cores this process may use: at most OMP_NUM_THREADS, which a sweep sets for its runs."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, max(1, int(limit))) if limit.isdecimal() else cores


def find_device() -> Device:
    """Return what the backend trains on: a GPU or TPU where it sees one, otherwise the CPU.

    An Apple GPU ("mps:0") counts as the CPU: it is used, but in 32 bits and with the preset's batch size.
    """
    try:
        names = keras.distribution.list_devices()  # "gpu:0"
    except AttributeError:  # PyTorch, for which Keras cannot list any: see where it puts a variable
        names = [str(getattr(keras.Variable(0.0).value, "device", ""))]  # "cuda:0"
    kinds = [name.partition(":")[0].lower().replace("cuda", "gpu") for name in names]
    kind = next((kind for kind in ("tpu", "gpu") if kind in kinds), "cpu")
    return Device(kind, max(1, kinds.count(kind)))


def config_for(
    device: Device,
    config: TrainingConfig,
    *,
    fixed: Collection[str] = (),
    folder: str | Path | None = None,
) -> TrainingConfig:
    """Return a config with a batch size that suits a device.

    Larger batches mean fewer steps, so the learning rate grows with the square root of their size.

    Args:
        device: what the run trains on.
        config: the run as the preset has it.
        fixed: names of values that were chosen on purpose and stay.
        folder: of the run; a run that was begun there on another kind of device keeps its batch size.
    """
    kinds = [device.kind, *(DEVICE_SETTINGS if folder else ())]
    candidates = [_scale_batch(config, DEVICE_SETTINGS[kind].batch_factor, fixed=fixed) for kind in kinds]
    return next((begun for begun in candidates if folder and holds_run(folder, begun)), candidates[0])


def _scale_batch(config: TrainingConfig, factor: int, *, fixed: Collection[str]) -> TrainingConfig:
    if "batch_size" in fixed:
        return config
    changes = {"batch_size": config.batch_size * factor, "learning_rate": config.learning_rate * factor**0.5}
    return replace(config, **{name: value for name, value in changes.items() if name not in fixed})
