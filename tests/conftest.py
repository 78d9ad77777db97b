"""Fixtures that several test modules share: the datasets, real where they can be had."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from digit_utils.datasets.base import DatasetUnavailable, DigitDataset
from digit_utils.datasets.loading import load_dataset
from tests.colab.replica import COMMAND, FirstCell, Replica, ReplicaUnavailableError, python_313, replica
from tests.colab.set_up_cell import SOURCE

if TYPE_CHECKING:
    import keras


def load_or_skip(name: str) -> DigitDataset:
    """Return a dataset, or skip the test where it cannot be had; in CI nothing that matters is skipped."""
    try:
        return load_dataset(name)
    except DatasetUnavailable as reason:
        if os.environ.get("CI"):
            pytest.fail(f"CI needs the real data: {reason}")
        pytest.skip(str(reason))


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


@pytest.fixture(scope="session")
def networks(digits8x8) -> dict[str, keras.Model]:
    """The networks by name, untrained, but with logits as far apart as those of trained ones."""
    import keras

    from digit_utils.datasets.ink import ink_of
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
    from digit_utils.datasets.ink import ink_of
    from digit_utils.training.export import export_network

    folder = tmp_path_factory.mktemp("exports")
    validation = {"digits8x8": ink_of(digits8x8.validation)}
    for name, network in networks.items():
        export_network(network, folder / name, validation=validation, provenance={"made_for": "tests"})
    return {name: folder / name for name in networks}
