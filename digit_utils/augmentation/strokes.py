"""Augmentation of strokes: slant, proportions, tremor, overshooting ends, gaps and sampling, as writers vary."""

from dataclasses import dataclass

import numpy as np

from digit_utils.preprocessing.strokes import PEN_WIDTH, clean_strokes, fit_to_box
from digit_utils.types import Strokes


@dataclass(frozen=True)
class StrokeAugmentation:
    """Ranges of random changes to strokes. Lengths are relative to the digit's long side; deviations are standard."""

    slant: float = 0.42  # sideways per height, to either side, uniform; 0.42 is 23 degrees
    rotation: float = 8.0  # degrees to either side, uniform
    stretch: float = 0.25  # in logarithm of the aspect ratio, to either side, uniform
    bend: float = 0.035  # deviation of each of the three slow waves that warp the whole drawing
    tremor: float = 0.006  # deviation of a smoothed shake along the path
    gap: float = 0.02  # deviation of each stroke's own displacement
    end: float = 0.06  # strokes end up to this much early or late
    resample: float = 0.35  # probability of another sampling along the path, from about 10 points a digit up
    fill_box: float = 0.06  # probability of a drawing stretched to fill a square, as some scans are


DEFAULT = StrokeAugmentation()
PEN_WIDTHS = (1.6, 3.8)  # pixels, the least and the most; half of the drawings keep the usual pen


def augment_strokes(
    strokes: Strokes, rng: np.random.Generator, *, config: StrokeAugmentation = DEFAULT
) -> list[np.ndarray]:
    """Return the strokes as another writer might have drawn them.

    Args:
        strokes: list of (n, 2) arrays of numbers, any unit, at least one point in all.
        rng: where the randomness comes from.
        config: the ranges of the changes.

    Returns:
        As many strokes, (m, 2) float64, long side about 1, around (0, 0).
    """
    cleaned = fit_to_box(clean_strokes(strokes), long_side=1.0)
    changed = [_new_path(stroke, rng, config=config) for stroke in cleaned]
    sizes = np.cumsum([len(stroke) for stroke in changed])[:-1]
    points = np.concatenate(changed) @ _random_matrix(rng, config=config)
    points += _smooth_warp(points, rng, strength=config.bend)
    if rng.random() < config.fill_box:
        extent = np.ptp(points, axis=0)
        points *= np.clip(extent.max() / np.maximum(extent, 1e-9), 1, 4)  # beyond that, a stem becomes a wall
    return np.split(points, sizes)


def random_pen_width(rng: np.random.Generator) -> float:
    """Return a pen width in pixels: PEN_WIDTH every other time, else uniform within PEN_WIDTHS."""
    return PEN_WIDTH if rng.random() < 0.5 else float(rng.uniform(*PEN_WIDTHS))


def _random_matrix(rng: np.random.Generator, *, config: StrokeAugmentation) -> np.ndarray:
    """Return a (2, 2) matrix for row vectors: slant, then proportions, then rotation."""
    angle = np.deg2rad(rng.uniform(-config.rotation, config.rotation))
    slant = rng.uniform(-config.slant, config.slant)
    stretch = np.exp(rng.uniform(-config.stretch, config.stretch) / 2)
    cosine, sine = np.cos(angle), np.sin(angle)
    return (
        np.array([[1, 0], [-slant, 1]]) @ np.diag([stretch, 1 / stretch]) @ np.array([[cosine, sine], [-sine, cosine]])
    )


def _smooth_warp(points: np.ndarray, rng: np.random.Generator, *, strength: float) -> np.ndarray:
    """Return a displacement for each of the (n, 2) points that varies smoothly over the drawing: slow waves."""
    directions = rng.normal(0, 4.0, (2, 3))  # three waves of about one and a half periods over the drawing
    phases, sizes = rng.uniform(0, 2 * np.pi, 3), rng.normal(0, strength, (3, 2))
    return np.sin(points @ directions + phases) @ sizes


def _new_path(stroke: np.ndarray, rng: np.random.Generator, *, config: StrokeAugmentation) -> np.ndarray:
    """Return one stroke with changed ends, sampling, tremor and position."""
    if len(stroke) > 2:
        stroke = _resampled(stroke, rng, config=config)
        stroke = stroke + _tremor(len(stroke), rng, strength=config.tremor)
    return stroke + rng.normal(0, config.gap, 2)


def path_length(stroke: np.ndarray) -> np.ndarray:
    """Return the length of the path up to each of its (n, 2) points: (n,) float64, from 0."""
    return np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(stroke, axis=0).T))])


def _resampled(stroke: np.ndarray, rng: np.random.Generator, *, config: StrokeAugmentation) -> np.ndarray:
    """Cut a little off the ends or add a little, and sometimes sample the path anew, more or less densely."""
    along = path_length(stroke)
    length = along[-1]
    if length < 0.1:
        return stroke
    early, late = rng.uniform(-config.end, config.end, 2).clip(max=length / 8)
    count = len(stroke)
    if rng.random() < config.resample:
        # From the some ten points a digit of a slow tablet to those of a fast one; uniform in logarithm.
        fewest = max(4, int(length * 2.5))
        count = int(fewest * np.exp(rng.uniform(0, np.log(30))))
    elif early == late == 0:
        return stroke
    at = np.linspace(early, length - late, max(count, 2))
    path = np.stack([np.interp(at, along, stroke[:, axis]) for axis in (0, 1)], axis=1)
    path[at < 0] += np.outer(at[at < 0], _direction(stroke[:4]))
    path[at > length] += np.outer(at[at > length] - length, _direction(stroke[-4:]))
    return path


def _direction(points: np.ndarray) -> np.ndarray:
    step = points[-1] - points[0]
    return step / max(np.hypot(*step), 1e-9)


def _tremor(count: int, rng: np.random.Generator, *, strength: float) -> np.ndarray:
    """Return random displacements along a path of `count` points, (count, 2), smooth over five points."""
    noise = rng.normal(0, strength * 2.2, (count + 4, 2))  # the mean of five has 1/2.2 of the standard deviation
    sums = np.cumsum(np.concatenate([np.zeros((1, 2)), noise]), axis=0)
    return (sums[5:] - sums[:-5]) / 5
