"""The drawing pad: what is drawn with mouse, finger or pen is read at once.

    from digit_utils.pad.widget import DigitPad

    pad = DigitPad()
    pad

A pointer event costs little: its point is kept and one short curve is drawn. The reading runs beside that, on a
thread of its own, ten times a second while the pen moves and at once when it rests or is lifted, so ink never waits
for it.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import ipywidgets as widgets
import numpy as np
from ipycanvas import Canvas, hold_canvas

from digit_utils.pad.labelling import DrawingLabeller, LabelState, StrokeRecognizer, with_adaptation
from digit_utils.pad.state import DrawingFinger, DrawingState, Point, smooth_path
from digit_utils.pad.view import BLANK, PadView, reading_of
from digit_utils.preprocessing.strokes import clean_strokes
from digit_utils.recognition.recognizer import Prediction, Recognizer
from digit_utils.types import Strokes, check_digit

SIZE = 400  # CSS pixels, side of the paper where there is room
PIXEL_RATIO = 2  # pixels of the drawing per CSS pixel: crisp on high-resolution screens
PEN_SHARE = 0.045  # width of the pen as a part of the side
DIGIT_KEYS = tuple("0123456789")  # on the paper they say what the drawing is, as the ten buttons do
INK_COLOUR = "#22304f"
FARTHEST = 1e6  # pixels from the corner of the pad; no pointer is farther away
MOST_FINGERS = 20  # on the screen at once; telling them apart takes time that grows with their number
READING_INTERVAL = 0.1  # seconds between two predictions while the pen moves
READING_PAUSE = 0.025  # seconds: a pen that rests for so long is read at once, and one that is lifted, without delay

_log = logging.getLogger(__name__)
_drawing_lock = threading.RLock()  # ipycanvas sends the commands of all canvases through one unguarded object


class DigitPad(widgets.Box):
    """A pad to draw a digit on, which shows what the recogniser makes of it.

    As the last line of a cell it shows itself. Any number of pads can live in a notebook, and share a recogniser.
    All methods may be called from any thread.
    """

    def __init__(
        self,
        recognizer: StrokeRecognizer | None = None,
        *,
        size: int = SIZE,
        drawings: str | Path | None = None,
        keep_all: bool = False,
        recall: bool = True,
    ):
        """Make a pad.

        Args:
            recognizer: what reads the drawing; None loads the bundled model. A plain `Recognizer` gets a memory of
                this pad's corrections; give several pads one `AdaptiveRecognizer`, and they share its memory.
            size: side of the paper in CSS pixels where there is room; it shrinks on narrow screens.
            drawings: a .jsonl file to which corrections are added, as strokes; see `digit_utils.datasets.drawings`.
            keep_all: whether drawings that were read right, and said to be so, go into that file as well.
            recall: whether corrections that the file holds already are remembered from the start.

        Raises ModelFileError when the bundled model cannot be loaded, ValueError or DrawingsFileError when drawings
        cannot be saved in the file.
        """
        self._labeller = DrawingLabeller(drawings=drawings, keep_all=keep_all)
        self._label_state = LabelState()
        self._recognizer = with_adaptation(Recognizer.load() if recognizer is None else recognizer)
        if recall:
            self._labeller.recall(self._recognizer)
        self._state = DrawingState(side=float(size * PIXEL_RATIO))
        self._finger = DrawingFinger()
        self._prediction: Prediction | None = None
        self._lock = threading.RLock()  # guards the strokes and their ink on the canvas
        self._reading_lock = threading.RLock()  # one reading at a time, so that the newest is shown last
        self._readings = LatestOnly(self._read_and_show, pause=READING_PAUSE, longest=READING_INTERVAL)
        self._canvas = Canvas(width=size * PIXEL_RATIO, height=size * PIXEL_RATIO, layout={"width": "100%"})
        self._view = PadView(canvas=self._canvas, size=size, saves=_what_is_saved(drawings, keep_all=keep_all))
        super().__init__(self._view.root_children)
        for name in self._view.root_classes:
            self.add_class(name)
        self._connect()
        self._redraw()

    def __repr__(self) -> str:
        return "DigitPad: a pad to draw on, alive while its notebook runs"

    # ---------------------------------------------------------------------------------------- for users

    @property
    def side(self) -> float:
        """Side of the drawing in its own pixels, the unit of `strokes`."""
        return self._state.side

    @property
    def strokes(self) -> list[np.ndarray]:
        """What is drawn: (n, 2) float64 arrays, x right, y down, 0 to `side`, in drawing order; copies."""
        with self._lock:
            return self._state.strokes

    @property
    def prediction(self) -> Prediction | None:
        """The reading that is shown, None while nothing is drawn. `predict()` returns it up to date."""
        return self._prediction

    def predict(self) -> Prediction | None:
        """Read the drawing now, show the reading and return it. None when nothing is drawn."""
        self._read_and_show(announce=True)
        return self._prediction

    def correct(self, digit: int) -> Prediction | None:
        """Say what the drawing is meant to be, show how it is read now, and return that. None when nothing is drawn.

        What is drawn like it is read so from now on. A correction goes into the file of drawings where there is one.

        Raises ValueError when the digit is not from 0 to 9.
        """
        digit = check_digit(digit)
        with self._lock:
            strokes, label_state = self.strokes, self._label_state
        if not strokes:
            self._view.corrections.show_nothing_drawn()
            return None
        kept = self._labeller.label(self._recognizer, label_state, strokes, digit)
        with self._lock:
            if label_state is self._label_state:  # or the drawing has gone on meanwhile
                self._view.corrections.show_label(digit, kept)
        return self.predict()

    def undo(self) -> None:
        """Take the newest stroke back."""
        with self._lock:
            self._state.undo()
            self._next_lesson()
            self._redraw()
        self._read_and_show(announce=True)

    def clear(self) -> None:
        """Take a new sheet."""
        with self._lock:
            self._state.clear()
            self._next_lesson()
            self._redraw()
        self._read_and_show(announce=True)

    def replay(self, strokes: Strokes) -> Prediction | None:
        """Draw strokes on top of what is there, event by event as a mouse would, and read the result.

        Args:
            strokes: (n, 2) arrays in pixels of the pad, 0 to `side`.
        """
        for stroke in clean_strokes(strokes):
            points = stroke.tolist()
            self._on_mouse_down(*points[0])
            for x, y in points[1:]:
                self._on_mouse_move(x, y)
            self._on_mouse_up(*points[-1])
        return self.predict()

    # ------------------------------------------------------------------------------------------- events

    def _connect(self) -> None:
        canvas, view = self._canvas, self._view
        canvas.on_client_ready(self._redraw)  # what was drawn before the page was there is lost, so draw it again
        canvas.on_mouse_down(self._on_mouse_down)
        canvas.on_mouse_move(self._on_mouse_move)
        canvas.on_mouse_up(self._on_mouse_up)
        canvas.on_mouse_out(self._on_mouse_out)
        canvas.on_touch_start(self._on_touch_start)
        canvas.on_touch_move(self._on_touch_move)
        canvas.on_touch_end(self._on_touch_end)
        canvas.on_touch_cancel(self._on_touch_cancel)
        canvas.on_key_down(self._on_key_down)
        view.undo.on_click(lambda _: self.undo())
        view.clear.on_click(lambda _: self.clear())
        view.predict.on_click(lambda _: self.predict())
        view.corrections.on_label(self.correct)

    def _on_mouse_down(self, x: float, y: float) -> None:
        if not self._finger.is_down:
            self._begin(x, y)

    def _on_mouse_move(self, x: float, y: float) -> None:
        # Moves without a pressed button come as well, many of them: decide that first.
        if self._state.is_drawing and not self._finger.is_down:
            self._extend(x, y)

    def _on_mouse_up(self, x: float, y: float) -> None:
        if not self._finger.is_down:
            self._extend(x, y)
            self._end()

    def _on_mouse_out(self, x: float, y: float) -> None:
        # A button released out there is never reported, so the stroke ends at the edge.
        self._on_mouse_up(x, y)

    def _on_touch_start(self, fingers: Sequence[Point]) -> None:
        with self._lock:
            place = self._finger.start(_numbers(fingers), on_paper=lambda place: self._state.contains(*place))
        if place is not None:
            self._begin(*place)

    def _on_touch_move(self, fingers: Sequence[Point]) -> None:
        with self._lock:
            place = self._finger.move(_numbers(fingers))
        if place is None:
            return
        if self._state.is_drawing:
            self._extend(*place)
        else:  # the finger comes back onto the paper
            self._begin(*place)

    def _on_touch_end(self, fingers: Sequence[Point]) -> None:
        with self._lock:
            lifted = self._finger.lift(_numbers(fingers))
        if lifted:
            self._end()

    def _on_touch_cancel(self, fingers: Sequence[Point]) -> None:
        with self._lock:
            self._finger = DrawingFinger()
        self._end()

    def _on_key_down(self, key: str, shift: bool, ctrl: bool, meta: bool) -> None:
        if ((ctrl or meta) and key.lower() == "z") or key == "Backspace":
            self.undo()
        elif key in ("Escape", "Delete"):
            self.clear()
        elif key == "Enter":
            self.predict()
        elif key in DIGIT_KEYS and not (ctrl or meta):
            self.correct(DIGIT_KEYS.index(key))
        elif key == "Tab" and hasattr(self._view.undo, "focus"):
            # In a notebook, unlike on the page, the canvas keeps every key: without this none could leave it.
            (self._canvas.blur if shift else self._view.undo.focus)()

    # ------------------------------------------------------------------------------- strokes and their ink

    def _begin(self, x: float, y: float) -> None:
        with self._lock:
            if not _are_numbers(x, y) or not self._state.begin(float(x), float(y)):
                return
            self._next_lesson()
            with _drawing_lock:
                self._canvas.fill_circle(x, y, self._pen_width / 2)
        self._readings.request()

    def _extend(self, x: float, y: float) -> None:
        with self._lock:
            if not _are_numbers(x, y) or not self._state.is_drawing:
                return
            has_grown = self._state.extend(float(x), float(y))
            if has_grown:
                self._draw_to_middle()
            has_ended = not self._state.is_drawing  # at the edge, where no further event will end it
            if has_ended:
                self._draw_to_end()
        if has_grown or has_ended:
            self._readings.request(announce=has_ended)

    def _end(self) -> None:
        with self._lock:
            if not self._state.end():
                return
            self._draw_to_end()
        self._readings.request(announce=True)

    def _draw_to_middle(self) -> None:
        """Draw up to the middle of the newest piece; the other half follows when it is known where the pen goes."""
        newest = self._state.newest_stroke[-3:]
        path = smooth_path(newest)[1:-1] if len(newest) == 3 else np.array([newest[0], _middle(*newest)])
        with _drawing_lock:
            self._canvas.stroke_lines(path)

    def _draw_to_end(self) -> None:
        """Draw the other half of the newest piece, the pen being lifted."""
        newest = self._state.newest_stroke[-2:]
        if len(newest) == 2:
            with _drawing_lock:
                self._canvas.stroke_lines(np.array([_middle(*newest), newest[-1]]))

    @property
    def _pen_width(self) -> float:
        return self.side * PEN_SHARE

    def _redraw(self) -> None:
        """Draw everything anew: for a new page, after undo and after clear."""
        with self._lock:
            paths = [smooth_path(stroke) for stroke in self._state.strokes]
            dots = [stroke[0] for stroke in self._state.strokes]
            canvas = self._canvas
            with _one_message():
                # A page that has just connected has not been told which canvas the commands are for.
                canvas._canvas_manager._current_canvas = None
                canvas.clear()
                canvas.line_width = self._pen_width
                canvas.line_cap = canvas.line_join = "round"
                canvas.stroke_style = canvas.fill_style = INK_COLOUR
                for (x, y), path in zip(dots, paths, strict=True):
                    canvas.fill_circle(x, y, self._pen_width / 2)
                    canvas.stroke_lines(path)

    def _next_lesson(self) -> None:
        """Ask anew what the drawing is, now that it has changed."""
        if self._label_state.is_labelled:
            self._label_state = LabelState()
        self._view.corrections.reset()

    # ------------------------------------------------------------------------------------------ predictions

    def _read_and_show(self, *, announce: bool = False) -> None:
        with self._reading_lock:
            strokes = self.strokes
            try:
                self._prediction = self._recognizer.recognize(strokes) if strokes else None
            except Exception as error:  # whatever it is, the ink must go on and the person must be told
                _log.exception("the drawing could not be read")
                self._prediction = None
                self._view.show_problem(f"Reading failed: {type(error).__name__}", announce=announce)
                return
            reading = reading_of(self._prediction)
            image = np.zeros((28, 28)) if reading is BLANK else self._prediction.image
            self._view.show(reading, image)
            if announce:
                self._view.announce(reading)


class LatestOnly:
    """Calls a function on a thread of its own: when requests pause, seldom while they go on, always after the last one.

    However many requests come, at most one call runs and at most one waits, so no queue can grow.
    """

    def __init__(self, function: Callable[..., None], *, pause: float, longest: float):
        """Call `function(announce=...)` once no request came for `pause` seconds, or after `longest` in any case."""
        self._function = function
        self._pause, self._longest = pause, longest
        self._lock = threading.Lock()
        self._running = threading.Lock()
        self._at_once = threading.Event()
        self._is_waiting = False
        self._announce = False
        self._newest = 0.0  # time.monotonic() of the newest request

    def request(self, *, announce: bool = False) -> None:
        """Ask for a call; with `announce` for one without delay. Returns at once."""
        with self._lock:
            self._newest = time.monotonic()
            self._announce |= announce
            if announce:
                self._at_once.set()
            if self._is_waiting:
                return
            self._is_waiting = True
        threading.Thread(target=self._run, args=(self._newest,), daemon=True).start()

    def _run(self, first: float) -> None:
        with self._running:
            while (delay := min(self._newest + self._pause, first + self._longest) - time.monotonic()) > 0:
                if self._at_once.wait(delay):
                    break
            with self._lock:
                self._is_waiting = False
                self._at_once.clear()
                announce, self._announce = self._announce, False
            self._function(announce=announce)


@contextmanager
def _one_message() -> Iterator[None]:
    """Send all that is drawn inside as one message, like hold_canvas(), but let go of the canvas after an error."""
    with _drawing_lock:
        held = hold_canvas()
        held.__enter__()
        try:
            yield
        finally:
            held.__exit__(None, None, None)  # told of no error, it sends what there is and lets go


def _what_is_saved(drawings: str | Path | None, *, keep_all: bool) -> str:
    """Return what whoever draws must be told before anything of it is kept."""
    if not drawings:
        return ""
    return "What you tap is saved with the drawing." if keep_all else "The corrected drawing is saved."


def _middle(first: Point, second: Point) -> Point:
    return (first[0] + second[0]) / 2, (first[1] + second[1]) / 2


def _are_numbers(*values: object) -> bool:
    """Tell whether coordinates from the browser can be used; a hidden canvas, for one, sends none."""
    # Not math.isfinite, which fails for whole numbers of hundreds of digits.
    return all(isinstance(value, (int, float)) and -FARTHEST < value < FARTHEST for value in values)


def _numbers(fingers: Sequence[Point]) -> list[Point]:
    return [finger for finger in fingers[:MOST_FINGERS] if _are_numbers(*finger)]
