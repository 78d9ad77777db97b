"""Train the network that finds ink in photos: `python -m digit_utils.training.segmentation`.

It sees rendered pages alone. The result is one checked file, `ink.tflite`, which `preprocessing.segmentation` reads.
"""

from digit_utils.training import environment  # noqa: F401  # isort: skip  (before Keras)

import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

from digit_utils.augmentation.allographs import random_allographs
from digit_utils.augmentation.non_digits import doodle, letter, sign
from digit_utils.augmentation.pages import random_page
from digit_utils.datasets.loading import load_dataset
from digit_utils.files import write_bundle
from digit_utils.preprocessing.segmentation import CANVAS, CARD_NAME, FORMAT, MODEL_FILE_NAME, standardize
from digit_utils.training.export import to_litert, versions
from digit_utils.types import Strokes


@dataclass(frozen=True)
class SegmentationConfig:
    """What decides the result: the same values give the same pages and, on the same machine, the same network."""

    seed: int = 0
    pages: int = 8000  # rendered for training
    validation_pages: int = 400
    epochs: int = 12
    batch_size: int = 16
    crop: int = 192  # pixels, side of the part of a page that a training step sees
    learning_rate: float = 4e-3  # at its highest, after the warm-up; it falls as a cosine
    warmup_steps: int = 200
    weight_decay: float = 1e-3
    channels: tuple[int, ...] = (24, 40, 64, 80)  # of the levels at a 4th, 8th, 16th and 32nd of the resolution


# ------------------------------------------------------------------------------------------------------- network


def build_network(config: SegmentationConfig, *, side: int | None = None, batch_size: int | None = None) -> keras.Model:
    """Return a U-Net from standardized grey levels, (batch, side, side, 1), to the logits of ink, of the same shape.

    The first layer reads patches of 8x8 pixels every 4, the last one writes them: 24 channels at a quarter of the
    resolution hold more than a pixel's worth of a thin line each, and cost a fraction of channels at full resolution.

    Args:
        config: the channels of each level; the other values do not matter here.
        side: pixels, a multiple of 32; None for any.
        batch_size: None for any; the converter makes faster code from a fixed one.
    """
    first, *deeper = config.channels
    image = keras.Input((side, side, 1), batch_size=batch_size)
    x = _activated(layers.Conv2D(first, 8, strides=4, padding="same", use_bias=False)(image))
    x = _dense_block(x, first)
    levels = [x]
    for channels in deeper:
        x = _separable_block(_separable_block(x, channels, strides=2), channels)
        levels.append(x)
    x = _separable_block(x, deeper[-1])
    for skip, channels in zip(levels[-2::-1], config.channels[-2::-1], strict=True):
        x = layers.UpSampling2D(2, interpolation="bilinear")(layers.Conv2D(channels, 1)(x))
        x = _separable_block(layers.Concatenate()([x, skip]), channels)
        x = _dense_block(x, channels) if channels == first else _separable_block(x, channels)
    x = layers.Conv2D(2 * first, 1, activation="relu")(x)
    return keras.Model(image, layers.Conv2DTranspose(1, 8, strides=4, padding="same")(x), name="ink")


def _dense_block(x: keras.KerasTensor, channels: int) -> keras.KerasTensor:
    return _activated(layers.Conv2D(channels, 3, padding="same", use_bias=False)(x))


def _separable_block(x: keras.KerasTensor, channels: int, *, strides: int = 1) -> keras.KerasTensor:
    x = layers.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False)(x)
    return _activated(layers.Conv2D(channels, 1, use_bias=False)(x))


def _activated(x: keras.KerasTensor) -> keras.KerasTensor:
    return layers.ReLU()(layers.BatchNormalization(momentum=0.95)(x))


def segmentation_loss(ink: keras.KerasTensor, logits: keras.KerasTensor) -> keras.KerasTensor:
    """Return 4 times the cross-entropy plus the Dice loss (Milletari et al., 2016) of a batch of pages.

    Ink is rare: cross-entropy alone is content with a page without any. The Dice loss of an empty page is 0.
    """
    ink = ops.cast(ink, logits.dtype)
    cross_entropy = ops.mean(ops.binary_crossentropy(ink, logits, from_logits=True))
    probability, pixels, smoothing = ops.sigmoid(logits), (1, 2, 3), 20.0
    common, both = ops.sum(probability * ink, pixels), ops.sum(probability + ink, pixels)
    return 4 * cross_entropy + ops.mean(1 - (2 * common + smoothing) / (both + smoothing))


# --------------------------------------------------------------------------------------------------------- pages


def training_drawings(seed: int) -> list[Strokes]:
    """Return what is written on the pages: pendigits' training digits, other forms of digits, letters and signs."""
    rng = np.random.default_rng(seed)
    digits = [list(strokes) for strokes in load_dataset("pendigits").train.strokes]
    others = [draw(rng) for draw, count in ((letter, 2000), (sign, 500), (doodle, 500)) for _ in range(count)]
    return digits + random_allographs(4000, rng)[0] + others


