"""Removes printed lines and creases from photos of paper if they are as strong as the pen.

Printed lines run straight through the whole image with others parallel to them; a crease or a margin line runs alone,
so it might be a stroke. The level of a line is the median along it, which strokes that cross it do not change, and what
is darker than the line stays.
"""

from dataclasses import dataclass

import cv2
import numpy as np

RULED, ACROSS = "ruled", "across"  # many lines through nearly the whole image, and few from edge to edge
STEEPEST_LINES = 6.0  # degrees; paper is rarely photographed at a larger angle
ANGLE_STEP, FINE_STEP = 0.75, 1 / 3  # degrees, and a share of that: both move a line's end by about a pixel
SMALL_SIDE = 128  # pixels, long side of the copy in which the angle of lines is found
MEDIAN_STEP = 16  # pixels along a line that are averaged before their median is taken
MEDIAN_WINDOW = 0.5  # of the image's length; a stroke that covers half of that would be taken for a line
THROUGHOUT = 0.8  # share of the image through which a line runs; at the edges the illumination may be uneven
CELLS = 16  # per row; nearly all of them show a line that runs through the image
FEWEST_LINES = 4  # in one direction; fewer may be strokes
MOST_LINES = 0.3  # share of the rows; lines leave most of the page to write on, bold strokes do not
MOST_ACROSS = 0.06  # share of the rows that a few lines cover; the edge of a desk covers more
STRONG_LINE = 0.2  # of the strongest ink; fainter lines do no harm
LINE_DRIFT = 4  # pixels by which a line may deviate from where most of it runs
EDGE = 4  # pixels along the edges of ruled paper that are taken for page
SOFT_EDGE = np.ones((3, 3), np.uint8)  # of a line; where lines are few, little else is lost with it
LEVEL_TOLERANCE = 1.3  # times the typical level of the lines; what is darker is ink


@dataclass(frozen=True, eq=False)
class _Lines:
    """Lines that run from left to right."""

    level: np.ndarray  # (height, width) float32: their contrast to the page; 0 elsewhere
    are_ruled: bool  # whether there are so many that they cannot be strokes


