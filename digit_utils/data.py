"""The handwritten digits that this project learns from and is measured on.

| name | what | training / validation / test |
|---|---|---|
| `mnist` | scans of forms and school tests, 28x28 pixels | 55,000 / 5,000 / 10,000 |
| `pendigits` | pen strokes from a tablet, by 44 writers | 5,995 / 1,499 / 3,498 (24 / 6 / 14 writers) |
| `digits8x8` | scans, 8x8 pixels; scikit-learn carries them, so they need no network | 1,197 / 300 / 300 |
| a path that ends in `.jsonl` | your own drawings, labelled on the pad | four of five / each fifth / none |

A dataset is looked for at an explicit path, in the folder that `DIGITS_DATA_DIR` names, in the cache, and on
the network. What is verified is the content, by the SHA-256 of the decoded arrays, whatever container it came
in.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from digit_utils.downloads import DownloadFailed, cache_folder, download_dataset, require
from digit_utils.drawings_file import ENDING, read_drawings, told
from digit_utils.files import with_home
from digit_utils.ink import Strokes
from digit_utils.unipen import parse_unipen

MNIST_TRAIN_COUNT = 55_000  # of the official training set's 60,000; the last 5,000 are the validation digits
# Whatever a damaged archive makes the decoders raise. Missing files and rights stay what they are.
DAMAGE = (
    *(ValueError, LookupError, EOFError, MemoryError, NotImplementedError),
    *(zlib.error, zipfile.BadZipFile, gzip.BadGzipFile),
)
PENDIGITS_TABLET_HEIGHT = 500.0  # tablet units: people wrote into boxes of 500 by 500
PENDIGITS_TEST_WRITER_OFFSET = 30  # the test file counts its writers from 1 again; they become 31..44
DIGITS8X8_SPLIT = (1197, 1497)  # training ends before the first, validation before the second, test at 1797


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
class _Kind:
    """How a dataset that lies in files is found, read, verified and split."""

    name: str
    description: str  # what to look for in a folder
    sha256: str
    licence: str
    source: str
    find: Callable[[Path], Path | None]  # the place of the data within a folder; None if it is not there
    read: Callable[[Path], list[np.ndarray]]
    split: Callable[[list[np.ndarray]], tuple[Digits, Digits, Digits]]


def load_dataset(
    name: str,
    *,
    path: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = True,
) -> DigitDataset:
    """Return a dataset by its name: `mnist`, `pendigits`, `digits8x8`, or the path of a file of drawings.

    Args:
        name: one of the three names, or a path that ends in .jsonl: drawings labelled on the pad. Its broken lines
            are told in one warning, and the rest is used.
        path: the file or folder of this dataset (`mnist`: an .npz with the arrays x_train, y_train, x_test,
            y_test, or a folder with the four idx files; `pendigits`: a folder with pendigits-orig.tra.Z and
            pendigits-orig.tes.Z).
        data_dir: a folder that holds datasets; it alone is looked into. If neither `path` nor `data_dir` is
            given: the folder that `DIGITS_DATA_DIR` names, the cache, the network.
        download: False forbids the network.

    Raises:
        ValueError: there is no dataset of this name.
        FileNotFoundError: `path` does not exist or does not hold the files.
        DatasetUnavailable: the dataset was found nowhere, and could not be downloaded.
        DatasetCorrupt: what was found at `path`, in `data_dir` or in `DIGITS_DATA_DIR` is not this dataset; a file
            of drawings holds none that can be read.
        ModuleNotFoundError: a package of the `train` extra is needed and missing.
    """
    if name.endswith(ENDING):
        if path:
            raise ValueError(f"{name} is a path itself, but path={str(path)!r} was given, too")
        dataset, problems = load_own_drawings(name)
        if problems:
            warnings.warn(told(problems), stacklevel=2)
        return dataset
    if name == "digits8x8":
        if path:
            raise ValueError(f"digits8x8 comes with scikit-learn and is read from no path, but path={str(path)!r}")
        return _load_digits8x8()
    if name not in _KINDS:
        known = ", ".join([*_KINDS, "digits8x8"])
        raise ValueError(f"there is no dataset named {name!r}; known are {known}, and paths that end in {ENDING}")
    kind = _KINDS[name]
    arrays = _obtain(kind, path=path, data_dir=data_dir, download=download)
    train, validation, test = kind.split(arrays)
    return DigitDataset(name, train, validation, test, kind.sha256, kind.licence, kind.source)


def load_with_fallback(
    name: str,
    *,
    fallback: str | None = "digits8x8",
    path: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = True,
) -> DigitDataset | None:
    """Return the dataset, or where it cannot be had print why and return the `fallback` (None: return None).

    This is for notebooks, which should run offline too. Damaged files and unknown names raise as in
    `load_dataset`.
    """
    try:
        return load_dataset(name, path=path, data_dir=data_dir, download=download)
    except DatasetUnavailable as reason:
        print(reason)
    if fallback is None:
        return None
    print(f"Until then {fallback} stands in for it here: numbers and pictures will differ from the text.")
    return load_dataset(fallback)


def load_own_drawings(path: str | os.PathLike[str]) -> tuple[DigitDataset, list[str]]:
    """Return the drawings of a .jsonl file as a dataset, and a sentence on each of its broken lines.

    Every fifth drawing of each digit is held out, as validation digits; there are no test digits, because so few are
    better held out once than twice: training makes no choice by them, so they are as good as test digits.

    Raises:
        FileNotFoundError: there is no such file.
        DatasetCorrupt: it holds no drawing that can be read.
    """
    drawings, problems = read_drawings(path)
    if not drawings:
        reason = "\n".join(["", told(problems)]) if problems else " yet"
        raise DatasetCorrupt(f"{path} holds no labelled drawing{reason}")
    every = Digits(
        np.array([drawing.digit for drawing in drawings], np.int64),
        strokes=tuple([stroke.astype(np.float32) for stroke in drawing.strokes] for drawing in drawings),
    )
    held_out = np.array([drawing.is_held_out for drawing in drawings])
    flat = [stroke for strokes in every.strokes for stroke in strokes]
    counts = [np.array([len(each) for each in lists], np.int64) for lists in (every.strokes, flat)]
    dataset = DigitDataset(
        name=Path(path).name,
        train=every.take(~held_out),
        validation=every.take(held_out),
        test=every.take([]),
        sha256=content_hash([every.labels, held_out, *counts, np.concatenate(flat)]),
        licence="yours",
        source=str(path),
    )
    return dataset, problems


def content_hash(arrays: Sequence[np.ndarray]) -> str:
    """Return the SHA-256 over type, shape and content of arrays, in order, the same on every machine."""
    digest = hashlib.sha256()
    for array in arrays:
        portable = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        digest.update(f"{portable.dtype.str}{portable.shape}".encode())
        digest.update(portable.data)
    return digest.hexdigest()


# ------------------------------------------------------------------------------------------------------------
# Finding and verifying


def _obtain(
    kind: _Kind,
    *,
    path: str | os.PathLike[str] | None,
    data_dir: str | os.PathLike[str] | None,
    download: bool,
) -> list[np.ndarray]:
    """Return the verified arrays of a dataset from the first place that has it."""
    if path:
        return _read_verified(kind, _explicit_place(kind, with_home(path)))
    if data_dir:
        place = kind.find(with_home(data_dir))
        if place is None:
            raise DatasetUnavailable(f"the data folder {data_dir} does not hold {kind.name} ({kind.description})")
        return _read_verified(kind, place)
    environment_folder = os.environ.get("DIGITS_DATA_DIR")
    if environment_folder:
        place = kind.find(with_home(environment_folder))
        if place is not None:
            return _read_verified(kind, place)
    return _obtain_from_cache(kind, download=download)


def _explicit_place(kind: _Kind, path: Path) -> Path:
    """Check that a path given by the user exists and, if it is a folder, has the files."""
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}, which was given as the path of {kind.name}")
    if path.is_file():
        return path
    place = kind.find(path)
    if place is None:
        raise FileNotFoundError(f"the folder {path} does not hold {kind.name} ({kind.description})")
    return place


def _obtain_from_cache(kind: _Kind, *, download: bool) -> list[np.ndarray]:
    """Read the dataset from the cache; where it is missing or damaged there, download it."""
    cached = kind.find(cache_folder() / kind.name)
    if cached is not None:
        try:
            return _read_verified(kind, cached)
        except DatasetCorrupt as damage:
            if not download:
                raise
            warnings.warn(f"the cached copy is fetched again: {damage}", stacklevel=4)
    if not download:
        raise DatasetUnavailable(_ways_out(kind, "downloading was forbidden"))
    try:
        return download_dataset(kind.name, read=lambda folder: _read_downloaded(kind, folder))
    except DownloadFailed as failure:
        raise DatasetUnavailable(_ways_out(kind, str(failure))) from None


def _read_downloaded(kind: _Kind, folder: Path) -> list[np.ndarray]:
    place = kind.find(folder)
    if place is None:
        raise DatasetCorrupt(f"the download does not hold {kind.description}")
    return _read_verified(kind, place)


def _ways_out(kind: _Kind, reason: str) -> str:
    return (
        f"{kind.name} is not on this machine and could not be downloaded ({reason}): "
        f"give its place as path=..., or set DIGITS_DATA_DIR to a folder with it ({kind.description}), "
        "or connect to the network and try again."
    )


def _read_verified(kind: _Kind, place: Path) -> list[np.ndarray]:
    """Read a dataset and compare its content with what was published.

    Raises:
        DatasetCorrupt: it cannot be read, or has other content.
    """
    expected = f"expected {kind.name} with the content sha256 {kind.sha256}"
    try:
        arrays = kind.read(place)
    except DAMAGE as error:
        raise DatasetCorrupt(f"{place} cannot be read: {error} ({expected})") from error
    found = content_hash(arrays)
    if found != kind.sha256:
        shapes = ", ".join(str(array.shape) for array in arrays)
        raise DatasetCorrupt(f"{place} holds other data: {expected}, found {found} (arrays of shape {shapes})")
    return arrays


# ------------------------------------------------------------------------------------------------------------
# MNIST

_MNIST_KEYS = ("x_train", "y_train", "x_test", "y_test")
_MNIST_IDX_STEMS = ("train-images", "train-labels", "t10k-images", "t10k-labels")


def _find_mnist(folder: Path) -> Path | None:
    """Look for mnist.npz or the four idx files, also in a folder mnist/ and where torchvision puts them."""
    for candidate in (folder, folder / "mnist", folder / "MNIST" / "raw"):
        if (candidate / "mnist.npz").is_file():
            return candidate / "mnist.npz"
        if all(_find_idx(candidate, stem) for stem in _MNIST_IDX_STEMS):
            return candidate
    return None


def _find_idx(folder: Path, stem: str) -> Path | None:
    """Find `train-images-idx3-ubyte.gz`, unpacked or not; some copies have a dot before `idx`."""
    dimensions = 3 if stem.endswith("images") else 1
    for separator in "-.":
        for ending in (".gz", ""):
            candidate = folder / f"{stem}{separator}idx{dimensions}-ubyte{ending}"
            if candidate.is_file():
                return candidate
    return None


def _read_mnist(place: Path) -> list[np.ndarray]:
    """Return training pictures and labels, test pictures and labels, all uint8, from .npz or idx files."""
    if place.is_dir():
        return [_read_idx(_find_idx(place, stem)) for stem in _MNIST_IDX_STEMS]
    with place.open("rb") as stream:
        archive = np.load(stream, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("it is no .npz archive")
        return [archive[key] for key in _MNIST_KEYS]


def _read_idx(path: Path) -> np.ndarray:
    """Read an idx file of bytes: two zeros, the type 8, the number of dimensions, the dimensions, the bytes.

    Raises:
        ValueError: the header or the length is wrong.
    """
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise ValueError(f"{path.name} does not begin like an idx file of bytes")
    header_end = 4 + 4 * content[3]
    shape = tuple(np.frombuffer(content[4:header_end], dtype=">u4").tolist())
    return np.frombuffer(content, dtype=np.uint8, offset=header_end).reshape(shape).copy()


def _split_mnist(arrays: list[np.ndarray]) -> tuple[Digits, Digits, Digits]:
    images, labels, test_images, test_labels = arrays
    official = Digits(labels.astype(np.int64), images)
    return (
        official.take(slice(None, MNIST_TRAIN_COUNT)),
        official.take(slice(MNIST_TRAIN_COUNT, None)),
        Digits(test_labels.astype(np.int64), test_images),
    )


# ------------------------------------------------------------------------------------------------------------
# pendigits


def _find_pendigits(folder: Path) -> Path | None:
    """Look for the two UNIPEN files, compressed or not."""
    for candidate in (folder, folder / "pendigits"):
        if all(_find_unipen(candidate, ending) for ending in ("tra", "tes")):
            return candidate
    return None


def _find_unipen(folder: Path, ending: str) -> Path | None:
    for name in (f"pendigits-orig.{ending}.Z", f"pendigits-orig.{ending}"):
        if (folder / name).is_file():
            return folder / name
    return None


def _read_pendigits(place: Path) -> list[np.ndarray]:
    """Return five flat arrays for the training file and five for the test file, see `_flatten_strokes`."""
    if not place.is_dir():
        raise ValueError("pendigits is a folder with two files")
    arrays = []
    for ending in ("tra", "tes"):
        path = _find_unipen(place, ending)
        try:
            arrays += _flatten_strokes(_read_text(path))
        except ValueError as error:
            raise ValueError(f"{path.name}: {error}") from error
    return arrays


def _read_text(path: Path) -> str:
    content = path.read_bytes()
    if path.suffix == ".Z":
        content = require("unlzw3", f"reading the compressed file {path.name}").unlzw(content)
    return content.decode("ascii")


def _flatten_strokes(text: str) -> list[np.ndarray]:
    """Return labels, writers and stroke counts, each (n,), points per stroke, points (all, 2) float32."""
    digits = parse_unipen(text, height=PENDIGITS_TABLET_HEIGHT)
    strokes = [stroke for digit in digits for stroke in digit.strokes]
    if any(digit.writer is None for digit in digits) or not strokes:
        raise ValueError("a digit without its writer, or no digit at all")
    return [
        np.array([digit.label for digit in digits], dtype=np.int64),
        np.array([digit.writer for digit in digits], dtype=np.int64),
        np.array([len(digit.strokes) for digit in digits], dtype=np.int64),
        np.array([len(stroke) for stroke in strokes], dtype=np.int64),
        np.concatenate(strokes),
    ]


def _assemble_strokes(flat: list[np.ndarray], *, writer_offset: int = 0) -> Digits:
    """The reverse of `_flatten_strokes`."""
    labels, writers, strokes_per_digit, points_per_stroke, points = flat
    strokes = np.split(points, np.cumsum(points_per_stroke)[:-1])
    ends = np.cumsum(strokes_per_digit)
    grouped = tuple(strokes[end - count : end] for end, count in zip(ends, strokes_per_digit, strict=True))
    return Digits(labels, strokes=grouped, writers=writers + writer_offset)


def _split_pendigits(arrays: list[np.ndarray]) -> tuple[Digits, Digits, Digits]:
    """Validate on every fifth of the 30 training writers (5, 10, ... 30): nobody's hand is in two splits."""
    official = _assemble_strokes(arrays[:5])
    is_validation = official.writers % 5 == 0
    return (
        official.take(~is_validation),
        official.take(is_validation),
        _assemble_strokes(arrays[5:], writer_offset=PENDIGITS_TEST_WRITER_OFFSET),
    )


