"""Drawings that users labelled: one plain JSON Lines file, which belongs to whoever drew them.

Each line is one drawing:

    {"digit": 7, "strokes": [[[10.5, 12], [60, 12], [31, 88]]], "read": 1, "id": "5f0c", "time": "2026-11-24T09:30:00Z"}

`digit` is the label, `read` what a recogniser read (null: no digit). Only `digit` and `strokes` are required, so a file
can be written by hand or by another program; unknown names are ignored. A later line with the same `id` replaces the
earlier one, and deletes it if its `digit` is null: no line is ever rewritten.

Where somebody has put right which strokes of a number belong together, each of its digits is a line, and these lines
have the same `number`.

Writers append under a lock and flush to the disk before they report success. A writer that is killed may leave an
incomplete last line; the next writer starts a new one, and readers skip and report the broken line.
"""

from __future__ import annotations

import errno
import json
import os
import tempfile
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from digit_utils.datasets.base import DatasetCorrupt, DigitDataset, Digits, content_hash
from digit_utils.files import with_home
from digit_utils.preprocessing.strokes import clean_strokes
from digit_utils.types import NUM_CLASSES, Strokes, check_digit

DRAWINGS_SUFFIX = ".jsonl"
HELD_OUT_EVERY = 5  # every fifth drawing of each digit is held out from training
DECIMALS = 2  # of a coordinate in the file, in pixels of the pad
MAX_COORDINATE = 1e6  # pixels of the pad; nothing that is farther from its corner was drawn there
LOCK_TIMEOUT = 30.0  # seconds that a writer waits for the others
LARGEST_FILE = 16_000_000  # bytes, at least ten thousand drawings; bounds what visitors of a page can write to the disk


class DrawingsFileError(RuntimeError):
    """A drawing could not be saved; the message names the file, the reason and what to do."""


class DrawingsFileFull(DrawingsFileError):  # noqa: N818 (reads well where it is caught)
    """The file has reached its maximum size. A saved drawing can still be deleted."""


@dataclass(frozen=True, eq=False)
class LabelledDrawing:
    """One drawing and its label."""

    strokes: Strokes = field(repr=False)  # (n, 2) arrays, x right, y down, in pixels of a pad
    digit: int | None  # the label, 0 to 9; None deletes an earlier drawing with the same id
    read: int | None = None  # what a recogniser read; None for "no digit", or if unknown
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:16])
    time: str = field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    number: str | None = None  # which digits, with this name, were written as one number
    is_held_out: bool = False  # from training; set on reading, by its position in the file


# ----------------------------------------------------------------------------------------------- writing


def append_drawing(path: str | Path, drawing: LabelledDrawing) -> int:
    """Append a drawing to a file, which is created if needed, with its folder; return the number of bytes written.

    Safe for any number of threads and processes at once. When this returns, the line is on the disk.

    Raises:
        ValueError: a stroke is not an (n, 2) array of numbers, a coordinate is beyond MAX_COORDINATE, or `digit` is not
            a digit.
        DrawingsFileFull: the file would grow beyond LARGEST_FILE. Deleting a drawing never raises it.
        DrawingsFileError: the file cannot be written; its drawings are as they were.
    """
    line = _line(drawing)
    target = with_home(path).resolve()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock"), timeout=LOCK_TIMEOUT):
            if drawing.digit is not None:
                _check_room(target, needed=len(line))
            return _append_line(target, line)
    except Timeout as error:
        raise DrawingsFileError(
            f"the drawing was not saved: other programs kept {target} locked for {LOCK_TIMEOUT:.0f} s; try again"
        ) from error
    except OSError as error:
        raise DrawingsFileError(
            f"the drawing was not saved: {target} cannot be written ({error.strerror or error}); "
            "free some disk space, check the permissions, or choose another file"
        ) from error


def _append_line(target: Path, line: bytes) -> int:
    """Write a line at the end of a file and flush it to the disk; on an error, cut the file back to what it was."""
    with target.open("ab+", buffering=0) as stream:
        size = stream.tell()
        if size:  # an editor, or a writer that was killed, may have left the last line incomplete
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b"\n":
                line = b"\n" + line
        try:
            if stream.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(stream.fileno())
        except OSError:
            os.truncate(target, size)
            raise
    return len(line)


