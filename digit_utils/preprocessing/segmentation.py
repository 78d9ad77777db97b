"""Ink segmentation: which pixels of an image are ink, whatever the page, the light and what else is in view.

A small fully convolutional network finds the ink in photos: a U-Net (Ronneberger et al., 2015), trained by
`digit_utils.training.segmentation` on rendered pages whose ink is known (`digit_utils.augmentation.pages`).
"""

import threading
from functools import cache
from importlib import resources
from pathlib import Path

import cv2
import numpy as np

from digit_utils.files import ModelFileError, read_bundle
from digit_utils.preprocessing.components import without_specks

FORMAT, MODEL_FILE_NAME, CARD_NAME = 1, "ink.tflite", "segmentation.json"
CANVAS = 384  # pixels, side of the square that the network reads at once; smaller images are padded
OVERLAP = 96  # pixels that neighbouring tiles of a larger image have in common
PHOTO_SIDE = 128  # pixels; a smaller photo is enlarged until its shorter side is as long
LEAST_DEVIATION = 4.0  # grey levels added to the standard deviation, lest the noise of a blank page be amplified
INK, SURE_INK = 0.3, 0.6  # probabilities: ink is what exceeds the first and is connected to what exceeds the second
LEAST_INK = 12  # pixels; a page with less is blank


def ink_of_photo(image: np.ndarray) -> np.ndarray | None:
    """Return how much ink each pixel of a photo holds.

    Args:
        image: (height, width) uint8, dark ink on a light page or light on dark. Large images are read in tiles of
            CANVAS pixels at full resolution; strokes should be 1 to 40 pixels wide.

    Returns:
        (height, width) float32 in [0, 1], None for a blank page. A small photo comes back enlarged.
    """
    enlarged = min(PHOTO_SIDE / min(image.shape), CANVAS / max(image.shape))
    if enlarged > 1:
        image = cv2.resize(image, None, fx=enlarged, fy=enlarged, interpolation=cv2.INTER_CUBIC)
    probability = ink_probability(image)
    inside = _connected_to(probability > SURE_INK, probability > INK)
    if np.count_nonzero(inside) < LEAST_INK:
        return None
    return without_specks(np.where(cv2.dilate(inside.view(np.uint8), np.ones((3, 3))) > 0, probability, np.float32(0)))


def ink_probability(image: np.ndarray) -> np.ndarray:
    """Return the probability that each pixel is ink: (height, width) float32, as the network estimates it."""
    standardized = standardize(image)
    height, width = image.shape
    probability = np.zeros(image.shape, np.float32)
    for top, bottom in _tiles(height):
        for left, right in _tiles(width):
            tile = _segmenter()(standardized[top : top + CANVAS, left : left + CANVAS])
            # Each tile contributes as far as the middle of what it shares with its neighbours.
            rows = slice(top and top + OVERLAP // 2, bottom)
            columns = slice(left and left + OVERLAP // 2, right)
            probability[rows, columns] = tile[rows.start - top :, columns.start - left :][
                : bottom - rows.start, : right - columns.start
            ]
    return probability


def standardize(image: np.ndarray) -> np.ndarray:
    """Return grey levels, (height, width) uint8, as float32 with mean 0 and a standard deviation of about 1."""
    levels = image.astype(np.float32)
    return (levels - levels.mean()) / (levels.std() + LEAST_DEVIATION)


def _tiles(length: int) -> list[tuple[int, int]]:
    """Return where tiles of CANVAS pixels start, at even steps, and where the next one takes over or the image ends."""
    count = 1 + max(0, int(np.ceil((length - CANVAS) / (CANVAS - OVERLAP))))
    starts = np.linspace(0, max(0, length - CANVAS), count).astype(int).tolist()
    return list(zip(starts, [start + OVERLAP // 2 for start in starts[1:]] + [length], strict=True))


def _connected_to(sure: np.ndarray, possible: np.ndarray) -> np.ndarray:
    """Return the components of a bool mask that contain something of another one (hysteresis; Canny, 1986)."""
    count, components = cv2.connectedComponents(possible.view(np.uint8), connectivity=8)
    kept = np.zeros(count, bool)
    kept[components[sure]] = True
    kept[0] = False
    return kept[components]


class _Segmenter:
    """The network in LiteRT. An interpreter is one scratch memory: a lock lets one thread in at a time."""

    def __init__(self, flatbuffer: bytes) -> None:
        from ai_edge_litert.interpreter import Interpreter  # not at import: strokes are read without it

        self._interpreter = Interpreter(model_content=flatbuffer, num_threads=1)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]
        self._lock = threading.Lock()

    def __call__(self, tile: np.ndarray) -> np.ndarray:
        """Return the ink probability of standardized grey levels, (height, width) float32, sides up to CANVAS."""
        height, width = tile.shape
        padded = cv2.copyMakeBorder(tile, 0, CANVAS - height, 0, CANVAS - width, cv2.BORDER_REPLICATE)
        with self._lock:
            self._interpreter.set_tensor(self._input, padded[np.newaxis, :, :, np.newaxis])
            self._interpreter.invoke()
            logits = self._interpreter.get_tensor(self._output)[0, :height, :width, 0]
        return 1 / (1 + np.exp(-np.clip(logits, -30, 30)))


@cache
def _segmenter() -> _Segmenter:
    """Return the bundled network, loaded once. Raises ModelFileError when its file is missing or damaged."""
    path = Path(str(resources.files("digit_utils"))) / "models" / MODEL_FILE_NAME
    flatbuffer, card = read_bundle(path, member=CARD_NAME, remedy="install digit_utils again")
    if card.get("format") != FORMAT:
        raise ModelFileError(f"the model file {path} has format {card.get('format')!r}; expected {FORMAT}")
    return _Segmenter(flatbuffer)
