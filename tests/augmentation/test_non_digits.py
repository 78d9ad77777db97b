"""Things that are no digits: all kinds of ink, and none that whoever drew it may have meant as a digit."""

from __future__ import annotations

import string

import numpy as np
import pytest

from digit_utils.augmentation import non_digits
from digit_utils.augmentation.allographs import random_allographs
from digit_utils.augmentation.non_digits import (
    GLYPHS,
    STROKE_KINDS,
    blob,
    crossed_out,
    doodle,
    letter,
    line_or_dots,
    non_digits_of_scans,
    random_non_digits,
    scribble,
    several_digits,
    side_by_side,
    sign,
)
from digit_utils.preprocessing.strokes import ink_from_strokes

pytestmark = pytest.mark.filterwarnings("error")


def test_non_digits_are_ink():
    found = random_non_digits(400, np.random.default_rng(0))
    assert (found.shape, found.dtype) == ((400, 28, 28), np.float32)
    assert found.min() >= 0
    assert found.max() <= 1
    assert (found.sum(axis=(1, 2)) > 5).mean() > 0.98
    assert len(np.unique(found.reshape(400, -1), axis=0)) > 395  # hardly ever the same twice


def test_all_randomness_comes_from_the_generator():
    first, second, other = (random_non_digits(40, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)
    assert random_non_digits(0, np.random.default_rng(0)).shape == (0, 28, 28)


@pytest.mark.parametrize("kind", STROKE_KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_gives_strokes_that_can_be_drawn(kind):
    rng = np.random.default_rng(0)
    drawings = [kind(rng) for _ in range(150)]
    for drawing in drawings:
        assert len(drawing)
        assert all(stroke.ndim == 2 and stroke.shape[1] == 2 and np.isfinite(stroke).all() for stroke in drawing)
        assert ink_from_strokes(drawing).any()
    assert len({np.concatenate(drawing).tobytes() for drawing in drawings}) > 10  # not one of a kind


def test_drawing_does_not_change_the_glyphs_that_are_kept_for_later():
    for kind, seed in ((letter, 3), (sign, 3), (doodle, 3)):
        before = [stroke.copy() for stroke in kind(np.random.default_rng(seed))]
        random_non_digits(200, np.random.default_rng(0))
        after = kind(np.random.default_rng(seed))
        assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


WHERE_KEYS_ARE_WHAT_IS_DRAWN = ("futural", "scripts", "timesi", "timesr", "gothiceng")


def test_letters_that_are_digit_shapes_are_left_out():
    for font in WHERE_KEYS_ARE_WHAT_IS_DRAWN:
        assert not set(GLYPHS[font]) & set("0123456789OoIlSsZzbqg|/\\()-")
    assert all(len(set(keys)) == len(keys) for keys in GLYPHS.values())


def test_every_other_letter_is_shown_printed_written_and_with_serifs():
    others = set(string.ascii_letters) - set("OoIlSsZzbqg")
    for fonts in (("futural",), ("timesr",), ("timesi",)):
        assert others <= set("".join(GLYPHS[font] for font in fonts))
    assert others - set("JQYy") <= set(GLYPHS["scripts"])  # whose J, Q, Y and y look like digits


@pytest.mark.parametrize("font", GLYPHS)
def test_every_glyph_can_be_drawn(font):
    drawings = non_digits._glyphs((font,))
    assert len(drawings) == len(GLYPHS[font])
    for key, drawing in zip(GLYPHS[font], drawings, strict=True):
        assert ink_from_strokes(drawing).sum() > 10, f"{font} has nothing under {key!r}"


def test_the_kinds_are_drawn_as_often_as_they_weigh(monkeypatch: pytest.MonkeyPatch):
    drawn = []

    def noting(kind):
        return lambda rng: drawn.append(kind) or kind(rng)

    monkeypatch.setattr(non_digits, "STROKE_KINDS", {noting(kind): weight for kind, weight in STROKE_KINDS.items()})
    random_non_digits(2000, np.random.default_rng(0), blobs=0.18)
    assert len(drawn) / 2000 == pytest.approx(0.82, abs=0.03)
    for kind, weight in STROKE_KINDS.items():
        assert drawn.count(kind) / len(drawn) == pytest.approx(weight, abs=0.035), kind.__name__


def test_side_by_side_keeps_drawings_apart_in_their_order():
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]], float)
    for seed in range(20):
        found = side_by_side([[square * 50 + 7], [square], [square[:2] * 3]], np.random.default_rng(seed))
        lefts, rights = ([edge(stroke[:, 0]) for stroke in found] for edge in (np.min, np.max))
        assert rights[0] < lefts[1]
        assert rights[1] < lefts[2]
        heights = [np.ptp(stroke[:, 1]) for stroke in found[:2]]
        assert heights == pytest.approx([1, 1], abs=0.2)  # whatever their sizes were


