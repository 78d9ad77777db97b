"""Turns the mouse and touch events of a canvas into strokes."""

import threading
from collections.abc import Callable, Sequence

from ipycanvas import Canvas

from digit_utils.pad.state import DrawingFinger, DrawingState, Point, are_coordinates

MAX_FINGERS = 20  # on the screen at once; telling them apart takes time that grows with their number


class PointerEvents:
    """Calls `begin(x, y)`, `extend(x, y)` and `end()` as mouse or finger draw. Coordinates are pixels of the canvas."""

    def __init__(
        self,
        canvas: Canvas,
        state: DrawingState,
        *,
        begin: Callable[[float, float], None],
        extend: Callable[[float, float], None],
        end: Callable[[], None],
    ):
        """Listen to a canvas; `state` tells whether a stroke is being drawn, and what lies on the paper."""
        self._state = state
        self._begin, self._extend, self._end = begin, extend, end
        self._finger = DrawingFinger()
        self._lock = threading.Lock()  # guards the finger
        canvas.on_mouse_down(self.mouse_down)
        canvas.on_mouse_move(self.mouse_move)
        canvas.on_mouse_up(self.mouse_up)
        canvas.on_mouse_out(self.mouse_up)  # a release outside is never reported, so the stroke ends at the edge
        canvas.on_touch_start(self.touch_start)
        canvas.on_touch_move(self.touch_move)
        canvas.on_touch_end(self.touch_end)
        canvas.on_touch_cancel(self.touch_cancel)

    def mouse_down(self, x: float, y: float) -> None:
        """Begin a stroke, unless a finger draws: browsers also send mouse events for touches."""
        if not self._finger.is_down and are_coordinates(x, y):
            self._begin(float(x), float(y))

    def mouse_move(self, x: float, y: float) -> None:
        """Extend the stroke. Moves without a pressed button come as well, many of them."""
        if self._state.is_drawing and not self._finger.is_down and are_coordinates(x, y):
            self._extend(float(x), float(y))

    def mouse_up(self, x: float, y: float) -> None:
        """End the stroke."""
        if not self._finger.is_down:
            self.mouse_move(x, y)
            self._end()

    def touch_start(self, fingers: Sequence[Point]) -> None:
        """Begin a stroke with the first finger on the paper; ignore further ones, and a palm."""
        with self._lock:
            place = self._finger.start(_numbers(fingers), on_paper=lambda place: self._state.contains(*place))
        if place is not None:
            self._begin(*place)

    def touch_move(self, fingers: Sequence[Point]) -> None:
        """Follow the drawing finger; when it comes back onto the paper, it begins another stroke."""
        with self._lock:
            place = self._finger.move(_numbers(fingers))
        if place is not None:
            (self._extend if self._state.is_drawing else self._begin)(*place)

    def touch_end(self, fingers: Sequence[Point]) -> None:
        """End the stroke if the drawing finger was lifted; `fingers` are those that remain."""
        with self._lock:
            is_lifted = self._finger.lift(_numbers(fingers))
        if is_lifted:
            self._end()

    def touch_cancel(self, fingers: Sequence[Point]) -> None:
        """End the stroke; the browser has taken the touch for something else."""
        with self._lock:
            self._finger = DrawingFinger()
        self._end()


def _numbers(fingers: Sequence[Point]) -> list[Point]:
    return [(float(x), float(y)) for x, y in fingers[:MAX_FINGERS] if are_coordinates(x, y)]
