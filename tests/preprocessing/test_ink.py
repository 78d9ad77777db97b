"""Ink against independent computations: SciPy's centre of mass, plain NumPy boxes, pens measured in the picture."""

from __future__ import annotations

import time
from itertools import pairwise

import cv2
import numpy as np
import pytest
from scipy import ndimage

from digit_utils.preprocessing.components import pen_width_of
from digit_utils.preprocessing.images import PEN_WIDTH_RANGE, _shrink_to, ink_from_image
from digit_utils.preprocessing.strokes import (
    BOX_SIZE,
    PEN_WIDTH,
    blank_ink,
    centre_of_mass,
    clean_strokes,
    curve_through,
    fit_to_box,
    ink_from_strokes,
)

pytestmark = pytest.mark.filterwarnings("error")

SEVEN = [np.array([[0, 0], [60, 2], [40, 45], [22, 100]]), np.array([[15, 50], [55, 46]])]
LINES = {
    "level": np.array([[0, 0], [90, 0]]),
    "upright": np.array([[0, 0], [0, 90]]),
    "diagonal": np.array([[0, 0], [90, 90]]),
}


def spiral(count: int) -> np.ndarray:
    """A lopsided path of `count` points, like a 6 drawn with a flourish."""
    t = np.linspace(0, 1, count)
    angle = 9 * t**0.8
    return np.stack([(1 - 0.7 * t) * np.cos(angle) * 40, (1 - 0.7 * t) * np.sin(angle) * 70 + 30 * t], axis=1)


def reference_centre(ink: np.ndarray) -> np.ndarray:
    """Centre of mass (x, y) from the upper left corner of the picture, by SciPy."""
    return np.array(ndimage.center_of_mass(ink.astype(np.float64))[::-1]) + 0.5


def reference_box(ink: np.ndarray) -> tuple[float, float]:
    """Width and height of the ink, in pixels and their parts, from how far the edge pixels are covered."""
    return tuple(float(_extent(ink.max(axis=axis))) for axis in (0, 1))


def _extent(profile: np.ndarray) -> float:
    covered = np.flatnonzero(profile > 0.02)
    inner = covered[-1] - covered[0] - 1
    return inner + min(1.0, profile[covered[0]]) + min(1.0, profile[covered[-1]])


def with_shift(first: np.ndarray, second: np.ndarray) -> float:
    """Best correlation of two pictures when the second may move by a pixel."""
    return max(
        np.corrcoef(first.ravel(), np.roll(second, (down, right), (0, 1)).ravel())[0, 1]
        for down in (-1, 0, 1)
        for right in (-1, 0, 1)
    )


def is_ink(picture: np.ndarray) -> bool:
    in_range = picture.min() >= 0 and picture.max() <= 1
    return picture.shape == (28, 28) and picture.dtype == np.float32 and bool(in_range)


# ------------------------------------------------------------------------------------------------------------
# Strokes: place, size, proportions


@pytest.mark.parametrize("strokes", [SEVEN, [spiral(80)], *([line] for line in LINES.values())])
def test_the_long_side_is_twenty_pixels_and_the_proportions_stay(strokes):
    ink = ink_from_strokes(strokes)
    width, height = reference_box(ink)
    extent = np.ptp(np.concatenate(strokes), axis=0).astype(float)
    path_box = extent / extent.max() * (BOX_SIZE - PEN_WIDTH)  # of the pen's middle
    assert is_ink(ink)
    assert [width, height] == pytest.approx(path_box + PEN_WIDTH, abs=0.6)


@pytest.mark.parametrize("strokes", [[spiral(80)], SEVEN, [SEVEN[0]], *([line] for line in LINES.values())])
def test_the_centre_of_mass_is_in_the_middle_of_pixel_fourteen(strokes):
    ink = ink_from_strokes(strokes)
    assert reference_centre(ink) == pytest.approx([14.5, 14.5], abs=0.12)
    assert centre_of_mass(ink) == pytest.approx(reference_centre(ink), abs=1e-6)


