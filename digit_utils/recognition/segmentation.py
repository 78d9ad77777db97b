"""Segmentation: the pieces of a line of ink, the groups of pieces that may be a character, and their geometry.

A piece is a pen stroke or, in an image, a connected component of ink. Which pieces make up a character is not decided
here: every plausible group is a candidate of the lattice (`digit_utils.recognition.lattice`), and carries what
normalising to 28x28 pixels destroys: size, place relative to the line, gaps and overlaps.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

MAX_PIECES_PER_CHARACTER = 4
POINTS_PER_PIECE = 16  # sample points along a piece, for distances between pieces
MAX_NEIGHBOURS = 6  # of a piece, to its right: what is further is never grouped with it
NEAR = 0.30  # line heights; pieces closer than this may belong to one character
NEAR_IN_COLUMN = 0.60  # line heights; the same for pieces one above the other
SMALL = 0.35  # line heights; two small pieces one above the other may be a colon
NEAR_IF_SMALL, BESIDE_IF_SMALL = 0.95, 0.25  # line heights; how far apart those may be, in all and sideways
MOST_GROUPS = 300  # of a line; where larger groups would exceed it they are left out: no number is so crowded
MAX_WIDTH = 1.9  # line heights; no character of several pieces is wider
GEOMETRY_FEATURES = 32  # columns of `geometry`


@dataclass(frozen=True, eq=False)
class Pieces:
    """The pieces of one line of ink, from left to right, with what the geometry of groups is computed from."""

    order: np.ndarray  # (n,) int: index of each piece as it was given
    boxes: np.ndarray  # (n, 4) float64: left, top, right, bottom
    points: np.ndarray = field(repr=False)  # (n, POINTS_PER_PIECE, 2) float64: along the path
    lengths: np.ndarray = field(repr=False)  # (n,) float64: path length
    distances: np.ndarray = field(repr=False)  # (n, n) float64: between nearest sample points
    height: float  # of the line: a typical digit's
    middle: np.ndarray  # (n,) float64: the line's middle, y, at each piece

    def __len__(self) -> int:
        return len(self.order)


def pieces_of(paths: Sequence[np.ndarray]) -> Pieces:
    """Return the pieces of a line from their paths, (m, 2) float64 each, m >= 1: strokes, or outlines of components."""
    boxes = np.array([[*path.min(axis=0), *path.max(axis=0)] for path in paths])
    order = np.argsort(boxes[:, 0] + boxes[:, 2], kind="stable")
    boxes = boxes[order]
    sampled = [_sampled(paths[index]) for index in order]
    points = np.stack([path for path, _ in sampled])
    height, middle = _line(boxes)
    return Pieces(order, boxes, points, np.array([length for _, length in sampled]), _distances(points), height, middle)


def _sampled(path: np.ndarray) -> tuple[np.ndarray, float]:
    """Return POINTS_PER_PIECE points evenly along a path, and its length."""
    if len(path) == 1:
        return np.repeat(path, POINTS_PER_PIECE, axis=0), 0.0
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*(path[1:] - path[:-1]).T))])
    at = np.linspace(0, along[-1], POINTS_PER_PIECE)
    return np.stack([np.interp(at, along, path[:, 0]), np.interp(at, along, path[:, 1])], axis=1), float(along[-1])


def _distances(points: np.ndarray) -> np.ndarray:
    """Return the distance (n, n) between the nearest sample points of pieces (n, m, 2)."""
    n, m, _ = points.shape
    flat = points.reshape(-1, 2)
    x, y = flat[:, 0], flat[:, 1]
    squares = (x[:, np.newaxis] - x) ** 2 + (y[:, np.newaxis] - y) ** 2
    return np.sqrt(squares.reshape(n, m, n, m).min(axis=(1, 3)))


def _line(boxes: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the height of a typical digit and the middle of the line at each piece.

    Dots, dashes and crossbars are low, so the height is that of the taller pieces; lines of writing climb and fall, so
    the middle is a straight line through the tall pieces, drawn to the horizontal where there are few.
    """
    heights, widths = boxes[:, 3] - boxes[:, 1], boxes[:, 2] - boxes[:, 0]
    height = float(np.quantile(heights, 0.75, method="higher" if len(heights) < 4 else "linear"))
    height = max(height, 0.25 * float(widths.max()) if len(boxes) == 1 else 0.05 * float(widths.max()), 1e-9)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    weights = np.minimum(heights / height, 1.5) ** 2 + 1e-6
    centre = weights @ centres / weights.sum()
    x, y = (centres - centre).T
    slope = float(weights @ (x * y) / (weights @ (x * x) + 4 * height**2))
    return height, centre[1] + slope * x


# ------------------------------------------------------------------------------------------------ candidates


