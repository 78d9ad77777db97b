"""Two more sets, for development checks: they may guide, but nothing is trained on them, nor is any score final.

They are never downloaded here. Where the data folder holds them they are read, and verified by their content.
"""

import hashlib
import os
from pathlib import Path

import numpy as np

from digit_utils.datasets.base import DAMAGE, DatasetCorrupt, Digits, content_hash
from digit_utils.files import with_home

SEMEION = Path("semeion") / "semeion.data"
SEMEION_SHA256 = "6ef7f5747cfb6b1f0430070594539a7cd3c6a61c0857cfb2350c3cc14caf9a35"
FASHION_MNIST = Path("ood") / "fashion_mnist_test.npz"
FASHION_MNIST_SHA256 = (
    "3e1197ba1a0cf8549085ff9f26c7b0694451fef45249786600ebe0c83451f5e5"  # in the order of load_fashion_mnist
)


def load_semeion(data_dir: str | os.PathLike[str] = "") -> Digits | None:
    """Return Semeion (UCI, CC BY 4.0): 1,593 scans of digits by about 80 Italians, 16x16, stretched to the box.

    Args:
        data_dir: the folder that holds semeion/semeion.data; empty: the one that DIGITS_DATA_DIR names.

    Returns:
        The digits, or None where there is no such file.

    Raises:
        DatasetCorrupt: the file holds something else.
    """
    path = _find(SEMEION, data_dir)
    if path is None:
        return None
    try:
        table = np.array(path.read_text("ascii").split(), np.float64).reshape(-1, 16 * 16 + 10)
    except ValueError as error:
        raise DatasetCorrupt(f"{path} cannot be read: {error} (expected 266 numbers in each row)") from error
    images = (255 * table[:, :256]).astype(np.uint8).reshape(-1, 16, 16)
    digits = Digits(labels=table[:, 256:].argmax(axis=1).astype(np.int64), images=images)
    _verify(path, [digits.images, digits.labels], SEMEION_SHA256)
    return digits


def load_fashion_mnist(data_dir: str | os.PathLike[str] = "") -> np.ndarray | None:
    """Return the test pictures of Fashion-MNIST (MIT): clothes, shoes and bags, (10000, 28, 28) uint8, none a digit.

    `keras.datasets.fashion_mnist.load_data()` downloads them; save the test pictures with
    `numpy.savez_compressed("<data_dir>/ood/fashion_mnist_test.npz", x=..., label=...)`.

    Args:
        data_dir: the folder that holds ood/fashion_mnist_test.npz; empty: the one that DIGITS_DATA_DIR names.

    Returns:
        The pictures, or None where there is no such file. Files differ in their order, some are sorted by class; here
        the order comes from each picture's hash, as good as random, so that the first n are a fair sample.

    Raises:
        DatasetCorrupt: the file holds something else.
    """
    path = _find(FASHION_MNIST, data_dir)
    if path is None:
        return None
    try:
        with np.load(path) as content:
            images = content["x"]
    except DAMAGE as error:
        raise DatasetCorrupt(f"{path} cannot be read: {error} (expected an .npz file with an array x)") from error
    if images.shape != (10_000, 28, 28):
        raise DatasetCorrupt(f"{path} holds pictures of shape {images.shape}; expected (10000, 28, 28)")
    images = np.stack(sorted(images, key=lambda picture: hashlib.sha256(picture.tobytes()).digest()))
    _verify(path, [images], FASHION_MNIST_SHA256)
    return images


def _find(place: Path, data_dir: str | os.PathLike[str]) -> Path | None:
    folder = data_dir or os.environ.get("DIGITS_DATA_DIR")
    path = with_home(folder) / place if folder else None
    return path if path is not None and path.is_file() else None


def _verify(path: Path, arrays: list[np.ndarray], expected: str) -> None:
    found = content_hash(arrays)
    if found != expected:
        raise DatasetCorrupt(f"{path} holds other data: expected the content sha256 {expected}, found {found}")
