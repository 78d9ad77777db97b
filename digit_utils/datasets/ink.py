"""Digits of a dataset as normalised ink, the input of the network."""

from dataclasses import dataclass

import numpy as np

from digit_utils.datasets.base import Digits, check_labels
from digit_utils.preprocessing.images import ink_from_image
from digit_utils.preprocessing.strokes import ink_from_strokes
from digit_utils.types import IMAGE_SIZE

ROUNDING = 0.01  # beyond [0, 1]: by so little resizing may overshoot


@dataclass(frozen=True, eq=False)
class LabelledInk:
    """Normalised ink and its labels."""

    ink: np.ndarray  # (n, 28, 28) float32 in [0, 1]
    labels: np.ndarray  # (n,) int64, 0 to 9

    def __post_init__(self) -> None:
        """Raise ValueError, which names the value, for what would otherwise be trained on silently."""
        ink, labels = np.asarray(self.ink), check_labels(self.labels, source="the labels of ink")
        if ink.ndim != 3 or ink.shape[1:] != (IMAGE_SIZE, IMAGE_SIZE):
            raise ValueError(f"ink has shape {ink.shape}; expected (n, 28, 28): make it with ink_from_image(image)")
        if len(ink) != len(labels):
            raise ValueError(f"there are {len(ink)} inks, but {len(labels)} labels")
        if ink.size and not (ink.min() >= -ROUNDING and ink.max() <= 1 + ROUNDING):
            raise ValueError(f"ink goes from {ink.min():g} to {ink.max():g}; expected 0 to 1: use ink_from_image")
        object.__setattr__(self, "ink", ink)
        object.__setattr__(self, "labels", labels)

    def __len__(self) -> int:
        return len(self.labels)


def ink_of(digits: Digits) -> LabelledInk:
    """Return the digits of a split, images or strokes, as normalised ink."""
    if digits.images is not None:
        ink = [ink_from_image(image) for image in digits.images]
    else:
        ink = [ink_from_strokes(strokes) for strokes in digits.strokes]
    shape = (-1, IMAGE_SIZE, IMAGE_SIZE)
    return LabelledInk(np.array(ink, np.float32).reshape(shape), np.asarray(digits.labels, np.int64))
