"""One's own digits in every form that --data takes, and what is wrong with those that it refuses."""

from __future__ import annotations

import gzip
from pathlib import Path

import cv2
import numpy as np
import pytest

from digit_utils import load_dataset
from digit_utils.datasets.base import DatasetCorrupt, DigitDataset
from digit_utils.datasets.drawings import LabelledDrawing, append_drawing
from digit_utils.datasets.ink import LabelledInk, ink_of
from digit_utils.datasets.own_data import check_all_classes, dataset_of, load_own_data

COUNT = 60


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Sixty images (28, 28) uint8 that differ, six of each class in order; pixel (0, 0) is the image's number."""
    images = np.zeros((COUNT, 28, 28), np.uint8)
    for index, image in enumerate(images):
        cv2.circle(image, (14, 14), 3 + index % 9, 255, 2)
        image[0, 0] = index
    return images


LABELS = np.arange(COUNT) // 6


def write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(side.to_bytes(4, "big") for side in array.shape)
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))


def write(kind: str, folder: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    """Write images and labels in one of the forms; return its path."""
    if kind == "folders":
        for index, (image, label) in enumerate(zip(images, labels, strict=True)):
            (folder / "mine" / str(label)).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / "mine" / str(label) / f"{index:03d}.png"), image)
        return folder / "mine"
    if kind in ("csv", "csv with header"):
        header = ",".join(["label", *(f"pixel{index}" for index in range(784))])
        rows = np.column_stack([labels, images.reshape(len(images), -1)])
        np.savetxt(
            folder / "mine.csv", rows, "%d", delimiter=",", comments="", header=header if "header" in kind else ""
        )
        if "header" not in kind:
            text = (folder / "mine.csv").read_text()
            (folder / "mine.csv").write_text(text.lstrip("\n"))
        return folder / "mine.csv"
    if kind == "idx":
        (folder / "mine").mkdir()
        write_idx(folder / "mine" / "train-images-idx3-ubyte.gz", images)
        write_idx(folder / "mine" / "train-labels-idx1-ubyte.gz", labels)
        return folder / "mine"
    arrays = {"npz": images, "npz of floats": images / 255, "npz of rows": images.reshape(len(images), -1)}
    np.savez(folder / "mine.npz", x=arrays[kind], y=labels)
    return folder / "mine.npz"


@pytest.mark.parametrize("kind", ["folders", "csv", "csv with header", "idx", "npz", "npz of floats", "npz of rows"])
def test_every_form_holds_the_same_digits_split_by_class(kind: str, images: np.ndarray, tmp_path: Path):
    dataset = load_dataset(str(write(kind, tmp_path, images, LABELS)))
    assert dataset.name.startswith("mine")
    assert np.bincount(dataset.train.labels).tolist() == [5] * 10
    assert np.bincount(dataset.validation.labels).tolist() == [1] * 10
    assert dataset.test is dataset.validation
    numbers = np.concatenate([split.images[:, 0, 0] for split in (dataset.train, dataset.validation)])
    assert sorted(numbers.tolist()) == list(range(COUNT))
    for split in (dataset.train, dataset.validation):
        assert np.array_equal(split.images, images[split.images[:, 0, 0]])
        assert np.array_equal(split.labels, LABELS[split.images[:, 0, 0]])
    assert np.any(np.diff(dataset.train.labels) < 0), "the training digits are shuffled"


