"""Rendered photos of handwriting whose ink is known: what the segmentation network is trained on.

A page is built as it comes about in reality: ink and print on paper, what lies on or beside the paper, light and
shadows, the camera. Each step changes the image, and the ink where it hides some.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from digit_utils.preprocessing.strokes import draw_lines
from digit_utils.types import Strokes


@dataclass(frozen=True)
class PageConfig:
    """How often a page has what. Probabilities; lengths are in pixels or shares of the page's side."""

    side: int = 256  # pixels
    blank: float = 0.1  # nothing is written
    lines: float = 0.4  # of written pages: lines of small characters instead of a single drawing of any size
    pen: tuple[float, float] = (0.015, 0.26)  # width of the pen, share of the drawing's height
    worn: float = 0.2  # a dry pen or a pencil
    ruled: float = 0.22
    squared: float = 0.2
    margin_line: float = 0.1
    frame: float = 0.14
    print_through: float = 0.12  # the faint print of the other side of the paper
    holes: float = 0.08
    creases: float = 0.12
    desk: float = 0.26  # beside the paper
    object: float = 0.1  # a finger, a pen or a magnet that reaches into view
    uneven_light: float = 0.8
    shadow: float = 0.35
    reflection: float = 0.12
    out_of_focus: float = 0.2
    small: float = 0.2  # few pixels, enlarged
    noise: tuple[float, float] = (0.004, 0.2)  # standard deviation, share of the ink's contrast
    thresholded: float = 0.06
    compressed: float = 0.5
    light_ink: float = 0.4


DEFAULT = PageConfig()


def random_page(
    drawings: Sequence[Strokes], rng: np.random.Generator, *, config: PageConfig = DEFAULT
) -> tuple[np.ndarray, np.ndarray]:
    """Render a page on which some of the drawings are written.

    Args:
        drawings: digits, letters and other characters, as strokes in any unit, y down.
        rng: where the randomness comes from.
        config: how often a page has what.

    Returns:
        The image, (side, side) uint8, and how much of each pixel is ink, (side, side) float32 in [0, 1].
    """
    ink = _written(drawings, rng, config) if rng.random() >= config.blank else np.zeros(2 * (config.side,), np.float32)
    contrast = rng.uniform(0.5, 0.95) if rng.random() < 0.6 else rng.uniform(0.12, 0.7)
    texture = _texture(ink, rng) if rng.random() < config.worn else 1.0
    image = rng.uniform(0.7, 1) * (1 - contrast * ink * texture) * (1 - _printed(drawings, contrast, rng, config))
    image, ink = _on_desk(*_damaged(image, ink, contrast, rng, config), rng, config)
    image, ink = _seen_by_camera(_lit(image, rng, config), ink, contrast, rng, config)
    if rng.random() < config.light_ink:
        image = 255 - image
    return image, np.clip(ink, 0, 1).astype(np.float32)


# ------------------------------------------------------------------------------------------------ ink and print


def _written(drawings: Sequence[Strokes], rng: np.random.Generator, config: PageConfig) -> np.ndarray:
    """Return ink, (side, side) float32 in [0, 1]: one drawing, which may fill the page, or lines of characters."""
    canvas, side = np.zeros(2 * (2 * config.side,), np.uint8), config.side
    if rng.random() >= config.lines:
        height = side * np.exp(rng.uniform(np.log(0.06), 0))
        pen = np.clip(height * np.exp(rng.uniform(*np.log(config.pen))), 1.0, 50)
        drawing = _fitted(_pick(drawings, rng), max(height - pen, 2), rng)
        room = side - pen - np.ptp(np.concatenate(drawing), axis=0)
        _draw(canvas, drawing, pen / 2 + rng.uniform(0, 1, 2) * room, pen)
        return _halved(canvas)
    height = side * np.exp(rng.uniform(np.log(0.05), np.log(0.35)))
    pen, gap, slope = np.clip(height * rng.uniform(0.05, 0.17), 1.0, None), rng.uniform(0.05, 0.8), rng.normal(0, 0.04)
    top = rng.uniform(-0.5, 1) * height
    while top < side:
        left = rng.uniform(-height, 0.4 * side)
        while left < side and rng.random() > 0.07:
            drawing = _fitted(_pick(drawings, rng), height * rng.uniform(0.8, 1.15), rng)
            _draw(canvas, drawing, np.array([left, top + slope * left]), pen * rng.uniform(0.9, 1.1))
            space = rng.uniform(0.5, 2) if rng.random() < 0.12 else 0
            left += np.ptp(np.concatenate(drawing)[:, 0]) + (gap + space) * height
        top += height * rng.uniform(1.2, 3)
    return _halved(canvas)


