"""Labels drawings: adapts the recogniser to corrections at once, and saves them in the file that the user named."""

import logging
import threading
import warnings
from enum import Enum
from pathlib import Path
from typing import Protocol

import numpy as np

from digit_utils.datasets.drawings import (
    DrawingsFileError,
    DrawingsFileFull,
    LabelledDrawing,
    append_drawing,
    check_drawings_file,
    format_problems,
    read_drawings,
)
from digit_utils.files import with_home
from digit_utils.pad.state import LabelState
from digit_utils.preprocessing.strokes import clean_strokes
from digit_utils.recognition.adaptation import MAX_CORRECTIONS, AdaptiveRecognizer
from digit_utils.recognition.numbers import Alternative, Character, KnownCharacters, Number
from digit_utils.recognition.recognizer import Prediction, Recognizer
from digit_utils.types import Strokes

SURE_OF_LINES = 0.75  # confidence; most digits with a line under them have 0.8 and more, most letters less
MAX_BYTES_PER_PAD = 2_000_000  # that one pad adds to the file, which all visitors of a page share

_log = logging.getLogger(__name__)


class StrokeRecognizer(Protocol):
    """Anything that can recognise a drawing, such as `Recognizer`; an `AdaptiveRecognizer` also gets corrections.

    Drawings are read as numbers if it has a `recognize_number`, else as one digit.
    """

    def recognize(self, strokes: Strokes) -> Prediction:
        """Return the prediction for a drawing: (n, 2) arrays, x right, y down."""


def number_of(recognizer: StrokeRecognizer, strokes: Strokes, *, known: KnownCharacters | None = None) -> Number:
    """Read a drawing as a number.

    As one digit where the recogniser reads no numbers, finds no character, or takes strokes for lines without being
    sure of it: the letter A is no 1, and H no -1. What it found then is an alternative.
    """
    alternatives: tuple[Alternative, ...] = ()
    if hasattr(recognizer, "recognize_number"):
        number = recognizer.recognize_number(strokes, **({"known": known} if known else {}))
        has_lines = sum(len(character.strokes) for character in number.digits) < len(strokes)
        if number.digits and (known or not has_lines or number.confidence >= SURE_OF_LINES):
            return number
        found = [Alternative(number.text, number.confidence, number.digits)] if number.text else []
        alternatives = (*found, *number.alternatives)
    prediction = recognizer.recognize(strokes)
    text = None if prediction.digit is None else str(prediction.digit)
    confidence = 0.0 if text is None else float(prediction.probabilities[prediction.digit])
    corners = np.concatenate(clean_strokes(strokes) or [np.zeros((1, 2))])
    box = (*corners.min(axis=0).tolist(), *np.ptp(corners, axis=0).tolist())
    return Number(
        text, confidence, (Character(text or "?", prediction, tuple(range(len(strokes))), box),), alternatives
    )


def with_adaptation(recognizer: StrokeRecognizer) -> StrokeRecognizer:
    """Return a plain `Recognizer` as one that adapts to corrections, any other recogniser as it is."""
    return AdaptiveRecognizer(recognizer) if isinstance(recognizer, Recognizer) else recognizer


class SaveResult(Enum):
    """What labelling a drawing did to the file."""

    NOT_SAVED = "not saved"  # there is no file, or it takes corrections only and this was none
    SAVED = "saved"
    REMOVED = "removed"  # the earlier label of this drawing was a slip
    FULL = "full"  # there is no room for it in the file, or this pad has added as much as it may
    REMOVED_ONLY = "removed only"  # likewise, but the earlier label, a slip, was removed
    FAILED = "failed"  # the log says why


