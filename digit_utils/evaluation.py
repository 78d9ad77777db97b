"""Evaluation: what a recogniser gets right, how sure we can be of that, and whether it means its confidence.

Every rate is counted (errors / digits, never a mean of means) and comes with its number of digits and a 95 %
interval. Picture, label and prediction of a digit stay together in one `Readings`, in the order of the dataset.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import cv2
import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from digit_utils.allographs import random_allographs
from digit_utils.augmentation import path_length
from digit_utils.data import Digits, load_own_drawings, load_with_fallback
from digit_utils.drawings_file import ENDING, told
from digit_utils.ink import BOX_SIZE, IMAGE_SIZE, SUPERSAMPLING, Strokes, clean_strokes
from digit_utils.material import LabelledInk, ink_of
from digit_utils.recognizer import BUNDLED_MODEL, Recognizer, softmax

CALIBRATION_BINS = 15  # as in Guo et al., 2017


@dataclass(frozen=True, eq=False)
class Readings:
    """What a recogniser made of n digits, with what it was shown and what is true."""

    ink: np.ndarray  # (n, 28, 28) float32 in [0, 1]
    labels: np.ndarray  # (n,) int64
    probabilities: np.ndarray  # (n, 10) float64, rows sum to 1
    scores: np.ndarray  # (n,) float64 in [0, 1], how sure that the ink is a digit at all
    threshold: float  # scores below it mean: no digit

    @property
    def best(self) -> np.ndarray:
        """The likeliest digit of each, (n,) int64."""
        return self.probabilities.argmax(axis=1)

    @property
    def wrong(self) -> np.ndarray:
        """Whether the likeliest digit is wrong, (n,) bool."""
        return self.best != self.labels

    @property
    def rejected(self) -> np.ndarray:
        """Whether the ink was judged to be no digit, (n,) bool."""
        return self.scores < self.threshold

    @property
    def confidence(self) -> np.ndarray:
        """The probability given to the likeliest digit, (n,) float64."""
        return self.probabilities.max(axis=1)


@dataclass(frozen=True)
class Score:
    """The figures of one set of digits."""

    digits: int  # how many were read
    errors: int  # how many of them wrongly; a digit that is also rejected counts by its likeliest digit
    error_low: float  # 95 % interval of the error rate (Wilson, 1927), in parts of one
    error_high: float
    rejected: int  # true digits judged to be none
    calibration_error: float  # expected calibration error, 15 bins, in parts of one

    @property
    def error_rate(self) -> float:
        """Errors / digits."""
        return self.errors / self.digits

    def __str__(self) -> str:
        return (
            f"{self.errors:5d} errors in {self.digits:6,d} digits = {self.error_rate:6.2%} "
            f"[{self.error_low:.2%}, {self.error_high:.2%}]   rejected {self.rejected / self.digits:.2%}   "
            f"calibration error {self.calibration_error:.2%}"
        )


def read(recognizer: Recognizer, digits: Digits | LabelledInk) -> Readings:
    """Read every digit of a split, in its order: pictures and strokes through the ink function, as the pad does."""
    shown = digits if isinstance(digits, LabelledInk) else ink_of(digits)
    probabilities, scores = recognizer.probabilities_and_scores(shown.ink)
    return Readings(shown.ink, shown.labels, probabilities, scores, recognizer.card.threshold)


def score(readings: Readings) -> Score:
    """Return the figures of readings.

    Raises ValueError when there are none.
    """
    count, errors = len(readings.labels), int(readings.wrong.sum())
    if not count:
        raise ValueError("there are no digits to score")
    low, high = error_interval(errors, count)
    calibration_error = expected_calibration_error(readings.confidence, ~readings.wrong)
    return Score(count, errors, low, high, int(readings.rejected.sum()), calibration_error)


def error_interval(errors: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of an error rate, in parts of one (Wilson, 1927, "Probable inference")."""
    interval = binomtest(errors, count).proportion_ci(confidence_level=0.95, method="wilson")
    return float(interval.low), float(interval.high)


def rate(count: int, of: int) -> tuple[float, float, float]:
    """Return count / of and both ends of its 95 % interval, in parts of one."""
    return count / of, *error_interval(count, of)


def error_rates(scores: Mapping[Any, Score]) -> dict[Any, tuple[float, float, float]]:
    """Return error rate and both ends of its interval of each score, by its name."""
    return {name: (result.error_rate, result.error_low, result.error_high) for name, result in scores.items()}


