"""Photos: ink on paper under a lamp, in shadows, on ruled paper, in the grain of a camera.

The light is evened out first: as a smooth surface where two levels explain the rest, else by a closing, which keeps the
edges of shadows. Then printed lines are taken off, and what is left within the edges of the strokes is ink.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from digit_utils.preprocessing.components import (
    FAINTEST_CONTRAST,
    FINE_GRAINED,
    FRAME,
    LARGE,
    LARGEST_PICTURE,
    deviation_of_page,
    has_blob,
    ink_box,
    large_parts,
    largest_piece,
    page_is_light,
    pen_width_of,
    sample,
    small_copy,
    two_levels,
    without_frame,
    without_haze,
    without_specks,
)
from digit_utils.preprocessing.line_removal import without_lines
from digit_utils.preprocessing.page_detection import round_holes

PHOTO_SIDE = 128  # pixels; a smaller photo is enlarged until its shorter side is as long
TWO_CLEAR_LEVELS = 0.8  # part of the variance that two levels explain under smooth light; shadows leave less
TWO_LEVELS_IN_GRAIN, NEARLY_ALL = 0.7, 0.9  # a smaller part will do where nearly all of the ink hangs together
HARDLY_A_SHADOW = 0.9  # part of the variance; a bold digit with as much may reach opposite edges, as a shadow does
DARKEST = 8  # pixels; so few of a small digit are as dark as its ink
BETWEEN = (0.25, 0.6)  # of full ink: neither page nor ink; a shadow's level, where something darker is written
MOST_BETWEEN = 12  # times the area of full ink; soft edges and pencils have up to 7 times as much, shadows 50
STEEPEST_SLOPE = 12  # grey levels by which light falls over a few pixels; what falls by more is an edge
CLEAR_GAPS = (4.5, 2.3)  # deviations of the grain between page and ink, in large photos and in enlarged ones
HANGS_TOGETHER = 0.2  # part of the ink in its largest piece; grain lies in many small ones
WIDER_THAN_PENS = 2  # times the width of the pen; a dot that is written is as wide
FAINT_BESIDE_HOLES = 0.25  # of their contrast; a pencil has 0.3 and more
AROUND_HOLE = 3  # pixels around a hole that its shadow darkens
NARROWEST_BLOB = 0.08  # of the photo's shorter side; a tiny digit is a blob as well
MOSTLY_BLOB = 0.5  # part of what seems to be ink; with less, a thick place of a digit may be all
LENGTH_OF_STROKES = 3.0  # of their widths; a reflection and a phone's shadow are shorter, and a bold 1
STRONGER_THAN_BLOB = 1.1  # times the contrast of a blob; the edges of a bold digit are no stronger than all of it
OPPOSITE_TO_BLOB = -0.3  # times that contrast; around a bold digit, sharpening makes the page lighter by less
SOFTEST_EDGE = 4.5  # pixels between a quarter and three of a blob's level; a pen's that is out of focus has 4
LEAST_LIGHT = 0.55  # of the page's level; shadows leave as much, and a pen leaves less
MOST_BESIDE_LINES = 0.7  # of the picture's shorter side; what is left of a tight 7 without its bar is longer
WIDEST_CREASE = 0.025  # of the photo's shorter side; a line that is wider, and alone, may be a 1
TOUCH = 4  # pixels between strokes that touch, once their soft edges are gone
AS_WIDE, AS_DARK = 0.7, 0.8  # of the other strokes' width, and of their level
PHOTO_INK = (0.35, 0.7)  # of full ink: below, a ruled line or grain; above, as good as full
STRONGEST = (0.005, 30)  # part of the pixels of a photo, or pixels of a large one: a small digit there has few more
MOST_GRAIN = 0.5  # of full ink; a bold digit leaves little page to measure the grain on
FULL_DEPTH = 32  # grey levels; what is as much darker than its surroundings is a stroke


def ink_of_photo(image: np.ndarray) -> np.ndarray | None:
    """Return the ink of a photo, enlarged where it is small, None for a blank one."""
    if image.size >= FINE_GRAINED and (holes := round_holes(image)).any():
        around = cv2.dilate(holes, np.ones((2 * AROUND_HOLE + 1, 2 * AROUND_HOLE + 1), np.uint8))
        ink = _ink_on_paper(cv2.inpaint(image, around, 3, cv2.INPAINT_TELEA))
        if ink is not None and _are_beside(holes > 0, image, ink > 0.5):
            return ink
    return _ink_on_paper(image)


def _are_beside(holes: np.ndarray, image: np.ndarray, ink: np.ndarray) -> bool:
    """Tell whether discs are a sheet's holes: much wider than the strokes of what is written, which is no faint trace.

    `holes` and `ink` are (height, width) bool.
    """
    width = min((part.width for part in large_parts(holes)[1]), default=0.0)  # none is large among many alike
    if not ink.any() or width < WIDER_THAN_PENS * pen_width_of(ink.astype(np.float32)):
        return False
    page = np.median(sample(image))
    return bool(abs(np.median(image[ink]) - page) > FAINT_BESIDE_HOLES * abs(np.median(image[holes]) - page))


def _ink_on_paper(image: np.ndarray) -> np.ndarray | None:
    """Return the ink of a photo whose sheet has no holes, or whose holes are its ink."""
    large, fine, enlarged = min(image.shape) >= LARGE, image.size >= FINE_GRAINED, 1.0
    if not large:
        enlarged = max(1.0, min(PHOTO_SIDE / min(image.shape), LARGEST_PICTURE / max(image.shape)))
        image = cv2.resize(image, None, fx=enlarged, fy=enlarged, interpolation=cv2.INTER_CUBIC)
    light = _light_under_smooth_light(image, large=large)
    if light is None:
        light = _light_beside_shadows(image, patterned=fine, enlarged=enlarged)
    if light is None:
        return None
    if not fine:
        return _ink_of_strokes(light)
    light = _light_of_strokes(image, light)
    return None if light is None else _ink_beside_lines(light)


def _ink_of_strokes(light: np.ndarray) -> np.ndarray:
    return without_haze(without_specks(_ink_by_edges(light)))


def _ink_beside_lines(light: np.ndarray) -> np.ndarray | None:
    """Return the ink of a photo, (height, width) float32 that grows towards the ink, but not printed lines or creases.

    None where there is nothing else. A few lines may be strokes as well: they are none where what is written is smaller
    than the picture, and does not go on from them.
    """
    unruled, rest = without_lines(light, full=_full_ink(cv2.blur(light, (3, 3))))
    if rest is light:
        return _ink_of_strokes(light)
    everything = _ink_of_strokes(unruled)
    if _is_only_grain(cv2.blur(rest, (3, 3))):
        ruled, thin = unruled is not light, pen_width_of(everything) < WIDEST_CREASE * min(light.shape)
        return None if ruled or thin else everything
    if rest is unruled:
        return everything
    ink = _ink_of_strokes(rest)
    return ink if _is_small(ink) and not _go_on(unruled, beside=ink > 0.5, along=unruled > rest) else everything


def _is_small(ink: np.ndarray) -> bool:
    rows, columns = ink_box(ink)
    most_rows, most_columns = (MOST_BESIDE_LINES * length for length in ink.shape)
    return rows.stop - rows.start < most_rows and columns.stop - columns.start < most_columns


def _go_on(light: np.ndarray, *, beside: np.ndarray, along: np.ndarray) -> bool:
    """Tell whether lines `along` a mask are strokes of the ink `beside` them, (height, width) bool.

    Strokes of one digit touch each other, and one pen made them: they are as wide and as dark.
    """
    near = cv2.dilate(beside.view(np.uint8), np.ones((2 * TOUCH + 1, 2 * TOUCH + 1), np.uint8)) > 0
    if not (near & along).any():
        return False
    lines = (_ink_of_strokes(light) > 0.5) & along & ~near
    if not lines.any():
        return True
    as_wide = pen_width_of(lines.astype(np.float32)) / max(pen_width_of(beside.astype(np.float32)), 1.0)
    as_dark = float(np.median(light[lines]) / np.median(light[beside]))
    return AS_WIDE < as_wide < 1 / AS_WIDE and AS_DARK < as_dark < 1 / AS_DARK


def _light_of_strokes(image: np.ndarray, light: np.ndarray) -> np.ndarray | None:
    """Return how far a photo stands out towards its ink: as a first guess, `light`, has it, but for reflections.

    A lamp's reflection and a shadow are blobs, no strokes. What is written beside them is found in another light. With
    nothing written, a blob with soft edges is the light's doing and the page blank, None; others are bold digits.
    """
    blob = _blobs(light)
    part = np.count_nonzero(blob) / max(1, np.count_nonzero(_clear_ink(light)))
    if part < MOSTLY_BLOB:
        return light
    strokes = _light_of_strokes_beside(blob, image)
    if strokes is not None:
        return strokes
    page, level = np.median(sample(image)), np.median(image[blob])
    alike = min(page, level) > LEAST_LIGHT * max(page, level)
    return None if alike and part > NEARLY_ALL and _softness(light, blob) > SOFTEST_EDGE else light


def _light_of_strokes_beside(blob: np.ndarray, image: np.ndarray) -> np.ndarray | None:
    """Return how far a photo stands out towards the strokes beside a blob, (height, width) bool; None without any.

    They stand out from the page to the other side than the blob, or by more than it does.
    """
    contrast = image - np.float32(np.median(sample(image)))
    contrast = contrast / (np.median(contrast[blob]) or 1)
    for other in (False, True):
        light = _light_beside_shadows(image, patterned=True, other=other)
        if light is None or _blobs(light).any():
            continue
        weakest, strongest = np.percentile(contrast[_clear_ink(light)], (20, 80))
        if strongest > STRONGER_THAN_BLOB or weakest < OPPOSITE_TO_BLOB:
            return light
    return None


def _blobs(light: np.ndarray) -> np.ndarray:
    """Return a mask of what is too wide for a stroke of its length, in a photo that grows towards the ink."""
    parts, large = large_parts(_clear_ink(light))
    wide = [part for part in large if part.width > NARROWEST_BLOB * min(light.shape)]
    return np.isin(parts, [part.number for part in wide if part.length < LENGTH_OF_STROKES])


def _softness(light: np.ndarray, blob: np.ndarray) -> float:
    """Return how wide the edge of a blob is in a photo that grows towards the ink, in pixels."""
    smooth = cv2.blur(light, (3, 3)) / max(float(np.median(light[blob])), 1.0)
    within = (smooth > 0.5).view(np.uint8)
    length = np.count_nonzero(within > cv2.erode(within, np.ones((3, 3), np.uint8)))
    return np.count_nonzero((smooth > 0.25) & (smooth < 0.75)) / max(1, length)


def _clear_ink(light: np.ndarray) -> np.ndarray:
    smooth = cv2.blur(light, (3, 3))
    return smooth > 0.4 * float(smooth.max())


# -------------------------------------------------------------------------------------------- smooth light


@dataclass(frozen=True)
class _SmoothLight:
    """A page under light that falls smoothly, as a small picture shows it."""

    surface: np.ndarray  # (height, width) float32 grey levels: the page without ink
    page: np.ndarray  # (height, width) bool: where it shows; the rest is ink
    light_page: bool  # whether the page is lighter than the ink
    share: float  # part of the variance beside the surface that page and ink explain
    gap: float  # grey levels between them


def _light_under_smooth_light(image: np.ndarray, *, large: bool) -> np.ndarray | None:
    """Return how far each pixel stands out towards the ink, evened out, where the light falls smoothly.

    None where more than two levels are left then or too little contrast, and where what is left looks like a shadow.
    """
    small = small_copy(image, cv2.INTER_AREA)
    threshold, light_page = page_is_light(small)
    guesses = (np.ones(small.shape, bool), (small > threshold) == light_page)  # the second for bold digits
    fits = [fit for page in guesses if (fit := _smooth_light(small.astype(np.float32), page)) is not None]
    best = max(fits, key=lambda fit: fit.share, default=None)
    if best is None or best.gap < FAINTEST_CONTRAST:
        return None
    ink = ~best.page
    if best.share < (TWO_LEVELS_IN_GRAIN if largest_piece(ink) > NEARLY_ALL else TWO_CLEAR_LEVELS):
        return None
    if _is_shadow(ink) or (large and best.share < HARDLY_A_SHADOW and _is_band(ink)):
        return None
    field = cv2.resize(best.surface, image.shape[::-1], interpolation=cv2.INTER_LINEAR)
    difference = image.astype(np.float32) - field
    light = -difference * _gain(field) if best.light_page else difference * _gain(255 - field)
    fine = large and image.size >= FINE_GRAINED
    return None if fine and _is_mostly_between(cv2.blur(light, (3, 3))) else light


def _smooth_light(small: np.ndarray, page: np.ndarray) -> _SmoothLight | None:
    """Fit a quadratic surface to the page of a float32 picture, and see again what is page: from a first guess on."""
    terms = _quadratic_terms(small.shape)
    for _ in range(4):
        seen = terms[page]
        surface = terms @ np.linalg.lstsq(seen.T @ seen, seen.T @ small[page], rcond=None)[0]
        left = small - surface
        levels = cv2.normalize(left, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
        threshold, light_page = page_is_light(levels)
        before, page = page, (levels > threshold) == light_page
        if page.sum() < 2 * terms.shape[2] or page.all():
            return None
        if np.array_equal(before, page):
            break
    share, gap = two_levels(left, page)
    return _SmoothLight(surface + np.median(left[page]), page, light_page, share, gap)


def _quadratic_terms(shape: tuple[int, int]) -> np.ndarray:
    """Return 1, x, y, xy, xx and yy of each pixel, (height, width, 6) float32, with x and y from -0.5 to 0.5."""
    y, x = np.indices(shape, np.float32)
    y, x = y / shape[0] - 0.5, x / shape[1] - 0.5
    return np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], axis=2)


def _is_mostly_between(light: np.ndarray) -> bool:
    """Tell whether what stands out in a blurred photo is mostly a shadow, because something darker is written there.

    A shadow may be as long and narrow as a stroke, so its form does not tell.
    """
    full = _full_ink(light)
    between = np.count_nonzero((light > BETWEEN[0] * full) & (light < BETWEEN[1] * full))
    return between > MOST_BETWEEN * np.count_nonzero(light >= BETWEEN[1] * full)


def _full_ink(light: np.ndarray) -> float:
    """Return the level of full ink in a blurred photo: all but a few pixels are below."""
    return float(np.partition(light, -DARKEST, axis=None)[-DARKEST])


def _is_shadow(inside: np.ndarray) -> bool:
    """Tell whether a large part of a mask fills a corner of the picture, or is a blob and no strokes."""
    parts, large = large_parts(inside)
    corners = parts[[0, 0, -1, -1], [0, -1, 0, -1]]
    return any(part.number in corners for part in large) or has_blob(inside)


def _is_band(inside: np.ndarray) -> bool:
    """Tell whether a bool mask covers much of opposite edges of the picture, as a shadow across it would."""
    top, bottom, left, right = (edge.mean() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))
    return max(top + bottom, left + right) > FRAME


def _gain(field: np.ndarray) -> np.ndarray:
    """Return how much more than under a field of light, in grey levels, a difference would be in its usual light."""
    level = max(float(np.median(field)), 1.0)  # black all over, there is no light to divide by
    return level / np.maximum(field, 0.4 * level)


# ------------------------------------------------------------------------------------------------------- shadows


def _light_beside_shadows(
    image: np.ndarray, *, patterned: bool, enlarged: float = 1.0, other: bool = False
) -> np.ndarray | None:
    """Return how far each pixel of a page with shadows stands out towards the ink, evened out; None if nothing does.

    With `other`, towards what is lighter where ink seems to be dark, and the other way round.
    """
    light, gain = _light_on_page_with_shadows(image, patterned=patterned, other=other)
    light = without_frame(light)
    return None if _is_only_grain(cv2.blur(light, (3, 3)), enlarged=enlarged) else light * gain


def _light_on_page_with_shadows(image: np.ndarray, *, patterned: bool, other: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return how far each pixel stands out from a page with shadows, and how much more it would be in full light.

    The page may be `patterned`, squared or dotted.
    """
    dark, bright = (_longest_stroke(page, patterned=patterned) for page in (image, 255 - image))
    light_ink = (bright > dark) != other
    if light_ink:
        image = 255 - image
    field = _light_under_ink(image, pen=(bright if light_ink else dark)[1])
    light = field - image
    return light - np.median(sample(light)), _gain(field)


