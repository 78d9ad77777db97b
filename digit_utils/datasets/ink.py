"""Digits of a dataset as normalised ink, the input of the network."""

import hashlib
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from digit_utils import preprocessing
from digit_utils.datasets.base import DECODING_ERRORS, Digits, check_labels, content_hash
from digit_utils.datasets.download import cache_folder
from digit_utils.files import atomic_write
from digit_utils.preprocessing.images import ink_from_image
from digit_utils.preprocessing.strokes import ink_from_strokes
from digit_utils.types import IMAGE_SIZE

WORTH_KEEPING = 5_000  # scans, whose normalisation takes a second
ROUNDING = 0.01  # beyond [0, 1]: by so little resizing may overshoot


@dataclass(frozen=True, eq=False)
class LabelledInk:
    """Normalised ink and its labels."""

    ink: np.ndarray  # (n, 28, 28) float32 in [0, 1]
    labels: np.ndarray  # (n,) int64, 0 to 9

    def __post_init__(self) -> None:
        """Raise ValueError, which names the value, for what would otherwise be trained on silently."""
        ink, labels = np.asarray(self.ink), check_labels(self.labels, source="the labels of ink")
        if ink.ndim != 3 or ink.shape[1:] != (IMAGE_SIZE, IMAGE_SIZE):
            raise ValueError(f"ink has shape {ink.shape}; expected (n, 28, 28): make it with ink_from_image(image)")
        if len(ink) != len(labels):
            raise ValueError(f"there are {len(ink)} inks, but {len(labels)} labels")
        if ink.size and not (ink.min() >= -ROUNDING and ink.max() <= 1 + ROUNDING):
            raise ValueError(f"ink goes from {ink.min():g} to {ink.max():g}; expected 0 to 1: use ink_from_image")
        object.__setattr__(self, "ink", ink)
        object.__setattr__(self, "labels", labels)

    def __len__(self) -> int:
        return len(self.labels)


def ink_of(digits: Digits) -> LabelledInk:
    """Return the digits of a split, images or strokes, as normalised ink."""
    if digits.images is not None:
        ink = [ink_from_image(image) for image in digits.images]
    else:
        ink = [ink_from_strokes(strokes) for strokes in digits.strokes]
    shape = (-1, IMAGE_SIZE, IMAGE_SIZE)
    return LabelledInk(np.array(ink, np.float32).reshape(shape), np.asarray(digits.labels, np.int64))


def load_ink(digits: Digits, *, name: str) -> LabelledInk:
    """Return what `ink_of` returns; of many scans, from the cache if an earlier call has left it there under this name.

    Normalising MNIST takes much longer than reading it, and every run of a sweep would do it again. A file of other
    scans, code or libraries is replaced, and so is a damaged one. Nothing is kept where nothing can be written.
    """
    images = digits.images
    if images is None or images.dtype != np.uint8 or len(images) < WORTH_KEEPING:
        return ink_of(digits)
    try:
        safe_name = re.sub(r"[^\w-]+", "-", name)  # people name their own data as they like
        path = cache_folder() / f"ink-{safe_name}.npz"
    except ModuleNotFoundError:  # pooch, which comes with the training packages, knows the system's cache folder
        return ink_of(digits)
    made_of = f"{content_hash([images])} {_version()}"
    with suppress(OSError, *DECODING_ERRORS), np.load(path, allow_pickle=False) as kept:
        if str(kept["made_of"]) == made_of:
            return LabelledInk(kept["ink"], digits.labels)
    made = ink_of(digits)
    with suppress(OSError), atomic_write(path) as temporary:
        np.savez_compressed(temporary, ink=made.ink, made_of=made_of)
    return made


@cache
def _version() -> str:
    """Return a hash of the code and the versions of the libraries that make ink of images."""
    digest = hashlib.sha256(f"{cv2.__version__} {np.__version__}".encode())
    for file in sorted(Path(preprocessing.__path__[0]).glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()
