"""The strip "how it sees": a drawing's strokes, the network's input, feature maps of two layers, and ten bars.

Its pictures are CSS variables, which come in the message that moves the bars: the strip costs no message of its own,
and nothing at all while it is folded away.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from digit_utils.pad.state import smooth_path
from digit_utils.pad.view import columns_html, png_url
from digit_utils.types import IMAGE_SIZE

SIDE = 4 * IMAGE_SIZE  # pixels of the picture of strokes
GAP = 1  # pixels between feature maps
GAP_LEVEL = 0.25  # of their lightness


def strip_html(layers: Sequence[np.ndarray]) -> str:
    """Return the strip for a network with these feature maps, (height, width, channels) each, still without pictures.

    The first and the last layer are shown; none where nothing is known of layers.
    """
    steps = [("drawing", "Strokes", "The strokes"), ("input", "Network input", "28 by 28 pixels of ink")]
    for name, maps in zip(("first", "last"), layers[:: max(1, len(layers) - 1)], strict=False):
        height, width, count = maps.shape
        words = f"{name.capitalize()} layer: {count} maps"
        steps.append((name, words, f"{words} of {width} by {height} pixels, light where a filter responds"))
    tiles = "".join(
        f'<li class="digit-pad-step-{name}"><div role="img" aria-label="{description}" '
        f'style="background-image:var(--step-{name})"></div>{words}</li>'
        for name, words, description in steps
    )
    return f'<ol class="digit-pad-steps">{tiles}<li class="digit-pad-step-bars">{columns_html()}Probabilities</li></ol>'


def rules_of(drawing: np.ndarray, image: np.ndarray, layers: Sequence[np.ndarray]) -> str:
    """Return the CSS variables of the strip's pictures: of the drawing, [0, 1], the network's input and its layers."""
    pictures = {"drawing": drawing, "input": image}
    if len(layers):
        pictures |= {"first": mosaic(layers[0]), "last": mosaic(layers[-1])}
    return ";".join(f"--step-{name}:url({png_url(picture)})" for name, picture in pictures.items())


def picture_of_strokes(strokes: Sequence[np.ndarray]) -> np.ndarray:
    """Return strokes, (n, 2) each, as thin light lines that fill a dark square, each with a dot where it begins."""
    points = np.concatenate(strokes)
    low, high = points.min(axis=0), points.max(axis=0)
    scale = 0.8 * SIDE / max(*(high - low), 1e-9)
    picture = np.zeros((SIDE, SIDE), np.uint8)
    for stroke in strokes:
        path = np.round(16 * (SIDE / 2 + scale * (smooth_path(stroke) - (low + high) / 2))).astype(np.int32)
        cv2.polylines(picture, [path], False, 190, 2, cv2.LINE_AA, shift=4)
        cv2.circle(picture, path[0].tolist(), 16 * 4, 255, -1, cv2.LINE_AA, shift=4)
    return picture / 255


def mosaic(maps: np.ndarray) -> np.ndarray:
    """Return a layer's feature maps, (height, width, channels), side by side in one picture, with values in [0, 1].

    It is about twice as wide as it is high. The largest 1 % of all values are 1, or a single one would darken the rest.
    """
    height, width, count = maps.shape
    columns = int(np.ceil(np.sqrt(2 * count)))
    rows = -(-count // columns)
    levels = np.zeros((height, width, rows * columns), np.float32)
    levels[..., :count] = np.clip(maps / max(float(np.quantile(maps, 0.99)), 1e-9), 0, 1)
    framed = np.pad(levels, ((0, GAP), (0, GAP), (0, 0)), constant_values=GAP_LEVEL)
    cells = framed.reshape(height + GAP, width + GAP, rows, columns)
    return cells.transpose(2, 0, 3, 1).reshape(rows * (height + GAP), columns * (width + GAP))
