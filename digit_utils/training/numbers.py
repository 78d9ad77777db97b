"""The number head: fitted to synthetic numbers, so that the right grouping of their strokes is the likeliest path.

    python -m digit_utils.training.numbers                                  # for the bundled recogniser
    python -m digit_utils.training.numbers --model runs/x --output head.npz

The loss is that of a conditional random field over the lattice: the log of the sum over all paths less the score of the
right one (Sarawagi and Cohen, 2004, "Semi-Markov conditional random fields"). Digits are those of pendigits'
training writers and of our own allographs; the confidence is calibrated on its validation writers.
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from digit_utils.augmentation.numbers import LINE, SyntheticNumber, hands_of, random_numbers
from digit_utils.datasets.base import Digits
from digit_utils.datasets.loading import load_dataset
from digit_utils.preprocessing.strokes import ink_from_strokes
from digit_utils.recognition.lattice import Lattice, lattice_of, log_partition
from digit_utils.recognition.numbers import (
    BUNDLED_HEAD, FARTHEST_INPUT, FEATURES, LABELS, NumberHead, evidence, keep_alone, label_scores, readings,
)  # fmt: skip
from digit_utils.recognition.recognizer import Recognizer
from digit_utils.recognition.segmentation import candidate_groups, geometry, pieces_of

NUMBERS, CALIBRATION_NUMBERS = 6000, 800
MOST_STROKES, MOST_ARCS = 22, 500  # of a training number; the few larger lattices would take most of the time
HIDDEN, EPOCHS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 96, 30, 64, 0.004, 0.002  # tried on validation writers


@dataclass(frozen=True, eq=False)
class Example:
    """The lattice of a synthetic number, and the right path through it."""

    text: str  # as SyntheticNumber.characters
    groups: np.ndarray  # (candidates, pieces) bool
    lattice: Lattice
    features: np.ndarray  # (candidates, FEATURES) float64
    probabilities: np.ndarray  # (candidates, 10) float64
    path: list[tuple[int, int]]  # candidates and labels


def example_of(number: SyntheticNumber, recognizer: Recognizer) -> Example | None:
    """Return a number's lattice; None where it is too large, or the right groups are not among the candidates."""
    if len(number.strokes) > MOST_STROKES:
        return None
    pieces = pieces_of(number.strokes)
    groups = candidate_groups(pieces)
    path = _right_path(number, np.array(number.owners)[pieces.order], groups)
    if path is None:
        return None
    lattice = lattice_of(groups)
    if len(lattice.sources) > MOST_ARCS:
        return None
    members = [sorted(pieces.order[group].tolist()) for group in groups]
    ink = np.stack([ink_from_strokes([number.strokes[index] for index in places]) for places in members])
    probabilities, scores = recognizer.probabilities_and_scores(ink)
    features = np.concatenate([geometry(pieces, groups), evidence(probabilities, scores)], axis=1)
    return Example(number.characters, groups, lattice, features, probabilities, path)


def _right_path(number: SyntheticNumber, owners: np.ndarray, groups: np.ndarray) -> list[tuple[int, int]] | None:
    rows = {group.tobytes(): row for row, group in enumerate(groups)}
    path = []
    for owner, character in enumerate(number.characters):
        own = owners == owner
        # Each stroke of a frame is a line of its own: they may be far apart.
        sets = [np.arange(len(owners)) == place for place in np.flatnonzero(own)] if character == LINE else [own]
        for pieces in sets:
            row = rows.get(pieces.tobytes())
            if row is None:
                return None
            path.append((row, LABELS.index(character)))
    return path


def examples_of(
    digits: Digits, count: int, recognizer: Recognizer, rng: np.random.Generator, **options
) -> list[Example]:
    """Return the lattices of about `count` numbers by the writers of some digits."""
    hands = hands_of(digits.strokes, digits.labels, digits.writers)
    numbers = random_numbers(count, hands, rng, **options)
    return [example for number in numbers if (example := example_of(number, recognizer)) is not None]


