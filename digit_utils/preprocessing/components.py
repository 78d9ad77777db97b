"""Grey levels, connected components and pen widths: measurements that clean images and photos share."""

from dataclasses import dataclass

import cv2
import numpy as np

LARGEST_IMAGE = 384  # pixels; longer images are shrunk before ink is found in them, to bound the work
FAINTEST_CONTRAST = 20  # grey levels of 255; an image with less contrast than this is a blank page
FRAME_COVERAGE = 0.35  # share of an edge that a digit does not cover if something else lies inside
LARGE = 48  # pixels, shorter side; from here on an image has enough pixels to blur away some of its noise
FINE_GRAINED = 40_000  # pixels; in such a photo strokes can be told from grids, holes, creases, shadows and desks
SMALL_SIDE = 64  # pixels; enough to see how the illumination varies, while averaging removes the noise

LEAST_INK = 0.1  # of full ink; fainter pixels do not count
CLEAR_INK = 0.25  # of full ink; fainter pixels are the soft edge of a stroke, or noise
UNDECIDED_VOTE = 0.2  # of 1; closer votes of border and area do not tell the page from the ink
SMALLEST_SPECK = 0.02  # components with less than this part of the largest one's area are dust
CLEAR_OF_SPECKS = 0.25  # of full ink, in a mean of 3x3 pixels; a line of one pixel has a third, a speck a ninth
LARGE_COMPONENT = 0.1  # share of a mask; smaller components are specks and say nothing about its shape
BESIDE = 0.15  # of the digit's size; what reaches into view at least as far from it is no part of the digit
LEAST_INSIDE = 0.3  # of the largest component's size; a digit inside the image has at least this
SHORTEST_STROKES = 1.5  # pen widths; the strokes of a digit are longer together, a shadow is about as wide as long


def small_copy(image: np.ndarray, interpolation: int) -> np.ndarray:
    """Return an image, or a uint8 mask, shrunk to SMALL_SIDE where it is larger."""
    factor = min(1.0, SMALL_SIDE / max(image.shape))
    size = [max(2, round(side * factor)) for side in image.shape[::-1]]
    return cv2.resize(image, size, interpolation=interpolation)


def page_is_light(image: np.ndarray) -> tuple[float, bool]:
    """Return the level between page and ink (Otsu, 1979), and whether the page is above it.

    The page covers most of the border and most of the area. A bold digit that fills its image covers about as much of
    both; then the page is what has more components, corners and holes, because strokes are connected.
    """
    threshold, bright = cv2.threshold(image, 0, 1, cv2.THRESH_OTSU)
    border = np.concatenate([bright[0], bright[-1], bright[1:-1, 0], bright[1:-1, -1]])
    vote = float(border.mean() + cv2.countNonZero(bright) / bright.size - 1)
    if abs(vote) < UNDECIDED_VOTE:
        bright_count, dark_count = (cv2.connectedComponents(mask, connectivity=8)[0] for mask in (bright, 1 - bright))
        if bright_count != dark_count:
            return threshold, bright_count > dark_count
    return threshold, vote > 0


def deviation_of_page(contrast: np.ndarray, *, below: float) -> float:
    """Return the standard deviation of a page's noise, robust to outliers; 0 on clean canvases."""
    values = sample(contrast)
    inside = values <= below
    if 2 * np.count_nonzero(inside & (values == 0)) > np.count_nonzero(inside):
        return 0.0  # most of it is perfectly uniform: the medians are 0 and need not be computed
    page = values[inside]
    return 1.4826 * float(np.median(np.abs(page - np.median(page)))) if page.size else 0.0


