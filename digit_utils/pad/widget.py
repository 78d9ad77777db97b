"""The drawing pad: the number that is drawn with mouse, finger or pen is recognised at once.

    from digit_utils.pad.widget import DigitPad

    pad = DigitPad()
    pad

The browser draws what the pen does at once and sends it in batches (see `ink_layer`), and the pad draws each finished
stroke on its canvas. Where a notebook cannot load that layer, the pad itself draws after every pointer event.
Recognition runs on a thread of its own, ten times a second while the pen moves and at once when it rests or is lifted,
so ink never waits for it.
"""

import logging
import threading
from pathlib import Path

import ipywidgets as widgets
import numpy as np
from ipycanvas import Canvas

from digit_utils.pad.debounce import Debouncer
from digit_utils.pad.events import PointerEvents
from digit_utils.pad.ink import INK_COLOUR, InkCanvas
from digit_utils.pad.ink_layer import InkLayer
from digit_utils.pad.labelling import DrawingLabeller, StrokeRecognizer, number_of, with_adaptation
from digit_utils.pad.state import DrawingState, Labelled, LabelState, Step
from digit_utils.pad.view import BLANK, PadView, displayed_number
from digit_utils.preprocessing.strokes import clean_strokes
from digit_utils.recognition.numbers import Number
from digit_utils.recognition.recognizer import Prediction, Recognizer
from digit_utils.types import IMAGE_SIZE, Strokes, check_digit

SIZE = 400  # CSS pixels, side of the paper where there is room
PIXEL_RATIO = 2  # pixels of the drawing per CSS pixel: crisp on high-resolution screens
PEN_WIDTH = 0.045  # as a fraction of the side
DIGIT_KEYS = tuple("0123456789")  # on the paper they label the drawing, as the ten buttons do
RECOGNITION_INTERVAL = 0.1  # seconds between two predictions while the pen moves
RECOGNITION_PAUSE = 0.025  # seconds that the pen rests before its drawing is recognised; lifted, it does not wait

_log = logging.getLogger(__name__)


