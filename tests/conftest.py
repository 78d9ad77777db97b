"""Fixtures that several test modules share: the datasets, real where they can be had."""

from __future__ import annotations

import os

import pytest

from digit_utils.data import DatasetUnavailable, DigitDataset, load_dataset


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
