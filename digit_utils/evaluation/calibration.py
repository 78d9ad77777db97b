"""Calibration: whether predicted probabilities match observed accuracies."""

from dataclasses import dataclass, replace

import numpy as np

from digit_utils.evaluation.intervals import bootstrap_interval
from digit_utils.evaluation.predictions import Predictions
from digit_utils.recognition.recognizer import softmax

CALIBRATION_BINS = 15  # as in Guo et al., 2017
DRAWS = 200  # simulated test sets of which the calibration error by chance is the mean


@dataclass(frozen=True, eq=False)
class Reliability:
    """A reliability diagram: accuracy by confidence."""

    counts: np.ndarray  # (bins,) digits in each bin
    confidence: np.ndarray  # (bins,) mean confidence; nan where the bin is empty
    accuracy: np.ndarray  # (bins,) share that is right; nan where the bin is empty


def reliability(confidence: np.ndarray, right: np.ndarray, *, bins: int = CALIBRATION_BINS) -> Reliability:
    """Sort n predictions into bins of equal width by confidence, (n,) in [0, 1]; `right` is (n,) bool."""
    which = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(which, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean_confidence = np.bincount(which, weights=confidence, minlength=bins) / counts
        accuracy = np.bincount(which, weights=right, minlength=bins) / counts
    return Reliability(counts, mean_confidence, accuracy)


def expected_calibration_error(confidence: np.ndarray, right: np.ndarray, *, bins: int = CALIBRATION_BINS) -> float:
    """Return the mean over predictions of |accuracy - confidence| of their bin (Naeini et al., 2015)."""
    sorted_in = reliability(confidence, right, bins=bins)
    gaps = np.abs(np.nan_to_num(sorted_in.accuracy - sorted_in.confidence))
    return float(gaps @ sorted_in.counts / max(1, len(confidence)))


def with_temperature(predictions: Predictions, temperature: float) -> Predictions:
    """Return predictions whose logits are divided by another temperature, relative to the one they were made with.

    The most probable digits stay the same. With 1 / (the model's own temperature) the result is that of the
    uncalibrated network.
    """
    with np.errstate(divide="ignore"):  # a probability of zero stays zero
        logarithms = np.log(predictions.probabilities) / temperature
    return replace(predictions, probabilities=softmax(logarithms))


def chance_calibration_error(confidence: np.ndarray, rng: np.random.Generator) -> float:
    """Return the mean calibration error of a perfectly calibrated recogniser on as many digits.

    With few digits in a bin, its accuracy deviates from its confidence by chance.
    """
    right = rng.random((DRAWS, len(confidence))) < confidence
    return float(np.mean([expected_calibration_error(confidence, row) for row in right]))


def calibration_figures(predictions: Predictions, rng: np.random.Generator) -> dict[str, float]:
    """Return the calibration error with its number of digits, its 95 % interval, and its value by chance alone."""
    both = np.column_stack([predictions.confidence, ~predictions.wrong])

    def error(rows: np.ndarray) -> float:
        return expected_calibration_error(rows[:, 0], rows[:, 1])

    low, high = bootstrap_interval(error, [both], rng)
    by_chance = chance_calibration_error(predictions.confidence, rng)
    return {"error": error(both), "low": low, "high": high, "digits": len(both), "by_chance": by_chance}
