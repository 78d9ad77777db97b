"""Augmentation against geometry done by hand and SciPy's own affine warp."""

from __future__ import annotations

import time
from dataclasses import fields, replace

import numpy as np
import pytest
from scipy import ndimage

from digit_utils.augmentation.images import (
    MILD,
    STRONG,
    ImageAugmentation,
    augment_images,
    elastic_fields,
    random_affines,
    random_blur,
)
from digit_utils.augmentation.photos import photograph
from digit_utils.augmentation.strokes import (
    DEFAULT,
    PEN_WIDTHS,
    StrokeAugmentation,
    augment_strokes,
    path_length,
    random_pen_width,
)
from digit_utils.preprocessing.components import pen_width_of
from digit_utils.preprocessing.images import ink_from_image
from digit_utils.preprocessing.strokes import PEN_WIDTH, clean_strokes, fit_to_box, ink_from_strokes

pytestmark = pytest.mark.filterwarnings("error")

NONE = ImageAugmentation(**{field.name: 0 for field in fields(ImageAugmentation)})
STILL = StrokeAugmentation(**{field.name: 0 for field in fields(StrokeAugmentation)})
SEVEN = [np.array([[0, 0], [60, 2], [40, 45], [22, 100]], float), np.array([[15, 50], [55, 46]], float)]


@pytest.fixture(scope="module")
def ink(digits8x8) -> np.ndarray:
    return np.stack([ink_from_image(image) for image in digits8x8.train.images[:200]])


def blobs(places: np.ndarray, *, size: float = 1.2) -> np.ndarray:
    """Pictures of a soft dot each, at (x, y) in pixels from the middle of pixel 0."""
    down, right = np.mgrid[:28, :28]
    distance = (right - places[:, 0, None, None]) ** 2 + (down - places[:, 1, None, None]) ** 2
    return np.exp(-distance / (2 * size**2)).astype(np.float32)


def place(picture: np.ndarray) -> np.ndarray:
    """Centre of mass (x, y) from the middle of pixel 0, by SciPy."""
    return np.array(ndimage.center_of_mass(picture.astype(np.float64))[::-1])


def moved(start: tuple[float, float], *, config: ImageAugmentation, count: int = 300) -> np.ndarray:
    """Where dots at `start`, (x, y) from the fixed point of the augmentation, go: (count, 2), from there, too."""
    pictures = blobs(np.tile(np.array(start) + 14.0, (count, 1)))
    changed = augment_images(pictures, np.random.default_rng(0), config=config)
    return np.array([place(picture) for picture in changed]) - 14.0


# ------------------------------------------------------------------------------------------------------------
# Pictures


def test_no_augmentation_changes_nothing(ink):
    assert np.array_equal(augment_images(ink, np.random.default_rng(0), config=NONE), ink)


def test_rotation_turns_a_dot_around_the_middle():
    found = moved((6, 0), config=replace(NONE, rotation=30))
    angle = np.rad2deg(np.arctan2(found[:, 1], found[:, 0]))
    assert np.hypot(*found.T) == pytest.approx(6, abs=0.05)
    assert np.abs(angle).max() == pytest.approx(30, abs=1)
    assert angle.mean() == pytest.approx(0, abs=3)
    assert angle.std() == pytest.approx(30 / np.sqrt(3), rel=0.1)  # drawn evenly


def test_shift_moves_by_up_to_its_pixels_in_both_directions():
    found = moved((0, 0), config=replace(NONE, shift=3))
    assert np.abs(found).max(axis=0) == pytest.approx([3, 3], abs=0.1)
    assert found.std(axis=0) == pytest.approx([3 / np.sqrt(3)] * 2, rel=0.12)
    assert abs(np.corrcoef(found.T)[0, 1]) < 0.15  # x and y on their own


def test_scale_moves_away_from_the_middle_or_towards_it():
    found = moved((3, -4), config=replace(NONE, scale=0.4))
    ratio = np.hypot(*found.T) / 5
    assert np.arctan2(found[:, 1], found[:, 0]) == pytest.approx(np.arctan2(-4, 3), abs=0.02)
    assert [ratio.min(), ratio.max()] == pytest.approx([np.exp(-0.4), np.exp(0.4)], rel=0.02)


