"""Ruling: lines that are printed on paper, and its creases, taken out of a photo where they are as strong as the pen.

A printed line runs straight through the whole picture, and others run beside it; a crease and a margin's line run
alone, so they might be strokes. A line's level is the median along it, which what crosses it does not change, and what
is darker than the line stays.
"""

from dataclasses import dataclass

import cv2
import numpy as np

RULING, ACROSS = "ruling", "across"  # many lines that run nearly throughout, and few from edge to edge
STEEPEST_RULING = 6.0  # degrees; paper that lies more aslant is hardly photographed
ANGLE_STEP, FINE_STEP = 0.75, 1 / 3  # degrees, and parts of that: a line's end moves by a pixel or so, small or large
LOOKED_AT = 128  # pixels, long side, to find how lines lie
MEDIAN_STEP = 16  # pixels along a line that are averaged before their median is taken
MEDIAN_WINDOW = 0.5  # of the picture's length; a stroke that covers half of that would pass for a line
THROUGHOUT = 0.8  # part of the picture through which a line runs; at its edges light may be uneven
CELLS = 16  # parts of a row, of which nearly all show a line that runs through the picture
FEWEST_LINES = 4  # in one direction; fewer may be strokes
MOST_LINES = 0.3  # part of the rows; lines leave most of the page to write on, bold strokes do not
MOST_ACROSS = 0.06  # part of the rows that few lines have; a desk's edge is no line
STRONG_LINE = 0.2  # of the strongest ink; a fainter line is no trouble
DRIFT = 4  # pixels that a line may wander from where most of it runs
EDGE = 4  # pixels along the edges of a ruled picture that are taken for page
SOFT_EDGE = np.ones((3, 3), np.uint8)  # beside a line; where there are few, little else is lost with it
SLACK = 1.3  # times their usual level that lines may have; what is darker is ink


@dataclass(frozen=True, eq=False)
class _Lines:
    """Lines that run from left to right."""

    level: np.ndarray  # (height, width) float32: how far they stand out from the page; 0 elsewhere
    are_ruling: bool  # whether they are so many that they are no strokes


