"""Metrics of numbers, by hand."""

import numpy as np
import pytest

from digit_utils.augmentation.numbers import LINE, SyntheticNumber, allograph_hand
from digit_utils.evaluation.numbers import accepted_share, confusions, number_figures, numbers_by_kind
from digit_utils.recognition.numbers import Character, Number


def read_as(text, groups, confidence=0.9) -> Number:
    return Number(text, confidence, tuple(Character("1", None, group, (0, 0, 1, 1)) for group in groups))


def test_errors_are_divided_between_segmentation_and_reading():
    written = [SyntheticNumber("12", [], [0, 1, 1])] * 3 + [SyntheticNumber("12_", [], [0, 1, 1, 2])]
    right_groups, wrong_groups = [(0,), (1, 2)], [(0, 1), (2,)]
    read = [read_as("12", right_groups), read_as("17", right_groups), read_as("3", wrong_groups), read_as(None, [], 0)]
    figures = number_figures(read, written)
    assert figures["exact"] == 0.25
    assert figures["exact_low"] < 0.25 < figures["exact_high"]
    assert (figures["segmentation"], figures["reading"], figures["refused"]) == (0.5, 0.25, 0.25)
    assert figures["characters"] == pytest.approx((1 + 2 + 2) / 8)


def test_only_characters_with_the_right_strokes_are_confused_with_others():
    written = [SyntheticNumber("123_", [], [0, 1, 1, 2, 3])]
    read = [Number("17", 0.9, tuple(Character(text, None, group, (0, 0, 1, 1)) for text, group in
                                    (("1", (0,)), ("7", (2, 1)), ("0", (3, 4)))))]  # fmt: skip
    assert confusions(read, written) == {("2", "7"): 1}


def test_numbers_of_each_kind_are_what_the_kind_says():
    rng = np.random.default_rng(0)
    numbers = numbers_by_kind(20, [allograph_hand(rng)], rng)
    texts = {kind: [number.text for number in some] for kind, some in numbers.items()}
    assert {kind: len(some) for kind, some in numbers.items()} == dict.fromkeys(texts, 20)
    assert all(text.isdigit() and len(text) > 1 for text in texts["digits"])
    assert all(len(text) == 1 for text in texts["one digit"])
    assert not any(text.isdigit() for text in texts["with marks"])
    lines = {kind: {number.characters.count(LINE) for number in some} for kind, some in numbers.items()}
    assert lines == {"digits": {0}, "one digit": {0}, "with marks": {0}, "with a line about them": {1}}


def test_a_line_about_a_number_belongs_to_no_character():
    written = [SyntheticNumber("12_", [], [0, 1, 2])]
    assert number_figures([read_as("17", [(0,), (1,)])], written)["reading"] == 1


def test_the_surest_are_accepted_as_far_as_few_of_them_are_wrong():
    right = np.ones(1000, bool)
    right[[0, 500]] = False
    confidence = np.linspace(0, 1, 1000)  # the surest is the last
    assert accepted_share(confidence, right) == 1  # 2 of 1,000
    assert accepted_share(confidence, right, most_wrong=0.001) == pytest.approx(0.499)  # 499 above the wrong one
    assert accepted_share(np.full(1000, 0.5), np.arange(1000) < 990) == 0
    assert accepted_share(np.full(1000, 0.5), np.arange(1000) < 995) == 1
