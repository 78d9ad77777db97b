"""Calibration: the temperature, the weight of confidence and the threshold that belong to a network.

All three are fitted to network outputs, (n, 10) or (n, 11) logits, of validation digits and non-digits. Each validation
set counts the same, whatever its size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.linear_model import LogisticRegression

from digit_utils.recognition.recognizer import digit_logits, logistic, softmax
from digit_utils.types import NUM_CLASSES

MAX_REJECTED = 0.002  # fraction of each validation set that the threshold may reject
MAX_ACCEPTED = 0.1  # fraction of the non-digits that need not be rejected: fewer would cost too many strangers' digits


@dataclass(frozen=True)
class Calibration:
    """What turns the outputs of a network into calibrated probabilities, a digit score and "no digit"."""

    temperature: float
    confidence_weight: float
    threshold: float


def calibrate(
    outputs: Sequence[np.ndarray], labels: Sequence[np.ndarray], non_digit_outputs: np.ndarray | None = None
) -> Calibration:
    """Fit the calibration of a network.

    Args:
        outputs: of each validation set's digits, (n, 10) logits, or (n, 11) of a network with a digit head.
        labels: of each validation set's digits, (n,).
        non_digit_outputs: (m, 11) of non-digits; None for a network without a digit head.
    """
    temperature = fit_temperature([each[:, :NUM_CLASSES] for each in outputs], labels)
    if non_digit_outputs is None:
        scores = [digit_scores(each, temperature=temperature) for each in outputs]
        return Calibration(temperature, 0.0, fit_threshold(scores))
    weight = fit_confidence_weight(outputs, non_digit_outputs, temperature=temperature)
    scores, non_digit_scores = (
        [digit_scores(each, temperature=temperature, confidence_weight=weight) for each in group]
        for group in (outputs, [non_digit_outputs])
    )
    return Calibration(temperature, weight, fit_threshold(scores, non_digit_scores[0]))


def digit_scores(outputs: np.ndarray, *, temperature: float, confidence_weight: float = 0.0) -> np.ndarray:
    """Return the digit scores (n,) in [0, 1] that a recogniser makes of outputs (n, 10) or (n, 11)."""
    probabilities = softmax(outputs[:, :NUM_CLASSES] / temperature)
    if outputs.shape[1] == NUM_CLASSES:
        return probabilities.max(axis=1)
    return logistic(digit_logits(outputs[:, NUM_CLASSES], probabilities, weight=confidence_weight))


def fit_temperature(logits: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> float:
    """Return the temperature with the least negative log-likelihood, the mean over sets of logits (n, 10).

    Guo et al., 2017, "On calibration of modern neural networks".
    """

    def loss(log_temperature: float) -> float:
        temperature = np.exp(log_temperature)
        return sum(negative_log_likelihood(each / temperature, of) for each, of in zip(logits, labels, strict=True))

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))


def negative_log_likelihood(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean over rows of -log(probability of the label), of (n, 10) logits and (n,) labels."""
    probabilities = softmax(logits)[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(probabilities, 1e-300)).mean())


def fit_confidence_weight(outputs: Sequence[np.ndarray], non_digit_outputs: np.ndarray, *, temperature: float) -> float:
    """Return how much log(largest probability) counts beside the digit head's logit in telling digits from non-digits.

    It is the ratio of the two coefficients of a logistic regression, to which digits and non-digits contribute equally.
    0, the head alone, where a coefficient is not positive.

    Args:
        outputs: of each validation set's digits, (n, 11).
        non_digit_outputs: (m, 11).
        temperature: of the ten digit logits.
    """
    rows = np.concatenate([_head_and_log_probability(each, temperature) for each in (*outputs, non_digit_outputs)])
    weights = [np.full(len(each), 1 / len(outputs) / len(each)) for each in outputs]
    weights = np.concatenate([*weights, np.full(len(non_digit_outputs), 1 / len(non_digit_outputs))])
    is_digit = np.arange(len(rows)) < len(rows) - len(non_digit_outputs)
    regression = LogisticRegression().fit(rows, is_digit, sample_weight=weights * len(rows) / weights.sum())
    head, log_probability = regression.coef_[0]
    return float(log_probability / head) if min(head, log_probability) > 0 else 0.0


def _head_and_log_probability(outputs: np.ndarray, temperature: float) -> np.ndarray:
    """Return the digit head's logit and the logarithm of the largest calibrated probability, (n, 2)."""
    probabilities = softmax(outputs[:, :NUM_CLASSES] / temperature)
    return np.column_stack([outputs[:, NUM_CLASSES], np.log(probabilities.max(axis=1))])


def fit_threshold(scores: Sequence[np.ndarray], non_digit_scores: np.ndarray | None = None) -> float:
    """Return the highest threshold of the digit score that rejects at most MAX_REJECTED of each validation set.

    A lower one where that suffices to accept at most MAX_ACCEPTED of the non-digits: digits of strangers score lower
    than validation digits, so the threshold should be no higher than it needs to be.
    """
    threshold = min(np.quantile(each, MAX_REJECTED, method="lower") for each in scores)
    if non_digit_scores is not None:
        threshold = min(threshold, np.quantile(non_digit_scores, 1 - MAX_ACCEPTED))
    return float(threshold)
