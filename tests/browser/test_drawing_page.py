import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
from PIL import Image

from digit_utils.datasets.samples import sample_digits
from digit_utils.pad.state import smooth_path
from tests.support.page_client import kernel_process, running_page
from tests.support.pictures import picture_of
from tests.support.traffic import Traffic

from .hand import BLANK, Fingers, Pad
from .relay import Relay

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 3, "is_mobile": True, "has_touch": True}
SMALL_PHONE = PHONE | {"viewport": {"width": 320, "height": 568}, "device_scale_factor": 2}
DESKTOP = {"viewport": {"width": 1280, "height": 800}}
SAMPLES = {sample.digit: sample.strokes for sample in sample_digits(side=1.0)}
TALL_LINE = np.array([[0.8, 0.2], [0.8, 0.7]])
SCRIBBLE = [np.random.default_rng(7).uniform(0.1, 0.9, (40, 2))]


@contextlib.contextmanager
def opened(chromium, address, *, received=None, **options):
    """Open the drawing page in a window of its own, and see that it fetches nothing from elsewhere.

    Messages that the page receives are added to the list `received`.
    """
    context = chromium.new_context(**options)
    page = context.new_page()
    foreign, errors = [], []
    page.on(
        "request", lambda request: request.url.startswith((address, "data:", "blob:")) or foreign.append(request.url)
    )
    if received is not None:
        page.on("websocket", lambda socket: socket.on("framereceived", lambda text: received.append(text)))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    pad = Pad(page)
    pad.layer.wait_for()
    page.wait_for_timeout(300)
    try:
        yield pad
    finally:
        context.close()
    assert foreign == [addresses for addresses in foreign if addresses.startswith("ws")]
    assert errors == []


@pytest.fixture(scope="module")
def desktop_page(chromium, drawing_page):
    """A page that tests share which leave nothing but a drawing on it."""
    with opened(chromium, drawing_page, **DESKTOP) as pad:
        yield pad


@pytest.fixture
def pad(desktop_page):
    """The pad of the shared page, cleared, with the mouse beside it."""
    desktop_page.page.mouse.move(2, 2)
    desktop_page.clear()
    return desktop_page


def reload_and_draw(pad, digit, *, then=lambda: None):
    """Press the banner's button, do something `then`, and see that the page that comes reads a digit."""
    with pad.page.expect_event("load"):
        pad.page.locator("#page-banner").get_by_role("button", name="Reload").click(no_wait_after=True)
        then()
    pad.canvas.wait_for()
    pad.page.wait_for_timeout(500)
    pad.draw_by_mouse(SAMPLES[digit])
    assert pad.answer() == str(digit)


def read_all(pad, draw, digits, recognizer):
    """Draw everybody's digits; return how many are read right, after checking each against the recogniser."""
    right = 0
    for digit, strokes in digits:
        draw(strokes)
        expected = recognizer.recognize(strokes).digit
        assert pad.reads("?" if expected is None else str(expected)), f"a written {digit}"
        right += expected == digit
        pad.clear()
    return right


@pytest.mark.slow
def test_ten_people_write_on_a_phone_and_are_read(chromium, drawing_page, peoples_digits, recognizer, artifacts):
    with opened(chromium, drawing_page, **PHONE) as pad:
        pad.page.screenshot(path=artifacts / "page-phone-blank.png")
        assert read_all(pad, pad.draw_by_touch, peoples_digits, recognizer) >= 9
        assert pad.scrolled() == [], "the page scrolled while somebody drew"
        pad.draw_by_touch(SAMPLES[5])
        assert pad.answer() == "5"
        pad.page.screenshot(path=artifacts / "page-phone-digit.png")


@pytest.mark.slow
def test_ten_people_write_on_a_laptop_and_are_read(chromium, drawing_page, peoples_digits, recognizer, artifacts):
    with opened(chromium, drawing_page, **DESKTOP) as pad:
        pad.page.screenshot(path=artifacts / "page-desktop-blank.png")
        assert read_all(pad, pad.draw_by_mouse, peoples_digits, recognizer) >= 9
        pad.draw_by_mouse(SAMPLES[2])
        assert pad.answer() == "2"
        pad.page.screenshot(path=artifacts / "page-desktop-digit.png")


def test_there_is_ink_where_the_pointer_was_and_nowhere_else(pad):
    assert not pad.ink().any()
    pad.draw_by_mouse(SAMPLES[4])
    pad.answer()
    ink = pad.ink()
    side = ink.shape[0]
    expected = np.zeros(ink.shape, np.uint8)
    for stroke in SAMPLES[4]:
        path = np.round(smooth_path(stroke) * side).astype(np.int32)
        cv2.polylines(expected, [path], False, 255, round(side * 0.045))
    slack = np.ones((9, 9), np.uint8)  # whole CSS pixels, and the edges' smoothing
    assert not (ink & (cv2.dilate(expected, slack) == 0)).any()
    assert not (~ink & (cv2.erode(expected, slack) > 0)).any()


