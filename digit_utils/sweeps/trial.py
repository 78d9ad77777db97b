"""One run, where it is placed: in a process of this machine or of another one that sees the same folder."""

from __future__ import annotations

import os
import shutil
import time
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
from digit_utils.sweeps.store import FAILED, FINISHED, INTERRUPTED, Run, RunStore, code_of_package

BUSY, DISK_FULL = "busy", "disk full"  # outcomes that are no lasting status of a run
PLACES = ("DIGITS_DATA_DIR", "DIGITS_CACHE_DIR")  # made absolute, since a kernel has its own working directory
THREADS = (  # who would otherwise start a thread a core in every run
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"),
    *("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"),
)
LEAST_SPACE = 1_000_000  # bytes; a run that begins with less would only fail


@dataclass(frozen=True)
class Task:
    """A run and the place of its files."""

    run: Run
    root: str
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


def perform(task: Task) -> Outcome:
    """Do one run, unless it is done or another process does it; whatever happens within it is an outcome.

    Raises SweepError when this machine has other package code than the one that sent the task.
    """
    if task.run.identity["package"] != code_of_package():
        raise SweepError("the package's code here differs from that of the sweep; install the same, or start it again")
    import papermill  # noqa: F401 (a second or two, once a process; no run should count it)

    store = RunStore(task.root)
    try:
        with store.lock(task.run) as held:
            return _perform(task, store) if held else Outcome(BUSY)
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
    except (NotebookRaised, MetricsError) as error:
        outcome = {"status": FAILED, "error": _error_record(error)}
    outcome["seconds"] = round(time.perf_counter() - start, 2)
    store.end(task.run, record, **outcome)
    return _outcome_of(outcome)


def _execute(task: Task, store: RunStore) -> None:
    folder = store.folder(task.run)
    parameters = dict(task.run.parameters)
    if task.takes_output_folder:
        parameters[OUTPUT_FOLDER] = str(folder)
    environment = environment_of_run(task.threads)
    execute_notebook(
        Path(task.run.notebook),
        store.notebook(task.run),
        parameters=parameters,
        folder=folder,
        environment=environment,
        kernel=_fork_server(Path(task.run.notebook), environment).command(),
    )


_fork_servers: list[ForkServer] = []  # the one of this process, for the notebook that it runs


def _fork_server(notebook: Path, environment: Mapping[str, str]) -> ForkServer:
    """Return this process's fork server for a notebook: a sweep has one notebook, so its imports are done once."""
    if _fork_servers and (
        _fork_servers[0].key != (notebook, tuple(sorted(environment.items()))) or not _fork_servers[0].alive()
    ):
        _fork_servers.pop().close()
    if not _fork_servers:
        _fork_servers.append(ForkServer(notebook, environment))
    return _fork_servers[0]


def environment_of_run(threads: int) -> dict[str, str]:
    """Return the environment variables that keep a run to its threads and let it find the data."""
    places = {name: str(with_home(os.environ[name]).resolve()) for name in PLACES if os.environ.get(name)}
    return {**dict.fromkeys(THREADS, str(threads)), "TF_CPP_MIN_LOG_LEVEL": "3", **places}


def _error_record(error: Exception) -> dict[str, str]:
    if isinstance(error, NotebookRaised):
        return {"reason": error.reason, "traceback": error.traceback, "notebook": error.output.name}
    return {"reason": str(error), "traceback": ""}


def _outcome_of(record: Mapping[str, Any]) -> Outcome:
    reason = record.get("error", {}).get("reason", "")
    return Outcome(record["status"], record.get("seconds", 0.0), reason, record.get("metrics"))
