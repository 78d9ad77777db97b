"""Sheets: which part of a picture is a sheet of its own, on a desk, within a frame, a box on a form.

What is written is looked for on the sheet alone. Neither the desk nor the frame is ink, yet either stands out from the
page as clearly as ink does.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from digit_utils.marks import FAINTEST_CONTRAST, FRAME, LARGE, small_copy

SMALLEST_WITH_SHEET = 6000  # pixels; in smaller pictures a sheet is not told from a bold digit
SMALLEST_SHEET = 0.05  # part of the picture
MOST_CORNERS, STRAIGHT = 6, 0.02  # of a sheet, and how far its edges may bend, in parts of its outline's length
CONVEX = 0.97  # part of its convex hull that a sheet fills
MOSTLY_PAGE = 0.5  # part of a sheet; a frame has less within its outline
CLEAR_STEP = 3.5  # deviations of a page's levels; grain has 2.7 between what is above a level and what is below
SHEET_EDGE = 2  # pixels; so near to its edge a sheet is not seen clearly


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
    around = np.ones((2 * SHEET_EDGE + 1, 2 * SHEET_EDGE + 1), np.uint8)
    without = cv2.mean(image, cv2.dilate(inside, around) - inside)[0]
    within = cv2.mean(image, page & (1 - cv2.erode(inside, around)))[0]
    deviation = float(cv2.meanStdDev(image, mask=page)[1][0, 0])
    return abs(within - without) > max(FAINTEST_CONTRAST, CLEAR_STEP * deviation)


def sheet_alone(image: np.ndarray, sheet: Sheet) -> np.ndarray:
    """Return a picture, (height, width) uint8, in which a sheet goes on beyond its edges, as its page is near them."""
    around = np.ones((2 * SHEET_EDGE + 1, 2 * SHEET_EDGE + 1), np.uint8)
    clear = cv2.erode(sheet.inside, around)
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
