"""Synthetic scans, canvases and photos of strokes."""

import cv2
import numpy as np

from digit_utils.preprocessing.strokes import clean_strokes, draw_lines, fit_to_box
from digit_utils.types import Strokes


def photograph(strokes: Strokes, rng: np.random.Generator) -> np.ndarray:
    """Return strokes as a scanner, a canvas or a camera might show them: small or large, thin or thick, degraded.

    Args:
        strokes: list of (n, 2) arrays of numbers, any unit, at least one point in all.
        rng: where the randomness comes from.

    Returns:
        (height, width) uint8, sides from about 6 to 330 pixels, dark on light or light on dark.
    """
    side = int(np.exp(rng.uniform(np.log(16), np.log(140))))
    ink = _drawn_on_page(strokes, side, rng)
    kind = rng.random()
    if kind < 0.2:
        return _either_polarity(_small_scan(ink, rng), rng)
    if rng.random() < 0.5:
        ink = cv2.GaussianBlur(ink, (0, 0), float(rng.uniform(0.3, 0.012 * side + 0.5)))
    if kind < 0.4:
        return _either_polarity(_black_and_white(ink, rng), rng)
    if kind < 0.6:
        return _either_polarity((ink * rng.uniform(0.2, 1.0)).astype(np.uint8), rng)
    return _either_polarity(_on_paper(ink, rng), rng)


def photograph_of_a_blank_page(rng: np.random.Generator) -> np.ndarray:
    """Return a photo of blank paper: (height, width) uint8, sides from 16 to 200 pixels."""
    page = np.zeros(tuple(rng.integers(16, 201, 2)), np.float32)
    return _either_polarity(_on_paper(page, rng), rng)


def _drawn_on_page(strokes: Strokes, side: int, rng: np.random.Generator) -> np.ndarray:
    """Draw strokes, long side `side` pixels, with some margin: (height, width) float32 up to 255, ink light."""
    fitted = fit_to_box(clean_strokes(strokes), long_side=float(side))
    everything = np.concatenate(fitted)
    low, high = everything.min(axis=0), everything.max(axis=0)
    scale = np.ones(2)
    if rng.random() < 0.3:  # some scans are stretched to their bounding box
        scale = np.clip(side / np.maximum(high - low, 1), 1, 4)
    pen = side * np.exp(rng.uniform(np.log(0.015), np.log(0.22)))
    margin = pen / 2 + 1 + side * rng.choice([0.0, rng.uniform(0, 0.6)])
    width, height = (np.ceil((high - low) * scale + 2 * margin)).astype(int)
    page = np.zeros((height, width), np.uint8)
    draw_lines(page, [(stroke - low) * scale + margin for stroke in fitted], thickness=max(1, round(pen)), smooth=True)
    ink = page.astype(np.float32)
    if rng.random() < 0.2:  # a dry or blotchy pen, or a faint pencil
        ink *= np.clip(_cloud(page.shape, rng, cell=max(1.5, pen / 2), between=(0.3, 1.4)), 0.2, 1)
    return ink


def _small_scan(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return ink as an image of few pixels, long side 8 to 32, grey or black and white: uint8."""
    factor = rng.integers(8, 33) / max(ink.shape)
    size = np.maximum(1, np.round(factor * np.array(ink.shape[::-1]))).astype(int)
    small = cv2.resize(ink, size.tolist(), interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    if rng.random() < 0.4:
        small = 255.0 * (small > rng.uniform(60, 140))
    return small.astype(np.uint8)


def _black_and_white(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return thresholded ink, sometimes with salt-and-pepper noise: uint8."""
    black = ink > rng.uniform(40, 190)
    if rng.random() < 0.3:
        black ^= rng.random(ink.shape, np.float32) < rng.uniform(0, 0.004)
    return np.where(black, 255, 0).astype(np.uint8)


def _on_paper(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the negative of a photo of ink: ruled lines, uneven light, noise, compression; uint8, ink light."""
    shape, level, contrast = ink.shape, rng.uniform(120, 250), rng.uniform(0.2, 0.9)
    page = np.maximum(ink / 255, _ruled_lines(shape, rng)) if rng.random() < 0.3 else ink / 255
    light = level * (1 - contrast * page)
    if rng.random() < 0.6:
        light *= _cloud(shape, rng, cell=max(shape) / 1.5, between=(0.65, 1.1))
    if rng.random() < 0.25:
        light *= _shadow(shape, rng)
    if rng.random() < 0.7:
        light += level * contrast * rng.uniform(0.01, 0.1) * rng.standard_normal(shape, np.float32)
    photo = 255 - np.clip(light, 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        _, file = cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(12, 90))])
        photo = cv2.imdecode(file, cv2.IMREAD_GRAYSCALE)
    return photo


def _cloud(
    shape: tuple[int, int], rng: np.random.Generator, *, cell: float, between: tuple[float, float]
) -> np.ndarray:
    """Return a field, (height, width) float32, that varies smoothly from cell to cell: blotches, or uneven light."""
    cells = [max(2, int(np.ceil(length / cell)) + 1) for length in shape]
    field = rng.uniform(*between, cells).astype(np.float32)
    return cv2.resize(field, shape[::-1], interpolation=cv2.INTER_LINEAR)


def _ruled_lines(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Return the ruled lines or squares of a page, (height, width) float32, fainter than ink."""
    spacing = max(shape) * rng.uniform(0.12, 0.6)
    lines = np.zeros(shape, np.float32)
    strength, width = float(rng.uniform(0.05, 0.3)), max(1, round(spacing * rng.uniform(0.02, 0.06)))
    for axis in (0, 1) if rng.random() < 0.5 else (rng.integers(2),):
        for place in np.arange(rng.uniform(0, spacing), shape[axis], spacing).astype(int):
            part = slice(place, place + width)
            lines[(part, slice(None)) if axis == 0 else (slice(None), part)] = strength
    return lines


def _shadow(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Return the light beside a hand's shadow with a straight, soft edge: (height, width) float32, 1 in full light."""
    angle, depth = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.6)
    down, right = (np.linspace(-0.5, 0.5, length, dtype=np.float32) for length in shape)
    distance = np.float32(np.sin(angle)) * down[:, np.newaxis] + np.float32(np.cos(angle)) * right
    soft = (distance - np.float32(rng.uniform(-0.3, 0.3))) / np.float32(rng.uniform(0.02, 0.3))
    return 1 - np.float32(depth) * np.clip(soft + 0.5, 0, 1)


def _either_polarity(page: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return 255 - page if rng.random() < 0.5 else page
