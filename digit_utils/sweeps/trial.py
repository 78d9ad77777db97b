"""One run, in a thread of this process or in dask's worker on a machine that sees the same folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from digit_utils.datasets.loading import PLANNED_DATA
from digit_utils.files import with_home
from digit_utils.notebook.execute import (
    FULL_DISK_NUMBERS,
    DiskFull,
    NotebookInterrupted,
    NotebookRaised,
    execute_notebook,
    full_disk,
)
from digit_utils.notebook.fork_server import ForkServer
from digit_utils.notebook.results import MetricsError
from digit_utils.sweeps.code import code_of_notebook, deciding_versions
from digit_utils.sweeps.config import OUTPUT_FOLDER, SweepError
from digit_utils.sweeps.identity import Run, changed_file, data_as_planned
from digit_utils.sweeps.store import FAILED, FINISHED, INTERRUPTED, RunStore

BUSY, DISK_FULL = "busy", "disk full"  # outcomes that are not recorded as the status of a run
DATA_FOLDERS = ("DIGITS_DATA_DIR", "DIGITS_CACHE_DIR")  # made absolute, since a kernel has its own working directory
THREADS = (  # of the libraries that would otherwise start one thread per core in every run
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"),
    *("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"),
)
SHARED_GPU = {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # memory as needed
TOKEN = ".shared-"  # how the file begins by which a machine knows the folder of a sweep
DAMAGED_CHECKPOINT = re.compile("TrainingFolderError: .* is damaged", re.DOTALL)  # as `digit_utils.training` raises it
LEAST_SPACE = 1_000_000  # bytes; a run that begins with less would only fail


@dataclass(frozen=True)
class Task:
    """A run, and how to do it."""

    run: Run
    root: str  # folder of the sweep
    takes_output_folder: bool  # whether the notebook has that parameter
    threads: int = 1
    failures_seen: int = -1  # attempts after which a failed run is to be repeated; -1: it is not
    time_limit: float | None = None  # seconds


@dataclass(frozen=True)
class Outcome:
    """What became of a task."""

    status: str  # "finished", "failed", "interrupted", "busy" or "disk full"
    seconds: float = 0.0
    reason: str = ""  # one sentence
    metrics: Mapping[str, float] | None = None


class RunFailed(RuntimeError):  # noqa: N818
    """A run failed, though its notebook raised nothing: it took too long, or its data are not those it is about."""


class Kernels:
    """The kernels of this process, forked from one server: a sweep has one notebook, so its imports are done once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fork_server: ForkServer | None = None
        self._running: weakref.WeakSet[subprocess.Popen] = weakref.WeakSet()
        self._on_device: Counter[str] = Counter()  # how many runs use each GPU

    def execute(
        self,
        notebook: Path,
        output: Path,
        *,
        environment: Mapping[str, str],
        own: Mapping[str, str],
        time_limit: float | None,
        **options: Any,
    ) -> None:
        """Run a notebook, as `execute_notebook` does, in a kernel that `kill` ends, on a GPU of its own if possible.

        The fork server has `environment`, the kernel those variables and its `own`.
        Raises RunFailed after `time_limit` seconds, and what `execute_notebook` raises.
        """
        command = self._server(notebook, environment).command()
        late = threading.Event()
        watches: list[threading.Timer] = []

        def started(process: subprocess.Popen) -> None:
            with self._lock:
                self._running.add(process)
            if time_limit is not None:
                watches.append(threading.Timer(time_limit, lambda: (late.set(), process.kill())))
                watches[-1].daemon = True
                watches[-1].start()

        try:
            with self._device() as device:
                variables = {**environment, **own, **device}
                execute_notebook(notebook, output, environment=variables, kernel=command, on_start=started, **options)
        except NotebookInterrupted as error:
            if late.is_set():
                raise RunFailed(f"it was stopped after {time_limit:g} seconds, its time_limit") from error
            raise
        finally:
            for watch in watches:
                watch.cancel()

    @contextmanager
    def _device(self) -> Iterator[dict[str, str]]:
        """Yield the variables that give a run the GPU with the fewest runs; none on a machine without one."""
        gpus = visible_gpus()
        if not gpus:
            yield {}
            return
        with self._lock:
            gpu = min(gpus, key=lambda gpu: self._on_device[gpu])
            self._on_device[gpu] += 1
        try:
            yield {"CUDA_VISIBLE_DEVICES": gpu, **SHARED_GPU}
        finally:
            with self._lock:
                self._on_device[gpu] -= 1

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

    def kill(self) -> None:
        """End the fork server and all kernels."""
        with self._lock:
            if self._fork_server is not None:
                self._fork_server.close()
                self._fork_server = None
            for process in self._running:
                process.kill()