def test_undo_clear_predict_and_their_keys(pad):
    assert pad.caption.inner_text().strip() == BLANK
    assert pad.answer() == ""
    pad.draw_by_mouse(SAMPLES[1])
    assert pad.answer() == "1"
    one = pad.ink()
    pad.draw_by_mouse(SAMPLES[0])
    pad.answer()
    assert pad.ink().sum() > one.sum()
    pad.button("Undo").click()
    assert pad.answer() == "1"
    assert (pad.ink() != one).mean() < 0.001  # but for the smoothing of the edges it is as before
    pad.button("Predict").click()
    assert pad.answer() == "1"
    pad.clear()
    assert not pad.ink().any()
    pad.draw_by_mouse(SAMPLES[1])
    pad.canvas.focus()
    pad.page.keyboard.press("Control+z")
    pad.answer()
    assert pad.caption.inner_text().strip() == BLANK
    pad.draw_by_mouse(SAMPLES[1])
    pad.page.keyboard.press("Escape")
    pad.answer()
    assert pad.caption.inner_text().strip() == BLANK


def test_the_keyboard_reaches_every_button_and_can_leave_the_paper(pad):
    pad.canvas.focus()
    focused = []
    for _ in range(5):
        pad.page.keyboard.press("Tab")
        pad.page.wait_for_timeout(250)
        focused.append(pad.page.evaluate("document.activeElement.innerText"))
    assert focused == ["Undo", "Redo", "Clear", "Predict", "Open a picture"]


@pytest.mark.slow
def test_without_a_connection_the_keyboard_leaves_the_paper_all_the_same(chromium, drawing_page):
    relay = Relay(urlsplit(drawing_page).port)
    with opened(chromium, f"http://127.0.0.1:{relay.port}/", **DESKTOP) as pad:
        relay.cut()
        pad.page.locator("#page-banner").get_by_text("Connection lost").wait_for(timeout=15_000)
        for key, goal in (("Tab", "Undo"), ("Shift+Tab", "Reload")):
            pad.canvas.focus()
            pad.page.keyboard.press(key)
            assert pad.page.evaluate("document.activeElement.innerText") == goal


def test_the_paper_takes_the_keys_of_the_pad_and_leaves_the_others_to_the_browser(chromium, drawing_page):
    with opened(chromium, drawing_page, viewport={"width": 900, "height": 300}) as pad:
        press = pad.page.keyboard.press
        pad.draw_by_mouse(SAMPLES[1])
        assert pad.answer() == "1"
        press("7")
        pad.mark.get_by_text("7").wait_for()
        pad.page.evaluate(
            """() => {
                window.taken = [];
                KeyboardEvent.prototype.preventDefault = function () {
                    taken.push(this.key);
                    Event.prototype.preventDefault.call(this);
                };
            }"""
        )
        for key in ("Control+5", "Control+Equal", "Control+l", "Control+Shift+Delete", "Alt+ArrowRight", "F6", "a"):
            press(key)
        press("PageDown")
        pad.page.wait_for_timeout(400)
        assert pad.scrolled() != []
        assert pad.ink().any()
        press("Control+z")
        assert pad.reads("1"), "the label is taken back first"
        press("Control+z")
        assert pad.answer() == ""
        press("Enter")
        assert pad.page.evaluate("taken") == ["z", "z", "Enter"]


def test_a_scribble_gets_the_state_that_the_recogniser_gives_it(pad, recognizer, artifacts):
    pad.draw_by_mouse(SCRIBBLE)
    prediction = recognizer.recognize(SCRIBBLE)
    assert prediction.digit is None
    assert pad.answer() == "?"
    assert "Not a digit" in pad.caption.inner_text()
    assert str(prediction.best_digit) in pad.caption.inner_text()
    pad.page.screenshot(path=artifacts / "page-desktop-scribble.png")


def test_a_button_released_outside_the_paper_ends_the_stroke(pad):
    mouse, box = pad.page.mouse, pad.canvas.bounding_box()
    left, middle = box["x"], box["y"] + box["height"] / 2
    mouse.move(left + 200, middle)
    mouse.down()
    mouse.move(left + 100, middle, steps=5)
    mouse.move(left - 60, middle, steps=5)
    mouse.up()
    pad.answer()
    before = pad.ink()
    assert before[:, 0].any(), "the stroke reaches the edge where the pointer left"
    mouse.move(left + 300, middle + 100, steps=8)
    pad.answer()
    np.testing.assert_array_equal(pad.ink(), before)


