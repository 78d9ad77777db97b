from __future__ import annotations

import dataclasses
import gzip
import hashlib
import http.server
import io
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from digit_utils.datasets import base, download, loading
from digit_utils.datasets import pendigits as datasets_pendigits
from digit_utils.datasets.base import DatasetCorrupt, DatasetUnavailable, Digits, content_hash
from digit_utils.datasets.download import RemoteFile
from digit_utils.datasets.loading import load_dataset, load_with_fallback

PUBLISHED_MIRRORS = download.MIRRORS  # most tests put their own in place

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
    folder = datasets_pendigits.find_pendigits(Path(os.environ.get("DIGITS_DATA_DIR") or download.cache_folder()))
    for ending in ("tra", "tes"):
        text = datasets_pendigits._read_text(datasets_pendigits._find_unipen(folder, ending))
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
    with pytest.raises(ValueError, match="comes with scikit-learn"):
        load_dataset("digits8x8", path="somewhere.npz")


# ------------------------------------------------------------------------------------------------------------
# A small stand-in for MNIST, with its own content hash, so that the rest needs neither MNIST nor a network


@pytest.fixture
def small_mnist(monkeypatch) -> dict[str, np.ndarray]:
    """Declare 30 random pictures to be the true MNIST; return its four arrays under Keras' names."""
    generator = np.random.default_rng(0)
    arrays = {
        "x_train": generator.integers(0, 256, (20, 28, 28), dtype=np.uint8),
        "y_train": generator.integers(0, 10, 20, dtype=np.uint8),
        "x_test": generator.integers(0, 256, (10, 28, 28), dtype=np.uint8),
        "y_test": generator.integers(0, 10, 10, dtype=np.uint8),
    }
    kind = dataclasses.replace(loading._KINDS["mnist"], sha256=content_hash(list(arrays.values())))
    monkeypatch.setitem(loading._KINDS, "mnist", kind)
    return arrays


@pytest.fixture(autouse=True)
def no_outside(request, monkeypatch, tmp_path_factory):
    """Keep the tests off the network and off the user's cache, but for those on the real data."""
    if {"mnist", "pendigits"} & set(request.fixturenames):
        return
    monkeypatch.delenv("DIGITS_DATA_DIR", raising=False)
    monkeypatch.setenv("DIGITS_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "RETRIES", 0)
    monkeypatch.setattr(download, "PROGRESS_DELAY", 0.0)
    monkeypatch.setattr(download, "MIRRORS", {})


@pytest.fixture
def cache() -> Path:
    return download.cache_folder()


def npz_bytes(arrays: dict[str, np.ndarray]) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def idx_files(arrays: dict[str, np.ndarray], *, ending: str = ".gz") -> dict[str, bytes]:
    """The four files of MNIST's own format, by their names."""
    files = {}
    for key, stem in zip(
        ("x_train", "y_train", "x_test", "y_test"),
        ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"),
        strict=True,
    ):
        array = arrays[key]
        content = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">u4").tobytes() + array.tobytes()
        files[f"{stem}-ubyte{ending}"] = gzip.compress(content) if ending else content
    return files


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def assert_is_small_mnist(dataset: base.DigitDataset, arrays: dict[str, np.ndarray]) -> None:
    np.testing.assert_array_equal(dataset.train.images, arrays["x_train"])
    np.testing.assert_array_equal(dataset.test.labels, arrays["y_test"])


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


def changed(arrays: dict[str, np.ndarray], key: str, value: np.ndarray | None) -> dict[str, np.ndarray]:
    result = dict(arrays)
    if value is None:
        del result[key]
    else:
        result[key] = value
    return result


def test_one_changed_pixel_is_refused_and_the_file_kept(small_mnist, tmp_path):
    images = small_mnist["x_train"].copy()
    images[3, 4, 5] ^= 1
    path = tmp_path / "mnist.npz"
    content = npz_bytes(changed(small_mnist, "x_train", images))
    path.write_bytes(content)
    expected = loading._KINDS["mnist"].sha256
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
    with pytest.raises(DatasetCorrupt, match=r"no \.npz archive"):
        load_dataset("mnist", path=tmp_path / "images.npy")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "does not begin like an idx file"),
        (b"\0\0\x0d\x01\0\0\0\x0a" + bytes(40), "does not begin like an idx file"),
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


# ------------------------------------------------------------------------------------------------------------
# Downloads, from a server of our own


