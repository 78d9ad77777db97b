"""Numbers in images: the ink's connected components are the pieces, and rows of them are the lines."""

from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np

from digit_utils.preprocessing.components import edges_of
from digit_utils.preprocessing.images import ink_at_full_size, inks_by_local_threshold, normalize_ink
from digit_utils.recognition.numbers import MAX_PIECES, Number, NumberReader

LONGEST_SIDE = 640  # pixels; larger images are shrunk first
CLEAR_INK = 0.35  # of full ink: what makes a component
SURE = 0.2  # mean confidence; noise that is read has less
SMALLEST_COMPONENT = 0.004  # of a line's squared height, in ink; smaller ones are specks
LEAST_OVERLAP = 0.35  # of the lower one's height, that two components of a line have in common with the line
SMALLEST_LINE = 0.35  # of the tallest line's height; lower lines are noise
# Of cuts through components that may be several digits; heights are the component's. Chosen on cheques of other people.
LOWEST_TO_CUT = 0.3  # line heights
WIDE = 0.9  # heights; narrower components are one digit
MOST_CUTS = 8  # of one component
NEAREST_CUTS, THIN = 0.25, 0.45  # heights: between two cuts; the most ink that a cut goes through
CROSSING_TWO = 0.2  # heights of ink; a cut through two strokes, as through a 0, counts as so much more
SLANTS = 0.0, 0.15, 0.3, 0.45, 0.6  # columns per row
LARGEST_STEP = 2  # rows from one pixel of a sheared stroke to the next
# Of ruled lines; chosen on amounts on cheques of other people.
RULE_COVERS, GAP_IN_RULE = 0.75, 0.05  # of the ink's width, in the row of a ruled line; between two pieces of the line
THICKEST_RULE = 0.08  # of the ink's height
THICKER_THAN_RULE = 1.7  # times its thickness; where ink is as high, a stroke crosses the line
MOSTLY_RULE = 0.3  # share of the columns of a ruled line in which no stroke stands on it
WIDER_THAN_HIGH = 1.3  # the ink of a number on a ruled line; in narrower ink, the line may be a digit's bar
ALONG_EDGE = 0.5  # of an edge of the image; what covers more is a desk or a frame
LOW_AT_EDGE = 0.2  # of the image's height; lower ink at the top or bottom edge is the rest of a frame or a rule


def read_image(reader: NumberReader, image: np.ndarray) -> list[Number]:
    """Return the numbers in a 2-D uint8 image, lines from top to bottom; boxes are in pixels of the image.

    A photo's ink is found in several ways; what is returned is the reading with the highest mean confidence.

    Raises TypeError or ValueError when the image is not a 2-D uint8 array with at least one pixel.
    """
    inks = inks_by_local_threshold(image, longest=LONGEST_SIDE)
    scale = max(image.shape) / min(max(image.shape), LONGEST_SIDE)
    best = max((_read_ink(reader, ink, scale=scale) for ink in inks), key=_sureness, default=[])
    if _sureness(best) >= SURE and any(len(number.text or "") > 1 for number in best):
        return best
    ink = ink_at_full_size(image, longest=LONGEST_SIDE)  # single strokes may be creases or shadows: this knows better
    return [] if ink is None else _read_ink(reader, ink, scale=max(image.shape) / max(ink.shape))


def _sureness(numbers: Sequence[Number]) -> float:
    return float(np.mean([number.confidence for number in numbers])) if numbers else -1.0


def _read_ink(reader: NumberReader, ink: np.ndarray, *, scale: float) -> list[Number]:
    ink = _without_edges(without_rules(ink))
    return [_read_line(reader, pieces, ink, scale=scale) for pieces in pieces_of_lines(ink)]


