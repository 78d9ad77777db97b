"""Numbers on the drawing page, in a real Chromium: what is seen of them on a wide screen and on a phone."""

import itertools

import numpy as np
import pytest

from .test_drawing_page import DESKTOP, PHONE, SAMPLES, SMALL_PHONE, opened

pytestmark = pytest.mark.browser

COLOURS_AT = """(canvas, places) => places.map(([x, y]) => {
    const box = canvas.getBoundingClientRect(), scale = canvas.width / box.width;
    return [...canvas.getContext('2d').getImageData((x - box.x) * scale, (y - box.y) * scale, 1, 1).data].join();
})"""


def written(text, *, width):
    """Return the strokes of each digit of a number, on a sheet of height 1."""
    step = width / len(text)
    size = min(0.7, step)
    return [
        [stroke * size + [place * step, 0.5 - size / 2] for stroke in SAMPLES[int(digit)]]
        for place, digit in enumerate(text)
    ]


def under(pad):
    """Return what is written under the ink, and which of it is selected."""
    characters = pad.root.locator(".digit-pad-characters")
    return characters.inner_text().split(), characters.locator(".digit-pad-selected").inner_text()


def labels_below_paper(pad):
    """Return how far below the paper's top the ten buttons are, wherever the page is scrolled to."""
    return pad.root.locator(".digit-pad-labels").bounding_box()["y"] - pad.canvas.bounding_box()["y"]


def test_a_number_is_tinted_and_a_tap_shows_what_one_digit_is_read_as(chromium, drawing_page, artifacts):
    with opened(chromium, drawing_page, **DESKTOP) as pad:
        paper = pad.root.locator(".digit-pad-paper").bounding_box()
        assert paper["width"] == pytest.approx(2 * paper["height"], abs=1)
        digits = written("31415", width=1.9)
        for strokes in digits:
            pad.draw_by_mouse(strokes)
        assert pad.reads("31415")
        assert "This is 31415" in pad.caption.inner_text()
        assert "sure" in pad.caption.evaluate(
            "e => getComputedStyle(e.querySelector('.widget-html-content'), '::after').content"
        )
        pad.page.wait_for_timeout(300)
        assert under(pad) == ([*"31415"], "5")
        middles = [pad.on_screen([strokes[0][len(strokes[0]) // 2]])[0].tolist() for strokes in digits]
        seen = pad.canvas.evaluate(COLOURS_AT, middles)
        assert len(set(seen)) == 2, "two colours"
        assert all(first != second for first, second in itertools.pairwise(seen)), "neighbours differ"
        ink = pad.ink()
        pad.page.mouse.click(*middles[2])
        pad.page.wait_for_function(
            "document.querySelector('.digit-pad-characters .digit-pad-selected').innerText === '4'"
        )
        pad.page.screenshot(path=artifacts / "page-desktop-number.png")
        np.testing.assert_array_equal(pad.ink(), ink, "a tap on a digit leaves no ink")
        pad.page.mouse.click(paper["x"] + 30, paper["y"] + paper["height"] - 30)
        pad.answer()
        assert pad.ink().sum() > ink.sum(), "elsewhere it is a dot"


@pytest.mark.parametrize(
    ("phone", "name"), [(PHONE, "phone"), pytest.param(SMALL_PHONE, "small-phone", marks=pytest.mark.slow)]
)
def test_a_phone_shows_a_square_and_ink_ends_at_its_edge(chromium, drawing_page, artifacts, phone, name):
    with opened(chromium, drawing_page, **phone) as pad:
        paper = pad.root.locator(".digit-pad-paper").bounding_box()
        assert paper["width"] == pytest.approx(paper["height"], abs=1)
        pad.draw_by_touch([stroke for strokes in written("407", width=1) for stroke in strokes])
        assert pad.reads("407")
        pad.page.wait_for_timeout(300)
        pad.page.screenshot(path=artifacts / f"page-{name}-number.png")
        assert under(pad) == ([*"407"], "7")
        for character in pad.root.locator(".digit-pad-characters span").all():
            box = character.bounding_box()
            assert paper["x"] <= box["x"]
            assert box["x"] + box["width"] <= paper["x"] + paper["width"]
        pad.clear()
        pad.draw_by_touch([np.array([[0.5, 0.5], [0.9, 0.5], [1.1, 0.5], [1.4, 0.5]])])
        pad.answer()
        edge = pad.ink().any(axis=0).nonzero()[0].max() / pad.ink().shape[0]
        assert edge == pytest.approx(1 + 0.0225, abs=0.01), "the edge, and half a pen's width"


@pytest.mark.parametrize(
    ("screen", "name"), [pytest.param(DESKTOP, "desktop", marks=pytest.mark.slow), (SMALL_PHONE, "small-phone")]
)
def test_two_digits_are_joined_by_a_tap_and_labelled(chromium, drawing_page, artifacts, screen, name):
    with opened(chromium, drawing_page, **screen) as pad:
        draw = pad.draw_by_touch if "has_touch" in screen else pad.draw_by_mouse
        draw([stroke for strokes in written("407", width=1) for stroke in strokes])
        assert pad.reads("407")
        before = labels_below_paper(pad)
        pad.button("Join").click()
        pad.page.wait_for_function("document.querySelectorAll('.digit-pad-characters span').length === 2")
        join, split = (pad.button(name).bounding_box() for name in ("Join", "Split"))
        assert join["y"] == split["y"]
        assert split["x"] + split["width"] <= pad.page.viewport_size["width"], "both are to be seen"
        pad.button("It is an 8").click()
        assert pad.reads("48")
        assert under(pad) == ([*"48"], "8")
        assert labels_below_paper(pad) == before, "nothing moves"
        pad.page.screenshot(path=artifacts / f"page-{name}-joined.png")
        pad.page.keyboard.press("Control+z")
        pad.page.keyboard.press("Control+z")
        assert pad.reads("407")