class Server(http.server.ThreadingHTTPServer):
    """Serves `files` by name; the names in `broken` break off half-way, those in `slow` never end."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.broken: set[str] = set()
        self.slow: set[str] = set()
        self.requests: list[str] = []
        self.half_sent = threading.Event()

    def remote(self, name: str, known_hash: str | None = None) -> RemoteFile:
        return RemoteFile(f"http://127.0.0.1:{self.server_address[1]}/{name}", known_hash)


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        name = self.path.lstrip("/")
        self.server.requests.append(name)
        if name not in self.server.files:
            self.send_error(404)
            return
        content = self.server.files[name]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        whole = name not in self.server.broken | self.server.slow
        self.wfile.write(content if whole else content[: len(content) // 2])
        self.wfile.flush()
        if name in self.server.slow:
            self.server.half_sent.set()
            threading.Event().wait(30)

    def log_message(self, *arguments):
        """Keep quiet."""


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield server
        server.shutdown()


def use_mirrors(monkeypatch, *mirrors: tuple[RemoteFile, ...], name: str = "mnist") -> None:
    monkeypatch.setattr(download, "MIRRORS", {name: mirrors})


def sha256(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_download_fills_the_cache_and_happens_once(small_mnist, server, monkeypatch, cache, capsys):
    server.files["mnist.npz"] = npz_bytes(small_mnist)
    use_mirrors(monkeypatch, (server.remote("mnist.npz", sha256(server.files["mnist.npz"])),))
    assert_is_small_mnist(load_dataset("mnist"), small_mnist)
    assert "mnist.npz from 127.0.0.1" in capsys.readouterr().err  # the progress bar
    assert_is_small_mnist(load_dataset("mnist"), small_mnist)
    assert server.requests == ["mnist.npz"]
    assert names_in(cache) == ["mnist"]
    assert (cache / "mnist" / "mnist.npz").read_bytes() == server.files["mnist.npz"]


def test_second_mirror_is_used_when_the_first_fails(small_mnist, server, monkeypatch, cache):
    server.files = idx_files(small_mnist)
    second = tuple(server.remote(name, sha256(content)) for name, content in server.files.items())
    use_mirrors(monkeypatch, (server.remote("mnist.npz"),), second)
    assert_is_small_mnist(load_dataset("mnist"), small_mnist)
    assert server.requests[0] == "mnist.npz"
    assert names_in(cache / "mnist") == sorted(server.files)


def test_mirror_with_half_of_its_files_is_given_up(small_mnist, server, monkeypatch, cache):
    files = idx_files(small_mnist)
    server.files = {"train-images-idx3-ubyte.gz": files["train-images-idx3-ubyte.gz"]}
    server.files["mnist.npz"] = npz_bytes(small_mnist)
    use_mirrors(monkeypatch, tuple(map(server.remote, files)), (server.remote("mnist.npz"),))
    assert_is_small_mnist(load_dataset("mnist"), small_mnist)
    assert names_in(cache / "mnist") == ["mnist.npz"]


@pytest.mark.parametrize("known", [True, False])
def test_truncated_download_is_refused(small_mnist, server, monkeypatch, cache, known):
    content = npz_bytes(small_mnist)
    server.files["mnist.npz"] = content
    server.broken.add("mnist.npz")
    use_mirrors(monkeypatch, (server.remote("mnist.npz", sha256(content) if known else None),))
    with pytest.raises(DatasetUnavailable, match=r"127\.0\.0\.1: "):
        load_dataset("mnist")
    assert names_in(cache) == []


def test_download_with_other_content_is_refused(small_mnist, server, monkeypatch, cache):
    """Also where the mirror's own file has no known hash: the arrays are what counts."""
    other = changed(small_mnist, "y_test", (small_mnist["y_test"] + 1) % 10)
    server.files["mnist.npz"] = npz_bytes(other)
    use_mirrors(monkeypatch, (server.remote("mnist.npz"),))
    with pytest.raises(DatasetUnavailable, match="holds other data"):
        load_dataset("mnist")
    assert names_in(cache) == []


def test_failed_download_is_tried_again(small_mnist, server, monkeypatch):
    server.files["mnist.npz"] = npz_bytes(small_mnist)
    server.broken.add("mnist.npz")
    monkeypatch.setattr(download, "RETRIES", 2)
    waits = []

    def heal_the_server_instead_of_waiting(seconds):
        waits.append(seconds)
        server.broken.clear()

    monkeypatch.setattr(download.time, "sleep", heal_the_server_instead_of_waiting)
    use_mirrors(monkeypatch, (server.remote("mnist.npz", sha256(server.files["mnist.npz"])),))
    assert_is_small_mnist(load_dataset("mnist"), small_mnist)
    assert server.requests == ["mnist.npz", "mnist.npz"]
    assert waits == [download.RETRY_WAIT]


