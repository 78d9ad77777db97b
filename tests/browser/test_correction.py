"""One tap corrects a misreading, on the drawing page in a real Chromium."""

import re

import pytest

from .test_drawing_page import DESKTOP, SAMPLES, SMALL_PHONE, opened

pytestmark = pytest.mark.browser


def shown_after(pad, digit):
    pad.mark.filter(has_text=re.compile(f"^{digit}$")).wait_for()
    return pad.mark.inner_text().strip()


def test_one_tap_corrects_and_the_form_is_read_so_by_this_visitor_alone(chromium, drawing_page, artifacts):
    with opened(chromium, drawing_page, **DESKTOP) as pad:
        pad.draw_by_mouse(SAMPLES[1])
        assert pad.answer() == "1"
        pad.button("It is a 7").click()
        assert shown_after(pad, 7) == "7"
        assert "Labelled 7" in pad.root.locator(".digit-pad-note").inner_text()
        pad.page.screenshot(path=artifacts / "page-desktop-corrected.png")
        pad.clear()
        assert "Wrong?" in pad.root.locator(".digit-pad-note").inner_text()
        pad.draw_by_mouse([stroke * 0.7 + 0.1 for stroke in SAMPLES[1]])
        assert pad.answer() == "7"
        with opened(chromium, drawing_page, **DESKTOP) as other:
            other.draw_by_mouse(SAMPLES[1])
            assert other.answer() == "1"


def test_every_digit_can_be_tapped_on_a_small_phone_and_reached_by_keyboard(chromium, drawing_page, artifacts):
    with opened(chromium, drawing_page, **SMALL_PHONE) as pad:
        pad.draw_by_touch(SAMPLES[1])
        assert pad.answer() == "1"
        for digit in range(10):
            button = pad.button(f"It is {'an' if digit == 8 else 'a'} {digit}")
            box = button.bounding_box()
            assert box["width"] >= 24  # WCAG 2.2, level AA
            assert box["height"] >= 40
            assert 0 <= box["x"] <= 320 - box["width"]
        pad.button("It is a 4").tap()
        assert shown_after(pad, 4) == "4"
        pad.button("It is a 7").focus()
        pad.page.keyboard.press("Enter")
        assert shown_after(pad, 7) == "7"
        pad.button("It is a 0").scroll_into_view_if_needed()
        pad.page.screenshot(path=artifacts / "page-small-phone-corrected.png")


def test_a_slip_is_taken_back_by_undo_or_forget_and_nothing_moves(chromium, drawing_page):
    with opened(chromium, drawing_page, **DESKTOP) as pad:
        paper_and_note = "[...document.querySelectorAll('.digit-pad-paper, .digit-pad-note')].map(e => e.offsetTop)"
        before = pad.page.evaluate(paper_and_note)
        pad.draw_by_mouse(SAMPLES[1])
        assert pad.answer() == "1"
        assert not pad.button("Forget this").is_visible()
        pad.button("It is a 7").click()
        assert shown_after(pad, 7) == "7"
        assert pad.page.evaluate(paper_and_note) == before
        pad.page.keyboard.press("Control+z")
        assert shown_after(pad, 1) == "1", "the ink stays, the label goes"
        pad.page.keyboard.press("Control+y")
        assert shown_after(pad, 7) == "7"
        pad.button("Forget this").click()
        assert shown_after(pad, 1) == "1"
        assert pad.page.evaluate(paper_and_note) == before
        ink = pad.dry_ink()
        pad.clear()
        pad.button("Undo").click()
        assert shown_after(pad, 1) == "1"
        assert (pad.dry_ink() == ink).all()
        pad.page.keyboard.press("Control+Shift+Z")
        assert shown_after(pad, "") == ""
