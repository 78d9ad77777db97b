"""A small stand-in for MNIST in the formats in which MNIST is published; see the fixture `small_mnist`."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np

from digit_utils.datasets.base import DigitDataset


def npz_bytes(arrays: dict[str, np.ndarray]) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def idx_files(arrays: dict[str, np.ndarray], *, ending: str = ".gz") -> dict[str, bytes]:
    """The four files of MNIST's own format, by their names."""
    files = {}
    for key, stem in zip(
        ("x_train", "y_train", "x_test", "y_test"),
        ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"),
        strict=True,
    ):
        array = arrays[key]
        content = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">u4").tobytes() + array.tobytes()
        files[f"{stem}-ubyte{ending}"] = gzip.compress(content) if ending else content
    return files


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def assert_is_small_mnist(dataset: DigitDataset, arrays: dict[str, np.ndarray]) -> None:
    np.testing.assert_array_equal(dataset.train.images, arrays["x_train"])
    np.testing.assert_array_equal(dataset.test.labels, arrays["y_test"])


def changed(arrays: dict[str, np.ndarray], key: str, value: np.ndarray | None) -> dict[str, np.ndarray]:
    result = dict(arrays)
    if value is None:
        del result[key]
    else:
        result[key] = value
    return result
