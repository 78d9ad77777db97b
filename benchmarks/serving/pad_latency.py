"""How soon ink and answer follow the pointer, for one visitor of the page, over a real websocket.

    python -m benchmarks.serving.pad_latency

Measures the time from the command to the first answer; then, with 240 events a second for ten seconds, whether a queue
grows and how long the kernel works on an event; then, with digits at the same pace, how soon after the last event the
answer is final. The visitor's side runs on the same machine.
"""

import argparse
import asyncio
import math
import time

import numpy as np

from digit_utils.datasets.samples import sample_digits
from digit_utils.recognition.recognizer import Recognizer
from tests.support.page_client import Visitor, running_page

SIDE = 800.0  # of the pad, in its pixels
SETTLED = 0.5  # seconds after which nothing changes any more


async def flood(visitor: Visitor, *, rate: float, seconds: float) -> list[str]:
    """Draw a spiral; return the ids of the events in the order they were sent."""
    visitor.sent_at.clear()
    await visitor.event("mouse_down", x=SIDE / 2, y=SIDE / 2)
    start = time.perf_counter()
    for index in range(int(rate * seconds)):
        angle = index / 9
        radius = SIDE * (0.1 + 0.3 * index / (rate * seconds))
        await visitor.event("mouse_move", x=SIDE / 2 + radius * math.cos(angle), y=SIDE / 2 + radius * math.sin(angle))
        await asyncio.sleep(max(0.0, start + (index + 1) / rate - time.perf_counter()))
    await visitor.event("mouse_up", x=SIDE / 2, y=SIDE / 2)
    await asyncio.sleep(SETTLED)
    await visitor.until(lambda: visitor.sent_at.keys() <= visitor.worked.keys(), what="the end of the kernel's work")
    return list(visitor.sent_at)


async def answer_delays(visitor: Visitor, *, rate: float, repeats: int) -> tuple[np.ndarray, int, int]:
    """Draw digits; return seconds from each one's last event to the last change shown, and how many were read right."""
    recognizer, delays, right = Recognizer.load(), [], 0
    samples = sample_digits(side=1.0) * repeats
    for sample in samples:
        finished = await visitor.draw(sample.strokes, seconds_between_events=1 / rate)
        await asyncio.sleep(SETTLED)
        delays.append(max(0.0, visitor.last_change - finished))
        right += str(recognizer.recognize(sample.strokes).digit) in visitor.caption
        await visitor.clear()
    return np.array(delays), right, len(samples)


def summary(name: str, seconds: np.ndarray) -> str:
    """Summarise durations in one line."""
    milliseconds = 1000 * seconds
    return (
        f"{name}: median {np.median(milliseconds):.1f} ms, 95th percentile {np.percentile(milliseconds, 95):.1f} ms, "
        f"longest {milliseconds.max():.1f} ms"
    )


async def measure(address: str, options, *, started: float) -> None:
    """Measure, and print the result."""
    visitor = await Visitor(address, traces=True).arrive()
    await visitor.draw(sample_digits(side=1.0)[8].strokes)
    await visitor.until(lambda: "4" in visitor.caption, what="the first answer")
    print(f"from the command to the first answer: {time.perf_counter() - started:.1f} s")
    await visitor.clear()
    await asyncio.sleep(3)  # the next visitor's kernel has started by now
    events = await flood(visitor, rate=options.rate, seconds=options.seconds)
    lags = np.array([visitor.inked_at[event] - visitor.sent_at[event] for event in events if event in visitor.inked_at])
    second = int(options.rate)
    print(f"{len(events)} events, {options.rate:.0f} a second; {len(lags)} of them left ink")
    print(summary("from event to ink", lags))
    print(summary("  in the first second", lags[:second]))
    print(summary("  in the last second", lags[-second:]))
    print(summary("work of the kernel on an event", np.array([visitor.worked[event] for event in events])))
    await visitor.clear()
    delays, right, digits = await answer_delays(visitor, rate=options.rate, repeats=options.repeats)
    print(summary("from a digit's last event to its final answer", delays))
    print(f"answers as the recogniser gives them: {right} of {digits}")
    await visitor.leave()


def main() -> None:
    """Run the page and measure it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=240.0, help="events a second")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long the flood lasts")
    parser.add_argument("--repeats", type=int, default=5, help="how often each of twenty digits is drawn")
    options = parser.parse_args()
    started = time.perf_counter()
    with running_page() as (_, address):
        asyncio.run(measure(address, options, started=started))


if __name__ == "__main__":
    main()
