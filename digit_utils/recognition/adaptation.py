"""Adaptation to corrections: drawings like a corrected one are read as the user labelled it, at once.

A correction shifts the network's output: the log-odds of the right digit are raised just so far that this very drawing
gets it with probability CONFIDENCE, and the log-odds of being a digit just so far that it is accepted. A drawing at
distance d in the network's feature space gets exp(-(d / KERNEL_WIDTH)^2) of that shift, in addition to those of the
other corrections. So similar drawings follow, more similar ones where the network is more certain, and drawings far
from every correction are read exactly as before. Each correction adds only what is still missing at its point, as
boosting fits residuals (Friedman, 2001, "Greedy function approximation"), so ten corrections of one form weigh no more
than needed, and of two that contradict each other the later one wins. Numbers are read with the same shifts,
because each group of strokes is first read as one digit.

KERNEL_WIDTH and CONFIDENCE were chosen on pendigits' validation writers, whose drawings were also slanted, rotated and
stretched to get enough misreadings: see benchmarks/quality/corrections.py.
"""

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from digit_utils.preprocessing.inputs import to_grayscale
from digit_utils.preprocessing.strokes import ink_from_strokes
from digit_utils.recognition.feature_maps import FeatureMaps
from digit_utils.recognition.model_file import ModelCard
from digit_utils.recognition.number_images import read_image
from digit_utils.recognition.numbers import KnownCharacters, Number, NumberReader
from digit_utils.recognition.recognizer import Prediction, Recognizer, checked_ink, logistic, predictions_of
from digit_utils.types import NUM_CLASSES, Strokes, check_digit

if TYPE_CHECKING:
    from digit_utils.preprocessing.inputs import ImageInput

KERNEL_WIDTH = 0.65  # distance at which a correction has 1/e of its effect; two digits of a class are about 1 apart
CONFIDENCE = 0.95  # probability of the right digit for a corrected drawing
DIGIT_SCORE = 0.9  # least digit score of a corrected drawing; more if the threshold is higher
MAX_CORRECTIONS = 200  # the oldest one is dropped for the next


@dataclass(frozen=True, eq=False)
class Correction:
    """What the network alone returned for a drawing, and the right digit."""

    digit: int  # 0 to 9
    features: np.ndarray = field(repr=False)  # (d,) float64
    probabilities: np.ndarray = field(repr=False)  # (10,) float64
    score: float  # digit score


