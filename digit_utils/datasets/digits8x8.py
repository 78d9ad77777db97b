"""scikit-learn's 8x8 digits: small scans that need no download."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from digit_utils.datasets.base import DatasetSource, Digits, require

SPLIT = (1197, 1497)  # training ends before the first, validation before the second, the test split at 1797


def _read(_: Path) -> list[np.ndarray]:
    """Return the images, their 17 grey levels spread over 0..255, and the labels."""
    bunch = require("sklearn.datasets", "the dataset digits8x8").load_digits()
    return [np.round(bunch.images * (255 / 16)).astype(np.uint8), bunch.target.astype(np.int64)]


def _split(arrays: list[np.ndarray]) -> tuple[Digits, Digits, Digits]:
    """Cut the digits into three runs: the 13 writers come one after the other, so most are within one split."""
    images, labels = arrays
    digits, (first, second) = Digits(labels, images), SPLIT
    return digits.take(slice(None, first)), digits.take(slice(first, second)), digits.take(slice(second, None))


DIGITS8X8 = DatasetSource(
    name="digits8x8",
    files="scikit-learn's digits",
    sha256="ce89a3843c1f6a4a6a999b7b1a15784e49ad668089ffc13bf465f0847283eaa4",
    read=_read,
    split=_split,
    licence="CC BY 4.0",
    citation="E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI Machine Learning "
    "Repository, 1998, https://doi.org/10.24432/C50P49 (its test part, as scikit-learn carries it)",
)
