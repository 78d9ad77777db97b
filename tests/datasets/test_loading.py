from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from digit_utils.datasets import download, loading
from digit_utils.datasets import pendigits as pendigits_module
from digit_utils.datasets.base import DatasetCorrupt, DatasetUnavailable, Digits, content_hash
from digit_utils.datasets.loading import PLANNED_DATA, load_dataset, load_with_fallback
from tests.datasets.small_mnist import assert_is_small_mnist, changed, idx_files, npz_bytes, write_files

pytestmark = pytest.mark.usefixtures("isolated")

# ------------------------------------------------------------------------------------------------------------
# The real data


def idx_md5(array: np.ndarray) -> str:
    """MD5 of an array of bytes as the idx file in which MNIST was published."""
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">u4").tobytes()
    return hashlib.md5(header + array.astype(np.uint8).tobytes()).hexdigest()


def test_mnist_is_the_published_mnist(mnist):
    images = np.concatenate([mnist.train.images, mnist.validation.images])
    labels = np.concatenate([mnist.train.labels, mnist.validation.labels])
    # The well-known checksums of the four unpacked files.
    assert idx_md5(images) == "6bbc9ace898e44ae57da46a324031adb"
    assert idx_md5(labels) == "a25bea736e30d166cdddb491f175f624"
    assert idx_md5(mnist.test.images) == "2646ac647ad5339dbf082846283269ea"
    assert idx_md5(mnist.test.labels) == "27ae3e4e09519cfbb04c329615203637"


def test_mnist_has_its_fixed_split(mnist):
    assert [len(mnist.train), len(mnist.validation), len(mnist.test)] == [55_000, 5_000, 10_000]
    for split in (mnist.train, mnist.validation, mnist.test):
        assert split.images.shape == (len(split), 28, 28)
        assert (split.images.dtype, split.labels.dtype) == (np.uint8, np.int64)
        assert split.strokes is None
        assert split.writers is None
    assert mnist.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert mnist.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    # Light ink on dark: the corners of the page are empty.
    assert mnist.train.images[:, :2, :2].max() == 0


def test_pendigits_has_the_counts_that_its_authors_publish(pendigits):
    labels = np.concatenate([pendigits.train.labels, pendigits.validation.labels])
    # pendigits-orig.names, section 9: tra + cv + wdep, and windep.
    tra = np.array([384, 390, 392, 370, 391, 375, 351, 375, 363, 357])
    cv = np.array([209, 201, 201, 163, 185, 163, 191, 196, 178, 186])
    wdep = np.array([187, 188, 187, 186, 204, 182, 178, 207, 178, 176])
    windep = [363, 364, 364, 336, 364, 335, 336, 364, 336, 336]
    assert np.bincount(labels).tolist() == (tra + cv + wdep).tolist()
    assert np.bincount(pendigits.test.labels).tolist() == windep
    assert len(labels) == 7494
    assert len(pendigits.test) == 3498


def test_pendigits_has_each_writer_in_one_split(pendigits):
    train, validation, test = (
        set(split.writers.tolist()) for split in (pendigits.train, pendigits.validation, pendigits.test)
    )
    assert validation == {5, 10, 15, 20, 25, 30}
    assert train | validation == set(range(1, 31))
    assert not train & validation
    assert test == set(range(31, 45))
    assert all(240 <= count <= 250 for count in np.bincount(pendigits.train.writers) if count)


def test_pendigits_has_every_stroke_of_the_files(pendigits):
    official = [*pendigits.train.strokes, *pendigits.validation.strokes]
    # grep -c PEN_DOWN on the unpacked files.
    assert sum(map(len, official)) == 9433
    assert sum(map(len, pendigits.test.strokes)) == 4257
    # The first digit of the file: .COMMENT 8 12 224, then 267 333, on a tablet 500 units high.
    assert (pendigits.train.labels[0], pendigits.train.writers[0]) == (8, 12)
    assert pendigits.train.strokes[0][0][0].tolist() == [267, 500 - 333]
    points = np.concatenate([stroke for digit in official for stroke in digit])
    assert points.dtype == np.float32
    assert points.min() >= 0
    assert points.max() <= 500


def test_pendigits_stands_upright(pendigits):
    """People write a seven from its top to its foot, so its last point lies lower: y is larger."""
    sevens = [digit for digit, label in zip(pendigits.test.strokes, pendigits.test.labels, strict=True) if label == 7]
    downwards = [digit[0][-1, 1] > digit[0][0, 1] for digit in sevens]
    assert np.mean(downwards) > 0.95


