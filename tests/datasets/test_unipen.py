from __future__ import annotations

import numpy as np
import pytest

from digit_utils.datasets.unipen import parse_unipen

TEXT = """\
.INCLUDE        dene.doc

.LEXICON "0" "1"
.HIERARCHY      DIGIT

.SEGMENT DIGIT    0 ? "8"
.COMMENT 8 12  224
.PEN_DOWN
 267  333
 267  336
 266  342
.PEN_UP
.DT 100

.SEGMENT DIGIT    1-2 ? "4"
.COMMENT 4  1  117
.PEN_DOWN
 277  306
.PEN_UP
.DT 100
.PEN_DOWN
 10  20
 30  40
.PEN_UP
.DT 100
"""


def test_digits_are_read_with_label_writer_and_strokes():
    eight, four = parse_unipen(TEXT)
    assert (eight.label, eight.writer) == (8, 12)
    assert (four.label, four.writer) == (4, 1)
    assert [len(stroke) for stroke in eight.strokes] == [3]
    assert [len(stroke) for stroke in four.strokes] == [1, 2]
    assert all(stroke.dtype == np.float32 for digit in (eight, four) for stroke in digit.strokes)


def test_y_points_down():
    eight, _ = parse_unipen(TEXT)
    np.testing.assert_array_equal(eight.strokes[0], [[267, -333], [267, -336], [266, -342]])
    np.testing.assert_array_equal(parse_unipen(TEXT, height=500)[1].strokes[1], [[10, 480], [30, 460]])


def test_a_digit_may_list_strokes_that_are_not_neighbours():
    listed = TEXT.replace("1-2 ?", "0,2 ?")
    assert [len(stroke) for stroke in parse_unipen(listed)[1].strokes] == [3, 2]


def test_what_is_of_no_concern_is_passed_over():
    assert parse_unipen("") == []
    extended = ".VERSION 1.0\n.COMMENT free text before any digit\n" + TEXT
    extended = extended.replace(".COMMENT 8 12  224", '.COMMENT written in a hurry\n.SEGMENT PAGE 0-2 ? "page"')
    eight, four = parse_unipen(extended)
    assert (eight.label, eight.writer, four.writer) == (8, None, 1)


def test_points_in_the_air_are_no_ink():
    hovering = TEXT.replace(".PEN_UP\n.DT 100\n\n.SEGMENT", ".PEN_UP\n 1 2\n 3 4\n.DT 100\n\n.SEGMENT")
    assert [len(stroke) for stroke in parse_unipen(hovering)[0].strokes] == [3]


def test_line_ends_of_windows_are_fine():
    assert len(parse_unipen(TEXT.replace("\n", "\r\n"))) == 2


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (" 267  336", " 267  three", r"line 10: expected two numbers x and y, found '267  three'"),
        (" 267  336", " 267", r"line 10: expected two numbers x and y, found '267'"),
        (" 267  336", " 267 336 1", r"line 10: expected two numbers"),
        (" 267  336", " 267 nan", r"line 6: the digit has a point that is not finite"),
        ('? "8"', '? "x"', r'line 6: expected a digit from 0 to 9 in quotes, found "x"'),
        ('? "8"', '? "12"', r"line 6: expected a digit from 0 to 9"),
        ('? "8"', "?", r"line 6: expected \.SEGMENT DIGIT"),
        ("1-2 ?", "1-x ?", r"line 15: expected stroke numbers such as 6 or 6-7, found '1-x'"),
        ("1-2 ?", "-2 ?", r"line 15: expected stroke numbers"),
        ("1-2 ?", "2-1 ?", r"line 15: the stroke numbers '2-1' run backwards"),
        ("1-2 ?", "1-3 ?", r"line 15: the digit needs stroke 3, but the text holds only 3 strokes"),
        ("1-2 ?", "1-99999999999 ?", r"line 15: .*strokes"),
        (
            ".COMMENT 8 12",
            ".COMMENT 3 12",
            r"line 7: the comment says the digit is a 3, its segment in line 6 says 8",
        ),
        (" 277  306\n", "", r"line 17: a \.PEN_DOWN without a point"),
        (".INCLUDE        dene.doc", "5 5", r"line 1: a point stands before the first \.PEN_DOWN"),
    ],
)
def test_malformed_text_is_refused_with_its_line_number(old, new, message):
    assert old in TEXT
    with pytest.raises(ValueError, match=message):
        parse_unipen(TEXT.replace(old, new, 1))


def test_text_that_is_cut_off_is_refused():
    within_a_stroke = TEXT[: TEXT.index(" 30  40")]
    with pytest.raises(ValueError, match=r"line 21: the text ends within the stroke that begins here"):
        parse_unipen(within_a_stroke)
    between_strokes = TEXT[: TEXT.index(".PEN_DOWN\n 10")]
    with pytest.raises(ValueError, match=r"line 15: the digit needs stroke 2, but the text holds only 2 strokes"):
        parse_unipen(between_strokes)
