"""Paper: which part of a picture is the page and which is the ink, whatever the light, the grain and the polarity.

Clean pictures, canvases and scans, have a page of one level. Photos have not. Their light is evened out: as a smooth
surface where two levels explain the rest, else by a closing, which keeps the edges of shadows.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from digit_utils.ruling import without_ruling
from digit_utils.sheet import (
    FAINTEST_CONTRAST,
    FRAME,
    LARGE,
    may_hold_sheet,
    sheet_alone,
    sheets,
    small_copy,
    without_edge,
)

LARGEST_PICTURE = 384  # pixels; whoever finds ink in longer pictures shrinks them first, to bound the work
CLEAR_INK = 0.25  # of full ink; fainter pixels are a stroke's soft edge, or grain
CLOSE_VOTE = 0.2  # of 1; nearer to even than this, border and area do not tell the page from the ink
SMALLEST_SPECK = 0.02  # components with less than this part of the largest one's area are dust

CLEAN_PAGE = 0.3  # part of the pixels that have the commonest level: more of them only where nothing was photographed
SOFT_EDGES = 0.15  # part of the pixels of a clean picture that may be nearer to the page than to the ink
MARGIN = 8  # pixels around what is written: enough to see that the page is even
DOUBT = 6  # standard deviations of a page's grain that no grain reaches
SMALLEST_WITH_SHADOW = 32  # pixels, shorter side; in smaller clean pictures a bold digit is as broad as a shadow
MOST_PAGE_BESIDE_SHADOW = 0.75  # part of the pixels; a shadow takes more from the page's level than strokes do
CLEAR_OF_SPECKS = 0.25  # of full ink, in a mean of 3x3 pixels; a line of one pixel has a third, a speck a ninth
TWO_LEVELS = 0.78  # part of the variance that two levels explain; of even noise they explain 0.75

NARROWEST_PHOTO, FEWEST_PIXELS = 6, 200  # what is smaller shows no light of its own
PHOTO_SIDE = 128  # pixels; a smaller photo is enlarged until its shorter side is as long
TWO_CLEAR_LEVELS = 0.8  # part of the variance that two levels explain under smooth light; shadows leave less
TWO_LEVELS_IN_GRAIN, NEARLY_ALL = 0.7, 0.9  # a smaller part will do where nearly all of the ink hangs together
HARDLY_A_SHADOW = 0.9  # part of the variance; a bold digit with as much may reach opposite edges, as a shadow does
DARKEST = 8  # pixels; so few of a small digit are as dark as its ink
BETWEEN = (0.25, 0.6)  # of full ink: neither page nor ink; a shadow's level, where something darker is written
MOST_BETWEEN = 12  # times the area of full ink; soft edges and pencils have up to 7 times as much, shadows 50
LARGE_PART = 0.1  # of a mask; smaller parts are specks, and say nothing about its form
FINE_GRAINED = 40_000  # pixels; a photo with as many shows squares better than grain, and strokes within a shadow
SHORTEST_STROKES = 1.5  # widths of a pen: all strokes of a digit are longer together, a shadow is as wide as long
STEEPEST_SLOPE = 12  # grey levels by which light falls over a few pixels; what falls by more is an edge
CLEAR_GAPS = (4.5, 2.3)  # deviations of the grain between page and ink, in large photos and in enlarged ones
HANGS_TOGETHER = 0.2  # part of the ink in its largest piece; grain lies in many small ones
PHOTO_INK = (0.35, 0.7)  # of full ink: below, a ruled line or grain; above, as good as full
STRONGEST = (0.005, 30)  # part of the pixels of a photo, or pixels of a large one: a small digit there has few more
MOST_GRAIN = 0.5  # of full ink; a bold digit leaves little page to measure the grain on
FULL_DEPTH = 32  # grey levels; what is as much darker than its surroundings is a stroke


def find_ink(image: np.ndarray) -> np.ndarray | None:
    """Return how much ink each pixel of a picture holds.

    Args:
        image: (height, width) uint8, sides up to `LARGEST_PICTURE`; dark ink on a light page or light on dark.

    Returns:
        (height, width) float32 in [0, 1], None for a blank page. A small photo comes back enlarged.
    """
    histogram = cv2.calcHist([image], [0], None, [256], [0, 256]).ravel()
    ink = _ink_of_sheet(image, nested=2) if may_hold_sheet(image, histogram) else None  # on a desk, a box on it
    return _ink_of_page(image, histogram) if ink is None else ink


def _ink_of_sheet(image: np.ndarray, *, nested: int) -> np.ndarray | None:
    """Return the ink of a sheet that lies on a desk or within a frame, the size of the picture; None without one.

    Sheets are looked for on a sheet again, `nested` of them in all. A sheet without ink is none: the light half of a
    page with a shadow may look like one, while the digit is in the other.
    """
    for sheet in sheets(image):
        left, top, width, height = cv2.boundingRect(sheet.inside)
        part = slice(top, top + height), slice(left, left + width)
        alone = sheet_alone(image, sheet)[part]
        histogram = cv2.calcHist([alone], [0], None, [256], [0, 256]).ravel()
        ink = _ink_of_sheet(alone, nested=nested - 1) if nested > 1 and may_hold_sheet(alone, histogram) else None
        ink = _ink_of_page(alone, histogram) if ink is None else ink
        if ink is not None and without_edge(ink, sheet.inside[part]).any():
            whole = np.zeros(image.shape, np.float32)
            whole[part] = ink
            return whole
    return None


def _ink_of_page(image: np.ndarray, histogram: np.ndarray) -> np.ndarray | None:
    """Return the ink of a picture that is a page from edge to edge, None for a blank one."""
    tiny = min(image.shape) < NARROWEST_PHOTO or image.size < FEWEST_PIXELS
    if tiny or (_is_clean(histogram) and not _has_shadow(image, histogram)):
        return _ink_of_clean_picture(image, histogram)
    return _ink_of_photo(image)


def _is_clean(histogram: np.ndarray) -> bool:
    """Tell from its grey levels whether a picture is a canvas or a scan: one level is its page, few are near it.

    Soft edges have as many levels near the page as near the ink; the uneven light of an overexposed photo has not.
    """
    page, total = int(histogram.argmax()), histogram.sum()
    distance = np.abs(np.arange(256) - page)
    half = distance[np.flatnonzero(histogram)].max() / 2
    near, far = (
        histogram[(distance > 0) & (distance < half)].sum(),
        histogram[(distance > 0) & (distance >= half)].sum(),
    )
    return bool(histogram[page] > CLEAN_PAGE * total and near <= max(SOFT_EDGES * total, 1.5 * far))


def _has_shadow(image: np.ndarray, histogram: np.ndarray) -> bool:
    """Tell whether a picture with levels as a clean one's has a shadow on it, as photos without any grain may."""
    if min(image.shape) < SMALLEST_WITH_SHADOW or histogram.max() > MOST_PAGE_BESIDE_SHADOW * image.size:
        return False
    distance = np.abs(np.arange(256) - int(histogram.argmax()))
    far = distance >= distance[np.flatnonzero(histogram)].max() / 2
    return _has_blob(small_copy(cv2.LUT(image, far.astype(np.uint8)), cv2.INTER_NEAREST))


