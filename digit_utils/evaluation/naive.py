"""The usual way of preparing a drawing, which loses its shape. For comparison only."""

import cv2
import numpy as np

from digit_utils.preprocessing.strokes import BOX_SIZE, SUPERSAMPLING, clean_strokes
from digit_utils.types import IMAGE_SIZE, Strokes

# ------------------------------------------------------------------- the usual way, and harder digits


def naive_ink(strokes: Strokes, *, pen: float = 0.04) -> np.ndarray:
    """Do what the usual demo does: draw, crop, stretch to 20x20, pad to 28x28. For comparison only.

    Args:
        strokes: list of (n, 2) arrays, x right, y down, any unit, at least one point in all.
        pen: width of the pen, in parts of the drawing's long side.

    Returns:
        (28, 28) float32 in [0, 1]: aspect ratio and pen width are lost, and so is the centre of mass.
    """
    cleaned = clean_strokes(strokes)
    everything = np.concatenate(cleaned)
    side = BOX_SIZE * SUPERSAMPLING
    low, extent = everything.min(axis=0), max(np.ptp(everything, axis=0).max(), 1e-9)
    canvas = np.zeros((2 * side, 2 * side), np.uint8)
    for stroke in cleaned:
        points = np.round(((stroke - low) / extent * side + side / 2) * 16).astype(np.int32)
        cv2.polylines(canvas, [np.repeat(points, 2, axis=0)], False, 255, max(1, round(pen * side)), cv2.LINE_AA, 4)
    return naive_ink_of_image(canvas)


def naive_ink_of_image(image: np.ndarray) -> np.ndarray:
    """Do to a picture what the usual demo does: crop, stretch to 20x20, pad to 28x28. For comparison only.

    Args:
        image: (height, width) uint8, light ink on a page of zeros, at least one pixel of ink.

    Returns:
        (28, 28) float32 in [0, 1].
    """
    left, top, width, height = cv2.boundingRect(image)
    crop = image[top : top + height, left : left + width]
    small = cv2.resize(crop, (BOX_SIZE, BOX_SIZE), interpolation=cv2.INTER_AREA)
    return np.pad(small, (IMAGE_SIZE - BOX_SIZE) // 2).astype(np.float32) / 255