def score_record(score: Score) -> dict[str, float]:
    """Return a score as it is written to JSON."""
    return asdict(score) | {"error_rate": score.error_rate}


def score_table(scores: Mapping[str, Score]) -> str:
    """Return scores by their names as lines of text that stand below each other."""
    width = max(map(len, scores), default=0)
    lines = [f"{'':{width}}  errors  digits   error rate [95 % interval]   rejected   calibration error"]
    for name, result in scores.items():
        interval = f"{result.error_rate:7.2%} [{result.error_low:.2%}, {result.error_high:.2%}]"
        lines.append(
            f"{name:{width}}  {result.errors:6,d}  {result.digits:6,d}  {interval:27}   "
            f"{result.rejected / result.digits:8.2%}   {result.calibration_error:17.2%}"
        )
    return "\n".join(lines)


def steps_of_bundled_model() -> dict[str, Any]:
    """Return what `benchmarks/steps.py` measured: `errors` by step, set and seed, and `digits`, how many a set has."""
    return json.loads(BUNDLED_MODEL.with_name("steps.json").read_text(encoding="utf-8"))


def step_table(errors: Mapping[str, Mapping[str, Sequence[int]]], digits: Mapping[str, int]) -> str:
    """Return the error rates of some steps as lines of text, a column for each set of digits.

    Args:
        errors: by step, then by set: errors of each seed.
        digits: by set: how many digits it has.

    Returns:
        The mean over seeds, with the deviation between seeds where there are several.
    """
    width = max(map(len, errors))
    lines = [" " * width + "".join(f"  {name:>28}" for name in digits)]
    for step, by_set in errors.items():
        cells = [_mean_and_deviation(by_set.get(name, ()), count) for name, count in digits.items()]
        lines.append(f"{step:{width}}" + "".join(f"  {cell:>28}" for cell in cells))
    return "\n".join(lines)


def _mean_and_deviation(errors: Sequence[int], digits: int) -> str:
    if not errors:
        return "-"
    rates = np.array(errors) / digits
    return f"{rates.mean():.2%}" + (f" +- {rates.std(ddof=1):.2%}" if len(rates) > 1 else "")


# -------------------------------------------------------------------------------- which digits, and whose


