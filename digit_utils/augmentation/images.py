"""Augmentation of images of digits: affine and elastic distortions, pen width, blur.

Each image is warped by one smooth map (Simard et al., 2003, "Best practices for convolutional neural networks applied
to visual document analysis"). All randomness comes from the generator that the caller passes.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from digit_utils.preprocessing.strokes import BOX_SIZE, CENTRE
from digit_utils.types import IMAGE_SIZE


@dataclass(frozen=True)
class ImageAugmentation:
    """Ranges of random changes to images; each value is uniform in a symmetric range unless it is a probability."""

    rotation: float = 10.0  # degrees to either side
    shift: float = 2.0  # pixels to either side, in x and in y
    scale: float = 0.12  # in logarithm: 0.12 is from 0.89 to 1.13
    stretch: float = 0.0  # in logarithm of the aspect ratio
    shear: float = 0.15  # slant: pixels to the side for each pixel of height
    elastic: float = 0.0  # pixels: standard deviation of a smooth random displacement
    pen: float = 0.0  # probability of a thinner or thicker pen
    fill_box: float = 0.0  # probability of a digit stretched to fill the whole box, as some scans are
    cubic: bool = False  # interpolation that keeps edges sharp; linear interpolation blurs a little and is faster


MILD = ImageAugmentation()
STRONG = ImageAugmentation(
    rotation=10, shift=1, scale=0.12, stretch=0.15, shear=0.22, elastic=0.45, pen=0.3, fill_box=0.06, cubic=True
)


def augment_images(images: np.ndarray, rng: np.random.Generator, *, config: ImageAugmentation = MILD) -> np.ndarray:
    """Return randomly changed copies of images.

    Args:
        images: (n, 28, 28) float32 in [0, 1], ink 1.
        rng: where the randomness comes from.
        config: the ranges of the changes.

    Returns:
        (n, 28, 28) float32 in [0, 1], a new array.
    """
    warped = _warped(np.asarray(images, np.float32), rng, config=config)
    if config.pen:
        _change_pens(warped, rng, probability=config.pen)
    return np.clip(warped, 0, 1, out=warped)


def _warped(images: np.ndarray, rng: np.random.Generator, *, config: ImageAugmentation) -> np.ndarray:
    """Return images (n, 28, 28) float32, each under its own smooth map."""
    matrices = random_affines(len(images), rng, config=config)
    if config.fill_box:
        _fill_box(matrices, images, rng, probability=config.fill_box)
    result = np.empty_like(images)
    interpolation = cv2.INTER_CUBIC if config.cubic else cv2.INTER_LINEAR
    maps = elastic_fields(len(images), rng, strength=config.elastic) if config.elastic else None
    for index, (image, matrix) in enumerate(zip(images, matrices, strict=True)):
        if maps is None:
            flags = interpolation | cv2.WARP_INVERSE_MAP
            cv2.warpAffine(image, matrix, (IMAGE_SIZE, IMAGE_SIZE), dst=result[index], flags=flags)
        else:
            x, y = _affine_grid(matrix)
            x += maps[index, 0] * np.float32(np.hypot(*matrix[0, :2]))  # in pixels of the result
            y += maps[index, 1]
            cv2.remap(image, x, y, interpolation, dst=result[index])
    return result


def random_blur(images: np.ndarray, rng: np.random.Generator, *, probability: float) -> None:
    """Blur or sharpen some of the images, (n, 28, 28) float32 in [0, 1], in place.

    Scans are less sharp than drawings, images of few pixels less than both. Without this a network could tell the kinds
    apart by their sharpness, and expect of each only the shapes it saw in training.
    """
    for index in np.flatnonzero(rng.random(len(images)) < probability):
        blurred = cv2.GaussianBlur(images[index], (5, 5), 0.8)
        amount = rng.uniform(-0.6, 1.0)  # below 0 it is the unsharp mask
        images[index] = np.clip(images[index] + amount * (blurred - images[index]), 0, 1)


def random_affines(count: int, rng: np.random.Generator, *, config: ImageAugmentation) -> np.ndarray:
    """Return `count` random affine maps from new to old pixel positions, (count, 2, 3) float64, around the centre."""

    def spread(limit: float) -> np.ndarray:
        return rng.uniform(-limit, limit, count)

    angle, scale = np.deg2rad(spread(config.rotation)), np.exp(spread(config.scale))
    stretch, shear = np.exp(spread(config.stretch) / 2), spread(config.shear)
    cosine, sine = np.cos(angle) / scale, np.sin(angle) / scale
    linear = np.empty((count, 2, 2))
    linear[:, 0, 0], linear[:, 0, 1] = cosine * stretch, (sine + shear * cosine) * stretch
    linear[:, 1, 0], linear[:, 1, 1] = -sine / stretch, (cosine - shear * sine) / stretch
    centre = np.full(2, CENTRE - 0.5)  # OpenCV counts from the middle of pixel 0
    shift = np.stack([spread(config.shift), spread(config.shift)], axis=1)
    offset = centre - np.einsum("nij,nj->ni", linear, centre + shift)
    return np.concatenate([linear, offset[:, :, np.newaxis]], axis=2)


def _fill_box(matrices: np.ndarray, images: np.ndarray, rng: np.random.Generator, *, probability: float) -> None:
    """Narrow some of the maps horizontally, in place, so that a narrow digit becomes as wide as it is high."""
    centre = CENTRE - 0.5
    for index in np.flatnonzero(rng.random(len(images)) < probability):
        columns = np.flatnonzero(images[index].max(axis=0) > 0.1)
        width = columns[-1] - columns[0] + 1 if len(columns) else BOX_SIZE
        narrow = np.clip(width / BOX_SIZE, 0.25, 1)  # beyond a factor of four, a stem becomes a wall
        middle = (columns[0] + columns[-1]) / 2 if len(columns) else centre
        matrices[index, 0] *= narrow
        matrices[index, 0, 2] += middle - narrow * centre


def elastic_fields(count: int, rng: np.random.Generator, *, strength: float) -> np.ndarray:
    """Return smooth random displacements, (count, 2, 28, 28) float32, with deviations of about `strength` pixels."""
    coarse = rng.normal(0, strength, (count, 5, 5, 2)).astype(np.float32)
    size = (IMAGE_SIZE, IMAGE_SIZE)
    fields = [cv2.resize(field, size, interpolation=cv2.INTER_CUBIC) for field in coarse]
    return np.ascontiguousarray(np.moveaxis(np.stack(fields), 3, 1)) if fields else np.zeros((0, 2, *size), np.float32)


_GRID_X, _GRID_Y = np.meshgrid(np.arange(IMAGE_SIZE, dtype=np.float32), np.arange(IMAGE_SIZE, dtype=np.float32))


def _affine_grid(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a = matrix.astype(np.float32)
    x = a[0, 0] * _GRID_X + a[0, 1] * _GRID_Y + a[0, 2]
    return x, a[1, 0] * _GRID_X + a[1, 1] * _GRID_Y + a[1, 2]


def _change_pens(images: np.ndarray, rng: np.random.Generator, *, probability: float) -> None:
    """Thin or thicken the ink of some images, in place, by blending with their erosion or dilation."""
    kernel = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    for index in np.flatnonzero(rng.random(len(images)) < probability):
        amount = rng.uniform(-0.7, 1.0)  # less for thinning: a pen of one pixel must not vanish
        changed = (cv2.erode if amount < 0 else cv2.dilate)(images[index], kernel)
        images[index] += abs(amount) * (changed - images[index])