def test_pendigits_may_lie_there_unpacked(pendigits, tmp_path, monkeypatch):
    folder = pendigits_module.PENDIGITS.find(Path(os.environ.get("DIGITS_DATA_DIR") or download.cache_folder()))
    for ending in ("tra", "tes"):
        text = pendigits_module._read_text(pendigits_module._find_unipen(folder, ending))
        (tmp_path / f"pendigits-orig.{ending}").write_text(text)
    monkeypatch.setitem(sys.modules, "unlzw3", None)  # not needed for plain text
    assert load_dataset("pendigits", path=tmp_path).sha256 == pendigits.sha256


def test_digits8x8_are_those_of_scikit_learn(digits8x8):
    from sklearn.datasets import load_digits

    original = load_digits()
    images = np.concatenate([digits8x8.train.images, digits8x8.validation.images, digits8x8.test.images])
    assert images.dtype == np.uint8
    assert (images.min(), images.max()) == (0, 255)
    # The 17 grey levels can be told from the 256 again.
    np.testing.assert_array_equal(np.round(images / 255 * 16), original.images)
    assert [len(digits8x8.train), len(digits8x8.validation), len(digits8x8.test)] == [1197, 300, 300]
    for split in (digits8x8.train, digits8x8.validation, digits8x8.test):
        assert np.bincount(split.labels, minlength=10).min() >= 20


@pytest.mark.parametrize("name", ["mnist", "pendigits", "digits8x8"])
def test_each_dataset_says_its_licence_and_source(name, request):
    dataset = request.getfixturevalue(name)
    assert dataset.name == name
    assert dataset.licence.startswith("CC BY")
    assert "http" in dataset.source
    assert len(dataset.sha256) == 64


# ------------------------------------------------------------------------------------------------------------
# Splits and hashes


def test_take_keeps_label_picture_strokes_and_writer_together():
    digits = Digits(
        labels=np.arange(5),
        images=np.arange(5, dtype=np.uint8)[:, None, None] * np.ones((5, 2, 2), np.uint8),
        strokes=tuple([np.full((1, 2), value, np.float32)] for value in range(5)),
        writers=np.arange(5) * 10,
    )
    mask = np.array([True, False, False, True, False])
    for indices, expected in [
        ([3, 1], [3, 1]),
        (mask, [0, 3]),
        (slice(3, None), [3, 4]),
        (np.array([-1]), [4]),
    ]:
        taken = digits.take(indices)
        assert taken.labels.tolist() == expected
        assert taken.images[:, 0, 0].tolist() == expected
        assert [digit[0][0, 0] for digit in taken.strokes] == expected
        assert taken.writers.tolist() == [10 * value for value in expected]
        assert len(taken) == len(expected)
    with pytest.raises(IndexError):
        digits.take([5])


def test_splits_of_uneven_length_are_refused():
    with pytest.raises(ValueError, match="there are 3 labels, but 2 images"):
        Digits(labels=np.zeros(3, np.int64), images=np.zeros((2, 28, 28), np.uint8))


def test_content_hash_sees_values_shape_type_and_order():
    array = np.arange(6, dtype=np.int32)
    hashes = {
        content_hash([array]),
        content_hash([array + 1]),
        content_hash([array.reshape(2, 3)]),
        content_hash([array.astype(np.int64)]),
        content_hash([array, array + 1]),
        content_hash([array + 1, array]),
    }
    assert len(hashes) == 6
    assert content_hash([array]) == content_hash([array.astype(">i4")])
    assert content_hash([array.reshape(2, 3).T]) == content_hash([np.ascontiguousarray(array.reshape(2, 3).T)])


def test_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"no dataset named 'emnist'; known are mnist, pendigits, digits8x8"):
        load_dataset("emnist")


def test_digits8x8_has_no_path():
    with pytest.raises(ValueError, match="scikit-learn's digits, which has no path"):
        load_dataset("digits8x8", path="somewhere.npz")


# ------------------------------------------------------------------------------------------------------------
# Places and containers


@pytest.mark.parametrize("ending", [".gz", ""])
def test_folder_with_the_four_idx_files_is_accepted(small_mnist, tmp_path, ending):
    folder = write_files(tmp_path / "idx", idx_files(small_mnist, ending=ending))
    assert_is_small_mnist(load_dataset("mnist", path=folder), small_mnist)


def test_places_of_torchvision_are_accepted(small_mnist, tmp_path):
    files = idx_files(small_mnist, ending="")
    files = {name.replace("-idx", ".idx"): content for name, content in files.items()}
    write_files(tmp_path / "MNIST" / "raw", files)
    assert_is_small_mnist(load_dataset("mnist", data_dir=tmp_path), small_mnist)