def _read_line(reader: NumberReader, pieces: Sequence[np.ndarray], ink: np.ndarray, *, scale: float) -> Number:
    """Return what a line's pieces, (height, width) bool, read as; they are cropped, to take less time."""
    left, top, width, height = cv2.boundingRect(np.any(pieces, axis=0).view(np.uint8))
    part = slice(top, top + height), slice(left, left + width)
    pieces = [np.ascontiguousarray(piece[part]) for piece in pieces]
    paths = [(outline + np.array([left, top])) * scale for outline in outlines(pieces)]
    return reader.read(paths, ink_of_pieces(pieces, ink[part]))


def without_rules(ink: np.ndarray) -> np.ndarray:
    """Return ink, (height, width) float32, without the ruled lines on which a number stands, as on a cheque.

    What crosses a line stays, as in the removal of staff lines from sheet music (Dalitz et al., 2008).
    """
    mask = (ink > CLEAR_INK).view(np.uint8)
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows) or np.ptp(columns) < WIDER_THAN_HIGH * np.ptp(rows):
        return ink
    inner = mask[:, columns[0] : columns[-1] + 1]
    gap = np.ones((1, max(3, round(GAP_IN_RULE * inner.shape[1]))), np.uint8)
    joined = cv2.morphologyEx(cv2.dilate(inner, np.ones((3, 1), np.uint8)), cv2.MORPH_CLOSE, gap)
    ruled = (joined.mean(axis=1) >= RULE_COVERS).view(np.uint8)
    near = cv2.dilate(ruled, np.ones((5, 1), np.uint8)).ravel() > 0
    heights = mask[near].sum(axis=0)
    if not heights.any():
        return ink
    usual = max(2.0, float(np.quantile(heights[heights > 0], MOSTLY_RULE)))
    if usual > THICKEST_RULE * len(mask):
        return ink
    crossing = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((int(THICKER_THAN_RULE * usual) + 1, 1), np.uint8))
    return np.where(near[:, np.newaxis] & (crossing == 0), 0, ink).astype(np.float32)


def _without_edges(ink: np.ndarray) -> np.ndarray:
    """Return ink without the desk around a page, and without low components at the upper or lower edge of the image."""
    count, components, statistics, _ = cv2.connectedComponentsWithStats((ink > CLEAR_INK).view(np.uint8))
    top, height = statistics[:, cv2.CC_STAT_TOP], statistics[:, cv2.CC_STAT_HEIGHT]
    at_edge = (top == 0) | (top + height == len(ink))
    cut_off = at_edge & (height < LOW_AT_EDGE * len(ink))
    for edge in edges_of(components):
        cut_off |= np.bincount(edge, minlength=count) > ALONG_EDGE * len(edge)
    cut_off[0] = False
    return np.where(cut_off[components], 0, ink).astype(np.float32)


def ink_of_pieces(pieces: Sequence[np.ndarray], ink: np.ndarray) -> Callable[[list[int]], np.ndarray]:
    """Return the function that normalises the ink, of (height, width), of a list of pieces, by their places."""

    def normalized(places: list[int]) -> np.ndarray:
        return normalize_ink(np.where(np.any([pieces[place] for place in places], axis=0), ink, 0).astype(np.float32))

    return normalized


def pieces_of_lines(ink: np.ndarray) -> Iterator[list[np.ndarray]]:
    """Yield the pieces of each line, from top to bottom: (height, width) bool masks over the whole image.

    Of a line that has too many to be a number, so many that this is seen.
    """
    _, parts, statistics, _ = cv2.connectedComponentsWithStats((ink > CLEAR_INK).view(np.uint8), connectivity=8)
    for line in _lines(statistics[1:]):
        height = float(np.quantile(statistics[line, cv2.CC_STAT_HEIGHT], 0.75, method="higher"))
        large = [part for part in line if statistics[part, cv2.CC_STAT_AREA] >= SMALLEST_COMPONENT * height**2]
        few = large[: MAX_PIECES + 1]  # each takes as much memory as the image
        pieces = [piece for part in few for piece in _cut(parts == part, statistics[part], height)]
        if pieces:
            yield sorted(pieces, key=_left)  # components come from top to bottom: no drawing order


