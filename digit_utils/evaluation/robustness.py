"""Robustness: the same digits made harder step by step, and how many are then misread.

A change takes a digit, how strong the change is, and a generator; it returns strokes, or a picture where the digit
is to be seen as one. Either then passes through the ink function, as on the pad.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from digit_utils.augmentation.strokes import path_length
from digit_utils.datasets.base import Digits
from digit_utils.datasets.ink import LabelledInk, ink_of
from digit_utils.evaluation.metrics import Score, score, score_record
from digit_utils.evaluation.predictions import predict
from digit_utils.preprocessing.images import ink_from_image
from digit_utils.preprocessing.strokes import clean_strokes, fit_to_box, ink_from_strokes
from digit_utils.recognition.recognizer import Recognizer
from digit_utils.types import IMAGE_SIZE, Strokes

PAD_SIDE = 280  # pixels of a pad, those of the usual demo; the pad here counts 800 of its own
USUAL_SIZE = 0.6  # part of the pad's side that a drawing's long side takes
USUAL_PEN = 14.0  # pixels on the pad

Change = Callable[[Any, float, np.random.Generator], Strokes | np.ndarray]


@dataclass(frozen=True)
class Experiment:
    """One way to make digits harder, in steps."""

    name: str  # what is changed, with its unit
    change: Change
    strengths: tuple[float, ...]
    usual: float  # the strength at which the digit is about what it was


def changed(digits: Digits, change: Change, strength: float, *, seed: int = 0) -> LabelledInk:
    """Return digits, pictures or strokes, as ink after a change; the same seed shakes each strength the same way."""
    rng = np.random.default_rng(seed)
    originals = digits.strokes if digits.images is None else digits.images
    ink = [_as_ink(change(original, strength, rng)) for original in originals]
    return LabelledInk(np.array(ink, np.float32).reshape(-1, IMAGE_SIZE, IMAGE_SIZE), digits.labels)


def _as_ink(drawing: Strokes | np.ndarray) -> np.ndarray:
    return ink_from_image(drawing) if isinstance(drawing, np.ndarray) else ink_from_strokes(drawing)


def error_curve(recognizer: Recognizer, digits: Digits, experiment: Experiment) -> list[Score]:
    """Return the figures of the same digits at each strength of an experiment."""
    return [
        score(predict(recognizer, changed(digits, experiment.change, strength))) for strength in experiment.strengths
    ]


def error_curves(recognizer: Recognizer, digits: Digits, experiments: Sequence[Experiment]) -> dict[str, list[Score]]:
    """Return the curve of each experiment by its name, always of the same digits."""
    return {experiment.name: error_curve(recognizer, digits, experiment) for experiment in experiments}


def summary(experiments: Sequence[Experiment], curves: Mapping[str, Sequence[Score]], *, margin: float = 0.005) -> str:
    """Return a line for each experiment: at which strengths the error rate grows by at most `margin`, and the worst."""
    lines, width = [], max(len(experiment.name) for experiment in experiments)
    for experiment in experiments:
        rates = np.array([result.error_rate for result in curves[experiment.name]])
        usual = rates[experiment.strengths.index(experiment.usual)]
        near = ", ".join(f"{experiment.strengths[place]:g}" for place in np.flatnonzero(rates <= usual + margin))
        worst = rates.argmax()
        lines.append(
            f"{experiment.name:{width}}  within {100 * margin:g} points: {near}; "
            f"worst {rates[worst]:.1%} at {experiment.strengths[worst]:g}"
        )
    return "\n".join(lines)


def curve_records(
    experiments: Sequence[Experiment], curves: Mapping[str, Sequence[Score]]
) -> dict[str, list[dict[str, float]]]:
    """Return curves, by the names of their experiments, as they are written to JSON."""
    return {
        experiment.name: [
            {"strength": strength, **score_record(result)}
            for strength, result in zip(experiment.strengths, curves[experiment.name], strict=True)
        ]
        for experiment in experiments
    }


# --------------------------------------------------------------------------------------------- drawings


def on_pad(strokes: Strokes, size: float) -> list[np.ndarray]:
    """Return strokes drawn into the upper left corner of the pad, in whole pixels; `size` is a part of its side."""
    fitted = fit_to_box(clean_strokes(strokes), long_side=size * PAD_SIDE)
    low = np.concatenate(fitted).min(axis=0)
    return [np.round(stroke - low) for stroke in fitted]


def trembled(strokes: Strokes, strength: float, rng: np.random.Generator) -> list[np.ndarray]:
    """Return strokes whose points are displaced, each for itself, by `strength` parts of the drawing's long side."""
    fitted = fit_to_box(clean_strokes(strokes), long_side=1.0)
    return [stroke + rng.normal(0, strength, stroke.shape) for stroke in fitted]


