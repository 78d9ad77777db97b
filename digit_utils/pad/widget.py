"""The drawing pad: the number that is drawn with mouse, finger or pen is recognised at once.

    from digit_utils.pad.widget import DigitPad

    pad = DigitPad()
    pad

The browser draws what the pen does at once and sends it in batches (see `ink_layer`), and the pad draws each finished
stroke on its canvas. Where a notebook cannot load that layer, the pad itself draws after every pointer event.
Recognition runs on a thread of its own, seven times a second while the pen moves and at once when it is lifted, so ink
never waits for it.
"""

import base64
import logging
import threading
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import ipywidgets as widgets
import numpy as np
from ipycanvas import Canvas

from digit_utils.pad.corrections import NOTHING_TO_CORRECT
from digit_utils.pad.debounce import Debouncer
from digit_utils.pad.events import PointerEvents
from digit_utils.pad.how_it_sees import picture_of_strokes, rules_of, strip_html
from digit_utils.pad.ink import INK_COLOUR, InkCanvas
from digit_utils.pad.ink_layer import InkLayer
from digit_utils.pad.labelling import DrawingLabeller, StrokeRecognizer, number_of, with_adaptation
from digit_utils.pad.picture import PadPicture
from digit_utils.pad.state import DrawingState, Labelled, LabelState, Point, Step
from digit_utils.pad.view import BLANK, EXAMPLE, PadView, displayed_number, ink_colours, on_paper, picture_of_pad
from digit_utils.preprocessing.inputs import ImageInputError
from digit_utils.preprocessing.strokes import clean_strokes, ink_from_strokes
from digit_utils.recognition.numbers import Alternative, Number
from digit_utils.recognition.recognizer import Prediction, Recognizer
from digit_utils.types import IMAGE_SIZE, Strokes, check_digit

if TYPE_CHECKING:
    from digit_utils.preprocessing.inputs import ImageInput

