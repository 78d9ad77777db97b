"""Draws strokes on an ipycanvas canvas, while they are made and anew."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from ipycanvas import Canvas, hold_canvas

from digit_utils.pad.state import Point, smooth_path

INK_COLOUR = "#22304f"
# Blue and vermilion, which colour-blind people can tell apart (Okabe and Ito, 2008), dark enough for dimmed paper.
DIGIT_COLOURS = ("#1f4e9c", "#883704")
DOUBTFUL_COLOURS = ("#5573ad", "#b0683a")  # the same, paler

_drawing_lock = threading.RLock()  # ipycanvas sends the commands of all canvases through one unguarded object


class InkCanvas:
    """The ink on one canvas. A new point costs one short message to the browser."""

    def __init__(self, canvas: Canvas, *, pen_width: float):
        """Draw on a canvas with a pen `pen_width` pixels wide."""
        self._canvas, self._pen_width = canvas, pen_width
        self._colours: list[str] = []  # of the strokes on the canvas

    def begin(self, x: float, y: float) -> None:
        """Draw the first point of a stroke."""
        self._colours.append(INK_COLOUR)
        with _drawing_lock:
            self._canvas.fill_circle(x, y, self._pen_width / 2)

    def extend(self, stroke: Sequence[Point]) -> None:
        """Draw a stroke's newest segment up to its middle; how the other half bends depends on the next point."""
        newest = stroke[-3:]
        path = smooth_path(newest)[1:-1] if len(newest) == 3 else np.array([newest[0], _middle(*newest)])
        with _drawing_lock:
            self._canvas.stroke_lines(path)

    def finish(self, stroke: Sequence[Point]) -> None:
        """Draw the other half of a stroke's newest segment, now that the pen is lifted."""
        newest = stroke[-2:]
        if len(newest) == 2:
            with _drawing_lock:
                self._canvas.stroke_lines(np.array([_middle(*newest), newest[-1]]))

    def redraw(self, strokes: Sequence[np.ndarray]) -> None:
        """Draw all strokes anew, in one message: for a new page, after undo and after clear. Colours are kept."""
        canvas = self._canvas
        self._colours = [*self._colours, *[INK_COLOUR] * len(strokes)][: len(strokes)]
        with _one_message():
            # ipycanvas leaves out which canvas is meant if it was the last one, which a new page was never told.
            canvas._canvas_manager._current_canvas = None
            canvas.clear()
            canvas.line_width = self._pen_width
            canvas.line_cap = canvas.line_join = "round"
            for stroke, colour in zip(strokes, self._colours, strict=True):
                canvas.stroke_style = canvas.fill_style = colour
                self._draw(stroke)
            canvas.stroke_style = canvas.fill_style = INK_COLOUR

    def add(self, stroke: Sequence[Point]) -> None:
        """Draw a whole stroke, in one message."""
        self._colours.append(INK_COLOUR)
        with _one_message():
            self._draw(stroke)

    def tint(self, strokes: Sequence[np.ndarray], colours: Sequence[str]) -> None:
        """Give each stroke a colour, in one message about those that have another one; in none without any."""
        changed = [
            (stroke, colour)
            for stroke, colour, now in zip(strokes, colours, self._colours, strict=True)
            if colour != now
        ]
        if not changed:
            return
        canvas = self._canvas
        self._colours = list(colours)
        with _one_message():
            canvas.global_composite_operation = "source-atop"  # only where there is ink, so that no edge grows
            for stroke, colour in changed:
                canvas.stroke_style = canvas.fill_style = colour
                self._draw(stroke)
            canvas.stroke_style = canvas.fill_style = INK_COLOUR
            canvas.global_composite_operation = "source-over"

    def _draw(self, stroke: Sequence[Point] | np.ndarray) -> None:
        self._canvas.fill_circle(*stroke[0], self._pen_width / 2)
        self._canvas.stroke_lines(smooth_path(stroke))


@contextmanager
def _one_message() -> Iterator[None]:
    """Send all that is drawn inside as one message, like hold_canvas(), but release the canvas after an error."""
    with _drawing_lock:
        held = hold_canvas()
        held.__enter__()
        try:
            yield
        finally:
            held.__exit__(None, None, None)  # without the error, so that it sends what there is and releases the canvas


def _middle(first: Point, second: Point) -> Point:
    return (first[0] + second[0]) / 2, (first[1] + second[1]) / 2
