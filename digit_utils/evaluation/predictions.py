"""Predictions for many digits, together with their ink and labels."""

from dataclasses import dataclass

import numpy as np

from digit_utils.datasets.base import Digits
from digit_utils.datasets.ink import LabelledInk, ink_of
from digit_utils.recognition.recognizer import Recognizer


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions for n digits, with their ink and labels."""

    ink: np.ndarray  # (n, 28, 28) float32 in [0, 1]
    labels: np.ndarray  # (n,) int64
    probabilities: np.ndarray  # (n, 10) float64, rows sum to 1
    scores: np.ndarray  # (n,) float64 in [0, 1], probability that the ink is a digit at all
    threshold: float  # a score below it means "no digit"

    @property
    def best(self) -> np.ndarray:
        """The most probable digits, (n,) int64."""
        return self.probabilities.argmax(axis=1)

    @property
    def wrong(self) -> np.ndarray:
        """Whether the most probable digit is wrong, (n,) bool."""
        return self.best != self.labels

    @property
    def rejected(self) -> np.ndarray:
        """Whether the ink was judged to be no digit, (n,) bool."""
        return self.scores < self.threshold

    @property
    def confidence(self) -> np.ndarray:
        """The probability of the most probable digit, (n,) float64."""
        return self.probabilities.max(axis=1)


def predict(recognizer: Recognizer, digits: Digits | LabelledInk) -> Predictions:
    """Read every digit of a split, in its order, with the same preprocessing as on the pad."""
    shown = digits if isinstance(digits, LabelledInk) else ink_of(digits)
    probabilities, scores = recognizer.probabilities_and_scores(shown.ink)
    return Predictions(shown.ink, shown.labels, probabilities, scores, recognizer.card.threshold)
