"""How soon ink follows the pen on the drawing page, in a real Chromium, with a plain canvas beside it in the same run.

    python -m benchmarks.serving.ink_latency
    python -m benchmarks.serving.ink_latency --repeats 5 --without-layer

A pen draws spirals, by mouse at 240 events a second, by touch with a network of 140 ms of round trip, and by touch on a
processor four times slower. Ink counts as painted after the first frame in which the tip of the pen is covered. Then
digits are drawn: how soon after the last event is the answer final, and how many messages passed? The browser runs on
the same machine as the server, so on a busy one only the ratios to the plain canvas tell something.
"""

import argparse
import asyncio
import contextlib
import os
import shutil
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import numpy as np
from playwright.async_api import Browser, CDPSession, Page, async_playwright

from digit_utils.datasets.samples import sample_digits
from tests.browser.relay import Relay
from tests.support.page_client import running_page

PLAIN = "https://plain.test/"
PLAIN_PAGE = """
<!doctype html>
<body style="margin: 0">
<canvas width="800" height="800" style="width: 400px; position: absolute; left: 40px; top: 40px; touch-action: none">
</canvas>
<script>
    const canvas = document.querySelector("canvas"), context = canvas.getContext("2d");
    let last = null;
    const place = event => [(event.clientX - 40) * 2, (event.clientY - 40) * 2];
    context.lineWidth = 36;
    context.lineCap = "round";
    canvas.addEventListener("pointerdown", event => { last = place(event); });
    canvas.addEventListener("pointerup", () => { last = null; });
    canvas.addEventListener("pointermove", event => {
        if (!last) return;
        context.beginPath();
        context.moveTo(...last);
        for (const step of event.getCoalescedEvents()) context.lineTo(...(last = place(step)));
        context.stroke();
    });
</script>
"""
# Notes for each place of the pen when the ink at its tip was there at the end of a frame. The tip: where only a pen at
# this place reaches, not at the one before. `answered` is when the answer changed last.
PROBE = """selector => {
    const canvases = [...document.querySelectorAll(selector)].reverse(), pending = [], channel = new MessageChannel();
    const box = canvases[0].getBoundingClientRect(), scale = canvases[0].width / box.width;
    let before = null;
    Object.assign(window, { lags: [], pending, lifted: 0, answered: 0 });
    addEventListener("pointermove", event => {
        for (const step of event.getCoalescedEvents?.() ?? [event]) {
            const place = [(step.clientX - box.left) * scale, (step.clientY - box.top) * scale];
            const way = before && Math.hypot(place[0] - before[0], place[1] - before[1]);
            if (way) pending.push([step.timeStamp, ...place.map((value, i) => value + 15 / way * (value - before[i]))]);
            before = place;
        }
    }, true);
    addEventListener("pointerdown", () => { before = null; }, true);
    addEventListener("pointerup", event => { lifted = event.timeStamp; }, true);
    channel.port1.onmessage = () => {
        const now = performance.now();
        // Ink comes in order, so what is before a place with ink has ink as well: one look a frame is mostly enough.
        for (let index = pending.length; index--;) {
            const [, x, y] = pending[index];
            if (canvases.some(canvas => canvas.getContext("2d").getImageData(x, y, 1, 1).data[3] > 127)) {
                lags.push(...pending.splice(0, index + 1).map(([then]) => now - then));
                break;
            }
        }
    };
    const frame = () => { channel.port2.postMessage(0); requestAnimationFrame(frame); };
    requestAnimationFrame(frame);
    const readout = document.querySelector(".digit-pad-readout");
    const watch = { subtree: true, childList: true, characterData: true };
    if (readout) new MutationObserver(() => { answered = performance.now(); }).observe(readout, watch);
}"""
SETTLED = 1.2  # seconds after which an answer is final


@dataclass(frozen=True)
class Setting:
    """A device, a hand and a network."""

    name: str
    by_touch: bool
    rate: float  # events a second
    round_trip: float = 0.0  # seconds
    slower: float = 1.0  # times


