"""The number head: fitted to synthetic numbers, so that the right grouping of their strokes is the likeliest path.

    python -m digit_utils.training.numbers                                  # for the bundled recogniser
    python -m digit_utils.training.numbers --model runs/x --output head.npz

The loss is that of a conditional random field over the lattice: the log of the sum over all paths less the score of the
right one (Sarawagi and Cohen, 2004, "Semi-Markov conditional random fields"). Digits are those of pendigits'
training writers and of our own allographs; the confidence is calibrated on its validation writers.
"""

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from digit_utils.augmentation.numbers import LINE, SyntheticNumber, hands_of, random_numbers
from digit_utils.datasets.base import Digits
from digit_utils.datasets.loading import load_dataset
from digit_utils.preprocessing.strokes import ink_from_strokes
from digit_utils.recognition.lattice import Lattice, lattice_of, log_partition
from digit_utils.recognition.number_images import ink_of_pieces, outlines, pieces_of_lines
from digit_utils.recognition.numbers import (
    BUNDLED_HEAD,
    FARTHEST_INPUT,
    FEATURES,
    LABELS,
    NumberHead,
    evidence,
    keep_alone,
    label_scores,
    readings,
)
from digit_utils.recognition.recognizer import Recognizer
from digit_utils.recognition.segmentation import candidate_groups, geometry, pieces_of

NUMBERS, CALIBRATION_NUMBERS = 7000, 600
IMAGES = 0.35  # part of the numbers that is seen as an image
LEAST_OF_ONE = 0.8  # part of a component's ink that must belong to one character
MOST_PIECES, MOST_ARCS = 22, 500  # of a training number; the few larger lattices would take most of the time
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
    """Return the lattice of a number's strokes; None where it is too large, or lacks one of the right groups."""

    def ink_of(places: list[int]) -> np.ndarray:
        return ink_from_strokes([number.strokes[place] for place in places])

    return _example(number.characters, number.strokes, np.array(number.owners), ink_of, recognizer)


def image_example_of(number: SyntheticNumber, recognizer: Recognizer, rng: np.random.Generator) -> Example | None:
    """Return the lattice of a number's connected components, as an image shows them; None as in `example_of`.

    None also where a component belongs to two characters and is not cut between them, or the ink lies in two lines.
    """
    ink, owner_of_pixel = _drawn(number, rng)
    lines = list(pieces_of_lines(ink))
    if len(lines) != 1:
        return None
    owners = []
    for piece in lines[0]:
        counts = np.bincount(owner_of_pixel[piece], minlength=len(number.characters))
        if counts.max() < LEAST_OF_ONE * counts.sum():
            return None
        owners.append(counts.argmax())
    return _example(number.characters, outlines(lines[0]), np.array(owners), ink_of_pieces(lines[0], ink), recognizer)


def _drawn(number: SyntheticNumber, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a number as ink, (height, width) float32 in [0, 1], and the owner of each pixel, int."""
    scale, margin = rng.uniform(24, 64), 6
    width = max(1, round(rng.uniform(0.05, 0.17) * scale))
    points = np.concatenate(number.strokes)
    low, high = points.min(axis=0), points.max(axis=0)
    size = np.ceil((high - low) * scale).astype(int) + 2 * (margin + width)
    layers = np.zeros((len(number.characters), size[1], size[0]), np.uint8)
    for stroke, owner in zip(number.strokes, number.owners, strict=True):
        path = np.round(((stroke - low) * scale + margin + width) * 16).astype(np.int32)
        path = np.repeat(path, 2, axis=0) if len(path) == 1 else path
        cv2.polylines(layers[owner], [path], False, 255, width, cv2.LINE_AA, 4)
    ink = layers.max(axis=0).astype(np.float32) / 255
    return cv2.GaussianBlur(ink, None, rng.uniform(0.3, 0.9)), layers.argmax(axis=0)


def _example(
    characters: str,
    paths: Sequence[np.ndarray],
    owners: np.ndarray,
    ink_of: Callable[[list[int]], np.ndarray],
    recognizer: Recognizer,
) -> Example | None:
    if len(paths) > MOST_PIECES:
        return None
    pieces = pieces_of(paths)
    groups = candidate_groups(pieces)
    path = _right_path(characters, owners[pieces.order], groups)
    if path is None:
        return None
    lattice = lattice_of(groups)
    if len(lattice.sources) > MOST_ARCS:
        return None
    ink = np.stack([ink_of(sorted(pieces.order[group].tolist())) for group in groups])
    probabilities, scores = recognizer.probabilities_and_scores(ink)
    features = np.concatenate([geometry(pieces, groups), evidence(probabilities, scores)], axis=1)
    return Example(characters, groups, lattice, features, probabilities, path)


def _right_path(characters: str, owners: np.ndarray, groups: np.ndarray) -> list[tuple[int, int]] | None:
    rows = {group.tobytes(): row for row, group in enumerate(groups)}
    path = []
    for owner, character in enumerate(characters):
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
    digits: Digits, count: int, recognizer: Recognizer, rng: np.random.Generator, *, images: float, **options
) -> list[Example]:
    """Return the lattices of about `count` numbers by the writers of some digits, a part `images` of them as images."""
    hands = hands_of(digits.strokes, digits.labels, digits.writers)
    examples = []
    for number in random_numbers(count, hands, rng, **options):
        as_image = rng.random() < images
        examples.append(image_example_of(number, recognizer, rng) if as_image else example_of(number, recognizer))
    return [example for example in examples if example is not None]


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


def calibrate(head: NumberHead, examples: Sequence[Example]) -> NumberHead:
    """Return the head with the confidence calibrated on examples: logistic regression, by Newton's method."""
    odds, right = [], []
    for example in examples:
        weights = label_scores(keep_alone(head(example.features), example.groups), example.probabilities)
        text, chance = readings(example.lattice, weights)[1][0]
        clipped = min(max(chance, 1e-6), 1 - 1e-6)
        odds.append(math.log(clipped / (1 - clipped)))
        right.append(text == example.text.replace(LINE, ""))
    inputs, targets = np.column_stack([odds, np.ones(len(odds))]), np.array(right, float)
    parameters = np.array([1.0, 0.0])
    for _ in range(100):
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
    head = fit_number_head(examples_of(pendigits.train, options.numbers, recognizer, rng, images=IMAGES), rng)
    held = examples_of(pendigits.validation, CALIBRATION_NUMBERS, recognizer, rng, images=0.0, allographs=0.0)
    head = calibrate(head, held)
    head.save(options.output)
    print(f"wrote {options.output}; the confidence's slope and offset are {head.calibration}")


if __name__ == "__main__":
    main()
