"""Error rates with confidence intervals, rejection and calibration of a recogniser on a set of digits.

Every rate is counted (errors / digits, never a mean of means) and comes with its number of digits and a 95 %
interval. Image, label and prediction of a digit stay together in one `Predictions`, in the order of the dataset.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix

from digit_utils.evaluation.calibration import expected_calibration_error
from digit_utils.evaluation.intervals import error_interval, format_interval
from digit_utils.evaluation.predictions import Predictions
from digit_utils.types import NUM_CLASSES


@dataclass(frozen=True)
class Score:
    """The figures of one set of digits."""

    digits: int  # how many were read
    errors: int  # how many of them wrongly; a rejected digit counts by its most probable digit
    error_low: float  # 95 % interval of the error rate (Wilson, 1927), as a fraction
    error_high: float
    rejected: int  # how many were judged to be no digit
    calibration_error: float  # expected calibration error, 15 bins, as a fraction

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


def score(predictions: Predictions) -> Score:
    """Return the figures of predictions.

    Raises ValueError when there are none.
    """
    count, errors = len(predictions.labels), int(predictions.wrong.sum())
    if not count:
        raise ValueError("there are no digits to score")
    low, high = error_interval(errors, count)
    calibration_error = expected_calibration_error(predictions.confidence, ~predictions.wrong)
    return Score(count, errors, low, high, int(predictions.rejected.sum()), calibration_error)


def error_rates(scores: Mapping[Any, Score]) -> dict[Any, tuple[float, float, float]]:
    """Return error rate and both ends of its interval of each score, by its name."""
    return {name: (result.error_rate, result.error_low, result.error_high) for name, result in scores.items()}


def score_record(score: Score) -> dict[str, float]:
    """Return a score as it is written to JSON."""
    return asdict(score) | {"error_rate": score.error_rate}


SCORE_COLUMNS = ("", "misread", "rate", "95 % interval", "rejected")


def score_rows(scores: Mapping[str, Score]) -> list[tuple[str, ...]]:
    """Return a row of texts for each score, by its name, below SCORE_COLUMNS."""
    return [
        (
            *(name, f"{each.errors:,} of {each.digits:,}", f"{each.error_rate:.2%}"),
            *(format_interval(each.error_low, each.error_high), f"{each.rejected / each.digits:.2%}"),
        )
        for name, each in scores.items()
    ]


def commonest_confusions(predictions: Predictions) -> tuple[list[tuple[int, int]], int]:
    """Return the most frequent confusions as pairs (label, digit read), all that tie, and how often each occurred.

    Without errors: no pair, 0 times.
    """
    errors = confusion_counts(predictions) * ~np.eye(NUM_CLASSES, dtype=bool)
    most = int(errors.max())
    pairs = np.argwhere(errors == most) if most else []
    return [(int(label), int(read_as)) for label, read_as in pairs], most


def confusion_counts(predictions: Predictions) -> np.ndarray:
    """Return the confusion matrix, (10, 10) int64: rows are labels, columns the most probable digits."""
    return confusion_matrix(predictions.labels, predictions.best, labels=range(NUM_CLASSES))


def hardest(predictions: Predictions, count: int) -> np.ndarray:
    """Return the indices of the digits whose label got the least probability, hardest first, (count or fewer,)."""
    of_label = predictions.probabilities[np.arange(len(predictions.labels)), predictions.labels]
    return np.argsort(of_label, kind="stable")[:count]


def group_scores(predictions: Predictions, groups: np.ndarray) -> dict[int, Score]:
    """Return the figures of each group, for example of each writer or of each digit; `groups` is (n,) int64."""
    return {int(group): score(_part(predictions, groups == group)) for group in np.unique(groups)}


def _part(predictions: Predictions, chosen: np.ndarray) -> Predictions:
    arrays = (predictions.ink, predictions.labels, predictions.probabilities, predictions.scores)
    return Predictions(*(array[chosen] for array in arrays), predictions.threshold)