@pytest.mark.parametrize("way", [(0, 100), (-240, 0)], ids=["over the paper", "out of it"])
def test_a_button_whose_release_nobody_saw_ends_the_stroke_where_it_was(pad, way):
    """Over a menu, a dialog or another window: the page does not hear of a release there."""
    mouse, box = pad.page.mouse, pad.canvas.bounding_box()
    x, y = box["x"] + 100, box["y"] + 100
    mouse.move(x, y)
    mouse.down()
    mouse.move(x + 100, y, steps=10)
    pad.answer()
    before = pad.ink()
    assert before.any()
    move = {"type": "mouseMoved", "buttons": 0, "x": x + 100 + way[0], "y": y + way[1]}
    pad.page.context.new_cdp_session(pad.page).send("Input.dispatchMouseEvent", move)
    pad.answer()
    assert (pad.ink() != before).mean() < 0.001  # but for the last half of a step


def test_a_stroke_goes_on_when_the_mouse_returns_with_its_button_down(pad, artifacts):
    mouse, box = pad.page.mouse, pad.canvas.bounding_box()
    left, top, unit = box["x"], box["y"], box["height"] / 400
    mouse.move(left + 200 * unit, top + 100 * unit)
    mouse.down()
    mouse.move(left - 60, top + 100 * unit, steps=6)
    mouse.move(left - 60, top + 300 * unit, steps=6)
    mouse.move(left + 200 * unit, top + 300 * unit, steps=6)
    mouse.up()
    pad.answer()
    ink = pad.ink()
    assert ink[200, 5:390].all(), "out"
    assert ink[600, 5:390].all(), "and in again, from the edge on"
    assert not ink[230:570].any(), "nothing where the pointer was outside"
    mouse.move(left + 100 * unit, top + 350 * unit, steps=4)  # the button is up
    pad.answer()
    np.testing.assert_array_equal(pad.ink(), ink)
    assert pad.page.evaluate("getSelection().toString()") == "", "a drag over the edge selects no text"


def test_only_the_main_button_draws_and_the_wheel_scrolls_the_page(chromium, drawing_page):
    with opened(chromium, drawing_page, viewport={"width": 900, "height": 300}) as pad:
        mouse, box = pad.page.mouse, pad.canvas.bounding_box()
        for button in ("right", "middle"):
            mouse.move(box["x"] + 100, box["y"] + 100)
            mouse.down(button=button)
            mouse.move(box["x"] + 200, box["y"] + 200, steps=4)
            mouse.up(button=button)
        pad.answer()
        assert not pad.ink().any()
        pad.page.keyboard.press("Escape")  # whatever these buttons have opened
        mouse.move(box["x"] + 100, box["y"] + 100)
        mouse.wheel(0, 120)
        pad.page.wait_for_timeout(400)
        assert pad.scrolled() != []


def test_the_keys_of_the_pad_work_wherever_the_focus_is(pad):
    pad.draw_by_mouse(SAMPLES[1])
    assert pad.answer() == "1"
    pad.draw_by_mouse([np.array([[0.1, 0.9], [0.9, 0.9]])])
    pad.button("Predict").focus()
    pad.page.keyboard.press("Control+z")
    assert pad.answer() == "1"
    pad.page.evaluate("document.activeElement.blur()")
    pad.page.keyboard.press("Escape")
    assert pad.answer() == ""
    assert not pad.ink().any()


@pytest.mark.slow
def test_after_the_phone_is_turned_the_finger_draws_where_it_is(chromium, drawing_page, artifacts):
    with opened(chromium, drawing_page, **PHONE) as pad:
        pad.draw_by_touch(SAMPLES[1])
        assert pad.answer() == "1"
        upright = pad.ink()
        pad.page.set_viewport_size({"width": 844, "height": 390})
        pad.page.wait_for_timeout(400)
        assert pad.answer() == "1"
        np.testing.assert_array_equal(pad.ink(), upright)
        pad.page.screenshot(path=artifacts / "page-phone-turned.png")
        pad.clear()
        pad.draw_by_touch(SAMPLES[4])
        assert pad.answer() == "4"