def candidate_groups(pieces: Pieces) -> np.ndarray:
    """Return the groups of pieces that may be one character: (candidates, n) bool, one row each.

    Every piece alone, and every group of up to MAX_PIECES_PER_CHARACTER pieces that hang together by nearness.
    """
    n, height = len(pieces), pieces.height
    left, top, right, bottom = pieces.boxes.T
    overlap = np.minimum(right[:, None], right) - np.maximum(left[:, None], left)
    narrower = np.minimum(right - left, (right - left)[:, None])
    in_column = overlap > 0.3 * narrower - 1e-9
    near = (pieces.distances < NEAR * height) | (in_column & (pieces.distances < NEAR_IN_COLUMN * height))
    small = np.maximum(right - left, bottom - top) < SMALL * height
    near |= small & small[:, None] & (overlap > -BESIDE_IF_SMALL * height) & (pieces.distances < NEAR_IF_SMALL * height)
    near &= ~np.eye(n, dtype=bool)
    neighbours = _neighbours(near, pieces.distances)
    found = [1 << first for first in range(n)]
    groups: dict[int, None] = dict.fromkeys(found)
    for _ in range(MAX_PIECES_PER_CHARACTER - 1):
        grown = _grown(groups, neighbours)
        groups = {group: None for group in grown if _width(group, left, right) <= MAX_WIDTH * height}
        if len(found) + len(groups) > MOST_GROUPS:
            break
        found += groups
    return np.array([[bool(group >> place & 1) for place in range(n)] for group in found]).reshape(len(found), n)


def _neighbours(near: np.ndarray, distances: np.ndarray) -> list[int]:
    """Return each piece's neighbours as bits: the nearest MAX_NEIGHBOURS to either side."""
    bits = []
    for piece, row in enumerate(near):
        places = np.flatnonzero(row)
        chosen = places[np.argsort(distances[piece, places], kind="stable")[:MAX_NEIGHBOURS]]
        bits.append(sum(1 << int(place) for place in chosen))
    return bits


def _grown(groups: Iterable[int], neighbours: Sequence[int]) -> dict[int, None]:
    """Return the groups with one more piece each, a neighbour of theirs."""
    grown = {}
    for group in groups:
        around = 0
        for place in _places(group):
            around |= neighbours[place]
        for place in _places(around & ~group):
            grown[group | 1 << place] = None
    return grown


def _places(bits: int) -> list[int]:
    places = []
    while bits:
        lowest = bits & -bits
        places.append(lowest.bit_length() - 1)
        bits ^= lowest
    return places


def _width(group: int, left: np.ndarray, right: np.ndarray) -> float:
    places = _places(group)
    return float(right[places].max() - left[places].min())


# ------------------------------------------------------------------------------------------------- geometry


def geometry(pieces: Pieces, groups: np.ndarray) -> np.ndarray:
    """Return the geometry of groups (candidates, n) of pieces: (candidates, GEOMETRY_FEATURES) float64.

    All lengths are in line heights; the columns are described where they are made.
    """
    scale, n, count = 1 / pieces.height, len(pieces), groups.sum(axis=1)
    left, top = (_least(sides, groups) for sides in pieces.boxes[:, :2].T)
    right, bottom = (_most(sides, groups) for sides in pieces.boxes[:, 2:].T)
    width, height = (right - left) * scale, (bottom - top) * scale
    middle = np.where(groups, pieces.middle, 0).sum(axis=1) / count
    sizes = np.hypot(pieces.boxes[:, 2] - pieces.boxes[:, 0], pieces.boxes[:, 3] - pieces.boxes[:, 1]) * scale
    left_gap = _gap_beside(pieces, left, ~groups, side="left") * scale
    right_gap = _gap_beside(pieces, right, ~groups, side="right") * scale
    columns = [
        np.log(height + 0.05), np.log(width + 0.05), height, width,
        (top - middle) * scale, (bottom - middle) * scale, ((top + bottom) / 2 - middle) * scale,
        count == 2, count == 3, count >= 4,
        _least(sizes, groups), _most(sizes, groups),
        *_gaps(pieces, groups),
        *_shares(pieces, ~groups, left, right, sizes), _share_inside(pieces, left, top, right, bottom, ~groups),
        *_paths(pieces, groups, np.hypot(width, height)),
        np.full(len(groups), np.log(n)), count == n, np.minimum(left_gap, 1.5), np.minimum(right_gap, 1.5),
        groups[:, 0], groups[:, -1],
    ]  # fmt: skip
    return np.stack(columns, axis=1).astype(np.float64)


