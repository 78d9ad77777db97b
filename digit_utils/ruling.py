"""Ruling: the lines that are printed on paper, taken out of a photo where they are as strong as what is written.

A printed line runs straight through the whole picture, and others run beside it; no stroke of a digit does. So a line's
level is the median along it, which what crosses it does not change, and what is darker than the line stays.
"""

import cv2
import numpy as np

STEEPEST_RULING = 6.0  # degrees; paper that lies more aslant is hardly photographed
ANGLE_STEP, FINE_STEP = 0.75, 1 / 3  # degrees, and parts of that: a line's end moves by a pixel or so, small or large
LOOKED_AT = 128  # pixels, long side, to find how lines lie
MEDIAN_STEP = 16  # pixels along a line that are averaged before their median is taken
MEDIAN_WINDOW = 0.5  # of the picture's length; a stroke that covers half of that would pass for a line
THROUGHOUT = 0.8  # part of the picture through which a line runs; at its edges light may be uneven
CELLS = 16  # parts of a row, of which nearly all show a line that runs through the picture
FEWEST_LINES = 4  # in one direction; fewer may be strokes
MOST_LINES = 0.3  # part of the rows; lines leave most of the page to write on, bold strokes do not
STRONG_LINE = 0.2  # of the strongest ink; a fainter line is no trouble
DRIFT = 4  # pixels that a line may wander from where most of it runs
EDGE = 4  # pixels along the edges of a ruled picture that are taken for page
SLACK = 1.3  # times their usual level that lines may have; what is darker is ink


def without_ruling(light: np.ndarray, *, full: float) -> np.ndarray:
    """Return a photo, (height, width) float32 that grows towards the ink, without the lines printed on its paper.

    `full` is the level of the strongest ink. A photo with few lines, or with faint ones, is returned as it is.
    """
    result = light
    for turned in (False, True):
        picture = np.ascontiguousarray(result.T) if turned else result
        lines = _level_lines(picture, full=full)
        if lines is not None:
            result = result - (lines.T if turned else lines)
    if result is not light:  # a line that leaves the picture slowly is not seen to run through it
        inner = result[EDGE:-EDGE, EDGE:-EDGE]
        result = cv2.copyMakeBorder(inner, *4 * [EDGE], cv2.BORDER_CONSTANT, value=0)
    return result


def _level_lines(light: np.ndarray, *, full: float) -> np.ndarray | None:
    """Return the level of the lines that run from left to right, 0 elsewhere; None where there are not several."""
    factor = min(1.0, LOOKED_AT / max(light.shape))
    small = np.maximum(cv2.resize(light, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), 0)
    angle = _angle_of_lines(small, np.arange(-STEEPEST_RULING, STEEPEST_RULING + ANGLE_STEP / 2, ANGLE_STEP))
    if _count_of_runs(_level_throughout(_turned(small, angle)) > STRONG_LINE * factor / 2 * full) < FEWEST_LINES:
        return None  # sooner seen than by medians; a line of a pixel or two is as much fainter in the small picture
    angle = _angle_of_lines(np.maximum(light, 0), angle + np.arange(-1, 1.1, FINE_STEP) * ANGLE_STEP)
    level = np.maximum(_medians_along_rows(_turned(light, angle)), 0)
    profile = _level_throughout(level)
    strong = profile > STRONG_LINE * full
    if _count_of_runs(strong) < FEWEST_LINES or strong.mean() > MOST_LINES:
        return None
    usual = float(np.median(_peaks(profile, strong)))
    near = _rows_near_lines(strong, leaving=light.shape[1] * abs(np.sin(np.deg2rad(angle))))
    return _turned(np.where(near[:, np.newaxis], np.minimum(level, SLACK * usual), 0).astype(np.float32), -angle)


def _rows_near_lines(strong: np.ndarray, *, leaving: float) -> np.ndarray:
    """Return the rows, (n,) bool, in which a line may lie: near strong ones, and where lines leave the picture.

    Elsewhere, what is long and level is the bar of a 7.
    """
    near = cv2.dilate(strong.astype(np.uint8), np.ones((2 * DRIFT + 1, 1), np.uint8)).ravel() > 0
    margin = int(np.ceil(leaving))
    near[:margin] = near[len(near) - margin :] = True
    return near


def _level_throughout(light: np.ndarray) -> np.ndarray:
    """Return the level that each row of a picture has nearly all along, (height,) float32."""
    cells = cv2.resize(light, (CELLS, light.shape[0]), interpolation=cv2.INTER_AREA)
    return np.quantile(cells, 1 - THROUGHOUT, axis=1)


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