def test_what_cannot_pass_is_not_tried_again(server, monkeypatch):
    """No such file, or no network: the next mirror at once, then the sentence."""
    monkeypatch.setattr(download, "RETRIES", 2)
    monkeypatch.setattr(download.time, "sleep", lambda seconds: pytest.fail("waited"))
    offline = RemoteFile("http://127.0.0.1:1/mnist.npz")
    use_mirrors(monkeypatch, (server.remote("absent.npz"),), (offline,), (offline,))
    with pytest.raises(DatasetUnavailable, match=r"\(127\.0\.0\.1: HTTP status 404; 127\.0\.0\.1: no connection\)"):
        load_dataset("mnist")
    assert server.requests == ["absent.npz"]


def test_zip_is_unpacked_and_cannot_write_outside(small_mnist, server, monkeypatch, cache):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in idx_files(small_mnist).items():
            archive.writestr(f"../../some folder/{name}", content)
    server.files["all.zip"] = stream.getvalue()
    use_mirrors(monkeypatch, (server.remote("all.zip"),))
    assert_is_small_mnist(load_dataset("mnist"), small_mnist)
    assert names_in(cache) == ["mnist"]
    assert names_in(cache / "mnist") == sorted(idx_files(small_mnist))


def test_zip_that_unpacks_to_too_much_is_refused(small_mnist, server, monkeypatch, cache):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(download.MAX_UNPACKED + 1))
    server.files["bomb.zip"] = stream.getvalue()
    use_mirrors(monkeypatch, (server.remote("bomb.zip"),))
    with pytest.raises(DatasetUnavailable, match="would unpack to more than"):
        load_dataset("mnist")
    assert names_in(cache) == []


def test_pendigits_comes_from_a_zip_or_file_by_file(pendigits, server, monkeypatch, tmp_path):
    folder = datasets_pendigits.find_pendigits(Path(os.environ.get("DIGITS_DATA_DIR") or download.cache_folder()))
    names = ["pendigits-orig.tra.Z", "pendigits-orig.tes.Z"]
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.write(folder / name, name)
            server.files[name] = (folder / name).read_bytes()
    server.files["pen.zip"] = stream.getvalue()
    published = {remote.name: remote.known_hash for remote in PUBLISHED_MIRRORS["pendigits"][1]}
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("DIGITS_DATA_DIR", raising=False)
    for mirror in [
        (server.remote("pen.zip"),),
        tuple(server.remote(name, published[name]) for name in names),
    ]:
        monkeypatch.setenv("DIGITS_CACHE_DIR", str(tmp_path / mirror[0].name))
        use_mirrors(monkeypatch, mirror, name="pendigits")
        assert load_dataset("pendigits").sha256 == pendigits.sha256


def test_corrupt_cache_heals_itself(small_mnist, server, monkeypatch, cache):
    server.files["mnist.npz"] = npz_bytes(small_mnist)
    use_mirrors(monkeypatch, (server.remote("mnist.npz", sha256(server.files["mnist.npz"])),))
    write_files(cache / "mnist", {"mnist.npz": server.files["mnist.npz"][:-1000]})
    with pytest.warns(UserWarning, match=r"the cached copy is fetched again: .*mnist\.npz cannot be read"):
        healed = load_dataset("mnist")
    assert_is_small_mnist(healed, small_mnist)
    assert names_in(cache) == ["mnist"]
    assert_is_small_mnist(load_dataset("mnist", download=False), small_mnist)


def test_corrupt_cache_is_not_lost_while_nothing_better_can_be_had(small_mnist, monkeypatch, cache):
    use_mirrors(monkeypatch, (RemoteFile("http://127.0.0.1:1/mnist.npz"),))
    write_files(cache / "mnist", {"mnist.npz": b"damaged"})
    with pytest.raises(DatasetCorrupt):
        load_dataset("mnist", download=False)
    with pytest.warns(UserWarning, match="fetched again"), pytest.raises(DatasetUnavailable):
        load_dataset("mnist")
    assert (cache / "mnist" / "mnist.npz").read_bytes() == b"damaged"


