"""Sheets: which part of a picture is a sheet of its own, on a desk, within a frame, a box on a form; and its holes.

What is written is looked for on the sheet alone. Neither the desk nor the frame is ink, yet either stands out from the
page as clearly as ink does.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from digit_utils.preprocessing.components import FAINTEST_CONTRAST, FINE_GRAINED, FRAME, LARGE, small_copy

SMALLEST_WITH_SHEET = 6000  # pixels; in smaller pictures a sheet is not told from a bold digit
SMALLEST_SHEET = 0.05  # part of the picture
MOST_CORNERS, STRAIGHT = 6, 0.02  # of a sheet, and how far its edges may bend, in parts of its outline's length
CONVEX = 0.97  # part of its convex hull that a sheet fills
MOSTLY_PAGE = 0.5  # part of a sheet; a frame has less within its outline
CLEAR_STEP = 3.5  # deviations of a page's levels; grain has 2.7 between what is above a level and what is below
SMALLEST_HOLE, WIDEST_HOLE = 30, 0.2  # pixels of its area, and width as a part of the picture's shorter side
ROUND, FULL = 1.2, 0.6  # squares of its width, and part of its box; a disc covers 0.8 of either
MOST_BESIDE_PAGE = 0.15  # of a photo, holes and strokes; half a page in the shade is more, and so are the squares in it
LARGE_SHEET = 0.4  # part of a photo that a sheet fills, to be what was photographed
EVEN_RING = 1.5  # how much broader than at the narrowest side a square 0 is around what is within it
MOST_PAGE_OUTSIDE = 0.05  # part of a desk that is as its sheet; beside a stroke, there is page on both sides
SHEET_EDGE = 2  # pixels; so near to its edge a sheet is not seen clearly
NEAR_EDGE = np.ones((2 * SHEET_EDGE + 1, 2 * SHEET_EDGE + 1), np.uint8)


@dataclass(frozen=True, eq=False)
class Sheet:
    """Where a sheet lies in a picture, as two (height, width) uint8 masks of 0 and 1."""

    inside: np.ndarray  # all within its edges
    page: np.ndarray  # of that, what is as light, or as dark, as its page; the rest is written


def may_hold_sheet(image: np.ndarray, histogram: np.ndarray) -> bool:
    """Tell at a glance, by its (256,) grey levels too, whether a picture may hold a sheet: hardly a canvas does."""
    if image.size < SMALLEST_WITH_SHEET:
        return False
    other = cv2.compare(image, int(histogram.argmax()), cv2.CMP_NE)
    if max(_covered(other)) > FRAME:
        return True
    left, top, width, height = cv2.boundingRect(other)
    return width > 0 and min(_covered(other[top : top + height, left : left + width])) > FRAME


def _covered(mask: np.ndarray) -> list[float]:
    """Return the part of each of the four edges of a mask that holds more than 0."""
    return [np.count_nonzero(edge) / edge.size for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1])]


def sheets(image: np.ndarray) -> list[Sheet]:
    """Return the sheets in a picture, (height, width) uint8, that something else surrounds, the largest first.

    A sheet is light or dark, has straight edges, and stands out from what is around it.
    """
    _, light = cv2.threshold(image, 0, 1, cv2.THRESH_OTSU)
    outlines = [(outline, level) for level in (light, 1 - light) for outline in _outlines_of_sheets(level)]
    found = []
    for outline, level in sorted(outlines, key=lambda pair: -cv2.contourArea(pair[0])):
        inside = cv2.drawContours(np.zeros_like(level), [outline], -1, 1, cv2.FILLED)
        page = inside & level
        full = cv2.countNonZero(page) > MOSTLY_PAGE * cv2.countNonZero(inside)
        if full and _is_surrounded(inside) and _has_clear_edge(image, inside, page):
            found.append(Sheet(inside, page))
    return found


def _outlines_of_sheets(level: np.ndarray) -> list[np.ndarray]:
    """Return the outlines of those large parts of a mask that have straight edges, but not of all of it."""
    outlines, tree = cv2.findContours(level, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if not outlines:
        return []
    least, whole = SMALLEST_SHEET * level.size, (level.shape[0] - 1) * (level.shape[1] - 1)
    parts = [outline for outline, within in zip(outlines, tree[0, :, 3], strict=True) if within < 0]  # and no holes
    return [outline for outline in parts if least < cv2.contourArea(outline) < whole and _has_straight_edges(outline)]


def _has_straight_edges(outline: np.ndarray) -> bool:
    """Tell whether an outline is that of a sheet, with few corners and no bays; a stroke's outline is round."""
    hull = cv2.convexHull(outline)
    corners = cv2.approxPolyDP(hull, STRAIGHT * cv2.arcLength(hull, True), True)
    wide = min(cv2.boundingRect(outline)[2:]) >= LARGE
    return wide and len(corners) <= MOST_CORNERS and cv2.contourArea(outline) > CONVEX * cv2.contourArea(hull)