def _page_is_light(image: np.ndarray) -> tuple[float, bool]:
    """Return the level between page and ink (Otsu, 1979), and whether the page is above it.

    The page has most of the border and most of the area. A bold digit that fills its picture has about as much of
    both; then the page is what lies in more parts, corners and holes, because strokes hang together.
    """
    threshold, light = cv2.threshold(image, 0, 1, cv2.THRESH_OTSU)
    border = np.concatenate([light[0], light[-1], light[1:-1, 0], light[1:-1, -1]])
    vote = float(border.mean() + cv2.countNonZero(light) / light.size - 1)
    if abs(vote) < CLOSE_VOTE:
        bright, dark = (cv2.connectedComponents(part, connectivity=8)[0] for part in (light, 1 - light))
        if bright != dark:
            return threshold, bright > dark
    return threshold, vote > 0


def _deviation_of_page(light: np.ndarray, *, below: float) -> float:
    """Return the standard deviation of a page's grain, robust to outliers; 0 on clean canvases."""
    values = _sample(light)
    inside = values <= below
    if 2 * np.count_nonzero(inside & (values == 0)) > np.count_nonzero(inside):
        return 0.0  # most of it is perfectly even: the medians are 0, and need not be looked for
    page = values[inside]
    return 1.4826 * float(np.median(np.abs(page - np.median(page)))) if page.size else 0.0