def _least(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    return np.where(groups, values, np.inf).min(axis=1)


def _most(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    return np.where(groups, values, -np.inf).max(axis=1)


def _gaps(pieces: Pieces, groups: np.ndarray) -> list[np.ndarray]:
    """Return how far a group's pieces are apart, how far the nearest other one is, and the widest empty column."""
    scale = 1 / pieces.height
    distances = pieces.distances * scale + np.where(np.eye(len(pieces), dtype=bool), np.inf, 0)
    inside = np.where(groups[:, None, :], distances, np.inf).min(axis=2)  # to the nearest piece of the group
    outside = np.where(groups[:, None, :], np.inf, distances).min(axis=2)
    inner_gap = np.where(groups & np.isfinite(inside), inside, 0).max(axis=1)
    x_gap = _largest_column_gap(pieces, groups) * scale
    return [np.minimum(inner_gap, 1), np.minimum(_least(outside, groups), 1), np.clip(x_gap, -1, 1)]


def _shares(pieces: Pieces, others: np.ndarray, left: np.ndarray, right: np.ndarray, sizes: np.ndarray) -> list:
    """Return how much other pieces stand in the columns of each group: as shares of its width and of theirs."""
    scale = 1 / pieces.height
    lefts, rights = pieces.boxes[:, 0], pieces.boxes[:, 2]
    covered = np.clip(np.minimum(right[:, None], rights) - np.maximum(left[:, None], lefts), 0, None) * scale
    share_of_other = np.where(others, (covered + 0.01) / ((rights - lefts) * scale + 0.01) * (covered > 0), 0)
    share_of_group = np.where(others, covered, 0).max(axis=1, initial=0) / ((right - left) * scale + 0.05)
    most_inside = np.where(others, np.minimum(share_of_other, 1) * np.minimum(sizes, 1), 0).max(axis=1, initial=0)
    return [np.minimum(share_of_group, 2), most_inside, share_of_other.max(axis=1, initial=0)]


def _paths(pieces: Pieces, groups: np.ndarray, diagonal: np.ndarray) -> list[np.ndarray]:
    """Return when a group's pieces were drawn, how long their paths are, and where the first piece leads."""
    scale, count, first = 1 / pieces.height, groups.sum(axis=1), groups.argmax(axis=1)
    drawn_between = _most(pieces.order, groups) - _least(pieces.order, groups) + 1 - count
    length = np.where(groups, pieces.lengths, 0).sum(axis=1) * scale
    chord = (pieces.points[first, -1] - pieces.points[first, 0]) * scale
    return [
        np.minimum(drawn_between, 4), np.log(length + 0.05),
        np.log((length + 0.02) / (diagonal + 0.02)),
        np.hypot(*chord.T) / (pieces.lengths[first] * scale + 0.02), np.abs(chord[:, 0]) / (diagonal + 0.05),
        chord[:, 1] / (diagonal + 0.05), np.sign(chord[:, 0] * chord[:, 1]) * (count == 1),
    ]  # fmt: skip


def _share_inside(pieces, left, top, right, bottom, others) -> np.ndarray:
    """Return which part of the other pieces' boxes' centres lie in the box of each group: a frame has them all."""
    centres = (pieces.boxes[:, :2] + pieces.boxes[:, 2:]) / 2
    within = (
        (centres[:, 0] > left[:, None]) & (centres[:, 0] < right[:, None])
        & (centres[:, 1] > top[:, None]) & (centres[:, 1] < bottom[:, None])
    )  # fmt: skip
    return (within & others).sum(axis=1) / np.maximum(others.sum(axis=1), 1)


def _largest_column_gap(pieces: Pieces, groups: np.ndarray) -> np.ndarray:
    """Return the widest empty column within each group; negative overlap where there is none, 0 for a piece alone."""
    by_left = np.argsort(pieces.boxes[:, 0], kind="stable")
    left, right, inside = pieces.boxes[by_left, 0], pieces.boxes[by_left, 2], groups[:, by_left]
    reach = np.maximum.accumulate(np.where(inside, right, -np.inf), axis=1)
    before = np.concatenate([np.full((len(groups), 1), -np.inf), reach[:, :-1]], axis=1)
    gaps = np.where(inside & np.isfinite(before), left - np.where(np.isfinite(before), before, 0), -np.inf)
    widest = gaps.max(axis=1)
    return np.where(np.isfinite(widest), widest, 0.0)


def _gap_beside(pieces: Pieces, edge: np.ndarray, others: np.ndarray, *, side: str) -> np.ndarray:
    """Return how far the next other piece lies from each group's edge, in x; 10 heights where there is none."""
    lefts, rights, edge = pieces.boxes[:, 0], pieces.boxes[:, 2], edge[:, None]
    centres = (lefts + rights) / 2
    beside, gaps = (centres < edge, edge - rights) if side == "left" else (centres > edge, lefts - edge)
    gap = np.where(others & beside, gaps, np.inf).min(axis=1, initial=np.inf)
    return np.minimum(np.maximum(gap, -0.5 * pieces.height), 10 * pieces.height)