def at_most(digits: Digits, limit: int) -> Digits:
    """Return `limit` digits, in their order; all where limit is 0. Each writer and each of their digits keeps a share.

    They are picked evenly from the set as sorted by writer and label: an even step through the original order could
    fall in step with the order in which people took turns.
    """
    if not 0 < limit < len(digits):
        return digits
    writers = np.zeros(len(digits), int) if digits.writers is None else digits.writers
    by_writer_and_label = np.lexsort((digits.labels, writers))
    return digits.take(np.sort(by_writer_and_label[np.arange(limit) * len(digits) // limit]))


def load_drawings(data_dir: str, rng: np.random.Generator, *, count: int = 1000) -> tuple[str, Digits]:
    """Return pendigits' test drawings by people whom training never saw, and their name.

    Where they cannot be had, say so, and return `count` drawings made by `digit_utils.allographs` in their place.
    """
    drawn = load_with_fallback("pendigits", fallback=None, data_dir=data_dir)
    if drawn is not None:
        return drawn.name, drawn.test
    print("Drawings made by digit_utils.allographs stand in. Training has seen their like: trust no figure on them.")
    drawings, labels = random_allographs(count, rng)
    return "allographs", Digits(labels, strokes=tuple(drawings))


def own_drawings_for(recognizer: Recognizer, path: str) -> tuple[Digits, str]:
    """Return the drawings of a .jsonl file by which a model may be judged, and what they are, in a sentence.

    A model that was trained with this file, as its card tells by the file's name or content, is judged by those that
    training holds out, every fifth of each digit: the same ones when the file has grown. Any other model is judged by
    all. Broken lines are printed.

    Raises FileNotFoundError or DatasetCorrupt when there is no drawing to be read.
    """
    own, problems = load_own_drawings(path)
    if problems:
        print(told(problems))
    data = recognizer.card.provenance.get("data", {})
    trained_with = {name: content for name, content in data.items() if name.endswith(ENDING)}
    if own.name in trained_with or own.sha256 in trained_with.values():
        count = len(own.validation)
        return own.validation, f"{count} drawings of {own.name}, every fifth of each digit, which training holds out"
    sentence = f"all {len(own.train) + len(own.validation)} drawings of {own.name}"
    if trained_with:
        sentence += f"; the model was trained with {', '.join(trained_with)}: a drawing in both was not new to it"
    return joined(own.train, own.validation), sentence


def joined(first: Digits, second: Digits) -> Digits:
    """Return the drawings of two splits as one."""
    return Digits(np.concatenate([first.labels, second.labels]), strokes=first.strokes + second.strokes)


def commonest_confusions(readings: Readings) -> tuple[list[tuple[int, int]], int]:
    """Return which labels were most often taken for which digits, all that are level, and how often each was.

    No pair and 0 times where all is right.
    """
    errors = confusion_counts(readings) * ~np.eye(10, dtype=bool)
    most = int(errors.max())
    pairs = np.argwhere(errors == most) if most else []
    return [(int(label), int(read_as)) for label, read_as in pairs], most


def confusion_counts(readings: Readings) -> np.ndarray:
    """Return how often each digit was read as each, (10, 10) int64: rows are labels, columns the likeliest digits."""
    counts = np.zeros((10, 10), np.int64)
    np.add.at(counts, (readings.labels, readings.best), 1)
    return counts


def hardest(readings: Readings, count: int) -> np.ndarray:
    """Return the places of the digits whose label got the least probability, hardest first, (count or fewer,)."""
    of_label = readings.probabilities[np.arange(len(readings.labels)), readings.labels]
    return np.argsort(of_label, kind="stable")[:count]


def group_scores(readings: Readings, groups: np.ndarray) -> dict[int, Score]:
    """Return the figures of each group, for example of each writer or of each digit; `groups` is (n,) int64."""
    return {int(group): score(_part(readings, groups == group)) for group in np.unique(groups)}


def _part(readings: Readings, chosen: np.ndarray) -> Readings:
    arrays = (readings.ink, readings.labels, readings.probabilities, readings.scores)
    return Readings(*(array[chosen] for array in arrays), readings.threshold)


def writer_interval(
    wrong: np.ndarray, writers: np.ndarray, rng: np.random.Generator, *, resamples: int = 2000
) -> tuple[float, float]:
    """Return the 95 % interval of an error rate when it is the writers that were picked at random, not the digits.

    Digits of one hand resemble each other, so n digits of a few writers say less than n digits of n writers. Whole
    writers are drawn with replacement (the bootstrap: Efron, 1979). `wrong` is (n,) bool, `writers` (n,) int64.
    """
    _, group = np.unique(writers, return_inverse=True)
    errors, counts = np.bincount(group, weights=wrong), np.bincount(group)
    drawn = rng.integers(len(counts), size=(resamples, len(counts)))
    rates = errors[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return tuple(map(float, np.quantile(rates, [0.025, 0.975])))


def bootstrap_interval(
    figure: Callable[..., float], samples: Sequence[np.ndarray], rng: np.random.Generator, *, resamples: int = 200
) -> tuple[float, float]:
    """Return a 95 % interval in [0, 1] for a figure of one or several samples, each drawn anew with replacement.

    The basic bootstrap (Davison and Hinkley, 1997): resampling pushes a calibration error upwards, and this corrects
    for it as far as the interval goes.

    Args:
        figure: takes as many arrays as there are samples and returns a number in [0, 1].
        samples: arrays; rows of one array belong together and are drawn together.
        rng: where the randomness comes from.
        resamples: how often.
    """
    values = [
        figure(*(sample[rng.integers(len(sample), size=len(sample))] for sample in samples)) for _ in range(resamples)
    ]
    high, low = 2 * figure(*samples) - np.quantile(values, [0.025, 0.975])
    return float(np.clip(low, 0, 1)), float(np.clip(high, 0, 1))


# ------------------------------------------------------------------------------------------ confidence


@dataclass(frozen=True, eq=False)
class Reliability:
    """How often the recogniser was right, by how sure it was."""

    edges: np.ndarray  # (bins + 1,) of confidence
    counts: np.ndarray  # (bins,) digits in each bin
    confidence: np.ndarray  # (bins,) mean confidence; nan where the bin is empty
    accuracy: np.ndarray  # (bins,) part that is right; nan where the bin is empty


def reliability(confidence: np.ndarray, right: np.ndarray, *, bins: int = CALIBRATION_BINS) -> Reliability:
    """Sort n readings into bins of equal width by confidence, (n,) in [0, 1]; `right` is (n,) bool."""
    edges = np.linspace(0, 1, bins + 1)
    which = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(which, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean_confidence = np.bincount(which, weights=confidence, minlength=bins) / counts
        accuracy = np.bincount(which, weights=right, minlength=bins) / counts
    return Reliability(edges, counts, mean_confidence, accuracy)


def expected_calibration_error(confidence: np.ndarray, right: np.ndarray, *, bins: int = CALIBRATION_BINS) -> float:
    """Return the mean over readings of |accuracy - confidence| of their bin (Naeini et al., 2015)."""
    sorted_in = reliability(confidence, right, bins=bins)
    gaps = np.abs(np.nan_to_num(sorted_in.accuracy - sorted_in.confidence))
    return float(gaps @ sorted_in.counts / max(1, len(confidence)))


def with_temperature(readings: Readings, temperature: float) -> Readings:
    """Return readings whose logits are divided by another temperature, relative to the one they were made with.

    The likeliest digits stay the same. With 1 / (the model's own temperature) the result is what the network says
    before calibration.
    """
    with np.errstate(divide="ignore"):  # a probability of zero stays one
        logarithms = np.log(readings.probabilities) / temperature
    return replace(readings, probabilities=softmax(logarithms))


def chance_calibration_error(confidence: np.ndarray, rng: np.random.Generator, *, draws: int = 200) -> float:
    """Return the mean calibration error that a recogniser with perfect confidence would show on as many digits.

    With few digits in a bin, even honest confidence differs from what happens to come out.
    """
    right = rng.random((draws, len(confidence))) < confidence
    return float(np.mean([expected_calibration_error(confidence, row) for row in right]))


def calibration_figures(readings: Readings, rng: np.random.Generator) -> dict[str, float]:
    """Return the calibration error with its number of digits, its 95 % interval, and what chance alone would show."""
    both = np.column_stack([readings.confidence, ~readings.wrong])

    def error(rows: np.ndarray) -> float:
        return expected_calibration_error(rows[:, 0], rows[:, 1])

    low, high = bootstrap_interval(error, [both], rng)
    by_chance = chance_calibration_error(readings.confidence, rng)
    return {"error": error(both), "low": low, "high": high, "digits": len(both), "by_chance": by_chance}


def digit_auroc(digit_scores: np.ndarray, other_scores: np.ndarray) -> float:
    """Return the probability that a digit has a higher digit score than something that is none (AUROC)."""
    is_digit = np.r_[np.ones(len(digit_scores)), np.zeros(len(other_scores))]
    return float(roc_auc_score(is_digit, np.r_[digit_scores, other_scores]))


# ------------------------------------------------------------------- the usual way, and harder digits


def naive_ink(strokes: Strokes, *, pen: float = 0.04) -> np.ndarray:
    """Do what the usual demo does: draw, crop, stretch to 20x20, pad to 28x28. For comparison only.

    Args:
        strokes: list of (n, 2) arrays, x right, y down, any unit, at least one point in all.
        pen: width of the pen, in parts of the drawing's long side.

    Returns:
        (28, 28) float32 in [0, 1]: aspect ratio and pen width are lost, and so is the centre of mass.
    """
    cleaned = clean_strokes(strokes)
    everything = np.concatenate(cleaned)
    side = BOX_SIZE * SUPERSAMPLING
    low, extent = everything.min(axis=0), max(np.ptp(everything, axis=0).max(), 1e-9)
    canvas = np.zeros((2 * side, 2 * side), np.uint8)
    for stroke in cleaned:
        points = np.round(((stroke - low) / extent * side + side / 2) * 16).astype(np.int32)
        cv2.polylines(canvas, [np.repeat(points, 2, axis=0)], False, 255, max(1, round(pen * side)), cv2.LINE_AA, 4)
    return naive_ink_of_image(canvas)


def naive_ink_of_image(image: np.ndarray) -> np.ndarray:
    """Do to a picture what the usual demo does: crop, stretch to 20x20, pad to 28x28. For comparison only.

    Args:
        image: (height, width) uint8, light ink on a page of zeros, at least one pixel of ink.

    Returns:
        (28, 28) float32 in [0, 1].
    """
    left, top, width, height = cv2.boundingRect(image)
    crop = image[top : top + height, left : left + width]
    small = cv2.resize(crop, (BOX_SIZE, BOX_SIZE), interpolation=cv2.INTER_AREA)
    return np.pad(small, (IMAGE_SIZE - BOX_SIZE) // 2).astype(np.float32) / 255


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
