"""Ink in photos of paper: uneven illumination, shadows, ruled lines, and the noise of a camera.

The illumination is evened out first: as a smooth surface if two levels explain the rest, else by a morphological
closing, which keeps the edges of shadows. Then printed lines are removed, and what is left within the edges of strokes
is ink.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from digit_utils.preprocessing.components import (
    FAINTEST_CONTRAST,
    FINE_GRAINED,
    FRAME_COVERAGE,
    LARGE,
    LARGEST_IMAGE,
    deviation_of_page,
    edges_of,
    has_blob,
    ink_box,
    large_components,
    page_is_light,
    pen_width_of,
    sample,
    share_of_largest_component,
    small_copy,
    two_levels,
    without_frame,
    without_haze,
    without_specks,
)
from digit_utils.preprocessing.line_removal import without_lines
from digit_utils.preprocessing.page_detection import round_holes

PHOTO_SIDE = 128  # pixels; a smaller photo is enlarged until its shorter side is as long
TWO_CLEAR_LEVELS = 0.8  # share of the variance that two levels explain in smooth light; with shadows it is less
TWO_LEVELS_IN_NOISE, NEARLY_ALL = 0.7, 0.9  # a smaller share will do if nearly all of the ink is connected
NO_SHADOW = 0.9  # share of the variance; with as much, a bold digit may reach opposite edges, as a shadow does
DARKEST = 8  # pixels; a small digit may have so few that are as dark as its ink
BETWEEN = (0.25, 0.6)  # of full ink: neither page nor ink; the level of a shadow beside darker ink
MOST_BETWEEN = 12  # times the area of full ink; soft edges and pencils have up to 7 times, shadows 50 times as much
STEEPEST_SLOPE = 12  # grey levels by which the illumination falls over a few pixels; more is an edge
CLEAR_GAPS = (4.5, 2.3)  # standard deviations of noise between page and ink, in large photos and in enlarged ones
LEAST_CONNECTED = 0.2  # share of the ink in its largest component; noise has many small ones
WIDER_THAN_PENS = 2  # pen widths; a written dot is one wide
FAINT_BESIDE_HOLES = 0.25  # of their contrast; a pencil has 0.3 and more
AROUND_HOLE = 3  # pixels around a hole that its shadow darkens
NARROWEST_BLOB = 0.08  # of the photo's shorter side; a tiny digit is a blob as well
MOSTLY_BLOB = 0.5  # share of the apparent ink; less may be just a thick place of a digit
LENGTH_OF_STROKES = 3.0  # widths; reflections, the shadow of a phone and a bold 1 are shorter
STRONGER_THAN_BLOB = 1.1  # times the contrast of a blob; the edges of a bold digit are not stronger than the rest
OPPOSITE_TO_BLOB = -0.3  # times that contrast; sharpening makes the page around a bold digit lighter by less
SOFTEST_EDGE = 4.5  # pixels from one to three quarters of a blob's level; a pen stroke out of focus has 4
LEAST_LIGHT = 0.55  # of the page's level; shadows leave more, a pen leaves less
MOST_BESIDE_LINES = 0.7  # of the image's side; the rest of a tightly cropped 7 without its bar is longer
WIDEST_CREASE = 0.025  # of the photo's shorter side; a single line that is wider may be a 1
TOUCH = 4  # pixels between touching strokes once their soft edges are gone
SIMILAR_WIDTH, SIMILAR_LEVEL = 0.7, 0.8  # at least this ratio to the width and the level of the other strokes
PHOTO_INK = (0.35, 0.7)  # of full ink: less is a ruled line or noise, more counts as full
STRONGEST = (0.005, 30)  # share of the pixels of a photo, or pixels of a large one; a small digit has few more
MOST_NOISE = 0.5  # of full ink; a bold digit leaves little page on which to measure the noise
FULL_DEPTH = 32  # grey levels; what is darker than its surroundings by as much is a stroke


def ink_of_photo(image: np.ndarray) -> np.ndarray | None:
    """Return the ink of a photo, enlarged where it is small, None for a blank one."""
    if image.size >= FINE_GRAINED and (holes := round_holes(image)).any():
        around = cv2.dilate(holes, np.ones((2 * AROUND_HOLE + 1, 2 * AROUND_HOLE + 1), np.uint8))
        ink = _ink_on_paper(cv2.inpaint(image, around, 3, cv2.INPAINT_TELEA))
        if ink is not None and _are_beside(holes > 0, image, ink > 0.5):
            return ink
    return _ink_on_paper(image)


def _are_beside(holes: np.ndarray, image: np.ndarray, ink: np.ndarray) -> bool:
    """Return whether discs are punched holes: much wider than the strokes of the ink, which is not faint.

    `holes` and `ink` are (height, width) bool.
    """
    width = min((part.width for part in large_components(holes)[1]), default=0.0)  # none is large among many equal ones
    if not ink.any() or width < WIDER_THAN_PENS * pen_width_of(ink.astype(np.float32)):
        return False
    page = np.median(sample(image))
    return bool(abs(np.median(image[ink]) - page) > FAINT_BESIDE_HOLES * abs(np.median(image[holes]) - page))


def _ink_on_paper(image: np.ndarray) -> np.ndarray | None:
    """Return the ink of a photo whose page has no holes, or whose discs are its ink."""
    large, fine, enlarged = min(image.shape) >= LARGE, image.size >= FINE_GRAINED, 1.0
    if not large:
        enlarged = max(1.0, min(PHOTO_SIDE / min(image.shape), LARGEST_IMAGE / max(image.shape)))
        image = cv2.resize(image, None, fx=enlarged, fy=enlarged, interpolation=cv2.INTER_CUBIC)
    contrast = _contrast_in_smooth_light(image, large=large)
    if contrast is None:
        contrast = _contrast_beside_shadows(image, patterned=fine, enlarged=enlarged)
    if contrast is None:
        return None
    if not fine:
        return _ink_of_strokes(contrast)
    contrast = _contrast_of_strokes(image, contrast)
    return None if contrast is None else _ink_beside_lines(contrast)


def _ink_of_strokes(contrast: np.ndarray) -> np.ndarray:
    return without_haze(without_specks(_ink_by_edges(contrast)))


def _ink_beside_lines(contrast: np.ndarray) -> np.ndarray | None:
    """Return the ink of a photo, given by its contrast, (height, width) float32, without printed lines and creases.

    None if there is nothing else. A few lines may be strokes as well: they are not if the other ink is smaller than the
    image and not connected to them.
    """
    unruled, rest = without_lines(contrast, full=_full_ink(cv2.blur(contrast, (3, 3))))
    if rest is contrast:
        return _ink_of_strokes(contrast)
    everything = _ink_of_strokes(unruled)
    if _is_only_noise(cv2.blur(rest, (3, 3))):
        ruled, thin = unruled is not contrast, pen_width_of(everything) < WIDEST_CREASE * min(contrast.shape)
        return None if ruled or thin else everything
    if rest is unruled:
        return everything
    ink = _ink_of_strokes(rest)
    return ink if _is_small(ink) and not _go_on(unruled, beside=ink > 0.5, along=unruled > rest) else everything


def _is_small(ink: np.ndarray) -> bool:
    rows, columns = ink_box(ink)
    most_rows, most_columns = (MOST_BESIDE_LINES * length for length in ink.shape)
    return rows.stop - rows.start < most_rows and columns.stop - columns.start < most_columns


def _go_on(contrast: np.ndarray, *, beside: np.ndarray, along: np.ndarray) -> bool:
    """Return whether lines `along` a mask are strokes of the ink `beside` them, (height, width) bool.

    Strokes of one digit touch each other and were made by one pen: they have the same width and darkness.
    """
    near = cv2.dilate(beside.view(np.uint8), np.ones((2 * TOUCH + 1, 2 * TOUCH + 1), np.uint8)) > 0
    if not (near & along).any():
        return False
    lines = (_ink_of_strokes(contrast) > 0.5) & along & ~near
    if not lines.any():
        return True
    as_wide = pen_width_of(lines.astype(np.float32)) / max(pen_width_of(beside.astype(np.float32)), 1.0)
    as_dark = float(np.median(contrast[lines]) / np.median(contrast[beside]))
    return SIMILAR_WIDTH < as_wide < 1 / SIMILAR_WIDTH and SIMILAR_LEVEL < as_dark < 1 / SIMILAR_LEVEL


def _contrast_of_strokes(image: np.ndarray, contrast: np.ndarray) -> np.ndarray | None:
    """Return the contrast of a photo: the first estimate, `contrast`, unless that shows a reflection or a shadow.

    The reflection of a lamp and a shadow are blobs, not strokes; ink beside them is found with the opposite polarity.
    Without such ink, a blob with soft edges is an effect of the illumination and the page is blank (None); other blobs
    are bold digits.
    """
    blob = _blobs(contrast)
    part = np.count_nonzero(blob) / max(1, np.count_nonzero(_clear_ink(contrast)))
    if part < MOSTLY_BLOB:
        return contrast
    strokes = _contrast_of_strokes_beside(blob, image)
    if strokes is not None:
        return strokes
    page, level = np.median(sample(image)), np.median(image[blob])
    alike = min(page, level) > LEAST_LIGHT * max(page, level)
    return None if alike and part > NEARLY_ALL and _softness(contrast, blob) > SOFTEST_EDGE else contrast


def _contrast_of_strokes_beside(blob: np.ndarray, image: np.ndarray) -> np.ndarray | None:
    """Return the contrast of a photo towards the strokes beside a blob, (height, width) bool; None without any.

    Such strokes have the opposite contrast to the page, or a stronger one than the blob.
    """
    relative = image - np.float32(np.median(sample(image)))
    relative = relative / (np.median(relative[blob]) or 1)
    for other in (False, True):
        contrast = _contrast_beside_shadows(image, patterned=True, other=other)
        if contrast is None or _blobs(contrast).any():
            continue
        weakest, strongest = np.percentile(relative[_clear_ink(contrast)], (20, 80))
        if strongest > STRONGER_THAN_BLOB or weakest < OPPOSITE_TO_BLOB:
            return contrast
    return None


def _blobs(contrast: np.ndarray) -> np.ndarray:
    """Return a mask of what is too wide for a stroke of its length, given the contrast of a photo."""
    parts, large = large_components(_clear_ink(contrast))
    wide = [part for part in large if part.width > NARROWEST_BLOB * min(contrast.shape)]
    return np.isin(parts, [part.number for part in wide if part.length < LENGTH_OF_STROKES])


def _softness(contrast: np.ndarray, blob: np.ndarray) -> float:
    """Return the width of the edge of a blob in pixels, given the contrast of a photo."""
    smooth = cv2.blur(contrast, (3, 3)) / max(float(np.median(contrast[blob])), 1.0)
    within = (smooth > 0.5).view(np.uint8)
    length = np.count_nonzero(within > cv2.erode(within, np.ones((3, 3), np.uint8)))
    return np.count_nonzero((smooth > 0.25) & (smooth < 0.75)) / max(1, length)


def _clear_ink(contrast: np.ndarray) -> np.ndarray:
    smooth = cv2.blur(contrast, (3, 3))
    return smooth > 0.4 * float(smooth.max())


# -------------------------------------------------------------------------------------- smooth illumination


@dataclass(frozen=True)
class _SmoothLight:
    """A page in smooth illumination, fitted to a small image."""

    surface: np.ndarray  # (height, width) float32 grey levels: the page without ink
    page: np.ndarray  # (height, width) bool: where the page is visible; the rest is ink
    light_page: bool  # whether the page is lighter than the ink
    share: float  # share of the variance beside the surface that page and ink explain
    gap: float  # grey levels between them


def _contrast_in_smooth_light(image: np.ndarray, *, large: bool) -> np.ndarray | None:
    """Return the contrast of each pixel, evened out, if the illumination is smooth.

    None if more than two levels or too little contrast remain, or if what remains looks like a shadow.
    """
    small = small_copy(image, cv2.INTER_AREA)
    threshold, light_page = page_is_light(small)
    guesses = (np.ones(small.shape, bool), (small > threshold) == light_page)  # the second for bold digits
    fits = [fit for page in guesses if (fit := _fit_smooth_light(small.astype(np.float32), page)) is not None]
    best = max(fits, key=lambda fit: fit.share, default=None)
    if best is None or best.gap < FAINTEST_CONTRAST:
        return None
    ink = ~best.page
    if best.share < (TWO_LEVELS_IN_NOISE if share_of_largest_component(ink) > NEARLY_ALL else TWO_CLEAR_LEVELS):
        return None
    if _is_shadow(ink) or (large and best.share < NO_SHADOW and _is_band(ink)):
        return None
    field = cv2.resize(best.surface, image.shape[::-1], interpolation=cv2.INTER_LINEAR)
    difference = image.astype(np.float32) - field
    contrast = -difference * _gain(field) if best.light_page else difference * _gain(255 - field)
    fine = large and image.size >= FINE_GRAINED
    return None if fine and _is_mostly_between(cv2.blur(contrast, (3, 3))) else contrast


def _fit_smooth_light(small: np.ndarray, page: np.ndarray) -> _SmoothLight | None:
    """Fit a quadratic surface to the page of a float32 image and segment the page again, from a first guess on."""
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


def _is_mostly_between(contrast: np.ndarray) -> bool:
    """Return whether the contrast of a blurred photo is mostly a shadow, because there is something darker: ink.

    A shadow may be as long and narrow as a stroke, so its shape does not decide.
    """
    full = _full_ink(contrast)
    between = np.count_nonzero((contrast > BETWEEN[0] * full) & (contrast < BETWEEN[1] * full))
    return between > MOST_BETWEEN * np.count_nonzero(contrast >= BETWEEN[1] * full)


def _full_ink(contrast: np.ndarray) -> float:
    """Return the contrast of full ink in a blurred photo: all but a few pixels are below."""
    return float(np.partition(contrast, -DARKEST, axis=None)[-DARKEST])


def _is_shadow(inside: np.ndarray) -> bool:
    """Return whether a large component of a mask fills a corner of the image, or is a blob rather than strokes."""
    parts, large = large_components(inside)
    corners = parts[[0, 0, -1, -1], [0, -1, 0, -1]]
    return any(part.number in corners for part in large) or has_blob(inside)


def _is_band(inside: np.ndarray) -> bool:
    """Return whether a bool mask covers much of opposite edges of the image, as a shadow across it would."""
    top, bottom, left, right = (edge.mean() for edge in edges_of(inside))
    return max(top + bottom, left + right) > FRAME_COVERAGE


def _gain(field: np.ndarray) -> np.ndarray:
    """Return by which factor a difference in grey levels would be larger in typical than in the given illumination."""
    level = max(float(np.median(field)), 1.0)  # an all-black image has no illumination to divide by
    return level / np.maximum(field, 0.4 * level)


# ------------------------------------------------------------------------------------------------------- shadows


def _contrast_beside_shadows(
    image: np.ndarray, *, patterned: bool, enlarged: float = 1.0, other: bool = False
) -> np.ndarray | None:
    """Return the contrast of each pixel of a page with shadows, evened out; None if there is only noise.

    With `other`, for the opposite polarity of ink than the one that was found.
    """
    contrast, gain = _contrast_on_page_with_shadows(image, patterned=patterned, other=other)
    contrast = without_frame(contrast)
    return None if _is_only_noise(cv2.blur(contrast, (3, 3)), enlarged=enlarged) else contrast * gain


def _contrast_on_page_with_shadows(image: np.ndarray, *, patterned: bool, other: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the contrast of each pixel to a page with shadows, and the factor that full illumination would add.

    The page may be `patterned`: squared or dotted.
    """
    dark, bright = (_longest_stroke(page, patterned=patterned) for page in (image, 255 - image))
    light_ink = (bright > dark) != other
    if light_ink:
        image = 255 - image
    field = _light_under_ink(image, pen=(bright if light_ink else dark)[1])
    contrast = field - image
    return contrast - np.median(sample(contrast)), _gain(field)


