"""Downloads from a local server: mirrors, hashes, interruptions, and downloads at the same time."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import importlib.util
import io
import os
import signal
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pooch
import pytest

from digit_utils.datasets import download, loading
from digit_utils.datasets.base import DatasetCorrupt, DatasetUnavailable, RemoteFile
from digit_utils.datasets.loading import load_dataset, load_with_fallback
from digit_utils.datasets.mnist import MNIST
from digit_utils.datasets.pendigits import PENDIGITS
from tests.datasets.small_mnist import assert_is_small_mnist, changed, idx_files, npz_bytes, write_files

pytestmark = pytest.mark.usefixtures("isolated")


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
    monkeypatch.setitem(loading.SOURCES, name, dataclasses.replace(loading.SOURCES[name], mirrors=mirrors))


def sha256(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def names_in(folder: Path) -> list[str]:
    """Return what lies in a folder, without the locks, which stay."""
    return sorted(entry.name for entry in folder.iterdir() if not entry.name.endswith(".lock"))


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

    monkeypatch.setattr(pooch.core.time, "sleep", heal_the_server_instead_of_waiting)
    use_mirrors(monkeypatch, (server.remote("mnist.npz", sha256(server.files["mnist.npz"])),))
    assert_is_small_mnist(load_dataset("mnist"), small_mnist)
    assert server.requests == ["mnist.npz", "mnist.npz"]
    assert len(waits) == 1


def test_what_cannot_pass_is_not_tried_again(server, monkeypatch):
    """No such file, or no network: the next mirror at once, then the sentence."""
    monkeypatch.setattr(download, "RETRIES", 2)
    monkeypatch.setattr(pooch.core.time, "sleep", lambda seconds: pytest.fail("waited"))
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


def test_pendigits_comes_from_a_zip_or_file_by_file(pendigits, server, monkeypatch, tmp_path):
    folder = PENDIGITS.find(Path(os.environ.get("DIGITS_DATA_DIR") or download.cache_folder()))
    names = ["pendigits-orig.tra.Z", "pendigits-orig.tes.Z"]
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.write(folder / name, name)
            server.files[name] = (folder / name).read_bytes()
    server.files["pen.zip"] = stream.getvalue()
    published = {remote.name: remote.known_hash for remote in PENDIGITS.mirrors[1]}
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
    with pytest.warns(
        UserWarning, match=r"downloading the damaged copy in the cache again: .*mnist\.npz cannot be read"
    ):
        healed = load_dataset("mnist")
    assert_is_small_mnist(healed, small_mnist)
    assert names_in(cache) == ["mnist"]
    assert_is_small_mnist(load_dataset("mnist", download=False), small_mnist)


def test_corrupt_cache_is_not_lost_while_nothing_better_can_be_had(small_mnist, monkeypatch, cache):
    use_mirrors(monkeypatch, (RemoteFile("http://127.0.0.1:1/mnist.npz"),))
    write_files(cache / "mnist", {"mnist.npz": b"damaged"})
    with pytest.raises(DatasetCorrupt):
        load_dataset("mnist", download=False)
    with pytest.warns(UserWarning, match="damaged copy"), pytest.raises(DatasetUnavailable):
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
    assert "Using digits8x8 instead" in printed
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
        "import dataclasses, sys\nfrom digit_utils.datasets import base, loading\n"
        "mirrors = ((base.RemoteFile(*sys.argv[1:]),),)\n"
        "loading.SOURCES['mnist'] = dataclasses.replace(loading.SOURCES['mnist'], mirrors=mirrors)\n"
        "loading.load_dataset('mnist')\n"
    )
    command = [sys.executable, "-c", code, remote.url, remote.known_hash]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as downloading:
        assert server.half_sent.wait(30)
        downloading.send_signal(signal.SIGKILL)
    assert not (cache / "mnist").exists()
    assert names_in(cache) == [".mnist.partial"]

    server.slow.clear()
    use_mirrors(monkeypatch, (remote,))
    assert_is_small_mnist(load_dataset("mnist"), small_mnist)
    assert names_in(cache) == ["mnist"]


def test_of_several_downloads_at_once_one_is_made_and_all_use_it(small_mnist, server, monkeypatch, cache):
    server.files["mnist.npz"] = npz_bytes(small_mnist)
    use_mirrors(monkeypatch, (server.remote("mnist.npz", sha256(server.files["mnist.npz"])),))
    results = []
    threads = [threading.Thread(target=lambda: results.append(load_dataset("mnist"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert server.requests == ["mnist.npz"]
    assert_is_small_mnist(load_dataset("mnist", download=False), small_mnist)
    assert names_in(cache) == ["mnist"]


def test_default_cache_is_the_system_place(monkeypatch):
    monkeypatch.delenv("DIGITS_CACHE_DIR")
    assert download.cache_folder() == Path(pooch.os_cache("digit-utils"))


@pytest.mark.parametrize(("source", "count"), [(MNIST, 3), (PENDIGITS, 2)], ids=lambda each: getattr(each, "name", ""))
def test_published_mirrors_are_https_and_verified(source, count):
    """A file without a known hash is a zip, whose members are verified by their content."""
    assert len(source.mirrors) == count
    for remote in (remote for mirror in source.mirrors for remote in mirror):
        assert remote.url.startswith("https://")
        assert remote.known_hash or remote.name.endswith(".zip")


def test_keras_publishes_the_same_hash_of_mnist():
    """Keras carries the hash of its mnist.npz, an independent source for the first mirror's."""
    # Read, not imported: the import would load TensorFlow and take three seconds.
    keras_folder = Path(importlib.util.find_spec("keras").origin).parent
    source = (keras_folder / "src" / "datasets" / "mnist.py").read_text()
    ((remote,), *_) = MNIST.mirrors
    assert remote.known_hash.removeprefix("sha256:") in source
    assert remote.url.rpartition("/")[0] in source
