"""A small memory of corrected drawings: what is like one of them is read as its owner said, at once.

A correction shifts what the network says: the log-odds of the digit that the drawing was meant to be are raised just so
far that this very drawing is read with CONFIDENCE, and those of "is it a digit at all" just so far that it passes. A
drawing at distance d in the network's feature space gets exp(-(d / KERNEL_WIDTH)^2) of that shift, in addition to
those of the other remembered ones. So a form like the corrected one follows it, one that the network is sure about
needs to be much closer, and what is far from every correction is read exactly as before. Each correction adds only
what is still missing where it stands (as boosting fits residuals: Friedman, 2001), so ten corrections of one form
weigh no more than needed, and of two that contradict each other the later one wins.

KERNEL_WIDTH and CONFIDENCE were chosen on pendigits' validation writers, whose hands were also slanted, turned,
stretched and slimmed to get enough misreadings to learn from: see benchmarks/corrections.py.
"""

import threading
from dataclasses import dataclass, field

import numpy as np

from digit_utils.preprocessing.strokes import ink_from_strokes
from digit_utils.recognition.model_file import ModelCard
from digit_utils.recognition.recognizer import Prediction, Recognizer, logistic, predictions_of
from digit_utils.types import NUM_CLASSES, Strokes, check_digit

KERNEL_WIDTH = 0.65  # distance at which a correction has 1/e of its effect; two digits of a class are about 1 apart
CONFIDENCE = 0.95  # probability with which a corrected drawing is read as what it is
DIGIT_SCORE = 0.9  # that a corrected drawing has at least; more where the threshold is higher
MAX_CORRECTIONS = 200  # corrections; the oldest one is forgotten for the next


@dataclass(frozen=True, eq=False)
class Correction:
    """A drawing as the network alone saw it, and what it is meant to be."""

    digit: int  # 0 to 9
    features: np.ndarray = field(repr=False)  # (d,) float64
    probabilities: np.ndarray = field(repr=False)  # (10,) float64
    score: float  # digit score


