"""What corrections are worth, and whom they harm: misread digits are corrected, and the rest of that hand read again.

    python -m benchmarks.quality.corrections             # the bundled model; about a minute
    python -m benchmarks.quality.corrections runs/mine   # another one
    python -m benchmarks.quality.corrections --grid      # how KERNEL_WIDTH was chosen

Each of pendigits' other writers sits down with a fresh memory and writes digits in the order of the file. Whatever is
misread, or turned away as no digit, is corrected, up to 1, 2 or 5 times for each of the ten digits. Then all digits of
that writer that were not corrected are read again. The same memory also reads everybody else's digits, MNIST's
validation digits and things that are no digits, which it must leave alone.

All choices were made with the validation writers (every fifth writer of pendigits' training file) alone, whose drawings
were also slanted, turned, stretched and slimmed, as so many odd hands. The test writers are read once, at the end.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial

import numpy as np

from digit_utils.augmentation.non_digits import random_non_digits
from digit_utils.datasets.base import Digits
from digit_utils.datasets.ink import ink_of
from digit_utils.datasets.loading import load_dataset
from digit_utils.evaluation.calibration import expected_calibration_error
from digit_utils.evaluation.intervals import error_interval
from digit_utils.evaluation.robustness import rotated, slanted
from digit_utils.preprocessing.strokes import ink_from_strokes
from digit_utils.recognition import adaptation
from digit_utils.recognition.adaptation import NO_SHIFTS, Correction, Shifts
from digit_utils.recognition.recognizer import Recognizer
from digit_utils.types import Strokes

LIMITS = (1, 2, 5)  # corrections of each digit


@dataclass(frozen=True, eq=False)
class Seen:
    """Drawings as the network alone sees them."""

    labels: np.ndarray  # (n,) int64
    writers: np.ndarray  # (n,) int64
    features: np.ndarray  # (n, d)
    probabilities: np.ndarray  # (n, 10)
    scores: np.ndarray  # (n,)

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, places: np.ndarray) -> "Seen":
        """Return the drawings at some places."""
        return Seen(*(getattr(self, each.name)[places] for each in fields(self)))


@dataclass
class Outcome:
    """Counts over all writers; they add up."""

    corrections: int = 0
    rest: int = 0  # digits that were not corrected
    before: int = 0  # of these, misread or turned away without any correction
    after: int = 0
    newly_wrong: int = 0  # of these, right before and wrong after
    met: int = 0  # misreadings that the writers met while writing, the corrected ones among them
    met_without: int = 0  # and would have met without any correction
    others: int = 0  # digits of other people, read with this memory
    others_newly_wrong: int = 0
    others_newly_right: int = 0
    non_digits: int = 0
    newly_accepted: int = 0  # of these, taken for a digit with the memory only

    def __add__(self, other: "Outcome") -> "Outcome":
        return Outcome(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


def see(recognizer: Recognizer, ink: np.ndarray, labels: np.ndarray, writers: np.ndarray) -> Seen:
    """Read drawings with the network alone."""
    return Seen(labels, writers, recognizer.features(ink), *recognizer.probabilities_and_scores(ink))


def see_strokes(recognizer: Recognizer, digits: Digits, hand: Callable[[Strokes], Strokes] | None = None) -> Seen:
    """Read drawings, each changed as `hand` would have drawn it."""
    ink = np.stack([ink_from_strokes(hand(strokes) if hand else strokes) for strokes in digits.strokes])
    return see(recognizer, ink, digits.labels, digits.writers)


def answers(seen: Seen, shifts: Shifts, *, threshold: float) -> np.ndarray:
    """Return what the pad would say, (n,): a digit, or -1 for none."""
    probabilities, scores = shifts.apply(seen.features, seen.probabilities, seen.scores)
    return np.where(scores < threshold, -1, probabilities.argmax(axis=1))


def sit_down(seen: Seen, *, at_most: int, threshold: float) -> tuple[Shifts, np.ndarray, int]:
    """Have one person write and correct; return the memory, the places of corrected drawings, and misreadings met."""
    shifts, corrected, met, counts = NO_SHIFTS, [], 0, np.zeros(10, int)
    for place, label in enumerate(seen.labels):
        one = seen.take(np.array([place]))
        if answers(one, shifts, threshold=threshold)[0] == label:
            continue
        met += 1
        if counts[label] < at_most:
            counts[label] += 1
            corrected.append(place)
            correction = Correction(int(label), one.features[0], one.probabilities[0], float(one.scores[0]))
            shifts = shifts.with_correction(correction, threshold=threshold)
    return shifts, np.array(corrected, int), met


def correct_everyone(
    seen: Seen, *, at_most: int, threshold: float, scans: Seen, non_digits: Seen
) -> tuple[Outcome, list[np.ndarray]]:
    """Return what corrections did, summed over the writers, and confidence and rightness of all rest digits (2, n)."""
    total, confidences = Outcome(), []
    for writer in np.unique(seen.writers):
        own, others = seen.take(seen.writers == writer), seen.take(seen.writers != writer)
        shifts, corrected, met = sit_down(own, at_most=at_most, threshold=threshold)
        rest = own.take(np.setdiff1d(np.arange(len(own)), corrected))
        (wrong, wrong_now), (misled, misled_now), (scan, scan_now) = (
            [answers(each, memory_, threshold=threshold) != each.labels for memory_ in (NO_SHIFTS, shifts)]
            for each in (rest, others, scans)
        )
        taken, taken_now = (answers(non_digits, each, threshold=threshold) >= 0 for each in (NO_SHIFTS, shifts))
        all_own = answers(own, NO_SHIFTS, threshold=threshold) != own.labels
        probabilities, _ = shifts.apply(rest.features, rest.probabilities, rest.scores)
        confidences.append(np.stack([probabilities.max(axis=1), probabilities.argmax(axis=1) == rest.labels]))
        total += Outcome(
            corrections=len(corrected),
            rest=len(rest),
            before=wrong.sum(),
            after=wrong_now.sum(),
            newly_wrong=(wrong_now & ~wrong).sum(),
            met=met,
            met_without=all_own.sum(),
            others=len(others) + len(scans),
            others_newly_wrong=(misled_now & ~misled).sum() + (scan_now & ~scan).sum(),
            others_newly_right=(misled & ~misled_now).sum() + (scan & ~scan_now).sum(),
            non_digits=len(non_digits),
            newly_accepted=(taken_now & ~taken).sum(),
        )
    return total, confidences


COLUMNS = "{:32} {:>9}  {:>20}  {:>5}  {:>10}  {:>23}  {:>14}"
HEADER = (
    COLUMNS.format("", "corrected", "rest misread,", "newly", "met while", "others newly wrong /", "no digits,"),
    COLUMNS.format("", "", "before -> after", "wrong", "writing", "newly right", "newly accepted"),
)


def told(name: str, outcome: Outcome) -> str:
    """Return an outcome as one line of the table."""
    return COLUMNS.format(
        name,
        outcome.corrections,
        f"{outcome.before} -> {outcome.after} of {outcome.rest:,}",
        outcome.newly_wrong,
        f"{outcome.met_without} -> {outcome.met}",
        f"{outcome.others_newly_wrong} / {outcome.others_newly_right} of {outcome.others:,}",
        f"{outcome.newly_accepted} of {outcome.non_digits:,}",
    )


def rates(outcome: Outcome) -> str:
    """Return the error rates of the digits that were not corrected, with their 95 % intervals."""
    before, after = (
        "{:.2%} [{:.2%}, {:.2%}]".format(count / outcome.rest, *error_interval(int(count), outcome.rest))
        for count in (outcome.before, outcome.after)
    )
    return f"{before} -> {after}"


def odd_hands() -> dict[str, Callable[[Strokes], Strokes]]:
    """Return hands of which each writes everything in one odd way, by their names."""

    def wide(factor: float) -> Callable[[Strokes], Strokes]:
        return lambda strokes: [stroke * np.array([factor, 1.0]) for stroke in strokes]

    return {
        "as drawn": lambda strokes: strokes,
        **{f"slanted {degrees}": partial(slanted, degrees=degrees) for degrees in (25, 40, -30)},
        **{f"turned {degrees}": partial(rotated, degrees=degrees) for degrees in (25, -25)},
        **{f"{factor} times as wide": wide(factor) for factor in (2, 0.45)},
    }


def main() -> None:
    """Print what corrections do for the validation writers, then, once, for the test writers."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", nargs="?", default="", help="model file or folder of a run (default: bundled)")
    parser.add_argument(
        "--grid", action="store_true", help="compare values of KERNEL_WIDTH on validation writers, no test"
    )
    options = parser.parse_args()
    recognizer = Recognizer.load(options.model)
    threshold = recognizer.card.threshold
    pen, mnist = load_dataset("pendigits"), load_dataset("mnist")
    scans = ink_of(mnist.validation)
    seen_scans = see(recognizer, scans.ink, scans.labels, np.zeros(len(scans), int))
    others = random_non_digits(2000, np.random.default_rng(2027))
    non_digits = see(recognizer, others, np.full(len(others), -1), np.zeros(len(others), int))
    rest = {"threshold": threshold, "scans": seen_scans, "non_digits": non_digits}
    hands = {name: see_strokes(recognizer, pen.validation, hand) for name, hand in odd_hands().items()}
    print(f"features: {recognizer.card.features or 'none, so the logits in their place'}")
    print(*HEADER, sep="\n")
    if options.grid:
        for reach in (0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9):
            adaptation.KERNEL_WIDTH = reach
            total = sum((correct_everyone(seen, at_most=5, **rest)[0] for seen in hands.values()), Outcome())
            print(told(f"KERNEL_WIDTH {reach:.2f}", total), flush=True)
        return
    for limit in LIMITS:
        results = {name: correct_everyone(seen, at_most=limit, **rest)[0] for name, seen in hands.items()}
        print(told(f"6 validation writers, {limit} a digit", results["as drawn"]))
        print(told(f"the same in {len(hands)} hands, {limit} a digit", sum(results.values(), Outcome())), flush=True)
    test = see_strokes(recognizer, pen.test)
    told_of_test = [correct_everyone(test, at_most=limit, **rest) for limit in (0, *LIMITS)]
    for limit, (outcome, _) in zip((0, *LIMITS), told_of_test, strict=True):
        print(told(f"14 test writers, {limit} a digit", outcome))
    print("\nTest writers, error rate of the digits that were not corrected, before -> after, with 95 % intervals:")
    for limit, (outcome, confidences) in zip((0, *LIMITS), told_of_test, strict=True):
        confidence, right = np.concatenate(confidences, axis=1)
        error = expected_calibration_error(confidence, right.astype(bool))
        print(f"{limit} corrections a digit: {rates(outcome)}; calibration error {error:.2%}")


if __name__ == "__main__":
    main()
