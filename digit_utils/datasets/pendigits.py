"""Pendigits (UCI): pen strokes of 44 writers, in UNIPEN text."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from digit_utils.datasets.base import Digits
from digit_utils.datasets.download import require
from digit_utils.datasets.unipen import parse_unipen

PENDIGITS_TABLET_HEIGHT = 500.0  # tablet units: people wrote into boxes of 500 by 500
PENDIGITS_TEST_WRITER_OFFSET = 30  # the test file counts its writers from 1 again; they become 31..44


# ------------------------------------------------------------------------------------------------------------
# pendigits


def find_pendigits(folder: Path) -> Path | None:
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


def read_pendigits(place: Path) -> list[np.ndarray]:
    """Return five flat arrays for the training file and five for the test file, see `_flatten_strokes`."""
    if not place.is_dir():
        raise ValueError("pendigits is a folder with two files")
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
    """Return labels, writers and stroke counts, each (n,), points per stroke, points (all, 2) float32."""
    digits = parse_unipen(text, height=PENDIGITS_TABLET_HEIGHT)
    strokes = [stroke for digit in digits for stroke in digit.strokes]
    if any(digit.writer is None for digit in digits) or not strokes:
        raise ValueError("a digit without its writer, or no digit at all")
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


def split_pendigits(arrays: list[np.ndarray]) -> tuple[Digits, Digits, Digits]:
    """Validate on every fifth of the 30 training writers (5, 10, ... 30): nobody's hand is in two splits."""
    official = _assemble_strokes(arrays[:5])
    is_validation = official.writers % 5 == 0
    return (
        official.take(~is_validation),
        official.take(is_validation),
        _assemble_strokes(arrays[5:], writer_offset=PENDIGITS_TEST_WRITER_OFFSET),
    )