def _left(piece: np.ndarray) -> int:
    return int(piece.any(axis=0).argmax())


def _lines(statistics: np.ndarray) -> list[list[int]]:
    """Return the components of each line, by number from 1: tall ones first, each joins the line it overlaps most."""
    tops, heights = statistics[:, cv2.CC_STAT_TOP], statistics[:, cv2.CC_STAT_HEIGHT]
    bottoms = tops + heights
    lines: list[tuple[list[int], float, float]] = []
    for place in np.argsort(-heights, kind="stable").tolist():
        best, most = None, LEAST_OVERLAP
        for index, (_, top, bottom) in enumerate(lines):
            overlap = (min(bottom, bottoms[place]) - max(top, tops[place])) / min(heights[place], bottom - top)
            if overlap > most:
                best, most = index, overlap
        if best is None:
            if not lines or heights[place] > SMALLEST_LINE * heights.max():
                lines.append(([place + 1], float(tops[place]), float(bottoms[place])))
            else:  # a dot, a comma, a dash: to the nearest line
                middle = (tops[place] + bottoms[place]) / 2
                nearest = min(lines, key=lambda line: max(line[1] - middle, middle - line[2], 0))
                if max(nearest[1] - middle, middle - nearest[2], 0) < 0.4 * (nearest[2] - nearest[1]):
                    nearest[0].append(place + 1)
        else:
            lines[best][0].append(place + 1)
    return [numbers for numbers, _, _ in sorted(lines, key=lambda line: line[1])]


def outlines(pieces: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the outline of each mask as a path, (n, 2) float64: once along the ink, there and back."""
    found = (cv2.findContours(piece.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0] for piece in pieces)
    return [max(contours, key=len)[:, 0].astype(np.float64) for contours in found]


def _cut(piece: np.ndarray, statistics: np.ndarray, height: float) -> Sequence[np.ndarray]:
    """Return a component in one, or in several pieces where it is wide: cut along its slant, where it is thin."""
    own = int(statistics[cv2.CC_STAT_HEIGHT])
    if own < LOWEST_TO_CUT * height or statistics[cv2.CC_STAT_WIDTH] <= WIDE * own:
        return [piece]
    rows, columns = np.nonzero(piece)
    upright = _upright(rows, columns)
    thickness = cv2.blur(np.bincount(upright).astype(np.float32)[np.newaxis], (3, 1))[0]
    thickness += np.where(_strokes_across(rows, upright) > 1, CROSSING_TWO * own, 0)
    margin, cuts = max(2, int(NEAREST_CUTS * own)), []
    inner = np.arange(margin, len(thickness) - margin)
    for column in inner[np.argsort(thickness[inner], kind="stable")].tolist():
        if len(cuts) == MOST_CUTS or thickness[column] > THIN * own:
            break
        if all(abs(column - cut) >= margin for cut in cuts):
            cuts.append(column)
    parts, part_of = [], np.searchsorted(np.sort(np.array(cuts, int)), upright, side="right")
    for part in np.unique(part_of):
        parts.append(np.zeros_like(piece))
        parts[-1][rows[part_of == part], columns[part_of == part]] = True
    return parts


def _upright(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the columns of pixels, from 0, after the shear that makes strokes stand most upright.

    That is where the columns' ink is most uneven, as in the deslanting of Vinciarelli and Luettin (2001).
    """
    sheared = [np.round(columns + slant * (rows - rows.mean())).astype(int) for slant in SLANTS]
    sheared = [each - each.min() for each in sheared]
    return max(sheared, key=lambda each: int((np.bincount(each) ** 2).sum()))


def _strokes_across(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return how many separate runs of pixels each column has."""
    order = np.lexsort((rows, columns))
    starts = np.ones(len(order), bool)
    starts[1:] = (np.diff(columns[order]) != 0) | (np.diff(rows[order]) > LARGEST_STEP)
    return np.bincount(columns[order], weights=starts)
