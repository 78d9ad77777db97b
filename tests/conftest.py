"""Fixtures that several test modules share, each made once: datasets, recogniser, a trained run, the wheel, Colab."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from filelock import FileLock

from digit_utils.datasets.base import DatasetUnavailable, DigitDataset
from digit_utils.datasets.ink import LabelledInk, ink_of
from digit_utils.datasets.loading import load_dataset
from digit_utils.recognition.recognizer import Recognizer
from tests.colab.replica import COMMAND, FirstCell, Replica, ReplicaUnavailableError, python_313, replica
from tests.colab.set_up_cell import SOURCE
from tests.support.skipping import skip_without

if TYPE_CHECKING:
    import keras

ROOT = Path(__file__).parents[1]


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that `make` fills once in a run of pytest, whichever of its worker processes comes first."""
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder, begun = base / name, base / f"{name}.part"
    with FileLock(base / f"{name}.lock"):
        if not folder.exists():
            shutil.rmtree(begun, ignore_errors=True)
            begun.mkdir()
            make(begun)
            begun.rename(folder)
    return folder


# --------------------------------------------------------------------------------------------------- datasets and ink


def load_or_skip(name: str) -> DigitDataset:
    """Return a dataset, or skip the test where it cannot be had; in CI nothing that matters is skipped."""
    try:
        return load_dataset(name)
    except DatasetUnavailable as reason:
        skip_without(str(reason))


@pytest.fixture(scope="session")
def mnist() -> DigitDataset:
    return load_or_skip("mnist")


@pytest.fixture(scope="session")
def pendigits() -> DigitDataset:
    return load_or_skip("pendigits")


@pytest.fixture(scope="session")
def digits8x8() -> DigitDataset:
    return load_dataset("digits8x8")


@pytest.fixture(scope="session")
def mnist_test_ink(mnist: DigitDataset) -> LabelledInk:
    """All 10,000 test digits of MNIST as the network's input; 3 seconds."""
    return read_only(ink_of(mnist.test))


@pytest.fixture(scope="session")
def pendigits_test_ink(pendigits: DigitDataset) -> LabelledInk:
    """All 3,498 test digits of pendigits as the network's input; a second."""
    return read_only(ink_of(pendigits.test))


def read_only(digits: LabelledInk) -> LabelledInk:
    """Keep a test from changing what others share."""
    digits.ink.flags.writeable = digits.labels.flags.writeable = False
    return digits


# ------------------------------------------------------------------------------------------- recognisers and networks


@pytest.fixture(scope="session")
def recognizer() -> Recognizer:
    """The bundled model."""
    return Recognizer.load()


@dataclass(frozen=True)
class TrainedRun:
    """What `digits train` left behind."""

    folder: Path
    printed: str


@pytest.fixture(scope="session")
def offline(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process that has no data folder, an empty cache and no network."""
    nobody = "http://127.0.0.1:9"
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), nobody)
    kept = {name: value for name, value in os.environ.items() if name != "DIGITS_DATA_DIR"}
    return {**kept, "DIGITS_CACHE_DIR": str(tmp_path_factory.mktemp("empty-cache")), **proxies}


@pytest.fixture(scope="session")
def tiny_run(offline: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """A run of one epoch by the command line, offline, so on scikit-learn's digits: the smallest real training."""

    def train(place: Path) -> None:
        command = [sys.executable, "-m", "digit_utils.cli", "train", "--epochs", "1", "-p", "compare=false"]
        with (place / "printed.txt").open("w") as printed:
            finished = subprocess.run(command, cwd=place, env=offline, stdout=printed, stderr=printed, timeout=300)
        assert finished.returncode == 0, (place / "printed.txt").read_text()

    place = made_once(tmp_path_factory, "tiny-run", train)
    return TrainedRun(place / "runs" / "quick-seed0", (place / "printed.txt").read_text())


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the working tree."""

    def build(folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=ROOT, check=True)

    return next(made_once(tmp_path_factory, "wheel", build).glob("*.whl"))


@pytest.fixture(scope="session")
def networks(digits8x8) -> dict[str, keras.Model]:
    """The networks by name, untrained, but with logits as far apart as those of trained ones."""
    import keras

    from digit_utils.training.networks import NETWORKS

    ink = ink_of(digits8x8.train.take(slice(200))).ink[..., np.newaxis]
    made = {}
    for seed, name in enumerate(NETWORKS):
        keras.utils.set_random_seed(seed)
        made[name] = NETWORKS[name]()
        rng = np.random.default_rng(seed)
        for layer in made[name].layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                size = layer.moving_mean.shape
                layer.moving_mean.assign(rng.normal(0, 0.1, size))
                layer.moving_variance.assign(rng.uniform(0.02, 0.2, size))
        kernel, bias = made[name].layers[-1].get_weights()
        logits = made[name].predict(ink, verbose=0)
        scale = 2 / logits.std(axis=0)
        made[name].layers[-1].set_weights(
            [kernel * scale, bias - logits.mean(axis=0) * scale + rng.normal(0, 1, bias.shape)]
        )
    return made


@pytest.fixture(scope="session")
def exports(networks, digits8x8, tmp_path_factory) -> dict[str, Path]:
    """The folder of an export of each of the `networks`, by name."""
    from digit_utils.training.export import export_network

    folder = tmp_path_factory.mktemp("exports")
    validation = {"digits8x8": ink_of(digits8x8.validation)}
    for name, network in networks.items():
        export_network(network, folder / name, validation=validation, provenance={"made_for": "tests"})
    return {name: folder / name for name in networks}


# --------------------------------------------------------------------------------------------- Colab


@pytest.fixture(scope="session")
def colab_kernel(tmp_path_factory) -> Replica:
    """Colab's kernel as it comes, rebuilt; in CI it must be there where there is a Python of its version."""
    required = bool(os.environ.get("CI")) and python_313() is not None
    if not required and not os.environ.get("DIGITS_COLAB"):
        pytest.skip(f"Colab's kernel (3 GB, in .venv-colab) is rebuilt when asked for: {COMMAND}")
    try:
        return replica(tmp_path_factory.mktemp("colab"))
    except ReplicaUnavailableError as error:
        if required:
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def after_first_cell(colab_kernel, tmp_path_factory) -> FirstCell:
    """Colab's kernel after the set-up cell, with which every notebook begins."""
    before = colab_kernel.versions()
    said = colab_kernel.run_cell(SOURCE, cwd=tmp_path_factory.mktemp("content"))
    return FirstCell(said, before, colab_kernel.versions())
