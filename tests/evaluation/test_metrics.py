"""Evaluation against counting by hand, slow loops and brute force."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from digit_utils.datasets.base import Digits
from digit_utils.datasets.drawings import LabelledDrawing, append_drawing
from digit_utils.datasets.ink import LabelledInk, ink_of
from digit_utils.datasets.loading import load_dataset
from digit_utils.evaluation.calibration import expected_calibration_error, reliability
from digit_utils.evaluation.held_out import own_drawings_for
from digit_utils.evaluation.intervals import error_interval
from digit_utils.evaluation.metrics import confusion_counts, score, score_record
from digit_utils.evaluation.naive import naive_ink, naive_ink_of_image
from digit_utils.evaluation.predictions import Predictions, predict
from digit_utils.evaluation.rejection import digit_auroc
from digit_utils.evaluation.robustness import resampled, rotated, slanted
from digit_utils.preprocessing.strokes import ink_from_strokes
from digit_utils.recognition.model_file import ModelCard
from digit_utils.recognition.recognizer import Recognizer

pytestmark = pytest.mark.filterwarnings("error")

SEVEN = [np.array([[0, 0], [60, 2], [40, 45], [22, 100]], float), np.array([[15, 50], [55, 46]], float)]


def random_readings(count: int = 523, *, seed: int = 0) -> Predictions:
    """Predictions of digits, about three in four of them right."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, count)
    logits = rng.normal(0, 1, (count, 10))
    logits[np.arange(count), labels] += 2.2
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Predictions(np.ones((count, 28, 28), np.float32), labels, probabilities, rng.random(count), 0.05)


