"""scikit-learn's 8x8 digits: small scans that need no download."""

from __future__ import annotations

import numpy as np

from digit_utils.datasets.base import DatasetCorrupt, DigitDataset, Digits, content_hash
from digit_utils.datasets.download import require

DIGITS8X8_SPLIT = (1197, 1497)  # training ends before the first, validation before the second, test at 1797


# ------------------------------------------------------------------------------------------------------------
# scikit-learn's digits

_DIGITS8X8_SHA256 = "ce89a3843c1f6a4a6a999b7b1a15784e49ad668089ffc13bf465f0847283eaa4"


def load_digits8x8() -> DigitDataset:
    """Return scikit-learn's digits, their 17 grey levels spread over 0..255.

    Its 13 writers come one after the other, so three runs keep most of them within one split.
    """
    bunch = require("sklearn.datasets", "the dataset digits8x8").load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    labels = bunch.target.astype(np.int64)
    found = content_hash([images, labels])
    if found != _DIGITS8X8_SHA256:
        raise DatasetCorrupt(f"scikit-learn's digits: expected the content sha256 {_DIGITS8X8_SHA256}, found {found}")
    every = Digits(labels, images)
    first, second = DIGITS8X8_SPLIT
    return DigitDataset(
        name="digits8x8",
        train=every.take(slice(None, first)),
        validation=every.take(slice(first, second)),
        test=every.take(slice(second, None)),
        sha256=found,
        licence="CC BY 4.0",
        source="E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI Machine Learning "
        "Repository, 1998, https://doi.org/10.24432/C50P49 (its test part, as scikit-learn carries it)",
    )