def test_several_digits_are_wider_than_one():
    rng = np.random.default_rng(0)
    extents = np.array([np.ptp(np.concatenate(several_digits(rng)), axis=0) for _ in range(100)])
    assert np.median(extents[:, 0] / extents[:, 1]) > 1.2


def test_lines_are_too_level_for_a_one():
    rng = np.random.default_rng(0)
    for _ in range(200):
        strokes = line_or_dots(rng)
        if len(strokes) == 1 and len(strokes[0]) == 3:
            (width, height) = np.ptp(strokes[0], axis=0)
            assert height < 0.6 * width


def test_scribbles_hold_every_kind():
    rng = np.random.default_rng(0)
    strokes = [scribble(rng) for _ in range(100)]
    assert max(len(drawing) for drawing in strokes) > 4  # hatching
    assert min(len(drawing) for drawing in strokes) == 1  # curves


def test_blobs_are_filled():
    rng = np.random.default_rng(0)
    blobs = [blob(rng) for _ in range(100)]
    areas = [float((picture > 0.3).sum()) for picture in blobs]
    assert np.median(areas) > 120  # of 400: a pen leaves about 70


def test_a_crossed_out_digit_has_strikes_from_side_to_side():
    for seed in range(30):
        strokes = crossed_out(np.random.default_rng(seed))
        strikes = [stroke for stroke in strokes if len(stroke) == 2 and np.ptp(stroke[:, 0]) > 0.65]
        assert len(strikes) >= 2  # one may be the bar of a 7
        assert len(strokes) > len(strikes)  # the digit is still there


def test_photographed_non_digits_are_soft_where_drawn_ones_are_sharp():
    drawn, worn = (random_non_digits(300, np.random.default_rng(5), blobs=0, photographed=part) for part in (0.0, 1.0))
    assert (worn.sum(axis=(1, 2)) > 5).mean() > 0.98
    full = [float((ink > 0.98).sum() / (ink > 0.1).sum()) for ink in (drawn, worn)]
    assert full[0] > full[1] + 0.05


def scans(count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    drawings, labels = random_allographs(count, np.random.default_rng(0))
    return np.stack([ink_from_strokes(drawing) for drawing in drawings]), labels


def test_non_digits_of_scans_lie_on_their_side_or_stand_in_a_row():
    ink, labels = scans()
    found = non_digits_of_scans(ink, labels, 200, np.random.default_rng(0))
    assert (found.shape, found.dtype) == ((200, 28, 28), np.float32)
    assert found.min() >= 0
    assert found.max() <= 1
    assert found.any(axis=(1, 2)).all()
    heights = np.array([np.ptp(np.flatnonzero(picture.max(axis=1) > 0.3)) for picture in found])
    assert (heights < 16).mean() > 0.3  # two or three digits in a row are wider than high
    again = non_digits_of_scans(ink, labels, 200, np.random.default_rng(0))
    assert np.array_equal(found, again)


def test_scans_without_a_digit_to_turn_are_put_in_rows():
    ink, labels = scans()
    ones = labels == 1
    found = non_digits_of_scans(ink[ones], labels[ones], 20, np.random.default_rng(0))
    assert found.any(axis=(1, 2)).all()
    assert non_digits_of_scans(ink, labels, 0, np.random.default_rng(0)).shape == (0, 28, 28)
