"""Rejection: how well non-digits are told from digits."""

import numpy as np
from sklearn.metrics import roc_auc_score

from digit_utils.augmentation.non_digits import STROKE_KINDS
from digit_utils.augmentation.strokes import augment_strokes
from digit_utils.evaluation.intervals import bootstrap_interval, rate
from digit_utils.preprocessing.strokes import ink_from_strokes
from digit_utils.recognition.recognizer import Recognizer


def rejection_figures(
    digit_scores: np.ndarray, other_scores: np.ndarray, *, threshold: float, rng: np.random.Generator
) -> dict[str, float]:
    """Return how well scores of digits, (n,), and of non-digits, (m,), are separated.

    Returns:
        `others` (m), how many of them were `accepted` as digits, the 95 % interval of their share, and the area under
        the ROC curve (`auroc`) with its 95 % interval.
    """
    accepted = int((other_scores >= threshold).sum())
    _, low, high = rate(accepted, len(other_scores))
    ends = bootstrap_interval(digit_auroc, [digit_scores, other_scores], rng, resamples=100)
    return {
        "others": len(other_scores),
        "accepted": accepted,
        "accepted_low": low,
        "accepted_high": high,
        "auroc": digit_auroc(digit_scores, other_scores),
        "auroc_low": ends[0],
        "auroc_high": ends[1],
    }


def accepted_by_kind(
    recognizer: Recognizer, rng: np.random.Generator, *, count: int = 200
) -> dict[str, tuple[float, float, float]]:
    """Return the share of `count` non-digits of each kind that are taken for digits, with both ends of its interval."""
    rates = {}
    for kind in STROKE_KINDS:
        ink = np.stack([ink_from_strokes(augment_strokes(kind(rng), rng)) for _ in range(count)])
        _, scores = recognizer.probabilities_and_scores(ink)
        rates[kind.__name__.replace("_", " ")] = rate(int((scores >= recognizer.card.threshold).sum()), count)
    return rates


def digit_auroc(digit_scores: np.ndarray, other_scores: np.ndarray) -> float:
    """Return the probability that a digit has a higher digit score than a non-digit (AUROC)."""
    is_digit = np.r_[np.ones(len(digit_scores)), np.zeros(len(other_scores))]
    return float(roc_auc_score(is_digit, np.r_[digit_scores, other_scores]))