@dataclass(frozen=True, eq=False)
class Shifts:
    """Points in the feature space and what is added to the log-odds near them. Without points nothing changes."""

    centres: np.ndarray  # (m, d) float64
    shifts: np.ndarray  # (m, 10) float64: of the log-odds of each digit, 0 or more
    score_shifts: np.ndarray  # (m,) float64: of the log-odds of the digit score, 0 or more

    def apply(
        self, features: np.ndarray, probabilities: np.ndarray, scores: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return shifted probabilities (n, 10), which sum to 1, and scores (n,); features are (n, d)."""
        if not len(self.centres):
            return probabilities, scores
        # |a - b|^2 as |a|^2 + |b|^2 - 2ab: the differences themselves would take memory for each digit and each centre.
        lengths = (features**2).sum(axis=1)[:, np.newaxis] + (self.centres**2).sum(axis=1)
        nearness = np.exp(-np.maximum(lengths - 2 * features @ self.centres.T, 0) / KERNEL_WIDTH**2)
        # Raising one digit's log-odds by s is multiplying its probability by exp(s), then dividing by the new sum.
        logarithms = np.log(np.maximum(probabilities, _SMALLEST)) + nearness @ self.shifts
        raised = np.exp(logarithms - logarithms.max(axis=1, keepdims=True))
        changed = raised / raised.sum(axis=1, keepdims=True)
        return changed, logistic(_log_odds(scores) + nearness @ self.score_shifts)

    def with_correction(self, correction: Correction, *, threshold: float) -> "Shifts":
        """Return these shifts and that of one more correction, which adds what they leave missing.

        `threshold` is the digit score below which a drawing counts as no digit.
        """
        centre = correction.features[np.newaxis]
        probabilities, scores = self.apply(centre, correction.probabilities[np.newaxis], np.array([correction.score]))
        shift = np.zeros((1, NUM_CLASSES))
        missing = _log_odds(CONFIDENCE) - _log_odds(probabilities[0, correction.digit])
        shift[0, correction.digit] = max(0.0, missing)
        score_shift = np.maximum(0.0, _log_odds(max(DIGIT_SCORE, (1 + threshold) / 2)) - _log_odds(scores))
        return Shifts(
            np.concatenate([self.centres.reshape(-1, centre.shape[1]), centre]),
            np.concatenate([self.shifts, shift]),
            np.concatenate([self.score_shifts, score_shift]),
        )


NO_SHIFTS = Shifts(np.empty((0, 0)), np.empty((0, NUM_CLASSES)), np.empty(0))
_SMALLEST = 1e-12  # probability; a logarithm of zero would allow no correction


def _log_odds(probability: float | np.ndarray) -> float | np.ndarray:
    clipped = np.clip(probability, _SMALLEST, 1 - _SMALLEST)
    return np.log(clipped / (1 - clipped))


class AdaptiveRecognizer:
    """A recogniser that takes corrections into account at once. Without any it reads as the one it wraps.

    Safe to share between threads. Pads that share one share its corrections.
    """

    def __init__(self, recognizer: Recognizer):
        self._recognizer = recognizer
        self._lock = threading.Lock()  # guards what follows; reading a digit needs only `_shifts`, which is immutable
        self._corrections: dict[str, Correction] = {}
        self._shifts = NO_SHIFTS
        self._numbers: NumberReader | None = None  # it keeps predictions, so each correction asks for a new one

    @property
    def card(self) -> ModelCard:
        """The card of the wrapped recogniser."""
        return self._recognizer.card

    @property
    def feature_maps(self) -> FeatureMaps:
        """The wrapped recogniser's, which corrections do not change."""
        return self._recognizer.feature_maps

    def __len__(self) -> int:
        """Return the number of corrections."""
        return len(self._corrections)

    def recognize(self, strokes: Strokes) -> Prediction:
        """Read a drawing from its strokes, as `Recognizer.recognize` does, with the corrections."""
        return self.recognize_ink(ink_from_strokes(strokes)[np.newaxis])[0]

    def recognize_number(self, strokes: Strokes, *, known: KnownCharacters | None = None) -> Number:
        """Read one line of characters, as `Recognizer.recognize_number` does, with the corrections."""
        return self._number_reader().read_strokes(strokes, known=known)

    def recognize_numbers(self, image: "ImageInput", *, channels: str = "rgb") -> list[Number]:
        """Read every number in an image, as `Recognizer.recognize_numbers` does, with the corrections."""
        return read_image(self._number_reader(), to_grayscale(image, channels=channels))

    def _number_reader(self) -> NumberReader:
        with self._lock:
            if self._numbers is None:
                self._numbers = NumberReader(self)
            return self._numbers

    def recognize_ink(self, ink: np.ndarray) -> list[Prediction]:
        """Read ink (n, 28, 28) float32 in [0, 1], with the corrections.

        Raises ValueError when the ink has another shape or values outside [0, 1].
        """
        ink = checked_ink(ink)
        return predictions_of(ink, *self.probabilities_and_scores(ink), threshold=self.card.threshold)

    def probabilities_and_scores(self, ink: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return probabilities (n, 10) and digit scores (n,) of ink (n, 28, 28). A blank page stays a blank page."""
        probabilities, scores, features = self._recognizer.probabilities_scores_and_features(ink)
        shifted, shifted_scores = self._shifts.apply(features, probabilities, scores)
        blank = ~np.asarray(ink).any(axis=(1, 2))
        shifted[blank], shifted_scores[blank] = probabilities[blank], scores[blank]
        return shifted, shifted_scores

    def add_correction(self, strokes: Strokes, digit: int, *, name: str) -> None:
        """Read this drawing, and similar ones, as `digit` from now on; it replaces a correction of the same name.

        Raises ValueError when `digit` is not a digit, or the drawing has no ink.
        """
        self.add_ink_correction(ink_from_strokes(strokes), digit, name=name)

    def add_ink_correction(self, ink: np.ndarray, digit: int, *, name: str) -> None:
        """Read this ink, (28, 28) float32 in [0, 1], as `digit` from now on; otherwise as `add_correction`."""
        digit = check_digit(digit)
        ink = checked_ink(ink[np.newaxis])
        if not ink.any():
            raise ValueError("a drawing without ink cannot be corrected")
        probabilities, scores, features = self._recognizer.probabilities_scores_and_features(ink)
        correction = Correction(digit, features[0], probabilities[0], float(scores[0]))
        with self._lock:
            is_new = name not in self._corrections and len(self._corrections) < MAX_CORRECTIONS
            self._corrections.pop(name, None)
            self._corrections[name] = correction
            if is_new:
                self._use(self._shifts.with_correction(correction, threshold=self.card.threshold))
            else:
                self._rebuild()

    def remove_correction(self, name: str) -> None:
        """Remove a correction; an unknown name changes nothing."""
        with self._lock:
            if self._corrections.pop(name, None) is not None:
                self._rebuild()

    def _rebuild(self) -> None:
        """Add all corrections again, in their order, because each adds what those before it leave missing."""
        while len(self._corrections) > MAX_CORRECTIONS:
            del self._corrections[next(iter(self._corrections))]
        shifts = NO_SHIFTS
        for correction in self._corrections.values():
            shifts = shifts.with_correction(correction, threshold=self.card.threshold)
        self._use(shifts)

    def _use(self, shifts: Shifts) -> None:
        self._shifts, self._numbers = shifts, None