def test_any_zip_container_of_the_same_arrays_is_accepted(small_mnist, tmp_path):
    np.savez(tmp_path / "other name.npz", extra=np.zeros(3), **small_mnist)
    assert_is_small_mnist(load_dataset("mnist", path=tmp_path / "other name.npz"), small_mnist)


def test_places_are_tried_in_their_order(small_mnist, tmp_path, monkeypatch, cache):
    """What stands in the better place is used or refused; the worse place is not looked at."""
    good = {"mnist.npz": npz_bytes(small_mnist)}
    bad = {"mnist.npz": b"no archive"}
    explicit = write_files(tmp_path / "explicit", bad)
    environment = write_files(tmp_path / "environment", bad)
    write_files(cache / "mnist", good)

    monkeypatch.setenv("DIGITS_DATA_DIR", str(environment))
    with pytest.raises(DatasetCorrupt, match=r"environment.mnist\.npz"):
        load_dataset("mnist")
    write_files(environment, good)
    assert_is_small_mnist(load_dataset("mnist"), small_mnist)
    with pytest.raises(DatasetCorrupt, match=r"explicit.mnist\.npz"):
        load_dataset("mnist", path=explicit / "mnist.npz")
    with pytest.raises(DatasetCorrupt, match=r"explicit.mnist\.npz"):
        load_dataset("mnist", data_dir=explicit)
    # A data folder without this dataset is no obstacle: it may have been set for another one.
    monkeypatch.setenv("DIGITS_DATA_DIR", str(tmp_path / "absent"))
    assert_is_small_mnist(load_dataset("mnist", download=False), small_mnist)


def test_a_data_folder_in_a_home_that_nobody_knows_is_told(monkeypatch):
    monkeypatch.setenv("DIGITS_DATA_DIR", "~nosuch/data")
    with pytest.raises(FileNotFoundError, match=r"^~nosuch/data: the home folder ~nosuch is not known here; write the"):
        load_dataset("mnist")


def test_explicit_path_must_exist_and_hold_the_files(small_mnist, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.npz"):
        load_dataset("mnist", path=tmp_path / "absent.npz")
    files = idx_files(small_mnist)
    files.pop("t10k-labels-idx1-ubyte.gz")
    with pytest.raises(FileNotFoundError, match=r"does not hold mnist .*idx"):
        load_dataset("mnist", path=write_files(tmp_path / "three", files))


def test_explicit_data_dir_is_the_only_place(small_mnist, tmp_path, cache):
    write_files(cache / "mnist", {"mnist.npz": npz_bytes(small_mnist)})
    with pytest.raises(DatasetUnavailable, match=r"does not hold mnist \(mnist\.npz"):
        load_dataset("mnist", data_dir=tmp_path)
    assert_is_small_mnist(load_dataset("mnist", data_dir=""), small_mnist)  # empty means not given


# ------------------------------------------------------------------------------------------------------------
# Wrong content


def test_one_changed_pixel_is_refused_and_the_file_kept(small_mnist, tmp_path):
    images = small_mnist["x_train"].copy()
    images[3, 4, 5] ^= 1
    path = tmp_path / "mnist.npz"
    content = npz_bytes(changed(small_mnist, "x_train", images))
    path.write_bytes(content)
    expected = loading.SOURCES["mnist"].sha256
    with pytest.raises(DatasetCorrupt, match=rf"mnist\.npz holds other data: expected mnist .*{expected}, found"):
        load_dataset("mnist", path=path)
    assert path.read_bytes() == content


def test_missing_array_is_named(small_mnist, tmp_path):
    path = tmp_path / "mnist.npz"
    path.write_bytes(npz_bytes(changed(small_mnist, "y_test", None)))
    with pytest.raises(DatasetCorrupt, match="y_test"):
        load_dataset("mnist", path=path)


def test_pickled_arrays_are_never_unpickled(small_mnist, tmp_path):
    path = tmp_path / "mnist.npz"
    path.write_bytes(npz_bytes(changed(small_mnist, "x_train", np.array([{"code": 1}], dtype=object))))
    with pytest.raises(DatasetCorrupt, match="allow_pickle"):
        load_dataset("mnist", path=path)


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_truncated_archive_is_refused(small_mnist, tmp_path, keep):
    content = npz_bytes(small_mnist)
    path = tmp_path / "mnist.npz"
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(DatasetCorrupt, match=r"mnist\.npz cannot be read: .*expected mnist"):
        load_dataset("mnist", path=path)


def test_flipped_bytes_are_refused(small_mnist, tmp_path):
    content = npz_bytes(small_mnist)
    for position in range(100, len(content), len(content) // 20):
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        (tmp_path / "mnist.npz").write_bytes(damaged)
        with pytest.raises(DatasetCorrupt):
            load_dataset("mnist", path=tmp_path / "mnist.npz")


def test_single_array_in_place_of_an_archive_is_refused(small_mnist, tmp_path):
    np.save(tmp_path / "images.npy", small_mnist["x_train"])
    with pytest.raises(DatasetCorrupt, match=r"not an \.npz archive"):
        load_dataset("mnist", path=tmp_path / "images.npy")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "does not start like an idx file"),
        (b"\0\0\x0d\x01\0\0\0\x0a" + bytes(40), "does not start like an idx file"),
        (b"\0\0\x08\x01\0\0\0\x0a" + bytes(9), "cannot reshape"),
        (b"\0\0\x08\x03\0\0", "buffer size"),
    ],
)
def test_damaged_idx_file_is_refused(small_mnist, tmp_path, content, message):
    files = idx_files(small_mnist, ending="")
    files["t10k-labels-idx1-ubyte"] = content
    with pytest.raises(DatasetCorrupt, match=message):
        load_dataset("mnist", path=write_files(tmp_path / "idx", files))


