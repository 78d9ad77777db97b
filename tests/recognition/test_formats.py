"""The prior on the formats of numbers."""

import numpy as np
import pytest

from digit_utils.recognition.formats import NO_FORMAT, format_penalty
from digit_utils.recognition.lattice import lattice_of
from digit_utils.recognition.numbers import LABELS, readings

USUAL = ["7", "2026", "-5", "3.14", "0,5", ".9", "1,234.50", "1.234,50", "15:30", "12:34:56", "8-16-88", "2026-11-29"]
USUAL += ["29.11.2026", "1/2", "0171-234", "9-011-61-2-878-9164"]


@pytest.mark.parametrize("text", USUAL)
def test_a_number_in_a_usual_format_costs_nothing(text):
    assert format_penalty(text) == 0


@pytest.mark.parametrize("text", ["15.:30", "895--1573", "0-4", "79:25:00", "1.2-3:4", "12,34,567.", ",", ""])
def test_rows_of_digits_and_marks_that_nobody_writes_cost_most(text):
    assert format_penalty(text) == NO_FORMAT


@pytest.mark.parametrize("text", ["1,2,3", "3:1", "79:25", "14,", "15:30.", "20.-", "10.000,-"])
def test_lists_ratios_prices_and_the_end_of_a_sentence_cost_little(text):
    assert 0 < format_penalty(text) < NO_FORMAT


@pytest.mark.parametrize("text", ["1234", "56789", "0123456789", "1234567890", "43210", "9876543210"])
def test_digits_that_count_up_or_down_are_likelier_than_others(text):
    assert format_penalty(text) == pytest.approx(-0.6 * len(text))


@pytest.mark.parametrize("text", ["123", "8901", "1233", "2468", "12.34", "12321"])
def test_other_rows_of_digits_are_not(text):
    assert format_penalty(text) == 0


def test_the_format_decides_where_ink_is_doubtful_and_clear_ink_overrules_it():
    weights = np.full((3, len(LABELS)), -30.0)
    for row, label in enumerate("0-4"):
        weights[row, LABELS.index(label)] = 0.0
    lattice = lattice_of(np.eye(3, dtype=bool))

    weights[1, LABELS.index(".")] = -1.0
    text, chance = readings(lattice, weights)[1][0]
    odds = np.exp(NO_FORMAT - 1)
    assert text == "0.4"
    assert chance == pytest.approx(odds / (1 + odds), abs=1e-6)

    weights[1, LABELS.index(".")] = -NO_FORMAT - 1
    assert readings(lattice, weights)[1][0][0] == "0-4"
