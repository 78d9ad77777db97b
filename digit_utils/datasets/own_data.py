"""Your own labelled digits: a folder per class, CSV, idx, .npz, drawings, or arrays; checked, and split by class.

| path | what it holds |
|---|---|
| a folder with subfolders named 0 to 9 | images of any kind and size, by class |
| `.csv` | one line per digit: label, then the pixels of a square image from 0 to 255, like Kaggle's MNIST |
| a folder with idx files | `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`; `t10k-...` if there is a test set |
| `.npz` | arrays x, y or x_train, y_train, and x_test, y_test if there is a test set; nothing is unpickled |
| `.jsonl` | drawings labelled on the pad |
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from digit_utils.datasets.base import (
    DECODING_ERRORS,
    DatasetCorrupt,
    DigitDataset,
    Digits,
    check_labels,
    content_hash,
)
from digit_utils.datasets.drawings import DRAWINGS_SUFFIX, format_problems, load_own_drawings
from digit_utils.datasets.mnist import read_idx_pair
from digit_utils.files import with_home
from digit_utils.preprocessing.inputs import to_grayscale
from digit_utils.types import NUM_CLASSES

HELD_OUT = 0.2  # of each class, for validation; at least one
LONGEST_SIDE = 384  # pixels; larger images are shrunk, because preprocessing looks no closer
NAMES_IN_NPZ = (("x_train", "y_train"), ("x", "y"), ("images", "labels"), ("data", "target"))
FORMATS = (
    "a folder with subfolders named 0 to 9, a .csv with label and pixels, a folder with idx files, an .npz with x and "
    "y, or a .jsonl of drawings"
)
CLASS_FOLDERS = frozenset(map(str, range(NUM_CLASSES)))


def load_own_data(path: str | os.PathLike[str]) -> DigitDataset:
    """Return labelled digits of one's own as a dataset; the module's table says what a path may hold.

    A fifth of each class is held out for validation; every fifth of the drawings in a .jsonl file. Where the
    files have no test set, these are the test split as well: so few digits are better held out once than twice, and the
    only choice that depends on them is the temperature.

    Raises:
        FileNotFoundError: there is nothing at this path.
        DatasetCorrupt: it holds no such digits: other shapes, ranges, lengths or labels, or a class with a single
            digit. The message names the file and the value.
    """
    path = with_home(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}; --data takes {FORMATS}")
    if path.suffix == DRAWINGS_SUFFIX:
        dataset, problems = load_own_drawings(path)
        if problems:
            warnings.warn(format_problems(problems), stacklevel=2)
        _check_classes(np.concatenate([dataset.train.labels, dataset.validation.labels]), str(path))
        return replace(dataset, test=dataset.validation)
    try:
        pairs = _read(path)
    except DatasetCorrupt:
        raise
    except DECODING_ERRORS as error:
        raise DatasetCorrupt(f"{path} cannot be read: {error}") from error
    return dataset_of(*pairs[0], name=path.name, source=str(path), test=pairs[1] if pairs[1:] else None)


def dataset_of(
    images: Sequence[np.ndarray] | np.ndarray,
    labels: Sequence[int] | np.ndarray,
    *,
    name: str = "mine",
    source: str = "your images",
    seed: int = 0,
    test: tuple[Sequence[np.ndarray] | np.ndarray, Sequence[int] | np.ndarray] | None = None,
) -> DigitDataset:
    """Return images and labels as a dataset; a fifth of each class, at least one, is held out for validation.

    Args:
        images: n arrays, each as `digit_utils.preprocessing.inputs.to_grayscale` takes them; sizes may differ. Floats
            may go from 0 to 1 or from 0 to 255.
        labels: n whole numbers from 0 to 9, at least two of each class that occurs, and of at least two classes.
        name: of the dataset.
        source: where it comes from, for messages.
        seed: of the split.
        test: further images and labels, for testing.

    Raises DatasetCorrupt, which names the source and the value, when they are anything else.
    """
    every = _digits(images, labels, source)
    _check_classes(every.labels, source)
    held_out = np.zeros(len(every), bool)
    rng = np.random.default_rng(seed)
    for digit in np.unique(every.labels):
        places = rng.permutation(np.flatnonzero(every.labels == digit))
        held_out[places[: max(1, round(HELD_OUT * len(places)))]] = True
    order = rng.permutation(len(every))
    validation = every.take(order[held_out[order]])
    return DigitDataset(
        name=name,
        train=every.take(order[~held_out[order]]),
        validation=validation,
        test=validation if test is None else _digits(*test, f"{source} (test)"),
        sha256=content_hash([every.labels, held_out, *every.images]),
        licence="yours",
        source=source,
    )


def check_all_classes(dataset: DigitDataset) -> None:
    """Raise DatasetCorrupt, which names the source and the classes, unless all ten digits can be learnt from it."""
    missing = sorted(set(range(NUM_CLASSES)) - set(dataset.train.labels.tolist()))
    if missing:
        names = ", ".join(map(str, missing))
        raise DatasetCorrupt(f"{dataset.source} holds no {names} to learn from; at least two of each are needed")


def _check_classes(labels: np.ndarray, source: str) -> None:
    counts = np.bincount(labels, minlength=NUM_CLASSES)
    if np.count_nonzero(counts) < 2:
        raise DatasetCorrupt(f"{source} holds {len(labels)} digits of fewer than two classes; at least two are needed")
    if 1 in counts:
        digit = int(np.flatnonzero(counts == 1)[0])
        raise DatasetCorrupt(f"{source} holds a single {digit}; at least two of each class are needed, one to validate")


def _digits(images: Sequence[np.ndarray] | np.ndarray, labels: Sequence[int] | np.ndarray, source: str) -> Digits:
    labels = check_labels(labels, source=source)
    if len(images) != len(labels):
        raise DatasetCorrupt(f"{source}: there are {len(images)} images, but {len(labels)} labels")
    if isinstance(images, np.ndarray) and images.ndim == 2:
        images = _squares(images, source)
    if isinstance(images, np.ndarray) and images.dtype.kind == "f" and images.size and images.max() > 1:
        if not (images.min() >= 0 and images.max() <= 255):
            raise DatasetCorrupt(f"{source}: the pixels go from {images.min():g} to {images.max():g}; expected 0..255")
        images = np.round(images).astype(np.uint8)
    gray = []
    for index, image in enumerate(images):
        try:
            gray.append(_shrunk(to_grayscale(image)))
        except (ValueError, TypeError) as error:
            raise DatasetCorrupt(f"{source}, image {index}: {error}") from error
    if len({image.shape for image in gray}) == 1:
        return Digits(labels, np.stack(gray))
    array = np.empty(len(gray), object)
    array[:] = gray
    return Digits(labels, array)


def _squares(rows: np.ndarray, source: str) -> np.ndarray:
    side = round(rows.shape[1] ** 0.5)
    if side < 2 or side * side != rows.shape[1]:
        raise DatasetCorrupt(f"{source}: a digit has {rows.shape[1]} pixels; expected a square, such as 784 = 28 x 28")
    return rows.reshape(-1, side, side)


def _shrunk(image: np.ndarray) -> np.ndarray:
    factor = LONGEST_SIDE / max(image.shape)
    if factor >= 1:
        return image
    size = [max(1, round(side * factor)) for side in image.shape[::-1]]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _read(path: Path) -> list[tuple[Sequence[np.ndarray] | np.ndarray, np.ndarray]]:
    """Return images and labels for training, and for testing if there are any."""
    if path.is_dir():
        return [_read_class_folders(path)] if _class_folders(path) else _read_idx_folder(path)
    if path.suffix == ".csv":
        return [_read_csv(path)]
    if path.suffix == ".npz":
        return _read_npz(path)
    raise DatasetCorrupt(f"{path} is of no known kind; --data takes {FORMATS}")


def _class_folders(folder: Path) -> list[Path]:
    inside = sorted(each for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))
    return inside if any(each.name in CLASS_FOLDERS for each in inside) else []


def _read_class_folders(folder: Path) -> tuple[list[np.ndarray], np.ndarray]:
    images, labels = [], []
    for inside in _class_folders(folder):
        if inside.name not in CLASS_FOLDERS:
            raise DatasetCorrupt(f"{folder} holds the folder {inside.name!r}; its folders must be named 0 to 9")
        for path in sorted(inside.iterdir()):
            if path.is_file() and not path.name.startswith(".") and path.name != "Thumbs.db":
                try:
                    images.append(_shrunk(to_grayscale(path)))
                except ValueError as error:
                    raise DatasetCorrupt(f"{error}, or move it out of {folder}") from error
                labels.append(int(inside.name))
    return images, np.array(labels, np.int64)


def _read_csv(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with path.open(encoding="utf-8-sig") as stream:
        first = stream.readline().split(",")
    header = not all(cell.strip().replace(".", "", 1).isdigit() for cell in first)
    if header and first[0].strip().strip('"').lower() not in ("label", "digit", "class", "y", "target"):
        raise DatasetCorrupt(
            f"{path}: the first column is {first[0].strip()!r}; expected label, then the pixels, as Kaggle has MNIST"
        )
    rows = np.loadtxt(path, delimiter=",", skiprows=int(header), dtype=np.float32, ndmin=2, encoding="utf-8-sig")
    return _squares(rows[:, 1:], str(path)), rows[:, 0]


def _read_npz(path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    with np.load(path, allow_pickle=False) as archive:
        names = {name.lower(): name for name in archive.files}
        pair = next((pair for pair in NAMES_IN_NPZ if set(pair) <= set(names)), None)
        if pair is None:
            found = ", ".join(archive.files)
            raise DatasetCorrupt(f"{path} holds the arrays {found}; expected x and y, or x_train and y_train")
        pairs = [pair, ("x_test", "y_test")] if {"x_test", "y_test"} <= set(names) else [pair]
        return [(archive[names[images]], archive[names[labels]]) for images, labels in pairs]


def _read_idx_folder(folder: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    pairs = [pair for stem in ("train", "t10k") if (pair := read_idx_pair(folder, stem)) is not None]
    if not pairs:
        raise DatasetCorrupt(f"{folder} holds neither folders named 0 to 9 nor idx files; --data takes {FORMATS}")
    return pairs
