"""Synthetic numbers: what is written is what was asked for, and wrong groups are wrong."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from digit_utils.augmentation.numbers import (
    LINE,
    MARKS,
    OTHER,
    SyntheticNumber,
    allograph_hand,
    hands_of,
    is_wrong_group,
    lattice_junk,
    random_numbers,
    random_text,
    write_number,
)


@pytest.fixture(scope="module")
def hands(pendigits):
    return hands_of(pendigits.train.strokes, pendigits.train.labels, pendigits.train.writers)


@pytest.fixture(scope="module")
def numbers(hands) -> list[SyntheticNumber]:
    return random_numbers(300, hands, np.random.default_rng(0))


def test_each_writer_of_all_ten_digits_is_a_hand(hands, pendigits):
    assert len(hands) == len(np.unique(pendigits.train.writers))
    assert sum(len(drawings) for hand in hands for drawings in hand) == len(pendigits.train)


def test_every_character_owns_strokes_and_every_stroke_has_an_owner(numbers):
    for number in numbers:
        assert len(number.strokes) == len(number.owners)
        assert set(number.owners) == set(range(len(number.characters)))
        assert all(np.isfinite(stroke).all() and stroke.shape[1:] == (2,) for stroke in number.strokes)


def test_characters_stand_from_left_to_right(numbers):
    for number in numbers:
        owners = np.array(number.owners)
        middles = [
            np.mean([[s[:, 0].min(), s[:, 0].max()] for s, o in zip(number.strokes, owners, strict=True) if o == place])
            for place, character in enumerate(number.characters)
            if character != LINE
        ]
        assert all(b > a - 0.1 for a, b in pairwise(middles))


def test_digits_are_about_one_unit_high(numbers):
    heights = [
        np.ptp(np.concatenate([s for s, o in zip(n.strokes, n.owners, strict=True) if o == place])[:, 1])
        for n in numbers
        for place, character in enumerate(n.characters)
        if character.isdigit()
    ]
    assert 0.85 < np.median(heights) < 1.1


def test_texts_hold_digits_marks_lines_neighbours_and_late_strokes(numbers):
    characters = "".join(number.characters for number in numbers)
    assert set(characters) == set("0123456789" + MARKS + LINE + OTHER)
    assert any(number.owners != sorted(number.owners) for number in numbers)
    for number in numbers:
        assert number.text is None if OTHER in number.characters else LINE not in number.text


def test_the_same_seed_writes_the_same_number():
    twice = [write_number("30,5", allograph_hand(np.random.default_rng(1)), np.random.default_rng(2)) for _ in range(2)]
    assert all(np.array_equal(a, b) for a, b in zip(twice[0].strokes, twice[1].strokes, strict=True))


def test_random_texts_are_numbers():
    rng = np.random.default_rng(0)
    for _ in range(300):
        text = random_text(rng)
        assert set(text) <= set("0123456789" + MARKS)
        assert any(character.isdigit() for character in text)


STEM, RING = np.array([[0.0, 0], [0, 1]]), np.array([[0.0, 0], [0.5, 0.5], [0, 1], [-0.5, 0.5], [0, 0]])
RIGHT = np.array([1.0, 0])
ANGLE = np.array([[0.0, 0], [-0.4, 0.6], [0.5, 0.6]])


@pytest.mark.parametrize(
    ("characters", "strokes", "owners", "places", "wrong"),
    [
        ("10", [STEM, RING + RIGHT], [0, 1], [0, 1], True),
        ("10", [STEM, RING + RIGHT], [0, 1], [0], False),
        ("4", [ANGLE, STEM], [0, 0], [0, 1], False),
        ("4", [ANGLE, STEM], [0, 0], [0], True),
        ("4", [ANGLE, STEM], [0, 0], [1], False),  # a stem alone is a 1
        ("7", [STEM * 4, ANGLE * 0.1], [0, 0], [0], False),  # without its bar it is a 7 still
        ("1.", [STEM, STEM * 0.05], [0, 1], [0, 1], False),  # nobody sees the dot
    ],
)
def test_a_group_is_wrong_where_it_can_be_no_digit(characters, strokes, owners, places, wrong):
    assert is_wrong_group(SyntheticNumber(characters, strokes, owners), places) is wrong


def test_lattice_junk_is_neighbouring_strokes_of_numbers(hands):
    groups = lattice_junk(60, hands, np.random.default_rng(3))
    assert len(groups) == 60
    assert all(1 <= len(group) <= 4 for group in groups)
    assert len(lattice_junk(5, (), np.random.default_rng(3))) == 5  # allographs alone