def _sample(values: np.ndarray) -> np.ndarray:
    """Return enough of the values for their median."""
    return values.ravel()[:: max(1, values.size // 15_000)]


# ---------------------------------------------------------------------------------------- clean pictures


def _ink_of_clean_picture(image: np.ndarray, histogram: np.ndarray) -> np.ndarray | None:
    """Return the ink of a canvas or a scan, None for a blank one."""
    page = _clean_page(image, histogram)
    if min(image.shape) < LARGE:
        light = _light_on(page, image)
        return None if _is_blank(light) else _without_specks(_ink_by_levels(light))
    written, light = _written_part(page, image)
    if _is_blank(cv2.blur(light, (3, 3))):
        return None
    ink = np.zeros(image.shape, np.float32)
    ink[written] = _without_haze(_without_specks(_ink_by_levels(light)))
    return ink


def _clean_page(image: np.ndarray, histogram: np.ndarray) -> tuple[int, bool]:
    """Return the grey level of an even page, the median of what is page, and whether it is lighter than the ink."""
    threshold, light_page = _page_is_light(image)
    page = np.arange(256) > threshold
    amounts = np.cumsum(np.where(page if light_page else ~page, histogram, 0))
    return int(np.searchsorted(amounts, amounts[-1] / 2)), light_page


def _light_on(page: tuple[int, bool], image: np.ndarray) -> np.ndarray:
    """Return how far each pixel stands out from an even page towards the ink: (height, width) float32 grey levels."""
    level, light_page = page
    difference = image.astype(np.float32)
    difference -= level
    return np.negative(difference, out=difference) if light_page else difference


def _written_part(page: tuple[int, bool], image: np.ndarray) -> tuple[tuple[slice, slice], np.ndarray]:
    """Return the rows and columns beyond which a page is perfectly even, and how far ink stands out within them.

    Where a canvas is empty, nobody need look; and a frame is only there where something reaches an edge.
    """
    part = _part_with_margin(cv2.compare(image, page[0], cv2.CMP_NE))
    if all(side.start > 0 and side.stop < length for side, length in zip(part, image.shape, strict=True)):
        return part, _light_on(page, image[part])
    light = _without_frame(_light_on(page, image))
    part = _part_with_margin((light != 0).astype(np.uint8))
    return part, light[part]


def _part_with_margin(mask: np.ndarray) -> tuple[slice, slice]:
    """Return the rows and columns of a uint8 mask that hold more than 0, with a margin."""
    left, top, width, height = cv2.boundingRect(mask)
    starts, ends = (top - MARGIN, left - MARGIN), (top + height + MARGIN, left + width + MARGIN)
    rows, columns = (slice(max(0, start), end) for start, end in zip(starts, ends, strict=True))
    return rows, columns


def _is_blank(light: np.ndarray) -> bool:
    """Tell whether no ink stands out from the grain, neither by its level nor as one of two levels (Otsu, 1979)."""
    strongest = float(light.max())
    if strongest < FAINTEST_CONTRAST:
        return True
    if strongest >= DOUBT * _deviation_of_page(light, below=0.4 * strongest):
        return False
    return _two_levels(light, light > 0.4 * strongest)[0] < TWO_LEVELS


def _ink_by_levels(light: np.ndarray) -> np.ndarray:
    """Return ink in proportion to the light, as in clean pictures and in those with few pixels."""
    half = 0.4 * float(light.max())
    full = _percentile_of_levels(light[light > half], 95)
    grain = 3 * _deviation_of_page(light, below=half)  # 0 on clean canvases
    ink = np.clip((light - grain) / max(full - grain, 1), 0, 1)
    return _without_haze(ink) if grain else ink


def _percentile_of_levels(levels: np.ndarray, percent: float) -> float:
    """Return what `np.percentile` returns of whole numbers from 0 to 255, sooner."""
    amounts = np.cumsum(np.bincount(levels.astype(np.uint8)))
    place = percent / 100 * (len(levels) - 1)
    low, high = np.searchsorted(amounts, [np.floor(place), np.ceil(place)], side="right")
    return float(low + (high - low) * (place % 1))


# ------------------------------------------------------------------------------------------------ photos


def _ink_of_photo(image: np.ndarray) -> np.ndarray | None:
    """Return the ink of a photo, enlarged where it is small, None for a blank one."""
    large, fine, enlarged = min(image.shape) >= LARGE, image.size >= FINE_GRAINED, 1.0
    if not large:
        enlarged = max(1.0, min(PHOTO_SIDE / min(image.shape), LARGEST_PICTURE / max(image.shape)))
        image = cv2.resize(image, None, fx=enlarged, fy=enlarged, interpolation=cv2.INTER_CUBIC)
    light = _light_under_smooth_light(image, large=large)
    if light is None:
        light, gain = _light_on_page_with_shadows(image, patterned=fine)
        light = _without_frame(light)
        if _is_only_grain(cv2.blur(light, (3, 3)), enlarged=enlarged):
            return None
        light = light * gain
    if fine:
        before, light = light, without_ruling(light, full=_full_ink(cv2.blur(light, (3, 3))))
        if light is not before and _is_only_grain(cv2.blur(light, (3, 3)), enlarged=enlarged):
            return None  # there were lines, and nothing else
    return _without_haze(_without_specks(_ink_by_edges(light)))


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
    threshold, light_page = _page_is_light(small)
    guesses = (np.ones(small.shape, bool), (small > threshold) == light_page)  # the second for bold digits
    fits = [fit for page in guesses if (fit := _smooth_light(small.astype(np.float32), page)) is not None]
    best = max(fits, key=lambda fit: fit.share, default=None)
    if best is None or best.gap < FAINTEST_CONTRAST:
        return None
    ink = ~best.page
    if best.share < (TWO_LEVELS_IN_GRAIN if _largest_piece(ink) > NEARLY_ALL else TWO_CLEAR_LEVELS):
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
        threshold, light_page = _page_is_light(levels)
        before, page = page, (levels > threshold) == light_page
        if page.sum() < 2 * terms.shape[2] or page.all():
            return None
        if np.array_equal(before, page):
            break
    share, gap = _two_levels(left, page)
    return _SmoothLight(surface + np.median(left[page]), page, light_page, share, gap)


def _quadratic_terms(shape: tuple[int, int]) -> np.ndarray:
    """Return 1, x, y, xy, xx and yy of each pixel, (height, width, 6) float32, with x and y from -0.5 to 0.5."""
    y, x = np.indices(shape, np.float32)
    y, x = y / shape[0] - 0.5, x / shape[1] - 0.5
    return np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], axis=2)


