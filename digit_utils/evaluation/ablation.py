"""Ablation: the contribution of each step to the bundled model, as measured by `benchmarks/quality/ablation.py`."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from digit_utils.recognition.recognizer import BUNDLED_MODEL


def steps_of_bundled_model() -> dict[str, Any]:
    """Return the measured `errors` by step, set and seed, and `digits`, the size of each set."""
    return json.loads(BUNDLED_MODEL.with_name("ablation.json").read_text(encoding="utf-8"))


def step_table(errors: Mapping[str, Mapping[str, Sequence[int]]], digits: Mapping[str, int]) -> str:
    """Return the error rates of the steps as a table of text, with a column for each set of digits.

    Args:
        errors: by step, then by set: errors of each seed.
        digits: by set: its number of digits.

    Returns:
        The mean over seeds, with the standard deviation across seeds if there are several.
    """
    width = max(map(len, errors))
    lines = [" " * width + "".join(f"  {name:>28}" for name in digits)]
    for step, by_set in errors.items():
        cells = [_mean_and_deviation(by_set.get(name, ()), count) for name, count in digits.items()]
        lines.append(f"{step:{width}}" + "".join(f"  {cell:>28}" for cell in cells))
    return "\n".join(lines)


def _mean_and_deviation(errors: Sequence[int], digits: int) -> str:
    if not errors:
        return "-"
    rates = np.array(errors) / digits
    return f"{rates.mean():.2%}" + (f" +- {rates.std(ddof=1):.2%}" if len(rates) > 1 else "")
