"""The memory of corrections: arithmetic by hand, promises on real people's strokes."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace

import cv2
import numpy as np
import pytest

from digit_utils.datasets.samples import sample_digits
from digit_utils.preprocessing.strokes import ink_from_strokes
from digit_utils.recognition.adaptation import (
    CONFIDENCE,
    DIGIT_SCORE,
    KERNEL_WIDTH,
    MAX_CORRECTIONS,
    NO_SHIFTS,
    AdaptiveRecognizer,
    Correction,
)
from digit_utils.recognition.model_file import read_model_file
from digit_utils.recognition.recognizer import Recognizer

ONE = np.array([0.02, 0.9, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01])
SAMPLES = sample_digits(side=400)


def seen_at(*place, probabilities=ONE, score=0.99, digit=7) -> Correction:
    return Correction(digit, np.array(place, float), probabilities, score)


def at(shifts, *place, probabilities=ONE, score=0.99):
    changed, scores = shifts.apply(np.array([place], float), probabilities[np.newaxis], np.array([score]))
    return changed[0], scores[0]


# ------------------------------------------------------------------------------------------------------------
# Arithmetic


def test_without_a_correction_nothing_changes():
    probabilities, score = at(NO_SHIFTS, 3.0, 4.0)
    assert np.array_equal(probabilities, ONE)
    assert score == 0.99


def test_the_corrected_drawing_itself_is_read_as_told_and_probabilities_stay_probabilities():
    shifts = NO_SHIFTS.with_correction(seen_at(0, 0), threshold=0.1)
    probabilities, score = at(shifts, 0, 0)
    assert probabilities[7] == pytest.approx(CONFIDENCE)
    assert probabilities.sum() == pytest.approx(1, abs=1e-12)
    assert probabilities[1] / probabilities[2] == pytest.approx(90)  # among the rest, the odds stay
    assert score == pytest.approx(0.99)  # it was sure enough of a digit before


def test_the_effect_falls_with_the_distance_as_the_bell_curve_does():
    shifts = NO_SHIFTS.with_correction(seen_at(0, 0), threshold=0.1)

    def log_odds(probability):
        return np.log(probability / (1 - probability))

    full = log_odds(CONFIDENCE) - log_odds(0.01)
    for distance in (0.1, 0.5, KERNEL_WIDTH, 1.0, 2.0):
        probabilities, _ = at(shifts, 0, distance)
        expected = log_odds(0.01) + full * np.exp(-((distance / KERNEL_WIDTH) ** 2))
        assert log_odds(probabilities[7]) == pytest.approx(expected)
    far, score = at(shifts, 5, 5)
    assert far == pytest.approx(ONE, abs=1e-12)
    assert score == pytest.approx(0.99)


def test_what_the_network_is_surer_about_must_be_closer_to_follow():
    shifts = NO_SHIFTS.with_correction(seen_at(0, 0), threshold=0.1)
    sure = np.array([1e-6, 1 - 9e-6, *[1e-6] * 8])
    assert at(shifts, 0, 0.3)[0].argmax() == 7
    assert at(shifts, 0, 0.3, probabilities=sure)[0].argmax() == 1


def test_a_second_correction_of_the_same_form_adds_only_what_is_missing():
    once = NO_SHIFTS.with_correction(seen_at(0, 0), threshold=0.1)
    many = once
    for _ in range(20):
        many = many.with_correction(seen_at(0, 0), threshold=0.1)
    for distance in (0.0, 0.4, 0.8):
        assert at(many, 0, distance)[0] == pytest.approx(at(once, 0, distance)[0])


def test_of_two_that_contradict_each_other_the_later_wins_where_it_stands_and_the_earlier_where_it_does():
    shifts = NO_SHIFTS.with_correction(seen_at(0, 0), threshold=0.1)
    assert at(shifts, 0, 0.2)[0].argmax() == 7
    shifts = shifts.with_correction(seen_at(0, 0.2, digit=1), threshold=0.1)
    assert at(shifts, 0, 0.2)[0][1] == pytest.approx(CONFIDENCE)
    assert at(shifts, 0, -0.6)[0][7] > at(shifts, 0, 0.2)[0][7]


def test_a_form_that_was_turned_away_becomes_a_digit_and_its_neighbours_too():
    for threshold in (0.05, 0.97):
        shifts = NO_SHIFTS.with_correction(seen_at(0, 0, score=0.001), threshold=threshold)
        assert at(shifts, 0, 0, score=0.001)[1] == pytest.approx(max(DIGIT_SCORE, (1 + threshold) / 2))
        assert at(shifts, 0, 0.1, score=0.001)[1] > threshold
        assert at(shifts, 0, 3, score=0.001)[1] == pytest.approx(0.001)


@pytest.mark.parametrize("probabilities", [np.eye(10)[1], np.full(10, 0.1)])
@pytest.mark.parametrize("score", [0.0, 1.0])
def test_certainty_and_its_absence_do_not_break_the_arithmetic(probabilities, score):
    correction = seen_at(0, 0, probabilities=probabilities, score=score)
    shifts = NO_SHIFTS.with_correction(correction, threshold=0.1)
    changed, changed_score = at(shifts, 0, 0, probabilities=probabilities, score=score)
    assert changed[7] == pytest.approx(CONFIDENCE, abs=1e-3)
    assert changed.sum() == pytest.approx(1)
    assert 0 <= changed_score <= 1


# ------------------------------------------------------------------------------------------------------------
# On real strokes, with the bundled model


@pytest.fixture
def recognizer() -> AdaptiveRecognizer:
    return AdaptiveRecognizer(Recognizer.load())


@pytest.fixture(scope="module")
def hard_hand(pendigits):
    """The validation writer of whom the bundled model misreads most, slanted further: strokes and labels."""
    from digit_utils.evaluation.robustness import slanted

    plain, validation = Recognizer.load(), pendigits.validation
    strokes = [slanted(each, degrees=40) for each in validation.strokes]
    ink = np.stack([ink_from_strokes(each) for each in strokes])
    wrong = plain.probabilities_and_scores(ink)[0].argmax(axis=1) != validation.labels
    writer = np.bincount(validation.writers[wrong]).argmax()
    own = np.flatnonzero(validation.writers == writer)
    return ink[own], [strokes[place] for place in own], validation.labels[own]


def test_before_any_correction_it_reads_as_the_recogniser_does(recognizer, hard_hand):
    ink, strokes, _ = hard_hand
    plain = Recognizer.load()
    for first, second in zip(
        recognizer.probabilities_and_scores(ink), plain.probabilities_and_scores(ink), strict=True
    ):
        assert np.array_equal(first, second)
    assert recognizer.recognize(strokes[0]).digit == plain.recognize(strokes[0]).digit
    assert recognizer.card == plain.card
    assert len(recognizer) == 0


def test_after_a_few_corrections_the_same_hand_is_read_better_and_nothing_that_was_right_is_lost(recognizer, hard_hand):
    ink, strokes, labels = hard_hand

    def answers():
        return np.array([-1 if each.digit is None else each.digit for each in recognizer.recognize_ink(ink)])

    before = answers()
    assert (before != labels).sum() >= 5  # or nothing is shown
    counts, corrected = np.zeros(10, int), []
    for place, label in enumerate(labels):
        if recognizer.recognize(strokes[place]).digit != label and counts[label] < 3:
            counts[label] += 1
            corrected.append(place)
            recognizer.add_correction(strokes[place], int(label), name=str(place))
            assert recognizer.recognize(strokes[place]).digit == label
    after, rest = answers(), np.setdiff1d(np.arange(len(labels)), corrected)
    assert (after[corrected] == labels[corrected]).all()
    assert (after[rest] != labels[rest]).sum() <= 0.6 * (before[rest] != labels[rest]).sum()
    assert ((after != labels) & (before == labels)).sum() <= 1
    assert len(recognizer) == len(corrected)


def in_a_row(*drawings):
    """Set drawings beside each other, all equally high, as the digits of a number."""
    row, left = [], 0.0
    for strokes in drawings:
        points = np.concatenate(strokes)
        corner, size = points.min(axis=0), np.ptp(points, axis=0)
        row += [(stroke - corner) / size[1] + [left, 0] for stroke in strokes]
        left += size[0] / size[1] + 0.25
    return row


def test_numbers_follow_corrections_and_forget_what_is_taken_back(recognizer, hard_hand):
    _, strokes, labels = hard_hand
    read = np.array([-1 if (digit := recognizer.recognize(each).digit) is None else digit for each in strokes])
    left, right = np.flatnonzero((read == labels) & np.isin(labels, (2, 3, 6)))[:2]
    misread = np.flatnonzero(read != labels)
    numbers = [in_a_row(strokes[left], strokes[place], strokes[right]) for place in misread]
    texts = [f"{labels[left]}{labels[place]}{labels[right]}" for place in misread]

    def right_ones():
        return sum(recognizer.recognize_number(each).text == text for each, text in zip(numbers, texts, strict=True))

    before = right_ones()
    assert len(numbers) >= 5
    for place in misread:
        recognizer.add_correction(strokes[place], int(labels[place]), name=str(place))
    assert before <= 0.5 * len(numbers)  # or nothing is shown
    assert right_ones() >= 0.8 * len(numbers)
    for place in misread:
        recognizer.remove_correction(str(place))
    assert right_ones() == before


def test_numbers_in_images_follow_corrections_too(recognizer):
    drawing, wrong = SAMPLES[0].strokes, (SAMPLES[0].digit + 1) % 10
    page = np.full((200, 600), 255, np.uint8)
    for left, sample in ((40, SAMPLES[0]), (400, SAMPLES[0])):
        points = np.concatenate(sample.strokes)
        for stroke in sample.strokes:
            placed = (stroke - points.min(axis=0)) / np.ptp(points, axis=0)[1] * 120 + [left, 40]
            cv2.polylines(page, [np.round(placed).astype(np.int32)], isClosed=False, color=0, thickness=9)
    assert [number.text for number in recognizer.recognize_numbers(page)] == [str(SAMPLES[0].digit) * 2]
    recognizer.add_correction(drawing, wrong, name="a")
    assert [number.text for number in recognizer.recognize_numbers(page)] == [str(wrong) * 2]
    with pytest.raises(ValueError, match="channels"):
        recognizer.recognize_numbers(np.dstack([page] * 3), channels="hsv")


def test_ink_of_another_range_is_refused(recognizer):
    for ink in (np.full((1, 28, 28), 255), np.full((1, 28, 28), -0.5), np.full((1, 28, 28), np.nan)):
        with pytest.raises(ValueError, match=r"ink must lie in \[0, 1\]"):
            recognizer.recognize_ink(ink)


def test_what_is_taken_back_or_replaced_leaves_no_trace(recognizer, hard_hand):
    ink, strokes, _ = hard_hand
    recognizer.add_correction(strokes[0], 3, name="a")
    once = recognizer.probabilities_and_scores(ink)
    recognizer.add_correction(strokes[1], 4, name="b")
    recognizer.add_correction(strokes[1], 5, name="b")
    assert recognizer.recognize(strokes[1]).digit == 5
    recognizer.remove_correction("b")
    recognizer.remove_correction("never learnt")
    for first, second in zip(recognizer.probabilities_and_scores(ink), once, strict=True):
        assert first == pytest.approx(second, abs=1e-12)
    recognizer.remove_correction("a")
    assert len(recognizer) == 0
    assert np.array_equal(
        recognizer.probabilities_and_scores(ink)[0], Recognizer.load().probabilities_and_scores(ink)[0]
    )


def test_a_blank_page_stays_blank(recognizer):
    recognizer.add_correction(SAMPLES[0].strokes, 6, name="a")
    assert recognizer.recognize([]).digit is None
    assert recognizer.recognize([]).is_blank
    assert recognizer.recognize_ink(np.zeros((0, 28, 28))) == []
    assert recognizer.recognize_ink(np.zeros((1, 28, 28)))[0].probabilities == pytest.approx(np.full(10, 0.1))


def test_a_scribble_that_is_called_a_digit_is_one(recognizer):
    scribble = [np.random.default_rng(7).uniform(0.1, 0.9, (40, 2))]
    assert recognizer.recognize(scribble).digit is None
    recognizer.add_correction(scribble, 8, name="a")
    assert recognizer.recognize(scribble).digit == 8
    again = [scribble[0] + np.random.default_rng(8).normal(0, 0.003, (40, 2))]
    assert recognizer.recognize(again).digit == 8
    assert all(recognizer.recognize(sample.strokes).digit == sample.digit for sample in SAMPLES)


def test_nonsense_is_refused(recognizer):
    for digit in (10, -1, None, "7", 7.0, True):
        with pytest.raises(ValueError, match="expected a whole number from 0 to 9"):
            recognizer.add_correction(SAMPLES[0].strokes, digit, name="a")
    with pytest.raises(ValueError, match="without ink"):
        recognizer.add_correction([], 3, name="a")
    assert len(recognizer) == 0


def test_the_oldest_correction_makes_room_for_the_newest(recognizer):
    first, *_ = SAMPLES
    wrong = (first.digit + 1) % 10
    recognizer.add_correction(first.strokes, wrong, name="first")
    assert recognizer.recognize(first.strokes).digit == wrong
    far = SAMPLES[-1]
    for index in range(MAX_CORRECTIONS):
        recognizer.add_correction(far.strokes, far.digit, name=str(index))
    assert len(recognizer) == MAX_CORRECTIONS
    assert recognizer.recognize(first.strokes).digit == first.digit


def test_a_model_with_features_learns_as_well_as_one_without(exports):
    for name in ("large_cnn", "simple_cnn"):
        flatbuffer, card = read_model_file(exports[name] / "model.tflite")
        recognizer = AdaptiveRecognizer(Recognizer(flatbuffer, replace(card, threshold=0.5)))
        for index, sample in enumerate(SAMPLES[:5]):
            recognizer.add_correction(sample.strokes, sample.digit, name=str(index))
        assert recognizer.recognize(SAMPLES[4].strokes).digit == SAMPLES[4].digit


def test_threads_may_teach_and_read_at_once(recognizer, hard_hand):
    ink, strokes, labels = hard_hand
    failures = []

    def work(thread):
        try:
            for place in range(thread, 40, 4):
                recognizer.add_correction(strokes[place], int(labels[place]), name=str(place))
                probabilities, _ = recognizer.probabilities_and_scores(ink[:20])
                assert probabilities.sum(axis=1) == pytest.approx(np.ones(20))
                if place % 3 == 0:
                    recognizer.remove_correction(str(place))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert len(recognizer) == sum(place % 3 != 0 for place in range(40))


def test_it_needs_no_tensorflow():
    code = "import sys, digit_utils.pad.labelling as t; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