def _pick(drawings: Sequence[Strokes], rng: np.random.Generator) -> Strokes:
    return drawings[rng.integers(len(drawings))]


def _fitted(drawing: Strokes, height: float, rng: np.random.Generator) -> list[np.ndarray]:
    """Return a drawing slanted and brought to a height, or to a width where it is much wider; from (0, 0) on."""
    slant = np.array([[1, 0], [rng.uniform(-0.3, 0.3), 1]])
    strokes = [np.asarray(stroke, np.float64) @ slant for stroke in drawing]
    points = np.concatenate(strokes)
    low, size = points.min(axis=0), np.ptp(points, axis=0)
    scale = height / max(size[1], 0.8 * size[0], 1e-6)
    stretch = np.array([rng.uniform(0.8, 1.25) if scale * size[0] < height else 1.0, 1.0])
    return [(stroke - low) * scale * stretch for stroke in strokes]


def _draw(canvas: np.ndarray, drawing: Strokes, at: np.ndarray, pen: float) -> None:
    draw_lines(canvas, [2 * (stroke + at) for stroke in drawing], thickness=max(1, round(2 * pen)), smooth=True)


def _halved(canvas: np.ndarray) -> np.ndarray:
    size = (canvas.shape[1] // 2, canvas.shape[0] // 2)
    return cv2.resize(canvas, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _texture(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return which part of full ink a worn pen leaves where, (height, width) float32."""
    return np.clip(_field(ink.shape, rng, cells=int(rng.integers(20, 120)), low=0.3, high=1.4), 0.25, 1)


def _printed(
    drawings: Sequence[Strokes], contrast: float, rng: np.random.Generator, config: PageConfig
) -> np.ndarray | float:
    """Return how dark printed lines, frames and the print of the other side are, (side, side) float32 in [0, 1]."""
    side, canvas = config.side, np.zeros(2 * (2 * config.side,), np.uint8)
    angle, width = rng.normal(0, 0.05), rng.uniform(0.5, 2.3)
    spacing = side * np.exp(rng.uniform(np.log(0.03), np.log(0.35)))
    kind = rng.random()
    if kind < config.ruled + config.squared:
        for turn in (0, np.pi / 2)[: 1 if kind < config.ruled else 2]:
            _draw(canvas, _parallels(side, angle + turn, spacing, rng), np.zeros(2), width)
    if rng.random() < config.margin_line:
        x = rng.uniform(0, side)
        _draw(canvas, [np.array([[x, -5], [x + rng.normal(0, 8), side + 5]])], np.zeros(2), rng.uniform(0.6, 2.5))
    if rng.random() < config.frame:
        (left, top), (right, bottom) = rng.uniform(-0.02, 0.3, 2) * side, rng.uniform(0.65, 1.02, 2) * side
        corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom], [left, top]])
        _draw(canvas, [corners + rng.normal(0, 1.5, 2)], np.zeros(2), rng.uniform(0.7, 4))
    dark = _halved(canvas) * contrast * min(rng.uniform(0.08, 1.3), 1)
    if rng.random() < config.print_through and contrast > 0.35:
        other = _written(drawings, rng, PageConfig(side=side, lines=1.0))[:, ::-1]
        dark = np.maximum(
            dark, cv2.GaussianBlur(other, (0, 0), rng.uniform(0.5, 1.5)) * contrast * rng.uniform(0.04, 0.25)
        )
    return dark


def _parallels(side: int, angle: float, spacing: float, rng: np.random.Generator) -> list[np.ndarray]:
    """Return the lines of a ruling, across the whole page."""
    along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    ends = side * np.array([[-1.0], [1.0]]) * along + side / 2
    return [ends + across * place for place in np.arange(-side + rng.uniform(0, spacing), side, spacing)]


# ------------------------------------------------------------------------------------------- the paper in view


def _damaged(
    image: np.ndarray, ink: np.ndarray, contrast: float, rng: np.random.Generator, config: PageConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Punch holes into the paper and crease it."""
    side = config.side
    if rng.random() < config.holes:
        hole, radius = np.zeros_like(image), rng.uniform(0.02, 0.08) * side
        x = rng.choice([rng.uniform(0, 0.15), rng.uniform(0.85, 1)]) * side
        for y in np.arange(rng.uniform(0, side / 3), side, rng.uniform(0.2, 0.6) * side):
            cv2.circle(hole, (int(x), int(y)), int(radius), 1, cv2.FILLED, cv2.LINE_AA)
        image, ink = image * (1 - hole) + hole * rng.uniform(0.02, 0.5), ink * (1 - hole)
    for _ in range(rng.integers(1, 3) if rng.random() < config.creases else 0):
        distance = _distance_to_line(side, rng, angle=rng.integers(2) * np.pi / 2 + rng.normal(0, 0.1), bend=2)
        depth, width = contrast * rng.uniform(0.05, 1), rng.uniform(0.7, 2.5)
        image = image * (1 - depth * np.exp(-((distance / width) ** 2)))
        image = image * (1 + rng.uniform(-0.08, 0.08) * np.sign(distance) * np.exp(-np.abs(distance) / 30))
    return image, ink


def _distance_to_line(side: int, rng: np.random.Generator, *, angle: float, bend: float) -> np.ndarray:
    """Return the signed distance of each pixel to a line through the page, (side, side) float32."""
    down, right = np.mgrid[:side, :side].astype(np.float32)
    place = rng.uniform(0.05, 0.95, 2) * side
    wave = rng.uniform(0, bend) * np.sin((down + right) / rng.uniform(8, 60))
    return ((right - place[0]) * np.sin(angle) + (down - place[1]) * np.cos(angle) + wave).astype(np.float32)


def _on_desk(
    image: np.ndarray, ink: np.ndarray, rng: np.random.Generator, config: PageConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Show a desk beyond up to three edges of the paper, and objects that reach into view."""
    side = config.side
    if rng.random() < config.desk:
        inset = np.exp(rng.uniform(np.log(0.004), np.log(0.28), 4)) * (rng.permutation(4) < rng.integers(1, 5))
        left, top, right, bottom = np.where(inset > 0, inset, -2.0) * side
        corners = np.array([[left, top], [side - right, top], [side - right, side - bottom], [left, side - bottom]])
        turn, middle = cv2.getRotationMatrix2D((0, 0), rng.normal(0, 6) * rng.integers(2), 1)[:, :2], side / 2
        paper = np.zeros_like(image, np.uint8)
        corners = (corners - middle) @ turn.T + middle + rng.normal(0, 2, (4, 2))
        cv2.fillPoly(paper, [np.int32(np.round(corners * 16))], 1, shift=4)
        paper = paper.astype(np.float32)
        shade = 1 - rng.uniform(0, 0.6) * cv2.GaussianBlur(paper, (0, 0), rng.uniform(1, 9))
        image, ink = np.where(paper > 0, image, _desk(side, rng) * shade), ink * paper
    if rng.random() < config.object:
        angle, mask = rng.uniform(0, 2 * np.pi), np.zeros_like(image)
        at = side * (0.5 + rng.uniform(0.4, 0.75) * np.array([np.cos(angle), np.sin(angle)]))
        axes = side * rng.uniform([0.08, 0.05], [0.5, 0.25])
        cv2.ellipse(
            mask, at.astype(int).tolist(), axes.astype(int).tolist(), rng.uniform(0, 180), 0, 360, 1, cv2.FILLED
        )
        mask = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.5, 3))
        image, ink = image * (1 - mask) + mask * rng.uniform(0.03, 0.9), ink * (1 - mask)
    return image, ink


def _desk(side: int, rng: np.random.Generator) -> np.ndarray:
    """Return a plain, grained, striped or checked surface: (side, side) float32."""
    down, right = np.mgrid[:side, :side].astype(np.float32)
    kind, pattern = rng.integers(4), np.zeros((side, side), np.float32)
    if kind == 1:  # wood
        pattern += cv2.GaussianBlur(rng.standard_normal((side, 1), np.float32), (1, 9), rng.uniform(0.3, 4))
    elif kind >= 2:
        periods = rng.uniform(2, 12, 2)
        pattern += np.sign(np.sin(right / periods[0]) * (np.sin(down / periods[1]) if kind == 2 else 1))
    pattern = pattern if rng.random() < 0.5 else pattern.T
    return rng.uniform(0.03, 1.1) * (1 + rng.uniform(0.02, 0.4) * pattern) + _noise(
        (side, side), rng, rng.uniform(0, 0.05)
    )


# ------------------------------------------------------------------------------------------ light and camera


def _lit(image: np.ndarray, rng: np.random.Generator, config: PageConfig) -> np.ndarray:
    """Return the image under uneven light, shadows and a lamp's reflection."""
    side = config.side
    if rng.random() < config.uneven_light:
        darkest = rng.uniform(0.2 if rng.random() < 0.2 else 0.5, 1)
        image = image * _field(image.shape, rng, cells=int(rng.integers(2, 4)), low=darkest, high=1.05)
    for _ in range(rng.integers(1, 3) if rng.random() < config.shadow else 0):
        distance = _distance_to_line(side, rng, angle=rng.uniform(0, 2 * np.pi), bend=8)
        if rng.random() < 0.4:  # of a phone or an arm: a strip, which may end
            distance = np.abs(distance) - rng.uniform(0.03, 0.25) * side
            if rng.random() < 0.5:
                distance = np.maximum(distance, _distance_to_line(side, rng, angle=rng.uniform(0, 2 * np.pi), bend=0))
        softness = np.exp(rng.uniform(np.log(0.3), np.log(0.2 * side)))
        image = image * (1 - rng.uniform(0.1, 0.6) / (1 + np.exp(np.clip(distance / softness, -30, 30))))
    if rng.random() < config.reflection:
        spot, at = np.zeros_like(image), rng.integers(0, side, 2).tolist()
        axes = (side * rng.uniform(0.04, 0.35, 2)).astype(int).tolist()
        cv2.ellipse(spot, at, axes, rng.uniform(0, 180), 0, 360, 1, cv2.FILLED)
        spot = np.clip(1.5 * cv2.GaussianBlur(spot, (0, 0), rng.uniform(3, 20)), 0, 1) * rng.uniform(0.2, 1)
        image = image + spot * (rng.uniform(0.9, 1.1) - image) if rng.random() < 0.5 else image + 0.5 * spot
    return image


def _seen_by_camera(
    image: np.ndarray, ink: np.ndarray, contrast: float, rng: np.random.Generator, config: PageConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Return the image in grey levels, uint8, with a camera's blur, noise and compression, and the ink, blurred."""
    blur, pen = rng.uniform(0.3, 1.1), 2 * cv2.distanceTransform((ink > 0.5).astype(np.uint8), cv2.DIST_L2, 3).max()
    image, ink = (cv2.GaussianBlur(layer, (0, 0), blur) for layer in (image, ink))
    if rng.random() < config.out_of_focus:  # by as much as the pen allows; the ink stays sharp
        image = cv2.GaussianBlur(image, (0, 0), 0.1 + pen * rng.uniform(0, 0.7))
    exposure, gamma = rng.uniform(0.55, 1.1), rng.uniform(0.75, 1.35)
    noise = contrast * exposure * np.exp(rng.uniform(*np.log(config.noise)))
    if rng.random() < config.small:
        factor = rng.uniform(1.3, np.clip(pen, 1.5, 5))
        image, ink = (_reduced(layer, factor) for layer in (image, ink))
        image = image + _noise(image.shape, rng, noise / exposure / 2)
        image, ink = (cv2.resize(layer, 2 * (config.side,), interpolation=cv2.INTER_CUBIC) for layer in (image, ink))
        noise = 0
    image = np.clip(image * exposure, 0, 1) ** gamma
    levels = np.clip(255 * (image + _noise(image.shape, rng, noise)), 0, 255).astype(np.uint8)
    if rng.random() < config.thresholded:
        levels = cv2.threshold(levels, 0, 255, cv2.THRESH_OTSU)[1]
    if rng.random() < config.compressed:
        quality = int(rng.integers(12, 95))
        levels = cv2.imdecode(
            cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_GRAYSCALE
        )
    return levels, ink


def _reduced(layer: np.ndarray, factor: float) -> np.ndarray:
    return cv2.resize(layer, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)


def _noise(shape: tuple[int, int], rng: np.random.Generator, deviation: float) -> np.ndarray:
    """Return noise of a standard deviation, fine or with some coarser grain in it: (height, width) float32."""
    noise = rng.standard_normal(shape, np.float32)
    if rng.random() < 0.5:
        coarse = rng.standard_normal([length // 3 + 1 for length in shape], np.float32)
        noise = 0.7 * noise + 0.7 * cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_LINEAR)
    return deviation * noise


def _field(shape: tuple[int, int], rng: np.random.Generator, *, cells: int, low: float, high: float) -> np.ndarray:
    """Return values that vary smoothly from cell to cell, (height, width) float32."""
    values = rng.uniform(low, high, (cells, cells)).astype(np.float32)
    return cv2.resize(values, shape[::-1], interpolation=cv2.INTER_CUBIC)