def sample(values: np.ndarray) -> np.ndarray:
    """Return a subsample of the values that is large enough for their median."""
    return values.ravel()[:: max(1, values.size // 15_000)]


def two_levels(values: np.ndarray, inside: np.ndarray) -> tuple[float, float]:
    """Return the share of the variance that two levels explain (Otsu, 1979), and how far apart they are."""
    share, gap = float(inside.mean()), abs(float(values[inside].mean() - values[~inside].mean()))
    return share * (1 - share) * gap**2 / max(float(values.var()), 1e-6), gap


def edges_of(image: np.ndarray) -> list[np.ndarray]:
    """Return the upper, lower, left and right edge of an image or a mask."""
    return [image[0], image[-1], image[:, 0], image[:, -1]]


# ---------------------------------------------------------------------------------------------------- components


@dataclass(frozen=True)
class Component:
    """A connected component of a mask, measured as if it were a stroke."""

    number: int
    area: int  # pixels
    width: float  # pixels, at its widest place, as if what reaches an edge of the image went on as far beyond it

    @property
    def length(self) -> float:
        """Its length in multiples of its width; a disc has 0.8."""
        return self.area / self.width**2


def large_components(inside: np.ndarray) -> tuple[np.ndarray, list[Component]]:
    """Return the components of a bool mask by their number, (height, width) int32, and the large ones among them."""
    mask = inside.astype(np.uint8)
    _, components, statistics, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    areas, distances = statistics[:, cv2.CC_STAT_AREA], cv2.distanceTransform(mask, cv2.DIST_L2, 5)
    large = (np.flatnonzero(areas[1:] >= LARGE_COMPONENT * areas[1:].sum()) + 1).tolist()
    return components, [
        Component(component, int(areas[component]), 2 * float(distances[components == component].max()))
        for component in large
    ]


def has_blob(inside: np.ndarray) -> bool:
    """Return whether a large component, at an edge of the image or most of the mask, is about as wide as long."""
    components, large = large_components(inside)
    at_edge = set(np.concatenate(edges_of(components)).tolist())
    return any(
        component.length < SHORTEST_STROKES
        for component in large
        if component.number in at_edge or 2 * component.area > np.count_nonzero(inside)
    )


def pen_width_of(ink: np.ndarray) -> float:
    """Estimate the pen's width, in pixels, in a (height, width) image of ink in [0, 1]; 0 without ink.

    The mean distance to the edge within a band of width w is w/4. Small images are enlarged first, because
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


def share_of_largest_component(inside: np.ndarray) -> float:
    """Return the share of a mask that its largest component has: strokes are connected, noise is not."""
    _, _, statistics, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8), connectivity=8)
    return float(statistics[1:, cv2.CC_STAT_AREA].max(initial=0)) / max(1, np.count_nonzero(inside))


# -------------------------------------------------------------------------------------------- frames and specks


def without_frame(contrast: np.ndarray) -> np.ndarray:
    """Remove what runs along an edge of the image, such as a table beside the paper, if a digit remains inside."""
    least = max(0.5 * float(contrast.max()), FAINTEST_CONTRAST)
    if max((edge > least).mean() for edge in edges_of(contrast)) <= FRAME_COVERAGE:
        return contrast
    dark = (contrast > least).astype(np.uint8)
    _, components = cv2.connectedComponents(dark, connectivity=8)
    number = components.max() + 1
    shares = np.max([np.bincount(edge, minlength=number) / edge.size for edge in edges_of(components)], axis=0)
    frame = (shares > FRAME_COVERAGE) & (np.arange(len(shares)) > 0)
    rest = np.where(cv2.dilate(frame[components].astype(np.uint8), np.ones((9, 9))) > 0, 0, contrast).astype(np.float32)
    left = cv2.blur(rest, (3, 3))
    clear = left > 0.5 * left.max()
    at_edge = np.concatenate(edges_of(clear)).mean()
    remains = left.max() > max(FAINTEST_CONTRAST, CLEAR_OF_SPECKS * contrast.max())
    return rest if remains and at_edge < 0.01 else contrast


def without_haze(ink: np.ndarray) -> np.ndarray:
    """Keep only what touches clear ink: a trace of noise at the edge of a photo would be read as part of the digit."""
    return cv2.copyTo(ink, cv2.dilate((ink > CLEAR_INK).view(np.uint8), np.ones((3, 3), np.uint8)))


def without_specks(ink: np.ndarray) -> np.ndarray:
    """Remove dust, in place: components that are tiny compared with the largest one."""
    crop = crop_to_ink(ink)
    count, components = cv2.connectedComponents((crop > CLEAR_INK).view(np.uint8), connectivity=8)
    if count <= 2:
        return ink
    areas = np.bincount(components.ravel()).astype(np.float64)
    areas[0] = np.inf  # the page itself
    dust = areas < SMALLEST_SPECK * areas[1:].max()
    if dust.any():
        halo = cv2.dilate(dust[components].astype(np.uint8), np.ones((3, 3), np.uint8))
        crop[halo.astype(bool) & (components == 0) | dust[components]] = 0
    return ink


def without_neighbours(ink: np.ndarray) -> np.ndarray:
    """Remove what reaches into view beside a digit: a neighbour, a finger, the edge of a desk.

    That is what touches an edge of the image, at some distance from larger components that do not.
    """
    _, components, statistics, _ = cv2.connectedComponentsWithStats((ink > LEAST_INK).view(np.uint8), connectivity=8)
    left, top, width, height = statistics[1:, :4].T
    right, bottom, sizes = left + width, top + height, np.maximum(width, height)
    at_edge = (left == 0) | (top == 0) | (right == ink.shape[1]) | (bottom == ink.shape[0])
    inside = ~at_edge & (sizes >= LEAST_INSIDE * sizes.max(initial=0))
    if not at_edge.any() or not inside.any():
        return ink
    box = left[inside].min(), top[inside].min(), right[inside].max(), bottom[inside].max()
    gap = BESIDE * max(box[2] - box[0], box[3] - box[1])
    is_beside = (left > box[2] + gap) | (right < box[0] - gap) | (top > box[3] + gap) | (bottom < box[1] - gap)
    return np.where(np.concatenate([[False], at_edge & is_beside])[components], np.float32(0), ink)


def ink_box(ink: np.ndarray) -> tuple[slice, slice]:
    """Return the rows and columns that hold ink; all of them if no pixel holds much."""
    left, top, width, height = cv2.boundingRect((ink > LEAST_INK).view(np.uint8))
    if not width:
        return slice(0, ink.shape[0]), slice(0, ink.shape[1])
    return slice(top, top + height), slice(left, left + width)


def crop_to_ink(ink: np.ndarray) -> np.ndarray:
    """Return the part of an image of ink, a view, that holds ink."""
    return ink[ink_box(ink)]
