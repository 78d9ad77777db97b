"""Wet ink: a layer over the paper that draws what the pen does at once, in the browser.

The layer is an anywidget: one script runs in JupyterLab, classic notebook, Colab and Voila. Points reach the kernel in
batches of messages, the kernel draws each finished stroke on the paper (dry ink), and the layer then removes its own.
Dry ink is the truth; wet ink bridges the time until it is there, however slow network or kernel are.

From the browser:

    {"kind": "ready"}                   the script runs and sees the canvas; until then the layer is not shown
    {"kind": "ink", "view": "k3x9",     one of the places that show the layer
     "stroke": 4, "start": 12,          its number in that view; how many of its points went before
     "points": [x, y, x, y, ...],       in pixels of the paper
     "end": null}                       "lift" with the last points, "tap" where the pen hardly moved, "drop" for ink
                                        that was none: a hand that rested on the paper
    {"kind": "picture"}                 with one buffer, a JPEG: opened, pasted or dropped by a person, and shrunk
    {"kind": "mark",                    a drag or a tap on the picture: where it began and ended, in its pixels
     "places": [[x, y], [x, y]]}
    {"kind": "no picture"}              instead, where the browser could not decode it

To the browser, as messages of the canvas' model:

    {"kind": "dry", "view": "k3x9", "strokes": [4]}                  they are on the paper, or never will be
    {"kind": "missing", "view": "k3x9", "stroke": 4, "start": 12}    send again from this point on

A view sends a finished stroke again until it is told that it is dry, so nothing is lost with a connection. anywidget
delivers no message any more to a layer whose script took more than two seconds to load; the canvas' model always does.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import anywidget
import numpy as np
import traitlets
from ipycanvas import Canvas

from digit_utils.pad.state import MAX_POINTS, Point, are_coordinates

MAX_BATCH = 2_000  # points of one message; the layer sends 500
MAX_WET_STROKES = 20  # of all views together
MAX_REMEMBERED = 1_000  # strokes that are over and may come again
LONGEST_NAME = 40  # characters of a view's name
JPEG_START = b"\xff\xd8\xff"
IDLE_SECONDS = 2.0  # a stroke that has not grown for so long was left behind when another view begins one

StrokeKey = tuple[str, int]  # view, and number of the stroke in it


class Outcome(Enum):
    """What a batch has led to."""

    GROWN = "grown"  # the stroke is still being drawn
    COMPLETE = "complete"
    CLOSED = "closed"  # it is over: dropped, taken back, or complete before
    MISSING = "missing"  # an earlier batch has not arrived


@dataclass(frozen=True)
class Batch:
    """Points of one stroke, as a view sent them."""

    key: StrokeKey
    start: int
    points: list[Point]
    end: str | None

    @classmethod
    def of(cls, content: object, *, width: float, height: float) -> "Batch | None":
        """Return a message's content as a batch, points moved onto the paper; None for anything else."""
        if not isinstance(content, Mapping) or content.get("kind") != "ink":
            return None
        view, stroke, start, numbers, end = (content.get(name) for name in ("view", "stroke", "start", "points", "end"))
        if not (isinstance(view, str) and 0 < len(view) <= LONGEST_NAME and _is_count(stroke) and _is_count(start)):
            return None
        if not isinstance(numbers, list) or len(numbers) % 2 or len(numbers) > 2 * MAX_BATCH:
            return None
        if end not in (None, "lift", "tap", "drop") or not are_coordinates(*numbers):
            return None
        x = (min(max(float(value), 0.0), width) for value in numbers[::2])
        y = (min(max(float(value), 0.0), height) for value in numbers[1::2])
        return cls((view, stroke), start, list(zip(x, y, strict=True)), end)


@dataclass(frozen=True)
class Receipt:
    """What became of a batch. `points` are those of a complete stroke, `start` what is missing."""

    key: StrokeKey
    outcome: Outcome
    points: list[Point] = field(default_factory=list)
    start: int = 0
    is_tap: bool = False


@dataclass
class _WetStroke:
    points: list[Point] = field(default_factory=list)
    received: int = 0  # points, those included for which there was no room
    changed: float = field(default_factory=time.monotonic)


