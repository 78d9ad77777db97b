"""Semeion and Fashion-MNIST: sets for development checks, never downloaded and never trained on.

They are read if the data folder holds `semeion/semeion.data` and `ood/fashion_mnist_test.npz` (an array `x` of the
10,000 test images). They guided development, so results on them are optimistic.
"""

import hashlib
import os
from pathlib import Path

import numpy as np

from digit_utils.datasets.base import DatasetSource, DatasetUnavailable, Digits
from digit_utils.datasets.loading import obtain


def _find_semeion(folder: Path) -> Path | None:
    path = folder / "semeion" / "semeion.data"
    return path if path.is_file() else None


def _read_semeion(path: Path) -> list[np.ndarray]:
    table = np.array(path.read_text("ascii").split(), np.float64).reshape(-1, 16 * 16 + 10)
    images = (255 * table[:, :256]).astype(np.uint8).reshape(-1, 16, 16)
    return [images, table[:, 256:].argmax(axis=1).astype(np.int64)]


SEMEION = DatasetSource(
    name="semeion",
    files="semeion/semeion.data",
    sha256="6ef7f5747cfb6b1f0430070594539a7cd3c6a61c0857cfb2350c3cc14caf9a35",
    find=_find_semeion,
    read=_read_semeion,
    licence="CC BY 4.0",
    citation="Semeion Handwritten Digit, UCI Machine Learning Repository, 1994, https://archive.ics.uci.edu/dataset/178/semeion+handwritten+digit",
)


def _find_fashion_mnist(folder: Path) -> Path | None:
    path = folder / "ood" / "fashion_mnist_test.npz"
    return path if path.is_file() else None


def _read_fashion_mnist(path: Path) -> list[np.ndarray]:
    """Return the images sorted by hash: files differ in their order, and this one is as good as random."""
    with np.load(path) as content:
        return [np.stack(sorted(content["x"], key=lambda image: hashlib.sha256(image.tobytes()).digest()))]


FASHION_MNIST = DatasetSource(
    name="fashion_mnist",
    files="ood/fashion_mnist_test.npz",
    sha256="3e1197ba1a0cf8549085ff9f26c7b0694451fef45249786600ebe0c83451f5e5",
    find=_find_fashion_mnist,
    read=_read_fashion_mnist,
    licence="MIT",
    citation="H. Xiao, K. Rasul, R. Vollgraf: Fashion-MNIST, 2017, https://arxiv.org/abs/1708.07747",
)


def load_semeion(data_dir: str | os.PathLike[str] = "") -> Digits | None:
    """Return Semeion: 1,593 scans of digits by about 80 Italians, 16x16 pixels, stretched to the box.

    Args:
        data_dir: the folder that holds semeion/semeion.data; empty: the one that DIGITS_DATA_DIR names.

    Returns:
        The digits, or None if there is no such file.

    Raises DatasetCorrupt when the file holds something else.
    """
    try:
        images, labels = obtain(SEMEION, data_dir=data_dir)
    except DatasetUnavailable:
        return None
    return Digits(labels, images)


def load_fashion_mnist(data_dir: str | os.PathLike[str] = "") -> np.ndarray | None:
    """Return the test images of Fashion-MNIST, clothes, shoes and bags: (10000, 28, 28) uint8 non-digits.

    `keras.datasets.fashion_mnist.load_data()` downloads them; save the test images with
    `numpy.savez_compressed("<data_dir>/ood/fashion_mnist_test.npz", x=...)`.

    Args:
        data_dir: the folder that holds ood/fashion_mnist_test.npz; empty: the one that DIGITS_DATA_DIR names.

    Returns:
        The images in an order as good as random, so that the first n are a fair sample; None if there is no such file.

    Raises DatasetCorrupt when the file holds something else.
    """
    try:
        (images,) = obtain(FASHION_MNIST, data_dir=data_dir)
    except DatasetUnavailable:
        return None
    return images