SIZE = 400  # CSS pixels, height of the paper where there is room
ASPECT = 2  # width of the paper by its height; on a narrow screen the square at the left is to be seen
PIXEL_RATIO = 2  # pixels of the drawing per CSS pixel: crisp on high-resolution screens
PEN_WIDTH = 0.045  # as a fraction of the side
TAP_REACH = 0.03  # likewise: how far from a digit's outline a tap selects it; half of it is ink
DIGIT_KEYS = tuple("0123456789")  # on the paper they label the drawing, as the ten buttons do
ARROW_KEYS = {"ArrowLeft": -1, "ArrowRight": 1}  # on the paper they select a neighbouring digit
MAX_SENT_PIXELS = 1280 * 1280  # of a picture from the browser, which shrinks it to that
RECOGNITION_INTERVAL = 0.15  # seconds between two predictions while the pen moves, of two messages each
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
            size: height of the paper in CSS pixels where there is room; it is twice as wide on wide screens, and
                square on narrow ones.
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
        self._state = DrawingState(side=float(side), width=float(ASPECT * side))
        self._number: Number | None = None
        self._offered: Sequence[Alternative] = ()  # readings that can be tapped
        self._selected: frozenset[int] = frozenset()  # strokes of the character that was tapped
        self._picture: PadPicture | None = None  # that lies on the paper
        self._lock = threading.RLock()  # guards the strokes and their ink on the canvas
        self._recognition_lock = threading.RLock()  # one recognition at a time, so that the newest is shown last
        self._recognition = Debouncer(self._recognize_and_show, wait=RECOGNITION_PAUSE, interval=RECOGNITION_INTERVAL)
        self._canvas = Canvas(width=ASPECT * side, height=side, layout={"width": "100%"})
        self._ink = InkCanvas(self._canvas, pen_width=side * PEN_WIDTH)
        self._layer = InkLayer(self._canvas, ink_colour=INK_COLOUR, ink_width=side * PEN_WIDTH)
        self._view = PadView(canvas=self._canvas, size=size, saving_notice=self._labeller.saving_notice)
        super().__init__(self._view.root_children)
        for name in self._view.root_classes:
            self.add_class(name)
        self._pointer = PointerEvents(self._canvas, self._state, begin=self._begin, extend=self._extend, end=self._end)
        self._connect()
        self._redraw()

    def __repr__(self) -> str:
        return "DigitPad: a pad to draw on, alive while its notebook runs"

    def _repr_mimebundle_(self, **options: object) -> dict[str, object]:
        """Return the widget, and a picture of the drawing as it is now, for where no widget is shown, as on GitHub."""
        bundle = super()._repr_mimebundle_(**options)
        if self._picture:
            return bundle
        number, display, image = self._number, BLANK, np.zeros((IMAGE_SIZE, IMAGE_SIZE))
        if number is not None:
            shown = self._shown(number)
            display, image = displayed_number(number, shown), number.digits[shown].prediction.image
        png = picture_of_pad(
            self.strokes,
            size=(self.width, self.side),
            pen_width=self.side * PEN_WIDTH,
            image=image,
            caption=display.caption,
        )
        return {**bundle, "image/png": base64.b64encode(png).decode()}

    # ---------------------------------------------------------------------------------------- for users

    @property
    def side(self) -> float:
        """Height of the paper in its own pixels, the unit of `strokes`."""
        return self._state.side

    @property
    def width(self) -> float:
        """Width of the paper in its own pixels; on a narrow screen people see the left half, a square."""
        return self._state.width

    @property
    def strokes(self) -> list[np.ndarray]:
        """The drawing: (n, 2) float64 arrays, x right, y down, 0 to `width` and `side`, in drawing order; copies."""
        with self._lock:
            return [*self._state.strokes, *self._layer.wet_strokes]

    @property
    def number(self) -> Number | None:
        """What is read, with the strokes of each digit as indices of `strokes`; None while nothing is drawn.

        In a picture, the number with the selected digit.
        """
        return self._number

    @property
    def numbers(self) -> list[Number]:
        """The numbers in the picture that is open, boxes in its pixels; empty without a picture."""
        return list(self._picture.numbers) if self._picture else []

    @property
    def prediction(self) -> Prediction | None:
        """The prediction of the digit that bars and picture show, None while nothing is drawn.

        `predict()` returns it up to date.
        """
        number = self._number
        return None if number is None else number.digits[self._shown(number)].prediction

    def open(self, picture: "ImageInput | None" = None) -> None:
        """Lay a picture on the paper, on a new sheet, and read the numbers in it; `clear` takes it away.

        A drag on it marks the region to read, a tap selects a digit, which can then be corrected.

        Args:
            picture: a path (its EXIF orientation is applied), the bytes of a file, a PIL image, or an array: (height,
                width) or (height, width, 1, 3 or 4), colours in the order red, green, blue.

        Raises:
            ImageInputError (a ValueError): the file cannot be decoded, or the picture is too small or too large.
            FileNotFoundError: there is no such file.
        """
        if picture is None:  # ipywidgets' own `open`, which it calls without arguments to connect a widget
            super().open()
            return
        self._lay(PadPicture(picture))
        self._recognize_and_show(announce=True)

    def predict(self) -> Prediction | None:
        """Recognise the drawing now, show the number and return the prediction of the shown digit.

        None when nothing is drawn.
        """
        self._recognize_and_show(announce=True)
        return self.prediction

    def select(self, place: int) -> Prediction:
        """Show bars and picture of one of `number.digits`, as a tap on its ink does, and return its prediction.

        It stays selected until ink is added. Labels are given to the selected digit.

        Raises ValueError when there is no such digit.
        """
        digits = self._number.digits if self._number else ()
        if not 0 <= place < len(digits):
            raise ValueError(f"place is {place}; expected one of the {len(digits)} digits on the paper, from 0 on")
        if self._picture:
            self._picture.selected = digits[place]
        else:
            self._selected = frozenset(digits[place].strokes)
        return self.predict()

    def correct(self, digit: int) -> Prediction | None:
        """Label the selected digit, and show and return how it is recognised from now on. None when nothing is drawn.

        Similar drawings follow the correction. The digit is added to the file of drawings where there is one.

        Raises ValueError when the digit is not from 0 to 9.
        """
        digit = check_digit(digit)
        if self._picture:
            return self._label_in_picture(digit)
        label_state = self._selected_label()
        if label_state is None:
            self._view.corrections.show_nothing_drawn()
            return None
        self._give_labels((label_state, digit))
        return self.predict()

    def forget(self) -> Prediction | None:
        """Take the selected digit's label back, from memory and file; show and return how it is recognised then."""
        if self._picture:
            return self._label_in_picture(None)
        label_state = self._selected_label()
        if label_state is not None and label_state.is_labelled:
            self._give_labels((label_state, None))
            self.predict()
        return self.prediction

    def choose(self, reading: Alternative) -> Prediction | None:
        """Read the paper as one of `number.alternatives`: its characters, and which strokes belong to each.

        Its digits are labelled so, and saved with their grouping where there is a file of drawings.
        """
        self._regroup([(character.strokes, character.text) for character in reading.digits])
        return self.predict()

    def join(self) -> Prediction | None:
        """Make one digit of the selected character and the one before it, labelled with what it looks like most."""
        number, shown = self._read_now()
        if shown > 0 and not self._picture:
            together = sorted(number.digits[shown - 1].strokes + number.digits[shown].strokes)
            self._regroup([(tuple(together), self._looks_like(together))])
        return self.predict()

    def split(self) -> Prediction | None:
        """Make a digit of each stroke of the selected character, labelled with what it looks like most."""
        number, shown = self._read_now()
        strokes = number.digits[shown].strokes if number else ()
        if len(strokes) > 1 and not self._picture:
            self._regroup([((stroke,), self._looks_like([stroke])) for stroke in strokes])
        return self.predict()

    def undo(self) -> None:
        """Take back what was done last: a stroke, labels, or clearing the paper; on a picture a label or a region.

        Where nothing was done to a picture, it is taken away.
        """
        self._take_step(back=True)

    def redo(self) -> None:
        """Do again what was undone last, unless something else was done since."""
        self._take_step(back=False)

    def _take_step(self, *, back: bool) -> None:
        with self._recognition_lock:
            picture = self._picture
            if picture and (picture.undo if back else picture.redo)(self._recognizer):
                self.predict()
                return
        with self._lock:
            if back:
                taken = None if self._layer.drop_wet() or self._take_picture_away() else self._state.undo()
            else:
                taken = None if self._picture else self._state.redo()
            step = self._state.newest_step
            self._show_state()
        if isinstance(taken, Labelled):
            self._apply(
                [(change.label_state, change.before if back else change.after) for change in taken.changes], step=step
            )
        self._recognize_and_show(announce=True)

    def clear(self) -> None:
        """Remove all strokes, and a picture."""
        self._take_new_sheet()
        self._recognize_and_show(announce=True)

    def replay(self, strokes: Strokes) -> Prediction | None:
        """Draw strokes on top of what is there, event by event as a mouse would, and return the prediction.

        A picture is taken away first.

        Args:
            strokes: (n, 2) arrays in pixels of the pad, 0 to `width` and `side`.
        """
        with self._lock:
            self._take_picture_away()
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
        self._layer.on_picture(self._on_picture)
        self._layer.on_mark(self._on_mark)
        view.undo.on_click(lambda _: self.undo())
        view.redo.on_click(lambda _: self.redo())
        view.clear.on_click(lambda _: self.clear())
        view.predict.on_click(lambda _: self.predict())
        view.corrections.on_label(self.correct)
        view.join.on_click(lambda _: self.join())
        view.split.on_click(lambda _: self.split())
        for place, button in enumerate(view.readings):
            button.on_click(lambda _, place=place: self._choose(place))
        view.corrections.forget.on_click(lambda _: self.forget())
        view.unfold.on_click(lambda _: self._fold_or_unfold())

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
        elif key in ARROW_KEYS and self._number is not None:
            places = len(self._number.digits)
            self.select((self._shown(self._number) + ARROW_KEYS[key]) % places)
        elif key in DIGIT_KEYS and not is_shortcut:
            self.correct(DIGIT_KEYS.index(key))
        elif key == "Tab" and hasattr(self._view.undo, "focus"):
            # In a notebook, unlike on the page, the canvas keeps every key: without this Tab could not leave it.
            (self._canvas.blur if shift else self._view.undo.focus)()

    def _fold_or_unfold(self) -> None:
        strip = "" if self._view.is_unfolded else strip_html(self._feature_maps(np.zeros((IMAGE_SIZE, IMAGE_SIZE))))
        self._view.show_strip(strip)
        self._recognize_and_show()

    def _choose(self, place: int) -> None:
        offered = self._offered
        if place < len(offered):
            self.choose(offered[place])

    # ------------------------------------------------------------------------------- strokes and their ink

    def _on_wet_ink(self) -> None:
        if self._layer.wet_strokes:
            with self._lock:
                self._view.corrections.reset()
        self._recognition.request()

    def _on_stroke(self, points: np.ndarray, is_tap: bool) -> None:
        """Take a whole stroke from the ink layer. A tap on a digit of a number selects it; elsewhere it is a dot."""
        tapped = self._tapped(points[0]) if is_tap else None
        if tapped is not None:
            self.select(tapped)
            return
        with self._lock:
            self._selected = frozenset()
            self._view.corrections.reset()
            if self._state.add(points.tolist()):
                self._ink.add(points)
        self._recognition.request(announce=True)

    def _tapped(self, point: np.ndarray) -> int | None:
        """Return the place of the character whose ink a point lies on or within, None for paper or a digit alone."""
        number, strokes = self._number, self._state.strokes
        inside: dict[int, float] = {}  # pixels, negative outside
        for place, character in enumerate(number.digits if number else ()):
            ink = [strokes[stroke] for stroke in character.strokes if stroke < len(strokes)]
            if ink:
                hull = cv2.convexHull(np.concatenate(ink).astype(np.float32))
                inside[place] = cv2.pointPolygonTest(hull, point.tolist(), True)
        place = max(inside, key=inside.__getitem__, default=None)
        return place if len(inside) > 1 and inside[place] >= -TAP_REACH * self.side else None

    # Without the ink layer each event of the canvas comes here.
    def _begin(self, x: float, y: float) -> None:
        with self._lock:
            if self._picture or not self._state.begin(x, y):
                return
            self._selected = frozenset()
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

    def _take_new_sheet(self) -> None:
        with self._lock:
            self._layer.drop_wet()
            self._take_picture_away()
            self._state.clear()
            self._selected = frozenset()
            self._show_state()

    def _redraw(self) -> None:
        with self._lock:
            self._ink.redraw(self._state.strokes)

    # ------------------------------------------------------------------------------------------------ picture

    def _on_picture(self, file: bytes) -> None:
        """Open what a person has opened in the browser, or say why that cannot be done."""
        try:
            picture = PadPicture(file, max_pixels=MAX_SENT_PIXELS)
        except ImageInputError as error:
            reason = str(error)
            self._view.show_problem(f"{reason[0].upper()}{reason[1:]}.", announce=True)
            return
        self._lay(picture)
        self._recognition.request(announce=True)

    def _on_mark(self, start: Point, stop: Point) -> None:
        """Take a drag over the picture for the region to read, and a tap for the digit to select."""
        picture = self._picture
        if picture and not picture.frame(start, stop):
            picture.tap(stop)
        self._recognition.request(announce=True)

    def _lay(self, picture: PadPicture) -> None:
        with self._lock:
            self._take_new_sheet()
            self._picture, self._layer.frames = picture, True
            self._view.show_photo(picture.picture_html())

    def _take_picture_away(self) -> bool:
        """Show the paper again; tell whether there was a picture on it."""
        picture, self._picture = self._picture, None
        if picture:
            self._layer.frames = False
            self._view.show_photo()
        return picture is not None

    def _label_in_picture(self, digit: int | None) -> Prediction | None:
        """Label the selected digit, or take its label back (None), and read the picture anew."""
        with self._recognition_lock:
            if self._picture:
                self._picture.label(self._recognizer, digit)
        return self.predict()

    def _show_picture(self, picture: PadPicture, *, announce: bool) -> None:
        self._offered = ()
        display, image = picture.displayed()
        cut_out = picture.cut_out() if self._view.is_unfolded else None
        self._view.show(display, image, steps="" if cut_out is None else self._steps(cut_out, image))
        if announce:
            self._view.announce(display)
        with self._lock:
            if self._picture is picture:
                self._view.show_boxes(picture.boxes_html())
                if picture.selected:
                    self._view.corrections.show_in_picture(picture.label_of_selected)
                else:
                    self._view.corrections.reset(NOTHING_TO_CORRECT)

    # ------------------------------------------------------------------------------------------------ labels

    def _selected_label(self) -> LabelState | None:
        """Return the label of the selected character as the paper is now; None while nothing is drawn."""
        number, shown = self._read_now()
        with self._lock:
            label_state = self._label_state(number.digits[shown].strokes) if number else LabelState()
        return label_state if label_state.strokes else None

    def _label_state(self, strokes: Sequence[int]) -> LabelState:
        wet = [[tuple(point) for point in stroke.tolist()] for stroke in self._layer.wet_strokes]
        return self._state.label_state(strokes, wet=wet)

    def _looks_like(self, strokes: Sequence[int]) -> str:
        drawn = self.strokes
        return str(self._recognizer.recognize([drawn[stroke] for stroke in strokes]).best_digit)

    def _regroup(self, characters: Sequence[tuple[tuple[int, ...], str]]) -> None:
        """Label characters, given by strokes and text; labels of others with some of these strokes are removed."""
        groups = {strokes for strokes, _ in characters}
        taken = {stroke for strokes in groups for stroke in strokes}
        name = uuid.uuid4().hex[:16]
        with self._lock:
            if not all(stroke < len(self.strokes) for stroke in taken):
                return  # undone meanwhile
            known = self._known_labels()
            labels = [(state, None) for places, state in known.items() if places not in groups and taken & {*places}]
            for strokes, text in characters:
                state = self._label_state(strokes)
                state.number = name
                labels.append((state, int(text) if text.isdigit() else text))
        self._give_labels(*labels)

    def _give_labels(self, *labels: tuple[LabelState, int | str | None]) -> None:
        """Give labels, or take them back (None), as one step."""
        with self._lock:
            self._state.label(*labels)
            step = self._state.newest_step
        self._apply(labels, step=step)

    def _apply(self, labels: Sequence[tuple[LabelState, int | str | None]], *, step: Step | None) -> None:
        """Learn and save labels, or forget them (None); show the last one unless something was done since `step`."""
        for state, digit in labels:
            if digit is None:
                result = self._labeller.remove_label(self._recognizer, state)
            else:
                strokes = [np.array(stroke, dtype=np.float64) for stroke in state.strokes]
                result = self._labeller.label(self._recognizer, state, strokes, digit)
        with self._lock:
            if self._state.newest_step is not step:
                return
            if digit is None:
                self._view.corrections.show_forgotten(result)
            else:
                self._view.corrections.show_label(digit, result)

    def _show_state(self) -> None:
        """Show the strokes after undo, redo or clear; the selected digit's label follows once they are read."""
        self._redraw()
        self._view.corrections.reset()

    # ------------------------------------------------------------------------------------------ predictions

    def _read_now(self) -> tuple[Number | None, int]:
        """Read the paper; return the number and the place of its selected character. None and 0 without ink."""
        with self._recognition_lock:
            if picture := self._picture:
                number = picture.read(self._recognizer)
            else:
                with self._lock:
                    strokes = self.strokes
                    known = {places: str(state.digit) for places, state in self._known_labels().items()}
                number = number_of(self._recognizer, strokes, known=known) if strokes else None
            self._number = number
            return number, self._shown(number) if number else 0

    def _known_labels(self) -> dict[tuple[int, ...], LabelState]:
        return self._state.known_labels(reach=PEN_WIDTH * self.side / 2)

    def _recognize_and_show(self, *, announce: bool = False) -> None:
        with self._recognition_lock:
            step, picture = self._state.newest_step, self._picture
            try:
                number, shown = self._read_now()
            except Exception as error:  # whatever it is, drawing must go on and the person must be told
                _log.exception("recognition failed")
                self._number = None
                self._view.show_problem(f"Recognition failed: {type(error).__name__}", announce=announce)
                return
            if picture:
                self._show_picture(picture, announce=announce)
                return
            if number is None:
                steps = self._steps_of(EXAMPLE.strokes, ink_from_strokes(EXAMPLE.strokes))
                self._view.show(BLANK, np.zeros((IMAGE_SIZE, IMAGE_SIZE)), steps=steps)
                if announce:
                    self._view.announce(BLANK)
                return
            display, character = displayed_number(number, shown), number.digits[shown]
            drawn = [stroke for place, stroke in enumerate(self.strokes) if place in character.strokes]
            steps = self._steps_of(drawn, character.prediction.image)
            self._view.show(display, character.prediction.image, steps=steps)
            if announce:
                paper = on_paper(number, shown, width=self.width, height=self.side)
                self._view.announce(display, paper)
                self._offered = paper.readings
                self._show_ink_and_label(number, shown, step)

    def _feature_maps(self, image: np.ndarray) -> list[np.ndarray]:
        """Return what the recogniser's network makes of an image, nothing where it does not tell."""
        maps = getattr(self._recognizer, "feature_maps", None)
        return maps.of(image) if maps else []

    def _steps(self, drawing: np.ndarray, image: np.ndarray) -> str:
        return rules_of(drawing, image, self._feature_maps(image))

    def _steps_of(self, strokes: Strokes, image: np.ndarray) -> str:
        """Return what the strip shows of strokes, nothing while it is folded away."""
        return self._steps(picture_of_strokes(strokes), image) if self._view.is_unfolded and len(strokes) else ""

    def _show_ink_and_label(self, number: Number, shown: int, step: Step | None) -> None:
        """Tint the ink, and show the selected digit's label, unless something was done since `step`."""
        with self._lock:
            if self._state.newest_step is not step:
                return
            strokes = self._state.strokes
            self._ink.tint(strokes, ink_colours(number, len(strokes)))
            label = self._label_state(number.digits[shown].strokes).digit
            if isinstance(label, int) and label != self._view.corrections.chosen:
                self._view.corrections.show_label(label)
            elif label is None and self._view.corrections.chosen is not None:
                self._view.corrections.reset()

    def _shown(self, number: Number) -> int:
        """Return the place of the character that bars and picture are about: the tapped one, or else the last digit."""
        places = range(len(number.digits))
        if self._picture and self._picture.selected in number.digits:
            return number.digits.index(self._picture.selected)
        shared = [len(self._selected.intersection(character.strokes)) for character in number.digits]
        if any(shared):
            return max(places, key=shared.__getitem__)
        return max(places, key=lambda place: (number.digits[place].text.isdigit(), place))
