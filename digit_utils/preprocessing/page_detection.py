"""Finds the page in an image: a sheet of paper on a desk, the inside of a frame, a box on a form; and punched holes.

Ink is then sought on the page alone. Neither the desk nor the frame is ink, but both stand out from the page as clearly
as ink does.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from digit_utils.preprocessing.components import (
    FAINTEST_CONTRAST,
    FINE_GRAINED,
    FRAME_COVERAGE,
    LARGE,
    edges_of,
    small_copy,
)

SMALLEST_WITH_PAGE = 6000  # pixels; in smaller images a page cannot be told from a bold digit
SMALLEST_PAGE = 0.05  # share of the image
MOST_CORNERS, STRAIGHT = 6, 0.02  # of a page, and how far its edges may bend, as a share of its perimeter
CONVEX = 0.97  # share of its convex hull that a page fills
MOSTLY_BACKGROUND = 0.5  # share of a page; a frame has less within its outline
CLEAR_STEP = 3.5  # standard deviations of a page's levels; noise alone has 2.7 between its upper and lower values
SMALLEST_HOLE, WIDEST_HOLE = 30, 0.2  # pixels of its area, and width as a share of the image's shorter side
ROUND, FULL = 1.2, 0.6  # squares of its width, and part of its box; a disc covers 0.8 of either
MOST_BESIDE_BACKGROUND = 0.15  # share of a photo, for holes and strokes; a shadow over half a page covers more
LARGE_PAGE = 0.4  # share of a photo that a page fills if it is what was photographed
EVEN_RING = 1.5  # ratio of the broadest to the narrowest side of a square 0, at most
MOST_BACKGROUND_OUTSIDE = 0.05  # share of a desk with the page's level; beside a stroke there is page on both sides
EDGE_WIDTH = 2  # pixels; so near to its edge a page is not seen clearly
NEAR_EDGE = np.ones((2 * EDGE_WIDTH + 1, 2 * EDGE_WIDTH + 1), np.uint8)


@dataclass(frozen=True, eq=False)
class Page:
    """Where a page lies in an image, as two (height, width) uint8 masks of 0 and 1."""

    inside: np.ndarray  # everything within its edges
    background: np.ndarray  # the part of it that has the level of the paper; the rest is written


def may_contain_page(image: np.ndarray, histogram: np.ndarray) -> bool:
    """Return quickly, from an image and its histogram (256,), whether it may contain a page; canvases rarely do."""
    if image.size < SMALLEST_WITH_PAGE:
        return False
    other = cv2.compare(image, int(histogram.argmax()), cv2.CMP_NE)
    if max(_covered(other)) > FRAME_COVERAGE:
        return True
    left, top, width, height = cv2.boundingRect(other)
    return width > 0 and min(_covered(other[top : top + height, left : left + width])) > FRAME_COVERAGE


def _covered(mask: np.ndarray) -> list[float]:
    """Return the part of each of the four edges of a mask that holds more than 0."""
    return [np.count_nonzero(edge) / edge.size for edge in edges_of(mask)]


def find_pages(image: np.ndarray) -> list[Page]:
    """Return the pages in an image, (height, width) uint8, that something else surrounds, the largest first.

    A page is light or dark, has straight edges, and stands out from its surroundings.
    """
    _, bright = cv2.threshold(image, 0, 1, cv2.THRESH_OTSU)
    outlines = [(outline, level) for level in (bright, 1 - bright) for outline in _outlines_of_pages(level)]
    found = []
    for outline, level in sorted(outlines, key=lambda pair: -cv2.contourArea(pair[0])):
        inside = cv2.drawContours(np.zeros_like(level), [outline], -1, 1, cv2.FILLED)
        background = inside & level
        full = cv2.countNonZero(background) > MOSTLY_BACKGROUND * cv2.countNonZero(inside)
        if full and _is_surrounded(inside) and _has_clear_edge(image, inside, background):
            found.append(Page(inside, background))
    return found


def _outlines_of_pages(level: np.ndarray) -> list[np.ndarray]:
    """Return the outlines of the large components of a mask that have straight edges and do not fill it."""
    outlines, tree = cv2.findContours(level, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if not outlines:
        return []
    least, whole = SMALLEST_PAGE * level.size, (level.shape[0] - 1) * (level.shape[1] - 1)
    parts = [outline for outline, within in zip(outlines, tree[0, :, 3], strict=True) if within < 0]  # no holes
    return [outline for outline in parts if least < cv2.contourArea(outline) < whole and _has_straight_edges(outline)]


def _has_straight_edges(outline: np.ndarray) -> bool:
    """Return whether an outline has few corners and is convex, as a page's; a stroke's outline is round."""
    hull = cv2.convexHull(outline)
    corners = cv2.approxPolyDP(hull, STRAIGHT * cv2.arcLength(hull, True), True)
    wide = min(cv2.boundingRect(outline)[2:]) >= LARGE
    return wide and len(corners) <= MOST_CORNERS and cv2.contourArea(outline) > CONVEX * cv2.contourArea(hull)


def _is_surrounded(inside: np.ndarray) -> bool:
    """Return whether what is outside covers more of an edge of the image than a digit would."""
    return min(_covered(inside)) < 1 - FRAME_COVERAGE


def _has_clear_edge(image: np.ndarray, inside: np.ndarray, background: np.ndarray) -> bool:
    """Return whether a step in the grey levels surrounds a page: gradual illumination and noise have none."""
    without = cv2.mean(image, cv2.dilate(inside, NEAR_EDGE) - inside)[0]
    within = cv2.mean(image, background & (1 - cv2.erode(inside, NEAR_EDGE)))[0]
    deviation = float(cv2.meanStdDev(image, mask=background)[1][0, 0])
    return abs(within - without) > max(FAINTEST_CONTRAST, CLEAR_STEP * deviation)


def is_photo_of(page: Page, image: np.ndarray) -> bool:
    """Return whether a photo shows a large page, and nothing of the same level beside it.

    A drawing has a perfectly uniform background, so it is not a photo; a ring that is as broad on all sides may be a 0.
    """
    if image.size < FINE_GRAINED or np.count_nonzero(page.inside) < LARGE_PAGE * image.size:
        return False
    left, top, width, height = cv2.boundingRect(page.inside)
    beside = (left, top, image.shape[1] - left - width, image.shape[0] - top - height)
    if max(beside) < EVEN_RING * min(beside):
        return False
    background, outside = image[page.background > 0], image[page.inside == 0]
    level, other = float(background.mean()), float(outside.mean())
    alike = np.count_nonzero(np.abs(outside - level) < np.abs(outside - other))
    return bool(background.std() > 0 and alike < MOST_BACKGROUND_OUTSIDE * outside.size)


def covered_edge(page: Page, ink: np.ndarray) -> float:
    """Return the share of a page's edge, within the image, beside which there is ink, (height, width)."""
    edge = cv2.dilate(page.inside, NEAR_EDGE) > page.inside
    near = cv2.dilate((ink > 0).view(np.uint8), NEAR_EDGE) > 0
    return np.count_nonzero(near & edge) / max(1, np.count_nonzero(edge))