def without_lines(light: np.ndarray, *, full: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a photo without the ruling of its paper, and without those lines too which may be strokes as well.

    Such a line, a margin's, a crease, runs from one edge of the picture to the other, with at most two others.

    Args:
        light: (height, width) float32 that grows towards the ink.
        full: the level of the strongest ink. Lines that are faint beside it are left.

    Returns:
        Two pictures like `light`; the very same one, or one twice, where there is nothing more to take off.
    """
    unruled, across = light, None
    for turned in (False, True):
        lines = _level_lines(np.ascontiguousarray(unruled.T) if turned else unruled, full=full)
        if lines is None:
            continue
        level = lines.level.T if turned else lines.level
        if lines.are_ruling:
            unruled = unruled - level
        else:
            across = level if across is None else across + level
    rest = unruled if across is None else unruled - across
    if unruled is light:
        return light, rest
    cleaned = _without_edge(unruled)
    return cleaned, cleaned if across is None else _without_edge(rest)


def _without_edge(light: np.ndarray) -> np.ndarray:
    """Return a ruled photo with page along its edges: a line that leaves it slowly is not seen to run through it."""
    inner = light[EDGE:-EDGE, EDGE:-EDGE]
    return cv2.copyMakeBorder(inner, *4 * [EDGE], cv2.BORDER_CONSTANT, value=0)


def _level_lines(light: np.ndarray, *, full: float) -> _Lines | None:
    """Return the lines that run from left to right, None without any."""
    factor = min(1.0, LOOKED_AT / max(light.shape))
    small = np.maximum(cv2.resize(light, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), 0)
    angle = _angle_of_lines(small, np.arange(-STEEPEST_RULING, STEEPEST_RULING + ANGLE_STEP / 2, ANGLE_STEP))
    # Sooner seen than by medians; a line of a pixel or two is as much fainter in the small picture.
    kinds = _kinds_of_lines(_turned(small, angle), least=STRONG_LINE * factor / 2 * full)
    if not kinds:
        return None
    angle = _angle_of_lines(np.maximum(light, 0), angle + np.arange(-1, 1.1, FINE_STEP) * ANGLE_STEP)
    level = np.maximum(_medians_along_rows(_turned(light, angle)), 0)
    seen = _kinds_of_lines(level, least=STRONG_LINE * full)
    for kind, most in ((RULING, MOST_LINES), (ACROSS, MOST_ACROSS)):
        if kind in kinds and kind in seen and seen[kind].mean() <= most:
            lines = _turned(_level_near(seen[kind], level, angle=angle), -angle)
            return _Lines(lines if kind == RULING else cv2.dilate(lines, SOFT_EDGE), kind == RULING)
    return None


def _level_near(strong: np.ndarray, level: np.ndarray, *, angle: float) -> np.ndarray:
    """Return the level of lines near strong rows, (height,) bool, but no higher than they usually are; 0 elsewhere."""
    usual = float(np.median(_peaks(_level_throughout(level, THROUGHOUT), strong)))
    near = _rows_near_lines(strong, leaving=level.shape[1] * abs(np.sin(np.deg2rad(angle))))
    return np.where(near[:, np.newaxis], np.minimum(level, SLACK * usual), 0).astype(np.float32)


def _kinds_of_lines(light: np.ndarray, *, least: float) -> dict[str, np.ndarray]:
    """Return in which rows, (height,) bool, there are lines as strong as `least`: of a ruling, and few across."""
    ruling, across = (_level_throughout(light, part) > least for part in (THROUGHOUT, 1.0))
    kinds = {RULING: ruling} if _count_of_runs(ruling) >= FEWEST_LINES else {}
    return kinds | ({ACROSS: across} if 1 <= _count_of_runs(across) < FEWEST_LINES else {})


def _rows_near_lines(strong: np.ndarray, *, leaving: float) -> np.ndarray:
    """Return the rows, (n,) bool, in which a line may lie: near strong ones, and where lines leave the picture.

    Elsewhere, what is long and level is the bar of a 7.
    """
    near = cv2.dilate(strong.astype(np.uint8), np.ones((2 * DRIFT + 1, 1), np.uint8)).ravel() > 0
    margin = int(np.ceil(leaving))
    near[:margin] = near[len(near) - margin :] = True
    return near


def _level_throughout(light: np.ndarray, part: float) -> np.ndarray:
    """Return the level that each row of a picture has in some part of it, (height,) float32."""
    cells = cv2.resize(light, (CELLS, light.shape[0]), interpolation=cv2.INTER_AREA)
    return np.quantile(cells, 1 - part, axis=1)


def _count_of_runs(strong: np.ndarray) -> int:
    """Return how many times a (n,) bool array turns from False to True."""
    return int(np.count_nonzero(strong[1:] > strong[:-1]))


def _peaks(profile: np.ndarray, strong: np.ndarray) -> list[float]:
    """Return the largest value of each run of a (n,) profile that is marked as strong."""
    starts = np.flatnonzero(np.diff(strong.astype(np.int8), prepend=0) > 0)
    ends = np.flatnonzero(np.diff(strong.astype(np.int8), append=0) < 0) + 1
    return [float(profile[start:end].max()) for start, end in zip(starts, ends, strict=True)]


def _angle_of_lines(light: np.ndarray, angles: np.ndarray) -> float:
    """Return by which of some angles, in degrees, lines rise or fall: turned back, rows differ from each other most."""
    inner = slice(light.shape[0] // 8, -(light.shape[0] // 8) or None)
    return float(max(angles, key=lambda angle: _turned(light, angle).mean(axis=1)[inner].var()))


def _turned(picture: np.ndarray, angle: float) -> np.ndarray:
    """Return a picture turned by some degrees about its middle; what comes in from outside is as its edge."""
    height, width = picture.shape
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
    return cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _medians_along_rows(light: np.ndarray) -> np.ndarray:
    """Return the running median along each row, over half of its length."""
    height, width = light.shape
    count = max(1, width // MEDIAN_STEP)
    short = cv2.resize(light, (count, height), interpolation=cv2.INTER_AREA)
    reach = max(1, round(MEDIAN_WINDOW * count / 2))
    padded = cv2.copyMakeBorder(
        short, 0, 0, reach, reach, cv2.BORDER_REFLECT_101 if count > reach else cv2.BORDER_REPLICATE
    )
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=1)
    return cv2.resize(np.median(windows, axis=2).astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
