"""The usual preprocessing of drawings, which loses their shape. For comparison only."""

import cv2
import numpy as np

from digit_utils.preprocessing.strokes import BOX_SIZE, SUPERSAMPLING, clean_strokes, draw_lines
from digit_utils.types import IMAGE_SIZE, Strokes


def naive_ink(strokes: Strokes, *, pen: float = 0.04) -> np.ndarray:
    """Preprocess strokes as the usual demo does: draw, crop, stretch to 20x20, pad to 28x28.

    Args:
        strokes: list of (n, 2) arrays, x right, y down, any unit, at least one point in all.
        pen: width of the pen, relative to the drawing's long side.

    Returns:
        (28, 28) float32 in [0, 1]: aspect ratio and pen width are lost, and so is the centre of mass.
    """
    cleaned = clean_strokes(strokes)
    everything = np.concatenate(cleaned)
    side = BOX_SIZE * SUPERSAMPLING
    low, extent = everything.min(axis=0), max(np.ptp(everything, axis=0).max(), 1e-9)
    canvas = np.zeros((2 * side, 2 * side), np.uint8)
    # Each point twice: OpenCV then draws a dot on it, and antialiased joints are darker, as in the usual demo.
    scaled = [np.repeat((stroke - low) / extent * side + side / 2, 2, axis=0) for stroke in cleaned]
    draw_lines(canvas, scaled, thickness=max(1, round(pen * side)), smooth=True)
    return naive_ink_of_image(canvas)


def naive_ink_of_image(image: np.ndarray) -> np.ndarray:
    """Preprocess an image as the usual demo does: crop, stretch to 20x20, pad to 28x28.

    Args:
        image: (height, width) uint8, light ink on a page of zeros, at least one pixel of ink.

    Returns:
        (28, 28) float32 in [0, 1].
    """
    left, top, width, height = cv2.boundingRect(image)
    crop = image[top : top + height, left : left + width]
    small = cv2.resize(crop, (BOX_SIZE, BOX_SIZE), interpolation=cv2.INTER_AREA)
    return np.pad(small, (IMAGE_SIZE - BOX_SIZE) // 2).astype(np.float32) / 255
