"""Letters and signs written by hand: pen paths that can be drawn, none of them a digit's, and all of them shown."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest

from digit_utils.augmentation import non_digits
from digit_utils.augmentation.allographs import ALLOGRAPHS, draw_skeleton
from digit_utils.augmentation.letters import LETTERS, SIGNS
from digit_utils.augmentation.non_digits import WRITTEN, letter, sign
from digit_utils.preprocessing.strokes import ink_from_strokes

FORMS = [(character, form) for character, forms in (LETTERS | SIGNS).items() for form in forms]

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize(("character", "form"), FORMS, ids=[f"{index}-{c}" for index, (c, _) in enumerate(FORMS)])
def test_a_form_is_drawn_in_about_the_unit_box_and_fills_its_height(character, form):
    strokes = draw_skeleton(form)
    assert len(strokes) == len(form)
    for stroke, path in zip(strokes, form, strict=True):
        points = [tuple(map(float, word.split(","))) for word in path.replace("/", " ").split()]
        assert stroke[0] == pytest.approx(points[0])
        assert stroke[-1] == pytest.approx(points[-1])
    points = np.concatenate(strokes)
    assert points.min() > -0.2
    assert points.max() < 1.2
    assert np.ptp(points[:, 1]) > 0.85
    assert ink_from_strokes(strokes).sum() > 15


def test_no_form_is_written_twice_or_is_a_digits():
    written = [form for _, form in FORMS]
    assert len(set(written)) == len(written)
    assert not set(written) & {form.strokes for form in ALLOGRAPHS}


def test_letters_that_are_digit_shapes_are_left_out():
    assert not (set(LETTERS) | set(SIGNS)) & set("0123456789OoIlSsZz|/\\()-")


@pytest.mark.parametrize(("kind", "characters"), [(letter, LETTERS), (sign, SIGNS)], ids=["letters", "signs"])
def test_the_told_part_is_written_by_hand_characters_and_their_forms_evenly(kind, characters, monkeypatch):
    drawn = []

    def noting(form, rng):
        drawn.append(form)
        return draw_skeleton(form, rng)

    monkeypatch.setattr(non_digits, "draw_skeleton", noting)
    rng = np.random.default_rng(0)
    for _ in range(4000):
        kind(rng)
    assert len(drawn) / 4000 == pytest.approx(WRITTEN, abs=0.03)
    assert set(drawn) == set(chain.from_iterable(characters.values()))
    for forms in characters.values():
        share = sum(drawn.count(form) for form in forms) / len(drawn)
        assert share == pytest.approx(1 / len(characters), abs=0.035)


def test_a_letter_written_twice_is_never_the_same():
    rng = np.random.default_rng(0)
    first, second = (draw_skeleton(LETTERS["g"][0], rng)[0] for _ in range(2))
    assert 0.005 < np.abs(first - second).mean() < 0.1