class DrawingLabeller:
    """Labels the drawings of a pad. Safe to share between threads.

    Corrections, that is, labels that differ from the prediction, are saved in the file; with `keep_all` all labels are.
    """

    def __init__(self, *, drawings: str | Path | None = None, keep_all: bool = False):
        """Save labelled drawings in the file `drawings`, if that is given.

        Raises ValueError when its name does not end in .jsonl, DrawingsFileError when it cannot be written.
        """
        if drawings:
            try:
                check_drawings_file(drawings)
            except DrawingsFileFull as error:  # one can still draw on a pad whose file is full
                _log.error("%s", error)
        self.drawings = with_home(drawings) if drawings else None
        self.keep_all = keep_all
        self._lock = threading.Lock()
        self._bytes_added = 0

    @property
    def saving_notice(self) -> str:
        """What people must know before anything that they draw is saved; "" where nothing is."""
        if not self.drawings:
            return ""
        return "Labelled drawings are saved." if self.keep_all else "Corrected drawings are saved."

    def load_corrections(self, recognizer: StrokeRecognizer) -> None:
        """Adapt a recogniser to the newest corrections in the file. Warns about lines that cannot be read."""
        if self.drawings is None or not self.drawings.exists() or not isinstance(recognizer, AdaptiveRecognizer):
            return
        labelled, problems = read_drawings(self.drawings)
        if problems:
            warnings.warn(format_problems(problems), stacklevel=3)
        corrections = [drawing for drawing in labelled if drawing.digit != drawing.read]
        for drawing in corrections[-MAX_CORRECTIONS:]:
            recognizer.add_correction(drawing.strokes, drawing.digit, name=drawing.id)

    def label(self, recognizer: StrokeRecognizer, state: LabelState, strokes: Strokes, digit: int | str) -> SaveResult:
        """Label a drawing: adapt the recogniser to it, and save it if it is to be saved. A mark is neither.

        Raises ValueError when the digit is not from 0 to 9, or nothing is drawn.
        """
        with self._lock:
            if isinstance(digit, str):
                state.digit = digit
                return SaveResult.NOT_SAVED
            if not state.is_labelled:
                state.predicted = recognizer.recognize(strokes).digit
            if isinstance(recognizer, AdaptiveRecognizer):
                recognizer.add_correction(strokes, digit, name=state.drawing_id)
            state.digit = digit
            return self._update_file(state, strokes, digit)

    def remove_label(self, recognizer: StrokeRecognizer, state: LabelState) -> SaveResult:
        """Take a drawing's label back: from the recogniser's memory, and from the file if it is there."""
        with self._lock:
            if isinstance(recognizer, AdaptiveRecognizer):
                recognizer.remove_correction(state.drawing_id)
            state.digit = None
            return self._update_file(state, [], None)

    def _update_file(self, state: LabelState, strokes: Strokes, digit: int | None) -> SaveResult:
        """Save a drawing with its label, or remove it from the file if it has none, or one that need not be saved."""
        is_wanted = digit is not None and (self.keep_all or state.number is not None or digit != state.predicted)
        if self.drawings is None or not (is_wanted or state.saved is not None):
            return SaveResult.NOT_SAVED
        try:
            return self._save(state, strokes, digit) if is_wanted else self._remove(state)
        except DrawingsFileError as error:
            _log.error("%s", error)
            return SaveResult.FULL if isinstance(error, DrawingsFileFull) else SaveResult.FAILED

    def _save(self, state: LabelState, strokes: Strokes, digit: int) -> SaveResult:
        """Add a drawing to the file; without room for it, at least remove its earlier label, which is wrong.

        Raises DrawingsFileFull when there is no earlier label, DrawingsFileError when the file cannot be written.
        """
        if digit == state.saved:
            return SaveResult.SAVED  # another tap on the same button need not write all the strokes again
        try:
            self._check_quota()
            drawing = LabelledDrawing(strokes, digit, state.predicted, state.drawing_id, number=state.number)
            self._bytes_added += append_drawing(self.drawings, drawing)
        except DrawingsFileFull as error:
            if state.saved is None:
                raise
            _log.error("%s", error)
            self._remove(state)
            return SaveResult.REMOVED_ONLY
        state.saved = digit
        return SaveResult.SAVED

    def _remove(self, state: LabelState) -> SaveResult:
        """Remove a drawing from the file. Raises DrawingsFileError when it cannot be written."""
        append_drawing(self.drawings, LabelledDrawing([], None, state.predicted, state.drawing_id))
        state.saved = None
        return SaveResult.REMOVED

    def _check_quota(self) -> None:
        """Raise DrawingsFileFull when this pad has added as much as it may."""
        if self._bytes_added >= MAX_BYTES_PER_PAD:
            raise DrawingsFileFull(
                f"there is no room for another drawing: one page has added {self._bytes_added / 1e6:.1f} MB to "
                f"{self.drawings}, the most it may add; reload the page to continue"
            )
