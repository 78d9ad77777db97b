"""One folder for the temporary files of a command and its kernels, which leaves nothing behind.

The command removes it when it ends. If it is killed, the next command of the same user does: a command holds a lock in
its folder, which the system releases when the process dies.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

from filelock import FileLock, Timeout

PREFIX, LOCK = "digits-scratch-", ".lock"


@cache
def scratch_folder() -> Path:
    """Return the folder of this process; the first call makes it, and removes those of processes that were killed.

    Raises OSError if it cannot be made.
    """
    parent = Path(tempfile.gettempdir())
    for stale in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if stale.stat().st_uid == os.getuid() if hasattr(os, "getuid") else True:
                _remove_if_stale(stale)
    # Locked under another name first, lest another process take it for one that was left behind; Windows renames no
    # folder with an open file.
    unnamed = Path(tempfile.mkdtemp(prefix=PREFIX if os.name == "nt" else f".{PREFIX}"))
    lock = FileLock(unnamed / LOCK, thread_local=False)
    lock.acquire()
    folder = unnamed.rename(unnamed.with_name(unnamed.name.lstrip("."))) if os.name != "nt" else unnamed
    atexit.register(_remove, folder, lock, os.getpid())
    return folder


def _remove_if_stale(folder: Path) -> None:
    with contextlib.suppress(Timeout), FileLock(folder / LOCK, timeout=0):
        shutil.rmtree(folder, ignore_errors=True)


def _remove(folder: Path, lock: FileLock, owner: int) -> None:
    if os.getpid() == owner:  # not in a process that was forked from it
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)
