"""Numbers on the pad: what is shown of them, and what belongs to which digit."""

import re
import types
from dataclasses import replace

import numpy as np
import pytest

from digit_utils.augmentation.non_digits import letter
from digit_utils.augmentation.numbers import hands_of, random_numbers
from digit_utils.augmentation.strokes import augment_strokes
from digit_utils.datasets.drawings import read_drawings
from digit_utils.datasets.samples import sample_digits
from digit_utils.pad.ink import DIGIT_COLOURS, DOUBTFUL_COLOURS, INK_COLOUR
from digit_utils.pad.labelling import number_of
from digit_utils.pad.view import displayed, ink_colours, is_refused, on_paper
from digit_utils.pad.widget import DigitPad
from digit_utils.recognition.adaptation import AdaptiveRecognizer
from digit_utils.recognition.recognizer import Recognizer

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
    percentage = "over\u00a099" if pad.number.confidence > 0.99 else f"{100 * pad.number.confidence:.0f}"
    assert f'--confidence:", {percentage}' in pad._view._tiles.value
    assert f"This is {text}, {percentage}" in pad._view._announcement.value


def test_bars_and_picture_belong_to_the_last_digit_at_first(pad):
    prediction = pad.replay(written("47")[0])
    assert prediction is pad.prediction is pad.number.digits[-1].prediction
    assert prediction.digit == 7
    assert "4<b>7</b>" in pad._view._tiles.value
    assert re.search(r"column:nth-child\(8\){[^}]*--colour:var\(--pad-accent\)", pad._view._tiles.value)


def test_one_digit_is_shown_as_the_recogniser_reads_it_alone(pad, recognizer):
    for sample in sample_digits(side=pad.side):
        pad.clear()
        pad.replay(sample.strokes)
        alone = displayed(recognizer.recognize(pad.strokes))
        assert pad._view._caption.value == alone.caption
        assert f">{alone.mark}<" in pad._view._tiles.value
        assert "--confidence" not in pad._view._tiles.value


def test_what_is_no_number_is_told(pad):
    rng = np.random.default_rng(3)
    pad.replay([rng.uniform(100 + 300 * place, 300 + 300 * place, (30, 2)) for place in range(2)])
    assert all(character.prediction.digit is None for character in pad.number.digits)
    assert len(pad.number.digits) == 2
    assert "Not a number." in pad._view._caption.value
    assert ">?<" in pad._view._tiles.value


@pytest.mark.parametrize(
    "letter",
    [
        [[(100, 330), (200, 60), (300, 330)], [(140, 230), (260, 230)]],  # A
        [[(100, 60), (300, 330)], [(300, 60), (100, 330)]],  # X
        [[(200, 60), (100, 60), (100, 330), (200, 330)], [(100, 200), (180, 200)]],  # E
        [[(100, 60), (200, 60)], [(150, 60), (150, 300)]],  # T
        [[(100, 60), (100, 330)], [(300, 60), (300, 330)], [(100, 200), (300, 200)]],  # H
    ],
    ids="AXETH",
)
def test_letters_of_several_strokes_are_told_as_what_they_are(pad, letter):
    pad.replay(letter)
    assert ">?<" in pad._view._tiles.value
    assert "Not a " in pad._view._caption.value


def test_a_doubtful_number_can_be_chosen(pad):
    pad.replay([[(100, 60), (100, 330)], [(300, 60), (300, 330)], [(100, 200), (300, 200)]])  # H
    doubtful = pad.number.alternatives[0]
    assert doubtful.text == "-1"
    assert all(re.search(r"\d", reading.text) for reading in pad.number.alternatives), "a mark alone is no number"
    pad.choose(doubtful)
    assert pad.number.text == "-1"
    assert ">-<b>1</b><" in pad._view._tiles.value


def test_most_letters_are_told_as_no_number_and_few_numbers_are(recognizer, pendigits):
    rng = np.random.default_rng(3)
    letters = [augment_strokes(letter(rng), rng) for _ in range(100)]
    assert np.mean([is_refused(number_of(recognizer, strokes)) for strokes in letters]) >= 0.75
    test = pendigits.test
    numbers = random_numbers(50, hands_of(test.strokes, test.labels, test.writers), rng, allographs=0)
    found = [number_of(recognizer, number.strokes) for number in numbers]
    right = [each for each, number in zip(found, numbers, strict=True) if each.text == number.text is not None]
    assert len(right) > 30
    assert np.mean([is_refused(number) for number in right]) <= 0.05


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


def colours(pad):
    return pad._ink._colours


def tap(pad, x, y):
    pad._layer._on_stroke(np.array([[x, y]], dtype=float), True)