# ------------------------------------------------------------------------------------------------------------
# The table of datasets

_KINDS = {
    "mnist": _Kind(
        name="mnist",
        description="mnist.npz with x_train, y_train, x_test, y_test, or the four idx files such as "
        "train-images-idx3-ubyte.gz",
        sha256="52cd6c10ae77107af32269dd9d10ca19c1b749e83235a0c75e2f0729ebeaf141",
        licence="CC BY-SA 3.0",
        source="Y. LeCun, C. Cortes, C. J. C. Burges: The MNIST database of handwritten digits, "
        "http://yann.lecun.com/exdb/mnist/; cite Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: Gradient-based "
        "learning applied to document recognition, Proceedings of the IEEE 86 (1998) 2278-2324",
        find=_find_mnist,
        read=_read_mnist,
        split=_split_mnist,
    ),
    "pendigits": _Kind(
        name="pendigits",
        description="pendigits-orig.tra.Z and pendigits-orig.tes.Z",
        sha256="c19bc85259d4b7c2eb3e439621b8e47262e957e082278a8cabaa7de39ae8ed65",
        licence="CC BY 4.0",
        source="E. Alpaydin, F. Alimoglu: Pen-Based Recognition of Handwritten Digits, UCI Machine Learning "
        "Repository, 1996, https://doi.org/10.24432/C5MG6K",
        find=_find_pendigits,
        read=_read_pendigits,
        split=_split_pendigits,
    ),
}


# ------------------------------------------------------------------------------------------------------------
# scikit-learn's digits

_DIGITS8X8_SHA256 = "ce89a3843c1f6a4a6a999b7b1a15784e49ad668089ffc13bf465f0847283eaa4"


def _load_digits8x8() -> DigitDataset:
    """Return scikit-learn's digits, their 17 grey levels spread over 0..255.

    Its 13 writers come one after the other, so three runs keep most of them within one split.
    """
    bunch = require("sklearn.datasets", "the dataset digits8x8").load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    labels = bunch.target.astype(np.int64)
    found = content_hash([images, labels])
    if found != _DIGITS8X8_SHA256:
        raise DatasetCorrupt(f"scikit-learn's digits: expected the content sha256 {_DIGITS8X8_SHA256}, found {found}")
    every = Digits(labels, images)
    first, second = DIGITS8X8_SPLIT
    return DigitDataset(
        name="digits8x8",
        train=every.take(slice(None, first)),
        validation=every.take(slice(first, second)),
        test=every.take(slice(second, None)),
        sha256=found,
        licence="CC BY 4.0",
        source="E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI Machine Learning "
        "Repository, 1998, https://doi.org/10.24432/C50P49 (its test part, as scikit-learn carries it)",
    )