KERNELS = Kernels()


@cache
def visible_gpus() -> tuple[str, ...]:
    """Return the names of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES has them."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return tuple(name.strip() for name in chosen.split(",") if name.strip() not in ("", "-1"))
    try:
        command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
        found = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(found.stdout.split()) if found.returncode == 0 else ()


def perform(task: Task) -> Outcome:
    """Do one run, unless it is done or another process does it; whatever happens within it is an outcome.

    Raises SweepError if the code here is no longer, or not, that which the run was planned with.
    """
    if _differing_code(task.run):
        raise SweepError(
            f"the code of {Path(task.run.notebook).name}, or of what it imports, has changed since this sweep was "
            "started; start it again"
        )
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
    if min(shutil.disk_usage(place).free for place in (store.root, tempfile.gettempdir())) < LEAST_SPACE:
        raise DiskFull(full_disk(store.root))
    record = store.begin(task.run)
    start = time.perf_counter()
    try:
        if path := changed_file(task.run):
            raise RunFailed(f"{path} on {socket.gethostname()} is not the file that the run was planned with")
        _execute(task, store)
        outcome = {"status": FINISHED, **store.findings(task.run)}
    except (RunFailed, MetricsError) as error:
        outcome = {"status": FAILED, "error": {"reason": str(error), "traceback": ""}}
    except NotebookRaised as error:
        details = {"reason": error.reason, "traceback": error.traceback, "notebook": error.output.name}
        outcome = {"status": FAILED, "error": details}
    outcome["seconds"] = round(time.perf_counter() - start, 2)
    store.end(task.run, record, **outcome)
    return _outcome_of(outcome)


def _execute(task: Task, store: RunStore) -> None:
    """Run the notebook; if a checkpoint in the run's folder turns out to be damaged, once more from the start."""
    folder = store.folder(task.run)
    extra = {OUTPUT_FOLDER: str(folder)} if task.takes_output_folder else {}
    for may_start_over in (True, False):
        try:
            KERNELS.execute(
                Path(task.run.notebook),
                store.notebook(task.run),
                parameters=task.run.parameters | extra,
                folder=folder,
                environment=environment_of_run(task.threads),
                own={PLANNED_DATA: json.dumps(data_as_planned(task.run))},
                time_limit=task.time_limit,
                demonstrations=False,
            )
            return
        except NotebookRaised as error:
            if not (may_start_over and DAMAGED_CHECKPOINT.match(error.reason)):
                raise
            store.clear(task.run)


def environment_of_run(threads: int) -> dict[str, str]:
    """Return the environment variables that keep a run to its threads and let it find the data."""
    folders = {name: str(with_home(os.environ[name]).resolve()) for name in DATA_FOLDERS if os.environ.get(name)}
    return {**dict.fromkeys(THREADS, str(threads)), "TF_CPP_MIN_LOG_LEVEL": "3", **folders}


def _differing_code(run: Run) -> bool:
    code = code_of_notebook(Path(run.notebook))
    return any(run.identity[part] != code[part] for part in code)


def unfitness(root: str, token: str, run: Run) -> str:
    """Return why this machine cannot do the runs of a sweep, such as "it does not see ..."; "" if it can."""
    if not (Path(root) / f"{TOKEN}{token}").is_file():
        return f"it does not see the folder {root}; mount it there, too"
    return _unfit_code(run)


def _unfit_code(run: Run) -> str:
    notebook = Path(run.notebook)
    if not notebook.is_file():
        return f"it has no {notebook}; put it there, too"
    if _differing_code(run):
        return f"{notebook.name}, or what it imports of digit_utils, differs; install the same version"
    here, planned = deciding_versions(notebook), json.loads(run.identity["versions"])
    differing = [f"{name} {here.get(name)} instead of {v}" for name, v in planned.items() if here.get(name) != v]
    return f"it has {', '.join(differing)}; install the same" if differing else ""


def _outcome_of(record: Mapping[str, Any]) -> Outcome:
    reason = record.get("error", {}).get("reason", "")
    return Outcome(record["status"], record.get("seconds", 0.0), reason, record.get("metrics"))