def test_names_for_screen_readers(pad):
    pad.draw_by_mouse(SAMPLES[7])
    assert pad.answer() == "7"
    page = pad.page
    for role, name in (
        ("heading", "Draw a digit or a number"),
        ("img", "Paper to draw a number on"),
        ("button", "Undo"),
        ("button", "Clear"),
        ("img", "The drawing as the network sees it"),
        ("img", "Ten bars: how likely each digit from 0 to 9 is"),
    ):
        assert page.get_by_role(role, name=name).count() == 1, name
    assert "This is a 7" in page.get_by_role("alert").last.inner_text()
    said = page.locator(".digit-pad-tiles p").inner_text()
    assert re.match(r"Probabilities: 7: \d+ %", said)
    shown = pad.root.locator(".digit-pad-column").nth(7).evaluate("e => getComputedStyle(e, '::before').counterReset")
    assert shown.split()[1] in said, "the bar carries the same figure"


def test_a_visitor_who_leaves_makes_room(chromium, drawing_page):
    context = chromium.new_context(**DESKTOP)
    page = context.new_page()
    page.goto(drawing_page)
    Pad(page).canvas.wait_for()
    kernel = page.evaluate("JSON.parse(document.getElementById('jupyter-config-data').textContent).kernelId")
    state = f"{drawing_page}api/kernels/{kernel}"
    assert context.request.get(state).status == 200
    page.goto("about:blank")
    end = time.monotonic() + 20
    while context.request.get(state).status != 404:
        assert time.monotonic() < end, "the kernel of a page that was left lives on"
        time.sleep(0.2)
    context.close()


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals as on POSIX")
def test_when_the_kernel_is_stuck_or_dies_the_page_says_so_and_a_reload_draws(chromium, artifacts):
    with running_page() as (process, address), opened(chromium, address, **DESKTOP) as pad:
        page, banner = pad.page, pad.page.locator("#page-banner")
        kernel_id = page.evaluate("JSON.parse(document.getElementById('jupyter-config-data').textContent).kernelId")
        kernel = kernel_process(process, kernel_id)
        assert not banner.is_visible()
        kernel.send_signal(signal.SIGSTOP)
        pad.draw_by_mouse(SAMPLES[3])
        banner.get_by_text("Waiting for an answer").wait_for(timeout=15_000)
        assert not banner.get_by_role("button", name="Reload").is_visible()
        page.evaluate("Date.now = (now => () => now() + 20_000)(Date.now)")  # that much later
        banner.get_by_text("No answer yet").wait_for(timeout=5_000)
        assert banner.get_by_role("button", name="Reload").is_visible()
        kernel.send_signal(signal.SIGCONT)
        banner.wait_for(state="hidden", timeout=15_000)
        assert pad.answer() == "3", "what was drawn meanwhile is not lost"
        kernel.kill()
        banner.get_by_text("This session has ended").wait_for(timeout=20_000)
        page.screenshot(path=artifacts / "page-desktop-ended.png")
        reload_and_draw(pad, 5)
        assert not banner.is_visible()


@pytest.mark.slow
def test_when_the_network_is_cut_the_page_says_so_and_goes_on_when_it_is_back(chromium, drawing_page, artifacts):
    relay = Relay(urlsplit(drawing_page).port)
    with opened(chromium, f"http://127.0.0.1:{relay.port}/", **DESKTOP) as pad:
        page, banner = pad.page, pad.page.locator("#page-banner")
        pad.draw_by_mouse(SAMPLES[3])
        assert pad.answer() == "3"
        relay.cut()
        banner.get_by_text("Connection lost").wait_for(timeout=15_000)
        page.screenshot(path=artifacts / "page-desktop-offline.png")
        pad.draw_by_mouse([stroke[:5] for stroke in SAMPLES[5]])  # in vain, but the page is not frozen
        assert page.evaluate("1 + 1") == 2
        relay.mend()
        banner.wait_for(state="hidden", timeout=60_000)
        pad.clear()
        pad.draw_by_mouse(SAMPLES[5])
        assert pad.answer() == "5"
        relay.cut()
        banner.get_by_text("Connection lost").wait_for(timeout=15_000)
        relay.stall()  # or the page might be there again before the button is pressed
        reload_and_draw(pad, 7, then=relay.pass_on)
    relay.cut()


def test_the_offline_warning_disappears_with_the_next_answer(pad):
    """A page served by this machine needs no network, but the browser reports its loss all the same."""
    script = """(...events) => {
        const banner = document.getElementById('page-banner');
        return events.flat().map(name => { dispatchEvent(new Event(name)); return !banner.hidden; });
    }"""  # in one go: any message of the kernel would show that the connection is there
    assert pad.page.evaluate(script, ["offline"]) == [True]
    pad.draw_by_mouse(SAMPLES[3])
    assert pad.answer() == "3"
    pad.page.locator("#page-banner").wait_for(state="hidden", timeout=5_000)
    assert pad.page.evaluate(script, ["offline", "online"]) == [True, False]


