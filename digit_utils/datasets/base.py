"""What a dataset is: digits in one fixed split, verified by a hash of their content, and where they come from."""

from __future__ import annotations

import gzip
import hashlib
import importlib
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

import numpy as np

from digit_utils.types import NUM_CLASSES, Strokes

# What decoders raise on a damaged file. A missing file or missing permission stays an OSError.
DECODING_ERRORS = (
    *(ValueError, LookupError, EOFError, MemoryError, NotImplementedError),
    *(zlib.error, zipfile.BadZipFile, gzip.BadGzipFile),
)


class DatasetUnavailable(RuntimeError):  # noqa: N818 (reads well where it is caught)
    """The dataset is not on this machine and cannot be downloaded."""


class DatasetCorrupt(ValueError):  # noqa: N818
    """A file does not hold the expected data; the message names the file, what was expected and what was found."""


@dataclass(frozen=True, eq=False)
class Digits:
    """One split of a dataset: n digits as images or as strokes."""

    labels: np.ndarray  # (n,) int64 in 0..9
    images: np.ndarray | None = None  # (n, height, width) uint8; (n,) of such arrays where sizes differ; None: strokes
    strokes: tuple[Strokes, ...] | None = None  # n lists of (k, 2) float32, x right, y down; None for images
    writers: np.ndarray | None = None  # (n,) int64, one number per person; None if unknown

    def __post_init__(self) -> None:
        for name in ("images", "strokes", "writers"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.labels):
                raise ValueError(f"there are {len(self.labels)} labels, but {len(values)} {name}")

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Sequence[int] | np.ndarray | slice) -> Digits:
        """Return the digits at `indices`: integers, a mask of n booleans, or a slice.

        Raises IndexError when an index is out of range.
        """
        chosen = np.atleast_1d(np.arange(len(self))[indices])
        return Digits(
            labels=self.labels[chosen],
            images=None if self.images is None else self.images[chosen],
            strokes=None if self.strokes is None else tuple(self.strokes[index] for index in chosen),
            writers=None if self.writers is None else self.writers[chosen],
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
class RemoteFile:
    """A file that a mirror offers."""

    url: str
    known_hash: str | None = None  # "sha256:..." or "md5:..."; None for a zip, whose content is verified once unpacked

    @property
    def name(self) -> str:
        """The last part of the URL, which is also the file's name in the cache."""
        return urlsplit(self.url).path.rpartition("/")[2]

    @property
    def host(self) -> str:
        """The server's name, for messages."""
        return urlsplit(self.url).hostname or self.url


@dataclass(frozen=True)
class DatasetSource:
    """Where a dataset comes from, and how it is read, verified and split."""

    name: str
    files: str  # which files to look for, for messages
    sha256: str  # of the arrays that `read` returns, see `content_hash`
    read: Callable[[Path], list[np.ndarray]]  # takes the file or folder that `find` returns
    licence: str
    citation: str
    find: Callable[[Path], Path | None] | None = None  # looks for the data in a folder; None: a package brings it
    split: Callable[[list[np.ndarray]], tuple[Digits, Digits, Digits]] | None = None  # None: it holds no digits
    mirrors: tuple[tuple[RemoteFile, ...], ...] = ()  # each a complete set of files; none: it is never downloaded


def require(module: str, purpose: str) -> ModuleType:
    """Import a module that only the `train` extra installs.

    Raises ModuleNotFoundError, which says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{purpose} needs the package {module}, which is not installed: run pip install 'digit-utils[train]'",
            name=module,
        ) from error


def content_hash(arrays: Sequence[np.ndarray]) -> str:
    """Return the SHA-256 of the types, shapes and values of arrays, in order; the same on every machine."""
    digest = hashlib.sha256()
    for array in arrays:
        portable = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        digest.update(f"{portable.dtype.str}{portable.shape}".encode())
        digest.update(portable.data)
    return digest.hexdigest()


def check_labels(labels: Sequence[int] | np.ndarray, *, source: str) -> np.ndarray:
    """Return labels as (n,) int64. Raises DatasetCorrupt, naming source and value, for other than digits."""
    found = np.asarray(labels)
    if found.ndim == 2 and found.shape[1] == NUM_CLASSES:
        raise DatasetCorrupt(f"{source}: the labels have shape {found.shape}; make digits of them with .argmax(axis=1)")
    if found.ndim != 1:
        raise DatasetCorrupt(f"{source}: the labels have shape {found.shape}; expected (n,), one for each image")
    if found.size and found.dtype.kind not in "iufb":
        raise DatasetCorrupt(f"{source}: label {found.tolist()[0]!r} is text; convert them with int()")
    wrong = np.flatnonzero(~np.isin(found, np.arange(NUM_CLASSES)))
    if wrong.size:
        raise DatasetCorrupt(f"{source}: label {found[wrong[0]]} of digit {wrong[0]} is not one of 0 to 9")
    return found.astype(np.int64)


def at_most(digits: Digits, limit: int) -> Digits:
    """Return `limit` digits in their original order, all if limit is 0, balanced over writers and their labels.

    They are taken at even steps from the set sorted by writer and label: even steps through the original order could
    be in phase with the order in which people took turns.
    """
    if not 0 < limit < len(digits):
        return digits
    writers = np.zeros(len(digits), int) if digits.writers is None else digits.writers
    by_writer_and_label = np.lexsort((digits.labels, writers))
    return digits.take(np.sort(by_writer_and_label[np.arange(limit) * len(digits) // limit]))


def joined(first: Digits, second: Digits) -> Digits:
    """Return two splits of one dataset, both of images or both of strokes, as one split without writers."""
    labels = np.concatenate([first.labels, second.labels])
    if first.images is not None:
        return Digits(labels, images=np.concatenate([first.images, second.images]))
    return Digits(labels, strokes=first.strokes + second.strokes)
