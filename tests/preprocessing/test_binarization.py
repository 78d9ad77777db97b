"""Page and ink are told apart on pictures whose ink is known pixel by pixel."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from digit_utils.preprocessing.binarization import _percentile_of_levels, find_ink, ink_by_local_threshold
from digit_utils.preprocessing.components import LARGE, LARGEST_IMAGE, crop_to_ink, ink_box
from digit_utils.preprocessing.images import ink_from_image


def ring(shape: tuple[int, int], *, pen: int) -> np.ndarray:
    """Return a mask (height, width) bool: a ring with a bar through it."""
    height, width = shape
    mask = np.zeros(shape, np.uint8)
    cv2.ellipse(mask, (width // 2, height // 2), (width // 3, height // 3), 0, 0, 360, 1, pen)
    cv2.line(mask, (width // 4, 3 * height // 4), (3 * width // 4, height // 4), 1, pen)
    return mask.astype(bool)


def lit(shape: tuple[int, int], *, kind: str) -> np.ndarray:
    """Return light in grey levels that falls from one side, from the middle, or evenly."""
    y, x = (axis / length - 0.5 for axis, length in zip(np.indices(shape), shape, strict=True))
    return {
        "even": 200 + 0 * x,
        "from a side": 170 + 100 * x + 40 * y,
        "from the middle": 230 - 160 * (x * x + y * y),
        "from a lamp": 230 - 280 * (x * x + y * y),
    }[kind]


def overlap(found: np.ndarray, truth: np.ndarray) -> float:
    """Return the common area of found ink and the truth, as a part of what either covers."""
    known = cv2.resize(truth.astype(np.uint8), found.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
    return ((found > 0.5) & known).sum() / ((found > 0.5) | known).sum()


SMALL, SHAPES = ((30, 26), 3), [((60, 80), 5), ((200, 150), 12), ((300, 380), 40)]
LIGHTS = ["even", "from a side", "from the middle"]
CASES = [(*shape, light) for shape in (SMALL, *SHAPES) for light in LIGHTS]
CASES += [(*shape, "from a lamp") for shape in SHAPES]  # in a small photo, corners darker than the ink pass for ink


@pytest.mark.parametrize("light_ink", [False, True], ids=["dark ink", "light ink"])
@pytest.mark.parametrize(("shape", "pen", "light"), CASES)
def test_the_ink_of_a_photo_is_found_pixel_by_pixel(shape, pen, light, light_ink):
    truth = ring(shape, pen=pen)
    picture = lit(shape, kind=light) * np.where(truth, 0.55, 1.0) + np.random.default_rng(0).normal(0, 3, shape)
    picture = np.clip(255 - picture if light_ink else picture, 0, 255).astype(np.uint8)
    found = find_ink(picture)
    assert found is not None
    assert (found >= 0).all()
    assert (found <= 1).all()
    assert overlap(found, truth) > (0.75 if min(shape) >= LARGE else 0.6)


@pytest.mark.parametrize("shape", [(20, 30), (28, 28), (47, 40), (48, 48), (100, 160), (384, 384)])
@pytest.mark.parametrize("grain", [1, 4, 10])
def test_grain_alone_is_a_blank_page(shape, grain):
    taken = 0
    for seed in range(20):
        page = lit(shape, kind="from a side") + np.random.default_rng(seed).normal(0, grain, shape)
        taken += find_ink(np.clip(page, 0, 255).astype(np.uint8)) is not None
    assert taken <= 1


@pytest.mark.parametrize("angle", [0, 35, 90, 200])
@pytest.mark.parametrize("place", [-0.15, 0.0, 0.2])
def test_the_edge_of_a_shadow_is_no_ink(angle, place):
    y, x = np.indices((240, 300))
    across = np.cos(np.deg2rad(angle)) * (x / 300 - 0.5) + np.sin(np.deg2rad(angle)) * (y / 240 - 0.5)
    page = cv2.GaussianBlur(np.where(across > place, 200.0, 120.0), (0, 0), 3)
    page += np.random.default_rng(0).normal(0, 3, page.shape)
    assert find_ink(np.clip(page, 0, 255).astype(np.uint8)) is None


SHADOWS = {
    "a half": lambda x, y: x + 0.3 * y > 0.1,
    "a corner": lambda x, y: x + y > 0.45,
    "a strip": lambda x, y: y > 0.2,
}


@pytest.mark.parametrize("grain", [0, 3])
@pytest.mark.parametrize("where", SHADOWS)
@pytest.mark.parametrize("light_ink", [False, True], ids=["dark ink", "light ink"])
def test_a_shadow_with_a_hard_edge_is_no_ink_beside_a_digit(where, light_ink, grain):
    shape = (160, 200)
    truth = ring(shape, pen=7)
    y, x = (axis / length - 0.5 for axis, length in zip(np.indices(shape), shape, strict=True))
    light = np.where(SHADOWS[where](x, y), 130.0, 210.0)
    page = light * np.where(truth, 0.55, 1.0) + np.random.default_rng(0).normal(0, 1, shape) * grain
    page = np.clip(255 - page if light_ink else page, 0, 255).astype(np.uint8)
    assert overlap(find_ink(page), truth) > 0.6


@pytest.mark.parametrize("light_ink", [False, True], ids=["dark ink", "light ink"])
@pytest.mark.parametrize("grain", [3, 12])
def test_a_bold_digit_from_edge_to_edge_of_a_photo_is_found_whole(grain, light_ink):
    shape = (120, 76)
    truth = np.zeros(shape, np.uint8)
    for middle in (32, 86):
        cv2.ellipse(truth, (38, middle), (26, 26), 0, 0, 360, 1, 20)
    y, x = (axis / length - 0.5 for axis, length in zip(np.indices(shape), shape, strict=True))
    page = (190 + 30 * x - 40 * y) * np.where(truth, 0.5, 1.0) + np.random.default_rng(0).normal(0, grain, shape)
    page = np.clip(255 - page if light_ink else page, 0, 255).astype(np.uint8)
    assert overlap(find_ink(page), truth > 0) > 0.85


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize(("darkest", "lightest", "contrast"), [(0.2, 1.2, 60), (0.3, 1.0, 40)])
def test_a_thin_digit_in_the_grain_of_a_small_photo_under_steep_light_has_no_line_beside_it(
    darkest, lightest, contrast, turns
):
    truth = ring((60, 60), pen=2)
    light = np.rot90(np.broadcast_to(np.linspace(darkest, lightest, 60), truth.shape), turns)
    page = (200 - contrast * truth) * light + np.random.default_rng(0).normal(0, 6, truth.shape)
    found = find_ink(np.clip(page, 0, 255).astype(np.uint8))
    near = cv2.dilate(truth.astype(np.uint8), np.ones((5, 5))) > 0
    assert (found[~near] > 0.5).mean() < 0.002
    assert overlap(found, truth) > 0.75


def test_a_digit_that_touches_an_edge_is_no_frame_around_specks():
    page = np.full((90, 90), 255, np.uint8)
    cv2.polylines(page, [np.array([[89, 20], [20, 20], [10, 45], [60, 50], [70, 70], [30, 80]])], False, 0, 9)
    cv2.line(page, (89, 4), (89, 44), 0, 3)
    truth = page == 0
    page[8:-8, 8:-8][np.random.default_rng(0).random((74, 74)) < 0.01] = 0
    assert overlap(find_ink(page), truth) > 0.9


def test_a_bold_digit_that_leaves_little_page_is_still_the_ink():
    shape = (44, 30)
    truth = np.zeros(shape, np.uint8)
    cv2.ellipse(truth, (15, 12), (9, 7), 0, 0, 360, 1, 8)
    cv2.ellipse(truth, (15, 31), (9, 8), 0, 0, 360, 1, 8)
    picture = np.where(truth, 230.0, 60.0) + np.random.default_rng(0).normal(0, 8, shape)
    found = find_ink(np.clip(picture, 0, 255).astype(np.uint8))
    assert overlap(found, truth > 0) > 0.75


def test_a_small_photo_is_enlarged_but_never_beyond_the_largest_picture():
    truth = ring((30, 26), pen=3)
    noise = np.random.default_rng(0).normal(0, 3, truth.shape)
    small = np.clip(np.where(truth, 80, 200) + noise, 0, 255).astype(np.uint8)
    assert find_ink(small).shape == (148, 128)
    wide = np.clip(np.pad(np.where(truth, 80, 200), ((0, 0), (100, 100)), constant_values=200), 0, 255)
    wide = np.clip(wide + np.random.default_rng(0).normal(0, 3, wide.shape), 0, 255).astype(np.uint8)
    assert max(find_ink(wide).shape) <= LARGEST_IMAGE


def test_a_clean_picture_keeps_its_size_and_the_shades_of_its_edges():
    canvas = np.zeros((40, 60), np.uint8)
    cv2.line(canvas, (10, 30), (50, 10), 255, 4, cv2.LINE_AA)
    found = find_ink(canvas)
    assert found.shape == canvas.shape
    np.testing.assert_allclose(found, canvas / 255, atol=0.02)


def test_the_box_of_ink_and_the_crop_to_it():
    ink = np.zeros((9, 8), np.float32)
    ink[2:5, 3:7] = 0.5
    assert ink_box(ink) == (slice(2, 5), slice(3, 7))
    assert crop_to_ink(ink).shape == (3, 4)
    assert ink_box(np.zeros((4, 5), np.float32)) == (slice(0, 4), slice(0, 5))


def test_the_percentile_of_grey_levels_is_that_of_numpy():
    rng = np.random.default_rng(0)
    for count in (1, 2, 3, 19, 20, 21, 1000):
        levels = rng.integers(1, 256, count).astype(np.float32)
        assert _percentile_of_levels(levels, 95) == pytest.approx(np.percentile(levels, 95), abs=1e-4)


@pytest.mark.parametrize("light_ink", [False, True], ids=["dark ink", "light ink"])
@pytest.mark.parametrize("place", [(60, 70), (200, 160)], ids=["beside the shadow", "within it"])
def test_the_long_shadow_of_a_phone_is_no_stroke(place, light_ink):
    truth = np.zeros((360, 300), np.uint8)
    cv2.ellipse(truth, place, (10, 15), 20, 0, 360, 1, 3)
    shadow = np.zeros(truth.shape, np.float64)
    cv2.rectangle(shadow, (150, 60), (250, 360), 1, cv2.FILLED)
    picture = np.where(truth, 60, 215 - 15 * np.indices(truth.shape)[1] / 300) * (
        1 - 0.3 * cv2.GaussianBlur(shadow, (0, 0), 3)
    )
    picture = cv2.GaussianBlur(picture, (0, 0), 0.8) + np.random.default_rng(0).normal(0, 1.5, picture.shape)
    picture = np.clip(255 - picture if light_ink else picture, 0, 255).astype(np.uint8)
    assert overlap(find_ink(picture), truth) > 0.6


def on_a_desk(shape: tuple[int, int], *, corners: list[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Return a sheet with a ring on a dark desk with a pattern, (height, width) float64, and the ring alone."""
    truth = np.zeros(shape, np.uint8)
    cv2.ellipse(truth, (shape[1] // 2, shape[0] // 2), (14, 20), 20, 0, 360, 1, 3)
    sheet = cv2.fillPoly(np.zeros(shape, np.uint8), [np.int32(np.array(corners) * shape[::-1])], 1)
    y, x = np.indices(shape)
    desk = 70 + 30 * np.sign(np.sin(x / 3) * np.sin(y / 4))
    return np.where(truth, 90, np.where(sheet, 210 - 20 * x / shape[1], desk)), truth


DESKS = {
    "at one edge": [(0.15, -0.1), (1.1, -0.1), (1.1, 1.1), (0.2, 1.1)],
    "at two edges": [(-0.1, 0.1), (0.85, 0.15), (0.8, 1.1), (-0.1, 1.1)],
    "all around": [(0.2, 0.15), (0.85, 0.1), (0.8, 0.85), (0.25, 0.9)],
}


@pytest.mark.parametrize("desk", DESKS)
@pytest.mark.parametrize("light_ink", [False, True], ids=["dark ink", "light ink"])
def test_a_desk_beside_the_paper_is_no_ink(desk, light_ink):
    picture, truth = on_a_desk((300, 260), corners=DESKS[desk])
    picture = cv2.GaussianBlur(picture, (0, 0), 0.8) + np.random.default_rng(0).normal(0, 2, picture.shape)
    picture = np.clip(255 - picture if light_ink else picture, 0, 255).astype(np.uint8)
    assert overlap(find_ink(picture), truth) > 0.6


@pytest.mark.parametrize("inset", [0, 4, 12])
@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("light_ink", [False, True], ids=["dark ink", "light ink"])
@pytest.mark.parametrize("grain", [0, 2])
def test_a_frame_around_a_digit_is_no_ink(inset, width, light_ink, grain):
    truth = np.pad(ring((90, 80), pen=5), 15)
    frame = np.ones(truth.shape, bool)
    frame[:inset], frame[120 - inset :], frame[:, :inset], frame[:, 110 - inset :] = False, False, False, False
    frame[inset + width : 120 - inset - width, inset + width : 110 - inset - width] = False
    picture = np.where(truth | frame, 50, 240) + np.random.default_rng(0).normal(0, 1, truth.shape) * grain
    picture = np.clip(255 - picture if light_ink else picture, 0, 255).astype(np.uint8)
    assert overlap(find_ink(picture), truth) > 0.8


def test_paper_on_a_desk_with_a_printed_box_on_it_has_only_the_digit_for_ink():
    picture, truth = on_a_desk((300, 260), corners=DESKS["all around"])
    cv2.rectangle(picture, (80, 90), (180, 210), 60, 2)
    picture = np.clip(picture + np.random.default_rng(0).normal(0, 2, picture.shape), 0, 255).astype(np.uint8)
    assert overlap(find_ink(picture), truth) > 0.6


def test_a_dark_square_on_a_white_page_is_the_page_of_the_light_digit_on_it():
    truth = np.zeros((200, 260), bool)
    truth[40:160, 70:190] = ring((120, 120), pen=8)
    picture = np.full(truth.shape, 255, np.uint8)
    picture[40:160, 70:190] = 0
    picture[truth] = 255
    assert overlap(find_ink(picture), truth) > 0.9


@pytest.mark.parametrize("dust", [1, 3, 9])
def test_a_ring_with_dust_in_it_is_no_sheet(dust):
    truth = np.zeros((200, 160), np.uint8)
    cv2.ellipse(truth, (80, 100), (60, 80), 0, 0, 360, 1, 14)
    picture = np.where(truth, 30, 240).astype(np.uint8)
    picture[100 : 100 + dust, 80 : 80 + dust] = 30
    assert overlap(find_ink(picture), truth > 0) > 0.9


def photographed(page: np.ndarray, *, light_ink: bool = False, blur: float = 0.8) -> np.ndarray:
    """Return a page, (height, width) float64 grey levels, as a camera sees it: a little soft, with a little grain."""
    picture = cv2.GaussianBlur(page, (0, 0), blur) + np.random.default_rng(0).normal(0, 1.5, page.shape)
    return np.clip(255 - picture if light_ink else picture, 0, 255).astype(np.uint8)


def two(shape: tuple[int, int], *, at: tuple[int, int], size: int, pen: int) -> np.ndarray:
    """Return a 2 around `at` (x, y), (height, width) uint8, 1 where it is."""
    x, y = at
    path = [(-0.3, -0.3), (-0.1, -0.5), (0.15, -0.5), (0.3, -0.25), (0.1, 0.1), (-0.3, 0.5), (0.35, 0.5)]
    points = np.int32([(x + size * right, y + size * down) for right, down in path])
    return cv2.polylines(np.zeros(shape, np.uint8), [points], False, 1, pen, cv2.LINE_8)


@pytest.mark.parametrize("light_ink", [False, True], ids=["dark ink", "light ink"])
@pytest.mark.parametrize("left", [0, 6, 30], ids=["half a hole", "at the edge", "within the page"])
@pytest.mark.parametrize("ink", [60, 130], ids=["as dark as the holes", "pencil"])
def test_punched_holes_are_no_ink(ink, left, light_ink):
    truth = two((380, 280), at=(170, 200), size=90, pen=4)
    page = np.where(truth, ink, 215 - 15 * np.indices(truth.shape)[1] / 280)
    for middle in (120, 260):
        cv2.circle(page, (left, middle), 14, 50, cv2.FILLED)
    assert overlap(find_ink(photographed(page, light_ink=light_ink)), truth) > 0.6


@pytest.mark.parametrize("light_ink", [False, True], ids=["dark ink", "light ink"])
@pytest.mark.parametrize("pen", [4, 8, 30])
def test_a_dot_of_the_pen_is_ink_alone_and_beside_strokes_as_wide(pen, light_ink):
    """A hole of a sheet is twice as wide as a pen, and something else is written on the sheet."""
    dot = cv2.circle(np.zeros((300, 300), np.uint8), (150, 200), pen, 1, cv2.FILLED)
    mark = cv2.line(dot.copy(), (150, 50), (150, 140), 1, 2 * pen)
    for truth in (dot, mark):
        assert overlap(find_ink(photographed(np.where(truth, 60.0, 210.0), light_ink=light_ink)), truth) > 0.8


def test_many_discs_are_no_holes():
    truth = two((380, 280), at=(140, 190), size=150, pen=5)
    for x, y in np.ndindex(4, 5):
        cv2.circle(truth, (35 + 70 * x, 30 + 80 * y), 7, 1, cv2.FILLED)
    assert overlap(find_ink(photographed(np.where(truth, 60.0, 215.0))), truth) > 0.8


def test_a_filled_zero_is_no_hole_beside_a_faint_trace():
    truth = cv2.ellipse(np.zeros((380, 300), np.uint8), (150, 150), (24, 27), 0, 0, 360, 1, cv2.FILLED)
    page = np.where(truth, 60.0, 215.0)
    page[300:303, 100:170] = 185
    assert overlap(find_ink(photographed(page)), truth) > 0.7


def test_a_square_zero_that_fills_its_picture_is_no_desk():
    truth = cv2.rectangle(np.ones((380, 260), np.uint8), (20, 20), (239, 359), 0, cv2.FILLED)
    assert find_ink(photographed(np.where(truth, 60.0, 215.0))) is not None


@pytest.mark.parametrize("light_ink", [False, True], ids=["dark ink", "light ink"])
@pytest.mark.parametrize("level", [150, 185])
@pytest.mark.parametrize(
    ("at", "size", "axes"),
    [((190, 260), 40, (90, 25)), ((160, 150), 110, (75, 70))],
    ids=["a long one", "a round one, and a digit across its edge"],
)
def test_the_reflection_of_a_lamp_is_no_ink(at, size, axes, level, light_ink):
    truth = two((380, 280), at=at, size=size, pen=3)
    glare = cv2.ellipse(np.zeros(truth.shape), (110, 110), axes, 10, 0, 360, 1, cv2.FILLED)
    page = level + (255 - level) * np.clip(1.5 * cv2.GaussianBlur(glare, (0, 0), 8), 0, 1)
    assert overlap(find_ink(photographed(np.where(truth, 70, page), light_ink=light_ink)), truth) > 0.6


@pytest.mark.parametrize("light_ink", [False, True], ids=["dark ink", "light ink"])
@pytest.mark.parametrize("size", [18, 40])
@pytest.mark.parametrize("left", [60, 120], ids=["as wide as half the page", "narrower"])
def test_a_broad_deep_shadow_is_no_ink_beside_a_tiny_digit(left, size, light_ink):
    truth = two((380, 280), at=(32, 200), size=size, pen=2)
    shadow = cv2.rectangle(np.zeros(truth.shape), (left, 50), (left + 135, 380), 1, cv2.FILLED)
    page = np.where(truth, 60, 215) * (1 - 0.45 * cv2.GaussianBlur(shadow, (0, 0), 3))
    assert overlap(find_ink(photographed(page, light_ink=light_ink)), truth) > 0.6


@pytest.mark.parametrize("light_ink", [False, True], ids=["dark ink", "light ink"])
@pytest.mark.parametrize("blur", [0.8, 5.0])
@pytest.mark.parametrize("pen", [30, 50])
def test_a_bold_digit_is_no_reflection(pen, blur, light_ink):
    """A 1 and a 9 whose loop is full, as a felt pen draws them, are as wide for their length as a reflection is."""
    one = cv2.line(np.zeros((380, 280), np.uint8), (150, 120), (135, 240), 1, pen)
    nine = cv2.circle(cv2.line(one * 0, (180, 100), (150, 320), 1, pen), (150, 130), pen, 1, cv2.FILLED)
    for truth in (one, nine):
        picture = photographed(np.where(truth, 60.0, 230.0), light_ink=light_ink, blur=blur)
        assert overlap(find_ink(picture), truth) > 0.85


def test_a_bold_digit_out_of_focus_in_a_large_photo_is_not_lost_on_a_closer_look():
    truth = cv2.line(np.zeros((1600, 1200), np.uint8), (520, 800), (440, 960), 1, 60)
    cv2.circle(truth, (460, 960), 70, 1, cv2.FILLED)
    assert ink_from_image(photographed(np.where(truth, 60.0, 230.0), blur=7)).any()


@pytest.mark.parametrize("light_ink", [False, True], ids=["dark ink", "light ink"])
@pytest.mark.parametrize("level", [50, 110])
@pytest.mark.parametrize("corners", ["at one edge", "at two edges"])
def test_an_empty_sheet_on_a_desk_is_blank(corners, level, light_ink):
    shape = (360, 280)
    sheet = cv2.fillPoly(np.zeros(shape, np.uint8), [np.int32(np.array(DESKS[corners]) * shape[::-1])], 1)
    y, x = np.indices(shape)
    page = np.where(sheet, 215 - 15 * x / shape[1], level + 30 * np.sign(np.sin(x / 3) * np.sin(y / 4)))
    page = cv2.GaussianBlur(page, (0, 0), 1.5)
    assert find_ink(photographed(page, light_ink=light_ink)) is None


@pytest.mark.parametrize("light_ink", [False, True], ids=["dark ink", "light ink"])
@pytest.mark.parametrize("at", [(140, 240), (140, 300)], ids=["across its edge", "within it"])
def test_half_a_page_in_the_shade_is_no_desk(at, light_ink):
    truth = two((380, 280), at=at, size=80, pen=4)
    page = np.where(truth, 70, 215) * np.where(np.indices(truth.shape)[0] > 230, 0.6, 1)
    assert overlap(find_ink(photographed(page, light_ink=light_ink)), truth) > 0.5


@pytest.mark.parametrize("grain", [0.0, 1.5])
def test_a_stroke_along_two_edges_of_a_tight_picture_is_no_desk(grain):
    """What lies on both sides of a stroke is the page; only beside a desk it is on one side."""
    truth = np.zeros((300, 220), np.uint8)
    cv2.polylines(truth, [np.array([[0, 20], [190, 20], [120, 300]])], False, 1, 18)
    picture = np.where(truth, 60, 220) + np.random.default_rng(0).normal(0, 1, truth.shape) * grain
    assert overlap(find_ink(np.clip(picture, 0, 255).astype(np.uint8)), truth) > 0.85


def test_the_local_threshold_is_that_of_sauvola_and_pietikainen():
    rng = np.random.default_rng(3)
    image = lit((40, 60), kind="from a side") - 90 * ring((40, 60), pen=3) + rng.normal(0, 2, (40, 60))
    image = image.clip(0, 255).astype(np.uint8)
    levels = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 0.7)
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(levels, 7, mode="reflect"), (15, 15))
    mean, deviation = windows.mean(axis=(2, 3)), windows.std(axis=(2, 3))
    threshold = mean * (1 + 0.2 * (deviation / deviation.max() - 1))
    clear = np.abs(levels - threshold) > 0.5
    ink = ink_by_local_threshold(image, sensitivity=0.2)
    np.testing.assert_array_equal(ink[clear], levels[clear] < threshold[clear])
    assert overlap(ink > 0.5, ring((40, 60), pen=3)) > 0.7


def test_the_local_threshold_finds_light_ink_on_a_dark_page():
    page = lit((80, 120), kind="from a side") - 90 * ring((80, 120), pen=5)
    dark, light = (
        ink_by_local_threshold(each.clip(0, 255).astype(np.uint8), sensitivity=0.2) for each in (page, 255 - page)
    )
    assert overlap(dark > 0.5, ring((80, 120), pen=5)) > 0.7
    assert overlap(light > 0.5, ring((80, 120), pen=5)) > 0.7
