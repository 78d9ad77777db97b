"""A drawing as it is made: strokes of points. There are no widgets here, so all of it is easily tested."""

import math
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from digit_utils.datasets.drawings import MAX_COORDINATE

Point = tuple[float, float]  # x to the right, y down, in pixels of the pad

MAX_POINTS = 20_000  # further ones are ignored, so that no visitor can fill the memory
MAX_STROKES = 500  # likewise: each takes time whenever the drawing is recognised or redrawn
MAX_STEPS = 2_000  # that can be undone
STEPS_PER_CURVE = 6  # short lines that make up the curve between two pointer events


def are_coordinates(*values: object) -> bool:
    """Tell whether values from a browser are usable as coordinates; a hidden canvas, for one, sends none."""
    # Not math.isfinite, which raises for integers of hundreds of digits.
    return all(
        isinstance(value, (int, float)) and not isinstance(value, bool) and -MAX_COORDINATE < value < MAX_COORDINATE
        for value in values
    )


@dataclass(eq=False)
class LabelState:
    """The label of one character, which may be changed: a digit is learnt and saved, a mark only read so."""

    strokes: tuple[Sequence[Point], ...] = ()
    count: int = 0  # of strokes on the paper when the label was given
    number: str | None = None  # the number that it was written in, where somebody has grouped its strokes
    drawing_id: str = field(default_factory=lambda: uuid.uuid4().hex[:16])
    digit: int | str | None = None  # the label; a string for a mark
    predicted: int | None = None  # the digit recognised before the first label; None for "no digit"
    saved: int | None = None  # its label in the file; None when it is not there

    @property
    def is_labelled(self) -> bool:
        """Whether the drawing has a label."""
        return self.digit is not None


@dataclass(frozen=True)
class StrokeDrawn:
    """A step: the newest stroke was drawn. `points` are known once the step is undone."""

    points: Sequence[Point] = ()


@dataclass(frozen=True)
class PaperCleared:
    """A step: these strokes were removed."""

    strokes: Sequence[list[Point]]
    size: int  # how many points they have


@dataclass(frozen=True)
class LabelChange:
    """A label that is given, changed or taken back. None stands for no label."""

    label_state: LabelState
    before: int | str | None
    after: int | str | None


@dataclass(frozen=True)
class Labelled:
    """A step: labels were changed."""

    changes: tuple[LabelChange, ...]


Step = StrokeDrawn | PaperCleared | Labelled


