"""Allographs: forms of all ten digits, whose curves pass through their points."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from digit_utils.augmentation.allographs import (
    ALLOGRAPHS,
    JITTER,
    POINTS_PER_PIECE,
    Allograph,
    draw_allograph,
    random_allographs,
    smooth_curve,
)
from digit_utils.preprocessing.strokes import ink_from_strokes

pytestmark = pytest.mark.filterwarnings("error")


def skeleton(path: str) -> np.ndarray:
    """The points of a stroke, read independently of the module: (n, 2)."""
    return np.array([tuple(map(float, word.split(","))) for word in path.replace("/", " ").split()])


def catmull_rom(points: np.ndarray, t: float) -> np.ndarray:
    """The curve between the middle two of four points, by its matrix (Catmull and Rom, 1974)."""
    basis = 0.5 * np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]])
    return np.array([1, t, t * t, t**3]) @ basis @ points


def test_every_digit_has_several_forms_with_names_of_their_own():
    for digit in range(10):
        names = [form.name for form in ALLOGRAPHS if form.digit == digit]
        assert len(names) >= 8
        assert len(set(names)) == len(names)
    assert {form.digit for form in ALLOGRAPHS} == set(range(10))
    assert len(set(ALLOGRAPHS)) == len({form.strokes for form in ALLOGRAPHS}) == len(ALLOGRAPHS)


def test_the_forms_that_mnist_lacks_are_there():
    names = {(form.digit, form.name) for form in ALLOGRAPHS}
    assert {
        (0, "slashed"),
        (0, "dotted"),
        (1, "flag"),
        (1, "foot"),
        (1, "long_flag"),
        (2, "loop"),
        (3, "flat_top"),
    } <= names
    assert {(4, "open"), (4, "closed"), (7, "barred"), (7, "serif"), (9, "straight"), (9, "hooked")} <= names


@pytest.mark.parametrize("form", ALLOGRAPHS, ids=lambda form: f"{form.digit}-{form.name}")
def test_the_pen_passes_through_the_points_of_the_skeleton_in_their_order(form):
    strokes = draw_allograph(form)
    assert len(strokes) == len(form.strokes)
    for stroke, path in zip(strokes, form.strokes, strict=True):
        at = -1
        for point in skeleton(path):
            rest = np.abs(stroke[at + 1 :] - point).max(axis=1)
            assert rest.min() < 1e-12
            at += 1 + int(rest.argmin())
        assert at == len(stroke) - 1  # it ends at the last one
        assert np.hypot(*np.diff(stroke, axis=0).T).max() < 0.2  # and never jumps


@pytest.mark.parametrize("form", ALLOGRAPHS, ids=lambda form: f"{form.digit}-{form.name}")
def test_a_form_lies_in_about_the_unit_box_and_is_as_high_as_it(form):
    points = np.concatenate(draw_allograph(form))
    assert points.min() > -0.2
    assert points.max() < 1.2
    assert np.ptp(points[:, 1]) > 0.9
    assert ink_from_strokes(draw_allograph(form)).sum() > 20


def test_a_corner_is_sharp_and_a_bend_is_not():
    corner, bend = (draw_allograph(Allograph(7, "", (path,)))[0] for path in ("0,0 1,0 / 1,1", "0,0 1,0 1,1"))
    assert np.ptp(corner[: POINTS_PER_PIECE + 1, 1]) == 0  # straight to the corner
    assert np.ptp(corner[POINTS_PER_PIECE:, 0]) == 0  # and straight on
    assert np.ptp(bend[: POINTS_PER_PIECE + 1, 1]) > 0.05


def test_without_a_generator_a_form_is_always_the_same_and_with_one_never():
    form = ALLOGRAPHS[5]
    rng = np.random.default_rng(0)
    first, second = draw_allograph(form, rng), draw_allograph(form, rng)
    assert not np.array_equal(first[0], second[0])
    assert np.array_equal(first[0], draw_allograph(form, np.random.default_rng(0))[0])
    assert np.array_equal(draw_allograph(form)[0], draw_allograph(form)[0])  # the skeleton was not moved


def test_jitter_moves_the_points_by_as_much_as_told():
    form = next(form for form in ALLOGRAPHS if form.name == "flag" and form.digit == 1)
    still = draw_allograph(form)[0][::POINTS_PER_PIECE]
    rng = np.random.default_rng(0)
    moved = np.array([draw_allograph(form, rng)[0][::POINTS_PER_PIECE] for _ in range(1000)])
    assert (moved - still).std(axis=0) == pytest.approx(np.full(still.shape, JITTER), rel=0.1)
    assert (moved - still).mean(axis=0) == pytest.approx(np.zeros(still.shape), abs=0.005)


def test_random_allographs_are_balanced():
    drawings, digits = random_allographs(6000, np.random.default_rng(0))
    assert len(drawings) == len(digits) == 6000
    assert digits.dtype == np.int64
    assert np.bincount(digits, minlength=10) == pytest.approx(np.full(10, 600), rel=0.15)
    ones = [len(drawing) for drawing, digit in zip(drawings, digits, strict=True) if digit == 1]
    forms = [form for form in ALLOGRAPHS if form.digit == 1]
    two_strokes = np.mean([len(form.strokes) == 2 for form in forms])
    assert np.mean(np.array(ones) == 2) == pytest.approx(two_strokes, abs=0.07)  # each form as often as the others


def test_random_allographs_come_from_the_generator():
    (first, labels), (second, again) = (random_allographs(20, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(labels, again)
    for one, other in zip(first, second, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    drawings, none = random_allographs(0, np.random.default_rng(3))
    assert (drawings, len(none)) == ([], 0)


def test_a_smooth_curve_is_catmull_and_roms():
    points = np.random.default_rng(0).random((6, 2))
    curve = smooth_curve(points, per_piece=8)
    assert curve.shape == (5 * 8 + 1, 2)
    assert curve[::8] == pytest.approx(points)
    for piece in range(1, 4):
        for step in range(8):
            expected = catmull_rom(points[piece - 1 : piece + 3], step / 8)
            assert curve[piece * 8 + step] == pytest.approx(expected)


def test_a_smooth_curve_has_no_kinks():
    curve = smooth_curve(np.array([[0, 0], [1, 2], [3, 1], [4, 3]], float), per_piece=200)
    steps = np.diff(curve, axis=0)
    turns = [np.degrees(np.arccos(np.clip(a @ b / np.hypot(*a) / np.hypot(*b), -1, 1))) for a, b in pairwise(steps)]
    assert max(turns) < 3


def test_two_points_give_a_straight_line_and_one_point_itself():
    line = smooth_curve(np.array([[0.0, 0.0], [2.0, 4.0]]), per_piece=4)
    assert line == pytest.approx(np.outer(np.linspace(0, 1, 5), [2, 4]))
    assert smooth_curve(np.array([[3.0, 4.0]])).tolist() == [[3.0, 4.0]]
