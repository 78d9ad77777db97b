"""Images as people have them, through the whole recogniser."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from digit_utils import Recognizer
from digit_utils.datasets.base import DigitDataset
from tests.support.pictures import picture_of


@pytest.fixture
def seven() -> np.ndarray:
    """A 7 in blue ink on yellow paper, (80, 80, 3) uint8 RGB."""
    page = np.full((80, 80, 3), (250, 240, 180), np.uint8)
    cv2.polylines(page, [np.array([[22, 18], [58, 18], [34, 64]])], False, (20, 20, 160), 5, cv2.LINE_AA)
    return page


def test_a_file_a_pil_image_and_arrays_of_either_order_show_the_same_seven(
    recognizer: Recognizer, seven: np.ndarray, tmp_path: Path
):
    path = tmp_path / "seven.png"
    Image.fromarray(seven).save(path)
    expected = recognizer.recognize_image(seven)
    assert expected.digit == 7
    assert expected.reason == ""
    for prediction in (
        recognizer.recognize_image(path),
        recognizer.recognize_image(Image.fromarray(seven)),
        recognizer.recognize_image(seven[..., ::-1], channels="bgr"),
        recognizer.recognize_image(seven / 255),
    ):
        assert np.array_equal(prediction.image, expected.image)


def test_none_says_why(recognizer: Recognizer):
    blank = recognizer.recognize_image(np.full((80, 80), 255, np.uint8))
    scribble = [np.random.default_rng(0).uniform(0, 100, (40, 2))]
    assert (blank.digit, blank.reason) == (None, "blank")
    assert (recognizer.recognize(scribble).digit, recognizer.recognize(scribble).reason) == (None, "not a digit")
    for numbers in ([("47", 150, 200)], [("2026", 100, 80), ("4", 150, 400)]):
        several = recognizer.recognize_image(picture_of(*numbers))
        assert (several.digit, several.reason) == (None, "several digits")


@pytest.mark.parametrize("light_on_dark", [False, True])
def test_soft_scans_cropped_to_their_ink_are_read_as_with_a_margin(
    light_on_dark: bool, recognizer: Recognizer, mnist: DigitDataset
):
    differ = 0
    for image in mnist.test.images[:100]:
        soft = cv2.GaussianBlur(cv2.resize(image, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC), (0, 0), 2)
        left, top, width, height = cv2.boundingRect((soft > 100).astype(np.uint8))
        crop = soft[top : top + height, left : left + width]
        framed = cv2.copyMakeBorder(crop, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        crop, framed = (crop, framed) if light_on_dark else (255 - crop, 255 - framed)
        differ += recognizer.recognize_image(crop).digit != recognizer.recognize_image(framed).digit
    assert differ == 0