def _is_surrounded(inside: np.ndarray) -> bool:
    """Tell whether what is outside takes so much of an edge of the picture as no digit does."""
    return min(_covered(inside)) < 1 - FRAME


def _has_clear_edge(image: np.ndarray, inside: np.ndarray, page: np.ndarray) -> bool:
    """Tell whether a step in the grey levels surrounds a sheet: light that falls slowly, and grain, have none."""
    without = cv2.mean(image, cv2.dilate(inside, NEAR_EDGE) - inside)[0]
    within = cv2.mean(image, page & (1 - cv2.erode(inside, NEAR_EDGE)))[0]
    deviation = float(cv2.meanStdDev(image, mask=page)[1][0, 0])
    return abs(within - without) > max(FAINTEST_CONTRAST, CLEAR_STEP * deviation)


def is_photo_of(sheet: Sheet, image: np.ndarray) -> bool:
    """Tell whether a photo shows a large sheet, and nothing as light, or as dark, as its page beside it.

    A drawing has a perfectly even page, so it is no photo; and a ring that is as broad on all sides may be a 0.
    """
    if image.size < FINE_GRAINED or np.count_nonzero(sheet.inside) < LARGE_SHEET * image.size:
        return False
    left, top, width, height = cv2.boundingRect(sheet.inside)
    beside = (left, top, image.shape[1] - left - width, image.shape[0] - top - height)
    if max(beside) < EVEN_RING * min(beside):
        return False
    page, outside = image[sheet.page > 0], image[sheet.inside == 0]
    level, other = float(page.mean()), float(outside.mean())
    alike = np.count_nonzero(np.abs(outside - level) < np.abs(outside - other))
    return bool(page.std() > 0 and alike < MOST_PAGE_OUTSIDE * outside.size)


def covered_edge(sheet: Sheet, ink: np.ndarray) -> float:
    """Return the part of a sheet's edge, within the picture, beside which there is ink, (height, width)."""
    edge = cv2.dilate(sheet.inside, NEAR_EDGE) > sheet.inside
    near = cv2.dilate((ink > 0).view(np.uint8), NEAR_EDGE) > 0
    return np.count_nonzero(near & edge) / max(1, np.count_nonzero(edge))


def sheet_alone(image: np.ndarray, sheet: Sheet) -> np.ndarray:
    """Return a picture, (height, width) uint8, in which a sheet goes on beyond its edges, as its page is near them."""
    clear = cv2.erode(sheet.inside, NEAR_EDGE)
    small = small_copy(image, cv2.INTER_AREA)
    shown = cv2.resize(255 * (clear & sheet.page), small.shape[::-1], interpolation=cv2.INTER_AREA)
    beyond = cv2.inpaint(small, (shown < 255).astype(np.uint8), 3, cv2.INPAINT_TELEA)
    beyond = cv2.resize(beyond, image.shape[::-1], interpolation=cv2.INTER_LINEAR)
    ink = cv2.dilate(sheet.inside - sheet.page, np.ones((3, 3), np.uint8))
    return np.where(clear | ink, image, beyond)


def without_edge(ink: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Remove, in place, ink (height, width) that touches the edge of a sheet: a shadow's soft edge, and no digit."""
    _, parts = cv2.connectedComponents((ink > 0).view(np.uint8), connectivity=8)
    near = cv2.erode(inside, np.ones((4 * SHEET_EDGE + 1, 4 * SHEET_EDGE + 1), np.uint8)) == 0
    edge = np.bincount(parts[near], minlength=parts.max() + 1) > 0
    ink[edge[parts] & (parts > 0)] = 0
    return ink


def round_holes(image: np.ndarray) -> np.ndarray:
    """Return a mask, (height, width) uint8, of the holes that were punched into a sheet.

    So is any other full disc, a dot of the pen too: whoever asks has to see what else is written.
    """
    _, light = cv2.threshold(image, 0, 1, cv2.THRESH_OTSU)
    other = light if 2 * cv2.countNonZero(light) < light.size else 1 - light
    if cv2.countNonZero(other) > MOST_BESIDE_PAGE * other.size:
        return np.zeros_like(other)
    _, parts, statistics, _ = cv2.connectedComponentsWithStats(other, connectivity=8)
    distances = cv2.distanceTransform(other, cv2.DIST_L2, 5)
    holes = np.zeros_like(other)
    for part, (left, top, width, height, area) in enumerate(statistics):
        if part == 0 or area < SMALLEST_HOLE or area < FULL * width * height:
            continue  # the page itself, a speck, a stroke
        box = slice(top, top + height), slice(left, left + width)
        hole = parts[box] == part
        thick = 2 * float(distances[box][hole].max())
        if thick < WIDEST_HOLE * min(image.shape) and area < ROUND * thick**2:
            holes[box][hole] = 1
    return holes
