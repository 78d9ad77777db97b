"""One run, in a thread of this process or in dask's worker on a machine that sees the same folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from digit_utils.files import with_home
from digit_utils.notebook.execute import (
    FULL_DISK_NUMBERS,
    DiskFull,
    NotebookInterrupted,
    NotebookRaised,
    execute_notebook,
)
from digit_utils.notebook.fork_server import ForkServer
from digit_utils.notebook.results import MetricsError
from digit_utils.sweeps.config import OUTPUT_FOLDER, SweepError
from digit_utils.sweeps.identity import Run, code_of_package
from digit_utils.sweeps.store import FAILED, FINISHED, INTERRUPTED, RunStore

BUSY, DISK_FULL = "busy", "disk full"  # outcomes that are not recorded as the status of a run
DATA_FOLDERS = ("DIGITS_DATA_DIR", "DIGITS_CACHE_DIR")  # made absolute, since a kernel has its own working directory
THREADS = (  # of the libraries that would otherwise start one thread per core in every run
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"),
    *("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"),
)
LEAST_SPACE = 1_000_000  # bytes; a run that begins with less would only fail


@dataclass(frozen=True)
class Task:
    """A run, and how to do it."""

    run: Run
    root: str  # folder of the sweep
    takes_output_folder: bool  # whether the notebook has that parameter
    threads: int = 1
    failures_seen: int = -1  # attempts after which a failed run is to be repeated; -1: it is not


@dataclass(frozen=True)
class Outcome:
    """What became of a task."""

    status: str  # "finished", "failed", "interrupted", "busy" or "disk full"
    seconds: float = 0.0
    reason: str = ""  # one sentence
    metrics: Mapping[str, float] | None = None


class Kernels:
    """The kernels of this process, forked from one server: a sweep has one notebook, so its imports are done once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fork_server: ForkServer | None = None
        self._running: weakref.WeakSet[subprocess.Popen] = weakref.WeakSet()

    def execute(self, notebook: Path, output: Path, *, environment: Mapping[str, str], **options: Any) -> None:
        """Run a notebook, as `execute_notebook` does, in a kernel that `kill` ends."""
        command = self._server(notebook, environment).command()
        options |= {"environment": environment, "kernel": command, "on_start": self._started}
        execute_notebook(notebook, output, **options)

    def _server(self, notebook: Path, environment: Mapping[str, str]) -> ForkServer:
        """Return the fork server for a notebook, a new one if it was killed."""
        key = (notebook, tuple(sorted(environment.items())))
        with self._lock:
            server = self._fork_server
            if server is None or server.key != key or not server.alive():
                if server is not None:
                    server.close()
                self._fork_server = server = ForkServer(notebook, environment)
        return server

    def _started(self, process: subprocess.Popen) -> None:
        with self._lock:
            self._running.add(process)

    def kill(self) -> None:
        """End the fork server and all kernels."""
        with self._lock:
            if self._fork_server is not None:
                self._fork_server.close()
                self._fork_server = None
            for process in self._running:
                process.kill()


KERNELS = Kernels()


def perform(task: Task) -> Outcome:
    """Do one run, unless it is done or another process does it; whatever happens within it is an outcome.

    Raises SweepError if this machine has other code of the package than the one that sent the task.
    """
    if task.run.identity["package"] != code_of_package():
        raise SweepError("the package's code here differs from that of the sweep; install the same, or start it again")
    import papermill  # noqa: F401 (takes a second or two, which would count as the first run's)

    store = RunStore(task.root)
    try:
        with store.lock(task.run) as acquired:
            return _perform(task, store) if acquired else Outcome(BUSY)
    except (NotebookInterrupted, OSError) as error:
        full = isinstance(error, DiskFull) or getattr(error, "errno", None) in FULL_DISK_NUMBERS
        return Outcome(DISK_FULL if full else INTERRUPTED, reason=str(error))


def _perform(task: Task, store: RunStore) -> Outcome:
    known = store.record(task.run)
    repeat = known["status"] == FAILED and known["attempts"] <= task.failures_seen
    if known["status"] in (FINISHED, FAILED) and not repeat:
        return _outcome_of(known)
    if shutil.disk_usage(store.root).free < LEAST_SPACE:
        raise DiskFull(f"no space is left for {store.root}")
    record = store.begin(task.run)
    start = time.perf_counter()
    try:
        _execute(task, store)
        outcome = {"status": FINISHED, "metrics": store.metrics(task.run)}
    except NotebookRaised as error:
        details = {"reason": error.reason, "traceback": error.traceback, "notebook": error.output.name}
        outcome = {"status": FAILED, "error": details}
    except MetricsError as error:
        outcome = {"status": FAILED, "error": {"reason": str(error), "traceback": ""}}
    outcome["seconds"] = round(time.perf_counter() - start, 2)
    store.end(task.run, record, **outcome)
    return _outcome_of(outcome)


def _execute(task: Task, store: RunStore) -> None:
    folder = store.folder(task.run)
    extra = {OUTPUT_FOLDER: str(folder)} if task.takes_output_folder else {}
    KERNELS.execute(
        Path(task.run.notebook),
        store.notebook(task.run),
        parameters=task.run.parameters | extra,
        folder=folder,
        environment=environment_of_run(task.threads),
    )


def environment_of_run(threads: int) -> dict[str, str]:
    """Return the environment variables that keep a run to its threads and let it find the data."""
    folders = {name: str(with_home(os.environ[name]).resolve()) for name in DATA_FOLDERS if os.environ.get(name)}
    return {**dict.fromkeys(THREADS, str(threads)), "TF_CPP_MIN_LOG_LEVEL": "3", **folders}


def _outcome_of(record: Mapping[str, Any]) -> Outcome:
    reason = record.get("error", {}).get("reason", "")
    return Outcome(record["status"], record.get("seconds", 0.0), reason, record.get("metrics"))
