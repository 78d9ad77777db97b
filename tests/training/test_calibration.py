"""Calibration: against brute force, counting, and outputs whose calibration is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, log_softmax

from digit_utils.training.calibration import (
    MAX_ACCEPTED,
    MAX_REJECTED,
    calibrate,
    digit_scores,
    fit_confidence_weight,
    fit_temperature,
    fit_threshold,
    negative_log_likelihood,
)


def calibrated_outputs(count: int, *, temperature: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Outputs (n, 11) whose ten logits are right when divided by `temperature`, and labels drawn accordingly."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (count, 10))
    labels = np.array([rng.choice(10, p=row) for row in np.exp(log_softmax(logits, axis=1))])
    return np.column_stack([logits * temperature, rng.normal(3, 2, count)]), labels


def test_negative_log_likelihood_is_scipys():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 30, (50, 10)), rng.integers(0, 10, 50)
    expected = -log_softmax(logits, axis=1)[np.arange(50), labels].mean()
    assert negative_log_likelihood(logits, labels) == pytest.approx(expected, rel=1e-9)


def test_a_hopeless_answer_costs_much_but_not_infinitely_much():
    assert np.isfinite(negative_log_likelihood(np.array([[0.0, 5000.0]]), np.array([0])))


@pytest.mark.parametrize("temperature", [0.25, 1.0, 3.0])
def test_the_temperature_undoes_over_and_underconfidence(temperature):
    outputs, labels = calibrated_outputs(4000, temperature=temperature, seed=1)
    assert fit_temperature([outputs[:, :10]], [labels]) == pytest.approx(temperature, rel=0.08)


def test_the_temperature_is_the_best_of_a_fine_grid_and_each_set_counts_the_same():
    sets = [calibrated_outputs(300, temperature=3, seed=2), calibrated_outputs(3000, temperature=0.8, seed=3)]
    grid = np.exp(np.linspace(-1.5, 2, 701))

    def loss(temperature: float) -> float:
        total = 0.0
        for outputs, labels in sets:
            total -= log_softmax(outputs[:, :10] / temperature, axis=1)[np.arange(len(labels)), labels].mean()
        return total

    best = grid[np.argmin([loss(temperature) for temperature in grid])]
    found = fit_temperature([outputs[:, :10] for outputs, _ in sets], [labels for _, labels in sets])
    assert found == pytest.approx(best, rel=0.01)
    assert 1.2 < found < 2.8  # between the two


@pytest.mark.parametrize("count", [1, 60, 200, 1000, 2001])
def test_the_threshold_rejects_at_most_its_share_of_each_set(count):
    rng = np.random.default_rng(4)
    sets = [expit(rng.normal(3, 2, size)) for size in (count, 700)]
    threshold = fit_threshold(sets)
    rejected = [(scores < threshold).mean() for scores in sets]
    assert max(rejected) <= MAX_REJECTED
    assert count < 1000 or max(rejected) > MAX_REJECTED / 2  # it rejects something, too


def test_the_threshold_is_no_higher_than_non_digits_require():
    rng = np.random.default_rng(4)
    scores, logits = expit(rng.normal(3, 2, 2000)), rng.normal(3, 2, 1000)
    highest = fit_threshold([scores])
    for shift, limited in ((-12, True), (0, False)):
        non_digits = expit(logits + shift)
        threshold = fit_threshold([scores], non_digits)
        assert (threshold < highest) == limited
        accepted = (non_digits >= threshold).mean()
        assert accepted == MAX_ACCEPTED if limited else accepted > MAX_ACCEPTED


def sets_divided_by(weight: float, *, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Outputs (n, 11) of two sets of digits, and of non-digits: a coin with head + weight * log(probability) decides.

    The softmax of the ten logits has the probability in its first place.
    """
    rng = np.random.default_rng(seed)
    head, probability = rng.normal(2, 2, 40_000), rng.uniform(0.2, 0.999, 40_000)
    is_digit = rng.random(40_000) < expit(head - 2 + weight * (np.log(probability) + 0.6))
    logits = np.zeros((40_000, 10))
    logits[:, 0] = np.log(9 * probability / (1 - probability))
    outputs = np.column_stack([logits, head])
    digits, few = outputs[is_digit], is_digit.sum() // 20
    return [digits[:few], digits[few:]], outputs[~is_digit]


@pytest.mark.parametrize("weight", [0.5, 1.5, 4.0])
def test_the_confidence_weight_is_the_one_that_divided_digits_from_non_digits(weight):
    digits, non_digits = sets_divided_by(weight, seed=1)
    assert fit_confidence_weight(digits, non_digits, temperature=1.0) == pytest.approx(weight, rel=0.2)


@pytest.mark.parametrize("weight", [-2.0, 0.0])
def test_uninformative_confidence_has_hardly_any_weight(weight):
    digits, non_digits = sets_divided_by(weight, seed=2)
    assert 0 <= fit_confidence_weight(digits, non_digits, temperature=1.0) < 0.1


def test_a_calibration_is_the_temperature_then_the_weight_then_the_threshold():
    (first, labels), (second, more) = (calibrated_outputs(500, temperature=2, seed=seed) for seed in (5, 6))
    non_digits = calibrated_outputs(400, temperature=1, seed=7)[0] - 4
    found = calibrate([first, second], [labels, more], non_digits)
    assert found.temperature == fit_temperature([first[:, :10], second[:, :10]], [labels, more])
    weight = fit_confidence_weight([first, second], non_digits, temperature=found.temperature)
    assert found.confidence_weight == weight
    *scores, non_digit_scores = (
        digit_scores(each, temperature=found.temperature, confidence_weight=weight)
        for each in (first, second, non_digits)
    )
    assert found.threshold == fit_threshold(scores, non_digit_scores)
    without_head = calibrate([first[:, :10]], [labels])
    assert without_head.confidence_weight == 0
    probabilities = np.exp(log_softmax(first[:, :10] / without_head.temperature, axis=1))
    assert without_head.threshold == pytest.approx(fit_threshold([probabilities.max(axis=1)]))
