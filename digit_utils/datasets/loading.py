"""Loads the handwritten digits that this project trains on and evaluates with.

| name | what | training / validation / test |
|---|---|---|
| `mnist` | scans of forms and school tests, 28x28 pixels | 55,000 / 5,000 / 10,000 |
| `pendigits` | pen strokes from a tablet, by 44 writers | 5,995 / 1,499 / 3,498 (24 / 6 / 14 writers) |
| `digits8x8` | scans, 8x8 pixels; part of scikit-learn, so they need no network | 1,197 / 300 / 300 |
| a path that ends in `.jsonl` | your own drawings, labelled on the pad | four of five / every fifth / none |
| another path | your own images, see `digit_utils.datasets.own_data` | four / one fifth of each class / as well |

A dataset is looked for at an explicit path, in the folder that `DIGITS_DATA_DIR` names, in the cache, and on the
network. Its content is verified by the SHA-256 of the decoded arrays, whatever the container.
"""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path

import numpy as np

from digit_utils.datasets.base import (
    DECODING_ERRORS,
    DatasetCorrupt,
    DatasetSource,
    DatasetUnavailable,
    DigitDataset,
    content_hash,
)
from digit_utils.datasets.digits8x8 import DIGITS8X8
from digit_utils.datasets.download import DownloadFailed, cache_folder, download_dataset
from digit_utils.datasets.drawings import DRAWINGS_SUFFIX, format_problems, load_own_drawings
from digit_utils.datasets.mnist import MNIST
from digit_utils.datasets.own_data import load_own_data
from digit_utils.datasets.pendigits import PENDIGITS
from digit_utils.files import with_home

SOURCES = {source.name: source for source in (MNIST, PENDIGITS, DIGITS8X8)}
# An environment variable that a sweep sets for its runs: as JSON, the content hash of each dataset that the run was
# planned with, or ABSENT. Other data raise DatasetUnavailable, and nothing takes the place of what is missing.
PLANNED_DATA, ABSENT = "DIGITS_PLANNED_DATA", "absent"


def load_dataset(
    name: str,
    *,
    path: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = True,
) -> DigitDataset:
    """Return a dataset by its name: `mnist`, `pendigits`, `digits8x8`, or the path of digits of your own.

    Args:
        name: one of the three names; a path that ends in .jsonl: drawings labelled on the pad, of which one warning
            lists the broken lines, and the rest is used; or a path of images, see `digit_utils.datasets.own_data`.
        path: the file or folder of this dataset (`mnist`: an .npz with the arrays x_train, y_train, x_test,
            y_test, or a folder with the four idx files; `pendigits`: a folder with pendigits-orig.tra.Z and
            pendigits-orig.tes.Z).
        data_dir: a folder that holds datasets; no other place is searched. If neither `path` nor `data_dir` is
            given: the folder that `DIGITS_DATA_DIR` names, the cache, the network.
        download: False forbids the network.

    Raises:
        ValueError: there is no dataset of this name.
        FileNotFoundError: `path` does not exist or does not hold the files.
        DatasetUnavailable: the dataset was not found and could not be downloaded.
        DatasetCorrupt: what was found at `path`, in `data_dir` or in `DIGITS_DATA_DIR` is not this dataset; a file
            of drawings holds none that can be read.
        ModuleNotFoundError: a package of the `train` extra is needed and missing.
    """
    if name.endswith(DRAWINGS_SUFFIX):
        if path:
            raise ValueError(f"{name} is a path itself, but path={str(path)!r} was given, too")
        dataset, problems = load_own_drawings(name)
        if problems:
            warnings.warn(format_problems(problems), stacklevel=2)
        return dataset
    if name not in SOURCES and _is_path(name):
        return load_own_data(name)
    if name not in SOURCES:
        known = ", ".join(SOURCES)
        message = f"there is no dataset named {name!r}; known are {known}, and paths of your own digits"
        raise ValueError(message)
    source = SOURCES[name]
    arrays = obtain(source, path=path, data_dir=data_dir, download=download)
    return DigitDataset(name, *source.split(arrays), source.sha256, source.licence, source.citation)


def _is_path(name: str) -> bool:
    path = Path(name)
    return path.suffix in (".csv", ".npz") or path.name != name or path.exists()


def load_with_fallback(
    name: str,
    *,
    fallback: str | None = "digits8x8",
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = True,
) -> DigitDataset | None:
    """Return the dataset; if it is unavailable, print why and return the `fallback` (None: return None).

    This is for notebooks, which should run offline too. In a run of a sweep there is no fallback. Damaged files and
    unknown names raise as in `load_dataset`.
    """
    try:
        return load_dataset(name, data_dir=data_dir, download=download)
    except DatasetUnavailable as reason:
        if fallback is not None and PLANNED_DATA in os.environ:
            raise
        print(reason)
    if fallback is None:
        return None
    print(f"Using {fallback} instead: figures and images will differ from the text.")
    return load_dataset(fallback)


