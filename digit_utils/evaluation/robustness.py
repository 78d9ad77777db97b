"""Robustness: error rates on the same digits under distortions of increasing strength.

A change takes a digit, its strength, and a generator; it returns strokes or an image, which are then preprocessed as
on the pad.
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
from digit_utils.preprocessing.strokes import clean_strokes, draw_lines, fit_to_box, ink_from_strokes
from digit_utils.recognition.recognizer import Recognizer
from digit_utils.types import IMAGE_SIZE, Strokes

PAD_SIDE = 280  # pixels, as in the usual demo; the pad of this project has 800
USUAL_SIZE = 0.6  # long side of a drawing relative to the side of the pad
USUAL_PEN = 14.0  # pixels on the pad

Change = Callable[[Any, float, np.random.Generator], Strokes | np.ndarray]


@dataclass(frozen=True)
class Experiment:
    """One kind of distortion in several strengths."""

    name: str  # what is changed, with its unit
    change: Change
    strengths: tuple[float, ...]
    usual: float  # the strength that leaves the digit about as it was


def changed(digits: Digits, change: Change, strength: float, *, seed: int = 0) -> LabelledInk:
    """Return digits, images or strokes, as ink after a change, with the same random numbers at each strength."""
    rng = np.random.default_rng(seed)
    originals = digits.strokes if digits.images is None else digits.images
    ink = [_as_ink(change(original, strength, rng)) for original in originals]
    return LabelledInk(np.array(ink, np.float32).reshape(-1, IMAGE_SIZE, IMAGE_SIZE), digits.labels)


def _as_ink(drawing: Strokes | np.ndarray) -> np.ndarray:
    return ink_from_image(drawing) if isinstance(drawing, np.ndarray) else ink_from_strokes(drawing)


def error_curve(recognizer: Recognizer, digits: Digits, experiment: Experiment) -> list[Score]:
    """Return the score of the same digits at each strength of an experiment."""
    return [
        score(predict(recognizer, changed(digits, experiment.change, strength))) for strength in experiment.strengths
    ]


def error_curves(recognizer: Recognizer, digits: Digits, experiments: Sequence[Experiment]) -> dict[str, list[Score]]:
    """Return the curve of each experiment by its name, all on the same digits."""
    return {experiment.name: error_curve(recognizer, digits, experiment) for experiment in experiments}


def summary(experiments: Sequence[Experiment], curves: Mapping[str, Sequence[Score]], *, margin: float = 0.005) -> str:
    """Return a line per experiment: the strengths at which the error rate grows by at most `margin`, and the worst."""
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
    """Return curves by the names of their experiments, as written to JSON."""
    return {
        experiment.name: [
            {"strength": strength, **score_record(result)}
            for strength, result in zip(experiment.strengths, curves[experiment.name], strict=True)
        ]
        for experiment in experiments
    }


# --------------------------------------------------------------------------------------------- drawings


def on_pad(strokes: Strokes, size: float) -> list[np.ndarray]:
    """Return strokes drawn into the upper left corner of the pad, in whole pixels; `size` is relative to its side."""
    fitted = fit_to_box(clean_strokes(strokes), long_side=size * PAD_SIDE)
    low = np.concatenate(fitted).min(axis=0)
    return [np.round(stroke - low) for stroke in fitted]


def trembled(strokes: Strokes, strength: float, rng: np.random.Generator) -> list[np.ndarray]:
    """Return strokes with independent normal noise on each point; `strength` is relative to the drawing's long side."""
    fitted = fit_to_box(clean_strokes(strokes), long_side=1.0)
    return [stroke + rng.normal(0, strength, stroke.shape) for stroke in fitted]


def pad_picture(strokes: Strokes, *, pen: float = USUAL_PEN, size: float = USUAL_SIZE) -> np.ndarray:
    """Return the pad as an image, (height, width) uint8, light ink on dark; `pen` is a width in pixels of the pad."""
    side = PAD_SIDE + 2 * int(np.ceil(pen))  # a wide pen at the edge stays on the page
    page = np.zeros((side, side), np.uint8)
    fitted = fit_to_box(clean_strokes(strokes), long_side=size * PAD_SIDE)
    draw_lines(page, [stroke + side / 2 for stroke in fitted], thickness=max(1, round(pen)))
    return page


ANGLES = (-60.0, -40.0, -20.0, -10.0, 0.0, 10.0, 20.0, 40.0, 60.0)
SLANTS = (-40.0, -20.0, -10.0, 0.0, 10.0, 20.0, 40.0)
POINTS = (5.0, 7.0, 10.0, 20.0, 60.0, 1000.0)
SIZES = (0.05, 0.1, 0.2, 0.5, 1.0)
PENS = (2.0, 5.0, 14.0, 28.0, 40.0)
TREMORS = (0.0, 1.0, 2.0, 4.0, 8.0)

