"""Pictures of paper with numbers on it, drawn by the tests themselves."""

import cv2
import numpy as np

from digit_utils.datasets.samples import sample_digits

SAMPLES = {sample.digit: sample.strokes for sample in sample_digits(side=1.0)}


def picture_of(*numbers: tuple[str, int, int], width: int = 1000, height: int = 700, size: int = 130) -> np.ndarray:
    """Return blue ink on grey paper, (height, width, 3) uint8: for each number its digits, x and y of its corner.

    The digits of a number stand 0.8 * size apart.
    """
    page = np.full((height, width, 3), (228, 232, 235), np.uint8)
    for text, left, top in numbers:
        for place, digit in enumerate(map(int, text)):
            for stroke in SAMPLES[digit]:
                points = np.round(stroke * size + [left + 0.8 * size * place, top]).astype(np.int32)
                cv2.polylines(page, [points], isClosed=False, color=(30, 40, 110), thickness=6, lineType=cv2.LINE_AA)
    return page