def test_ink_is_never_pushed_over_the_edge_of_the_page():
    # A blot at the upper end of a thin line: with its centre of mass in the middle, the line would leave the page.
    blot = np.random.default_rng(0).uniform([-15, 0], [15, 30], (2000, 2))
    ink = ink_from_strokes([blot, np.array([[0, 0], [0, 100]])], pen_width=1.0)
    assert reference_box(ink)[1] == pytest.approx(20, abs=0.6)
    assert reference_centre(ink)[1] < 14.2
    assert ink[-1].max() > 0.5  # it ends in the last row


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 0.1, 7.3, 1e3, 1e6])
@pytest.mark.parametrize("offset", [(0, 0), (1e6, -1e6), (-0.37, 12.9)])
def test_ink_depends_neither_on_scale_nor_on_place(scale, offset):
    moved = [stroke * scale + np.array(offset) for stroke in SEVEN]
    # The path is rounded to a 128th of a pixel: no grey level may move by more than a few of 64 samples.
    assert np.abs(ink_from_strokes(moved) - ink_from_strokes(SEVEN)).max() < 0.12


def test_powers_of_two_change_nothing_at_all():
    reference = ink_from_strokes(SEVEN)
    for exponent in (-20, -3, 5, 30):
        assert np.array_equal(ink_from_strokes([stroke * 2.0**exponent for stroke in SEVEN]), reference)


def test_sampling_hardly_matters():
    dense = spiral(1000)
    along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(dense, axis=0).T))])
    at = np.linspace(0, along[-1], 40)
    sparse = np.stack([np.interp(at, along, dense[:, axis]) for axis in (0, 1)], axis=1)
    assert np.corrcoef(ink_from_strokes([dense]).ravel(), ink_from_strokes([sparse]).ravel())[0, 1] > 0.99


def wave(points: int) -> np.ndarray:
    """An S of one stroke."""
    t = np.linspace(0, 1.5 * np.pi, points)
    return np.stack([40 * np.cos(2 * t), 30 * t], axis=1)


def circle(points: int) -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, points)
    return np.stack([np.cos(t), np.sin(t)], axis=1)


def laid_out(points: np.ndarray, *, between: int = 50) -> np.ndarray:
    """The straight lines between the points, as so many points that no curve is laid over them."""
    at = np.arange(0, (len(points) - 1) * between + 1) / between
    return np.stack([np.interp(at, np.arange(len(points)), points[:, axis]) for axis in (0, 1)], axis=1)


@pytest.mark.parametrize("curve", [wave, circle])
def test_ten_points_on_a_curve_give_nearly_the_ink_of_a_thousand(curve):
    dense, sparse = ink_from_strokes([curve(1000)]), ink_from_strokes([curve(10)])
    polygon = ink_from_strokes([laid_out(curve(10))])
    assert np.abs(sparse - dense).sum() < 0.7 * np.abs(polygon - dense).sum()
    assert np.corrcoef(sparse.ravel(), dense.ravel())[0, 1] > 0.99


def test_corners_stay_corners():
    """They get a little round where nothing but the corner is known, and hardly where the sides have points, too."""
    for corners in (SEVEN[0].astype(float), np.array([[0, 0], [0, 100], [70, 100.0]])):
        sharp, drawn = ink_from_strokes([laid_out(corners)]), ink_from_strokes([corners])
        assert np.corrcoef(sharp.ravel(), drawn.ravel())[0, 1] > 0.9
        few = np.concatenate([np.linspace(a, b, 4) for a, b in pairwise(corners)])
        assert np.corrcoef(sharp.ravel(), ink_from_strokes([few]).ravel())[0, 1] > 0.99


def test_points_that_repeat_make_no_difference():
    points = wave(10)
    again = np.repeat(points, [1, 3, 1, 1, 2, 1, 1, 5, 1, 2], axis=0)
    assert np.array_equal(ink_from_strokes([again]), ink_from_strokes([points]))


