"""MNIST: scanned digits, as Keras' .npz or as idx files."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from digit_utils.datasets.base import Digits

MNIST_TRAIN_COUNT = 55_000  # of the official training set's 60,000; the last 5,000 are the validation digits


# ------------------------------------------------------------------------------------------------------------
# MNIST

_MNIST_KEYS = ("x_train", "y_train", "x_test", "y_test")
_MNIST_IDX_STEMS = ("train-images", "train-labels", "t10k-images", "t10k-labels")


def find_mnist(folder: Path) -> Path | None:
    """Look for mnist.npz or the four idx files, also in a folder mnist/ and where torchvision puts them."""
    for candidate in (folder, folder / "mnist", folder / "MNIST" / "raw"):
        if (candidate / "mnist.npz").is_file():
            return candidate / "mnist.npz"
        if all(_find_idx(candidate, stem) for stem in _MNIST_IDX_STEMS):
            return candidate
    return None


def _find_idx(folder: Path, stem: str) -> Path | None:
    """Find `train-images-idx3-ubyte.gz`, unpacked or not; some copies have a dot before `idx`."""
    dimensions = 3 if stem.endswith("images") else 1
    for separator in "-.":
        for ending in (".gz", ""):
            candidate = folder / f"{stem}{separator}idx{dimensions}-ubyte{ending}"
            if candidate.is_file():
                return candidate
    return None


def read_mnist(place: Path) -> list[np.ndarray]:
    """Return training pictures and labels, test pictures and labels, all uint8, from .npz or idx files."""
    if place.is_dir():
        return [_read_idx(_find_idx(place, stem)) for stem in _MNIST_IDX_STEMS]
    with place.open("rb") as stream:
        archive = np.load(stream, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("it is no .npz archive")
        return [archive[key] for key in _MNIST_KEYS]


def _read_idx(path: Path) -> np.ndarray:
    """Read an idx file of bytes: two zeros, the type 8, the number of dimensions, the dimensions, the bytes.

    Raises:
        ValueError: the header or the length is wrong.
    """
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise ValueError(f"{path.name} does not begin like an idx file of bytes")
    header_end = 4 + 4 * content[3]
    shape = tuple(np.frombuffer(content[4:header_end], dtype=">u4").tolist())
    return np.frombuffer(content, dtype=np.uint8, offset=header_end).reshape(shape).copy()


def split_mnist(arrays: list[np.ndarray]) -> tuple[Digits, Digits, Digits]:
    """Return the training, validation and test digits."""
    images, labels, test_images, test_labels = arrays
    official = Digits(labels.astype(np.int64), images)
    return (
        official.take(slice(None, MNIST_TRAIN_COUNT)),
        official.take(slice(MNIST_TRAIN_COUNT, None)),
        Digits(test_labels.astype(np.int64), test_images),
    )