def _longest_stroke(image: np.ndarray, *, patterned: bool) -> tuple[float, float]:
    """Return the length of the dark strokes of an image, in arbitrary units, and their width relative to its side.

    The area that a closing fills, divided by the width of the window, is a length. There are light gaps between the
    dark strokes as well, but those are wider or shorter than the strokes. The squares of squared paper are light gaps
    all over the page, more than the strokes of a small digit: on a page that may be `patterned`, only what is deeper
    than most of it counts.
    """
    small = cv2.resize(image, (96, 96), interpolation=cv2.INTER_AREA)
    small = cv2.copyMakeBorder(small, 14, 14, 14, 14, cv2.BORDER_REPLICATE)
    found = []
    for window in (3, 5, 7, 11, 15, 21):
        filled = cv2.morphologyEx(small, cv2.MORPH_CLOSE, np.ones((window, window), np.uint8))
        depth = cv2.min(cv2.subtract(filled, small), FULL_DEPTH)  # an edge of the paper must not count more than ink
        depth = cv2.subtract(depth, float(np.median(depth))) if patterned else depth
        found.append((cv2.norm(depth, cv2.NORM_L2SQR) / window**1.5, window / 96))
    return max(found)


def _light_under_ink(image: np.ndarray, *, pen: float) -> np.ndarray:
    """Return the illumination of a light page under dark ink, with the edges of shadows: (height, width) float32.

    A closing fills what is narrower than its window, a pen stroke, and keeps every edge between wider areas.
    """
    scale = min(0.5, 160 / max(image.shape))  # averaging removes the noise
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    small = cv2.medianBlur(small, 3).astype(np.float32)
    reach = max(3, round(np.clip(pen, 0.07, 0.15) * min(small.shape)))  # to either side: a window of two pens
    padded = cv2.copyMakeBorder(small, *4 * [reach], cv2.BORDER_REPLICATE)  # what is dark at an edge goes on beyond it
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    # At the edge of a shadow, take the dark side, lest a line be left there; on a slope that would be too dark.
    around = np.ones((5, 5), np.uint8)
    low = cv2.erode(closed, around)
    field = np.minimum(cv2.dilate(low, around), low + STEEPEST_SLOPE)[reach:-reach, reach:-reach]
    return cv2.resize(cv2.blur(field, (3, 3)), image.shape[::-1], interpolation=cv2.INTER_LINEAR)