def check_drawings_file(path: str | Path) -> None:
    """Check, before anybody draws, that drawings can be saved in a file.

    Raises:
        ValueError: its name does not end in .jsonl, by which `load_dataset` recognises such a file.
        DrawingsFileFull: it has reached its maximum size.
        DrawingsFileError: it cannot be written.
    """
    if Path(path).suffix != DRAWINGS_SUFFIX:
        raise ValueError(f"the file of drawings is {str(path)!r}; its name must end in {DRAWINGS_SUFFIX}")
    target = with_home(path).resolve()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        if target.exists() and not os.access(target, os.R_OK | os.W_OK):
            raise PermissionError(errno.EACCES, "no permission to read and write it")
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
            "move it to another place, where it stays usable, or choose another file"
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
    if drawing.number is not None:
        content["number"] = drawing.number
    return json.dumps(content, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def _checked(drawing: LabelledDrawing) -> list[np.ndarray]:
    strokes = clean_strokes(drawing.strokes)
    if not strokes and drawing.digit is not None:
        raise ValueError("a drawing without a single point cannot be saved")
    _check_coordinates(strokes)
    return strokes


def _check_coordinates(strokes: list[np.ndarray]) -> None:
    largest = max((float(np.abs(stroke).max()) for stroke in strokes), default=0.0)
    if largest > MAX_COORDINATE:
        raise ValueError(f"a coordinate is {largest:g}; expected at most {MAX_COORDINATE:g}")


# ----------------------------------------------------------------------------------------------- reading


def read_drawings(path: str | Path) -> tuple[list[LabelledDrawing], list[str]]:
    """Return the drawings of a file, in the order in which they were drawn, and a sentence about each broken line.

    Every fifth drawing of each digit is marked as held out. That depends only on the lines before it, so it stays so
    when the file grows, and when a drawing is relabelled or deleted.

    Raises OSError when the file cannot be read; FileNotFoundError says how to create one.
    """
    path = with_home(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(
            f"there is no {path}; create it with `digits draw --drawings {path}`: draw, and correct what is misread"
        ) from None
    found: dict[str, LabelledDrawing] = {}
    problems, counts = [], [0] * NUM_CLASSES
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            drawing = _read_line(line, default_id=f"line {number}")
        except ValueError as error:
            problems.append(f"{path}, line {number} is left out: {error}")
            continue
        _add(drawing, found, counts)
    return [drawing for drawing in found.values() if drawing.digit is not None], problems


def _add(drawing: LabelledDrawing, found: dict[str, LabelledDrawing], counts: list[int]) -> None:
    """Add a drawing to those found before it, or replace the one with the same id."""
    earlier = found.get(drawing.id)
    if earlier is not None:
        is_held_out = earlier.is_held_out
    elif drawing.digit is None:
        return  # deletes a drawing that is not there
    else:
        counts[drawing.digit] += 1
        is_held_out = counts[drawing.digit] % HELD_OUT_EVERY == 0
    found[drawing.id] = replace(drawing, is_held_out=is_held_out)


def _read_line(line: bytes, *, default_id: str) -> LabelledDrawing:
    """Parse one line. Raises ValueError, which says what is wrong with it."""
    try:
        content = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 text at byte {error.start + 1}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error.msg} at character {error.pos + 1}") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(content, Mapping):
        raise ValueError("it is not a JSON object with `digit` and `strokes`")
    identifier, digit = content.get("id", default_id), _digit_of(content)
    if not isinstance(identifier, str):
        raise ValueError(f"id is {_short(identifier)}; expected a string")
    strokes = _strokes_of(content) if digit is not None else []
    read = content.get("read")
    read = read if type(read) is int and read in range(NUM_CLASSES) else None
    number = content.get("number")
    number = number if isinstance(number, str) else None
    return LabelledDrawing(strokes, digit, read, identifier, str(content.get("time", "")), number)


def _digit_of(content: Mapping[str, Any]) -> int | None:
    if "digit" not in content:
        raise ValueError("it has no digit")
    digit = content["digit"]
    if digit is None and "id" in content:
        return None
    if type(digit) is not int or digit not in range(NUM_CLASSES):
        raise ValueError(f"digit is {_short(digit)}; expected a whole number from 0 to 9")
    return digit


def _strokes_of(content: Mapping[str, Any]) -> list[np.ndarray]:
    strokes = content.get("strokes")
    if not isinstance(strokes, list):
        raise ValueError("it has no strokes, a list of lists of [x, y]")
    cleaned = clean_strokes(strokes)
    if not cleaned:
        raise ValueError("its strokes do not hold a single point")
    _check_coordinates(cleaned)
    return cleaned


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."


def format_problems(problems: Iterable[str], *, at_most: int = 10) -> str:
    """Return the sentences about broken lines as lines of text, only the first few if there are many."""
    problems = list(problems)
    more = [f"... and {len(problems) - at_most} more"] if len(problems) > at_most else []
    return "\n".join(problems[:at_most] + more)


def load_own_drawings(path: str | os.PathLike[str]) -> tuple[DigitDataset, list[str]]:
    """Return the drawings of a .jsonl file as a dataset, and a sentence about each of its broken lines.

    Every fifth drawing of each digit is held out for validation. There is no test split, because so few drawings are
    better held out once than twice: no choice in training depends on them, so they serve as test digits, too.

    Raises:
        FileNotFoundError: there is no such file.
        DatasetCorrupt: it holds no drawing that can be read.
    """
    drawings, problems = read_drawings(path)
    if not drawings:
        reason = "\n".join(["", format_problems(problems)]) if problems else " yet"
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