class DrawingState:
    """The strokes drawn so far on a paper, the stroke that is being drawn, and the steps that led there.

    Points beyond the edge are never kept: a stroke that leaves the paper ends at the edge.
    """

    def __init__(self, *, side: float, width: float):
        """Start with a blank paper, `side` pixels high and `width` wide."""
        self.side, self.width = side, width
        self.is_drawing = False
        self._strokes: list[list[Point]] = []
        self._size = 0
        self._done: list[Step] = []
        self._undone: list[Step] = []

    @property
    def newest_step(self) -> Step | None:
        """What was done last and has not been undone, None at the beginning."""
        return self._done[-1] if self._done else None

    def label_state(self, places: Sequence[int], *, wet: Sequence[Sequence[Point]] = ()) -> LabelState:
        """Return the label of the strokes at some places: a new one where these very strokes have none.

        `wet` are strokes that are not on the paper yet; their places are behind those of the others. Where there is no
        stroke any more, the label is one of none.
        """
        strokes = [*self._strokes, *wet]
        if max(places, default=0) >= len(strokes):
            return LabelState()
        own = tuple(strokes[place] for place in places)
        found = (state for state in self._label_states() if state.strokes == own)
        return next(found, LabelState(own, len(strokes)))

    def known_labels(self, *, reach: float) -> dict[tuple[int, ...], LabelState]:
        """Return the labels in force, by the places of their strokes.

        A label lapses while one of its strokes is taken back, or a later stroke comes within `reach` of them: a
        crossbar, for one, that makes another character of it.
        """
        known = {}
        for state in self._label_states():
            places = tuple(self._strokes.index(stroke) for stroke in state.strokes if stroke in self._strokes)
            is_whole = state.is_labelled and 0 < len(state.strokes) == len(places)
            later = self._strokes[state.count :]
            if is_whole and not any(_are_near(state.strokes, stroke, reach) for stroke in later):
                known[tuple(sorted(places))] = state
        return known

    def _label_states(self) -> list[LabelState]:
        """Return the labels given since the paper was cleared, newest first."""
        states: dict[LabelState, None] = {}
        for step in reversed(self._done):
            if isinstance(step, PaperCleared):
                break
            if isinstance(step, Labelled):
                states |= dict.fromkeys(change.label_state for change in step.changes)
        return list(states)

    @property
    def strokes(self) -> list[np.ndarray]:
        """Copies of the strokes: (n, 2) float64 arrays, x right, y down, pixels, in drawing order."""
        return [np.array(stroke, dtype=np.float64) for stroke in self._strokes]

    @property
    def newest_stroke(self) -> list[Point]:
        """The points of the stroke that is being drawn, or was drawn last. IndexError when nothing is drawn."""
        return self._strokes[-1]

    def contains(self, x: float, y: float) -> bool:
        """Tell whether a point lies on the paper."""
        return 0 <= x <= self.width and 0 <= y <= self.side

    def begin(self, x: float, y: float) -> bool:
        """Put the pen down; tell whether that made a stroke (not beyond the edge, not once the limits are reached)."""
        self.end()
        if not self.contains(x, y) or self._size >= MAX_POINTS or len(self._strokes) >= MAX_STROKES:
            return False
        self._strokes.append([(x, y)])
        self._size += 1
        self.is_drawing = True
        self._record(StrokeDrawn())
        return True

    def extend(self, x: float, y: float) -> bool:
        """Move the pen; tell whether the stroke grew. Beyond the edge it grows up to the edge, and ends there."""
        if not self.is_drawing or self._size >= MAX_POINTS:
            return False
        last = self._strokes[-1][-1]
        leaves = not self.contains(x, y)
        if leaves:
            x, y = self._edge_between(last, (x, y))
            self.end()
        if (x, y) == last:
            return False
        self._strokes[-1].append((x, y))
        self._size += 1
        return True

    def add(self, points: Sequence[Point]) -> bool:
        """Add a whole stroke, as much of it as there is room for; tell whether there was any."""
        points = [tuple(point) for point in points[: MAX_POINTS - self._size]]
        if not points or len(self._strokes) >= MAX_STROKES:
            return False
        self._strokes.insert(len(self._strokes) - self.is_drawing, points)  # the one being drawn stays the newest
        self._size += len(points)
        self._record(StrokeDrawn())
        return True

    def label(self, *labels: tuple[LabelState, int | str | None]) -> None:
        """Record, as one step, that labels are about to be given or removed (None)."""
        changes = tuple(LabelChange(state, state.digit, digit) for state, digit in labels if digit != state.digit)
        if changes:
            self._record(Labelled(changes))

    def end(self) -> bool:
        """Lift the pen; tell whether it was down."""
        was_drawing, self.is_drawing = self.is_drawing, False
        return was_drawing

    def clear(self) -> None:
        """Remove all strokes."""
        self.end()
        if self._strokes:
            self._record(PaperCleared(self._strokes, self._size))
            self._strokes, self._size = [], 0

    def undo(self) -> Step | None:
        """Take back the newest step and return it, None when there is none.

        Strokes change here. What a label has changed elsewhere is for the caller to take back.
        """
        self.end()
        if self._done:
            step = self._done.pop()
        elif self._strokes:  # drawn longer ago than steps are kept
            step = StrokeDrawn()
        else:
            return None
        if isinstance(step, StrokeDrawn):
            step = StrokeDrawn(self._strokes.pop())
            self._size -= len(step.points)
        elif isinstance(step, PaperCleared):
            self._strokes, self._size = list(step.strokes), step.size
        self._undone.append(step)
        return step

    def redo(self) -> Step | None:
        """Take the step that was undone last once more and return it, None when there is none."""
        self.end()
        if not self._undone:
            return None
        step = self._undone.pop()
        if isinstance(step, StrokeDrawn):
            self._strokes.append(list(step.points))
            self._size += len(step.points)
            self._done.append(StrokeDrawn())
            return step
        if isinstance(step, PaperCleared):
            self._strokes, self._size = [], 0
        self._done.append(step)
        return step

    def _record(self, step: Step) -> None:
        """Keep a new step, and forget what was undone before it, and steps so old that they would fill the memory."""
        self._undone.clear()
        self._done.append(step)
        cleared = sum(old.size for old in self._done if isinstance(old, PaperCleared))
        while len(self._done) > MAX_STEPS or cleared > MAX_POINTS:
            oldest = self._done.pop(0)
            cleared -= oldest.size if isinstance(oldest, PaperCleared) else 0

    def _edge_between(self, inside: Point, outside: Point) -> Point:
        """Return where the line from a point on the paper to one beyond it crosses the edge."""
        shares = [1.0]
        for start, stop, end in zip(inside, outside, (self.width, self.side), strict=True):
            if stop > end:
                shares.append((end - start) / (stop - start))
            elif stop < 0:
                shares.append(start / (start - stop))
        share = min(shares)
        x, y = (start + share * (stop - start) for start, stop in zip(inside, outside, strict=True))
        return min(max(x, 0.0), self.width), min(max(y, 0.0), self.side)