def test_truncated_gzip_is_refused(small_mnist, tmp_path):
    files = idx_files(small_mnist)
    files["train-images-idx3-ubyte.gz"] = files["train-images-idx3-ubyte.gz"][:-100]
    with pytest.raises(DatasetCorrupt, match="idx"):
        load_dataset("mnist", path=write_files(tmp_path / "idx", files))


@pytest.mark.parametrize("content", [b"", b"\x1f\x9d\x90", b"plain text", b"\x1f\x9d\x90" + bytes(range(256))])
def test_damaged_z_file_is_refused(tmp_path, content):
    files = {f"pendigits-orig.{ending}.Z": content for ending in ("tra", "tes")}
    with pytest.raises(DatasetCorrupt, match=r"pendigits-orig\.tra\.Z"):
        load_dataset("pendigits", path=write_files(tmp_path / "pen", files))


def test_malformed_unipen_text_is_refused_with_file_and_line(tmp_path):
    files = {f"pendigits-orig.{ending}": b".PEN_DOWN\n 1 2\n x\n" for ending in ("tra", "tes")}
    with pytest.raises(DatasetCorrupt, match=r"pendigits-orig\.tra: line 3: expected two numbers"):
        load_dataset("pendigits", path=write_files(tmp_path / "pen", files))


def test_missing_package_is_named_with_the_extra_that_brings_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "unlzw3", None)
    files = {f"pendigits-orig.{ending}.Z": b"anything" for ending in ("tra", "tes")}
    with pytest.raises(ModuleNotFoundError, match=r"unlzw3.*pip install 'digit-utils\[train\]'"):
        load_dataset("pendigits", path=write_files(tmp_path / "pen", files))


def test_loading_a_dataset_starts_no_recogniser():
    code = (
        "import sys\nfrom digit_utils import load_dataset\nload_dataset('digits8x8')\n"
        "sys.exit(', '.join({'ai_edge_litert', 'tensorflow', 'keras', 'matplotlib'} & set(sys.modules)) or None)"
    )
    process = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, timeout=60)
    assert process.returncode == 0, f"it imports {process.stderr}"


@pytest.mark.parametrize(
    ("planned", "expected"),
    [
        ({"mnist": "ab12"}, "this run was planned with mnist, but this machine has none; give all machines of a sweep"),
        ({"digits8x8": "absent"}, "this run was planned without digits8x8, but this machine has it; give all machines"),
        ({"digits8x8": "ab12"}, "this run was planned with digits8x8, but this machine has another; give all machines"),
        ({}, None),
    ],
)
def test_a_run_of_a_sweep_refuses_other_data_than_it_was_planned_with(planned, expected, tmp_path, monkeypatch):
    """Also where a notebook would do without, or with the stand-in; what the plan does not name is not compared."""
    monkeypatch.setenv(PLANNED_DATA, json.dumps(planned))

    def load() -> None:
        load_with_fallback("mnist", data_dir=tmp_path, fallback=None)
        load_with_fallback("digits8x8")

    if expected is None:
        load()
        with pytest.raises(DatasetUnavailable, match="does not hold mnist"):
            load_with_fallback("mnist", data_dir=tmp_path)
    else:
        with pytest.raises(ValueError, match=expected):
            load()