def without_lines(contrast: np.ndarray, *, full: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a photo without ruled lines, and also without lines that may be strokes as well.

    The latter, such as a margin line or a crease, run from edge to edge of the image, at most three of them.

    Args:
        contrast: (height, width) float32 that grows towards the ink.
        full: the level of the strongest ink. Lines that are faint beside it are kept.

    Returns:
        Two arrays like `contrast`; the same object, or one object twice, if there is nothing to remove.
    """
    unruled, across = contrast, None
    for turned in (False, True):
        lines = _level_lines(np.ascontiguousarray(unruled.T) if turned else unruled, full=full)
        if lines is None:
            continue
        level = lines.level.T if turned else lines.level
        if lines.are_ruled:
            unruled = unruled - level
        else:
            across = level if across is None else across + level
    rest = unruled if across is None else unruled - across
    if unruled is contrast:
        return contrast, rest
    cleaned = _without_edge(unruled)
    return cleaned, cleaned if across is None else _without_edge(rest)


def _without_edge(contrast: np.ndarray) -> np.ndarray:
    """Return a ruled photo with page along its edges, where lines that leave it are not recognised."""
    inner = contrast[EDGE:-EDGE, EDGE:-EDGE]
    return cv2.copyMakeBorder(inner, *4 * [EDGE], cv2.BORDER_CONSTANT, value=0)


def _level_lines(contrast: np.ndarray, *, full: float) -> _Lines | None:
    """Return the lines that run from left to right; None without any."""
    factor = min(1.0, SMALL_SIDE / max(contrast.shape))
    small = np.maximum(cv2.resize(contrast, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), 0)
    angle = _angle_of_lines(small, np.arange(-STEEPEST_LINES, STEEPEST_LINES + ANGLE_STEP / 2, ANGLE_STEP))
    # Faster than medians; a line of a pixel or two is fainter in the small copy by its factor.
    kinds = _kinds_of_lines(_turned(small, angle), least=STRONG_LINE * factor / 2 * full)
    if not kinds:
        return None
    angle = _angle_of_lines(np.maximum(contrast, 0), angle + np.arange(-1, 1.1, FINE_STEP) * ANGLE_STEP)
    level = np.maximum(_medians_along_rows(_turned(contrast, angle)), 0)
    seen = _kinds_of_lines(level, least=STRONG_LINE * full)
    for kind, most in ((RULED, MOST_LINES), (ACROSS, MOST_ACROSS)):
        if kind in kinds and kind in seen and seen[kind].mean() <= most:
            lines = _turned(_level_near(seen[kind], level, angle=angle), -angle)
            return _Lines(lines if kind == RULED else cv2.dilate(lines, SOFT_EDGE), kind == RULED)
    return None


def _level_near(strong: np.ndarray, level: np.ndarray, *, angle: float) -> np.ndarray:
    """Return the level of lines near strong rows, (height,) bool, capped near their median; 0 elsewhere."""
    usual = float(np.median(_peaks(_level_throughout(level, THROUGHOUT), strong)))
    near = _rows_near_lines(strong, leaving=level.shape[1] * abs(np.sin(np.deg2rad(angle))))
    return np.where(near[:, np.newaxis], np.minimum(level, LEVEL_TOLERANCE * usual), 0).astype(np.float32)


def _kinds_of_lines(contrast: np.ndarray, *, least: float) -> dict[str, np.ndarray]:
    """Return by kind, RULED or ACROSS, the rows (height,) bool in which there are lines as strong as `least`."""
    ruled, across = (_level_throughout(contrast, part) > least for part in (THROUGHOUT, 1.0))
    kinds = {RULED: ruled} if _count_of_runs(ruled) >= FEWEST_LINES else {}
    return kinds | ({ACROSS: across} if 1 <= _count_of_runs(across) < FEWEST_LINES else {})


def _rows_near_lines(strong: np.ndarray, *, leaving: float) -> np.ndarray:
    """Return the rows, (n,) bool, in which a line may lie: near strong ones, and where lines leave the image.

    Elsewhere, a long horizontal line is the bar of a 7.
    """
    near = cv2.dilate(strong.astype(np.uint8), np.ones((2 * LINE_DRIFT + 1, 1), np.uint8)).ravel() > 0
    margin = int(np.ceil(leaving))
    near[:margin] = near[len(near) - margin :] = True
    return near


def _level_throughout(contrast: np.ndarray, part: float) -> np.ndarray:
    """Return the level that each row reaches in some share of its length, (height,) float32."""
    cells = cv2.resize(contrast, (CELLS, contrast.shape[0]), interpolation=cv2.INTER_AREA)
    return np.quantile(cells, 1 - part, axis=1)


def _count_of_runs(strong: np.ndarray) -> int:
    """Return how many times a (n,) bool array turns from False to True."""
    return int(np.count_nonzero(strong[1:] > strong[:-1]))


def _peaks(profile: np.ndarray, strong: np.ndarray) -> list[float]:
    """Return the largest value of each run of a (n,) profile that is marked as strong."""
    starts = np.flatnonzero(np.diff(strong.astype(np.int8), prepend=0) > 0)
    ends = np.flatnonzero(np.diff(strong.astype(np.int8), append=0) < 0) + 1
    return [float(profile[start:end].max()) for start, end in zip(starts, ends, strict=True)]


def _angle_of_lines(contrast: np.ndarray, angles: np.ndarray) -> float:
    """Return the angle of the lines among `angles`, in degrees: rotated by it, rows differ from each other most."""
    inner = slice(contrast.shape[0] // 8, -(contrast.shape[0] // 8) or None)
    return float(max(angles, key=lambda angle: _turned(contrast, angle).mean(axis=1)[inner].var()))


def _turned(image: np.ndarray, angle: float) -> np.ndarray:
    """Return an image rotated about its centre; what comes in from outside repeats its edge."""
    height, width = image.shape
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
    return cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _medians_along_rows(contrast: np.ndarray) -> np.ndarray:
    """Return the running median along each row, over half of its length."""
    height, width = contrast.shape
    count = max(1, width // MEDIAN_STEP)
    short = cv2.resize(contrast, (count, height), interpolation=cv2.INTER_AREA)
    reach = max(1, round(MEDIAN_WINDOW * count / 2))
    padded = cv2.copyMakeBorder(
        short, 0, 0, reach, reach, cv2.BORDER_REFLECT_101 if count > reach else cv2.BORDER_REPLICATE
    )
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=1)
    return cv2.resize(np.median(windows, axis=2).astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