def _are_near(strokes: Sequence[Sequence[Point]], other: Sequence[Point], reach: float) -> bool:
    """Tell whether the box around strokes, `reach` wider to all sides, meets the box around another stroke."""
    first, second = np.concatenate(strokes), np.asarray(other)
    return bool(
        (first.min(axis=0) - reach <= second.max(axis=0)).all()
        and (second.min(axis=0) <= first.max(axis=0) + reach).all()
    )


class DrawingFinger:
    """Tells the finger that draws from all others on the screen: a palm, a second hand, a child's.

    The browser lists the fingers that touch, without names, so they are told apart by where they were. The first
    finger down draws until it is lifted; whatever else comes down meanwhile is ignored.
    """

    SAME_PLACE = 4.0  # pixels; the browser reports a finger's last move before another one's lift

    def __init__(self):
        self._fingers: Sequence[Point] = ()
        self._index: int | None = None  # of the drawing finger in the list

    @property
    def is_down(self) -> bool:
        """Whether a finger is drawing."""
        return self._index is not None

    def start(
        self, fingers: Sequence[Point], *, on_paper: Callable[[Point], bool] = lambda place: True
    ) -> Point | None:
        """Take in the fingers after one came down; return where to begin a stroke, None to go on as before.

        `on_paper` tells whether a place is on the paper. The browser lists all fingers on the screen, but is silent
        about those that came down beside the paper.
        """
        before, self._fingers = self._fingers, fingers
        if self._index is not None:
            self._index = _nearest(fingers, before[self._index])
            return None
        if not fingers:
            return None
        # The one farthest from all that were there before is the new one. A palm that rests beside the paper was there
        # unheard of, so what is new on the paper comes first, and the last in the list, where the newest mostly is.
        away = [min((math.dist(place, other) for other in before), default=math.inf) for place in fingers]
        new = [index for index, place in enumerate(fingers) if on_paper(place) and away[index] > self.SAME_PLACE]
        self._index = max(reversed(new or range(len(fingers))), key=away.__getitem__)
        return fingers[self._index]

    def move(self, fingers: Sequence[Point]) -> Point | None:
        """Take in the fingers after one moved; return where the drawing finger is now, None without one."""
        if not fingers:
            return None  # a touch whose places were no numbers: where the fingers were is all that is known
        before, self._fingers = self._fingers, fingers
        if self._index is None:
            return None
        if len(fingers) != len(before):  # a lift or a start got lost
            self._index = _nearest(fingers, before[self._index])
        return fingers[self._index]

    def lift(self, fingers: Sequence[Point]) -> bool:
        """Take in the remaining fingers after one was lifted; tell whether it was the drawing one."""
        before, self._fingers = self._fingers, fingers
        if self._index is None:
            return False
        place, self._index = before[self._index], None
        if fingers:
            nearest = _nearest(fingers, place)
            if math.dist(fingers[nearest], place) <= self.SAME_PLACE:
                self._index = nearest
        return self._index is None


def _nearest(points: Sequence[Point], place: Point) -> int | None:
    """Return the index of the point nearest to a place, None without points."""
    return min(range(len(points)), key=lambda index: math.dist(points[index], place), default=None)


def smooth_path(points: Sequence[Point] | np.ndarray) -> np.ndarray:
    """Return a curve through a stroke without corners, as the short lines that a canvas draws.

    The curve runs from the middle of one piece of the stroke to the middle of the next, bent by the point between
    them (a quadratic Bezier curve), so it stays within the points' hull: no ink where the pointer was not.

    Args:
        points: (n, 2) points of one stroke, n at least 1.

    Returns:
        (m, 2) float64 points, from the first point of the stroke to its last. For n = 1, that point twice.
    """
    points = np.asarray(points, dtype=np.float64)
    middles = (points[:-1] + points[1:]) / 2
    share = np.linspace(0, 1, STEPS_PER_CURVE + 1)[:, np.newaxis]
    start, bend, stop = (part[:, np.newaxis] for part in (middles[:-1], points[1:-1], middles[1:]))
    curves = (1 - share) ** 2 * start + 2 * share * (1 - share) * bend + share**2 * stop
    return np.concatenate([points[:1], curves.reshape(-1, 2), points[-1:]])