def _two_levels(light: np.ndarray, inside: np.ndarray) -> tuple[float, float]:
    """Return the part of the variance that two levels explain (Otsu, 1979), and how far apart they are."""
    share, gap = float(inside.mean()), abs(float(light[inside].mean() - light[~inside].mean()))
    return share * (1 - share) * gap**2 / max(float(light.var()), 1e-6), gap


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
    parts, _, large = _large_parts(inside)
    return bool(large & set(parts[[0, 0, -1, -1], [0, -1, 0, -1]].tolist())) or _has_blob(inside)


def _has_blob(inside: np.ndarray) -> bool:
    """Tell whether a large part of a mask, at an edge of the picture or most of all, is about as wide as long."""
    parts, areas, large = _large_parts(inside)
    edges = set(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]).tolist())
    distances = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5)
    return any(
        areas[part] < SHORTEST_STROKES * (2 * float(distances[parts == part].max())) ** 2
        for part in large
        if part in edges or 2 * areas[part] > areas[1:].sum()
    )


def _large_parts(inside: np.ndarray) -> tuple[np.ndarray, np.ndarray, set[int]]:
    """Return the connected parts of a mask by their number, the area of each, and the numbers of those that count."""
    _, parts, statistics, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8), connectivity=8)
    areas = statistics[:, cv2.CC_STAT_AREA]
    return parts, areas, {part for part in range(1, len(areas)) if areas[part] >= LARGE_PART * areas[1:].sum()}


def _is_band(inside: np.ndarray) -> bool:
    """Tell whether a bool mask covers much of opposite edges of the picture, as a shadow across it would."""
    top, bottom, left, right = (edge.mean() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))
    return max(top + bottom, left + right) > FRAME


def _gain(field: np.ndarray) -> np.ndarray:
    """Return how much more than under a field of light, in grey levels, a difference would be in its usual light."""
    level = max(float(np.median(field)), 1.0)  # black all over, there is no light to divide by
    return level / np.maximum(field, 0.4 * level)


