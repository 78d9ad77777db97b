"""Training data: what the network is trained on, and what its epochs are made of.

Scans (MNIST), pen strokes (pendigits' training writers), allographs made here, things that are no digits, and, where
given, one's own drawings. All of it passes through `digit_utils.preprocessing.strokes`; every epoch draws and deforms
it anew.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from digit_utils.augmentation.allographs import random_allographs
from digit_utils.augmentation.images import ImageAugmentation, augment_images, random_blur
from digit_utils.augmentation.non_digits import non_digits_of_scans, random_non_digits
from digit_utils.augmentation.photos import photograph
from digit_utils.augmentation.strokes import augment_strokes, random_pen_width
from digit_utils.datasets.base import DigitDataset
from digit_utils.datasets.ink import LabelledInk, ink_of
from digit_utils.preprocessing.images import ink_from_image
from digit_utils.preprocessing.strokes import ink_from_strokes
from digit_utils.training.config import AUGMENTATIONS, DataMix
from digit_utils.types import IMAGE_SIZE, NUM_CLASSES, Strokes

NUDGE = ImageAugmentation(rotation=0, shift=1.0, scale=0.05, shear=0, cubic=True)
NON_DIGITS_OF_SCANS = 0.2  # part of the non-digits that is made of scanned digits
OWN_DRAWING_REPEATS = 40  # times that each of one's own drawings is seen an epoch, deformed anew each time
OWN_DRAWINGS_AT_MOST = 0.1  # of the number of scans: however many there are, one hand must not outweigh all others


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Everything that a training run reads."""

    scans: LabelledInk  # pictures of digits, before augmentation
    strokes: tuple[Strokes, ...] = ()  # drawings by training writers
    stroke_labels: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    validation: dict[str, LabelledInk] = field(default_factory=dict)  # by dataset; never trained on
    hashes: dict[str, str] = field(default_factory=dict)  # of the datasets' content
    own_drawings: tuple[Strokes, ...] = ()  # of whoever trains the network for a hand of their own
    own_labels: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def own_drawings_an_epoch(self) -> int:
        """How many pictures of an epoch show one's own drawings: many of each where there are few."""
        if not self.own_drawings:
            return 0
        wanted = OWN_DRAWING_REPEATS * len(self.own_drawings)
        return min(wanted, max(len(self.own_drawings), int(OWN_DRAWINGS_AT_MOST * len(self.scans))))


def make_training_data(
    scanned: DigitDataset, drawn: DigitDataset | None = None, own: DigitDataset | None = None
) -> TrainingData:
    """Return what a run reads, of a dataset of scans and, where given, one of pen strokes and one's own drawings.

    Training digits are those of the datasets' fixed training splits; their validation splits are kept for choices.
    The held-out ones of one's own drawings have no say: temperature and threshold should not hang on a handful.
    """
    training_data = _training_data_of(scanned, drawn)
    if own is None:
        return training_data
    hashes = training_data.hashes | {own.name: own.sha256}
    return replace(training_data, own_drawings=own.train.strokes, own_labels=own.train.labels, hashes=hashes)


def _training_data_of(scanned: DigitDataset, drawn: DigitDataset | None) -> TrainingData:
    validation, hashes = {scanned.name: ink_of(scanned.validation)}, {scanned.name: scanned.sha256}
    if drawn is None:
        return TrainingData(ink_of(scanned.train), validation=validation, hashes=hashes)
    return TrainingData(
        scans=ink_of(scanned.train),
        strokes=drawn.train.strokes,
        stroke_labels=drawn.train.labels,
        validation=validation | {drawn.name: ink_of(drawn.validation)},
        hashes=hashes | {drawn.name: drawn.sha256},
    )


