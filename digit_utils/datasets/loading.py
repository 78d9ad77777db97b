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

import os
import warnings
from pathlib import Path

import numpy as np

from digit_utils.datasets.base import DAMAGE, DatasetCorrupt, DatasetUnavailable, DigitDataset, Kind, content_hash
from digit_utils.datasets.digits8x8 import load_digits8x8
from digit_utils.datasets.download import DownloadFailed, cache_folder, download_dataset
from digit_utils.datasets.drawings import ENDING, load_own_drawings, told
from digit_utils.datasets.mnist import find_mnist, read_mnist, split_mnist
from digit_utils.datasets.pendigits import find_pendigits, read_pendigits, split_pendigits
from digit_utils.files import with_home


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
        return load_digits8x8()
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


# ------------------------------------------------------------------------------------------------------------
# Finding and verifying


def _obtain(
    kind: Kind,
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


def _explicit_place(kind: Kind, path: Path) -> Path:
    """Check that a path given by the user exists and, if it is a folder, has the files."""
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}, which was given as the path of {kind.name}")
    if path.is_file():
        return path
    place = kind.find(path)
    if place is None:
        raise FileNotFoundError(f"the folder {path} does not hold {kind.name} ({kind.description})")
    return place


def _obtain_from_cache(kind: Kind, *, download: bool) -> list[np.ndarray]:
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


def _read_downloaded(kind: Kind, folder: Path) -> list[np.ndarray]:
    place = kind.find(folder)
    if place is None:
        raise DatasetCorrupt(f"the download does not hold {kind.description}")
    return _read_verified(kind, place)


def _ways_out(kind: Kind, reason: str) -> str:
    return (
        f"{kind.name} is not on this machine and could not be downloaded ({reason}): "
        f"give its place as path=..., or set DIGITS_DATA_DIR to a folder with it ({kind.description}), "
        "or connect to the network and try again."
    )


def _read_verified(kind: Kind, place: Path) -> list[np.ndarray]:
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
# The table of datasets

_KINDS = {
    "mnist": Kind(
        name="mnist",
        description="mnist.npz with x_train, y_train, x_test, y_test, or the four idx files such as "
        "train-images-idx3-ubyte.gz",
        sha256="52cd6c10ae77107af32269dd9d10ca19c1b749e83235a0c75e2f0729ebeaf141",
        licence="CC BY-SA 3.0",
        source="Y. LeCun, C. Cortes, C. J. C. Burges: The MNIST database of handwritten digits, "
        "http://yann.lecun.com/exdb/mnist/; cite Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: Gradient-based "
        "learning applied to document recognition, Proceedings of the IEEE 86 (1998) 2278-2324",
        find=find_mnist,
        read=read_mnist,
        split=split_mnist,
    ),
    "pendigits": Kind(
        name="pendigits",
        description="pendigits-orig.tra.Z and pendigits-orig.tes.Z",
        sha256="c19bc85259d4b7c2eb3e439621b8e47262e957e082278a8cabaa7de39ae8ed65",
        licence="CC BY 4.0",
        source="E. Alpaydin, F. Alimoglu: Pen-Based Recognition of Handwritten Digits, UCI Machine Learning "
        "Repository, 1996, https://doi.org/10.24432/C5MG6K",
        find=find_pendigits,
        read=read_pendigits,
        split=split_pendigits,
    ),
}
