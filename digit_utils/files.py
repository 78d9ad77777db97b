"""Small helpers for whatever touches the disk: homes, files that appear whole or not at all, locks, and hashes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROGRESS_FILE = "DIGITS_PROGRESS_FILE"  # the variable of a kernel that names the file for `report_progress`


def with_home(path: str | os.PathLike[str]) -> Path:
    """Return a path with the home folder that its ~ or ~somebody stands for.

    Raises FileNotFoundError, which names the path and the remedy, when nobody knows that folder.
    """
    path = Path(path)
    try:
        return path.expanduser()
    except RuntimeError as error:
        told = f"{path}: the home folder {path.parts[0]} is not known here; write the whole path"
        raise FileNotFoundError(told) from error


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path whose file takes the place of `path` when the block succeeds.

    The temporary file has the same name, because some writers look at the suffix, and lies in a hidden folder
    beside `path` (whose folder is created if needed), because a rename is only atomic within one file system.
    When the block raises, the temporary file is removed and `path` stays as it was.

    Raises:
        FileNotFoundError: the block ended without writing anything to the temporary path.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    temporary = folder / target.name
    try:
        yield temporary
        if not temporary.exists():
            raise FileNotFoundError(f"nothing was written for {target}: the block must write to {temporary}")
        _flush_to_disk(temporary)
        os.replace(temporary, target)  # noqa: PTH105 (the one call that replaces on every system)
        _flush_names_to_disk(target.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _flush_to_disk(path: Path) -> None:
    """Bring the content to the disk before a rename shows it, lest a power cut leave an empty file."""
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def _flush_names_to_disk(folder: Path) -> None:
    """Bring a rename to the disk, where the system can: not on Windows, nor on some file systems of a network."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def locked(path: str | os.PathLike[str], *, blocking: bool) -> Iterator[bool]:
    """Hold a lock of the system, which ends with the process that holds it; yield False when somebody else does.

    The lock is an empty file, which stays; its folder is created if needed. With `blocking` it is waited for.
    """
    from filelock import FileLock, Timeout  # not at once: whoever only reads a model needs no lock

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=-1 if blocking else 0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal characters.

    Raises:
        OSError: the file cannot be read.
    """
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_json(path: str | os.PathLike[str], content: object) -> None:
    """Write content as indented JSON, atomically. Raises TypeError for what JSON cannot hold."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds no JSON object; the message names the file and lacks only the remedy.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged (not a JSON object)")
    return content


def report_progress(text: str) -> None:
    """Tell the command that runs this notebook how far it is, for its line in the terminal; elsewhere do nothing."""
    if not (path := os.environ.get(PROGRESS_FILE)):
        return
    with contextlib.suppress(OSError):  # a full disk must not end a training here
        begun = Path(f"{path}.part")
        begun.write_text(text, encoding="utf-8")
        os.replace(begun, path)  # noqa: PTH105


def package_versions(*packages: str) -> dict[str, str]:
    """Return the versions of Python and of those of the packages that are installed, without importing any of them."""
    import importlib.metadata  # not at the top: it would cost everybody who loads a model 20 ms
    import platform

    found = {"python": platform.python_version()}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found
