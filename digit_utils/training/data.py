"""Training data and the epochs made from it.

Scans (MNIST), pen strokes (pendigits' training writers), synthetic allographs, non-digits, and optionally the user's
own drawings. All of it passes through `digit_utils.preprocessing`; every epoch draws and deforms it anew.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from digit_utils.augmentation.allographs import random_allographs
from digit_utils.augmentation.images import ImageAugmentation, augment_images, random_blur
from digit_utils.augmentation.non_digits import non_digits_of_scans, random_non_digits
from digit_utils.augmentation.numbers import hands_of, lattice_junk
from digit_utils.augmentation.photos import photograph
from digit_utils.augmentation.strokes import augment_strokes, random_pen_width
from digit_utils.datasets.base import DigitDataset
from digit_utils.datasets.ink import LabelledInk, load_ink
from digit_utils.preprocessing.images import ink_from_image
from digit_utils.preprocessing.strokes import ink_from_strokes
from digit_utils.training.config import AUGMENTATIONS, DataMix
from digit_utils.types import IMAGE_SIZE, NUM_CLASSES, Strokes

JITTER = ImageAugmentation(rotation=0, shift=1.0, scale=0.05, shear=0, cubic=True)
SCANNED_NON_DIGITS = 0.2  # fraction of the non-digits that is made from scanned digits
OWN_DRAWING_REPEATS = 40  # times that each of the user's own drawings is seen per epoch, deformed anew each time
MAX_OWN_DRAWINGS = 0.1  # of the number of scans: one hand must not outweigh all others


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What a network is trained on, and the validation digits."""

    scans: LabelledInk  # scanned digits, before augmentation
    strokes: tuple[Strokes, ...] = ()  # digits drawn by the training writers
    stroke_labels: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    stroke_writers: np.ndarray | None = None  # (n,) int64; of those drawings
    validation: dict[str, LabelledInk] = field(default_factory=dict)  # by dataset; never trained on
    hashes: dict[str, str] = field(default_factory=dict)  # of the content of each dataset
    own_drawings: tuple[Strokes, ...] = ()  # by the user, whose hand the network should learn
    own_labels: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def own_drawings_per_epoch(self) -> int:
        """How many images of an epoch show the user's own drawings: many of each where there are few."""
        if not self.own_drawings:
            return 0
        wanted = OWN_DRAWING_REPEATS * len(self.own_drawings)
        return min(wanted, max(len(self.own_drawings), int(MAX_OWN_DRAWINGS * len(self.scans))))

    def images_per_epoch(self, data_mix: DataMix) -> int:
        """Return how many images an epoch has."""
        drawn = data_mix.pen_strokes + data_mix.allographs + data_mix.non_digits + data_mix.wrong_groupings
        return len(self.scans) + drawn + self.own_drawings_per_epoch


def make_training_data(
    scanned: DigitDataset, drawn: DigitDataset | None = None, own: DigitDataset | None = None
) -> TrainingData:
    """Return the training data from a dataset of scans and, where given, one of pen strokes and the user's own.

    Only the fixed training splits are trained on; the validation splits serve for choices, such as the temperature. The
    validation drawings of `own` are left out: calibration should not depend on a handful.
    """
    sets = [scanned] if drawn is None else [scanned, drawn]
    training_data = TrainingData(
        load_ink(scanned.train, name=f"{scanned.name}-train"),
        validation={dataset.name: load_ink(dataset.validation, name=f"{dataset.name}-validation") for dataset in sets},
        hashes={dataset.name: dataset.sha256 for dataset in (*sets, own) if dataset is not None},
    )
    if drawn is not None:
        training_data = replace(
            training_data,
            strokes=drawn.train.strokes,
            stroke_labels=drawn.train.labels,
            stroke_writers=drawn.train.writers,
        )
    if own is not None:
        training_data = replace(training_data, own_drawings=own.train.strokes, own_labels=own.train.labels)
    return training_data