class StrokeInbox:
    """Puts strokes together from batches, whatever the order in which they come, and how often. No widgets here."""

    def __init__(self, *, width: float, height: float):
        """Expect strokes on a paper of this size in pixels."""
        self.width, self.height = width, height
        self._wet: dict[StrokeKey, _WetStroke] = {}
        self._closed: dict[StrokeKey, None] = {}  # a set that knows its order

    @property
    def wet_strokes(self) -> list[list[Point]]:
        """The points of the strokes that are still being drawn, oldest first."""
        return [list(wet.points) for wet in self._wet.values() if wet.points]

    def receive(self, content: object) -> list[Receipt]:
        """Take in a message's content; tell what became of it, and of strokes that other views left behind.

        What is not a batch is passed over.
        """
        batch = Batch.of(content, width=self.width, height=self.height)
        if batch is None:
            return []
        if batch.key in self._closed:
            return [Receipt(batch.key, Outcome.CLOSED)]
        left_behind = [] if batch.key in self._wet else self._make_room(batch.key[0])
        wet = self._wet.setdefault(batch.key, _WetStroke())
        if batch.start > wet.received:
            return [*left_behind, Receipt(batch.key, Outcome.MISSING, start=wet.received)]
        self._extend(wet, batch)
        return [*left_behind, self._receipt(batch, wet)]

    def complete_idle(self, *, other_than: str = "") -> list[Receipt]:
        """End the strokes that have not grown for a while: of a page that was closed or reloaded."""
        since = time.monotonic() - IDLE_SECONDS
        idle = [key for key, wet in self._wet.items() if key[0] != other_than and wet.changed < since]
        return [Receipt(key, Outcome.COMPLETE, self._close(key)) for key in idle]

    def drop(self) -> list[StrokeKey]:
        """Forget what is still being drawn; return which strokes these were."""
        keys = list(self._wet)
        for key in keys:
            self._close(key)
        return keys

    def _make_room(self, view: str) -> list[Receipt]:
        receipts = self.complete_idle(other_than=view)
        while len(self._wet) >= MAX_WET_STROKES:
            key = next(iter(self._wet))
            receipts.append(Receipt(key, Outcome.COMPLETE, self._close(key)))
        return receipts

    def _extend(self, wet: _WetStroke, batch: Batch) -> None:
        new = batch.points[wet.received - batch.start :]
        room = MAX_POINTS - sum(len(each.points) for each in self._wet.values())
        for point in new[: max(0, room)]:
            if not wet.points or point != wet.points[-1]:
                wet.points.append(point)
        wet.received += len(new)
        wet.changed = time.monotonic()

    def _receipt(self, batch: Batch, wet: _WetStroke) -> Receipt:
        if batch.end is None:
            return Receipt(batch.key, Outcome.GROWN)
        points = self._close(batch.key)
        if batch.end == "drop" or not points:
            return Receipt(batch.key, Outcome.CLOSED)
        return Receipt(batch.key, Outcome.COMPLETE, points, is_tap=batch.end == "tap")

    def _close(self, key: StrokeKey) -> list[Point]:
        self._closed[key] = None
        if len(self._closed) > MAX_REMEMBERED:
            del self._closed[next(iter(self._closed))]
        return self._wet.pop(key).points


