"""Wet and dry ink together, on the drawing page: a slow network, a slow processor, a kernel that does not answer."""

import contextlib
import signal
import time
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from digit_utils.pad.state import smooth_path
from tests.support.page_client import kernel_process, running_page

from .hand import Fingers, Pad
from .relay import Relay
from .test_drawing_page import DESKTOP, PHONE, SAMPLES, opened

pytestmark = pytest.mark.browser

ROUND_TRIP = 0.14  # seconds
SLOWER = 4  # times: the processor of a cheap phone
SENT = """() => {
    const send = WebSocket.prototype.send;
    window.sent = [];
    WebSocket.prototype.send = function (message) {
        sent.push(performance.now());
        return send.call(this, message);
    };
}"""
# A picture of the paper at every frame, as long as `watching` holds: the two canvases one over the other.
WATCH = """pad => {
    const canvases = [...pad.querySelectorAll("canvas")], frames = window.frames = [];
    const look = () => {
        const whole = document.createElement("canvas"), context = whole.getContext("2d");
        [whole.width, whole.height] = [canvases[0].width, canvases[0].height];
        for (const canvas of canvases) context.drawImage(canvas, 0, 0);
        const { data } = context.getImageData(0, 0, whole.width, whole.height);
        frames.push(data.reduce((sum, value, i) => sum + (i % 4 === 3 ? value : 0), 0) / 255);
        if (window.watching) requestAnimationFrame(look);
    };
    window.watching = true;
    requestAnimationFrame(look);
}"""


@pytest.fixture(scope="module")
def server():
    """A page whose kernels the tests may stop."""
    with running_page() as (process, address):
        yield process, address


@contextlib.contextmanager
def stopped(server, pad):
    """The kernel of a page answers nothing."""
    process, _ = server
    kernel_id = pad.page.evaluate("JSON.parse(document.getElementById('jupyter-config-data').textContent).kernelId")
    kernel = kernel_process(process, kernel_id)
    kernel.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        kernel.send_signal(signal.SIGCONT)


def has_dried(pad) -> None:
    pad.page.wait_for_function("!document.querySelector('[data-wet]')", timeout=20_000)


def expected_ink(strokes, side=800) -> np.ndarray:
    picture = np.zeros((side, 2 * side), np.uint8)
    for stroke in strokes:
        cv2.polylines(picture, [np.round(smooth_path(stroke) * side).astype(np.int32)], False, 255, round(side * 0.045))
    return picture


def picture(pad) -> np.ndarray:
    box = pad.canvas.bounding_box()
    return cv2.imdecode(np.frombuffer(pad.page.screenshot(clip=box), np.uint8), cv2.IMREAD_COLOR).astype(int)


@pytest.mark.parametrize("way", ["mouse", "touch"])
def test_ink_is_there_before_the_kernel_answers_and_dries_without_a_change(chromium, server, way):
    with opened(chromium, server[1], **(DESKTOP if way == "mouse" else PHONE)) as pad:
        draw = pad.draw_by_mouse if way == "mouse" else pad.draw_by_touch
        with stopped(server, pad):
            draw(SAMPLES[4])
            wet = pad.wet_ink()
            expected, slack = expected_ink(SAMPLES[4]), np.ones((9, 9), np.uint8)
            assert not (wet & (cv2.dilate(expected, slack) == 0)).any()
            assert not (~wet & (cv2.erode(expected, slack) > 0)).any()
            assert not pad.dry_ink().any(), "the paper below is still blank"
            pad.page.mouse.move(2, 2)
            before = picture(pad)
            pad.page.evaluate(WATCH, pad.root.element_handle())
        has_dried(pad)
        assert pad.reads("4")
        pad.page.evaluate("window.watching = false")
        frames = np.array(pad.page.evaluate("frames"))
        assert not pad.wet_ink().any()
        assert pad.dry_ink().any()
        assert len(frames) > 5
        assert np.abs(picture(pad) - before).max() <= 3, "wet or dry, the same pixels"
        # Where a frame falls between the two, only the soft edges are there twice, a little darker.
        assert np.abs(frames / frames[0] - 1).max() < 0.01, "in no frame was the ink away"


def test_undo_and_clear_take_wet_ink_too(chromium, server):
    with opened(chromium, server[1], **DESKTOP) as pad:
        with stopped(server, pad):
            pad.draw_by_mouse(SAMPLES[1][:1])
            pad.button("Undo").click()
        has_dried(pad)
        assert pad.answer() == ""
        assert not pad.dry_ink().any()
        mouse, box = pad.page.mouse, pad.canvas.bounding_box()
        mouse.move(box["x"] + 100, box["y"] + 100)
        mouse.down()
        mouse.move(box["x"] + 200, box["y"] + 200, steps=5)
        assert pad.wet_ink().any()
        pad.page.wait_for_timeout(300)  # the kernel has heard of it
        pad.page.keyboard.press("Escape")
        pad.page.wait_for_function("!document.querySelector('[data-wet]')")
        mouse.move(box["x"] + 300, box["y"] + 200, steps=5)
        mouse.up()
        assert pad.answer() == ""
        assert not pad.dry_ink().any()
        pad.draw_by_mouse(SAMPLES[2])
        assert pad.reads("2")