def test_stretch_changes_the_proportions_and_not_the_area():
    found = moved((4, 4), config=replace(NONE, stretch=0.5))
    aspect = np.log(found[:, 0] / found[:, 1])
    assert np.abs(aspect).max() == pytest.approx(0.5, abs=0.03)
    assert np.prod(found, axis=1) == pytest.approx(16, rel=0.02)


def test_shear_moves_to_the_side_in_proportion_to_the_height():
    found = moved((0, 5), config=replace(NONE, shear=0.5))
    assert np.abs(found[:, 0]).max() == pytest.approx(2.5, abs=0.1)
    assert found[:, 1] == pytest.approx(5, abs=0.03)
    assert moved((5, 0), config=replace(NONE, shear=0.5)) == pytest.approx(np.tile([5, 0], (300, 1)), abs=0.03)


def test_only_scale_changes_the_area():
    def areas(**changes: float) -> np.ndarray:
        matrices = random_affines(500, np.random.default_rng(0), config=replace(STRONG, **changes))
        return 1 / np.linalg.det(matrices[:, :, :2])

    assert areas(scale=0) == pytest.approx(np.ones(500))
    side = np.sqrt(areas(scale=0.3))
    assert [side.min(), side.max()] == pytest.approx([np.exp(-0.3), np.exp(0.3)], rel=0.01)


@pytest.mark.parametrize("config", [MILD, replace(STRONG, elastic=0, pen=0, fill_box=0, cubic=False)])
def test_pictures_are_warped_as_scipy_warps_them(ink, config):
    found = augment_images(ink, np.random.default_rng(7), config=config)
    matrices = random_affines(len(ink), np.random.default_rng(7), config=config)
    for picture, warped, matrix in zip(ink, found, matrices, strict=True):
        linear, offset = matrix[::-1, 1::-1], matrix[::-1, 2]  # SciPy counts (row, column)
        expected = ndimage.affine_transform(picture.astype(float), linear, offset, order=1)
        assert np.abs(warped - expected).max() < 0.05  # OpenCV rounds positions to a 32nd of a pixel


def test_the_centre_of_mass_moves_as_its_matrix_says(ink):
    config = replace(STRONG, elastic=0, pen=0, fill_box=0)
    found = augment_images(ink, np.random.default_rng(7), config=config)
    matrices = random_affines(len(ink), np.random.default_rng(7), config=config)
    frame = np.pad(np.zeros((26, 26)), 1, constant_values=1)
    on_page = np.flatnonzero((found * frame).max(axis=(1, 2)) == 0)  # the others lost ink at the edge
    assert len(on_page) > 120
    for index in on_page:
        expected = np.linalg.solve(matrices[index, :, :2], place(ink[index]) - matrices[index, :, 2])
        assert place(found[index]) == pytest.approx(expected, abs=0.1)


def test_elastic_fields_are_smooth_and_as_strong_as_told():
    found = elastic_fields(2000, np.random.default_rng(0), strength=0.7)
    assert (found.shape, found.dtype) == ((2000, 2, 28, 28), np.float32)
    assert found.std() == pytest.approx(0.7, rel=0.15)
    assert found.mean() == pytest.approx(0, abs=0.02)
    assert np.abs(np.diff(found, axis=3)).std() < 0.7 / 4  # neighbours move together
    assert elastic_fields(0, np.random.default_rng(0), strength=1.0).shape == (0, 2, 28, 28)


def test_elastic_warps_move_the_ink_a_little(ink):
    found = augment_images(ink, np.random.default_rng(0), config=replace(NONE, elastic=0.7))
    shifts = np.array([place(a) - place(b) for a, b in zip(found, ink, strict=True)])
    assert not np.array_equal(found, ink)
    assert np.abs(shifts.mean(axis=0)).max() < 0.2
    assert 0.1 < shifts.std() < 0.7


def test_pens_become_thinner_or_thicker_for_as_many_as_told(ink):
    found = augment_images(ink, np.random.default_rng(0), config=replace(NONE, pen=0.4))
    mass = found.sum(axis=(1, 2)) / ink.sum(axis=(1, 2))
    assert (mass != 1).mean() == pytest.approx(0.4, abs=0.1)
    assert mass.min() < 0.8
    assert mass.max() > 1.3
    assert found.max(axis=(1, 2)).min() > 0.2  # none vanishes