def test_ink_is_tinted_by_digit_and_written_below(pad):
    strokes, owners = written("475")
    pad.replay(strokes)
    assert [{colours(pad)[stroke] for stroke in owner} for owner in owners] == [
        {DIGIT_COLOURS[0]},
        {DIGIT_COLOURS[1]},
        {DIGIT_COLOURS[0]},
    ]
    below = pad._view._announcement.value.split("digit-pad-characters")[1]
    assert re.findall(r">(\d)<", below) == ["4", "7", "5"]
    places = [float(left) for left in re.findall(r"left:([\d.]+)%", below)]
    centres = [np.ptp(np.concatenate([strokes[stroke] for stroke in owner])[:, 0]) / 2 for owner in owners]
    starts = [np.concatenate([strokes[stroke] for stroke in owner])[:, 0].min() for owner in owners]
    np.testing.assert_allclose(places, (np.array(starts) + centres) / pad._canvas.width * 100, atol=0.06)


def test_one_digit_keeps_its_ink_and_has_nothing_below(pad):
    pad.replay(written("4", side=pad.side)[0])
    assert set(colours(pad)) == {INK_COLOUR}
    assert "digit-pad-characters" not in pad._view._announcement.value


def test_a_doubtful_digit_is_paler():
    strokes, owners = written("47")
    number = AdaptiveRecognizer(Recognizer.load()).recognize_number(strokes)
    seven = number.digits[1]
    probabilities = np.full(10, 0.02)
    probabilities[7] = 0.82
    doubtful = replace(seven, prediction=replace(seven.prediction, probabilities=probabilities))
    number = replace(number, digits=(number.digits[0], doubtful))
    seen = ink_colours(number, len(strokes))
    assert {seen[stroke] for stroke in owners[0]} == {DIGIT_COLOURS[0]}
    assert {seen[stroke] for stroke in owners[1]} == {DOUBTFUL_COLOURS[1]}


def test_a_tap_on_a_digit_selects_it_and_a_tap_elsewhere_is_a_dot(pad):
    strokes, owners = written("475")
    pad.replay(strokes)
    tap(pad, *strokes[owners[1][0]][0])
    assert pad.prediction.digit == 7
    assert "4<b>7</b>5" in pad._view._tiles.value
    assert len(pad.strokes) == len(strokes)
    tap(pad, 400, 750)
    assert len(pad.strokes) == len(strokes) + 1


def test_a_tap_within_a_zero_selects_it_and_new_ink_selects_the_last_digit_again(pad):
    strokes, _ = written("07", side=520)
    pad.replay(strokes)
    tap(pad, *strokes[0].mean(axis=0))
    assert pad.prediction.digit == 0
    pad.replay([stroke + np.array([530, 87]) for stroke in written("4", side=260)[0]])
    assert pad.number.text == "074"
    assert pad.prediction.digit == 4


def test_a_point_can_be_written_right_beside_a_digit(pad):
    strokes, owners = written("47")
    pad.replay(strokes)
    four = np.concatenate([strokes[stroke] for stroke in owners[0]])
    tap(pad, four[:, 0].max() + 40, four[:, 1].max())
    assert len(pad.strokes) == len(strokes) + 1


def test_a_tap_on_a_single_digit_is_ink_as_ever(pad):
    strokes, _ = written("4", side=pad.side)
    pad.replay(strokes)
    tap(pad, *strokes[0][0])
    assert len(pad.strokes) == len(strokes) + 1


def test_digits_are_selected_by_arrow_keys_and_by_place(pad):
    pad.replay(written("475")[0])
    for key, digit in [("ArrowLeft", 7), ("ArrowLeft", 4), ("ArrowLeft", 5), ("ArrowRight", 4)]:
        pad._on_key_down(key, shift=False, ctrl=False, meta=False)
        assert pad.prediction.digit == digit
    assert pad.select(1).digit == 7
    with pytest.raises(ValueError, match="place is 3; expected one of the 3 digits"):
        pad.select(3)


def test_a_stroke_costs_at_most_one_message_more_for_its_tint(pad, monkeypatch):
    messages = []
    monkeypatch.setattr(pad._canvas._canvas_manager, "_send_custom", lambda *message: messages.append(message))
    for stroke in written("475")[0]:
        messages.clear()
        pad._layer._on_stroke(stroke, False)
        pad.predict()
        assert len(messages) <= 2


def test_a_tap_on_a_labelled_digit_shows_its_label(pad):
    strokes, owners = written("415")
    pad.replay(strokes)
    pad.select(1)
    pad.correct(7)
    pad.select(2)
    assert pad._view.corrections.chosen is None
    (x, y), *_ = strokes[owners[1][0]]
    ink = {"kind": "ink", "view": "one", "stroke": 1, "start": 0, "points": [float(x), float(y)]}
    pad._layer._take_in(None, ink | {"end": None}, [])
    pad._layer._take_in(None, ink | {"end": "tap"}, [])
    assert pad._view.corrections.chosen == 7
    assert pad.prediction.digit == 7