def wilson(errors: int, count: int) -> tuple[float, float]:
    """The interval as Wilson gave it in 1927, for 95 %."""
    z = 1.959963984540054
    rate = errors / count
    middle = (rate + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(rate * (1 - rate) / count + z * z / (4 * count**2))
    return middle - half, middle + half


# ------------------------------------------------------------------------------------------------------------
# Reading and counting


@pytest.mark.parametrize("count", [1, 255, 257, 300])
def test_every_digit_is_read_in_its_order_also_the_last_few(exports, digits8x8, count):
    recognizer = Recognizer.load(exports["large_cnn"])
    digits = digits8x8.test.take(slice(count))
    predictions = predict(recognizer, digits)
    assert np.array_equal(predictions.labels, digits.labels)
    assert len(predictions.best) == len(predictions.rejected) == score(predictions).digits == count
    for index in {0, count // 2, count - 1}:
        prediction = recognizer.recognize_image(digits.images[index])
        assert np.array_equal(predictions.ink[index], prediction.image)
        assert predictions.probabilities[index] == pytest.approx(prediction.probabilities, abs=1e-5)
        assert predictions.scores[index] == pytest.approx(prediction.digit_score, abs=1e-5)
        assert predictions.rejected[index] == (prediction.digit is None)


def test_strokes_pictures_and_their_ink_can_be_read(exports, digits8x8):
    recognizer = Recognizer.load(exports["simple_cnn"])
    by_picture, by_ink = (predict(recognizer, digits) for digits in (digits8x8.test, ink_of(digits8x8.test)))
    assert np.array_equal(by_picture.probabilities, by_ink.probabilities)
    drawn = predict(recognizer, Digits(labels=np.array([7, 7]), strokes=(SEVEN, [stroke * 3 + 5 for stroke in SEVEN])))
    assert drawn.ink.shape == (2, 28, 28)
    assert drawn.probabilities[0] == pytest.approx(drawn.probabilities[1], abs=0.05)


def test_a_blank_page_is_read_as_on_the_pad(exports):
    recognizer = Recognizer.load(exports["large_cnn"])
    predictions = predict(recognizer, LabelledInk(np.zeros((1, 28, 28), np.float32), np.array([4])))
    assert predictions.rejected.tolist() == [True]
    assert predictions.scores.tolist() == [recognizer.recognize([]).digit_score]


def test_figures_are_counted_digit_by_digit():
    predictions = random_readings()
    errors = rejected = 0
    for label, probabilities, digit_score in zip(
        predictions.labels, predictions.probabilities, predictions.scores, strict=True
    ):
        errors += max(range(10), key=probabilities.__getitem__) != label
        rejected += digit_score < 0.05
    figures = score(predictions)
    assert (figures.digits, figures.errors, figures.rejected) == (523, errors, rejected)
    assert figures.error_rate == errors / 523
    assert (figures.error_low, figures.error_high) == pytest.approx(wilson(errors, 523))
    assert 0.1 < figures.error_rate < 0.4
    assert rejected > 10


def test_a_score_as_text_and_as_a_record():
    figures = score(random_readings())
    record = score_record(figures)
    assert record["errors"] / record["digits"] == record["error_rate"]
    assert set(record) >= {"error_low", "error_high", "rejected", "calibration_error"}
    assert f"{figures.errors} errors in    523 digits" in str(figures)
    assert f"{100 * figures.error_rate:.2f}%" in str(figures)


def test_nothing_to_score_is_an_error():
    with pytest.raises(ValueError, match="no digits to score"):
        score(random_readings(0))


def test_a_digit_on_the_threshold_is_not_rejected():
    predictions = random_readings(3)
    edge = Predictions(
        predictions.ink, predictions.labels, predictions.probabilities, np.array([0.0499999, 0.05, 1.0]), 0.05
    )
    assert edge.rejected.tolist() == [True, False, False]


@pytest.mark.parametrize(("errors", "count"), [(0, 1), (1, 1), (0, 10_000), (25, 10_000), (7, 50), (10_000, 10_000)])
def test_intervals_are_wilsons(errors, count):
    low, high = error_interval(errors, count)
    assert (low, high) == pytest.approx(wilson(errors, count), abs=1e-12)
    assert 0 <= low <= errors / count <= high <= 1


def test_a_wilson_interval_from_the_literature():
    # Newcombe, 1998, "Two-sided confidence intervals for the single proportion", table I, method 3.
    assert error_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert error_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert error_interval(0, 20) == pytest.approx((0.0000, 0.1611), abs=5e-5)


def test_confusions_are_counted():
    predictions = random_readings()
    by_hand = [[0] * 10 for _ in range(10)]
    for label, best in zip(predictions.labels, predictions.probabilities.argmax(axis=1), strict=True):
        by_hand[label][best] += 1
    counts = confusion_counts(predictions)
    assert counts.tolist() == by_hand
    assert counts.sum() - np.trace(counts) == score(predictions).errors


# ------------------------------------------------------------------------------------------------------------
# One's own drawings


@pytest.fixture
def drawings(tmp_path) -> Path:
    """Five ones and a three, in a file."""
    return add_drawings(tmp_path / "a.jsonl", 1, 1, 1, 1, 1, 3)


def add_drawings(path: Path, *digits: int) -> Path:
    for place, digit in enumerate(digits):
        append_drawing(path, LabelledDrawing([stroke + 3 * place for stroke in SEVEN], digit))
    return path


def trained_with(path: Path) -> SimpleNamespace:
    own = load_dataset(str(path))
    return SimpleNamespace(card=ModelCard(provenance={"data": {"mnist": "ab", own.name: own.sha256}}))


def test_a_model_that_no_file_of_drawings_trained_is_judged_by_all(drawings):
    asked, told = own_drawings_for(SimpleNamespace(card=ModelCard()), str(drawings))
    assert sorted(asked.labels.tolist()) == [1, 1, 1, 1, 1, 3]
    assert told == "all 6 drawings of a.jsonl"


@pytest.mark.parametrize(
    ("name", "more"),
    [("a.jsonl", ()), ("a.jsonl", (3, 3, 3, 3, 8)), ("renamed.jsonl", ())],
    ids=["as it was", "grown", "renamed"],
)
def test_a_model_is_judged_by_what_training_with_the_file_holds_out(drawings, name, more):
    model = trained_with(drawings)
    path = add_drawings(drawings.rename(drawings.with_name(name)), *more)
    asked, told = own_drawings_for(model, str(path))
    assert asked.labels.tolist() == [1, 3][: 1 + bool(more)]
    assert told == f"{len(asked)} drawings of {name}, every fifth of each digit, which training holds out"


def test_a_model_is_judged_by_all_of_another_file_than_it_was_trained_with(drawings, tmp_path):
    other = add_drawings(tmp_path / "b.jsonl", *5 * [2], 4)
    asked, told = own_drawings_for(trained_with(drawings), str(other))
    assert sorted(asked.labels.tolist()) == [2, 2, 2, 2, 2, 4]
    assert told == (
        "all 6 drawings of b.jsonl; the model was trained with a.jsonl: a drawing in both was not new to it"
    )


# ------------------------------------------------------------------------------------------------------------
# Confidence


def slow_calibration_error(confidence: list[float], right: list[bool], bins: int) -> float:
    """The definition, bin by bin and digit by digit."""
    total = 0.0
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        inside = [i for i, value in enumerate(confidence) if low < value <= high or (number == 0 and value == 0)]
        if inside:
            mean_confidence = sum(confidence[i] for i in inside) / len(inside)
            accuracy = sum(right[i] for i in inside) / len(inside)
            total += len(inside) / len(confidence) * abs(accuracy - mean_confidence)
    return total


@pytest.mark.parametrize("bins", [1, 4, 15])
def test_the_calibration_error_is_that_of_a_slow_loop(bins):
    predictions = random_readings()
    right = ~predictions.wrong
    expected = slow_calibration_error(predictions.confidence.tolist(), right.tolist(), bins)
    assert expected_calibration_error(predictions.confidence, right, bins=bins) == pytest.approx(expected, abs=1e-12)
    if bins == 15:
        assert score(predictions).calibration_error == pytest.approx(expected, abs=1e-12)


def test_calibration_errors_that_one_can_work_out():
    always = np.ones(8, bool)
    assert expected_calibration_error(np.ones(8), always) == 0
    assert expected_calibration_error(np.ones(8), ~always) == 1
    assert expected_calibration_error(np.full(4, 0.9), np.array([1, 1, 1, 0], bool)) == pytest.approx(0.15)
    # Too sure by 0.2 in one bin, not sure enough by 0.1 in another: they do not cancel out.
    confidence, right = np.repeat([0.95, 0.65], [4, 4]), np.array([1, 1, 1, 0, 1, 1, 1, 0], bool)
    assert expected_calibration_error(confidence, right) == pytest.approx((0.2 + 0.1) / 2)


def test_readings_are_sorted_into_bins_that_hold_their_upper_edge():
    found = reliability(np.array([0.0, 0.25, 0.2500001, 1.0]), np.array([0, 1, 1, 1], bool), bins=4)
    assert found.counts.tolist() == [2, 1, 0, 1]
    assert found.accuracy == pytest.approx([0.5, 1, np.nan, 1], nan_ok=True)
    assert found.confidence == pytest.approx([0.125, 0.2500001, np.nan, 1], nan_ok=True)


def test_auroc_is_the_part_of_pairs_in_the_right_order():
    rng = np.random.default_rng(0)
    digits, others = rng.normal(1, 1, 60).round(1), rng.normal(0, 1, 45).round(1)  # rounded: with ties
    pairs = [(a > b) + 0.5 * (a == b) for a in digits for b in others]
    assert digit_auroc(digits, others) == pytest.approx(np.mean(pairs))
    assert digit_auroc(np.array([0.9, 0.8]), np.array([0.1])) == 1
    assert digit_auroc(np.array([0.1]), np.array([0.9, 0.8])) == 0


# ------------------------------------------------------------------------------------------------------------
# The usual way, and harder digits


def test_the_usual_way_stretches_whatever_was_drawn_to_the_whole_box():
    slim, wide = ([np.array([[0, 0], [3, 50], [0, 100]], float)], [np.array([[0, 0], [100, 4]], float)])
    for strokes in (slim, wide, SEVEN):
        ink = naive_ink(strokes)
        rows, columns = np.nonzero(ink > 0.01)
        assert (ink.shape, ink.dtype) == ((28, 28), np.float32)
        assert [rows.min(), rows.max(), columns.min(), columns.max()] == [4, 23, 4, 23]
        assert 0 <= ink.min() <= ink.max() <= 1
    rows, columns = np.nonzero(ink_from_strokes(slim) > 0.01)
    assert np.ptp(columns) < 6  # the right way keeps it slim


def test_the_pen_of_the_usual_way_depends_on_the_shape():
    level = np.array([[0, 0], [100, 0]], float)
    assert naive_ink([level]).mean() > 0.4  # one level line fills the box
    assert naive_ink([level, level + np.array([0, 100])]).mean() < 0.2


def test_a_dot_is_stretched_too():
    assert naive_ink([np.array([[5, 5]])])[4:24, 4:24].mean() > 0.5


def test_the_usual_way_does_the_same_to_scans():
    one = np.zeros((28, 28), np.uint8)
    one[4:24, 13:15] = 200
    assert np.array_equal(naive_ink_of_image(one), np.pad(np.full((20, 20), np.float32(200 / 255)), 4))
    full = np.arange(1, 401, dtype=np.uint16).reshape(20, 20) // 2 + 1
    scan = np.pad(full.astype(np.uint8), ((0, 8), (5, 3)))
    assert np.array_equal(naive_ink_of_image(scan)[4:24, 4:24] * 255, full)  # fills the box already: only moved


def test_slant_is_to_the_right_and_by_the_angle():
    upright = [np.array([[0.0, -10.0], [0.0, 10.0]])]
    top, foot = slanted(upright, degrees=20)[0]
    assert top[0] > foot[0]
    assert math.degrees(math.atan2(top[0] - foot[0], foot[1] - top[1])) == pytest.approx(20)
    assert [top[1], foot[1]] == [-10, 10]


def test_turning_is_clockwise_on_the_page():
    # From three o'clock, a quarter turn clockwise leads to six: down, where y grows.
    assert rotated([np.array([[1.0, 0.0]])], degrees=90)[0] == pytest.approx(np.array([[0, 1]]), abs=1e-12)
    turned = rotated(SEVEN, degrees=33)
    for before, after in zip(SEVEN, turned, strict=True):
        assert np.hypot(*np.diff(after, axis=0).T) == pytest.approx(np.hypot(*np.diff(before, axis=0).T))


@pytest.mark.parametrize("points", [10, 100, 1000])
def test_resampled_strokes_have_so_many_points_evenly_along_the_same_path(points):
    found = resampled(SEVEN, points=points)
    assert sum(map(len, found)) == pytest.approx(points, abs=2)
    steps = np.concatenate([np.hypot(*np.diff(stroke, axis=0).T) for stroke in found])
    if points > 10:
        assert np.median(steps) == pytest.approx(steps.max(), rel=0.1)
    for before, after in zip(SEVEN, found, strict=True):
        assert after[[0, -1]] == pytest.approx(before[[0, -1]])
        pieces = pairwise(before)
        distance = np.min([distance_to_piece(after, *piece) for piece in pieces], axis=0)
        assert distance.max() < 1e-9


def distance_to_piece(points: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    along = np.clip((points - start) @ (end - start) / ((end - start) @ (end - start)), 0, 1)
    return np.hypot(*(points - start - along[:, np.newaxis] * (end - start)).T)


def test_dots_and_resting_pens_are_resampled_too():
    dot, resting = resampled([[[3, 4]], [[1, 1], [1, 1], [5, 1]]], points=6)
    assert np.unique(dot, axis=0).tolist() == [[3, 4]]
    assert np.isfinite(resting).all()
    assert resampled([], points=6) == []