class InkLayer(anywidget.AnyWidget):
    """The layer, to be laid over a canvas: a later child of the same box, whose position is `relative`.

    All methods may be called from any thread.
    """

    _esm = Path(__file__).with_name("ink_layer.js").read_text(encoding="utf-8")

    width = traitlets.Int().tag(sync=True)  # pixels of the paper, not of the screen
    height = traitlets.Int().tag(sync=True)
    ink_colour = traitlets.Unicode().tag(sync=True)
    ink_width = traitlets.Float().tag(sync=True)  # pixels of the paper
    frames = traitlets.Bool(False).tag(sync=True)  # a drag shows a frame instead of ink: it marks a part of a picture
    paper = traitlets.Unicode().tag(sync=True)  # the canvas' model, whose queue tells when dry ink is painted

    def __init__(self, canvas: Canvas, *, ink_colour: str, ink_width: float):
        """Make a layer for a canvas."""
        self._canvas = canvas
        self._inbox = StrokeInbox(width=canvas.width, height=canvas.height)
        self._lock = threading.Lock()
        self._on_ready: Callable[[], None] = lambda: None
        self._on_wet: Callable[[], None] = lambda: None
        self._on_stroke: Callable[[np.ndarray, bool], None] = lambda points, is_tap: None
        self._on_picture: Callable[[bytes], None] = lambda file: None
        self._on_mark: Callable[[Point, Point], None] = lambda start, stop: None
        super().__init__(
            width=canvas.width,
            height=canvas.height,
            ink_colour=ink_colour,
            ink_width=float(ink_width),
            paper=canvas.model_id,
            layout={"margin": "0", "height": "0"},
        )
        self.on_msg(self._take_in)

    def on_ready(self, action: Callable[[], None]) -> None:
        """Call `action` whenever a front end has loaded the layer."""
        self._on_ready = action

    def on_wet(self, action: Callable[[], None]) -> None:
        """Call `action` whenever what is still being drawn has changed."""
        self._on_wet = action

    def on_stroke(self, action: Callable[[np.ndarray, bool], None]) -> None:
        """Call `action` with each finished stroke, (n, 2) float64, and whether it was a tap.

        When it returns, the stroke is taken for dry: what is to be seen of it must have been sent to the canvas.
        """
        self._on_stroke = action

    def on_picture(self, action: Callable[[bytes], None]) -> None:
        """Call `action` with each JPEG that a person opens in the browser; with b"" where it could not be decoded."""
        self._on_picture = action

    def on_mark(self, action: Callable[[Point, Point], None]) -> None:
        """Call `action` with where a drag or a tap on the picture began and ended, in pixels of the picture."""
        self._on_mark = action

    @property
    def wet_strokes(self) -> list[np.ndarray]:
        """The strokes that are still being drawn: (n, 2) float64 arrays, copies."""
        with self._lock:
            return [np.array(points, dtype=np.float64) for points in self._inbox.wet_strokes]

    def drop_wet(self) -> bool:
        """Take back what is still being drawn; tell whether there was any."""
        with self._lock:
            keys = self._inbox.drop()
        self._tell_dry(keys)
        return bool(keys)

    def _take_in(self, _: object, content: object, buffers: Sequence[object]) -> None:
        self._take_in_picture(content, buffers)
        is_ready = isinstance(content, Mapping) and content.get("kind") == "ready"
        with self._lock:
            receipts = self._inbox.complete_idle() if is_ready else self._inbox.receive(content)
        for receipt in receipts:
            if receipt.outcome is Outcome.COMPLETE:
                self._on_stroke(np.array(receipt.points, dtype=np.float64), receipt.is_tap)
            elif receipt.outcome is Outcome.MISSING:
                view, stroke = receipt.key
                self._canvas.send({"kind": "missing", "view": view, "stroke": stroke, "start": receipt.start})
        over = (Outcome.COMPLETE, Outcome.CLOSED)
        self._tell_dry([receipt.key for receipt in receipts if receipt.outcome in over])
        if any(receipt.outcome is not Outcome.MISSING for receipt in receipts):
            self._on_wet()
        if is_ready:
            self._on_ready()

    def _take_in_picture(self, content: object, buffers: Sequence[object]) -> None:
        kind = content.get("kind") if isinstance(content, Mapping) else None
        if kind == "no picture":
            self._on_picture(b"")
        elif kind == "picture" and len(buffers) == 1 and bytes(buffers[0]).startswith(JPEG_START):
            self._on_picture(bytes(buffers[0]))
        elif kind == "mark" and (places := _two_places(content.get("places"))):
            self._on_mark(*places)

    def _tell_dry(self, keys: list[StrokeKey]) -> None:
        for view in dict.fromkeys(view for view, _ in keys):
            strokes = [stroke for name, stroke in keys if name == view]
            self._canvas.send({"kind": "dry", "view": view, "strokes": strokes})


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**31


def _two_places(value: object) -> list[Point] | None:
    if not isinstance(value, list) or [isinstance(each, list) and len(each) for each in value] != [2, 2]:
        return None
    return [(float(x), float(y)) for x, y in value] if are_coordinates(*value[0], *value[1]) else None
