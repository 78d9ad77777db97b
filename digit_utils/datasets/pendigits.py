"""Pendigits (UCI): pen strokes of 44 writers, in UNIPEN text."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from digit_utils.datasets.base import DatasetSource, Digits, RemoteFile, require
from digit_utils.datasets.unipen import parse_unipen

TABLET_HEIGHT = 500.0  # tablet units: people wrote into boxes of 500 by 500
TEST_WRITER_OFFSET = 30  # the test file numbers its writers from 1 again; they become 31 to 44


def _find(folder: Path) -> Path | None:
    """Look for the two UNIPEN files, compressed or not."""
    for candidate in (folder, folder / "pendigits"):
        if all(_find_unipen(candidate, ending) for ending in ("tra", "tes")):
            return candidate
    return None


def _find_unipen(folder: Path, ending: str) -> Path | None:
    for name in (f"pendigits-orig.{ending}.Z", f"pendigits-orig.{ending}"):
        if (folder / name).is_file():
            return folder / name
    return None


def _read(place: Path) -> list[np.ndarray]:
    """Return five flat arrays for the training file and five for the test file, see `_flatten_strokes`."""
    if not place.is_dir():
        raise ValueError("pendigits consists of two files: give the folder that holds them")
    arrays = []
    for ending in ("tra", "tes"):
        path = _find_unipen(place, ending)
        try:
            arrays += _flatten_strokes(_read_text(path))
        except ValueError as error:
            raise ValueError(f"{path.name}: {error}") from error
    return arrays


def _read_text(path: Path) -> str:
    content = path.read_bytes()
    if path.suffix == ".Z":
        content = require("unlzw3", f"reading the compressed file {path.name}").unlzw(content)
    return content.decode("ascii")


def _flatten_strokes(text: str) -> list[np.ndarray]:
    """Return labels, writers and strokes per digit, each (n,), points per stroke, and all points, (m, 2) float32."""
    digits = parse_unipen(text, height=TABLET_HEIGHT)
    strokes = [stroke for digit in digits for stroke in digit.strokes]
    if any(digit.writer is None for digit in digits) or not strokes:
        raise ValueError("it holds no digit, or a digit without its writer")
    return [
        np.array([digit.label for digit in digits], dtype=np.int64),
        np.array([digit.writer for digit in digits], dtype=np.int64),
        np.array([len(digit.strokes) for digit in digits], dtype=np.int64),
        np.array([len(stroke) for stroke in strokes], dtype=np.int64),
        np.concatenate(strokes),
    ]


def _assemble_strokes(flat: list[np.ndarray], *, writer_offset: int = 0) -> Digits:
    """The reverse of `_flatten_strokes`."""
    labels, writers, strokes_per_digit, points_per_stroke, points = flat
    strokes = np.split(points, np.cumsum(points_per_stroke)[:-1])
    ends = np.cumsum(strokes_per_digit)
    grouped = tuple(strokes[end - count : end] for end, count in zip(ends, strokes_per_digit, strict=True))
    return Digits(labels, strokes=grouped, writers=writers + writer_offset)


def _split(arrays: list[np.ndarray]) -> tuple[Digits, Digits, Digits]:
    """Hold out every fifth of the 30 training writers (5, 10, ... 30) for validation: no writer is in two splits."""
    official = _assemble_strokes(arrays[:5])
    is_validation = official.writers % 5 == 0
    return (
        official.take(~is_validation),
        official.take(is_validation),
        _assemble_strokes(arrays[5:], writer_offset=TEST_WRITER_OFFSET),
    )


_UCI = "https://archive.ics.uci.edu"

PENDIGITS = DatasetSource(
    name="pendigits",
    files="pendigits-orig.tra.Z and pendigits-orig.tes.Z",
    sha256="c19bc85259d4b7c2eb3e439621b8e47262e957e082278a8cabaa7de39ae8ed65",
    find=_find,
    read=_read,
    split=_split,
    licence="CC BY 4.0",
    citation="E. Alpaydin, F. Alimoglu: Pen-Based Recognition of Handwritten Digits, UCI Machine Learning "
    "Repository, 1996, https://doi.org/10.24432/C5MG6K",
    mirrors=(
        (RemoteFile(f"{_UCI}/static/public/81/pen+based+recognition+of+handwritten+digits.zip"),),
        (
            RemoteFile(
                f"{_UCI}/ml/machine-learning-databases/pendigits/pendigits-orig.tra.Z",
                "sha256:ceae25d05f1ccfed4d27ca2e5766370fb32ddd685a647567e84cf7685aa7ac8b",
            ),
            RemoteFile(
                f"{_UCI}/ml/machine-learning-databases/pendigits/pendigits-orig.tes.Z",
                "sha256:55ff1032e789eae273d0a4a1831dd61a2418f36ec5c0647457aa767b36d65960",
            ),
        ),
    ),
)