def barry_goldman(points: np.ndarray, exponent: float, share: float) -> np.ndarray:
    """The curve between the middle two of four points, by its pyramid of linear interpolations (1988)."""
    knots = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1) ** exponent)])
    at, level = knots[1] + share * (knots[2] - knots[1]), list(points)
    for spans in (((0, 1), (1, 2), (2, 3)), ((0, 2), (1, 3)), ((1, 2),)):
        parts = [(at - knots[a]) / (knots[b] - knots[a]) for a, b in spans]
        level = [(1 - part) * level[k] + part * level[k + 1] for k, part in enumerate(parts)]
    return level[0]


@pytest.mark.parametrize("exponent", [0, 0.5, 1])
def test_the_curve_is_the_one_of_barry_and_goldman(exponent):
    points = np.random.default_rng(1).random((6, 2))
    curve = curve_through(points, pieces=np.array([1, 4, 2, 8, 3]), exponent=exponent)
    assert len(curve) == 18 + 1
    ends = [0, 1, 5, 7, 15, 18]
    assert curve[ends] == pytest.approx(points)
    for piece, first, count in ((1, 1, 4), (2, 5, 2), (3, 7, 8)):
        for step in range(count):
            expected = barry_goldman(points[piece - 1 : piece + 3], exponent, step / count)
            assert curve[first + step] == pytest.approx(expected)


@pytest.mark.parametrize("pen_width", [1.6, 2.0, PEN_WIDTH, 3.0, 3.8])
@pytest.mark.parametrize("size", [3, 50, 4000])
def test_the_pen_is_as_wide_as_it_should_be_whatever_the_size(pen_width, size):
    upright = ink_from_strokes([np.array([[0, 0], [0, size]])], pen_width=pen_width)
    level = ink_from_strokes([np.array([[0, 0], [size, 0]])], pen_width=pen_width)
    # OpenCV's lines are an odd number of samples wide: half of a step of two is an eighth of a pixel.
    assert upright[9:19].sum(axis=1).mean() == pytest.approx(pen_width, abs=0.13)
    assert level[:, 9:19].sum(axis=0).mean() == pytest.approx(pen_width, abs=0.13)
    assert reference_box(upright)[1] == pytest.approx(20, abs=0.5)


def test_a_diagonal_line_is_drawn_with_the_same_pen():
    ink = ink_from_strokes([LINES["diagonal"]])
    length = (BOX_SIZE - PEN_WIDTH) * np.sqrt(2)
    area = length * PEN_WIDTH + np.pi * PEN_WIDTH**2 / 4  # a band with a round cap at each end
    assert ink.sum() == pytest.approx(area, rel=0.1)


# ------------------------------------------------------------------------------------------------------------
# Strokes: whatever a pad may send


def test_nothing_gives_a_blank_page():
    for strokes in ([], [np.zeros((0, 2))], [[]], [[], []], (), np.zeros((0, 5, 2))):
        assert np.array_equal(ink_from_strokes(strokes), np.zeros((28, 28), np.float32))
    assert is_ink(blank_ink())


@pytest.mark.parametrize("strokes", [[[[5, 5]]], [[[5, 5], [5, 5]]], [[[5, 5]], [[5, 5]]], [np.full((100, 2), 3.5)]])
def test_a_dot_is_a_dot_of_the_pens_size_in_the_middle(strokes):
    ink = ink_from_strokes(strokes)
    assert ink.sum() == pytest.approx(np.pi / 4 * PEN_WIDTH**2, rel=0.3)
    assert reference_centre(ink) == pytest.approx([14.5, 14.5], abs=0.12)


def test_points_that_are_no_numbers_are_passed_over():
    spoilt = [np.insert(SEVEN[0].astype(float), 2, [np.nan, 7], axis=0), SEVEN[1], np.full((3, 2), np.inf)]
    spoilt[0] = np.concatenate([spoilt[0], [[1, -np.inf]]])
    assert np.array_equal(ink_from_strokes(spoilt), ink_from_strokes(SEVEN))
    assert not ink_from_strokes([np.full((4, 2), np.nan)]).any()