def render_pages(drawings: Sequence[Strokes], count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rendered pages and their ink, each (count, side, side) uint8, the ink from 0 to 255; by two processes."""
    seeds = np.random.SeedSequence(seed).spawn(2)
    counts = (count // 2, count - count // 2)
    with ProcessPoolExecutor(2) as pool:
        parts = list(pool.map(partial(_render, drawings), counts, seeds))
    images, ink = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return images, ink


def _render(drawings: Sequence[Strokes], count: int, seed: np.random.SeedSequence) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    pages = (random_page(drawings, rng) for _ in range(count))
    images, ink = zip(*((image, np.round(255 * ink).astype(np.uint8)) for image, ink in pages), strict=True)
    return np.stack(images), np.stack(ink)


class PageBatches(keras.utils.PyDataset):
    """Random crops of pages, flipped and transposed at random, in another order each epoch."""

    def __init__(self, images: np.ndarray, ink: np.ndarray, config: SegmentationConfig) -> None:
        super().__init__()
        self._images, self._ink, self._config = images, ink, config
        self._rng = np.random.default_rng(config.seed)
        self.on_epoch_end()

    def __len__(self) -> int:
        return len(self._images) // self._config.batch_size

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        size, crop = self._config.batch_size, self._config.crop
        chosen = self._order[index * size : (index + 1) * size]
        top, left = self._rng.integers(0, self._images.shape[1] - crop + 1, 2)
        flips = tuple(slice(None, None, step) for step in self._rng.choice([-1, 1], 2))
        axes = (0, 2, 1) if self._rng.random() < 0.5 else (0, 1, 2)
        images, ink = (
            layer[chosen, top : top + crop, left : left + crop][(slice(None), *flips)].transpose(axes)
            for layer in (self._images, self._ink)
        )
        return np.stack([standardize(image) for image in images])[..., np.newaxis], _share(ink)

    def on_epoch_end(self) -> None:
        """Shuffle the pages."""
        self._order = self._rng.permutation(len(self._images))


def _share(ink: np.ndarray) -> np.ndarray:
    return ink[..., np.newaxis].astype(np.float32) / 255


# ------------------------------------------------------------------------------------------------------ training


def train(config: SegmentationConfig) -> tuple[keras.Model, dict[str, float]]:
    """Render pages and train a network; return it with its figures on the validation pages."""
    keras.utils.set_random_seed(config.seed)
    images, ink = render_pages(training_drawings(config.seed), config.pages + config.validation_pages, config.seed)
    held_out, images, ink = (
        (images[: config.validation_pages], ink[: config.validation_pages]),
        *(layer[config.validation_pages :] for layer in (images, ink)),
    )
    batches = PageBatches(images, ink, config)
    steps = config.epochs * len(batches)
    schedule = keras.optimizers.schedules.CosineDecay(
        config.learning_rate / 4,
        max(1, steps - config.warmup_steps),
        warmup_target=config.learning_rate,
        warmup_steps=config.warmup_steps,
    )
    network = build_network(config)
    network.compile(keras.optimizers.AdamW(schedule, weight_decay=config.weight_decay), loss=segmentation_loss)
    network.fit(batches, epochs=config.epochs, shuffle=False, verbose=2)
    return network, evaluate(network, *held_out)


def evaluate(network: keras.Model, images: np.ndarray, ink: np.ndarray) -> dict[str, float]:
    """Return intersection over union, precision and recall of ink pixels on rendered pages."""
    inputs = np.stack([standardize(image) for image in images])[..., np.newaxis]
    found = network.predict(inputs, batch_size=8, verbose=0)[..., 0] > 0
    known = ink > 127
    common = np.count_nonzero(found & known)
    return {
        "intersection_over_union": common / np.count_nonzero(found | known),
        "precision": common / max(1, np.count_nonzero(found)),
        "recall": common / max(1, np.count_nonzero(known)),
    }


def export(network: keras.Model, path: str | Path, config: SegmentationConfig, figures: dict[str, float]) -> None:
    """Write the network as the file that `preprocessing.segmentation` reads, with a card of how it came to be."""
    fixed = build_network(config, side=CANVAS, batch_size=1)
    fixed.set_weights(network.get_weights())
    card = {"format": FORMAT, "config": asdict(config), "validation": figures, "versions": versions()}
    write_bundle(path, to_litert(fixed), card, member=CARD_NAME)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the network from the command line, and write it to a file."""
    default = SegmentationConfig()
    parser = argparse.ArgumentParser(prog="python -m digit_utils.training.segmentation", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("runs") / MODEL_FILE_NAME, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--pages", type=int, default=default.pages, help="rendered for training (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=default.epochs, help="default: %(default)s")
    options = parser.parse_args(arguments)
    config = SegmentationConfig(seed=options.seed, pages=options.pages, epochs=options.epochs)
    network, figures = train(config)
    export(network, options.output, config, figures)
    print(f"{options.output}: " + ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