def obtain(
    source: DatasetSource,
    *,
    path: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = True,
) -> list[np.ndarray]:
    """Return the verified arrays of a dataset from the first place that has it; see `load_dataset`."""
    try:
        arrays = _obtain(source, path=path, data_dir=data_dir, download=download)
    except DatasetUnavailable as error:
        _check_planned(source.name, ABSENT, error)
        raise
    _check_planned(source.name, source.sha256)
    return arrays


def _check_planned(name: str, found: str, reason: object = "") -> None:
    """Raise ValueError in a run of a sweep that was planned with other data than are found."""
    planned = json.loads(os.environ.get(PLANNED_DATA, "{}")).get(name, found)
    if planned != found:
        raise ValueError(
            f"this run was planned {'without' if planned == ABSENT else 'with'} {name}, but this machine has "
            f"{'none' if found == ABSENT else 'it' if planned == ABSENT else 'another'}; "
            f"give all machines of a sweep the same data. {reason}".strip()
        )


def _obtain(
    source: DatasetSource,
    *,
    path: str | os.PathLike[str] | None,
    data_dir: str | os.PathLike[str] | None,
    download: bool,
) -> list[np.ndarray]:
    if source.find is None:
        if path:
            raise ValueError(f"{source.name} is {source.files}, which has no path, but path={str(path)!r} was given")
        return _read_verified(source, Path(source.files))
    if path:
        return _read_verified(source, _explicit_place(source, with_home(path)))
    if data_dir:
        place = source.find(with_home(data_dir))
        if place is None:
            raise DatasetUnavailable(f"the data folder {data_dir} does not hold {source.name} ({source.files})")
        return _read_verified(source, place)
    environment_folder = os.environ.get("DIGITS_DATA_DIR")
    if environment_folder:
        place = source.find(with_home(environment_folder))
        if place is not None:
            return _read_verified(source, place)
    if not source.mirrors:
        raise DatasetUnavailable(_remedies(source, "it is never downloaded"))
    return _obtain_from_cache(source, download=download)


def _explicit_place(source: DatasetSource, path: Path) -> Path:
    """Check that a path given by the user exists and, if it is a folder, has the files."""
    if not path.exists():
        raise FileNotFoundError(f"{path}, given as the path of {source.name}, does not exist")
    if path.is_file():
        return path
    place = source.find(path)
    if place is None:
        raise FileNotFoundError(f"the folder {path} does not hold {source.name} ({source.files})")
    return place


def _obtain_from_cache(source: DatasetSource, *, download: bool) -> list[np.ndarray]:
    """Read the dataset from the cache; if it is missing or damaged there, download it."""
    cached = source.find(cache_folder() / source.name)
    if cached is not None:
        try:
            return _read_verified(source, cached)
        except DatasetCorrupt as damage:
            if not download:
                raise
            warnings.warn(f"downloading the damaged copy in the cache again: {damage}", stacklevel=4)
    if not download:
        raise DatasetUnavailable(_remedies(source, "downloading was forbidden"))
    try:
        return download_dataset(source, read=lambda folder: _read_folder(source, folder))
    except DownloadFailed as failure:
        raise DatasetUnavailable(_remedies(source, str(failure))) from None


def _read_folder(source: DatasetSource, folder: Path) -> list[np.ndarray]:
    place = source.find(folder)
    if place is None:
        raise DatasetCorrupt(f"the download does not hold {source.files}")
    return _read_verified(source, place)


def _remedies(source: DatasetSource, reason: str) -> str:
    return (
        f"{source.name} is not on this machine and could not be downloaded ({reason}): "
        f"pass its location as path=..., or set DIGITS_DATA_DIR to a folder with it ({source.files}), "
        "or connect to the network and try again."
    )


def _read_verified(source: DatasetSource, place: Path) -> list[np.ndarray]:
    """Read a dataset and compare its content with what was published.

    Raises DatasetCorrupt when it cannot be read, or has other content.
    """
    expected = f"expected {source.name} with the content sha256 {source.sha256}"
    try:
        arrays = source.read(place)
    except DECODING_ERRORS as error:
        raise DatasetCorrupt(f"{place} cannot be read: {error} ({expected})") from error
    found = content_hash(arrays)
    if found != source.sha256:
        shapes = ", ".join(str(array.shape) for array in arrays)
        raise DatasetCorrupt(f"{place} holds other data: {expected}, found {found} (arrays of shape {shapes})")
    return arrays
