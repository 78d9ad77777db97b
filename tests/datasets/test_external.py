import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from digit_utils.datasets.base import DatasetCorrupt
from digit_utils.datasets.external import FASHION_MNIST, SEMEION, load_fashion_mnist, load_semeion
from tests.support.skipping import skip_without

LOADERS = {SEMEION.files: load_semeion, FASHION_MNIST.files: load_fashion_mnist}


def stored(place: str) -> Path:
    """Return the path of one of the two files, or skip, but never in CI: they are not downloaded."""
    path = Path(os.environ.get("DIGITS_DATA_DIR", "")) / place
    if not path.is_file():
        skip_without(f"there is no {place} in DIGITS_DATA_DIR")
    return path


@pytest.mark.parametrize("place", LOADERS)
@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_missing_data_fail_in_ci_and_skip_elsewhere(place: str, ci: str, outcome: type[BaseException], monkeypatch):
    monkeypatch.delenv("DIGITS_DATA_DIR", raising=False)
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match=place):
        stored(place)


def test_semeion_is_1593_stretched_scans_of_ten_digits():
    stored(SEMEION.files)
    digits = load_semeion()
    assert digits.images.shape == (1593, 16, 16)
    assert set(np.unique(digits.images)) == {0, 255}
    assert np.bincount(digits.labels).tolist() == [161, 162, 159, 159, 161, 159, 161, 158, 155, 158]
    touching = digits.images[:, 0].any(axis=1) & digits.images[:, -1].any(axis=1)
    assert touching.mean() > 0.9  # stretched to the box


def test_fashion_mnist_is_ten_thousand_pictures_the_first_of_all_classes_whatever_the_order_of_the_file(tmp_path):
    with np.load(stored(FASHION_MNIST.files)) as content:
        pictures, labels = content["x"], content.get("label")
    loaded = load_fashion_mnist()
    assert loaded.shape == (10_000, 28, 28)
    if labels is not None:  # the file need not hold them
        label_of = {picture.tobytes(): label for picture, label in zip(pictures, labels, strict=True)}
        counts = np.bincount([label_of[picture.tobytes()] for picture in loaded[:1000]], minlength=10)
        assert counts.min() > 60  # 100 on the mean
    order = np.random.default_rng(0).permutation(10_000)
    (tmp_path / FASHION_MNIST.files).parent.mkdir()
    np.savez_compressed(tmp_path / FASHION_MNIST.files, x=pictures[order])
    assert np.array_equal(load_fashion_mnist(tmp_path), loaded)


def test_other_pictures_are_refused(tmp_path):
    (tmp_path / FASHION_MNIST.files).parent.mkdir()
    for shape in ((10_000, 28, 28), (3, 28, 28)):
        np.savez_compressed(tmp_path / FASHION_MNIST.files, x=np.zeros(shape, np.uint8))
        with pytest.raises(DatasetCorrupt, match=rf"with the content sha256 .* \({shape[0]}, 28, 28\)"):
            load_fashion_mnist(tmp_path)


@pytest.mark.parametrize("place", LOADERS)
def test_what_is_not_there_is_none_and_a_given_folder_alone_is_looked_into(place, tmp_path, monkeypatch):
    assert LOADERS[place](tmp_path) is None
    monkeypatch.delenv("DIGITS_DATA_DIR", raising=False)
    assert LOADERS[place]() is None


@pytest.mark.parametrize("place", LOADERS)
@pytest.mark.parametrize("content", [b"", b"one two three", b"PK\x03\x04"])
def test_a_damaged_file_is_refused_by_its_name(place, content, tmp_path):
    path = tmp_path / place
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(DatasetCorrupt, match=path.name):
        LOADERS[place](tmp_path)


def test_other_content_is_refused_and_the_hashes_are_named(tmp_path):
    path = tmp_path / SEMEION.files
    path.parent.mkdir()
    shutil.copy(stored(SEMEION.files), path)
    path.chmod(0o600)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[1:]))
    with pytest.raises(DatasetCorrupt, match=r"the content sha256 6ef7f574.*found [0-9a-f]{64}"):
        load_semeion(tmp_path)