def _light_on_page_with_shadows(image: np.ndarray, *, patterned: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return how far each pixel stands out from a page with shadows, and how much more it would be in full light.

    The page may be `patterned`, squared or dotted.
    """
    dark, bright = (_longest_stroke(page, patterned=patterned) for page in (image, 255 - image))
    if bright > dark:
        image = 255 - image
    field = _light_under_ink(image, pen=max(dark, bright)[1])
    light = field - image
    return light - np.median(_sample(light)), _gain(field)


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


def _is_only_grain(light: np.ndarray, *, enlarged: float) -> bool:
    """Tell whether what stands out in a blurred photo is neither far from the page nor hangs together."""
    strongest = min(STRONGEST[0], STRONGEST[1] / light.size)
    half = 0.4 * float(np.percentile(light, 100 * (1 - strongest)))
    inside = light > half
    if float(light.max()) < FAINTEST_CONTRAST or not 2 < inside.sum() < light.size:
        return True
    lag = int(np.ceil(2 * enlarged)) + 1  # beyond what the blur and the enlarging have made alike
    steps = np.concatenate([(light[:, lag:] - light[:, :-lag]).ravel(), (light[lag:] - light[:-lag]).ravel()])
    grain = 1.4826 * float(np.median(np.abs(steps))) / np.sqrt(2)
    _, gap = _two_levels(light, inside)
    if gap < CLEAR_GAPS[enlarged > 1] * max(grain, 0.5):
        return True
    return _largest_piece(inside) < HANGS_TOGETHER


def _largest_piece(inside: np.ndarray) -> float:
    """Return the part of a mask that its largest connected piece has: strokes hang together, grain does not."""
    _, _, statistics, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8), connectivity=8)
    return float(statistics[1:, cv2.CC_STAT_AREA].max(initial=0)) / max(1, np.count_nonzero(inside))


def _ink_by_edges(light: np.ndarray) -> np.ndarray:
    """Return ink that is full within the edges of the strokes and none outside, as photos with grain and lines need."""
    smooth = cv2.blur(light, (3, 3))
    half = 0.4 * float(smooth.max())
    if 3 * _deviation_of_page(light, below=half) > half:
        light = cv2.GaussianBlur(light, (0, 0), 1.5)
    full = float(np.percentile(light[smooth > half], 80))
    grain = min(3 * _deviation_of_page(smooth, below=half), MOST_GRAIN * full)
    faint, clear = (max(part * full, grain) for part in PHOTO_INK)
    return np.clip((light - faint) / max(clear - faint, 1), 0, 1)


# ------------------------------------------------------------------------------------ frames, haze and dust


def _without_frame(light: np.ndarray) -> np.ndarray:
    """Remove what runs along an edge of the picture, a table beside the paper, where it leaves a digit inside."""
    least = max(0.5 * float(light.max()), FAINTEST_CONTRAST)
    if max((edge > least).mean() for edge in (light[0], light[-1], light[:, 0], light[:, -1])) <= FRAME:
        return light
    dark = (light > least).astype(np.uint8)
    _, parts = cv2.connectedComponents(dark, connectivity=8)
    edges = (parts[0], parts[-1], parts[:, 0], parts[:, -1])
    shares = np.max([np.bincount(edge, minlength=parts.max() + 1) / edge.size for edge in edges], axis=0)
    frame = (shares > FRAME) & (np.arange(len(shares)) > 0)
    rest = np.where(cv2.dilate(frame[parts].astype(np.uint8), np.ones((9, 9))) > 0, 0, light).astype(np.float32)
    left = cv2.blur(rest, (3, 3))
    clear = left > 0.5 * left.max()
    at_edge = np.concatenate([clear[0], clear[-1], clear[:, 0], clear[:, -1]]).mean()
    return rest if left.max() > max(FAINTEST_CONTRAST, CLEAR_OF_SPECKS * light.max()) and at_edge < 0.01 else light


def _without_haze(ink: np.ndarray) -> np.ndarray:
    """Keep what touches clear ink: a trace of grain at the edge of a photo would pass for a part of the digit."""
    return cv2.copyTo(ink, cv2.dilate((ink > CLEAR_INK).view(np.uint8), np.ones((3, 3), np.uint8)))


def _without_specks(ink: np.ndarray) -> np.ndarray:
    """Remove dust, in place: parts that are tiny against the largest connected part."""
    crop = crop_to_ink(ink)
    count, parts = cv2.connectedComponents((crop > CLEAR_INK).view(np.uint8), connectivity=8)
    if count <= 2:
        return ink
    areas = np.bincount(parts.ravel()).astype(np.float64)
    areas[0] = np.inf  # the page itself
    dust = areas < SMALLEST_SPECK * areas[1:].max()
    if dust.any():
        halo = cv2.dilate(dust[parts].astype(np.uint8), np.ones((3, 3), np.uint8))
        crop[halo.astype(bool) & (parts == 0) | dust[parts]] = 0
    return ink


def ink_box(ink: np.ndarray) -> tuple[slice, slice]:
    """Return the rows and columns that hold ink; all of them when no pixel holds much."""
    left, top, width, height = cv2.boundingRect((ink > 0.1).view(np.uint8))
    if not width:
        return slice(0, ink.shape[0]), slice(0, ink.shape[1])
    return slice(top, top + height), slice(left, left + width)


def crop_to_ink(ink: np.ndarray) -> np.ndarray:
    """Return the part of a picture of ink, a view, that holds ink."""
    return ink[ink_box(ink)]
