"""Image files, one or thousands: the numbers in each as rows of a table, and copies with boxes around what was read."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import cv2
import numpy as np

from digit_utils.files import atomic_write, with_home
from digit_utils.preprocessing.images import ink_from_image
from digit_utils.preprocessing.inputs import to_grayscale
from digit_utils.recognition.recognizer import Prediction, Recognizer

IMAGE_SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pbm", ".mpo")
)  # of the files that are read in a folder; a file that is named itself may have any
TABLE_SUFFIXES = (".csv", ".jsonl")
SINGLE_DIGIT = 28  # pixels, longer side; MNIST's images, in which a second digit would be illegible
BATCH, MOST_PIXELS = 64, 10_000_000  # files that are opened at once, and their pixels from which on no more are
BOX_COLOUR = (200, 60, 0)  # blue, green, red
TEXT_HEIGHT = 1 / 30  # of the image's shorter side


class TableNameError(ValueError):
    """A table cannot be written in a file of this name; the message says which can."""


@dataclass(frozen=True)
class Reading:
    """One number in an image file; a row of the table."""

    file: str
    text: str  # "" where there is no number, see `note`
    confidence: float  # in [0, 1]: calibrated probability that the text is right; 0 without a text
    x: int | None = None  # box in pixels of the upright image; None where nothing was found
    y: int | None = None
    width: int | None = None
    height: int | None = None
    note: str = ""  # why there is no text: "blank", "not a digit", "not a number"


@dataclass(frozen=True)
class FileFailure:
    """A file that could not be read."""

    file: str
    message: str  # names the file and the remedy


def image_files(paths: Iterable[str | Path]) -> list[Path]:
    """Return the files that are meant: each path itself, or the images in it, sorted by name, if it is a folder.

    Folders are searched with their sub-folders; hidden files are left out. Whether a file exists is seen on reading it.

    Raises FileNotFoundError when a folder holds no image.
    """
    found: list[Path] = []
    for path in map(with_home, paths):
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(
            each
            for each in path.rglob("*")
            if each.suffix.lower() in IMAGE_SUFFIXES and not each.name.startswith(".") and each.is_file()
        )
        if not inside:
            raise FileNotFoundError(
                f"the folder {path} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))}); name files, or another folder"
            )
        found += inside
    return found


def read_files(
    recognizer: Recognizer,
    files: Sequence[Path],
    *,
    one_digit: bool = False,
    boxes: Path | None = None,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Iterator[Reading | FileFailure]:
    """Yield what is read in each file, in their order; a file that cannot be read is yielded as a failure.

    Args:
        recognizer: any.
        files: image files.
        one_digit: whether each file shows one digit at most, which takes a third of the time. Images of up to
            SINGLE_DIGIT pixels a side always do. The box of a single digit is the whole image.
        boxes: a folder, created if needed, for a PNG copy of each image in which what was read is framed.
        on_progress: called with the number of files that are done.

    Raises OSError when the folder of copies cannot be written.
    """
    done, taken = 0, set()
    for batch in _batches(files):
        singles = [
            index
            for index, (_, image) in enumerate(batch)
            if not isinstance(image, FileFailure) and (one_digit or max(image.shape) <= SINGLE_DIGIT)
        ]
        ink = np.array([ink_from_image(batch[index][1]) for index in singles], np.float32)
        predictions = dict(zip(singles, recognizer.recognize_ink(ink) if singles else [], strict=True))
        for index, (path, image) in enumerate(batch):
            done += 1
            if isinstance(image, FileFailure):
                yield image
            else:
                one = predictions.get(index)
                readings = _numbers(recognizer, path, image) if one is None else [_single_digit(one, path, image)]
                yield from readings
                if boxes is not None:
                    _write_with_boxes(image, readings, boxes / _free_name(path, taken))
            on_progress(done)


def _batches(files: Iterable[Path]) -> Iterator[list[tuple[Path, np.ndarray | FileFailure]]]:
    """Yield files with their gray levels, (height, width) uint8; as many at once as keeps the memory bounded."""
    batch, pixels = [], 0
    for path in files:
        try:
            image: np.ndarray | FileFailure = to_grayscale(path)
            pixels += image.size
        except (ValueError, OSError) as error:
            reason = str(error) if str(path) in str(error) else f"{path} cannot be read ({error})"
            image = FileFailure(str(path), reason)
        batch.append((path, image))
        if len(batch) == BATCH or pixels >= MOST_PIXELS:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch


def _single_digit(prediction: Prediction, path: Path, image: np.ndarray) -> Reading:
    if prediction.digit is None:
        return Reading(str(path), "", 0.0, note=prediction.reason)
    height, width = image.shape
    return Reading(str(path), str(prediction.digit), float(prediction.probabilities.max()), 0, 0, width, height)


def _numbers(recognizer: Recognizer, path: Path, image: np.ndarray) -> list[Reading]:
    file, readings = str(path), []
    for number in recognizer.recognize_numbers(image):
        if number.box is None:
            continue
        left, top, width, height = number.box
        x, y = int(left), int(top)
        box = (x, y, max(1, round(left + width) - x), max(1, round(top + height) - y))
        if number.text is None:
            readings.append(Reading(file, "", 0.0, *box, note="not a number"))
        else:
            readings.append(Reading(file, number.text, float(number.confidence), *box))
    return readings or [Reading(file, "", 0.0, note="blank")]


def _free_name(path: Path, taken: set[str]) -> str:
    name, count = f"{path.stem}.png", 1
    while name in taken:
        count += 1
        name = f"{path.stem}-{count}.png"
    taken.add(name)
    return name


def _write_with_boxes(image: np.ndarray, readings: Sequence[Reading], target: Path) -> None:
    """Write a copy of an image, (height, width) uint8, with a box and the text of each reading, as PNG."""
    canvas = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    size = max(8.0, TEXT_HEIGHT * min(image.shape))
    pen = max(1, round(size / 12))
    for reading in readings:
        if reading.x is None:
            continue
        corner, opposite = (reading.x, reading.y), (reading.x + reading.width, reading.y + reading.height)
        cv2.rectangle(canvas, corner, opposite, BOX_COLOUR, pen)
        below = (reading.x, max(reading.y - 2 * pen, round(size)))
        cv2.putText(
            canvas, reading.text or "?", below, cv2.FONT_HERSHEY_SIMPLEX, size / 22, BOX_COLOUR, pen, cv2.LINE_AA
        )
    with atomic_write(target) as temporary:
        temporary.write_bytes(cv2.imencode(".png", canvas)[1].tobytes())


# ----------------------------------------------------------------------------------------------- tables


def write_table(path: str | Path, readings: Sequence[Reading]) -> None:
    """Write readings as CSV or JSON Lines, by the suffix, atomically. Raises TableNameError for another suffix."""
    check_table_name(path)
    text = as_csv(readings) if Path(path).suffix == ".csv" else as_json_lines(readings)
    with atomic_write(with_home(path)) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def check_table_name(path: str | Path) -> None:
    """Raise TableNameError unless a table can be written in a file of this name."""
    if Path(path).suffix not in TABLE_SUFFIXES:
        raise TableNameError(f"the output is {str(path)!r}; its name must end in {' or '.join(TABLE_SUFFIXES)}")


def as_csv(readings: Iterable[Reading]) -> str:
    """Return readings as CSV with a header."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, [field.name for field in fields(Reading)], lineterminator="\n")
    writer.writeheader()
    writer.writerows({**asdict(reading), "confidence": f"{reading.confidence:.4f}"} for reading in readings)
    return stream.getvalue()


def as_json_lines(readings: Iterable[Reading]) -> str:
    """Return readings as JSON Lines: file, text (null without one), confidence, box ([x, y, width, height]), note."""
    lines = []
    for reading in readings:
        box = None if reading.x is None else [reading.x, reading.y, reading.width, reading.height]
        content = {
            "file": reading.file,
            "text": reading.text or None,
            "confidence": round(reading.confidence, 4),
            "box": box,
            "note": reading.note,
        }
        lines.append(json.dumps(content, ensure_ascii=False) + "\n")
    return "".join(lines)


def as_text(readings: Sequence[Reading]) -> str:
    """Return readings as aligned lines for a terminal."""
    width = max((len(reading.file) for reading in readings), default=0)
    lines = []
    for reading in readings:
        told = f"{reading.text}  {reading.confidence:.1%}" if reading.text else f"({reading.note})"
        at = "" if reading.x is None else f"  at {reading.x},{reading.y}, {reading.width}x{reading.height}"
        lines.append(f"{reading.file:<{width}}  {told}{at}\n")
    return "".join(lines)
