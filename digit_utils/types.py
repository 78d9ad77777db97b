"""What every room agrees on: strokes, the network's input size, and the ten digits."""

from collections.abc import Sequence

import numpy as np

IMAGE_SIZE = 28  # pixels, side of the image that the network reads (MNIST)
NUM_CLASSES = 10  # the digits 0 to 9

Strokes = Sequence[np.ndarray]  # one (n, 2) array per stroke: x to the right, y down, in drawing order


def check_digit(digit: object) -> int:
    """Return a digit, of whatever integer type, as an int. Raises ValueError when it is not from 0 to 9."""
    if isinstance(digit, (int, np.integer)) and not isinstance(digit, bool) and 0 <= digit < NUM_CLASSES:
        return int(digit)
    raise ValueError(f"digit is {digit!r}; expected a whole number from 0 to 9")