def pad_picture(strokes: Strokes, *, pen: float = USUAL_PEN, size: float = USUAL_SIZE) -> np.ndarray:
    """Return the pad as a picture, (height, width) uint8, light ink on dark; `pen` is a width in pixels of the pad."""
    side, bits = PAD_SIDE + 2 * int(np.ceil(pen)), 4  # a wide pen at the edge stays on the page
    page = np.zeros((side, side), np.uint8)
    for stroke in fit_to_box(clean_strokes(strokes), long_side=size * PAD_SIDE):
        points = np.round((stroke + side / 2) * (1 << bits)).astype(np.int32)
        points = np.repeat(points, 2, axis=0) if len(points) == 1 else points
        cv2.polylines(page, [points], False, 255, max(1, round(pen)), cv2.LINE_8, bits)  # smoothed edges would widen it
    return page


ANGLES = (-60.0, -40.0, -20.0, -10.0, 0.0, 10.0, 20.0, 40.0, 60.0)
SLANTS = (-40.0, -20.0, -10.0, 0.0, 10.0, 20.0, 40.0)
POINTS = (5.0, 7.0, 10.0, 20.0, 60.0, 1000.0)
SIZES = (0.05, 0.1, 0.2, 0.5, 1.0)
PENS = (2.0, 5.0, 14.0, 28.0, 40.0)
TREMORS = (0.0, 1.0, 2.0, 4.0, 8.0)

DRAWING_EXPERIMENTS = (
    Experiment("size (part of the pad)", lambda strokes, size, _: on_pad(strokes, size), SIZES, 1.0),
    Experiment("pen (pixels, as a picture)", lambda strokes, pen, _: pad_picture(strokes, pen=pen), PENS, USUAL_PEN),
    Experiment(
        "points along the path", lambda strokes, points, _: resampled(strokes, points=int(points)), POINTS, 60.0
    ),
    Experiment("slant to the right (degrees)", lambda strokes, angle, _: slanted(strokes, degrees=angle), SLANTS, 0.0),
    Experiment("turn clockwise (degrees)", lambda strokes, angle, _: rotated(strokes, degrees=angle), ANGLES, 0.0),
    Experiment("tremor (% of the size)", lambda strokes, part, rng: trembled(strokes, part / 100, rng), TREMORS, 0.0),
)


# --------------------------------------------------------------------------------------------- pictures


def shifted(picture: np.ndarray, pixels: float) -> np.ndarray:
    """Return a picture on a page that is half as large again, moved right and down from its middle, nothing cut off.

    Args:
        picture: (height, width) uint8, light ink on dark.
        pixels: how far, on the scale of a picture 28 pixels wide.
    """
    scale = picture.shape[1] / IMAGE_SIZE
    return _warped(picture, np.eye(2), np.full(2, pixels * scale))


def turned(picture: np.ndarray, degrees: float) -> np.ndarray:
    """Return a picture, (height, width) uint8, turned clockwise around its middle, on a larger page."""
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return _warped(picture, np.array([[cosine, -sine], [sine, cosine]]), np.zeros(2))


