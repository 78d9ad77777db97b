"""Metrics of numbers: whether their strokes are grouped rightly, and the edit distance of their texts."""

from collections.abc import Sequence

import numpy as np

from digit_utils.recognition.numbers import Number


def groups_are_right(number: Number, owners: Sequence[int], lines: int = 0) -> bool:
    """Return whether each character has exactly the strokes of one owner.

    Args:
        number: as it was read.
        owners: the character that each stroke belongs to, counted from 0; lines have the highest numbers.
        lines: how many of the owners are lines, which belong to no character.
    """
    last = max(owners) - lines
    expected = {tuple(np.flatnonzero(np.array(owners) == owner)) for owner in range(last + 1)}
    return {tuple(sorted(character.strokes)) for character in number.digits} == expected


def edit_distance(a: str, b: str) -> int:
    """Return how many characters must be inserted, left out or replaced to turn `a` into `b` (Levenshtein, 1966)."""
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, start=1):
        diagonal, row[0] = row[0], i
        for j, right in enumerate(b, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (left != right))
    return row[-1]