def _longest_stroke(image: np.ndarray, *, patterned: bool) -> tuple[float, float]:
    """Return how long the dark strokes of a picture are, in some unit, and their width as a part of its shorter side.

    What a closing fills has an area; divided by the width of the window, it is a length. Around a light page's dark
    strokes there are light gaps as well, but those are wider or shorter than the strokes. The squares of squared paper
    are light gaps all over the page, more than a small digit's strokes: on a page that may be `patterned`, only what
    is deeper than most of it counts.
    """
    small = cv2.resize(image, (96, 96), interpolation=cv2.INTER_AREA)
    small = cv2.copyMakeBorder(small, 14, 14, 14, 14, cv2.BORDER_REPLICATE)
    found = []
    for window in (3, 5, 7, 11, 15, 21):
        filled = cv2.morphologyEx(small, cv2.MORPH_CLOSE, np.ones((window, window), np.uint8))
        depth = cv2.min(cv2.subtract(filled, small), FULL_DEPTH)  # an edge of the paper counts no more than ink
        depth = cv2.subtract(depth, float(np.median(depth))) if patterned else depth
        found.append((cv2.norm(depth, cv2.NORM_L2SQR) / window**1.5, window / 96))
    return max(found)


def _light_under_ink(image: np.ndarray, *, pen: float) -> np.ndarray:
    """Return the light on a light page under dark ink, shadows with their edges: (height, width) float32 grey levels.

    A closing fills what is narrower than its window, a pen's stroke, and keeps every edge between wider areas.
    """
    scale = min(0.5, 160 / max(image.shape))  # averaging takes the grain away
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    small = cv2.medianBlur(small, 3).astype(np.float32)
    reach = max(3, round(np.clip(pen, 0.07, 0.15) * min(small.shape)))  # to either side: a window of two pens
    padded = cv2.copyMakeBorder(small, *4 * [reach], cv2.BORDER_REPLICATE)  # what is dark at an edge goes on beyond it
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    # At a shadow's edge the light keeps to its dark side, lest a line be left there; on a slope that would be too low.
    around = np.ones((5, 5), np.uint8)
    low = cv2.erode(closed, around)
    field = np.minimum(cv2.dilate(low, around), low + STEEPEST_SLOPE)[reach:-reach, reach:-reach]
    return cv2.resize(cv2.blur(field, (3, 3)), image.shape[::-1], interpolation=cv2.INTER_LINEAR)