class DigitPad(widgets.Box):
    """A pad to draw a digit or a number on, which shows how the drawing is recognised.

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
            recognizer: recognises the drawing; None loads the bundled model. A plain `Recognizer` is adapted to this
                pad's corrections; give several pads one `AdaptiveRecognizer`, and they share corrections.
            size: side of the paper in CSS pixels where there is room; it shrinks on narrow screens.
            drawings: a .jsonl file to which corrections are added, as strokes; see `digit_utils.datasets.drawings`.
            keep_all: whether labelled drawings that were recognised correctly go into that file as well.
            recall: whether the corrections that the file holds already are used from the start.

        Raises:
            ModelFileError: the bundled model cannot be loaded.
            ValueError: the name of the file of drawings does not end in .jsonl.
            DrawingsFileError: drawings cannot be saved in the file.
        """
        self._labeller = DrawingLabeller(drawings=drawings, keep_all=keep_all)
        self._recognizer = with_adaptation(Recognizer.load() if recognizer is None else recognizer)
        if recall:
            self._labeller.load_corrections(self._recognizer)
        side = size * PIXEL_RATIO
        self._state = DrawingState(side=float(side))
        self._number: Number | None = None
        self._lock = threading.RLock()  # guards the strokes and their ink on the canvas
        self._recognition_lock = threading.RLock()  # one recognition at a time, so that the newest is shown last
        self._recognition = Debouncer(self._recognize_and_show, wait=RECOGNITION_PAUSE, max_wait=RECOGNITION_INTERVAL)
        self._canvas = Canvas(width=side, height=side, layout={"width": "100%"})
        self._ink = InkCanvas(self._canvas, pen_width=side * PEN_WIDTH)
        self._layer = InkLayer(self._canvas, ink_colour=INK_COLOUR, ink_width=side * PEN_WIDTH)
        self._view = PadView(canvas=self._canvas, size=size, saving_notice=_saving_notice(drawings, keep_all=keep_all))
        super().__init__(self._view.root_children)
        for name in self._view.root_classes:
            self.add_class(name)
        self._pointer = PointerEvents(self._canvas, self._state, begin=self._begin, extend=self._extend, end=self._end)
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
        """The drawing: (n, 2) float64 arrays, x right, y down, 0 to `side`, in drawing order; copies."""
        with self._lock:
            return [*self._state.strokes, *self._layer.wet_strokes]

    @property
    def number(self) -> Number | None:
        """What is read, with the strokes of each digit as indices of `strokes`; None while nothing is drawn."""
        return self._number

    @property
    def prediction(self) -> Prediction | None:
        """The prediction of the digit that bars and picture show, None while nothing is drawn.

        `predict()` returns it up to date.
        """
        number = self._number
        return None if number is None else number.digits[_shown(number)].prediction

    def predict(self) -> Prediction | None:
        """Recognise the drawing now, show the number and return the prediction of the shown digit.

        None when nothing is drawn.
        """
        self._recognize_and_show(announce=True)
        return self.prediction

    def correct(self, digit: int) -> Prediction | None:
        """Label the drawing, and show and return how it is recognised from now on. None when nothing is drawn.

        Similar drawings follow the correction. It is added to the file of drawings where there is one.

        Raises ValueError when the digit is not from 0 to 9.
        """
        digit = check_digit(digit)
        with self._lock:
            strokes = self.strokes
            if not strokes:
                self._view.corrections.show_nothing_drawn()
                return None
            label_state = LabelState() if self._layer.wet_strokes else self._state.label_state
            self._state.label(label_state, digit)
            step = self._state.newest_step
        self._label(label_state, strokes, digit, step=step)
        return self.predict()

    def forget(self) -> Prediction | None:
        """Take the drawing's label back, from memory and file, and show and return how it is recognised then."""
        with self._lock:
            strokes, label_state = self.strokes, self._state.label_state
            if not label_state.is_labelled:
                return self.prediction
            self._state.label(label_state, None)
            step = self._state.newest_step
        self._label(label_state, strokes, None, step=step)
        return self.predict()

    def undo(self) -> None:
        """Take back what was done last: a stroke, a label, or clearing the paper."""
        with self._lock:
            undone = None if self._layer.drop_wet() else self._state.undo()
            strokes, step = self.strokes, self._state.newest_step
            self._show_state()
        if isinstance(undone, Labelled):
            self._label(undone.label_state, strokes, undone.before, step=step)
        self._recognize_and_show(announce=True)

    def redo(self) -> None:
        """Do again what was undone last, unless something else was done since."""
        with self._lock:
            redone = self._state.redo()
            strokes, step = self.strokes, self._state.newest_step
            self._show_state()
        if isinstance(redone, Labelled):
            self._label(redone.label_state, strokes, redone.after, step=step)
        self._recognize_and_show(announce=True)

    def clear(self) -> None:
        """Remove all strokes."""
        with self._lock:
            self._layer.drop_wet()
            self._state.clear()
            self._show_state()
        self._recognize_and_show(announce=True)

    def replay(self, strokes: Strokes) -> Prediction | None:
        """Draw strokes on top of what is there, event by event as a mouse would, and return the prediction.

        Args:
            strokes: (n, 2) arrays in pixels of the pad, 0 to `side`.
        """
        for stroke in clean_strokes(strokes):
            points = stroke.tolist()
            self._pointer.mouse_down(*points[0])
            for x, y in points[1:]:
                self._pointer.mouse_move(x, y)
            self._pointer.mouse_up(*points[-1])
        return self.predict()

    # ------------------------------------------------------------------------------------------- events

    def _connect(self) -> None:
        canvas, view = self._canvas, self._view
        canvas.on_client_ready(self._redraw)  # a page does not see what was drawn before it connected
        canvas.on_key_down(self._on_key_down)
        self._layer.on_ready(lambda: view.cover_paper(self._layer))
        self._layer.on_wet(self._on_wet_ink)
        self._layer.on_stroke(self._on_stroke)
        view.undo.on_click(lambda _: self.undo())
        view.redo.on_click(lambda _: self.redo())
        view.clear.on_click(lambda _: self.clear())
        view.predict.on_click(lambda _: self.predict())
        view.corrections.on_label(self.correct)
        view.corrections.forget.on_click(lambda _: self.forget())

    def _on_key_down(self, key: str, shift: bool, ctrl: bool, meta: bool) -> None:
        is_shortcut = ctrl or meta
        if is_shortcut and (key.lower() == "y" or (shift and key.lower() == "z")):
            self.redo()
        elif (is_shortcut and key.lower() == "z") or key == "Backspace":
            self.undo()
        elif key in ("Escape", "Delete"):
            self.clear()
        elif key == "Enter":
            self.predict()
        elif key in DIGIT_KEYS and not is_shortcut:
            self.correct(DIGIT_KEYS.index(key))
        elif key == "Tab" and hasattr(self._view.undo, "focus"):
            # In a notebook, unlike on the page, the canvas keeps every key: without this Tab could not leave it.
            (self._canvas.blur if shift else self._view.undo.focus)()

    # ------------------------------------------------------------------------------- strokes and their ink

    def _on_wet_ink(self) -> None:
        with self._lock:
            self._view.corrections.reset()
        self._recognition.request()

    def _on_stroke(self, points: np.ndarray, is_tap: bool) -> None:
        """Take a whole stroke from the ink layer, tap or not: a dot is ink."""
        with self._lock:
            if self._state.add(points.tolist()):
                self._ink.add(points)
        self._recognition.request(announce=True)

    # Without the ink layer each event of the canvas comes here.
    def _begin(self, x: float, y: float) -> None:
        with self._lock:
            if not self._state.begin(x, y):
                return
            self._view.corrections.reset()
            self._ink.begin(x, y)
        self._recognition.request()

    def _extend(self, x: float, y: float) -> None:
        with self._lock:
            if not self._state.is_drawing:
                return
            has_grown = self._state.extend(x, y)
            if has_grown:
                self._ink.extend(self._state.newest_stroke)
            has_ended = not self._state.is_drawing  # at the edge, where no further event will end it
            if has_ended:
                self._ink.finish(self._state.newest_stroke)
        if has_grown or has_ended:
            self._recognition.request(announce=has_ended)

    def _end(self) -> None:
        with self._lock:
            if not self._state.end():
                return
            self._ink.finish(self._state.newest_stroke)
        self._recognition.request(announce=True)

    def _redraw(self) -> None:
        with self._lock:
            self._ink.redraw(self._state.strokes)

    # ------------------------------------------------------------------------------------------------ labels

    def _label(self, label_state: LabelState, strokes: Strokes, digit: int | None, *, step: Step | None) -> None:
        """Give a drawing a label, or take it back (None), and show that unless something was done since `step`."""
        if digit is None:
            result = self._labeller.remove_label(self._recognizer, label_state)
        else:
            result = self._labeller.label(self._recognizer, label_state, strokes, digit)
        with self._lock:
            if self._state.newest_step is not step:
                return
            if digit is None:
                self._view.corrections.show_forgotten(result)
            else:
                self._view.corrections.show_label(digit, result)

    def _show_state(self) -> None:
        """Show the strokes after undo, redo or clear, and the label of the drawing if it has one."""
        self._redraw()
        label_state = self._state.label_state
        if label_state.is_labelled:
            self._view.corrections.show_label(label_state.digit)
        else:
            self._view.corrections.reset()

    # ------------------------------------------------------------------------------------------ predictions

    def _recognize_and_show(self, *, announce: bool = False) -> None:
        with self._recognition_lock:
            strokes = self.strokes
            try:
                self._number = number_of(self._recognizer, strokes) if strokes else None
            except Exception as error:  # whatever it is, drawing must go on and the person must be told
                _log.exception("recognition failed")
                self._number = None
                self._view.show_problem(f"Recognition failed: {type(error).__name__}", announce=announce)
                return
            display, image = BLANK, np.zeros((IMAGE_SIZE, IMAGE_SIZE))
            if self._number is not None:
                display, image = displayed_number(self._number, _shown(self._number)), self.prediction.image
            self._view.show(display, image)
            if announce:
                self._view.announce(display)


def _shown(number: Number) -> int:
    """Return the place of the digit that bars and picture are about: the last one."""
    digits = [place for place, character in enumerate(number.digits) if character.text.isdigit()]
    return digits[-1] if digits else len(number.digits) - 1


def _saving_notice(drawings: str | Path | None, *, keep_all: bool) -> str:
    """Return what people must know before anything that they draw is saved."""
    if not drawings:
        return ""
    return "What you tap is saved with the drawing." if keep_all else "The corrected drawing is saved."
