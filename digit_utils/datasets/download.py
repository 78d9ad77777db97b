"""Brings datasets from their public sources into the cache: mirrors, retries, checksums, all or nothing.

A dataset in the cache is a folder that appears by one rename, after its content was verified. Whatever
interrupts a download (a dropped network, a full disk, a killed process) leaves no half dataset behind.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TypeVar
from urllib.parse import urlsplit

from digit_utils.files import with_home

Loaded = TypeVar("Loaded")


class DownloadFailed(RuntimeError):  # noqa: N818 (reads well where it is caught)
    """No mirror delivered the dataset; the message says for each one why."""


@dataclass(frozen=True)
class RemoteFile:
    """A file that a mirror offers."""

    url: str
    known_hash: str | None = None  # "sha256:..." or "md5:..."; None: the content alone is verified, after unpacking

    @property
    def name(self) -> str:
        """The last part of the address, which is also the file's name in the cache."""
        return urlsplit(self.url).path.rpartition("/")[2]

    @property
    def host(self) -> str:
        """The server's name, for messages."""
        return urlsplit(self.url).hostname or self.url


def _idx_mirror(base_url: str) -> tuple[RemoteFile, ...]:
    """The four files in which MNIST was published, with the checksums that torchvision publishes too."""
    checksums = {
        "train-images-idx3-ubyte.gz": "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "md5:d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "md5:9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "md5:ec29112dd5afa0611ce80d1b7f02629c",
    }
    return tuple(RemoteFile(base_url + name, checksum) for name, checksum in checksums.items())


UCI = "https://archive.ics.uci.edu"

# For each dataset its mirrors, the preferred one first. A mirror is the files that together make the dataset.
MIRRORS: dict[str, tuple[tuple[RemoteFile, ...], ...]] = {
    "mnist": (
        (
            RemoteFile(
                "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
                "sha256:731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
            ),
        ),
        _idx_mirror("https://ossci-datasets.s3.amazonaws.com/mnist/"),
        _idx_mirror("https://storage.googleapis.com/cvdf-datasets/mnist/"),
    ),
    "pendigits": (
        (RemoteFile(f"{UCI}/static/public/81/pen+based+recognition+of+handwritten+digits.zip"),),
        (
            RemoteFile(
                f"{UCI}/ml/machine-learning-databases/pendigits/pendigits-orig.tra.Z",
                "sha256:ceae25d05f1ccfed4d27ca2e5766370fb32ddd685a647567e84cf7685aa7ac8b",
            ),
            RemoteFile(
                f"{UCI}/ml/machine-learning-databases/pendigits/pendigits-orig.tes.Z",
                "sha256:55ff1032e789eae273d0a4a1831dd61a2418f36ec5c0647457aa767b36d65960",
            ),
        ),
    ),
}
RETRIES = 2  # further attempts per file, when the failure may be a passing one
RETRY_WAIT = 1.0  # seconds before the first further attempt; doubled before each next one
TIMEOUT = (5.0, 60.0)  # seconds to connect, and seconds without a byte
PROGRESS_DELAY = 0.3  # seconds before the bar appears: what fails or ends at once needs none
STALE_AFTER = 24 * 3600.0  # seconds after which the leavings of a killed download are cleared away
MAX_UNPACKED = 64 * 2**20  # bytes; more than any archive here holds, and little enough to unpack without fear


def require(module: str, purpose: str) -> ModuleType:
    """Import a module that only the `train` extra brings.

    Raises:
        ModuleNotFoundError: it is not installed; the message says how to install it.
    """
    import importlib

    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{purpose} needs the package {module}, which is not installed: pip install 'digit-utils[train]' brings it",
            name=module,
        ) from error


def cache_folder() -> Path:
    """Return the folder for downloaded datasets: `DIGITS_CACHE_DIR`, or the system's place for caches."""
    chosen = os.environ.get("DIGITS_CACHE_DIR")
    if chosen:
        return with_home(chosen)
    return Path(require("pooch", "finding the cache of datasets").os_cache("digit-utils"))


def download_dataset(name: str, *, read: Callable[[Path], Loaded]) -> Loaded:
    """Download a dataset into the cache, in place of whatever lies there under its name, and return it.

    Args:
        name: a key of `MIRRORS`.
        read: takes the folder with the files, returns the verified dataset, or raises ValueError.

    Raises:
        DownloadFailed: every mirror failed.
        OSError: the cache cannot be written.
    """
    requests = require("requests", "downloading a dataset")
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    _clear_stale_downloads(cache)
    problems = []
    for mirror in MIRRORS[name]:
        with _staging_folder(cache, name) as staging:
            try:
                for remote_file in mirror:
                    _download_file(remote_file, staging)
                loaded = read(staging)
            except (requests.exceptions.RequestException, ValueError, zipfile.BadZipFile) as error:
                problems.append(f"{mirror[0].host}: {_in_short(error)}")
            else:
                _move_into_place(staging, cache / name)
                return loaded
    raise DownloadFailed("; ".join(dict.fromkeys(problems)))