@pytest.mark.slow
def test_a_visitor_of_a_full_page_is_asked_to_wait_and_gets_in_later(chromium, artifacts):
    with running_page("--visitors", "1") as (_, address):
        with opened(chromium, address, **DESKTOP) as pad:
            context = chromium.new_context(**PHONE)
            page = context.new_page()
            assert page.goto(address).status == 503
            assert "The page is full" in page.locator("main").inner_text()
            page.screenshot(path=artifacts / "page-phone-full.png")
            pad.page.goto("about:blank")
        Pad(page).canvas.wait_for(timeout=40_000)  # by itself, once the other has left
        context.close()


def test_a_palm_and_a_finger_that_leaves_the_paper_draw_nothing_of_their_own(chromium, drawing_page):
    with opened(chromium, drawing_page, **PHONE) as pad:
        box = pad.canvas.bounding_box()
        fingers = Fingers(pad.page)

        def place(x, y):
            return box["x"] + x * box["height"], box["y"] + y * box["height"]

        fingers.send("touchStart", first=place(0.2, 0.2))
        fingers.send("touchStart", first=place(0.2, 0.2), second=place(0.8, 0.9))
        for step in np.linspace(0.2, 0.6, 9):
            fingers.send("touchMove", first=place(0.2, step), second=place(0.8, 0.9 - step / 9))
        fingers.send("touchEnd", second=place(0.8, 0.83))
        fingers.send("touchMove", second=place(0.5, 0.83))
        fingers.send("touchEnd")
        pad.answer()
        ink = pad.ink()
        assert ink.any()
        assert not ink[:, ink.shape[1] * 3 // 10 :].any(), "the palm left ink"
        pad.clear()
        fingers.send("touchStart", first=place(0.5, 0.5))
        fingers.send("touchMove", first=place(0.5, 1.2))
        fingers.send("touchEnd")
        pad.answer()
        assert pad.ink()[-1].any()
        assert pad.scrolled() == []


def test_a_small_phone_shows_everything_without_scrolling_sideways(chromium, drawing_page, artifacts):
    with opened(chromium, drawing_page, **SMALL_PHONE) as pad:
        wide = pad.page.evaluate(
            """[...document.querySelectorAll('*')].filter(each => {
                const box = each.getBoundingClientRect(), style = getComputedStyle(each);
                const scrolls = /auto|scroll/.test(style.overflowX) && each.scrollWidth > each.clientWidth;
                const isCut = each.parentElement?.closest('.digit-pad-paper');
                const hidden = isCut || style.clipPath !== 'none' || style.display === 'none';
                return scrolls || (!hidden && box.width > 0 && (box.right > 320.5 || box.left < -0.5));
            }).map(each => each.tagName + '.' + each.className)"""
        )
        assert wide == []
        pad.draw_by_touch(SAMPLES[3])
        assert pad.answer() == "3"
        pad.page.screenshot(path=artifacts / "page-small-phone.png")
        chart = pad.root.get_by_role("img", name="Ten bars")
        chart.scroll_into_view_if_needed()  # by the page's own scrolling, beside the paper
        box = chart.bounding_box()
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= 568
        pad.page.screenshot(path=artifacts / "page-small-phone-below.png")


PHONE_SIZES = [(320, 568), (360, 640), (390, 664), (430, 932), (568, 320), (844, 390), (932, 430), (480, 320)]
LARGER_SIZES = [(480, 800), (768, 1024), (1024, 768), (1280, 720), (1280, 800), (1920, 1080)]


def _corrected(pad) -> None:
    pad.draw_by_touch(SAMPLES[4])
    pad.button("It is a 9").click()


def _opened_picture(pad) -> None:
    file = cv2.imencode(".png", picture_of(("2026", 100, 80), ("47", 150, 400)))[1].tobytes()
    pad.root.locator("input[type=file]").set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": file})


def _unfolded(pad) -> None:
    pad.draw_by_touch(SAMPLES[3])
    pad.button("How it sees").click()
    pad.root.locator(".digit-pad-steps").wait_for()


STATES = {
    "blank": lambda pad: None,
    "digit": lambda pad: pad.draw_by_touch(SAMPLES[4]),
    "number": lambda pad: pad.draw_by_touch([stroke * 0.5 + [0.1, 0.2] for stroke in SAMPLES[4]] + [TALL_LINE]),
    "unknown": lambda pad: pad.draw_by_touch(SCRIBBLE),
    "corrected": _corrected,
    "picture": _opened_picture,
    "strip": _unfolded,
}


@pytest.mark.slow
@pytest.mark.parametrize("state", STATES)
def test_every_state_fits_every_screen_and_is_kept_as_a_picture(chromium, drawing_page, artifacts, state):
    with opened(chromium, drawing_page, **PHONE) as pad:
        STATES[state](pad)
        pad.answer()
        for width, height in [*PHONE_SIZES, *LARGER_SIZES]:
            pad.page.set_viewport_size({"width": width, "height": height})
            pad.page.wait_for_timeout(200)
            for scheme in ("dark", "light"):
                pad.page.emulate_media(color_scheme=scheme)
                pad.page.screenshot(path=artifacts / f"page-{width}x{height}-{scheme}-{state}.png")
            assert pad.page.evaluate("document.documentElement.scrollWidth") <= width
            box = pad.mark.bounding_box()
            assert box["y"] >= 0, "the answer is in view"
            assert box["y"] + box["height"] <= height, "the answer is in view"


def test_the_answer_is_in_view_on_every_screen_and_the_paper_as_large_as_fits(chromium, drawing_page):
    """Paper, answer and bars, whatever the screen; the labels too, but on the smallest phone."""
    with opened(chromium, drawing_page, **PHONE) as pad:
        pad.draw_by_touch(SAMPLES[4])
        assert pad.answer() == "4"
        for width, height in [*PHONE_SIZES, *LARGER_SIZES]:
            pad.page.set_viewport_size({"width": width, "height": height})
            pad.page.wait_for_timeout(200)
            names = ["paper", "mark", "caption", "chart"] + ["labels"] * (width > 320)
            boxes = {name: pad.root.locator(f".digit-pad-{name}").bounding_box() for name in names}
            for name, box in boxes.items():
                assert box["x"] >= 0, (width, height, name)
                assert box["y"] >= 0, (width, height, name)
                assert box["x"] + box["width"] <= width, (width, height, name)
                assert box["y"] + box["height"] <= height, (width, height, name)
            is_beside = boxes["mark"]["x"] >= boxes["paper"]["x"] + boxes["paper"]["width"]
            assert is_beside == (width >= 564 or width > height), (width, height)
            assert boxes["paper"]["width"] >= (620 if width >= 1280 else 220), (width, height)
            for name in ("Undo", "Redo", "Clear", "Predict"):
                assert pad.button(name).evaluate("e => e.scrollWidth <= e.clientWidth"), (width, height, name)
            opener = pad.button("Open a picture").bounding_box()  # its text gives way to the sign
            assert opener["width"] >= 28, (width, height)
            assert opener["height"] == 44, (width, height)


def test_while_the_pad_loads_its_outline_is_there_and_no_unstyled_text(chromium, drawing_page):
    context = chromium.new_context(**DESKTOP)
    page = context.new_page()
    page.route("**/*.js*", lambda route: None)  # scripts that never come
    page.goto(drawing_page, wait_until="commit")
    page.locator("#skeleton").get_by_text("Loading the drawing pad").wait_for()
    paper = page.locator("#skeleton div").first.bounding_box()
    assert paper["width"] == pytest.approx(2 * paper["height"], abs=1)
    assert paper["width"] > 600
    context.close()
    with opened(chromium, drawing_page, **DESKTOP) as pad:
        assert not pad.page.locator("#skeleton").is_visible()


def test_a_first_visit_fetches_one_and_a_half_megabytes_and_a_second_next_to_nothing(chromium, drawing_page):
    context = chromium.new_context()
    for most, size in ((105, 1_500_000), (5, 30_000)):
        page = context.new_page()
        traffic = Traffic(context.new_cdp_session(page))
        response = page.goto(drawing_page)
        Pad(page).layer.wait_for()
        assert traffic.fetched <= most
        assert traffic.bytes <= size
        assert response.headers["content-encoding"] == "gzip"
        page.close()
    context.close()


def test_the_strip_moves_with_the_pen_and_costs_no_message(chromium, drawing_page, artifacts):
    names = """() => [...document.querySelectorAll('.digit-pad-steps li > div')].map(
        element => getComputedStyle(element).backgroundImage)"""
    received = []
    with opened(chromium, drawing_page, received=received, **PHONE) as pad:
        pad.draw_by_touch(SAMPLES[5])
        assert pad.reads("5")
        assert pad.page.evaluate(names) == []
        assert not any(b"--step-" in message for message in received), "folded away it costs nothing"
        pad.clear()
        pad.button("How it sees").click()
        pad.root.locator(".digit-pad-steps").wait_for()
        pad.page.wait_for_timeout(300)
        first, rest = pad.on_screen(np.array_split(SAMPLES[3][0], 2))
        fingers, seen = Fingers(pad.page), [pad.page.evaluate(names)]
        fingers.send("touchStart", first=first[0])
        for places in (first, rest):
            for place in places:
                fingers.send("touchMove", first=place)
            pad.page.wait_for_timeout(500)
            seen.append(pad.page.evaluate(names))
        fingers.send("touchEnd")
        assert pad.reads("3")
        assert [len({*pictures}) for pictures in zip(*seen, strict=True)] == [3, 3, 3, 3, 1]
        pictures = [message for message in received if b"--step-input:url" in message]
        assert all(b"digit-pad-tile" in message for message in pictures), "they come with the answers"
        assert pictures
        pad.root.locator(".digit-pad-sight").scroll_into_view_if_needed()
        pad.page.screenshot(path=artifacts / "page-phone-strip.png")
        assert pad.page.evaluate("document.documentElement.scrollWidth") <= PHONE["viewport"]["width"]
        pad.button("Hide how it sees").click()
        pad.root.locator(".digit-pad-steps").wait_for(state="detached")


def test_the_blank_page_shows_how_a_digit_is_drawn_unless_motion_is_unwelcome(chromium, drawing_page, artifacts):
    running = "() => document.getAnimations().filter(each => each.animationName?.startsWith('digit-pad')).length"
    opacity = "element => Number(getComputedStyle(element).opacity)"
    with opened(chromium, drawing_page, **PHONE) as pad:
        example = pad.root.locator(".digit-pad-example")
        assert pad.page.evaluate(running) == 3
        assert example.evaluate(opacity) == 1
        assert pad.answer() == "", "nothing was drawn"
        pad.draw_by_touch(SAMPLES[7])
        assert pad.reads("7")
        assert not example.is_visible()
        assert pad.page.evaluate(running) == 0, "not even unseen"
    with opened(chromium, drawing_page, reduced_motion="reduce", **PHONE) as pad:
        assert pad.page.evaluate(running) == 0
        assert pad.root.locator(".digit-pad-example polyline").is_visible()
        pad.page.screenshot(path=artifacts / "page-phone-reduced-motion.png")


def test_a_tap_leaves_no_ring_around_the_paper_and_keys_do(chromium, drawing_page):
    shadow = "element => getComputedStyle(element).boxShadow"
    with opened(chromium, drawing_page, **PHONE) as pad:
        paper = pad.root.locator(".digit-pad-paper")
        before = paper.evaluate(shadow)
        pad.draw_by_touch(SAMPLES[1])
        assert pad.answer() == "1"
        assert pad.canvas.evaluate("canvas => document.activeElement === canvas"), "for its keys"
        assert paper.evaluate(shadow) == before
        pad.page.keyboard.press("Tab")
        pad.page.keyboard.press("Shift+Tab")
        assert pad.canvas.evaluate("canvas => document.activeElement === canvas")
        assert paper.evaluate(shadow) != before


def test_the_page_is_as_dark_as_the_system_or_as_was_chosen_and_never_flashes(chromium, drawing_page):
    def colours(page) -> tuple[float, float]:
        """Return how light the page is, and the words of JupyterLab's theme."""
        script = """property => {
            const probe = document.body.appendChild(document.createElement("i"));
            probe.style.color = property;
            const rgb = getComputedStyle(probe).color.match(/[0-9.]+/g).map(Number);
            probe.remove();
            return (rgb[0] + rgb[1] + rgb[2]) / 3;
        }"""
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return page.evaluate(script, background), page.evaluate(script, "var(--jp-ui-font-color1)")

    with opened(chromium, drawing_page, color_scheme="dark", **DESKTOP) as pad:
        page, switch = pad.page, pad.page.get_by_label("Colours")
        assert switch.input_value() == "auto"
        assert colours(page)[0] < 50
        assert colours(page)[1] > 200
        page.emulate_media(color_scheme="light")
        page.wait_for_function("document.body.matches('.theme-light')")
        assert colours(page)[0] > 200
        assert colours(page)[1] < 50
        switch.select_option("dark")
        assert colours(page)[0] < 50
        page.add_init_script(EVERY_FRAME)
        page.route("**/*.js*", lambda route: (time.sleep(0.1), route.continue_()))  # the outline is painted long before
        page.reload()
        pad.layer.wait_for()
        assert switch.input_value() == "dark"
        assert colours(page)[1] > 200
        assert page.evaluate("[...backgrounds]") == [page.evaluate("getComputedStyle(document.body).backgroundColor")]
        switch.select_option("auto")
        assert colours(page)[0] > 200


# The colours that the page has had at any frame.
EVERY_FRAME = """
    window.backgrounds = new Set();
    const look = () => {
        if (document.body) backgrounds.add(getComputedStyle(document.body).backgroundColor);
        requestAnimationFrame(look);
    };
    look();
"""


@pytest.mark.slow
def test_a_phone_in_the_dark(chromium, drawing_page, artifacts):
    with opened(chromium, drawing_page, color_scheme="dark", **PHONE) as pad:
        pad.draw_by_touch(SAMPLES[6])
        assert pad.answer() == "6"
        pad.page.screenshot(path=artifacts / "page-phone-dark.png")


@pytest.mark.parametrize("scheme", [pytest.param("light", marks=pytest.mark.slow), "dark"])
def test_ink_and_bars_are_seen_in_a_contrast_theme(chromium, drawing_page, artifacts, scheme):
    with opened(chromium, drawing_page, forced_colors="active", color_scheme=scheme, **DESKTOP) as pad:
        pad.draw_by_mouse(SAMPLES[8])
        assert pad.answer() == "8"
        pad.page.screenshot(path=artifacts / f"page-desktop-contrast-{scheme}.png")
        colour = "element => getComputedStyle(element).backgroundColor.match(/[0-9.]+/g).slice(0, 3).map(Number)"
        page, paper, track, bar = (
            np.mean(pad.page.locator(name).first.evaluate(colour))
            for name in ("body", ".digit-pad-paper", ".digit-pad-track", ".digit-pad-bar")
        )
        assert (page > 128) == (scheme == "light"), "the theme is on"
        assert paper > 200, "light, since the ink is dark"
        assert abs(track - bar) > 80


@pytest.mark.parametrize("theme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_every_word_is_easy_to_read(chromium, drawing_page, artifacts, theme):
    context = chromium.new_context(color_scheme=theme, **DESKTOP)
    page = context.new_page()
    page.goto(drawing_page)
    pad = Pad(page)
    pad.canvas.wait_for()
    page.wait_for_timeout(500)
    pad.draw_by_mouse(SAMPLES[8])
    assert pad.answer() == "8"
    page.screenshot(path=artifacts / f"page-desktop-{theme}.png")
    brightness = np.mean(
        page.evaluate("getComputedStyle(document.body).backgroundColor.match(/[0-9.]+/g).slice(0, 3).map(Number)")
    )
    assert (brightness > 128) == (theme == "light")
    contrasts = page.evaluate(CONTRASTS)
    context.close()
    assert len(contrasts) >= 15
    assert min(contrasts.values()) >= 4.5, contrasts  # WCAG 2, level AA


# The contrast of every text of the page with what lies behind it, half-transparent layers blended.
CONTRASTS = """() => {
    const parse = text => [...text.match(/[0-9.]+/g).map(Number), 1].slice(0, 4);
    const over = (top, below) => top.slice(0, 3).map((c, i) => c * top[3] + below[i] * (1 - top[3]));
    const light = rgb => rgb.map(c => c / 255).map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = element => {
        const layers = [];
        for (let each = element; each; each = each.parentElement)
            layers.unshift(getComputedStyle(each).backgroundColor);
        return layers.map(parse).reduce((below, top) => over(top, below), [255, 255, 255]);
    };
    const found = {};
    for (const element of document.querySelectorAll('#rendered_cells *')) {
        const text = [...element.childNodes].filter(n => n.nodeType === 3).map(n => n.textContent.trim()).join('');
        if (!text || element.tagName === 'STYLE') continue;
        if (element.closest('.digit-pad-unseen, .anchor-link, #page-banner')) continue;
        if (getComputedStyle(element).display === 'none') continue;
        const back = behind(element), front = over(parse(getComputedStyle(element).color), back);
        const [high, low] = [light(front), light(back)].sort((a, b) => b - a);
        found[element.className + ': ' + text] = (high + 0.05) / (low + 0.05);
    }
    return found;
}"""


@pytest.mark.slow
@pytest.mark.usefixtures("chromium")  # or there is none, and this is skipped
def test_the_readme_s_animation_shows_the_page_as_it_is(artifacts):
    subprocess.run(
        [sys.executable, "-m", "docs.make_animation", "--output", artifacts / "drawing.gif"], check=True, cwd=ROOT
    )
    ends = []
    for path in (artifacts / "drawing.gif", ROOT / "docs" / "drawing.gif"):
        animation = Image.open(path)
        assert animation.n_frames > 20
        animation.seek(animation.n_frames - 1)
        ends.append(np.asarray(animation.convert("L"), dtype=int))
    assert ends[0].shape == ends[1].shape
    assert np.abs(ends[0] - ends[1]).mean() < 4, "make animation"  # fonts differ between machines