def test_slim_digits_fill_the_box_when_told():
    upright = ink_from_strokes([np.array([[0, 0], [25, 100]])])[np.newaxis]
    found = augment_images(upright, np.random.default_rng(0), config=replace(NONE, fill_box=1.0))[0]
    before, after = (np.ptp(np.flatnonzero(picture.max(axis=0) > 0.1)) + 1 for picture in (upright[0], found))
    assert before < 9
    assert after == pytest.approx(20, abs=3)  # with soft edges, three times as wide as before
    assert place(found) == pytest.approx([14, 14], abs=0.6)
    blank = np.zeros((3, 28, 28), np.float32)
    assert not augment_images(blank, np.random.default_rng(0), config=replace(NONE, fill_box=1.0)).any()


@pytest.fixture(scope="module")
def drawn() -> np.ndarray:
    rng = np.random.default_rng(3)
    return np.stack([ink_from_strokes(augment_strokes(SEVEN, rng)) for _ in range(200)])


def blur(pictures: np.ndarray) -> np.ndarray:
    """Return the steepest step between neighbours of each picture, (n,)."""
    return np.abs(np.diff(pictures, axis=2)).max(axis=(1, 2))


def test_cubic_warps_keep_pictures_sharp_and_linear_ones_blur(drawn):
    moved = replace(NONE, shift=1.0)
    cubic, linear = (
        augment_images(drawn, np.random.default_rng(0), config=replace(moved, cubic=value)) for value in (True, False)
    )
    assert np.median(blur(cubic) / blur(drawn)) > 0.8
    assert np.median(blur(linear) / blur(drawn)) < 0.75


def test_sharpness_varies_both_ways_for_as_many_pictures_as_told(drawn):
    pictures = np.tile(drawn, (10, 1, 1))
    before = pictures.copy()
    random_blur(pictures, np.random.default_rng(0), probability=0.4)
    changed = (pictures != before).any(axis=(1, 2))
    assert changed.mean() == pytest.approx(0.4, abs=0.05)
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    ratio = blur(pictures[changed]) / blur(before[changed])
    assert 0.35 < ratio.min() < 0.55
    assert 1.1 < ratio.max() < 1.4
    moved = [np.hypot(*(place(a) - place(b))) for a, b in zip(pictures[changed], before[changed], strict=True)]
    assert np.max(moved) < 0.2  # pixels: the digit stays where it is
    again = before.copy()
    random_blur(again, np.random.default_rng(0), probability=0.4)
    assert np.array_equal(again, pictures)


@pytest.mark.parametrize("config", [MILD, STRONG])
def test_augmented_pictures_are_ink_and_their_sources_stay(ink, config):
    kept = ink.copy()
    found = augment_images(ink, np.random.default_rng(0), config=config)
    assert (found.shape, found.dtype) == (ink.shape, np.float32)
    assert found.min() >= 0
    assert found.max() <= 1
    assert np.array_equal(ink, kept)
    assert not np.shares_memory(found, ink)
    assert (np.abs(found - ink).max(axis=(1, 2)) > 0.1).mean() > 0.98  # nearly all do change


