"""Downloads datasets into the cache: mirrors, checksums, retries, and all files of a dataset or none.

pooch downloads each file to a temporary place, checks its hash and moves it. A dataset appears in the cache by one
rename, after its content was verified, so an interrupted download leaves no incomplete dataset behind.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from digit_utils.datasets.base import DatasetSource, RemoteFile, require
from digit_utils.files import locked, with_home

Loaded = TypeVar("Loaded")

RETRIES = 2  # further attempts per file after an error that may be temporary; pooch waits 1 s, then 2 s
TIMEOUT = (5.0, 60.0)  # seconds to connect, and seconds without a byte
PROGRESS_DELAY = 0.3  # seconds before the progress bar appears


class DownloadFailed(RuntimeError):  # noqa: N818 (reads well where it is caught)
    """No mirror delivered the dataset; the message gives the reason for each."""


def cache_folder() -> Path:
    """Return the folder for downloaded datasets: `DIGITS_CACHE_DIR`, or the system's folder for caches."""
    chosen = os.environ.get("DIGITS_CACHE_DIR")
    if chosen:
        return with_home(chosen)
    return Path(require("pooch", "finding the cache of datasets").os_cache("digit-utils"))


def download_dataset(source: DatasetSource, *, read: Callable[[Path], Loaded]) -> Loaded:
    """Download a dataset into the cache, replacing a damaged copy there, and return it.

    Processes that want the same dataset at the same time wait for the first one and use what it downloaded.

    Args:
        source: the dataset.
        read: takes the folder with the files, returns the verified dataset, or raises ValueError.

    Raises:
        DownloadFailed: every mirror failed.
        OSError: the cache cannot be written.
    """
    requests = require("requests", "downloading a dataset")
    target = cache_folder() / source.name
    staging, problems = target.with_name(f".{source.name}.partial"), []
    with locked(target.with_name(f".{source.name}.lock"), blocking=True):
        with contextlib.suppress(ValueError):
            return read(target)
        for mirror in source.mirrors:
            shutil.rmtree(staging, ignore_errors=True)  # also what a killed download left
            try:
                for remote_file in mirror:
                    _download_file(remote_file, staging)
                loaded = read(staging)
            except (DownloadFailed, requests.RequestException, ValueError, zipfile.BadZipFile) as error:
                problems.append(f"{mirror[0].host}: {_short_reason(error)}")
            else:
                shutil.rmtree(target, ignore_errors=True)
                staging.rename(target)
                return loaded
            finally:
                shutil.rmtree(staging, ignore_errors=True)
    raise DownloadFailed("; ".join(dict.fromkeys(problems)))


def _download_file(remote_file: RemoteFile, folder: Path) -> None:
    """Download one file, checking its hash if it is known; unpack a zip."""
    pooch = require("pooch", "downloading a dataset")
    pooch.get_logger().setLevel("WARNING")  # the progress bar is enough
    downloads = pooch.create(
        path=folder,
        base_url="",
        registry={remote_file.name: remote_file.known_hash},
        urls={remote_file.name: remote_file.url},
        retry_if_failed=RETRIES,
    )
    path = Path(downloads.fetch(remote_file.name, downloader=_download_with_progress))
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if not member.is_dir():  # the bare name, so that no archive writes outside the folder
                    (folder / Path(member.filename).name).write_bytes(archive.read(member))
        path.unlink()


def _download_with_progress(url: str, output_file: str, pooch_instance: object) -> None:
    """Download for pooch, with a progress bar that names file and server.

    Raises DownloadFailed, which pooch does not retry, for errors that the next attempt would only repeat: a missing
    file, or an unreachable server (the next mirror is the better attempt, and an offline machine should fail at once).
    """
    pooch, tqdm = require("pooch", "downloading"), require("tqdm", "showing the progress of a download")
    exceptions = require("requests", "downloading a dataset").exceptions
    remote_file = RemoteFile(url)
    bar = tqdm.tqdm(
        desc=f"{remote_file.name} from {remote_file.host}",
        total=1,  # pooch sets the size later, but first asks whether the bar is true, which takes a total
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
        leave=False,
        delay=PROGRESS_DELAY,
    )
    with bar:
        try:
            pooch.HTTPDownloader(progressbar=bar, chunk_size=2**16, timeout=TIMEOUT)(url, output_file, pooch_instance)
        except exceptions.HTTPError as error:
            if error.response.status_code >= 500 or error.response.status_code == 429:
                raise
            raise DownloadFailed(_short_reason(error)) from error
        except exceptions.ConnectionError as error:
            raise DownloadFailed(_short_reason(error)) from error


def _short_reason(error: Exception) -> str:
    """Return in a few words why a mirror failed; messages of requests have many lines."""
    exceptions = require("requests", "downloading a dataset").exceptions
    if isinstance(error, exceptions.HTTPError) and error.response is not None:
        return f"HTTP status {error.response.status_code}"
    if isinstance(error, exceptions.Timeout):
        return "no answer in time"
    if isinstance(error, exceptions.ChunkedEncodingError):
        return "the connection was interrupted"
    if isinstance(error, exceptions.SSLError):
        return (
            "its certificate is not trusted here, perhaps because a proxy inspects connections: set REQUESTS_CA_BUNDLE "
            "to a file with the proxy's certificate"
        )
    if isinstance(error, exceptions.ProxyError):
        if "407" in str(error):
            return "the proxy wants a password (status 407): put it into HTTPS_PROXY=http://name:password@host:port"
        return "no connection to the proxy that HTTPS_PROXY or HTTP_PROXY names"
    if isinstance(error, exceptions.ConnectionError):
        return "no connection"
    return " ".join(str(error).split())[:200]