def make_epoch(
    training_data: TrainingData, data_mix: DataMix, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return one epoch in random order.

    Returns:
        ink (n, 28, 28, 1) float32 in [0, 1], and targets (n, 11) float32: the probabilities of the ten digits, all zero
        for non-digits, then 1 for digits and 0 for non-digits.

    Raises ValueError when pen strokes are wanted and the training data has none.
    """
    parts = [(_augmented_scans(training_data, data_mix, rng), training_data.scans.labels)]
    if data_mix.pen_strokes:
        parts.append(_pen_strokes(training_data, data_mix, rng))
    if data_mix.allographs:
        drawings, labels = random_allographs(data_mix.allographs, rng)
        parts.append((_render(drawings, data_mix, rng), labels))
    if data_mix.non_digits:
        parts.append((_non_digits(training_data, data_mix, rng), np.full(data_mix.non_digits, -1)))
    if data_mix.wrong_groupings:
        parts.append(_wrong_groupings(training_data, data_mix, rng))
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
    """Return targets (n, 11) float32 for labels (n,): digits 0 to 9, -1 for non-digits."""
    targets = np.zeros((len(labels), NUM_CLASSES + 1), np.float32)
    is_digit = labels >= 0
    targets[is_digit, :NUM_CLASSES] = smoothing / NUM_CLASSES
    targets[is_digit, labels[is_digit]] += 1 - smoothing
    targets[:, NUM_CLASSES] = is_digit
    return targets


def _augmented_scans(training_data: TrainingData, data_mix: DataMix, rng: np.random.Generator) -> np.ndarray:
    config = AUGMENTATIONS[data_mix.augmentation]
    return training_data.scans.ink if config is None else augment_images(training_data.scans.ink, rng, config=config)


def _pen_strokes(
    training_data: TrainingData, data_mix: DataMix, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    if not len(training_data.strokes):
        raise ValueError(f"pen_strokes is {data_mix.pen_strokes}, but the training data holds none; pass a dataset")
    chosen = rng.integers(len(training_data.strokes), size=data_mix.pen_strokes)
    drawings = [training_data.strokes[index] for index in chosen]
    return _render(drawings, data_mix, rng), training_data.stroke_labels[chosen]


def _own_drawings(
    training_data: TrainingData, data_mix: DataMix, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the user's own drawings, each as often as any other, or once more."""
    order = rng.permutation(len(training_data.own_drawings))
    chosen = np.resize(order, training_data.own_drawings_per_epoch)
    drawings = [training_data.own_drawings[index] for index in chosen]
    return _render(drawings, data_mix, rng), training_data.own_labels[chosen]


def _non_digits(training_data: TrainingData, data_mix: DataMix, rng: np.random.Generator) -> np.ndarray:
    """Return non-digits as ink (n, 28, 28): drawn, photographed, and some made from scans.

    The last two matter: if only digits were scanned, the network would take the look of a scan for a sign of a digit.
    """
    scanned_count = int(data_mix.non_digits * SCANNED_NON_DIGITS) if len(training_data.scans) else 0
    drawn = random_non_digits(data_mix.non_digits - scanned_count, rng, photographed=data_mix.photographed)
    scanned = non_digits_of_scans(training_data.scans.ink, training_data.scans.labels, scanned_count, rng)
    return np.concatenate([drawn, scanned])


def _wrong_groupings(
    training_data: TrainingData, data_mix: DataMix, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return wrong groups of strokes of numbers by the training writers, as ink (n, 28, 28), labelled as non-digits."""
    hands = ()
    if training_data.stroke_writers is not None:
        hands = hands_of(training_data.strokes, training_data.stroke_labels, training_data.stroke_writers)
    groups = lattice_junk(data_mix.wrong_groupings, hands, rng)
    ink = np.stack([ink_from_strokes(group, pen_width=random_pen_width(rng)) for group in groups])
    return ink, np.full(len(ink), -1)


def _render(drawings: list[Strokes], data_mix: DataMix, rng: np.random.Generator) -> np.ndarray:
    """Return drawings, each deformed, as ink (n, 28, 28)."""
    ink = np.empty((len(drawings), IMAGE_SIZE, IMAGE_SIZE), np.float32)
    for index, drawing in enumerate(drawings):
        strokes = augment_strokes(drawing, rng)
        ink[index] = ink_from_strokes(strokes, pen_width=random_pen_width(rng))
        if rng.random() < data_mix.photographed:
            photographed = ink_from_image(photograph(strokes, rng))
            if photographed.any():  # some fade to a blank page, which is not a digit
                ink[index] = photographed
    jittered = rng.random(len(ink)) < 0.5  # preprocessing centres the ink, but a stray stroke moves the centre
    ink[jittered] = augment_images(ink[jittered], rng, config=JITTER)
    return ink
