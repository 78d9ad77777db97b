"""MNIST: scanned digits, as Keras' .npz or as idx files."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from digit_utils.datasets.base import DatasetSource, Digits, RemoteFile

MNIST_TRAIN_COUNT = 55_000  # of the official training set's 60,000; the last 5,000 are for validation

_MNIST_KEYS = ("x_train", "y_train", "x_test", "y_test")
_MNIST_IDX_STEMS = ("train-images", "train-labels", "t10k-images", "t10k-labels")


def _find(folder: Path) -> Path | None:
    """Look for mnist.npz or the four idx files, also in the folder mnist/ and where torchvision puts them."""
    for candidate in (folder, folder / "mnist", folder / "MNIST" / "raw"):
        if (candidate / "mnist.npz").is_file():
            return candidate / "mnist.npz"
        if all(_find_idx(candidate, stem) for stem in _MNIST_IDX_STEMS):
            return candidate
    return None


def _find_idx(folder: Path, stem: str) -> Path | None:
    """Find `train-images-idx3-ubyte.gz`, compressed or not; some copies have a dot before `idx`."""
    dimensions = 3 if stem.endswith("images") else 1
    for separator in "-.":
        for ending in (".gz", ""):
            candidate = folder / f"{stem}{separator}idx{dimensions}-ubyte{ending}"
            if candidate.is_file():
                return candidate
    return None


def _read(place: Path) -> list[np.ndarray]:
    """Return training images and labels, test images and labels, all uint8, from .npz or idx files."""
    if place.is_dir():
        return [_read_idx(_find_idx(place, stem)) for stem in _MNIST_IDX_STEMS]
    with place.open("rb") as stream:
        archive = np.load(stream, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("it is not an .npz archive")
        return [archive[key] for key in _MNIST_KEYS]


def read_idx_pair(folder: Path, stem: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Return images and labels, uint8, of the idx files `train-...` or `t10k-...` in a folder; None without them.

    Raises ValueError when one of them is damaged.
    """
    images, labels = _find_idx(folder, f"{stem}-images"), _find_idx(folder, f"{stem}-labels")
    return None if images is None or labels is None else (_read_idx(images), _read_idx(labels))


def _read_idx(path: Path) -> np.ndarray:
    """Read an idx file of bytes: two zeros, the type 8, the number of dimensions, the dimensions, the bytes.

    Raises ValueError when the header or the length is wrong.
    """
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise ValueError(f"{path.name} does not start like an idx file of bytes")
    header_end = 4 + 4 * content[3]
    shape = tuple(np.frombuffer(content[4:header_end], dtype=">u4").tolist())
    return np.frombuffer(content, dtype=np.uint8, offset=header_end).reshape(shape).copy()


def _split(arrays: list[np.ndarray]) -> tuple[Digits, Digits, Digits]:
    """Return the training, validation and test digits."""
    images, labels, test_images, test_labels = arrays
    official = Digits(labels.astype(np.int64), images)
    return (
        official.take(slice(None, MNIST_TRAIN_COUNT)),
        official.take(slice(MNIST_TRAIN_COUNT, None)),
        Digits(test_labels.astype(np.int64), test_images),
    )


def _idx_mirror(base_url: str) -> tuple[RemoteFile, ...]:
    """Return the four files in which MNIST was published, with the checksums that torchvision publishes too."""
    checksums = {
        "train-images-idx3-ubyte.gz": "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "md5:d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "md5:9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "md5:ec29112dd5afa0611ce80d1b7f02629c",
    }
    return tuple(RemoteFile(base_url + name, checksum) for name, checksum in checksums.items())


MNIST = DatasetSource(
    name="mnist",
    files="mnist.npz with x_train, y_train, x_test, y_test, or the four idx files such as train-images-idx3-ubyte.gz",
    sha256="52cd6c10ae77107af32269dd9d10ca19c1b749e83235a0c75e2f0729ebeaf141",
    find=_find,
    read=_read,
    split=_split,
    licence="CC BY-SA 3.0",
    citation="Y. LeCun, C. Cortes, C. J. C. Burges: The MNIST database of handwritten digits, "
    "http://yann.lecun.com/exdb/mnist/; cite Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: Gradient-based "
    "learning applied to document recognition, Proceedings of the IEEE 86 (1998) 2278-2324",
    mirrors=(
        (
            RemoteFile(
                "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
                "sha256:731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
            ),
        ),
        _idx_mirror("https://ossci-datasets.s3.amazonaws.com/mnist/"),
        _idx_mirror("https://storage.googleapis.com/cvdf-datasets/mnist/"),
    ),
)
