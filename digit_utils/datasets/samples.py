"""Twenty digits as pen strokes, drawn for this project: for notebooks and tests without a person who draws.

They come from no dataset and have the project's licence. There are two forms of each digit, among them those that
recognisers often misread: a 1 with a flag, an open 4, a 7 with a crossbar.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

CANVAS_SIDE = 100.0  # of the canvas that the digits were drawn on
SAMPLES_FILE = Path(__file__).with_suffix(".json")


@dataclass(frozen=True)
class SampleDigit:
    """One digit and its strokes: (n, 2) float64 arrays, x right, y down, in drawing order."""

    digit: int
    strokes: tuple[np.ndarray, ...]


def sample_digits(*, side: float = CANVAS_SIDE) -> list[SampleDigit]:
    """Return the twenty digits, 0 to 9 in two forms each, scaled to a canvas whose sides are `side` long."""
    rows = json.loads(SAMPLES_FILE.read_text(encoding="utf-8"))
    scale = side / CANVAS_SIDE
    return [SampleDigit(row["digit"], tuple(np.array(stroke) * scale for stroke in row["strokes"])) for row in rows]