def test_the_split_follows_the_seed(images: np.ndarray):
    first, again, other = (dataset_of(images, LABELS, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.validation.images, again.validation.images)
    assert first.sha256 == again.sha256 != other.sha256


def test_a_test_set_in_the_file_stays_one(images: np.ndarray, tmp_path: Path):
    np.savez(tmp_path / "a.npz", x_train=images, y_train=LABELS, x_test=images[:7], y_test=LABELS[:7])
    dataset = load_dataset(str(tmp_path / "a.npz"))
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (50, 10, 7)


def test_images_of_different_sizes_and_colours_become_ink(tmp_path: Path):
    rng = np.random.default_rng(0)
    for label in (1, 7):
        (tmp_path / str(label)).mkdir()
        for index in range(5):
            side = int(rng.integers(40, 900))
            page = np.full((side, side + 10, 3), 240, np.uint8)
            cv2.line(page, (side // 2, side // 4), (side // 2, 3 * side // 4), (120, 30, 30), side // 15)
            cv2.imwrite(str(tmp_path / str(label) / f"{index}.jpg"), page)
    dataset = load_own_data(tmp_path)
    assert max(max(image.shape) for image in dataset.train.images) <= 384
    ink = ink_of(dataset.train)
    assert ink.ink.shape == (8, 28, 28)
    assert all(image.any() for image in ink.ink)


def test_drawings_are_taken_as_they_always_were(tmp_path: Path):
    path = tmp_path / "mine.jsonl"
    for digit in (1, 7) * 5:
        append_drawing(path, LabelledDrawing([np.array([[10, 10], [10, 90]])], digit))
    dataset = load_own_data(path)
    assert (len(dataset.train), len(dataset.validation)) == (8, 2)


def bad_labels(value: object) -> list[object]:
    return [*LABELS.tolist()[:-1], value]


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ([str(label) for label in LABELS], "label '0' is text"),
        (bad_labels(10), "label 10 of digit 59 is not one of 0 to 9"),
        (bad_labels(2.5), "label 2.5 of digit 59"),
        (LABELS[:-1], "60 images, but 59 labels"),
        (np.eye(10)[LABELS], r"make digits of them with \.argmax\(axis=1\)"),
        ([*[1] * 59, 2], "holds a single 2; at least two of each class"),
        ([1] * 60, "fewer than two classes"),
    ],
)
def test_labels_that_are_no_digits_are_told_in_one_sentence(labels: list, told: str, images: np.ndarray):
    with pytest.raises(DatasetCorrupt, match=told) as raised:
        dataset_of(images, labels)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda images: images.reshape(60, 784)[:, :700], "700 pixels; expected a square"),
        (lambda images: images * -1.0, "the floats go from -255"),
        (lambda images: images * 2.0, "the pixels go from 0 to 510; expected 0..255"),
        (lambda images: images[..., np.newaxis, np.newaxis], "image 0: the array has shape"),
    ],
)
def test_images_of_another_kind_are_told_in_one_sentence(change, told: str, images: np.ndarray):
    with pytest.raises(DatasetCorrupt, match=told):
        dataset_of(change(images), LABELS)


def test_fewer_than_a_hundred_labelled_in_a_list_are_enough(images: np.ndarray):
    dataset = dataset_of(list(images[:30]), LABELS[:30].tolist())
    assert (len(dataset.train), len(dataset.validation)) == (25, 5)
    with pytest.raises(DatasetCorrupt, match="your images holds no 5, 6, 7, 8, 9 to learn from; at least two"):
        check_all_classes(dataset)


def test_files_that_hold_something_else_are_named(images: np.ndarray, tmp_path: Path):
    pickled = tmp_path / "pickled.npz"
    np.savez(pickled, x=np.array([{"an": "object"}], object), y=[1])
    cases = {pickled: "cannot be read: Object arrays cannot be loaded"}
    unlabelled = tmp_path / "unlabelled.csv"
    np.savetxt(unlabelled, images.reshape(60, -1), "%d", delimiter=",", comments="", header="pixel0" + ",p" * 783)
    cases[unlabelled] = "the first column is 'pixel0'; expected label, then the pixels"
    ragged = tmp_path / "ragged.csv"
    ragged.write_text("1,0,0,0,0\n2,0,0\n")
    cases[ragged] = "cannot be read: the number of columns changed"
    cases[tmp_path / "gone.csv"] = "there is no .*gone.csv; --data takes a folder with subfolders named 0 to 9"
    (tmp_path / "empty").mkdir()
    cases[tmp_path / "empty"] = "holds neither folders named 0 to 9 nor idx files"
    odd = tmp_path / "odd"
    for name in ("1", "ten"):
        (odd / name).mkdir(parents=True)
    cases[odd] = "holds the folder 'ten'; its folders must be named 0 to 9"
    damaged = tmp_path / "damaged"
    for name in ("1", "2"):
        (damaged / name).mkdir(parents=True)
        (damaged / name / "x.png").write_bytes(b"no image")
    cases[damaged] = r"x\.png cannot be decoded as an image"
    for path, told in cases.items():
        with pytest.raises((DatasetCorrupt, FileNotFoundError), match=told) as raised:
            load_own_data(path)
        assert str(path) in str(raised.value)
        assert "\n" not in str(raised.value)


def test_ink_that_would_be_trained_on_silently_is_refused(digits8x8: DigitDataset):
    ink = ink_of(digits8x8.train.take(slice(4))).ink
    assert LabelledInk(ink, [1, 2, 3, 4]).labels.dtype == np.int64
    for bad, labels, told in (
        (ink * 255, [1, 2, 3, 4], "ink goes from 0 to 255; expected 0 to 1"),
        (ink, [1, 2, 3, 10], "label 10 of digit 3"),
        (ink, ["1", "2", "3", "4"], "label '1' is text"),
        (ink, [1, 2, 3], "4 inks, but 3 labels"),
        (ink[..., :20], [1, 2, 3, 4], r"expected \(n, 28, 28\)"),
    ):
        with pytest.raises(ValueError, match=told):
            LabelledInk(bad, labels)