def test_the_answer_comes_while_the_pen_is_still_down(chromium, server):
    with opened(chromium, server[1], **DESKTOP) as pad:
        mouse, (stroke,) = pad.page.mouse, pad.on_screen(SAMPLES[0])
        mouse.move(*stroke[0])
        mouse.down()
        for point in stroke[1:]:
            mouse.move(*point)
        assert pad.reads("0")
        assert not pad.dry_ink().any()
        mouse.up()
        has_dried(pad)


def test_with_a_slow_network_ink_is_at_once_and_messages_are_few(chromium, server):
    relay = Relay(urlsplit(server[1]).port, delay=ROUND_TRIP / 2)
    received = []
    with opened(chromium, f"http://127.0.0.1:{relay.port}/", received=received, **PHONE) as pad:
        pad.page.evaluate(SENT)
        received.clear()
        fingers = Fingers(pad.page)
        (stroke,) = pad.on_screen(SAMPLES[0])
        start = time.monotonic()
        fingers.send("touchStart", first=stroke[0])
        for point in stroke[1:]:
            fingers.send("touchMove", first=point)
        assert pad.wet_ink().sum() > 20_000
        while time.monotonic() < start + 1:
            fingers.send("touchMove", first=stroke[-1] + np.random.default_rng().uniform(-1, 1, 2))
        fingers.send("touchEnd")
        seconds = time.monotonic() - start
        counted = [message for message in received if b'"msg_type": "status"' not in message]
        assert pad.reads("0")
        assert len(pad.page.evaluate("sent")) <= 30 * seconds + 1
        assert len(counted) <= 15 * seconds + 1, "what the kernel made of it, without word of its state"
    relay.cut()


@pytest.mark.slow
def test_what_is_drawn_while_the_network_is_away_arrives_when_it_is_back(chromium, server):
    relay = Relay(urlsplit(server[1]).port)
    with opened(chromium, f"http://127.0.0.1:{relay.port}/", **DESKTOP) as pad:
        mouse, (stroke,) = pad.page.mouse, pad.on_screen(SAMPLES[3])
        mouse.move(*stroke[0])
        mouse.down()
        half = len(stroke) // 2
        for point in stroke[1:half]:
            mouse.move(*point)
        pad.page.wait_for_timeout(200)
        relay.cut()
        for point in stroke[half:]:
            mouse.move(*point)
        mouse.up()
        pad.page.locator("#page-banner").get_by_text("Connection lost").wait_for(timeout=15_000)
        assert pad.wet_ink().any()
        relay.mend()
        pad.page.locator("#page-banner").wait_for(state="hidden", timeout=60_000)
        assert pad.reads("3")
        has_dried(pad)
        assert pad.dry_ink().any()
    relay.cut()


def test_without_the_layer_the_canvas_events_draw_and_nothing_is_said(chromium, server, artifacts):
    context = chromium.new_context(**DESKTOP)
    page = context.new_page()
    page.route("**/labextensions/anywidget/**", lambda route: route.abort())
    page.goto(server[1])
    pad = Pad(page)
    pad.canvas.wait_for()
    page.wait_for_timeout(1000)
    assert page.locator(".digit-pad canvas").count() == 1
    shown = page.locator("body").inner_text()
    pad.draw_by_mouse(SAMPLES[5])
    assert pad.reads("5")
    assert pad.dry_ink().any()
    assert "anywidget" not in shown
    assert "rror" not in shown
    page.screenshot(path=artifacts / "page-desktop-without-layer.png")
    context.close()


@pytest.mark.slow
def test_ten_people_write_on_a_slow_phone_far_away_and_are_read(chromium, server, peoples_digits, recognizer):
    relay = Relay(urlsplit(server[1]).port, delay=ROUND_TRIP / 2)
    with opened(chromium, f"http://127.0.0.1:{relay.port}/", **PHONE) as pad:
        pad.page.context.new_cdp_session(pad.page).send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
        for _, strokes in peoples_digits:
            pad.draw_by_touch(strokes)
            expected = recognizer.recognize(strokes).digit
            assert pad.reads("?" if expected is None else str(expected))
            pad.clear()
        assert pad.scrolled() == []
    relay.cut()