def fit_number_head(
    examples: Sequence[Example], rng: np.random.Generator, *, hidden: int = HIDDEN, epochs: int = EPOCHS
) -> NumberHead:
    """Return a head fitted to examples with AdamW along half a cosine; not calibrated yet."""
    features = np.concatenate([example.features for example in examples])
    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-3
    weights = [
        rng.normal(0, np.sqrt(2 / FEATURES), (FEATURES, hidden)), np.zeros(hidden),
        rng.normal(0, 0.1, (hidden, len(LABELS))), np.zeros(len(LABELS)),
    ]  # fmt: skip
    first, second = [np.zeros_like(w) for w in weights], [np.zeros_like(w) for w in weights]
    steps = epochs * math.ceil(len(examples) / BATCH)
    for step, batch in enumerate(_batches(examples, epochs, rng), start=1):
        rate = LEARNING_RATE * min(1, step / 50) * 0.5 * (1 + math.cos(math.pi * step / steps))
        for place, gradient in enumerate(_gradients(batch, mean, deviation, weights)):
            first[place] = 0.9 * first[place] + 0.1 * gradient
            second[place] = 0.99 * second[place] + 0.01 * gradient**2
            update = first[place] / (1 - 0.9**step) / (np.sqrt(second[place] / (1 - 0.99**step)) + 1e-8)
            decay = WEIGHT_DECAY / LEARNING_RATE * weights[place] if weights[place].ndim == 2 else 0
            weights[place] = weights[place] - rate * (update + decay)
    return NumberHead(mean, deviation, tuple(weights))


def _batches(examples: Sequence[Example], epochs: int, rng: np.random.Generator) -> Iterator[list[Example]]:
    for _ in range(epochs):
        order = rng.permutation(len(examples))
        for start in range(0, len(order), BATCH):
            yield [examples[index] for index in order[start : start + BATCH]]


def _gradients(batch: Sequence[Example], mean, deviation, weights) -> list[np.ndarray]:
    """Return the gradients of the mean loss: expected less actual counts of each group and label."""
    features = np.concatenate([example.features for example in batch])
    inputs = ((features - mean) / deviation).clip(-FARTHEST_INPUT, FARTHEST_INPUT)
    hidden = np.maximum(inputs @ weights[0] + weights[1], 0)
    scores = label_scores(
        hidden @ weights[2] + weights[3], np.concatenate([example.probabilities for example in batch])
    )
    highest = scores.max(axis=1, keepdims=True)
    totals = (highest + np.log(np.exp(scores - highest).sum(axis=1, keepdims=True)))[:, 0]
    counts, start = np.exp(scores - totals[:, np.newaxis]), 0
    for example in batch:
        stop = start + len(example.features)
        counts[start:stop] *= log_partition(example.lattice, totals[start:stop])[1][:, np.newaxis]
        for row, label in example.path:
            counts[start + row, label] -= 1
        start = stop
    counts /= len(batch)
    back = counts @ weights[2].T * (hidden > 0)
    return [inputs.T @ back, back.sum(axis=0), hidden.T @ counts, counts.sum(axis=0)]


def calibrate(head: NumberHead, examples: Sequence[Example], *, steps: int = 100) -> NumberHead:
    """Return the head with the confidence calibrated on examples: logistic regression, by Newton's method."""
    odds, right = [], []
    for example in examples:
        weights = label_scores(keep_alone(head(example.features), example.groups), example.probabilities)
        text, chance = readings(example.lattice, weights)[1][0]
        clipped = min(max(chance, 1e-6), 1 - 1e-6)
        odds.append(math.log(clipped / (1 - clipped)))
        right.append(text == example.text.replace(LINE, ""))
    inputs, targets, parameters = (
        np.column_stack([odds, np.ones(len(odds))]),
        np.array(right, float),
        np.array([1.0, 0.0]),
    )
    for _ in range(steps):
        predicted = 1 / (1 + np.exp(-inputs @ parameters))
        hessian = (inputs * (predicted * (1 - predicted))[:, np.newaxis]).T @ inputs + 1e-3 * np.eye(2)
        parameters = parameters - np.linalg.solve(hessian, inputs.T @ (predicted - targets))
    return replace(head, calibration=(float(parameters[0]), float(parameters[1])))


def main() -> None:
    """Fit a number head and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a model file or the folder of a run; left out: the bundled model")
    parser.add_argument("--output", default=BUNDLED_HEAD, help="the file to write (default: %(default)s)")
    parser.add_argument(
        "--numbers", type=int, default=NUMBERS, help="synthetic numbers to fit to (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    recognizer, rng = Recognizer.load(options.model), np.random.default_rng(options.seed)
    pendigits = load_dataset("pendigits")
    head = fit_number_head(examples_of(pendigits.train, options.numbers, recognizer, rng), rng)
    held = examples_of(pendigits.validation, CALIBRATION_NUMBERS, recognizer, rng, allographs=0.0)
    head = calibrate(head, held)
    head.save(options.output)
    print(f"wrote {options.output}; the confidence's slope and offset are {head.calibration}")


if __name__ == "__main__":
    main()