def test_any_kind_of_numbers_will_do():
    reference = ink_from_strokes(SEVEN)
    variants = [
        [stroke.tolist() for stroke in SEVEN],
        [[tuple(point) for point in stroke] for stroke in SEVEN],
        [stroke.astype(np.uint8) for stroke in SEVEN],
        [stroke.astype(np.int16) for stroke in SEVEN],
        [stroke.astype(np.float32) for stroke in SEVEN],
        [np.asfortranarray(stroke) for stroke in SEVEN],
        tuple(SEVEN),
    ]
    for variant in variants:
        assert np.array_equal(ink_from_strokes(variant), reference)


@pytest.mark.parametrize("size", [1e300, 1.7e308, 1e-300, 5e-324])
def test_extreme_coordinates_neither_crash_nor_overflow(size):
    ink = ink_from_strokes([np.array([[size, -size], [-size, size]])])
    assert is_ink(ink)
    assert ink.any()


def test_a_hundred_thousand_points_take_less_than_a_second_of_computing():
    steps = np.random.default_rng(0).normal(size=(100_000, 2))
    for path in (np.cumsum(steps, axis=0), spiral(100_000)):
        start = time.process_time()
        ink = ink_from_strokes([path])
        assert time.process_time() - start < 1
        assert ink.any()


def test_many_points_are_thinned_without_changing_the_ink():
    dense = spiral(50_000)
    assert np.abs(ink_from_strokes([dense]) - ink_from_strokes([dense[::25]])).max() < 0.12


def test_input_is_not_changed():
    strokes = [stroke.astype(np.float64) for stroke in SEVEN]
    kept = [stroke.copy() for stroke in strokes]
    ink_from_strokes(strokes)
    clean_strokes(strokes)[0][:] = -1
    assert all(np.array_equal(stroke, copy) for stroke, copy in zip(strokes, kept, strict=True))


@pytest.mark.parametrize(
    "bad",
    [np.zeros(4), np.zeros((4, 3)), np.zeros((2, 2, 2)), [[1, 2], [3]], "12", [["a", "b"]], None, [[10**400, 1]]],
)
def test_what_is_no_stroke_is_refused_by_its_number(bad):
    with pytest.raises(ValueError, match="stroke 1 "):
        ink_from_strokes([SEVEN[0], bad])


def test_one_stroke_without_its_list_is_refused():
    with pytest.raises(ValueError, match="stroke 0 has shape"):
        ink_from_strokes(SEVEN[0])


@pytest.mark.parametrize("pen_width", [0, -1, 20, 40, float("nan"), float("inf")])
def test_impossible_pens_are_refused(pen_width):
    with pytest.raises(ValueError, match="pen_width is"):
        ink_from_strokes(SEVEN, pen_width=pen_width)


def test_fit_to_box_centres_the_box():
    fitted = np.concatenate(fit_to_box([stroke.astype(float) for stroke in SEVEN], long_side=3.0))
    assert fitted.min(axis=0) == pytest.approx([-0.9, -1.5])
    assert fitted.max(axis=0) == pytest.approx([0.9, 1.5])


# ------------------------------------------------------------------------------------------------------------
# Pictures


def drawn(*, side: int = 140, pen: int = 11, ink: int = 255, page: int = 0) -> np.ndarray:
    """A 7 with a bar on an even page, drawn by OpenCV."""
    picture = np.full((side, side), page, np.uint8)
    for stroke in SEVEN:
        points = np.round((stroke * 0.8 + [30, 25]) * side / 140).astype(np.int32)
        cv2.polylines(picture, [points], False, ink, pen, cv2.LINE_AA)
    return picture


def test_a_digit_of_mnist_stays_as_it_is(mnist):
    pictures = mnist.validation.images[:400]
    inks = np.stack([ink_from_image(picture) for picture in pictures])
    similar = np.array([with_shift(a, b) for a, b in zip(pictures / 255, inks, strict=True)])
    assert similar.min() > 0.98
    assert (np.abs(inks - pictures / 255).max(axis=(1, 2)) < 0.02).mean() > 0.75  # most of them do not even move


