"""Takes in what drawings are meant to be: into a memory at once, and into the file that the user named, if any."""

import logging
import threading
import uuid
import warnings
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Protocol

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
from digit_utils.recognition.adaptation import MAX_CORRECTIONS, AdaptiveRecognizer
from digit_utils.recognition.recognizer import Prediction, Recognizer
from digit_utils.types import Strokes

MOST_KEPT = 2_000_000  # bytes that one pad adds to the file, of the LARGEST_FILE that all visitors of a page share

_log = logging.getLogger(__name__)


class StrokeRecognizer(Protocol):
    """Anything that reads a drawing, such as `Recognizer`; with `add_correction`, it gets the corrections, too."""

    def recognize(self, strokes: Strokes) -> Prediction:
        """Return what a drawing is: (n, 2) arrays, x right, y down."""


def with_adaptation(reader: StrokeRecognizer) -> StrokeRecognizer:
    """Return a reader with a memory where it is a plain recogniser; any other one as it is."""
    return AdaptiveRecognizer(reader) if isinstance(reader, Recognizer) else reader


class SaveResult(Enum):
    """What became of a label in the file."""

    NOT_ASKED = "not asked"  # there is no file, or it takes corrections only and this was none
    SAVED = "saved"
    TAKEN_BACK = "taken back"  # the earlier label of this drawing was a slip
    FULL = "full"  # there is no room for it in the file, or this pad has added as much as it may
    ONLY_TAKEN_BACK = "only taken back"  # likewise, but the earlier label, a slip, is no longer there
    FAILED = "failed"  # the log says why


@dataclass
class LabelState:
    """One drawing, which may be told what it is more than once."""

    name: str = field(default_factory=lambda: uuid.uuid4().hex[:16])
    is_labelled: bool = False
    read: int | None = None  # as it was before the first label
    kept: int | None = None  # as what it is in the file


class DrawingLabeller:
    """What a pad does with "it is a ...". Safe to share between threads.

    Corrections, that is, drawings which were read as something else, go into the file; with `keep_all` the others that
    were labelled do, too.
    """

    def __init__(self, *, drawings: str | Path | None = None, keep_all: bool = False):
        """Keep what is labelled in the file `drawings`, if that is given.

        Raises ValueError when its name does not end in .jsonl, DrawingsFileError when it cannot be written.
        """
        if drawings:
            try:
                check_drawings_file(drawings)
            except DrawingsFileFull as error:  # a page whose file is full is still a page to draw on
                _log.error("%s", error)
        self.drawings = with_home(drawings) if drawings else None
        self.keep_all = keep_all
        self._lock = threading.Lock()
        self._added = 0  # bytes

    def recall(self, reader: StrokeRecognizer) -> None:
        """Teach a reader the newest corrections of the file. Broken lines are told in a warning."""
        if self.drawings is None or not self.drawings.exists() or not hasattr(reader, "add_correction"):
            return
        labelled, problems = read_drawings(self.drawings)
        if problems:
            warnings.warn(format_problems(problems), stacklevel=3)
        corrections = [drawing for drawing in labelled if drawing.digit != drawing.read]
        for drawing in corrections[-MAX_CORRECTIONS:]:
            reader.add_correction(drawing.strokes, drawing.digit, name=drawing.id)

    def label(self, reader: StrokeRecognizer, label_state: LabelState, strokes: Strokes, digit: int) -> SaveResult:
        """Take in what the drawing of a lesson is meant to be; tell what became of it in the file.

        Raises ValueError when the digit is none, or nothing is drawn.
        """
        with self._lock:
            if not label_state.is_labelled:
                label_state.read = reader.recognize(strokes).digit
            if hasattr(reader, "add_correction"):
                reader.add_correction(strokes, digit, name=label_state.name)
            label_state.is_labelled = True
            return self._keep(label_state, strokes, digit)

    def _keep(self, label_state: LabelState, strokes: Strokes, digit: int) -> SaveResult:
        is_wanted = self.keep_all or digit != label_state.read
        if self.drawings is None or not (is_wanted or label_state.kept is not None):
            return SaveResult.NOT_ASKED
        try:
            return self._save(label_state, strokes, digit) if is_wanted else self._take_back(label_state)
        except DrawingsFileFull as error:
            _log.error("%s", error)
            return SaveResult.FULL
        except DrawingsFileError as error:
            _log.error("%s", error)
            return SaveResult.FAILED

    def _save(self, label_state: LabelState, strokes: Strokes, digit: int) -> SaveResult:
        """Add a drawing to the file; where it finds no room, take back at least what the file says of it, if wrong.

        Raises DrawingsFileFull where there is nothing to take back, DrawingsFileError when the file cannot be written.
        """
        if digit == label_state.kept:
            return SaveResult.SAVED  # another tap on the same button need not write all the strokes again
        try:
            self._check_share()
            self._added += append_drawing(
                self.drawings, LabelledDrawing(strokes, digit, label_state.read, label_state.name)
            )
        except DrawingsFileFull as error:
            if label_state.kept is None:
                raise
            _log.error("%s", error)
            self._take_back(label_state)
            return SaveResult.ONLY_TAKEN_BACK
        label_state.kept = digit
        return SaveResult.SAVED

    def _take_back(self, label_state: LabelState) -> SaveResult:
        """Have the file say nothing of a drawing any more. Raises DrawingsFileError when it cannot be written."""
        append_drawing(self.drawings, LabelledDrawing([], None, label_state.read, label_state.name))
        label_state.kept = None
        return SaveResult.TAKEN_BACK

    def _check_share(self) -> None:
        """Raise DrawingsFileFull when this pad has added as much as it may."""
        if self._added >= MOST_KEPT:
            raise DrawingsFileFull(
                f"there is no room for another drawing: one page has added {self._added / 1e6:.1f} MB to "
                f"{self.drawings}, as much as it may; load the page anew to go on"
            )
