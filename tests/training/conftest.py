"""Small training data, and a run of each kind of network on it, that several modules share."""

from __future__ import annotations

from pathlib import Path

import pytest

from digit_utils.datasets.ink import ink_of
from digit_utils.datasets.loading import load_dataset
from digit_utils.training.config import TrainingConfig, preset
from digit_utils.training.data import TrainingData
from digit_utils.training.loop import TrainingResult, train
from digit_utils.training.networks import build_network

CONFIGS = {
    "simple_cnn": TrainingConfig(epochs=2, batch_size=32, seed=7),
    # As the bundled model was trained, but without other people's pen strokes, and with less of everything.
    "large_cnn": preset(
        "full", epochs=2, batch_size=64, seed=3, pen_strokes=0, allographs=30, non_digits=20, label_smoothing=0.02
    ),
}


def small_training_data() -> TrainingData:
    """250 scans to train on, which none of the batch sizes here divides, and 100 to validate with."""
    digits = load_dataset("digits8x8")
    scans, validation = ink_of(digits.train.take(slice(250))), ink_of(digits.validation.take(slice(100)))
    return TrainingData(scans, validation={"digits8x8": validation}, hashes={"digits8x8": digits.sha256})


def train_quietly(
    config: TrainingConfig, training_data: TrainingData, folder: Path, *, precision: str = "float32", **options
) -> TrainingResult:
    """Train the network of a config from its seed, without a word unless `options` has a `report`."""
    network = build_network(config.network, seed=config.seed, precision=precision)
    quiet = {"report": lambda line: None, "show_progress": False}
    return train(network, config, training_data, folder, **(quiet | options))


@pytest.fixture(scope="session")
def training_data() -> TrainingData:
    return small_training_data()


@pytest.fixture(scope="session")
def undisturbed(training_data, tmp_path_factory) -> dict[str, TrainingResult]:
    """A run of each config from its start to its end; nothing may change their folders."""
    return {
        name: train_quietly(config, training_data, tmp_path_factory.mktemp(name)) for name, config in CONFIGS.items()
    }