def test_a_label_is_given_to_the_selected_digit_alone_and_saved_with_its_strokes(recognizer, tmp_path):
    file = tmp_path / "drawings.jsonl"
    pad = DigitPad(recognizer, drawings=file)
    strokes, owners = written("415")
    pad.replay(strokes)
    pad.select(1)
    assert pad.correct(7).digit == 7
    assert pad.number.text == "475"
    assert "4<b>7</b>5" in pad._view._tiles.value
    assert pad._view.corrections.chosen == 7
    (saved,), _ = read_drawings(file)
    assert (saved.digit, saved.read, saved.number) == (7, 1, None)
    for kept, index in zip(saved.strokes, owners[1], strict=True):
        np.testing.assert_allclose(kept, strokes[index], atol=0.006)
    pad.select(0)
    assert pad._view.corrections.chosen is None
    pad.correct(9)
    assert pad.number.text == "975"
    pad.undo()
    pad.select(1)
    assert pad.forget().digit == 1
    assert pad.number.text == "415"
    assert read_drawings(file)[0] == []


def test_a_labelled_digit_stays_so_while_others_are_written_beside_it(pad):
    strokes, owners = written("415")
    pad.replay(strokes[: owners[2][0]])
    pad.correct(7)
    pad.replay(strokes[owners[2][0] :])
    assert pad.number.text == "475"
    assert pad.prediction.digit == 5
    assert pad._view.corrections.chosen is None, "the new digit has no label"


def test_a_late_crossbar_makes_a_label_ask_again(pad):
    strokes, owners = written("47")
    pad.replay([*strokes[: owners[1][0]], strokes[owners[1][0]]])
    pad.correct(1)
    assert pad.number.text == "41"
    pad.replay(strokes[owners[1][1] :])
    assert pad.number.digits[-1].strokes == owners[1]


def test_two_digits_are_joined_and_one_is_split_and_both_can_be_undone(recognizer, tmp_path):
    file = tmp_path / "drawings.jsonl"
    pad = DigitPad(recognizer, drawings=file)
    strokes, owners = written("415")
    pad.replay(strokes)
    pad.select(1)
    pad.join()
    assert [character.strokes for character in pad.number.digits] == [owners[0] + owners[1], owners[2]]
    assert pad._shown(pad.number) == 0, "what was joined stays selected"
    (saved,), _ = read_drawings(file)
    assert saved.number
    assert len(saved.strokes) == len(owners[0] + owners[1])
    pad.correct(8)
    assert pad.number.text == "85"
    pad.undo()
    pad.undo()
    assert pad.number.text == "415"
    pad.select(0)
    pad.split()
    assert [character.strokes for character in pad.number.digits][: len(owners[0])] == [(place,) for place in owners[0]]
    assert {drawing.number for drawing in read_drawings(file)[0]} != {saved.number}
    pad.undo()
    assert pad.number.text == "415"
    assert read_drawings(file)[0] == []
    pad.select(0)
    pad.join()
    assert pad.number.text == "415", "there is nothing before the first"


def test_another_reading_is_taken_as_a_whole_in_one_step(recognizer, tmp_path):
    file = tmp_path / "drawings.jsonl"
    pad = DigitPad(recognizer, drawings=file)
    strokes, _ = written("47")
    pad.replay(strokes)
    reading = next(reading for reading in pad.number.alternatives if len(reading.digits) != 2)
    pad.choose(reading)
    assert pad.number.text == reading.text
    assert [c.strokes for c in pad.number.digits] == [c.strokes for c in reading.digits]
    saved, _ = read_drawings(file)
    assert [drawing.digit for drawing in saved] == [int(c.text) for c in reading.digits if c.text.isdigit()]
    assert len({drawing.number for drawing in saved}) == 1
    pad.undo()
    assert pad.number.text == "47"
    pad.redo()
    assert pad.number.text == reading.text


def test_readings_that_are_likely_enough_can_be_tapped(pad, recognizer):
    pad.replay(written("47")[0])
    number = pad.number
    likely = [replace(reading, confidence=0.1) for reading in number.alternatives]
    offered = on_paper(replace(number, alternatives=tuple(likely)), 1, width=1, height=1)
    assert offered.readings == tuple(likely[:3])
    assert offered.can_join
    assert not on_paper(number, 0, width=1, height=1).can_join
    assert on_paper(number, 0, width=1, height=1).can_split
    pad._offered = [likely[0]]
    pad._view.readings[0]._handle_button_msg(None, {"event": "click"}, [])
    assert pad.number.text == likely[0].text
    pad._view.readings[2]._handle_button_msg(None, {"event": "click"}, [])  # nothing there: nothing happens


def test_a_single_digit_offers_only_readings_with_other_groups(recognizer):
    number = recognizer.recognize_number(SAMPLES[4])
    likely = tuple(replace(reading, confidence=0.1) for reading in number.alternatives)
    offered = on_paper(replace(number, alternatives=likely), 0, width=1, height=1).readings
    assert offered
    assert not on_paper(number, 0, width=1, height=1).can_split, "it is certain"
    assert on_paper(replace(number, confidence=0.8), 0, width=1, height=1).can_split
    assert all([c.strokes for c in reading.digits] != [(0, 1)] for reading in offered)
