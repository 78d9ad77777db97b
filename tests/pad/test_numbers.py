"""Numbers on the pad: what is shown of them, and what belongs to which digit."""

import types

import numpy as np
import pytest

from digit_utils.datasets.samples import sample_digits
from digit_utils.pad.view import displayed
from digit_utils.pad.widget import DigitPad

SAMPLES = {sample.digit: sample.strokes for sample in sample_digits(side=1.0)}


def written(text, *, side=800.0):
    """Return the strokes of a number that fills the width of a square paper, and which belong to each digit."""
    width = side / len(text)
    strokes, owners = [], []
    for place, digit in enumerate(text):
        new = [stroke * width + [place * width, side / 3] for stroke in SAMPLES[int(digit)]]
        owners.append(tuple(range(len(strokes), len(strokes) + len(new))))
        strokes += new
    return strokes, owners


@pytest.fixture
def pad(recognizer):
    return DigitPad(recognizer)


@pytest.mark.parametrize("text", ["42", "1305", "8675309"])
def test_a_number_is_read_with_the_strokes_of_each_digit(pad, text):
    strokes, owners = written(text)
    pad.replay(strokes)
    assert pad.number.text == text
    assert [character.strokes for character in pad.number.digits] == owners
    assert f"This is {text}" in pad._view._caption.value
    percentage = f"{100 * pad.number.confidence:.0f}"
    assert f'--confidence:", {percentage}' in pad._view._seen.value
    assert f"This is {text}, {percentage}" in pad._view._announcement.value


def test_bars_and_picture_belong_to_the_last_digit_at_first(pad):
    prediction = pad.replay(written("47")[0])
    assert prediction is pad.prediction is pad.number.digits[-1].prediction
    assert prediction.digit == 7
    assert "4<b>7</b>" in pad._view._mark.value
    assert "--colour-7:var(--pad-accent)" in pad._view._seen.value


def test_one_digit_is_shown_as_the_recogniser_reads_it_alone(pad, recognizer):
    for sample in sample_digits(side=pad.side):
        pad.clear()
        pad.replay(sample.strokes)
        alone = displayed(recognizer.recognize(pad.strokes))
        assert pad._view._caption.value == alone.caption
        assert f">{alone.mark}<" in pad._view._mark.value
        assert "--confidence" not in pad._view._seen.value


def test_what_is_no_number_is_told(pad):
    rng = np.random.default_rng(3)
    pad.replay([rng.uniform(100 + 300 * place, 300 + 300 * place, (30, 2)) for place in range(2)])
    assert all(character.prediction.digit is None for character in pad.number.digits)
    assert len(pad.number.digits) == 2
    assert "This does not look like a number." in pad._view._caption.value
    assert ">?<" in pad._view._mark.value


def test_a_recogniser_of_single_digits_reads_all_ink_as_one_digit(recognizer):
    pad = DigitPad(types.SimpleNamespace(recognize=recognizer.recognize))
    pad.replay(written("47")[0])
    assert pad.number.digits[0].strokes == tuple(range(len(pad.strokes)))
    assert pad.prediction is pad.number.digits[0].prediction


def test_a_blank_paper_has_no_number(pad):
    assert pad.number is None
    pad.replay(written("47")[0])
    pad.clear()
    assert pad.number is None
    assert pad.prediction is None
