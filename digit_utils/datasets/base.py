"""What a dataset is here: digits in one fixed split, verified by the hash of their content."""

from __future__ import annotations

import gzip
import hashlib
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from digit_utils.types import Strokes

# Whatever a damaged archive makes the decoders raise. Missing files and rights stay what they are.
DAMAGE = (
    *(ValueError, LookupError, EOFError, MemoryError, NotImplementedError),
    *(zlib.error, zipfile.BadZipFile, gzip.BadGzipFile),
)


class DatasetUnavailable(RuntimeError):  # noqa: N818 (reads well where it is caught)
    """The dataset is neither on this machine nor to be had from the network."""


class DatasetCorrupt(ValueError):  # noqa: N818
    """A file holds something else than it should; the message names it, what was expected, what was found."""


@dataclass(frozen=True, eq=False)
class Digits:
    """One split of a dataset: n digits as pictures or as strokes."""

    labels: np.ndarray  # (n,) int64 in 0..9
    images: np.ndarray | None = None  # (n, height, width) uint8, light ink on dark; None for strokes
    strokes: tuple[Strokes, ...] | None = None  # n lists of (k, 2) float32, x right, y down; None for pictures
    writers: np.ndarray | None = None  # (n,) int64, one number per person; None where not known

    def __post_init__(self) -> None:
        for name in ("images", "strokes", "writers"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.labels):
                raise ValueError(f"there are {len(self.labels)} labels, but {len(values)} {name}")

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Sequence[int] | np.ndarray | slice) -> Digits:
        """Return the digits at these places; `indices` are whole numbers, a mask of n booleans, or a slice.

        Raises:
            IndexError: there is no digit at one of the places.
        """
        places = np.atleast_1d(np.arange(len(self))[indices])
        return Digits(
            labels=self.labels[places],
            images=None if self.images is None else self.images[places],
            strokes=None if self.strokes is None else tuple(self.strokes[place] for place in places),
            writers=None if self.writers is None else self.writers[places],
        )


@dataclass(frozen=True, eq=False)
class DigitDataset:
    """A dataset in its one fixed split."""

    name: str
    train: Digits
    validation: Digits
    test: Digits
    sha256: str  # of the content, see `content_hash`
    licence: str
    source: str  # where it comes from and whom to cite


@dataclass(frozen=True)
class Kind:
    """How a dataset that lies in files is found, read, verified and split."""

    name: str
    description: str  # what to look for in a folder
    sha256: str
    licence: str
    source: str
    find: Callable[[Path], Path | None]  # the place of the data within a folder; None if it is not there
    read: Callable[[Path], list[np.ndarray]]
    split: Callable[[list[np.ndarray]], tuple[Digits, Digits, Digits]]


def content_hash(arrays: Sequence[np.ndarray]) -> str:
    """Return the SHA-256 over type, shape and content of arrays, in order, the same on every machine."""
    digest = hashlib.sha256()
    for array in arrays:
        portable = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        digest.update(f"{portable.dtype.str}{portable.shape}".encode())
        digest.update(portable.data)
    return digest.hexdigest()


# -------------------------------------------------------------------------------- which digits, and whose


def at_most(digits: Digits, limit: int) -> Digits:
    """Return `limit` digits, in their order; all where limit is 0. Each writer and each of their digits keeps a share.

    They are picked evenly from the set as sorted by writer and label: an even step through the original order could
    fall in step with the order in which people took turns.
    """
    if not 0 < limit < len(digits):
        return digits
    writers = np.zeros(len(digits), int) if digits.writers is None else digits.writers
    by_writer_and_label = np.lexsort((digits.labels, writers))
    return digits.take(np.sort(by_writer_and_label[np.arange(limit) * len(digits) // limit]))


def joined(first: Digits, second: Digits) -> Digits:
    """Return the drawings of two splits as one."""
    return Digits(np.concatenate([first.labels, second.labels]), strokes=first.strokes + second.strokes)
