"""Ruling: printed lines are taken out of a photo where they are as strong as what is written, and nothing else is."""

import cv2
import numpy as np
import pytest

from digit_utils.preprocessing.binarization import find_ink
from digit_utils.preprocessing.images import ink_from_image

SHAPE = (384, 300)


def ruled(*, spacing: int, angle: float, squared: bool) -> np.ndarray:
    """Return lines of two pixels all over a page, (384, 300) float64, 1 where they are."""
    lines = np.zeros((600, 600))
    lines[::spacing] = lines[1::spacing] = 1
    if squared:
        lines[:, ::spacing] = lines[:, 1::spacing] = 1
    matrix = cv2.getRotationMatrix2D((300, 300), angle, 1)
    return cv2.warpAffine(lines, matrix, (600, 600))[100 : 100 + SHAPE[0], 150 : 150 + SHAPE[1]]


def seven(*, pen: int) -> np.ndarray:
    """Return a 7 of 100 pixels in the middle of the page, (384, 300) uint8, 1 where it is."""
    points = np.array([[115, 145], [185, 145], [140, 245]], np.int32)
    return cv2.polylines(np.zeros(SHAPE, np.uint8), [points], False, 1, pen, cv2.LINE_8)


def overlap(ink: np.ndarray | None, truth: np.ndarray) -> float:
    if ink is None:
        return 0.0
    found = ink > 0.5
    return float((found & (truth > 0)).sum() / (found | (truth > 0)).sum())


@pytest.mark.parametrize("light_ink", [False, True], ids=["dark ink", "light ink"])
@pytest.mark.parametrize("squared", [False, True], ids=["ruled", "squared"])
@pytest.mark.parametrize("angle", [0.0, -1.3, 4.0])
def test_lines_as_strong_as_the_pen_are_no_ink(angle, squared, light_ink):
    truth = seven(pen=5)
    page = 220 - 25 * np.indices(SHAPE)[1] / SHAPE[1]
    picture = page - 80 * np.maximum(truth, ruled(spacing=37, angle=angle, squared=squared))
    picture = cv2.GaussianBlur(picture, (0, 0), 0.8) + np.random.default_rng(0).normal(0, 2, SHAPE)
    picture = np.clip(255 - picture if light_ink else picture, 0, 255).astype(np.uint8)
    assert overlap(find_ink(picture), truth) > 0.7


def test_on_a_closer_look_lines_are_not_ink_again():
    """A large photo is looked at once more around a small digit, where no line is long enough to be told by that."""
    small = seven(pen=5) - 0.5
    picture = 220 - 80 * np.maximum(small > 0, ruled(spacing=37, angle=1.0, squared=True))
    picture = cv2.resize(picture, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    picture += np.random.default_rng(0).normal(0, 3, picture.shape)
    ink = ink_from_image(np.clip(picture, 0, 255).astype(np.uint8))
    alone = ink_from_image((255 * (small > 0)).astype(np.uint8))
    assert np.corrcoef(ink.ravel(), alone.ravel())[0, 1] > 0.9


def crossed(*, angle: float) -> np.ndarray:
    """Return two lines, an upright and a level one, from edge to edge of a page, (384, 300) float64."""
    lines = np.zeros((600, 600))
    lines[400:402], lines[:, 250:252] = 1, 1
    matrix = cv2.getRotationMatrix2D((300, 300), angle, 1)
    return cv2.warpAffine(lines, matrix, (600, 600))[100 : 100 + SHAPE[0], 150 : 150 + SHAPE[1]]


def photographed(page: np.ndarray, *, light_ink: bool) -> np.ndarray:
    picture = cv2.GaussianBlur(page, (0, 0), 0.8) + np.random.default_rng(0).normal(0, 2, page.shape)
    return np.clip(255 - picture if light_ink else picture, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("light_ink", [False, True], ids=["dark ink", "light ink"])
@pytest.mark.parametrize("angle", [0.0, -2.0, 4.0])
@pytest.mark.parametrize("written", [True, False], ids=["with a digit", "blank"])
def test_the_creases_of_a_folded_page_are_no_ink(written, angle, light_ink):
    truth = seven(pen=5) * np.uint8(written)
    found = find_ink(photographed(220 - 80 * np.maximum(truth, crossed(angle=angle)), light_ink=light_ink))
    assert overlap(found, truth) > 0.7 if written else found is None


TIGHT = {  # digits that fill a photo from edge to edge, one way or both, as paths in pixels of it
    "7": ((384, 300), [[(0, 20), (299, 20), (120, 383)]]),
    "2": ((384, 300), [[(0, 60), (150, 20), (299, 60), (0, 363), (299, 363)]]),
    "1 in its height": ((384, 300), [[(80, 110), (150, 0), (150, 383)]]),
    "1 in its height, plain": ((384, 200), [[(100, 0), (100, 383)]]),
    "4 in its height": ((384, 300), [[(110, 60), (80, 220), (250, 220)], [(190, 0), (190, 383)]]),
    "7 in its width": ((384, 160), [[(0, 100), (159, 100), (60, 290)]]),
    "7 in its width, broad": ((200, 300), [[(0, 40), (299, 40), (130, 170)]]),
    "4 in its width": ((384, 160), [[(50, 90), (10, 230), (0, 235), (159, 235)], [(100, 120), (100, 300)]]),
}


@pytest.mark.parametrize("light_ink", [False, True], ids=["dark ink", "light ink"])
@pytest.mark.parametrize("pen", [6, 9, 14])
@pytest.mark.parametrize("digit", TIGHT)
def test_a_stroke_from_edge_to_edge_of_a_tight_photo_is_ink(digit, pen, light_ink):
    """The bar of a 7 and the stem of a 1 go as far as a crease does."""
    shape, paths = TIGHT[digit]
    truth = cv2.polylines(np.zeros(shape, np.uint8), [np.array(path) for path in paths], False, 1, pen)
    assert overlap(find_ink(photographed(220.0 - 120 * truth, light_ink=light_ink)), truth) > 0.8


@pytest.mark.parametrize("light_ink", [False, True], ids=["dark ink", "light ink"])
def test_a_stroke_across_lines_keeps_its_ink(light_ink):
    lines, stroke = ruled(spacing=40, angle=0, squared=False), np.zeros(SHAPE, np.uint8)
    stroke[100:300, 150:156] = 1
    found = find_ink(photographed(220 - 80 * np.maximum(0.5 * lines, stroke), light_ink=light_ink))
    assert overlap(found, stroke) > 0.7


def test_faint_lines_are_no_trouble():
    page = 220 - 100 * np.maximum(0.08 * ruled(spacing=40, angle=0, squared=True), seven(pen=5))
    assert overlap(find_ink(photographed(page, light_ink=False)), seven(pen=5)) > 0.7


@pytest.mark.parametrize("pen", [10, 30, 60])
def test_a_digit_that_fills_a_photo_is_no_ruling(pen):
    """An 8 has four strokes one above the other at most, and none of them goes through all of the picture."""
    eight = np.zeros(SHAPE, np.uint8)
    for middle in (110, 270):
        cv2.ellipse(eight, (150, middle), (100, 75), 0, 0, 360, 1, pen)
    assert overlap(find_ink(photographed(220.0 - 120 * eight, light_ink=False)), eight) > 0.85