SETTINGS = [
    Setting("desktop, mouse", by_touch=False, rate=240),
    Setting("touch", by_touch=True, rate=120),
    Setting("touch, round trip of 140 ms", by_touch=True, rate=120, round_trip=0.14),
    Setting("touch, processor four times slower", by_touch=True, rate=120, slower=4),
]


@dataclass
class Outcome:
    """What was measured with one page, in milliseconds and messages."""

    lags: list[float] = field(default_factory=list)
    lost: int = 0
    answers: list[float] = field(default_factory=list)
    sent: int = 0
    received: int = 0
    statuses: int = 0
    seconds: float = 0.0


class Hand:
    """Draws on a square at a steady pace, whatever the browser makes of it."""

    def __init__(self, session: CDPSession, box: dict[str, float], setting: Setting):
        self.session, self.box, self.setting = session, box, setting

    async def draw(self, stroke: np.ndarray) -> None:
        """Draw a stroke on a square of side 1, as high as the paper."""
        places = stroke * self.box["height"] + [self.box["x"], self.box["y"]]
        loop, tasks = asyncio.get_running_loop(), []
        await self._send("start", places[0])
        start = loop.time()
        for index, place in enumerate(places[1:], 1):
            await asyncio.sleep(max(0.0, start + index / self.setting.rate - loop.time()))
            tasks.append(asyncio.create_task(self._send("move", place)))  # whose answer comes with the next frame
        await asyncio.gather(*tasks)
        await self._send("end", places[-1])

    async def _send(self, what: str, place: np.ndarray) -> None:
        x, y = map(float, place)
        if self.setting.by_touch:
            kind = {"start": "touchStart", "move": "touchMove", "end": "touchEnd"}[what]
            points = [] if what == "end" else [{"x": x, "y": y}]
            await self.session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        else:
            kind = {"start": "mousePressed", "move": "mouseMoved", "end": "mouseReleased"}[what]
            event = {"type": kind, "x": x, "y": y, "button": "left", "buttons": int(what != "end"), "clickCount": 1}
            await self.session.send("Input.dispatchMouseEvent", event)


def spiral(rate: float) -> np.ndarray:
    """Return a stroke of three seconds on a square of side 1 that does not touch itself."""
    count = int(3 * rate)
    turns = 2 * np.pi * 5 * np.sqrt(np.linspace(0.04, 1, count))
    radius = 0.45 * turns / turns[-1]
    return 0.5 + radius[:, np.newaxis] * np.stack([np.cos(turns), np.sin(turns)], axis=1)


async def measure(browser: Browser, address: str | None, setting: Setting, options, outcome: Outcome) -> None:
    """Draw on the drawing page, or on a plain canvas where there is no address."""
    context = await browser.new_context(viewport={"width": 1000, "height": 900}, has_touch=setting.by_touch)
    page = await context.new_page()
    session = await context.new_cdp_session(page)
    relay = None
    if address and setting.round_trip:
        relay = Relay(urlsplit(address).port, delay=setting.round_trip / 2)
        address = f"http://127.0.0.1:{relay.port}/"
    if address:
        _count_messages(page, outcome)
        if options.without_layer:
            await page.route("**/labextensions/anywidget/**", lambda route: route.abort())
        await page.goto(address)
        wanted = ".digit-pad-paper > canvas" if options.without_layer else ".digit-pad-paper div > canvas"
        await page.locator(wanted).wait_for()
    else:
        await page.route(PLAIN, lambda route: route.fulfill(body=PLAIN_PAGE, content_type="text/html"))
        await page.goto(PLAIN)
    await page.wait_for_timeout(1500)
    if setting.slower > 1:
        await session.send("Emulation.setCPUThrottlingRate", {"rate": setting.slower})
    await page.evaluate(PROBE, ".digit-pad-paper canvas" if address else "canvas")
    hand = Hand(session, await page.locator("canvas").first.bounding_box(), setting)
    await _draw_spirals(page, hand, outcome, is_pad=bool(address), repeats=options.repeats)
    if address:
        await _draw_digits(page, hand, outcome)
    await context.close()
    if relay:
        relay.cut()