@contextlib.contextmanager
def _staging_folder(cache: Path, name: str) -> Iterator[Path]:
    staging = Path(tempfile.mkdtemp(prefix=f"download-{name}-", dir=cache))
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _clear_stale_downloads(cache: Path) -> None:
    """Remove what killed downloads left; age tells them from downloads that other processes are busy with."""
    for staging in cache.glob("download-*"):
        with contextlib.suppress(OSError):
            if time.time() - staging.stat().st_mtime > STALE_AFTER:
                shutil.rmtree(staging, ignore_errors=True)


def _download_file(remote_file: RemoteFile, folder: Path) -> None:
    """Download one file, checking its hash where one is known; a zip is unpacked and removed."""
    pooch = require("pooch", "downloading a dataset")
    pooch.get_logger().setLevel("WARNING")  # the progress bar says enough
    registry = pooch.create(
        path=folder,
        base_url="",
        registry={remote_file.name: remote_file.known_hash},
        urls={remote_file.name: remote_file.url},
    )
    for attempt in range(RETRIES + 1):
        try:
            downloaded = Path(registry.fetch(remote_file.name, downloader=_download_with_progress))
            break
        except Exception as error:
            if attempt == RETRIES or not _is_passing(error):
                raise
            time.sleep(RETRY_WAIT * 2**attempt)
    if downloaded.suffix == ".zip":
        _unpack(downloaded)


def _is_passing(error: Exception) -> bool:
    """Tell whether the next attempt may succeed: not without a network, nor for a file that is not there."""
    exceptions = require("requests", "downloading a dataset").exceptions
    if isinstance(error, exceptions.HTTPError) and error.response is not None:
        return error.response.status_code >= 500 or error.response.status_code == 429
    if isinstance(error, exceptions.ConnectionError):
        return False  # the next mirror is the better attempt, and an offline machine should hear of it at once
    return isinstance(error, (exceptions.RequestException, ValueError))  # broke off, too slow, or a wrong hash


def _download_with_progress(url: str, output_file: str, pooch_instance: object, check_only: bool = False) -> None:
    """Download for pooch, with a bar that says which file from where."""
    pooch, tqdm = require("pooch", "downloading"), require("tqdm", "showing the progress of a download")
    remote_file = RemoteFile(url)
    description = f"{remote_file.name} from {remote_file.host}"
    # pooch sets the total when it knows it, but before that asks for the truth of the bar, which needs one.
    bar = tqdm.tqdm(
        desc=description,
        total=1,
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
        leave=False,
        delay=PROGRESS_DELAY,
    )
    try:
        # In chunks of 64 KiB: the default of 1 KiB spends more time on the bar than on the network.
        downloader = pooch.HTTPDownloader(progressbar=bar, chunk_size=2**16, timeout=TIMEOUT)
        downloader(url, output_file, pooch_instance, check_only=check_only)
    finally:
        bar.close()


def _unpack(archive: Path) -> None:
    """Put the files of a zip beside it, whatever folder they have inside, and remove the zip.

    Raises:
        ValueError: it unpacks to more than `MAX_UNPACKED` bytes.
        zipfile.BadZipFile: it is no zip, or damaged.
    """
    with zipfile.ZipFile(archive) as opened:
        members = [member for member in opened.infolist() if not member.is_dir()]
        if sum(member.file_size for member in members) > MAX_UNPACKED:
            raise ValueError(f"{archive.name} would unpack to more than {MAX_UNPACKED} bytes")
        for member in members:
            # The bare name only: an archive must not decide about places outside the staging folder.
            (archive.parent / Path(member.filename).name).write_bytes(opened.read(member))
    archive.unlink()


def _move_into_place(staging: Path, target: Path) -> None:
    """Rename the verified folder to its final name."""
    for last in (False, False, False, False, True):
        if target.exists():
            # A rename cannot replace a folder that has content, so the old one steps aside first.
            aside = Path(tempfile.mkdtemp(prefix=f"download-{target.name}-old-", dir=target.parent))
            with contextlib.suppress(FileNotFoundError):
                target.rename(aside / target.name)
            shutil.rmtree(aside, ignore_errors=True)
        try:
            staging.rename(target)
            return
        except OSError:
            # Another process was faster; what it put there was verified just as this was. If that is gone again, a
            # third one has just moved it aside for its own.
            if target.exists():
                return
            if last:
                raise


def _in_short(error: Exception) -> str:
    """Say in a few words why a mirror failed; the messages of requests run over many lines."""
    exceptions = require("requests", "downloading a dataset").exceptions
    if isinstance(error, exceptions.HTTPError) and error.response is not None:
        return f"HTTP status {error.response.status_code}"
    if isinstance(error, exceptions.Timeout):
        return "no answer in time"
    if isinstance(error, exceptions.ChunkedEncodingError):
        return "the connection broke off"
    if isinstance(error, exceptions.ConnectionError):
        return "no connection"
    return " ".join(str(error).split())[:200]