def test_offline_is_one_sentence_with_three_ways_out(monkeypatch):
    use_mirrors(monkeypatch, (RemoteFile("http://127.0.0.1:1/mnist.npz"),))
    with pytest.raises(DatasetUnavailable) as caught:
        load_dataset("mnist")
    message = str(caught.value)
    assert "mnist is not on this machine and could not be downloaded (127.0.0.1: no connection)" in message
    assert "path=" in message
    assert "DIGITS_DATA_DIR to a folder with it (mnist.npz" in message
    assert "connect to the network" in message
    assert "\n" not in message
    assert caught.value.__suppress_context__  # no screens full of requests' own trace


def test_downloading_can_be_forbidden(server, monkeypatch):
    use_mirrors(monkeypatch, (server.remote("mnist.npz"),))
    with pytest.raises(DatasetUnavailable, match="downloading was forbidden"):
        load_dataset("mnist", download=False)
    assert server.requests == []


def test_fallback_says_why_and_stands_in(capsys):
    dataset = load_with_fallback("mnist", download=False)
    assert dataset.name == "digits8x8"
    printed = capsys.readouterr().out
    assert "mnist is not on this machine" in printed
    assert "digits8x8 stands in for it" in printed
    assert load_with_fallback("pendigits", fallback=None, download=False) is None
    assert load_with_fallback("digits8x8").name == "digits8x8"


def test_fallback_does_not_hide_damage(small_mnist, tmp_path):
    (tmp_path / "mnist.npz").write_bytes(b"damaged")
    with pytest.raises(DatasetCorrupt):
        load_with_fallback("mnist", data_dir=tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_killed_download_leaves_no_half_file(small_mnist, server, monkeypatch, cache):
    server.files["mnist.npz"] = npz_bytes(small_mnist)
    server.slow.add("mnist.npz")
    remote = server.remote("mnist.npz", sha256(server.files["mnist.npz"]))
    code = (
        "import sys\nfrom digit_utils.datasets import download, loading\n"
        "download.MIRRORS = {'mnist': ((download.RemoteFile(*sys.argv[1:]),),)}\n"
        "loading.load_dataset('mnist')\n"
    )
    command = [sys.executable, "-c", code, remote.url, remote.known_hash]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as downloading:
        assert server.half_sent.wait(30)
        downloading.send_signal(signal.SIGKILL)
    assert not (cache / "mnist").exists()
    (leavings,) = cache.iterdir()

    server.slow.clear()
    use_mirrors(monkeypatch, (remote,))
    assert_is_small_mnist(load_dataset("mnist"), small_mnist)
    # Leavings are cleared once they are too old to belong to a download that is still running.
    assert leavings.exists()
    long_ago = time.time() - download.STALE_AFTER - 60
    os.utime(leavings, (long_ago, long_ago))
    (cache / "mnist" / "mnist.npz").unlink()
    assert_is_small_mnist(load_dataset("mnist"), small_mnist)
    assert names_in(cache) == ["mnist"]


def test_two_downloads_at_once_both_succeed(small_mnist, server, monkeypatch, cache):
    server.files["mnist.npz"] = npz_bytes(small_mnist)
    use_mirrors(monkeypatch, (server.remote("mnist.npz", sha256(server.files["mnist.npz"])),))
    results = []
    threads = [threading.Thread(target=lambda: results.append(load_dataset("mnist"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert_is_small_mnist(load_dataset("mnist", download=False), small_mnist)
    assert names_in(cache) == ["mnist"]


def test_default_cache_is_the_system_place(monkeypatch):
    import pooch

    monkeypatch.delenv("DIGITS_CACHE_DIR")
    assert download.cache_folder() == Path(pooch.os_cache("digit-utils"))


def test_published_mirrors_are_https_and_verified():
    """A file without a known hash is a zip, whose members are verified by their content."""
    assert {name: len(choices) for name, choices in PUBLISHED_MIRRORS.items()} == {"mnist": 3, "pendigits": 2}
    for remote in (remote for choices in PUBLISHED_MIRRORS.values() for mirror in choices for remote in mirror):
        assert remote.url.startswith("https://")
        assert remote.known_hash or remote.name.endswith(".zip")


def test_keras_agrees_about_the_file_that_it_publishes():
    """Keras carries the hash of its mnist.npz, an independent source for the first mirror's."""
    import importlib.util

    # Read, not imported: the import would bring TensorFlow and three seconds.
    keras_folder = Path(importlib.util.find_spec("keras").origin).parent
    source = (keras_folder / "src" / "datasets" / "mnist.py").read_text()
    ((remote,), *_) = PUBLISHED_MIRRORS["mnist"]
    assert remote.known_hash.removeprefix("sha256:") in source
    assert remote.url.rpartition("/")[0] in source
