"""Where runs are placed: one after the other in a process beside this one, or by dask on many machines.

Both give a `Placement`: tasks in, and out of a queue their starts and their ends.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import signal
import sys
import uuid
from collections.abc import Callable
from concurrent.futures import CancelledError, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Protocol

import psutil

from digit_utils.sweeps.config import SweepError
from digit_utils.sweeps.trial import Outcome, Task, perform

MEMORY_OF_A_RUN = 1.5e9  # bytes: TensorFlow, the training data and the network of 02_train
STARTS = "digits-run-starts"  # topic on which dask's workers tell what they begin
SECONDS_TO_CONNECT = 10


@dataclass(frozen=True)
class Report:
    """Something happened to a task."""

    task: Task
    outcome: Outcome | None = None  # None: it has started
    lost: str = ""  # why its process is no more, when that is what happened
    placement_lost: bool = False  # whether nothing can be placed any more, until the scheduler is back
    refused: str = ""  # why no task can be done there


class Placement(Protocol):
    """A place for runs."""

    capacity: int  # tasks that it is worth handing over at a time
    about: str  # for the user

    def submit(self, task: Task) -> None:
        """Hand a task over."""

    def next_report(self, seconds: float) -> Report | None:
        """Return what happened next, or None when nothing did for so long."""

    def close(self) -> None:
        """End all that still runs."""


class SerialPlacement:
    """One run after the other, in a process of its own, which can be ended at any moment."""

    capacity = 1
    about = 'one run after the other (with `pip install "digit-utils[sweep]"` several at a time)'

    def __init__(self) -> None:
        self._reports: queue.Queue[Report] = queue.Queue()
        self._pool = self._new_pool()

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            1, mp_context=multiprocessing.get_context("spawn"), initializer=_prepare_process, initargs=(os.getpid(),)
        )

    def submit(self, task: Task) -> None:
        """Hand a task over."""
        future = self._pool.submit(perform, task)
        self._reports.put(Report(task))
        future.add_done_callback(lambda done: self._reports.put(_report(task, done)))

    def next_report(self, seconds: float) -> Report | None:
        """Return what happened next, or None when nothing did for so long."""
        with contextlib.suppress(queue.Empty):
            report = self._reports.get(timeout=seconds)
            if report.lost:
                self._pool.shutdown(wait=False)
                self._pool = self._new_pool()
            return report
        return None

    def close(self) -> None:
        """End all that still runs."""
        for process in list((self._pool._processes or {}).values()):  # `kill_workers` of Python 3.14 does the same
            process.kill()
        self._pool.shutdown(wait=True, cancel_futures=True)


def _prepare_process(parent: int) -> None:
    """Leave Ctrl-C to the command, and end with it."""
    from digit_utils.notebook.kernel_process import die_with_parent

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent(parent)


class DaskPlacement:
    """Many runs at a time: on a cluster of processes of this machine, or on one that is there already."""

    capacity = sys.maxsize

    def __init__(self, *, scheduler: str | None = None, workers: int | None = None) -> None:
        import distributed

        self._reports: queue.Queue[Report] = queue.Queue()
        self._tasks: dict[str, Task] = {}
        self._cluster = None
        if scheduler is None:
            self._cluster = distributed.LocalCluster(
                n_workers=workers or default_workers(),
                threads_per_worker=1,
                memory_limit=0,  # it would watch the worker, and it is the kernel that needs memory
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
            )
        try:
            self._client = distributed.Client(self._cluster or scheduler, timeout=SECONDS_TO_CONNECT)
        except OSError as error:
            raise SweepError(
                f"no scheduler answers at {scheduler} ({error}); start one, or leave out --scheduler"
            ) from error
        self._client.subscribe_topic(STARTS, self._started)
        self.about = f"on {self._describe()}, watch it at {self._client.dashboard_link}"

    def _describe(self) -> str:
        if self._cluster is None:
            return f"the cluster at {self._client.scheduler.address}"
        count = len(self._cluster.workers)
        return f"{count} worker{'s' * (count > 1)} of this machine"

    def submit(self, task: Task) -> None:
        """Hand a task over."""
        key = f"{task.run.id}-{uuid.uuid4().hex}"  # no other command's tasks are mistaken for ours
        self._tasks[key] = task
        future = self._client.submit(_perform_and_tell, task, key, key=key, pure=False)
        future.add_done_callback(lambda done: self._ended(key, done))

    def _started(self, event: tuple[float, Any]) -> None:
        task = self._tasks.get(event[1])
        if task is not None:
            self._reports.put(Report(task))

    def _ended(self, key: str, future: Any) -> None:
        task = self._tasks.pop(key, None)
        if task is not None:
            self._reports.put(_report(task, future))

    def next_report(self, seconds: float) -> Report | None:
        """Return what happened next, or None when nothing did for so long."""
        with contextlib.suppress(queue.Empty):
            return self._reports.get(timeout=seconds)
        return None

    def close(self) -> None:
        """End all that still runs here; of a cluster that was there already, only what was not begun."""
        self._tasks.clear()
        with contextlib.suppress(Exception):  # whatever a scheduler that is gone makes of it
            self._client.close(timeout=5)
        if self._cluster is not None:
            self._kill_workers()
            with contextlib.suppress(Exception):
                self._cluster.close(timeout=5)

    def _kill_workers(self) -> None:
        """End the workers, and with them their kernels; asked politely they would finish what they have begun."""
        for nanny in self._cluster.workers.values():
            nanny.auto_restart = False
            with contextlib.suppress(psutil.Error):
                if nanny.pid:
                    psutil.Process(nanny.pid).kill()


def _perform_and_tell(task: Task, key: str) -> Outcome:
    """Do a run within a worker of dask."""
    import distributed

    distributed.get_worker().log_event(STARTS, key)
    return perform(task)


def _report(task: Task, future: Any) -> Report:
    """Return what a future, of dask or of a pool, says of its task."""
    try:
        return Report(task, outcome=future.result())
    except SweepError as error:
        return Report(task, refused=str(error))
    except BrokenProcessPool:
        return Report(task, lost="its process was killed")
    except CancelledError as error:  # dask's own is one of these, too
        return Report(task, lost=str(error), placement_lost=True)
    except Exception as error:
        killed = type(error).__name__ == "KilledWorker"  # named, since dask may not be installed
        return Report(task, lost="its worker died again and again" if killed else f"{type(error).__name__}: {error}")


def default_workers() -> int:
    """Return how many runs of one thread this machine has cores and memory for."""
    import psutil
    from dask.system import CPU_COUNT

    return max(1, min(CPU_COUNT, int(psutil.virtual_memory().total // MEMORY_OF_A_RUN)))


def place(*, scheduler: str | None, workers: int | None, note: Callable[[str], None]) -> Placement:
    """Return a place for runs: dask's where it is installed. Raises SweepError for a scheduler that cannot be had."""
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        if scheduler:
            raise SweepError('--scheduler needs dask: run `pip install "digit-utils[sweep]"`') from error
        placement: Placement = SerialPlacement()
    else:
        placement = DaskPlacement(scheduler=scheduler, workers=workers)
    note(placement.about)
    return placement
