"""The number head's fit: its gradient, and that it learns."""

from __future__ import annotations

import numpy as np
import pytest

from digit_utils.datasets.base import at_most
from digit_utils.recognition.lattice import log_partition
from digit_utils.recognition.numbers import FEATURES, LABELS, label_scores, readings
from digit_utils.recognition.recognizer import Recognizer
from digit_utils.training.config import DataMix
from digit_utils.training.data import make_epoch, make_training_data
from digit_utils.training.numbers import _gradients, calibrate, examples_of, fit_number_head


@pytest.fixture(scope="module")
def examples(pendigits):
    digits = at_most(pendigits.train, 1500)
    return examples_of(digits, 120, Recognizer.load(), np.random.default_rng(0), images=0.3)


def loss(batch, mean, deviation, weights) -> float:
    """The mean negative log-likelihood of the right paths."""
    total = 0.0
    for example in batch:
        inputs = ((example.features - mean) / deviation).clip(-6, 6)
        scores = np.maximum(inputs @ weights[0] + weights[1], 0) @ weights[2] + weights[3]
        scores = label_scores(scores, example.probabilities)
        total += log_partition(example.lattice, np.log(np.exp(scores).sum(axis=1)))[0]
        total -= sum(scores[row, label] for row, label in example.path)
    return total / len(batch)


def test_the_gradient_is_that_of_the_loss(examples):
    rng, batch = np.random.default_rng(1), examples[:4]
    features = np.concatenate([example.features for example in batch])
    mean, deviation = features.mean(axis=0), features.std(axis=0) + 0.1
    weights = [rng.normal(0, 0.2, shape) for shape in ((FEATURES, 6), (6,), (6, len(LABELS)), (len(LABELS),))]
    gradients = _gradients(batch, mean, deviation, weights)
    for place, gradient in enumerate(gradients):
        for _ in range(4):
            at = tuple(rng.integers(side) for side in gradient.shape)
            changed = []
            for step in (1e-5, -1e-5):
                moved = [array.copy() for array in weights]
                moved[place][at] += step
                changed.append(loss(batch, mean, deviation, moved))
            assert gradient[at] == pytest.approx((changed[0] - changed[1]) / 2e-5, abs=1e-5)


def test_the_right_path_covers_every_piece_once(examples):
    assert len(examples) >= 60
    for example in examples:
        assert example.groups[[row for row, _ in example.path]].sum(axis=0).tolist() == [1] * example.groups.shape[1]


def test_a_head_learns_to_read_what_it_is_fitted_to(examples):
    head = calibrate(fit_number_head(examples, np.random.default_rng(2), hidden=24, epochs=160), examples)
    right = []
    for example in examples:
        _, texts = readings(example.lattice, label_scores(head(example.features), example.probabilities))
        right.append(texts[0][0] == example.text.replace("_", ""))
    assert np.mean(right) > 0.9
    assert head.calibration[0] > 0


def test_wrong_groupings_are_shown_to_the_network_as_no_digits(digits8x8, pendigits):
    data = make_training_data(digits8x8, pendigits)
    without = make_epoch(data, DataMix(), np.random.default_rng(0))
    ink, targets = make_epoch(data, DataMix(wrong_groupings=25), np.random.default_rng(0))
    assert len(ink) - len(without[0]) == 25
    assert (targets.sum(axis=1) == 0).sum() == 25
    assert ink[targets.sum(axis=1) == 0].any(axis=(1, 2, 3)).all()