def page_alone(image: np.ndarray, page: Page) -> np.ndarray:
    """Return an image, (height, width) uint8, in which a page goes on beyond its edges with the level it has there."""
    clear = cv2.erode(page.inside, NEAR_EDGE)
    small = small_copy(image, cv2.INTER_AREA)
    shown = cv2.resize(255 * (clear & page.background), small.shape[::-1], interpolation=cv2.INTER_AREA)
    beyond = cv2.inpaint(small, (shown < 255).astype(np.uint8), 3, cv2.INPAINT_TELEA)
    beyond = cv2.resize(beyond, image.shape[::-1], interpolation=cv2.INTER_LINEAR)
    ink = cv2.dilate(page.inside - page.background, np.ones((3, 3), np.uint8))
    return np.where(clear | ink, image, beyond)


def without_edge(ink: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Remove, in place, ink (height, width) that touches the edge of a page: the soft edge of a shadow, not a digit."""
    _, parts = cv2.connectedComponents((ink > 0).view(np.uint8), connectivity=8)
    near = cv2.erode(inside, np.ones((4 * EDGE_WIDTH + 1, 4 * EDGE_WIDTH + 1), np.uint8)) == 0
    edge = np.bincount(parts[near], minlength=parts.max() + 1) > 0
    ink[edge[parts] & (parts > 0)] = 0
    return ink


def round_holes(image: np.ndarray) -> np.ndarray:
    """Return a mask, (height, width) uint8, of the holes punched into a page.

    Any other filled disc is in it as well, such as a dot of the pen: the caller must check what else is written.
    """
    _, bright = cv2.threshold(image, 0, 1, cv2.THRESH_OTSU)
    other = bright if 2 * cv2.countNonZero(bright) < bright.size else 1 - bright
    if cv2.countNonZero(other) > MOST_BESIDE_BACKGROUND * other.size:
        return np.zeros_like(other)
    _, parts, statistics, _ = cv2.connectedComponentsWithStats(other, connectivity=8)
    distances = cv2.distanceTransform(other, cv2.DIST_L2, 5)
    holes = np.zeros_like(other)
    for part, (left, top, width, height, area) in enumerate(statistics):
        if part == 0 or area < SMALLEST_HOLE or area < FULL * width * height:
            continue  # the background, a speck, or a stroke
        box = slice(top, top + height), slice(left, left + width)
        hole = parts[box] == part
        thick = 2 * float(distances[box][hole].max())
        if thick < WIDEST_HOLE * min(image.shape) and area < ROUND * thick**2:
            holes[box][hole] = 1
    return holes
