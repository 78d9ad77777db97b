"""Marks: levels, parts and edges of what stands out in a picture, as clean pictures and photos are both measured by."""

from dataclasses import dataclass

import cv2
import numpy as np

LARGEST_PICTURE = 384  # pixels; whoever finds ink in longer pictures shrinks them first, to bound the work
FAINTEST_CONTRAST = 20  # grey levels of 255; a picture with less contrast than this is a blank page
FRAME = 0.35  # part of an edge that no digit covers while something else lies inside
LARGE = 48  # pixels, shorter side; from here on a picture has enough of them to blur some of its grain away
FINE_GRAINED = 40_000  # pixels; a photo with as many shows strokes beside squares, holes, creases, shadows and desks
SMALL_SIDE = 64  # pixels; enough to see how light falls, and averaging takes the grain away

CLEAR_INK = 0.25  # of full ink; fainter pixels are a stroke's soft edge, or grain
CLOSE_VOTE = 0.2  # of 1; nearer to even than this, border and area do not tell the page from the ink
SMALLEST_SPECK = 0.02  # components with less than this part of the largest one's area are dust
CLEAR_OF_SPECKS = 0.25  # of full ink, in a mean of 3x3 pixels; a line of one pixel has a third, a speck a ninth
LARGE_PART = 0.1  # of a mask; smaller parts are specks, and say nothing about its form
SHORTEST_STROKES = 1.5  # widths of a pen: all strokes of a digit are longer together, a shadow is as wide as long


def small_copy(picture: np.ndarray, interpolation: int) -> np.ndarray:
    """Return a picture, or a uint8 mask, shrunk to SMALL_SIDE where it is larger."""
    factor = min(1.0, SMALL_SIDE / max(picture.shape))
    size = [max(2, round(side * factor)) for side in picture.shape[::-1]]
    return cv2.resize(picture, size, interpolation=interpolation)


def page_is_light(image: np.ndarray) -> tuple[float, bool]:
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


def deviation_of_page(light: np.ndarray, *, below: float) -> float:
    """Return the standard deviation of a page's grain, robust to outliers; 0 on clean canvases."""
    values = sample(light)
    inside = values <= below
    if 2 * np.count_nonzero(inside & (values == 0)) > np.count_nonzero(inside):
        return 0.0  # most of it is perfectly even: the medians are 0, and need not be looked for
    page = values[inside]
    return 1.4826 * float(np.median(np.abs(page - np.median(page)))) if page.size else 0.0


def sample(values: np.ndarray) -> np.ndarray:
    """Return enough of the values for their median."""
    return values.ravel()[:: max(1, values.size // 15_000)]


def two_levels(light: np.ndarray, inside: np.ndarray) -> tuple[float, float]:
    """Return the part of the variance that two levels explain (Otsu, 1979), and how far apart they are."""
    share, gap = float(inside.mean()), abs(float(light[inside].mean() - light[~inside].mean()))
    return share * (1 - share) * gap**2 / max(float(light.var()), 1e-6), gap


# --------------------------------------------------------------------------------------------------------- parts


@dataclass(frozen=True)
class Part:
    """A connected part of a mask, as if it were a stroke."""

    number: int
    area: int  # pixels
    width: float  # pixels, where it is widest; of what reaches an edge of the picture, as if it went on as far beyond

    @property
    def length(self) -> float:
        """Its length in widths; a disc has 0.8."""
        return self.area / self.width**2


def large_parts(inside: np.ndarray) -> tuple[np.ndarray, list[Part]]:
    """Return the connected parts of a bool mask by their number, (height, width) int32, and those that count."""
    mask = inside.astype(np.uint8)
    _, parts, statistics, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    areas, distances = statistics[:, cv2.CC_STAT_AREA], cv2.distanceTransform(mask, cv2.DIST_L2, 5)
    large = (np.flatnonzero(areas[1:] >= LARGE_PART * areas[1:].sum()) + 1).tolist()
    return parts, [Part(part, int(areas[part]), 2 * float(distances[parts == part].max())) for part in large]


def has_blob(inside: np.ndarray) -> bool:
    """Tell whether a large part of a mask, at an edge of the picture or most of all, is about as wide as long."""
    parts, large = large_parts(inside)
    edges = set(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]).tolist())
    return any(
        part.length < SHORTEST_STROKES
        for part in large
        if part.number in edges or 2 * part.area > np.count_nonzero(inside)
    )


def pen_width_of(ink: np.ndarray) -> float:
    """Estimate the pen's width, in pixels, in a (height, width) picture of ink in [0, 1]; 0 without ink.

    The mean distance to the edge within a band of width w is w/4. Small pictures are enlarged first, because
    distances are measured between the centres of whole pixels.
    """
    factor = max(1, int(np.ceil(160 / max(ink.shape))))
    if factor > 1:
        ink = cv2.resize(ink, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
    inside = cv2.copyMakeBorder((ink > 0.5).view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    area = cv2.countNonZero(inside)
    if not area:
        return 0.0
    distances = cv2.distanceTransform(inside, cv2.DIST_L2, 5)  # 0 outside
    return 4 * (cv2.sumElems(distances)[0] / area - 0.5) / factor


def largest_piece(inside: np.ndarray) -> float:
    """Return the part of a mask that its largest connected piece has: strokes hang together, grain does not."""
    _, _, statistics, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8), connectivity=8)
    return float(statistics[1:, cv2.CC_STAT_AREA].max(initial=0)) / max(1, np.count_nonzero(inside))


# ----------------------------------------------------------------------------------------- frames, haze and dust


def without_frame(light: np.ndarray) -> np.ndarray:
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


def without_haze(ink: np.ndarray) -> np.ndarray:
    """Keep what touches clear ink: a trace of grain at the edge of a photo would pass for a part of the digit."""
    return cv2.copyTo(ink, cv2.dilate((ink > CLEAR_INK).view(np.uint8), np.ones((3, 3), np.uint8)))


def without_specks(ink: np.ndarray) -> np.ndarray:
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
