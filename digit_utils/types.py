"""DOC types."""

from collections.abc import Sequence

import numpy as np

IMAGE_SIZE = 28  # pixels, side of the picture that the network reads (MNIST)

Strokes = Sequence[np.ndarray]  # one (n, 2) array per stroke: x to the right, y down, in drawing order


CLASSES = 10


def checked_digit(digit: object) -> int:
    """Return a digit, of whatever type of whole number, as an int. Raises ValueError when it is not from 0 to 9."""
    if isinstance(digit, (int, np.integer)) and not isinstance(digit, bool) and 0 <= digit < CLASSES:
        return int(digit)
    raise ValueError(f"digit is {digit!r}; expected a whole number from 0 to 9")


CLASSES = 10


CLASSES = 10