def test_pictures_have_the_box_and_the_centre_of_mnist(mnist):
    for picture in mnist.validation.images[400:500]:
        enlarged = cv2.resize(picture, None, fx=6, fy=6, interpolation=cv2.INTER_CUBIC)
        enlarged = np.pad(enlarged, ((10, 90), (130, 0)))  # off the centre
        ink = ink_from_image(enlarged)
        rows, columns = np.nonzero(ink > 0.1)
        assert max(np.ptp(rows), np.ptp(columns)) + 1 in (19, 20)
        assert reference_centre(ink) == pytest.approx([14.5, 14.5], abs=0.51)  # it moves by whole pixels
        assert with_shift(ink_from_image(picture), ink) > 0.85


def test_strokes_and_their_picture_give_nearly_the_same_ink():
    from_strokes = ink_from_strokes(SEVEN, pen_width=2.6)
    assert with_shift(from_strokes, ink_from_image(drawn())) > 0.93


def test_polarity_does_not_matter(mnist):
    for picture in [*mnist.validation.images[:50], drawn(), drawn(ink=200, page=40)]:
        assert np.array_equal(ink_from_image(picture), ink_from_image(255 - picture))


@pytest.mark.parametrize(("ink", "page"), [(255, 0), (0, 255), (90, 200), (160, 60), (110, 140)])
def test_grey_ink_on_a_grey_page_is_full_ink(ink, page):
    found = ink_from_image(drawn(ink=ink, page=page))
    assert np.abs(found - ink_from_image(drawn())).max() < 0.15
    assert found.max() == 1


@pytest.mark.parametrize("light", [0, 30, 60, 90])
@pytest.mark.parametrize("noise", [0, 2, 5, 8])
@pytest.mark.parametrize("direction", [0, 130, 250])
def test_uneven_light_and_the_grain_of_paper_do_not_matter(light, noise, direction):
    rng = np.random.default_rng(noise)
    down, right = np.mgrid[:200, :200] / 200 - 0.5
    slope = light * (np.cos(np.deg2rad(direction)) * right + np.sin(np.deg2rad(direction)) * down)
    page = 175 + slope + rng.normal(0, noise, (200, 200))
    page[30:170, 20:160] -= drawn() / 255 * 110
    found = ink_from_image(np.clip(page, 0, 255).astype(np.uint8))
    assert with_shift(ink_from_image(drawn()), found) > 0.9
    rows, columns = np.nonzero(found > 0.1)
    assert max(np.ptp(rows), np.ptp(columns)) + 1 in (19, 20)


@pytest.mark.parametrize("light", [0, 25, 70])
@pytest.mark.parametrize("noise", [0, 1, 5, 12])
def test_a_blank_page_is_blank_whatever_its_light_and_grain(light, noise):
    rng = np.random.default_rng(noise)
    page = 150 + np.linspace(-light / 2, light / 2, 120) + rng.normal(0, noise, (160, 120))
    assert not ink_from_image(np.clip(page, 0, 255).astype(np.uint8)).any()


@pytest.mark.parametrize("light", [25, 90])
@pytest.mark.parametrize("noise", [0, 2, 6])
@pytest.mark.parametrize("shape", [(20, 20), (24, 40), (47, 47), (60, 50)])
def test_a_small_blank_page_is_blank_too(light, noise, shape):
    rng = np.random.default_rng(noise)
    page = 150 + np.linspace(-light / 2, light / 2, shape[1]) + rng.normal(0, noise, shape)
    assert not ink_from_image(np.clip(page, 0, 255).astype(np.uint8)).any()


@pytest.mark.parametrize("size", [1, 2, 9])
@pytest.mark.parametrize("side", [28, 280])
def test_a_dot_in_a_picture_is_a_dot_of_the_usual_pen(size, side):
    picture = np.zeros((side, side), np.uint8)
    picture[5 : 5 + size, 7 : 7 + size] = 255
    for page in (picture, 255 - picture):
        assert np.array_equal(ink_from_image(page), ink_from_strokes([[[0, 0]]]))


