"""Predictions of many digits, together with what was shown and what is right."""

from dataclasses import dataclass

import numpy as np

from digit_utils.datasets.base import Digits
from digit_utils.datasets.ink import LabelledInk, ink_of
from digit_utils.recognition.recognizer import Recognizer


@dataclass(frozen=True, eq=False)
class Predictions:
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


def predict(recognizer: Recognizer, digits: Digits | LabelledInk) -> Predictions:
    """Read every digit of a split, in its order: pictures and strokes through the ink function, as the pad does."""
    shown = digits if isinstance(digits, LabelledInk) else ink_of(digits)
    probabilities, scores = recognizer.probabilities_and_scores(shown.ink)
    return Predictions(shown.ink, shown.labels, probabilities, scores, recognizer.card.threshold)