DRAWING_EXPERIMENTS = (
    Experiment("size (part of the pad)", lambda strokes, size, _: on_pad(strokes, size), SIZES, 1.0),
    Experiment("pen (pixels, as an image)", lambda strokes, pen, _: pad_picture(strokes, pen=pen), PENS, USUAL_PEN),
    Experiment(
        "points along the path", lambda strokes, points, _: resampled(strokes, points=int(points)), POINTS, 60.0
    ),
    Experiment("slant to the right (degrees)", lambda strokes, angle, _: slanted(strokes, degrees=angle), SLANTS, 0.0),
    Experiment("turn clockwise (degrees)", lambda strokes, angle, _: rotated(strokes, degrees=angle), ANGLES, 0.0),
    Experiment("tremor (% of the size)", lambda strokes, part, rng: trembled(strokes, part / 100, rng), TREMORS, 0.0),
)


# --------------------------------------------------------------------------------------------- images


def shifted(image: np.ndarray, pixels: float) -> np.ndarray:
    """Return an image on a page that is half as large again, moved right and down, with nothing cut off.

    Args:
        image: (height, width) uint8, light ink on dark.
        pixels: how far, on the scale of an image 28 pixels wide.
    """
    scale = image.shape[1] / IMAGE_SIZE
    return _warped(image, np.eye(2), np.full(2, pixels * scale))


def turned(image: np.ndarray, degrees: float) -> np.ndarray:
    """Return an image, (height, width) uint8, rotated clockwise around its centre, on a larger page."""
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return _warped(image, np.array([[cosine, -sine], [sine, cosine]]), np.zeros(2))


def grainy(image: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """Return an image, (height, width) uint8, with normal noise of this standard deviation in grey levels."""
    return np.clip(image + rng.normal(0, deviation, image.shape), 0, 255).astype(np.uint8)


def blurred(image: np.ndarray, pixels: float) -> np.ndarray:
    """Return an image, (height, width) uint8, blurred by a Gaussian; its deviation is in pixels at a width of 28."""
    if not pixels:
        return image
    return cv2.GaussianBlur(image, (0, 0), pixels * image.shape[1] / IMAGE_SIZE)


def _warped(image: np.ndarray, linear: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Return an image mapped linearly around its centre onto a page that is half as large again."""
    height, width = image.shape
    size = (width + 2 * (width // 4), height + 2 * (height // 4))
    middle, new_middle = np.array([width - 1, height - 1]) / 2, np.array([size[0] - 1, size[1] - 1]) / 2
    offset = new_middle + shift - linear @ middle
    return cv2.warpAffine(image, np.column_stack([linear, offset]), size, flags=cv2.INTER_LINEAR)


def straight_shift_curve(recognizer: Recognizer, digits: Digits) -> list[Score]:
    """Return the scores of images moved by each of SHIFTS and passed to the network without centring."""
    ink = ink_of(digits)
    return [score(predict(recognizer, shifted_ink(ink, int(pixels)))) for pixels in SHIFTS]


def shifted_ink(digits: LabelledInk, pixels: int) -> LabelledInk:
    """Return ink moved right and down by whole pixels; what leaves the image is lost."""
    moved = np.zeros_like(digits.ink)
    kept = IMAGE_SIZE - pixels
    moved[:, pixels:, pixels:] = digits.ink[:, :kept, :kept]
    return LabelledInk(moved, digits.labels)


SHIFTS = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0)
NOISES = (0.0, 10.0, 20.0, 40.0, 80.0)
BLURS = (0.0, 0.5, 1.0, 1.5, 2.0)

SHIFT = Experiment("shift (pixels of 28)", lambda image, pixels, _: shifted(image, pixels), SHIFTS, 0.0)
SCAN_EXPERIMENTS = (
    Experiment("turn clockwise (degrees)", lambda image, angle, _: turned(image, angle), ANGLES, 0.0),
    Experiment("noise (grey levels of 255)", grainy, NOISES, 0.0),
    Experiment("blur (pixels of 28)", lambda image, pixels, _: blurred(image, pixels), BLURS, 0.0),
)


def slanted(strokes: Strokes, *, degrees: float) -> list[np.ndarray]:
    """Return strokes slanted to the right by an angle in degrees; the y axis points down."""
    slope = np.tan(np.deg2rad(degrees))
    return [stroke @ np.array([[1, 0], [-slope, 1]]) for stroke in clean_strokes(strokes)]


def rotated(strokes: Strokes, *, degrees: float) -> list[np.ndarray]:
    """Return strokes rotated clockwise, as seen, by an angle in degrees."""
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return [stroke @ np.array([[cosine, sine], [-sine, cosine]]) for stroke in clean_strokes(strokes)]


def resampled(strokes: Strokes, *, points: int) -> list[np.ndarray]:
    """Return strokes with about `points` points in all, at even distances along the path, at least two per stroke."""
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