def grainy(picture: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """Return a picture, (height, width) uint8, with noise of so many grey levels added to every pixel."""
    return np.clip(picture + rng.normal(0, deviation, picture.shape), 0, 255).astype(np.uint8)


def blurred(picture: np.ndarray, pixels: float) -> np.ndarray:
    """Return a picture, (height, width) uint8, out of focus by so many pixels at a width of 28."""
    if not pixels:
        return picture
    return cv2.GaussianBlur(picture, (0, 0), pixels * picture.shape[1] / IMAGE_SIZE)


def _warped(picture: np.ndarray, linear: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Return a picture mapped around its middle onto a page that is half as large again."""
    height, width = picture.shape
    size = (width + 2 * (width // 4), height + 2 * (height // 4))
    middle, new_middle = np.array([width - 1, height - 1]) / 2, np.array([size[0] - 1, size[1] - 1]) / 2
    offset = new_middle + shift - linear @ middle
    return cv2.warpAffine(picture, np.column_stack([linear, offset]), size, flags=cv2.INTER_LINEAR)


def straight_shift_curve(recognizer: Recognizer, digits: Digits) -> list[Score]:
    """Return the figures of pictures that are moved by each of SHIFTS and shown to the network without centring."""
    ink = ink_of(digits)
    return [score(predict(recognizer, shifted_ink(ink, int(pixels)))) for pixels in SHIFTS]


def shifted_ink(digits: LabelledInk, pixels: int) -> LabelledInk:
    """Return ink moved right and down by whole pixels; what leaves the picture is lost."""
    moved = np.zeros_like(digits.ink)
    kept = IMAGE_SIZE - pixels
    moved[:, pixels:, pixels:] = digits.ink[:, :kept, :kept]
    return LabelledInk(moved, digits.labels)


SHIFTS = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0)
NOISES = (0.0, 10.0, 20.0, 40.0, 80.0)
BLURS = (0.0, 0.5, 1.0, 1.5, 2.0)

SHIFT = Experiment("shift (pixels of 28)", lambda picture, pixels, _: shifted(picture, pixels), SHIFTS, 0.0)
SCAN_EXPERIMENTS = (
    Experiment("turn clockwise (degrees)", lambda picture, angle, _: turned(picture, angle), ANGLES, 0.0),
    Experiment("noise (grey levels of 255)", grainy, NOISES, 0.0),
    Experiment("blur (pixels of 28)", lambda picture, pixels, _: blurred(picture, pixels), BLURS, 0.0),
)


def slanted(strokes: Strokes, *, degrees: float) -> list[np.ndarray]:
    """Return strokes slanted to the right by an angle; the y axis points down."""
    slope = np.tan(np.deg2rad(degrees))
    return [stroke @ np.array([[1, 0], [-slope, 1]]) for stroke in clean_strokes(strokes)]


def rotated(strokes: Strokes, *, degrees: float) -> list[np.ndarray]:
    """Return strokes turned clockwise, as seen, by an angle."""
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return [stroke @ np.array([[cosine, sine], [-sine, cosine]]) for stroke in clean_strokes(strokes)]


def resampled(strokes: Strokes, *, points: int) -> list[np.ndarray]:
    """Return strokes with about `points` points in all, evenly along the path, at least two a stroke."""
    cleaned = clean_strokes(strokes)
    lengths = [path_length(stroke)[-1] for stroke in cleaned]
    total = max(sum(lengths), 1e-9)
    return [
        _evenly(stroke, max(2, round(points * length / total))) for stroke, length in zip(cleaned, lengths, strict=True)
    ]


def _evenly(stroke: np.ndarray, count: int) -> np.ndarray:
    along = path_length(stroke)
    at = np.linspace(0, along[-1], count)
    return np.stack([np.interp(at, along, stroke[:, axis]) for axis in (0, 1)], axis=1)
