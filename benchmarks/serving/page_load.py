"""Thirty people on one drawing page: how soon each sees the answer, what it costs, whether anybody is dropped.

    python -m benchmarks.serving.page_load
    python -m benchmarks.serving.page_load --visitors 10 --rate 60 --seconds 30

Every visitor has a page, a websocket and a kernel of its own and draws the sample digits over and over, one event in
1/rate seconds, with a pause after each digit. The visitors' side runs on the same machine and takes its share of it.
"""

import argparse
import asyncio
import contextlib
import random
import time
from dataclasses import dataclass, field

import numpy as np
import psutil

from digit_utils.datasets.samples import sample_digits
from digit_utils.recognition.recognizer import Recognizer
from tests.support.page_client import Visitor, running_page

SETTLED, LONGEST = 1.5, 20.0  # seconds without a change after which an answer is final, and to wait for that


@dataclass
class Outcome:
    """What happened to all visitors together."""

    arrivals: list[float] = field(default_factory=list)  # seconds from asking for the page to the pad
    delays: list[float] = field(default_factory=list)  # seconds from a digit's last event to its final answer
    events: int = 0
    digits: int = 0
    read_right: int = 0  # digits whose final answer was the recogniser's own
    dropped: int = 0  # visitors who lost their connection or never got one


async def visit(address: str, outcome: Outcome, expected: list[int | None], options, *, starts_after: float) -> None:
    """One visitor, from the first click to the last digit."""
    await asyncio.sleep(starts_after)
    start = time.perf_counter()
    try:
        visitor = await Visitor(address, quiet=True).arrive()
    except (OSError, TimeoutError) as error:
        print(f"a visitor did not get in: {error}")
        outcome.dropped += 1
        return
    outcome.arrivals.append(time.perf_counter() - start)
    await asyncio.sleep(max(0.0, options.ramp - starts_after))
    try:
        await draw_for_a_while(visitor, outcome, expected, options)
    except (OSError, TimeoutError, ConnectionError) as error:
        print(f"a visitor was dropped: {error!r}")
        outcome.dropped += 1
    await visitor.leave()


async def draw_for_a_while(visitor: Visitor, outcome: Outcome, expected: list[int | None], options) -> None:
    """Draw one digit after another until the time is over."""
    rng, samples = random.Random(visitor.kernel_id), sample_digits(side=1.0)
    await asyncio.sleep(rng.uniform(0, SETTLED))  # not all at once
    end = time.perf_counter() + options.seconds
    while time.perf_counter() < end:
        index = rng.randrange(len(samples))
        strokes = samples[index].strokes
        finished = await visitor.draw(strokes, seconds_between_events=1 / options.rate)
        await settled(visitor, since=finished)
        outcome.delays.append(max(0.0, visitor.last_change - finished))
        outcome.events += sum(len(stroke) + 1 for stroke in strokes)
        outcome.digits += 1
        outcome.read_right += str(expected[index]) in visitor.caption
        await visitor.clear()


async def settled(visitor: Visitor, *, since: float) -> None:
    """Wait until the answer to what was drawn up to a moment is final."""
    while time.perf_counter() < min(max(visitor.last_change, since) + SETTLED, since + LONGEST):
        await asyncio.sleep(0.05)


async def crowd(address: str, options) -> Outcome:
    """Let all visitors in, one after another within the ramp, and have them draw at the same time."""
    recognizer, outcome = Recognizer.load(), Outcome()
    expected = [recognizer.recognize(sample.strokes).digit for sample in sample_digits(side=1.0)]
    starts = np.linspace(0, options.ramp * 0.7, options.visitors)
    await asyncio.gather(*(visit(address, outcome, expected, options, starts_after=start) for start in starts))
    return outcome


class Watch:
    """Looks at the server and its kernels from time to time: their memory, and the processor time they take."""

    def __init__(self, server: psutil.Process):
        self.server = server
        self.kernels_memory = 0.0  # bytes at most, of all kernels and what they are forked from
        self.shares = {"server": [], "kernels": []}  # of one core, in each interval
        self._before: dict[psutil.Process, float] = {}
        self._then = time.perf_counter()

    def look(self) -> None:
        """Take one look."""
        now, used, memory = time.perf_counter(), {}, 0.0
        for process in (self.server, *self.server.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                used[process] = sum(process.cpu_times()[:2])
                if process != self.server:
                    taken = process.memory_full_info()
                    memory += getattr(taken, "pss", taken.uss)  # forked kernels share most of theirs
        self.kernels_memory = max(self.kernels_memory, memory)
        seconds, self._then = now - self._then, now
        spent = {process: used[process] - self._before.get(process, used[process]) for process in used}
        self.shares["server"].append(spent.pop(self.server, 0.0) / seconds)
        self.shares["kernels"].append(sum(spent.values()) / seconds)
        self._before = used


def main() -> None:
    """Run the load, and print what it showed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--visitors", type=int, default=30)
    parser.add_argument("--rate", type=float, default=30.0, help="events a second of each visitor")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long everybody draws")
    parser.add_argument("--ramp", type=float, default=60.0, help="seconds in which all arrive")
    options = parser.parse_args()
    with running_page("--visitors", str(options.visitors)) as (process, address):
        watch = Watch(psutil.Process(process.pid))

        async def watched() -> Outcome:
            task = asyncio.create_task(crowd(address, options))
            while not task.done():
                await asyncio.wait([task], timeout=5)
                watch.look()
            return task.result()

        outcome = asyncio.run(watched())
        server_memory = watch.server.memory_info().rss
    report(outcome, options, watch, server_memory)


def report(outcome: Outcome, options, watch: Watch, server_memory: float) -> None:
    """Print the result."""
    arrivals, delays = np.array(outcome.arrivals), 1000 * np.array(outcome.delays)
    print(f"{len(arrivals)} of {options.visitors} visitors came in, {outcome.dropped} were dropped")
    print(f"from the click to the pad: median {np.median(arrivals):.1f} s, longest {arrivals.max():.1f} s")
    print(f"{outcome.events} events in {outcome.digits} digits, each visitor {options.rate:.0f} a second while drawing")
    print(f"from a digit's last event to its final answer: median {np.median(delays):.0f} ms, ", end="")
    print(f"95th percentile {np.percentile(delays, 95):.0f} ms, longest {delays.max():.0f} ms")
    print(f"answers as the recogniser gives them: {outcome.read_right} of {outcome.digits}")
    each = watch.kernels_memory / options.visitors
    print(f"memory: {each / 1e6:.0f} MB a visitor, what they share included, the server {server_memory / 1e6:.0f} MB")
    server, kernels = (np.array(watch.shares[name]) for name in ("server", "kernels"))
    busiest = (server + kernels).argmax()
    print(f"at the busiest: server {server[busiest]:.2f} cores, all kernels {kernels[busiest]:.2f} cores")


if __name__ == "__main__":
    main()