# ----------------------------------------------------------------------------------------------------------- ink


def _is_only_noise(contrast: np.ndarray, *, enlarged: float = 1.0) -> bool:
    """Return whether the contrast of a blurred photo is neither strong nor connected."""
    strongest = min(STRONGEST[0], STRONGEST[1] / contrast.size)
    half = 0.4 * float(np.percentile(contrast, 100 * (1 - strongest)))
    inside = contrast > half
    if float(contrast.max()) < FAINTEST_CONTRAST or not 2 < inside.sum() < contrast.size:
        return True
    lag = int(np.ceil(2 * enlarged)) + 1  # beyond the distance over which blur and enlarging correlate pixels
    steps = np.concatenate(
        [(contrast[:, lag:] - contrast[:, :-lag]).ravel(), (contrast[lag:] - contrast[:-lag]).ravel()]
    )
    noise = 1.4826 * float(np.median(np.abs(steps))) / np.sqrt(2)
    _, gap = two_levels(contrast, inside)
    if gap < CLEAR_GAPS[enlarged > 1] * max(noise, 0.5):
        return True
    return share_of_largest_component(inside) < LEAST_CONNECTED


def _ink_by_edges(contrast: np.ndarray) -> np.ndarray:
    """Return ink that is full within the edges of strokes and zero outside, as photos with noise and lines need."""
    smooth = cv2.blur(contrast, (3, 3))
    half = 0.4 * float(smooth.max())
    if 3 * deviation_of_page(contrast, below=half) > half:
        contrast = cv2.GaussianBlur(contrast, (0, 0), 1.5)
    full = float(np.percentile(contrast[smooth > half], 80))
    noise = min(3 * deviation_of_page(smooth, below=half), MOST_NOISE * full)
    faint, clear = (max(part * full, noise) for part in PHOTO_INK)
    return np.clip((contrast - faint) / max(clear - faint, 1), 0, 1)
