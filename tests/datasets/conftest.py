"""Fixtures for datasets: a small MNIST with its own content hash, and no access to network and cache."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from digit_utils.datasets import download, loading
from digit_utils.datasets.base import RemoteFile, content_hash

UNREACHABLE = RemoteFile("http://127.0.0.1:1/mnist.npz")


@pytest.fixture
def small_mnist(monkeypatch) -> dict[str, np.ndarray]:
    """Declare 30 random images to be the true MNIST; return its four arrays under Keras' names."""
    generator = np.random.default_rng(0)
    arrays = {
        "x_train": generator.integers(0, 256, (20, 28, 28), dtype=np.uint8),
        "y_train": generator.integers(0, 10, 20, dtype=np.uint8),
        "x_test": generator.integers(0, 256, (10, 28, 28), dtype=np.uint8),
        "y_test": generator.integers(0, 10, 10, dtype=np.uint8),
    }
    source = dataclasses.replace(loading.SOURCES["mnist"], sha256=content_hash(list(arrays.values())))
    monkeypatch.setitem(loading.SOURCES, "mnist", source)
    return arrays


@pytest.fixture
def isolated(request, monkeypatch, tmp_path_factory):
    """Keep the tests off the network and off the user's cache, except those on the real data."""
    if {"mnist", "pendigits"} & set(request.fixturenames):
        return
    monkeypatch.delenv("DIGITS_DATA_DIR", raising=False)
    monkeypatch.setenv("DIGITS_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "RETRIES", 0)
    monkeypatch.setattr(download, "PROGRESS_DELAY", 0.0)
    for name in ("mnist", "pendigits"):
        source = dataclasses.replace(loading.SOURCES[name], mirrors=((UNREACHABLE,),))
        monkeypatch.setitem(loading.SOURCES, name, source)


@pytest.fixture
def cache() -> Path:
    return download.cache_folder()