def make_epoch(
    training_data: TrainingData, data_mix: DataMix, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return one epoch in random order.

    Returns:
        ink (n, 28, 28, 1) float32 in [0, 1], and targets (n, 11) float32: ten probabilities of the digits, all zero
        for what is no digit, then 1 for digits and 0 for the rest.
    """
    parts = [(_scans(training_data, data_mix, rng), training_data.scans.labels)]
    if data_mix.pen_strokes:
        parts.append(_pen_strokes(training_data, data_mix, rng))
    if data_mix.allographs:
        drawings, labels = random_allographs(data_mix.allographs, rng)
        parts.append((_drawn(drawings, data_mix, rng), labels))
    if data_mix.non_digits:
        parts.append((_non_digits(training_data, data_mix, rng), np.full(data_mix.non_digits, -1)))
    if training_data.own_drawings:
        parts.append(_own_drawings(training_data, data_mix, rng))
    ink = np.concatenate([part for part, _ in parts])
    labels = np.concatenate([labels for _, labels in parts])
    order = rng.permutation(len(ink))
    ink = ink[order]
    if data_mix.blur:
        random_blur(ink, rng, probability=data_mix.blur)
    return ink[..., np.newaxis], targets_of(labels[order], smoothing=data_mix.label_smoothing)


def targets_of(labels: np.ndarray, *, smoothing: float = 0.0) -> np.ndarray:
    """Return targets (n, 11) float32 of labels (n,): digits 0 to 9, -1 for what is no digit."""
    targets = np.zeros((len(labels), NUM_CLASSES + 1), np.float32)
    is_digit = labels >= 0
    targets[is_digit, :NUM_CLASSES] = smoothing / NUM_CLASSES
    targets[is_digit, labels[is_digit]] += 1 - smoothing
    targets[:, NUM_CLASSES] = is_digit
    return targets


def _scans(training_data: TrainingData, data_mix: DataMix, rng: np.random.Generator) -> np.ndarray:
    config = AUGMENTATIONS[data_mix.augmentation]
    return training_data.scans.ink if config is None else augment_images(training_data.scans.ink, rng, config=config)


def _pen_strokes(
    training_data: TrainingData, data_mix: DataMix, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    if not len(training_data.strokes):
        raise ValueError("the recipe asks for pen strokes, but the training data holds none")
    chosen = rng.integers(len(training_data.strokes), size=data_mix.pen_strokes)
    drawings = [training_data.strokes[index] for index in chosen]
    return _drawn(drawings, data_mix, rng), training_data.stroke_labels[chosen]


def _own_drawings(
    training_data: TrainingData, data_mix: DataMix, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return one's own drawings, each as often as any other or once more."""
    count = training_data.own_drawings_an_epoch
    chosen = np.resize(rng.permutation(len(training_data.own_drawings)), count)
    return _drawn([training_data.own_drawings[index] for index in chosen], data_mix, rng), training_data.own_labels[
        chosen
    ]


def _non_digits(training_data: TrainingData, data_mix: DataMix, rng: np.random.Generator) -> np.ndarray:
    """Return what is no digit, as ink (n, 28, 28): drawn, photographed, and some made of scans.

    The last two matter: were digits the only thing ever seen scanned, the look of a scan would pass for a digit.
    """
    of_scans = int(data_mix.non_digits * NON_DIGITS_OF_SCANS) if len(training_data.scans) else 0
    drawn = random_non_digits(data_mix.non_digits - of_scans, rng, photographed=data_mix.photographed)
    made = non_digits_of_scans(training_data.scans.ink, training_data.scans.labels, of_scans, rng)
    return np.concatenate([drawn, made])


def _drawn(drawings: list[Strokes], data_mix: DataMix, rng: np.random.Generator) -> np.ndarray:
    """Return drawings, each deformed, as ink (n, 28, 28)."""
    ink = np.empty((len(drawings), IMAGE_SIZE, IMAGE_SIZE), np.float32)
    for index, drawing in enumerate(drawings):
        strokes = augment_strokes(drawing, rng)
        ink[index] = ink_from_strokes(strokes, pen_width=random_pen_width(rng))
        if rng.random() < data_mix.photographed:
            photographed = ink_from_image(photograph(strokes, rng))
            if photographed.any():  # some fade to a blank page, which is no digit
                ink[index] = photographed
    nudged = rng.random(len(ink)) < 0.5  # the ink function centres, yet a stray stroke moves the centre
    ink[nudged] = augment_images(ink[nudged], rng, config=NUDGE)
    return ink