@pytest.mark.parametrize("config", [MILD, STRONG])
def test_all_randomness_of_pictures_comes_from_the_generator(ink, config):
    first, second, other = (augment_images(ink, np.random.default_rng(seed), config=config) for seed in (1, 1, 2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_pictures_of_any_number_type_and_none_at_all(ink):
    as_doubles = augment_images(ink.astype(np.float64), np.random.default_rng(1))
    assert np.array_equal(as_doubles, augment_images(ink, np.random.default_rng(1)))
    for config in (MILD, STRONG):
        assert augment_images(ink[:0], np.random.default_rng(1), config=config).shape == (0, 28, 28)


# ------------------------------------------------------------------------------------------------------------
# Strokes


def many(config: StrokeAugmentation, *, strokes=SEVEN, count: int = 300) -> list[list[np.ndarray]]:
    rng = np.random.default_rng(0)
    return [augment_strokes(strokes, rng, config=config) for _ in range(count)]


def test_strokes_without_augmentation_stay_as_they_are():
    expected = fit_to_box(SEVEN, long_side=1.0)
    for found, stroke in zip(augment_strokes(SEVEN, np.random.default_rng(0), config=STILL), expected, strict=True):
        assert found == pytest.approx(stroke, abs=1e-12)


def test_slant_moves_the_top_against_the_bottom():
    stem = [np.array([[0.0, -50.0], [0.0, 50.0]])]
    drawings = np.array([drawing[0] for drawing in many(replace(STILL, slant=0.4), strokes=stem)])
    leaning = drawings[:, 0, 0] - drawings[:, 1, 0]  # the top is further to the right
    assert [leaning.min(), leaning.max()] == pytest.approx([-0.4, 0.4], abs=0.02)
    assert drawings[:, :, 1] == pytest.approx(np.tile([-0.5, 0.5], (300, 1)))


def test_strokes_are_turned_without_being_deformed():
    line = [np.array([[-50.0, 0.0], [50.0, 0.0]])]
    ends = np.array([drawing[0][1] for drawing in many(replace(STILL, rotation=12), strokes=line)])
    angle = np.rad2deg(np.arctan2(ends[:, 1], ends[:, 0]))
    assert np.hypot(*ends.T) == pytest.approx(0.5)
    assert [angle.min(), angle.max()] == pytest.approx([-12, 12], abs=0.5)


def test_strokes_are_stretched_at_constant_area():
    square = [np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)]
    extents = np.array([np.ptp(drawing[0], axis=0) for drawing in many(replace(STILL, stretch=0.25), strokes=square)])
    assert np.prod(extents, axis=1) == pytest.approx(1)
    assert np.abs(np.log(extents[:, 0] / extents[:, 1])).max() == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize(("name", "factor"), [("bend", np.sqrt(1.5)), ("tremor", 1.0), ("gap", 1.0)])
def test_displacements_are_as_large_as_told(name, factor):
    path = [np.stack([np.linspace(-1, 1, 50), np.sin(np.linspace(0, 3, 50))], axis=1)]
    still = np.array([drawing[0] for drawing in many(STILL, strokes=path)])
    found = np.array([drawing[0] for drawing in many(replace(STILL, **{name: 0.02}), strokes=path, count=600)])
    # Tremor needs evenly spaced points, so it is compared with its own mean.
    displacement = found - (found.mean(axis=0) if name == "tremor" else still[0])
    assert displacement.std() == pytest.approx(0.02 * factor, rel=0.12)
    assert displacement.mean() == pytest.approx(0, abs=0.002)


def test_each_stroke_has_its_own_gap():
    drawings = many(replace(STILL, gap=0.05))
    first, second = (np.array([drawing[index].mean(axis=0) for drawing in drawings]) for index in (0, 1))
    assert (first - second).std(axis=0) == pytest.approx(np.full(2, 0.05 * np.sqrt(2)), rel=0.15)


def test_strokes_end_early_or_late_by_as_much_as_told():
    line = [np.stack([np.zeros(60), np.linspace(0, 1, 60)], axis=1)]
    drawings = np.array([drawing[0][[0, -1], 1] for drawing in many(replace(STILL, end=0.06), strokes=line)])
    assert [drawings[:, 0].min(), drawings[:, 0].max()] == pytest.approx([-0.56, -0.44], abs=0.005)
    assert [drawings[:, 1].min(), drawings[:, 1].max()] == pytest.approx([0.44, 0.56], abs=0.005)


def test_resampled_strokes_follow_the_same_path():
    t = np.linspace(0, 5, 200)
    curve = [np.stack([np.cos(t), np.sin(t)], axis=1)]
    drawings = many(replace(STILL, resample=1.0), strokes=curve)
    counts = [len(drawing[0]) for drawing in drawings]
    original = augment_strokes(curve, np.random.default_rng(0), config=STILL)[0]
    assert min(counts) < 40 < 80 < max(counts)
    for drawing in drawings[:50]:
        distance = np.hypot(*(drawing[0][:, np.newaxis] - original[np.newaxis]).transpose(2, 0, 1)).min(axis=1)
        assert distance.max() < 0.02


def test_augmented_strokes_are_as_many_of_about_unit_size_around_the_middle():
    kept = [stroke.copy() for stroke in SEVEN]
    for drawing in many(DEFAULT):
        assert len(drawing) == len(SEVEN)
        assert all(stroke.ndim == 2 and stroke.shape[1] == 2 for stroke in drawing)
        points = np.concatenate(drawing)
        assert np.isfinite(points).all()
        assert 0.7 < np.ptp(points, axis=0).max() < 1.7
        assert np.abs((points.min(axis=0) + points.max(axis=0)) / 2).max() < 0.3
    assert all(np.array_equal(stroke, copy) for stroke, copy in zip(SEVEN, kept, strict=True))


@pytest.mark.parametrize(
    "strokes",
    [
        [[[3, 4]]],
        [[[3, 4], [3, 4], [3, 4]]],
        [[[0, 0], [1e-9, 1]]],
        [[[0, 0]], [[1, 1], [2, 2], [2, 2], [2, 2]]],
        [np.array([[0, 0], [1, 1]], np.uint8), [[5, np.nan], [7, 8]]],
        [np.random.default_rng(0).random((5000, 2)) * 1e6],
    ],
)
def test_odd_drawings_survive(strokes):
    rng = np.random.default_rng(0)
    for _ in range(50):
        found = augment_strokes(strokes, rng)
        assert len(found) == len(clean_strokes(strokes))
        assert np.isfinite(np.concatenate(found)).all()


def test_all_randomness_of_strokes_comes_from_the_generator():
    first, second, other = (
        np.concatenate(augment_strokes(SEVEN, np.random.default_rng(seed), config=DEFAULT)) for seed in (1, 1, 2)
    )
    assert np.array_equal(first, second)
    assert first.shape != other.shape or not np.array_equal(first, other)


def test_half_of_the_drawings_keep_the_usual_pen():
    rng = np.random.default_rng(0)
    widths = np.array([random_pen_width(rng) for _ in range(2000)])
    others = widths[widths != PEN_WIDTH]
    assert len(others) == pytest.approx(1000, abs=80)
    assert [others.min(), others.max()] == pytest.approx(PEN_WIDTHS, abs=0.02)


def test_the_length_of_a_path_is_that_of_its_pieces():
    assert path_length(np.array([[0, 0], [3, 4], [3, 4], [3, 5]])).tolist() == [0, 5, 5, 6]
    assert path_length(np.array([[7.0, 7.0]])).tolist() == [0]


# ------------------------------------------------------------------------------------------------------------
# Strokes as pictures


def test_photographs_are_grey_pictures_of_both_polarities_and_many_sizes():
    rng = np.random.default_rng(0)
    pictures = [photograph(SEVEN, rng) for _ in range(400)]
    borders = np.array([np.median(np.r_[picture[0], picture[-1]]) for picture in pictures])
    sizes = np.array([max(picture.shape) for picture in pictures])
    assert {picture.dtype for picture in pictures} == {np.dtype(np.uint8)}
    assert {picture.ndim for picture in pictures} == {2}
    assert (borders < 128).mean() == pytest.approx(0.5, abs=0.1)
    assert sizes.min() < 30
    assert 150 < sizes.max() < 330


def test_what_was_drawn_can_be_read_from_its_photograph():
    rng = np.random.default_rng(0)
    clean = ink_from_strokes(SEVEN)
    similar, pens = [], []
    for _ in range(300):
        ink = ink_from_image(photograph(SEVEN, rng))
        similar.append(np.corrcoef(clean.ravel(), ink.ravel())[0, 1] if ink.any() else 0)
        pens.append(pen_width_of(ink))
    similar, pens = np.array(similar), np.array(pens)
    assert (similar == 0).mean() < 0.1  # faded to a blank page
    assert np.median(similar) > 0.65  # some are stretched to their box
    assert np.quantile(similar, 0.15) > 0.2
    low, high = np.quantile(pens[pens > 0], [0.02, 0.98])
    assert 0.7 < low < 2.5 < high < 5.5


def test_photographs_come_from_the_generator_and_show_dots_too():
    first, second = (photograph(SEVEN, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(first, second)
    for seed in range(30):
        assert photograph([[[2, 3]]], np.random.default_rng(seed)).ndim == 2


def test_photographs_cost_little_beside_the_reading_of_them():
    rng, start = np.random.default_rng(0), time.process_time()
    for _ in range(200):
        photograph(SEVEN, rng)
    assert time.process_time() - start < 0.8  # 4 ms each on a busy machine; about 0.3 ms on a quiet one


def test_photographs_show_papers_of_many_kinds():
    rng = np.random.default_rng(3)
    pictures = [photograph(SEVEN, rng) for _ in range(300)]
    two_levels = np.mean([len(np.unique(picture)) == 2 for picture in pictures])
    grainy = np.mean([np.bincount(picture.ravel()).max() < 0.3 * picture.size for picture in pictures])
    small = np.mean([max(picture.shape) <= 32 for picture in pictures])
    assert 0.15 < two_levels < 0.4
    assert 0.2 < grainy < 0.5
    assert 0.15 < small < 0.45