@pytest.mark.parametrize("level", [0, 1, 128, 255])
@pytest.mark.parametrize("shape", [(1, 1), (28, 28), (300, 200)])
def test_an_even_page_is_blank(level, shape):
    assert not ink_from_image(np.full(shape, level, np.uint8)).any()


def test_noise_below_the_faintest_contrast_is_blank_even_in_small_pictures():
    rng = np.random.default_rng(0)
    for _ in range(20):
        assert not ink_from_image(rng.integers(100, 120, (28, 28)).astype(np.uint8)).any()


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 2), (1, 9), (9, 1), (2, 2), (3, 5), (1, 4000), (4000, 1), (5, 4000), (7, 600)]
)
def test_pictures_of_any_size_are_read(shape):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, shape).astype(np.uint8)
    spot = np.zeros(shape, np.uint8)
    spot.flat[spot.size // 2] = 255
    for picture in (noise, spot, 255 - spot):
        assert is_ink(ink_from_image(picture))


def test_a_huge_picture_takes_less_than_a_second_of_computing():
    huge = cv2.resize(drawn(), (6000, 6000), interpolation=cv2.INTER_LINEAR)
    start = time.process_time()
    found = ink_from_image(huge)
    assert time.process_time() - start < 1
    assert with_shift(ink_from_image(drawn()), found) > 0.93


@pytest.mark.parametrize("side", [385, 600, 767, 768, 800, 1151, 3001])
@pytest.mark.parametrize("pen", [2, 20])
def test_a_large_picture_shows_what_its_mean_over_pixels_shows(side, pen):
    t = np.linspace(0, 2 * np.pi, 200)
    eight = np.stack([np.sin(2 * t) * 0.22, np.cos(t) * 0.36], axis=1) * side + side / 2
    picture = np.zeros((side, side - side // 7), np.uint8)
    width = max(2, round(pen * side / 768))
    cv2.polylines(picture, [np.round(16 * eight).astype(np.int32)], True, 255, width, cv2.LINE_AA, 4)
    small = cv2.resize(picture, (384 - 384 // 7, 384), interpolation=cv2.INTER_AREA)
    found = ink_from_image(picture)
    assert with_shift(ink_from_image(small), found) > 0.98
    assert cv2.connectedComponents((found > 0.4).astype(np.uint8), connectivity=8)[0] == 2  # in one piece


def mean_over_pixels(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a picture shrunk to (height, width), each pixel the mean of all that it covers, parts of pixels too."""
    for axis in (0, 1):
        sums = np.concatenate([np.zeros((1, picture.shape[1])), np.cumsum(picture, axis=0, dtype=np.float64)])
        edges = np.linspace(0, len(picture), size[axis] + 1)
        whole = np.minimum(edges.astype(int), len(picture) - 1)
        up_to = sums[whole] + (edges - whole)[:, np.newaxis] * picture[whole]
        picture = np.diff(up_to, axis=0) / np.diff(edges)[:, np.newaxis]
        picture = picture.T
    return picture


@pytest.mark.parametrize(
    ("side", "close"), [(385, 0.99), (600, 0.9), (768, 0.99), (800, 0.78), (1151, 0.7), (3072, 0.99)]
)
def test_a_large_picture_is_shrunk_by_means_so_that_its_grain_averages_out(side, close):
    grainy = np.random.default_rng(0).integers(0, 256, (side, side), dtype=np.uint8)
    small = _shrink_to(grainy, 384).astype(float)
    means = mean_over_pixels(grainy, small.shape)
    assert small.shape == (384, 384)
    assert small.std() < 1.35 * means.std()  # 1.5 to 8 times where pixels are picked, or only neighbours interpolated
    assert np.corrcoef(small.ravel(), means.ravel())[0, 1] > close


def test_dust_is_removed():
    dusty = drawn()
    dusty[5:7, 5:7] = dusty[130:132, 120:123] = 255
    assert np.abs(ink_from_image(dusty) - ink_from_image(drawn())).max() < 0.05


@pytest.mark.parametrize("pen", [1, 2, 4, 11, 18, 26])
def test_thin_and_thick_pens_come_into_the_range_of_mnists_pens(pen):
    found = ink_from_image(drawn(pen=pen))
    low, high = PEN_WIDTH_RANGE
    assert low - 0.5 < pen_width_of(found) < high + 0.5


@pytest.mark.parametrize("width", [2, 3, 5, 9, 20])
def test_the_width_of_a_pen_is_measured(width):
    picture = np.zeros((120, 120), np.float32)
    cv2.line(picture, (60, 15), (60, 105), 1.0, 1)
    picture[15:105, 60 - width // 2 : 60 - width // 2 + width] = 1
    assert pen_width_of(picture) == pytest.approx(width, rel=0.15, abs=0.4)
    assert pen_width_of(np.zeros((5, 5), np.float32)) == 0


def test_the_layout_in_memory_does_not_matter():
    picture = drawn()
    reference = ink_from_image(picture)
    frozen = picture.copy()
    frozen.flags.writeable = False
    doubled = np.repeat(np.repeat(picture, 2, axis=0), 2, axis=1)
    for variant in (np.asfortranarray(picture), doubled[::2, ::2], picture[::-1][::-1], frozen):
        assert np.array_equal(ink_from_image(variant), reference)


def test_a_picture_is_not_changed():
    picture = drawn(page=60, ink=200)
    kept = picture.copy()
    ink_from_image(picture)
    assert np.array_equal(picture, kept)


@pytest.mark.parametrize(
    "bad",
    [np.zeros((28, 28)), np.zeros((28, 28), bool), np.zeros((28, 28), np.int64), [[0, 1]], None, "digit.png"],
)
def test_what_is_no_grey_picture_is_a_type_error(bad):
    with pytest.raises(TypeError, match="uint8"):
        ink_from_image(bad)


@pytest.mark.parametrize("shape", [(28, 28, 3), (28, 28, 1), (28,), (0, 28), (28, 0), ()])
def test_what_is_not_two_dimensional_is_a_value_error_with_its_shape(shape):
    with pytest.raises(ValueError, match=r"shape \("):
        ink_from_image(np.zeros(shape, np.uint8))


def test_a_photo_that_is_dark_all_over_gives_ink_of_finite_amounts():
    """Where the light on the page is none at all, no amount of it can be divided by."""
    rng = np.random.default_rng(354)
    height, width = rng.integers(48, 160, 2)
    photo = np.clip(rng.normal(0, rng.uniform(0, 6), (height, width)), 0, 255).astype(np.uint8)
    photo[20:40, 30:34] += 60
    for picture in (photo, 255 - photo, np.where(photo > 3, photo, 0).astype(np.uint8)):
        with np.errstate(all="raise"):
            assert np.isfinite(ink_from_image(picture)).all()


@pytest.mark.parametrize("edge", range(4))
def test_what_reaches_into_view_beside_a_digit_is_not_read(edge):
    digit = np.full((200, 200), 230, np.uint8)
    cv2.polylines(digit, [np.array([[80, 60], [120, 60], [95, 140]])], False, 40, 6)
    neighbour = digit.copy()
    cv2.polylines(neighbour, [np.array([[20, 80], [0, 80], [25, 120], [0, 150]])], False, 40, 6)
    expected = ink_from_image(np.rot90(digit, edge))
    np.testing.assert_array_equal(ink_from_image(np.rot90(neighbour, edge)), expected)


def test_a_part_of_a_digit_that_reaches_the_edge_is_read():
    """The flag of a 5, close to the rest of it; and a digit that touches an edge when nothing else is there."""
    five = np.full((200, 200), 230, np.uint8)
    cv2.polylines(five, [np.array([[90, 60], [85, 100], [130, 110], [125, 150], [85, 160]])], False, 40, 6)
    cropped = five[48:].copy()
    cv2.line(cropped, (92, 0), (140, 0), 40, 8)
    assert np.abs(ink_from_image(cropped) - ink_from_image(five)).max() > 0.5
    assert ink_from_image(five[:, 85:]).any()
