"""Drawings that people labelled by hand: one plain JSON Lines file, which belongs to whoever drew them.

Each line is one drawing:

    {"digit": 7, "strokes": [[[10.5, 12], [60, 12], [31, 88]]], "read": 1, "id": "5f0c", "time": "2026-11-24T09:30:00Z"}

`digit` is what it is meant to be, `read` what a recogniser made of it (null: no digit). Only `digit` and `strokes` are
needed, so a file can be written by hand or by another program; further names are passed over. A later line with the
same `id` replaces the earlier one, and takes it back where its `digit` is null: nothing in the file is ever rewritten.

A line is never half-written and never lost, whatever writes at the same time and whenever it is killed: under a lock,
the file is copied, the line added to the copy, and the copy takes the file's place in one step. Appending in place is
quicker on a file of many thousand drawings, but a process killed between two pages of a long line leaves a half, which
every program that reads the file meets until another writer mends it. So that copying stays quick, no drawing is added
beyond LARGEST_FILE; a line that takes one back is short, and always added.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from digit_utils.datasets.base import DatasetCorrupt, DigitDataset, Digits, content_hash
from digit_utils.files import atomic_write, with_home
from digit_utils.preprocessing.strokes import clean_strokes
from digit_utils.types import Strokes, check_digit

ENDING = ".jsonl"
HELD_OUT = 5  # every so manieth drawing of each digit is not for training
DECIMALS = 2  # of a coordinate as it is written, in pixels of the pad
FARTHEST = 1e6  # a coordinate beyond it is no place on a page
LONGEST_WAIT = 30.0  # seconds that a writer waits for the others
# Bytes up to which drawings are added: ten thousand at least, as hands draw digits. Visitors of a page cannot fill the
# disk, and a save, which copies them all, takes a tenth of a second, so thirty people who save at once wait for three.
LARGEST_FILE = 16_000_000


class DrawingsFileError(RuntimeError):
    """A drawing could not be saved; the message names the file, the reason and what to do."""


class DrawingsFileFull(DrawingsFileError):  # noqa: N818 (reads well where it is caught)
    """There is no room for another drawing. One that was saved before can still be taken back."""


@dataclass(frozen=True, eq=False)
class LabelledDrawing:
    """One drawing and what it is."""

    strokes: Strokes = field(repr=False)  # (n, 2) arrays, x right, y down, in pixels of a pad
    digit: int | None  # 0 to 9, what it is meant to be; None takes back an earlier line with the same id
    read: int | None = None  # what was read; None for "no digit", and where it is not known
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:16])
    time: str = field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    is_held_out: bool = False  # whether it is kept from training; found on reading, by its place in the file


# ----------------------------------------------------------------------------------------------- writing


def append_drawing(path: str | Path, drawing: LabelledDrawing) -> int:
    """Add a drawing to a file, which is made where there is none, and its folder with it; return its line's bytes.

    Safe for any number of threads and processes at once. When this returns, the file holds the line.

    Raises:
        ValueError: a stroke is not an (n, 2) array of numbers, a place is beyond FARTHEST, or the digit is none.
        DrawingsFileFull: with the drawing the file would be larger than LARGEST_FILE. Taking one back never raises it.
        DrawingsFileError: the file cannot be written; it is as it was.
    """
    line = _line(drawing)
    target = with_home(path).resolve()  # a link stays a link: what it leads to is replaced
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock"), timeout=LONGEST_WAIT):
            _remove_leftovers(target)
            if drawing.digit is not None:
                _check_room(target, needed=len(line))
            with atomic_write(target) as temporary:
                _copy_and_add(target, temporary, line)
    except Timeout as error:
        raise DrawingsFileError(
            f"the drawing was not saved: other programs kept {target} locked for {LONGEST_WAIT:.0f} s; try again"
        ) from error
    except OSError as error:
        raise DrawingsFileError(
            f"the drawing was not saved: {target} cannot be written ({error.strerror or error}); "
            "free some space, see who may write there, or choose another file"
        ) from error
    return len(line)


def check_drawings_file(path: str | Path) -> None:
    """See, before anybody draws, that drawings can be saved in a file.

    Raises:
        ValueError: its name does not end in .jsonl, by which `load_dataset` knows such a file.
        DrawingsFileFull: there is no room for a drawing.
        DrawingsFileError: it cannot be written.
    """
    if Path(path).suffix != ENDING:
        raise ValueError(f"the file of drawings is {str(path)!r}; its name must end in {ENDING}")
    target = with_home(path).resolve()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        if target.exists() and not os.access(target, os.R_OK | os.W_OK):
            raise PermissionError(errno.EACCES, "it may not be both read and written")
        with tempfile.TemporaryFile(dir=target.parent):
            pass
        _check_room(target, needed=1)
    except OSError as error:
        raise DrawingsFileError(
            f"drawings cannot be saved in {target}: {error.strerror or error}; choose another file"
        ) from error


def _check_room(target: Path, *, needed: int) -> None:
    """Raise DrawingsFileFull when a file would grow beyond LARGEST_FILE."""
    size = target.stat().st_size if target.exists() else 0
    if size + needed > LARGEST_FILE:
        raise DrawingsFileFull(
            f"there is no room for another drawing: {target} has {size / 1e6:.1f} of {LARGEST_FILE / 1e6:.1f} MB; "
            "move it to another place, where it stays of use, or choose another file"
        )


def _line(drawing: LabelledDrawing) -> bytes:
    digit = None if drawing.digit is None else check_digit(drawing.digit)
    strokes = [[[round(x, DECIMALS), round(y, DECIMALS)] for x, y in stroke.tolist()] for stroke in _checked(drawing)]
    content = {
        "digit": digit,
        "strokes": strokes,
        "read": None if drawing.read is None else int(drawing.read),
        "id": drawing.id,
        "time": drawing.time,
    }
    return json.dumps(content, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def _checked(drawing: LabelledDrawing) -> list[np.ndarray]:
    strokes = clean_strokes(drawing.strokes)
    if not strokes and drawing.digit is not None:
        raise ValueError("a drawing without a single point cannot be saved")
    _check_places(strokes)
    return strokes


def _check_places(strokes: list[np.ndarray]) -> None:
    farthest = max((float(np.abs(stroke).max()) for stroke in strokes), default=0.0)
    if farthest > FARTHEST:
        raise ValueError(f"a coordinate is {farthest:g}; expected at most {FARTHEST:g}")


def _copy_and_add(target: Path, temporary: Path, line: bytes) -> None:
    if target.exists():
        shutil.copyfile(target, temporary)
        shutil.copymode(target, temporary)
    with temporary.open("ab+") as stream:
        if stream.tell():  # an editor may have left the last line open
            stream.seek(-1, 2)
            if stream.read(1) != b"\n":
                line = b"\n" + line
        stream.write(line)


def _remove_leftovers(target: Path) -> None:
    """Remove what a writer that was killed left beside the file. Only whoever holds the lock may do this."""
    pattern = re.compile(rf"\.{re.escape(target.name)}\.[a-z0-9_]{{8}}")  # as atomic_write names its folders
    for entry in target.parent.iterdir():
        if pattern.fullmatch(entry.name) and entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)


# ----------------------------------------------------------------------------------------------- reading


def read_drawings(path: str | Path) -> tuple[list[LabelledDrawing], list[str]]:
    """Return the drawings of a file, in the order in which they were drawn, and a sentence on each broken line.

    Every fifth drawing of each digit is marked as held out. That depends on the lines before it alone, so what is held
    out stays so when the file grows, and when a drawing is corrected once more or taken back.

    Raises OSError when the file cannot be read; FileNotFoundError says how such a file comes to be.
    """
    path = with_home(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(
            f"there is no {path}; the drawing pad makes it: `digits draw --drawings {path}`, then correct a misreading"
        ) from None
    found: dict[str, LabelledDrawing] = {}
    problems, counts = [], [0] * 10
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            drawing = _read_line(line, default_id=f"line {number}")
        except ValueError as error:
            problems.append(f"{path}, line {number} is left out: {error}")
            continue
        _take_in(drawing, found, counts)
    return [drawing for drawing in found.values() if drawing.digit is not None], problems


def _take_in(drawing: LabelledDrawing, found: dict[str, LabelledDrawing], counts: list[int]) -> None:
    """Add a drawing to those that were found before it, or put it in the place of one of them."""
    earlier = found.get(drawing.id)
    if earlier is not None:
        is_held_out = earlier.is_held_out
    elif drawing.digit is None:
        return  # takes back what is not there
    else:
        counts[drawing.digit] += 1
        is_held_out = counts[drawing.digit] % HELD_OUT == 0
    found[drawing.id] = LabelledDrawing(
        drawing.strokes, drawing.digit, drawing.read, drawing.id, drawing.time, is_held_out
    )


def _read_line(line: bytes, *, default_id: str) -> LabelledDrawing:
    """Return the drawing of one line. Raises ValueError, which says what is wrong with it."""
    try:
        content = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"it is no UTF-8 text at byte {error.start + 1}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"it is no JSON: {error.msg} at character {error.pos + 1}") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(content, Mapping):
        raise ValueError("it is no JSON object with `digit` and `strokes`")
    identity, digit = content.get("id", default_id), _digit_of(content)
    if not isinstance(identity, str):
        raise ValueError(f"id is {_short(identity)}; expected a text")
    strokes = _strokes_of(content) if digit is not None else []
    read = content.get("read")
    read = read if type(read) is int and read in range(10) else None
    return LabelledDrawing(strokes, digit, read, identity, str(content.get("time", "")))


def _digit_of(content: Mapping[str, Any]) -> int | None:
    if "digit" not in content:
        raise ValueError("it has no digit")
    digit = content["digit"]
    if digit is None and "id" in content:
        return None
    if type(digit) is not int or digit not in range(10):
        raise ValueError(f"digit is {_short(digit)}; expected a whole number from 0 to 9")
    return digit


def _strokes_of(content: Mapping[str, Any]) -> list[np.ndarray]:
    strokes = content.get("strokes")
    if not isinstance(strokes, list):
        raise ValueError("it has no strokes, a list of lists of [x, y]")
    cleaned = clean_strokes(strokes)
    if not cleaned:
        raise ValueError("its strokes hold not a single point")
    _check_places(cleaned)
    return cleaned


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."


def told(problems: Iterable[str], *, at_most: int = 10) -> str:
    """Return the sentences on broken lines as lines of text, the first few of them where there are many."""
    problems = list(problems)
    more = [f"... and {len(problems) - at_most} more"] if len(problems) > at_most else []
    return "\n".join(problems[:at_most] + more)


def load_own_drawings(path: str | os.PathLike[str]) -> tuple[DigitDataset, list[str]]:
    """Return the drawings of a .jsonl file as a dataset, and a sentence on each of its broken lines.

    Every fifth drawing of each digit is held out, as validation digits; there are no test digits, because so few are
    better held out once than twice: training makes no choice by them, so they are as good as test digits.

    Raises:
        FileNotFoundError: there is no such file.
        DatasetCorrupt: it holds no drawing that can be read.
    """
    drawings, problems = read_drawings(path)
    if not drawings:
        reason = "\n".join(["", told(problems)]) if problems else " yet"
        raise DatasetCorrupt(f"{path} holds no labelled drawing{reason}")
    every = Digits(
        np.array([drawing.digit for drawing in drawings], np.int64),
        strokes=tuple([stroke.astype(np.float32) for stroke in drawing.strokes] for drawing in drawings),
    )
    held_out = np.array([drawing.is_held_out for drawing in drawings])
    flat = [stroke for strokes in every.strokes for stroke in strokes]
    counts = [np.array([len(each) for each in lists], np.int64) for lists in (every.strokes, flat)]
    dataset = DigitDataset(
        name=Path(path).name,
        train=every.take(~held_out),
        validation=every.take(held_out),
        test=every.take([]),
        sha256=content_hash([every.labels, held_out, *counts, np.concatenate(flat)]),
        licence="yours",
        source=str(path),
    )
    return dataset, problems
