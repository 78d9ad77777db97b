"""Metrics of numbers: exact matches, what is lost to segmentation and to reading, and what can be accepted.

They are measured on synthetic numbers, written with the digits of people whom training has not seen. These are harder
than most of what people write: they crowd, overlap and slant on purpose.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from digit_utils.augmentation.numbers import LINE, MARKS, Hand, SyntheticNumber, random_text, write_number
from digit_utils.evaluation.calibration import expected_calibration_error
from digit_utils.evaluation.intervals import rate
from digit_utils.recognition.numbers import Number

MOST_WRONG = 0.005  # of the accepted numbers
KINDS: dict[str, tuple[Callable[[str], bool], float]] = {
    "digits": (lambda text: text.isdigit() and len(text) > 1, 0.0),
    "one digit": (lambda text: text.isdigit() and len(text) == 1, 0.0),
    "with marks": (lambda text: not set(text).isdisjoint(MARKS), 0.0),
    "with a line about them": (str.isdigit, 1.0),
}  # which texts, and how many of them have a line under, over or around them


def numbers_by_kind(count: int, hands: Sequence[Hand], rng: np.random.Generator) -> dict[str, list[SyntheticNumber]]:
    """Return `count` numbers of each of KINDS, written by some hands, without letters beside them."""
    numbers: dict[str, list[SyntheticNumber]] = {}
    for kind, (suits, lines) in KINDS.items():
        numbers[kind] = []
        while len(numbers[kind]) < count:
            text = random_text(rng)
            if suits(text):
                hand = hands[rng.integers(len(hands))]
                numbers[kind].append(write_number(text, hand, rng, lines=lines, neighbours=0))
    return numbers


def number_figures(read: Sequence[Number], written: Sequence[SyntheticNumber]) -> dict[str, float]:
    """Return how well numbers were read, as fractions of the numbers unless said otherwise.

    Returns:
        `exact` with both ends of its 95 % interval; `segmentation`, wrong with wrong groups; `reading`, wrong with
        right groups of strokes; `characters`, the edit distance by the number of characters; `refused`;
        `calibration`, the expected calibration error; and `accepted`, see `accepted_share`.
    """
    right = np.array([found.text == number.text for found, number in zip(read, written, strict=True)])
    grouped = np.array(
        [
            groups_are_right(found, number.owners, lines=number.characters.count(LINE))
            for found, number in zip(read, written, strict=True)
        ]
    )
    errors = sum(
        edit_distance(found.text or "", number.text or "") for found, number in zip(read, written, strict=True)
    )
    confidence = np.array([found.confidence for found in read])
    exact, low, high = rate(int(right.sum()), len(right))
    return {
        "exact": exact,
        "exact_low": low,
        "exact_high": high,
        "segmentation": float((~right & ~grouped).mean()),
        "reading": float((~right & grouped).mean()),
        "characters": errors / sum(len(number.text or "") for number in written),
        "refused": sum(found.text is None for found in read) / len(read),
        "calibration": expected_calibration_error(confidence, right),
        "accepted": accepted_share(confidence, right),
    }


def confusions(read: Sequence[Number], written: Sequence[SyntheticNumber]) -> Counter[tuple[str, str]]:
    """Return how often a character with the right strokes was taken for another, by (written, read)."""
    counts: Counter[tuple[str, str]] = Counter()
    for found, number in zip(read, written, strict=True):
        groups = {tuple(sorted(character.strokes)): character.text for character in found.digits}
        for owner, character in enumerate(number.characters):
            text = groups.get(tuple(np.flatnonzero(np.array(number.owners) == owner)), character)
            if text != character != LINE:
                counts[character, text] += 1
    return counts


def accepted_share(confidence: np.ndarray, right: np.ndarray, *, most_wrong: float = MOST_WRONG) -> float:
    """Return the largest share, by least confidence, of which at most `most_wrong` are wrong; both are (n,)."""
    order = np.argsort(-confidence, kind="stable")
    accepted = np.arange(1, len(order) + 1)
    good = np.cumsum(~right[order]) <= most_wrong * accepted
    good &= np.append(np.diff(confidence[order]) < 0, True)  # no threshold divides equal confidences
    return float(accepted[good].max(initial=0) / len(order))


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
