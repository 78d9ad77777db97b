"""Twenty digits as pen strokes, drawn for this project: for notebooks and tests that run without a hand.

They come from no dataset and are free like the rest of the project. Two forms of each digit, among them those that
recognisers like to misread: a 1 with a flag, an open 4, a 7 with a crossbar.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SHEET = 100.0  # side of the sheet that the digits were drawn on
SAMPLES_FILE = Path(__file__).with_suffix(".json")


@dataclass(frozen=True)
class SampleDigit:
    """One digit and its strokes: (n, 2) float64 arrays, x right, y down, in drawing order."""

    digit: int
    strokes: tuple[np.ndarray, ...]


def sample_digits(*, side: float = SHEET) -> list[SampleDigit]:
    """Return the twenty digits, 0 to 9 in two forms each, scaled to a sheet whose sides are `side` long."""
    rows = json.loads(SAMPLES_FILE.read_text(encoding="utf-8"))
    return [
        SampleDigit(row["digit"], tuple(np.array(stroke) * (side / SHEET) for stroke in row["strokes"])) for row in rows
    ]