# ----------------------------------------------------------------------------------------------------------- ink


def _is_only_grain(light: np.ndarray, *, enlarged: float = 1.0) -> bool:
    """Tell whether what stands out in a blurred photo is neither far from the page nor hangs together."""
    strongest = min(STRONGEST[0], STRONGEST[1] / light.size)
    half = 0.4 * float(np.percentile(light, 100 * (1 - strongest)))
    inside = light > half
    if float(light.max()) < FAINTEST_CONTRAST or not 2 < inside.sum() < light.size:
        return True
    lag = int(np.ceil(2 * enlarged)) + 1  # beyond what the blur and the enlarging have made alike
    steps = np.concatenate([(light[:, lag:] - light[:, :-lag]).ravel(), (light[lag:] - light[:-lag]).ravel()])
    grain = 1.4826 * float(np.median(np.abs(steps))) / np.sqrt(2)
    _, gap = two_levels(light, inside)
    if gap < CLEAR_GAPS[enlarged > 1] * max(grain, 0.5):
        return True
    return largest_piece(inside) < HANGS_TOGETHER


def _ink_by_edges(light: np.ndarray) -> np.ndarray:
    """Return ink that is full within the edges of the strokes and none outside, as photos with grain and lines need."""
    smooth = cv2.blur(light, (3, 3))
    half = 0.4 * float(smooth.max())
    if 3 * deviation_of_page(light, below=half) > half:
        light = cv2.GaussianBlur(light, (0, 0), 1.5)
    full = float(np.percentile(light[smooth > half], 80))
    grain = min(3 * deviation_of_page(smooth, below=half), MOST_GRAIN * full)
    faint, clear = (max(part * full, grain) for part in PHOTO_INK)
    return np.clip((light - faint) / max(clear - faint, 1), 0, 1)