def _count_messages(page: Page, outcome: Outcome) -> None:
    def received(payload: bytes | str) -> None:
        text = payload if isinstance(payload, bytes) else payload.encode()
        if b'"msg_type": "status"' in text or b'"msg_type":"status"' in text:
            outcome.statuses += 1
        else:
            outcome.received += 1

    def sent(_: bytes | str) -> None:
        outcome.sent += 1

    def connected(socket) -> None:
        socket.on("framesent", sent)
        socket.on("framereceived", received)

    page.on("websocket", connected)


async def _draw_spirals(page: Page, hand: Hand, outcome: Outcome, *, is_pad: bool, repeats: int) -> None:
    outcome.sent = outcome.received = outcome.statuses = 0
    loop = asyncio.get_running_loop()
    for _ in range(repeats):
        start = loop.time()
        await hand.draw(spiral(hand.setting.rate))
        outcome.seconds += loop.time() - start
        counts = outcome.sent, outcome.received, outcome.statuses
        await page.wait_for_timeout(1500)
        if is_pad:
            await page.get_by_role("button", name="Clear").click()
        else:
            await page.evaluate("context.clearRect(0, 0, 800, 800)")
        await page.wait_for_timeout(800)
        outcome.sent, outcome.received, outcome.statuses = counts
    outcome.lags += await page.evaluate("lags")
    outcome.lost += await page.evaluate("pending.length")


async def _draw_digits(page: Page, hand: Hand, outcome: Outcome) -> None:
    counts = outcome.sent, outcome.received, outcome.statuses
    for sample in sample_digits(side=1.0)[:10]:
        for stroke in sample.strokes:
            await hand.draw(stroke)
        await page.wait_for_timeout(1000 * SETTLED)
        outcome.answers.append(await page.evaluate("Math.max(0, answered - lifted)"))
        await page.get_by_role("button", name="Clear").click()
        await page.wait_for_timeout(500)
    outcome.sent, outcome.received, outcome.statuses = counts


def report(setting: Setting, plain: Outcome, pad: Outcome) -> None:
    """Print a setting's result."""
    (median, late), (plain_median, plain_late) = (np.percentile(each.lags, [50, 95]) for each in (pad, plain))
    print(f"{setting.name}, {setting.rate:.0f} events a second")
    print(f"  ink after its event: median {median:.0f} ms, 95th percentile {late:.0f} ms; {pad.lost} never seen")
    print(f"  plain canvas:        median {plain_median:.0f} ms, 95th percentile {plain_late:.0f} ms")
    print(f"  ratio of the 95th percentiles: {late / plain_late:.2f}")
    answer, late_answer = np.percentile(pad.answers, [50, 95])
    print(f"  final answer after the last event: median {answer:.0f} ms, 95th percentile {late_answer:.0f} ms")
    rates = [count / pad.seconds for count in (pad.sent, pad.received, pad.statuses)]
    print("  messages a second while drawing: {:.0f} sent, {:.0f} received, {:.0f} of kernel status".format(*rates))


async def main() -> None:
    """Run the page and measure it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3, help="spirals with each setting")
    parser.add_argument("--without-layer", action="store_true", help="as in a notebook that cannot load the ink layer")
    options = parser.parse_args()
    path = os.environ.get("DIGITS_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with contextlib.ExitStack() as stack:
        _, address = stack.enter_context(running_page())
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
            for setting in SETTINGS:
                plain, pad = Outcome(), Outcome()
                await measure(browser, None, setting, options, plain)
                await measure(browser, address, setting, options, pad)
                report(setting, plain, pad)
            await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