@dataclass(frozen=True, eq=False)
class Shifts:
    """Remembered places in the feature space, and what is added near them. An empty one changes nothing."""

    places: np.ndarray  # (m, d) float64
    shifts: np.ndarray  # (m, 10) float64: of the log-odds of each digit, 0 or more
    score_shifts: np.ndarray  # (m,) float64: of the log-odds of the digit score, 0 or more

    def apply(
        self, features: np.ndarray, probabilities: np.ndarray, scores: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return probabilities (n, 10), sum 1, and scores (n,) as the corrections have them; features are (n, d)."""
        if not len(self.places):
            return probabilities, scores
        # |a - b|^2 as |a|^2 + |b|^2 - 2ab: the differences themselves would take memory for each digit and each place.
        lengths = (features**2).sum(axis=1)[:, np.newaxis] + (self.places**2).sum(axis=1)
        nearness = np.exp(-np.maximum(lengths - 2 * features @ self.places.T, 0) / KERNEL_WIDTH**2)
        # Raising one digit's log-odds by s is multiplying its probability by exp(s), then dividing by the new sum.
        logarithms = np.log(np.maximum(probabilities, _SMALLEST)) + nearness @ self.shifts
        raised = np.exp(logarithms - logarithms.max(axis=1, keepdims=True))
        changed = raised / raised.sum(axis=1, keepdims=True)
        return changed, logistic(_log_odds(scores) + nearness @ self.score_shifts)

    def with_correction(self, correction: Correction, *, threshold: float) -> "Shifts":
        """Return what these add together with one more correction: it adds what they leave missing.

        `threshold` is the digit score below which a drawing counts as no digit.
        """
        place = correction.features[np.newaxis]
        probabilities, scores = self.apply(place, correction.probabilities[np.newaxis], np.array([correction.score]))
        shift = np.zeros((1, NUM_CLASSES))
        missing = _log_odds(CONFIDENCE) - _log_odds(probabilities[0, correction.digit])
        shift[0, correction.digit] = max(0.0, missing)
        score_shift = np.maximum(0.0, _log_odds(max(DIGIT_SCORE, (1 + threshold) / 2)) - _log_odds(scores))
        return Shifts(
            np.concatenate([self.places.reshape(-1, place.shape[1]), place]),
            np.concatenate([self.shifts, shift]),
            np.concatenate([self.score_shifts, score_shift]),
        )


NO_SHIFTS = Shifts(np.empty((0, 0)), np.empty((0, NUM_CLASSES)), np.empty(0))
_SMALLEST = 1e-12  # probability; a logarithm of zero would allow no correction


def _log_odds(probability: float | np.ndarray) -> float | np.ndarray:
    clipped = np.clip(probability, _SMALLEST, 1 - _SMALLEST)
    return np.log(clipped / (1 - clipped))


class AdaptiveRecognizer:
    """A recogniser that learns from corrections at once. Without any it reads as the one that it is made of.

    Safe to share between threads. Pads that share one share its memory.
    """

    def __init__(self, recognizer: Recognizer):
        self._recognizer = recognizer
        self._lock = threading.Lock()  # guards the corrections; reading needs only `_shifts`, which is never changed
        self._corrections: dict[str, Correction] = {}
        self._shifts = NO_SHIFTS

    @property
    def card(self) -> ModelCard:
        """What is known about the network."""
        return self._recognizer.card

    def __len__(self) -> int:
        """Return how many corrections are remembered."""
        return len(self._corrections)

    def recognize(self, strokes: Strokes) -> Prediction:
        """Read a drawing from its strokes, as `Recognizer.recognize` does, in the light of the corrections."""
        return self.recognize_ink(ink_from_strokes(strokes)[np.newaxis])[0]

    def recognize_ink(self, ink: np.ndarray) -> list[Prediction]:
        """Read ink (n, 28, 28) float32 in [0, 1], in the light of the corrections."""
        ink = np.asarray(ink, np.float32)
        return predictions_of(ink, *self.probabilities_and_scores(ink), threshold=self.card.threshold)

    def probabilities_and_scores(self, ink: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return probabilities (n, 10) and digit scores (n,) of ink (n, 28, 28). A blank page stays a blank page."""
        probabilities, scores = self._recognizer.probabilities_and_scores(ink)
        shifts = self._shifts
        if not len(shifts.places):
            return probabilities, scores
        written = np.asarray(ink).any(axis=(1, 2))
        features = self._recognizer.features(ink)[written]
        probabilities[written], scores[written] = shifts.apply(features, probabilities[written], scores[written])
        return probabilities, scores

    def learn(self, strokes: Strokes, digit: int, *, name: str) -> None:
        """Remember what a drawing is meant to be; a later call with the same name takes the place of the earlier one.

        Raises ValueError when the digit is none, or the drawing has no ink.
        """
        digit = check_digit(digit)
        ink = ink_from_strokes(strokes)[np.newaxis]
        if not ink.any():
            raise ValueError("there is nothing to learn from a drawing without ink")
        probabilities, scores = self._recognizer.probabilities_and_scores(ink)
        features = self._recognizer.features(ink)[0]
        correction = Correction(digit, features, probabilities[0], float(scores[0]))
        with self._lock:
            is_new = name not in self._corrections and len(self._corrections) < MAX_CORRECTIONS
            self._corrections.pop(name, None)
            self._corrections[name] = correction
            if is_new:
                self._shifts = self._shifts.with_correction(correction, threshold=self.card.threshold)
            else:
                self._renew()

    def forget(self, name: str) -> None:
        """Take a correction back; a name that is not known changes nothing."""
        with self._lock:
            if self._corrections.pop(name, None) is not None:
                self._renew()

    def _renew(self) -> None:
        """Take in all corrections anew, in their order, because each adds what those before it leave missing."""
        while len(self._corrections) > MAX_CORRECTIONS:
            del self._corrections[next(iter(self._corrections))]
        shifts = NO_SHIFTS
        for correction in self._corrections.values():
            shifts = shifts.with_correction(correction, threshold=self.card.threshold)
        self._shifts = shifts
