"""What notebook 03 reports beyond plain scores: groups, intervals that know of people, calibration, stand-ins."""

from types import SimpleNamespace

import numpy as np
import pytest

from digit_utils.datasets import base
from digit_utils.datasets.base import DatasetUnavailable, Digits
from digit_utils.datasets.own_data import load_own_data
from digit_utils.evaluation import ablation, calibration, held_out, intervals, metrics
from digit_utils.evaluation.predictions import Predictions


def readings_of(labels: list[int], best: list[int], confidence: list[float] | None = None) -> Predictions:
    """Return predictions with this likeliest digit of each; the other nine share the rest of the probability."""
    confidence = [0.91] * len(labels) if confidence is None else confidence
    probabilities = np.repeat((1 - np.array(confidence))[:, np.newaxis] / 9, 10, axis=1)
    probabilities[np.arange(len(labels)), best] = confidence
    count = len(labels)
    return Predictions(np.zeros((count, 28, 28), np.float32), np.array(labels), probabilities, np.full(count, 0.8), 0.5)


def test_in_a_subset_each_writer_and_each_digit_keeps_its_share():
    order = np.arange(400)
    images = np.stack([order // 256, order % 256], axis=1).astype(np.uint8)[:, np.newaxis]  # each knows its place
    digits = Digits(labels=order % 10, images=images, writers=order % 4)  # people took turns
    few = base.at_most(digits, 100)
    assert np.bincount(few.writers).tolist() == [25] * 4
    assert np.ptp(np.bincount(few.labels)) <= 4
    places = few.images[:, 0] @ np.array([256, 1])
    assert (np.diff(places) > 0).all()
    np.testing.assert_array_equal(few.labels, places % 10)
    np.testing.assert_array_equal(few.writers, places % 4)


def test_a_subset_of_unknown_writers_has_all_labels_and_no_limit_means_all():
    digits = Digits(np.repeat(np.arange(10), 30), images=np.zeros((300, 4, 4), np.uint8))
    assert np.bincount(base.at_most(digits, 20).labels).tolist() == [2] * 10
    assert base.at_most(digits, 0) is digits
    assert base.at_most(digits, 300) is digits
    assert len(base.at_most(digits, 299)) == 299


def test_confusions_have_labels_in_rows():
    predictions = readings_of([4, 4, 4, 7, 1], [9, 9, 4, 1, 1])
    counts = metrics.confusion_counts(predictions)
    assert counts.sum() == 5
    assert (counts[4, 9], counts[4, 4], counts[7, 1], counts[1, 1]) == (2, 1, 1, 1)
    assert metrics.commonest_confusions(predictions) == ([(4, 9)], 2)


def test_of_confusions_that_are_level_all_are_told_and_without_errors_none():
    level = readings_of([4, 4, 7, 7, 7, 1], [9, 9, 1, 7, 1, 2])
    assert metrics.commonest_confusions(level) == ([(4, 9), (7, 1)], 2)
    assert metrics.commonest_confusions(readings_of([3, 5], [3, 5])) == ([], 0)


def test_the_hardest_digits_come_in_order_of_the_probability_of_their_label():
    predictions = readings_of([1, 2, 3, 4], [1, 7, 3, 7], [0.6, 0.99, 0.95, 0.5])
    assert metrics.hardest(predictions, 3).tolist() == [1, 3, 0]
    assert len(metrics.hardest(predictions, 99)) == 4


def test_each_group_has_its_own_figures():
    scores = metrics.group_scores(readings_of([1, 1, 2, 2, 2], [1, 7, 2, 2, 2]), np.array([8, 8, 8, 5, 5]))
    assert {group: (score.errors, score.digits) for group, score in scores.items()} == {5: (0, 2), 8: (1, 3)}


def test_people_who_differ_make_the_interval_longer_than_digits_would():
    rng, writers = np.random.default_rng(0), np.repeat(np.arange(10), 100)
    one_bad_writer = writers == 3
    low, high = intervals.writer_interval(one_bad_writer, writers, rng)
    assert low == 0  # a third of all draws of ten writers leave that one out
    assert high == pytest.approx(0.3, abs=0.05)
    simple_low, simple_high = intervals.error_interval(100, 1000)
    assert low < simple_low
    assert simple_high < high


def test_where_all_people_are_alike_there_is_no_spread_between_them():
    writers = np.repeat(np.arange(5), 20)
    alike = np.tile(np.arange(20) < 2, 5)
    assert intervals.writer_interval(alike, writers, np.random.default_rng(0)) == (0.1, 0.1)


def test_the_bootstrap_interval_of_a_mean_is_that_of_theory():
    sample = (np.arange(2000) < 400).astype(float)
    low, high = intervals.bootstrap_interval(np.mean, [sample], np.random.default_rng(1), resamples=1000)
    half = 1.96 * np.sqrt(0.2 * 0.8 / 2000)
    assert low == pytest.approx(0.2 - half, abs=0.002)
    assert high == pytest.approx(0.2 + half, abs=0.002)


def test_the_bootstrap_draws_each_sample_by_itself():
    seen = []

    def figure(first: np.ndarray, second: np.ndarray) -> float:
        seen.append((len(first), len(second)))
        return 0.5

    assert intervals.bootstrap_interval(figure, [np.zeros(3), np.zeros(7)], np.random.default_rng(0)) == (0.5, 0.5)
    assert set(seen) == {(3, 7)}


def test_a_temperature_is_what_dividing_the_logits_gives():
    logits = np.array([[2.0, -1.0, 0.5, *[0.0] * 7], [0.0, 9.0, *[-2.0] * 8]])

    def softmax(values: np.ndarray) -> np.ndarray:
        return np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)

    calibrated = Predictions(np.zeros((2, 28, 28)), np.array([0, 1]), softmax(logits / 0.7), np.ones(2), 0.5)
    raw = calibration.with_temperature(calibrated, 1 / 0.7)
    np.testing.assert_allclose(raw.probabilities, softmax(logits), atol=1e-12)
    assert raw.scores is calibrated.scores


def test_a_temperature_leaves_certainty_certain():
    certain = readings_of([1], [1], [1.0])
    np.testing.assert_array_equal(calibration.with_temperature(certain, 2.0).probabilities, certain.probabilities)


def test_honest_confidence_shows_no_more_calibration_error_than_chance():
    rng = np.random.default_rng(3)
    confidence = rng.uniform(0.3, 1, 4000)
    by_chance = calibration.chance_calibration_error(confidence, rng)
    right = rng.random(4000) < confidence
    assert 0.002 < by_chance < 0.03
    assert calibration.expected_calibration_error(confidence, right) < 2 * by_chance
    assert calibration.expected_calibration_error(confidence, rng.random(4000) < confidence - 0.2) > 10 * by_chance


def test_calibration_figures_hold_the_error_and_its_interval():
    labels = [1] * 400
    predictions = readings_of(labels, [1] * 300 + [2] * 100, [0.95] * 400)  # right in 75 of 100 cases, says 95
    figures = calibration.calibration_figures(predictions, np.random.default_rng(0))
    assert figures["error"] == pytest.approx(0.2)
    assert figures["low"] == pytest.approx(0.2 - 0.042, abs=0.01)
    assert figures["high"] == pytest.approx(0.2 + 0.042, abs=0.01)
    assert figures["digits"] == 400
    assert figures["by_chance"] < 0.02


def test_rates_come_with_their_interval():
    middle, low, high = intervals.rate(5, 100)
    assert middle == 0.05
    assert (low, high) == intervals.error_interval(5, 100)
    score = metrics.score(readings_of([1, 2], [1, 3]))
    assert metrics.error_rates({"a": score}) == {"a": (0.5, score.error_low, score.error_high)}


def test_a_score_is_a_row_of_counts_rates_and_its_interval():
    score = metrics.score(readings_of([1] * 200, [1] * 199 + [7]))
    ((name, misread, rate, interval, rejected),) = metrics.score_rows({"mnist": score})
    assert (name, misread, rate, rejected) == ("mnist", "1 of 200", "0.50%", "0.00%")
    assert interval == f"[{score.error_low:.2%}, {score.error_high:.2%}]"
    assert len(metrics.SCORE_COLUMNS) == 5


def test_without_pen_strokes_drawings_made_here_stand_in_and_that_is_said(monkeypatch, capsys):
    def unavailable(*args: object, **options: object) -> None:
        raise DatasetUnavailable("pendigits is nowhere")

    monkeypatch.setattr("digit_utils.datasets.loading.load_dataset", unavailable)
    name, drawings = held_out.load_drawings("", np.random.default_rng(0), count=30)
    assert name == "allographs"
    assert len(drawings) == len(drawings.strokes) == 30
    printed = capsys.readouterr().out
    assert "pendigits is nowhere" in printed
    assert "in their place" in printed


def test_with_pen_strokes_it_is_the_test_writers_that_are_read(pendigits):
    name, drawings = held_out.load_drawings("", np.random.default_rng(0))
    assert name == "pendigits"
    np.testing.assert_array_equal(drawings.writers, pendigits.test.writers)
    assert not set(drawings.writers) & set(pendigits.train.writers)


def test_a_table_of_steps_gives_the_mean_over_seeds_and_their_deviation():
    errors = {"naive": {"pen": [30, 40, 50]}, "shipped": {"pen": [10], "scans": [4]}}
    head, naive, shipped = ablation.step_table(errors, {"pen": 1000, "scans": 400}).splitlines()
    assert head.split() == ["pen", "scans"]
    assert naive.split() == ["naive", "4.00%", "+-", "1.00%", "-"]  # nothing was read of the scans
    assert shipped.split() == ["shipped", "1.00%", "1.00%"]


def test_own_images_that_were_trained_with_are_asked_only_as_far_as_they_were_held_out(tmp_path):
    images, labels = np.random.default_rng(0).integers(0, 255, (20, 8, 8), np.uint8), np.repeat([1, 7], 10)
    np.savez(tmp_path / "mine.npz", x=images, y=labels)
    own = load_own_data(tmp_path / "mine.npz")
    for trained_with, expected, told in (
        ({}, 20, "all 20 digits of mine.npz"),
        ({"mnist": "ab12"}, 20, "all 20 digits of mine.npz"),
        ({"a copy": own.sha256}, 4, "4 digits of mine.npz, a fifth of each class, which training holds out"),
    ):
        recognizer = SimpleNamespace(card=SimpleNamespace(provenance={"data": trained_with}))
        digits, sentence = held_out.own_drawings_for(recognizer, str(tmp_path / "mine.npz"))
        assert (len(digits), sentence) == (expected, told)
    np.savez(tmp_path / "tested.npz", x_train=images, y_train=labels, x_test=images[:3], y_test=labels[:3])
    digits, sentence = held_out.own_drawings_for(recognizer, str(tmp_path / "tested.npz"))
    assert (len(digits), sentence) == (3, "the 3 test digits of tested.npz")
