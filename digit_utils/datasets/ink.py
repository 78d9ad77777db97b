"""Digits of a dataset as normalised ink, the input of the network."""

from dataclasses import dataclass

import numpy as np

from digit_utils.datasets.base import Digits
from digit_utils.preprocessing.images import ink_from_image
from digit_utils.preprocessing.strokes import ink_from_strokes
from digit_utils.types import IMAGE_SIZE


@dataclass(frozen=True, eq=False)
class LabelledInk:
    """Normalised ink and its labels."""

    ink: np.ndarray  # (n, 28, 28) float32 in [0, 1]
    labels: np.ndarray  # (n,) int64, 0 to 9

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
