"""Runs a sweep to its end: what is finished is skipped, what was interrupted resumes, what fails stops no other run.

On this machine runs are done by threads of this process, since a thread only waits for its kernel. On a cluster they
are done by the workers of a dask scheduler.
"""

from __future__ import annotations

import math
import queue
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from tqdm import tqdm

from digit_utils.notebook.execute import FULL_DISK_NUMBERS
from digit_utils.sweeps.config import OUTPUT_FOLDER, Sweep, SweepError
from digit_utils.sweeps.identity import Run, data_of_runs, plan_runs
from digit_utils.sweeps.store import FAILED, FINISHED, INTERRUPTED, RunStore
from digit_utils.sweeps.trial import BUSY, DISK_FULL, KERNELS, Outcome, Task, perform

MOST_LOSSES = 3  # times that a run is begun whose kernel or worker died
MEMORY_OF_A_RUN = 1.5e9  # bytes: TensorFlow, the training data and the network of 02_train
SECONDS_BETWEEN_TABLES = 2.0
SECONDS_UNTIL_BUSY_AGAIN = 2.0  # before trying again a run that another process is doing
SECONDS_TO_CONNECT = 10
MAKE_SPACE = "make space and start again: what is finished is kept"
BAR = "{percentage:3.0f}% {bar} {n}/{total} [{elapsed}<{remaining}{postfix}]"


def print_line(text: str) -> None:
    """Print a line without disturbing the progress bar."""
    tqdm.write(text)
    sys.stdout.flush()


def run_sweep(
    sweep: Sweep,
    output: str | Path,
    *,
    scheduler: str | None = None,
    workers: int | None = None,
    threads: int = 1,
    retry_failed: bool = False,
    note: Callable[[str], None] = print_line,
) -> Counter[str]:
    """Do all runs of a sweep and keep them in a folder, which may hold some of them already.

    Args:
        sweep: what to run.
        output: the folder.
        scheduler: address of a dask scheduler, such as "tcp://host:8786", whose workers see the same folder; None to
            use this machine.
        workers: how many runs to do at a time on this machine; None for one per core, as far as memory allows.
        threads: of each run.
        retry_failed: whether to repeat runs that failed.
        note: called with each line for the user.

    Returns how many runs are "finished", "failed" and "interrupted"; the table is in `results.csv`.
    Raises SweepError if nothing can be run, the disk is full, or the folder is damaged. What is finished is kept.
    """
    store = RunStore(output)
    runs = plan_runs(sweep, data_of_runs(sweep))
    with _explained_full_disk(store):
        store.save_plan(sweep, runs)
        tasks, known = _open_tasks(store, runs, sweep, threads=threads, retry_failed=retry_failed)
        with Progress(sweep, total=len(runs), known=known, note=note) as progress:
            try:
                if tasks:
                    with executor_for(scheduler=scheduler, workers=workers, note=note) as executor:
                        Scheduler(store, progress, executor).run(tasks)
            except BaseException:
                with suppress(OSError, SweepError):  # the table can be made again; what went wrong counts
                    store.write_results()
                raise
        store.write_results()
    return progress.counts


@contextmanager
def _explained_full_disk(store: RunStore) -> Iterator[None]:
    """Turn what writing to a full disk raises into one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL_DISK_NUMBERS:
            raise
        raise SweepError(f"no space is left for {store.root}; {MAKE_SPACE}") from error


def _open_tasks(
    store: RunStore, runs: Sequence[Run], sweep: Sweep, *, threads: int, retry_failed: bool
) -> tuple[list[Task], dict[str, dict[str, Any]]]:
    """Return what is to be done, and the records of what has been done already."""
    tasks, known = [], {}
    for run in runs:
        record = store.record(run)
        repeat = record["status"] == FAILED and retry_failed
        if record["status"] in (FINISHED, FAILED) and not repeat:
            known[run.id] = record
        else:
            attempts = record["attempts"] if repeat else -1
            tasks.append(Task(run, str(store.root), OUTPUT_FOLDER in sweep.defaults, threads, attempts))
    return tasks, known


# ---------------------------------------------------------------------------------------------------- executors


def executor_for(*, scheduler: str | None, workers: int | None, note: Callable[[str], None]) -> Any:
    """Return a context manager that yields an executor, and on leaving stops what still runs."""
    return dask_executor(scheduler, note) if scheduler else local_executor(workers or default_workers(), note)


@contextmanager
def local_executor(workers: int, note: Callable[[str], None]) -> Iterator[Executor]:
    """Yield threads of this process. On leaving, the kernels that still run are killed."""
    note(f"{workers} run{'s' * (workers > 1)} at a time on this machine")
    executor = ThreadPoolExecutor(workers)
    try:
        yield executor
    finally:
        stopping = threading.Thread(target=executor.shutdown, kwargs={"cancel_futures": True})
        stopping.start()
        while stopping.is_alive():
            KERNELS.kill()  # again and again, since a thread may have been about to start one
            stopping.join(0.1)
        KERNELS.kill()


@contextmanager
def dask_executor(address: str, note: Callable[[str], None]) -> Iterator[Executor]:
    """Yield the workers of a cluster. On leaving, the cluster is rid of what was not begun."""
    try:
        import distributed
    except ImportError as error:
        raise SweepError('--scheduler needs dask: run `pip install "digit-utils[sweep]"`') from error
    try:
        client = distributed.Client(address, timeout=SECONDS_TO_CONNECT)
    except OSError as error:
        raise SweepError(f"no scheduler answers at {address} ({error}); start one, or leave out --scheduler") from error
    note(f"on the cluster at {client.scheduler.address}, watch it at {client.dashboard_link}")
    executor = client.get_executor(pure=False)  # not "pure": no other command's tasks are mistaken for ours
    try:
        yield executor
    finally:
        with suppress(Exception):  # whatever a scheduler that is gone leads to
            executor.shutdown(wait=False)
            client.close(timeout=5)


def default_workers() -> int:
    """Return how many runs of one thread this machine has cores and memory for."""
    import joblib  # comes with scikit-learn, and respects the limits of containers

    return max(1, min(joblib.cpu_count(), int(psutil.virtual_memory().total // MEMORY_OF_A_RUN)))


# ---------------------------------------------------------------------------------------------------- the loop


class Scheduler:
    """Hands tasks to an executor and deals with what can go wrong around a run."""

    def __init__(self, store: RunStore, progress: Progress, executor: Executor):
        self._store, self._progress, self._executor = store, progress, executor
        self._pending: dict[Future[Outcome], Task] = {}
        self._done: queue.SimpleQueue[Future[Outcome]] = queue.SimpleQueue()
        self._busy: deque[tuple[float, Task]] = deque()  # with the time to try again
        self._losses: Counter[str] = Counter()
        self._next_table = 0.0

    def run(self, tasks: Sequence[Task]) -> None:
        """Do all tasks, and write the table from time to time."""
        for task in tasks:
            self._submit(task)
        while self._pending or self._busy:
            with suppress(queue.Empty):
                future = self._done.get(timeout=0.5)
                self._handle(self._pending.pop(future), future)
            while self._busy and self._busy[0][0] <= time.monotonic():
                self._submit(self._busy.popleft()[1])
            self._progress.refresh()
            self._write_table()

    def _submit(self, task: Task) -> None:
        future = self._executor.submit(perform, task)
        self._pending[future] = task
        future.add_done_callback(self._done.put)

    def _handle(self, task: Task, future: Future[Outcome]) -> None:
        outcome = _outcome_of(future)
        if outcome.status == DISK_FULL:
            raise SweepError(f"{outcome.reason}; {MAKE_SPACE}")
        if outcome.status == BUSY:
            self._busy.append((time.monotonic() + SECONDS_UNTIL_BUSY_AGAIN, task))
            return
        if outcome.status == INTERRUPTED:
            self._losses[task.run.id] += 1
            if self._losses[task.run.id] < MOST_LOSSES:
                self._submit(task)
                return
        self._progress.ended(task.run, outcome)

    def _write_table(self) -> None:
        if time.monotonic() >= self._next_table:
            start = time.monotonic()
            with suppress(OSError):  # if the disk is full, the next run will say so
                self._store.write_results()
            self._next_table = time.monotonic() + max(SECONDS_BETWEEN_TABLES, 20 * (time.monotonic() - start))


def _outcome_of(future: Future[Outcome]) -> Outcome:
    """Return the outcome of a task, also if it got lost. Raises SweepError if no task can be done any more."""
    try:
        return future.result()
    except SweepError:
        raise
    except CancelledError as error:
        raise SweepError("the scheduler is gone; start the same command again: what is finished is kept") from error
    except Exception as error:
        killed = type(error).__name__ == "KilledWorker"  # by its name, since dask may not be installed
        reason = "its worker died again and again" if killed else f"{type(error).__name__}: {error}"
        return Outcome(INTERRUPTED, reason=reason)


class Progress:
    """Counts what became of runs, remembers the best, and shows both: a bar in a terminal, a line per run in a file."""

    def __init__(
        self, sweep: Sweep, *, total: int, known: Mapping[str, Mapping[str, Any]], note: Callable[[str], None]
    ):
        """Begin; `known` holds the records of the runs that were done before, by their names."""
        self.counts: Counter[str] = Counter(record["status"] for record in known.values())
        self._objective, self._total, self._note = sweep.objective, total, note
        self._best: tuple[float, str] | None = None
        for run_id, record in known.items():
            self._compare(record.get("metrics") or {}, run_id)
        self._bar = tqdm(total=total, initial=len(known), bar_format=BAR, disable=None, postfix=self.summary())

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def ended(self, run: Run, outcome: Outcome) -> None:
        """Count a run that has ended."""
        self.counts[outcome.status] += 1
        self._compare(outcome.metrics or {}, run.id)
        if outcome.status != FINISHED:
            reason = (outcome.reason.splitlines() or ["no reason was given"])[0]
            self._note(f"{run.id} {outcome.status}: {reason}")
        elif self._bar.disable:
            self._note(f"{run.id} finished in {outcome.seconds:.0f} s; {self.summary()}")
        self._bar.set_postfix_str(self.summary(), refresh=False)
        self._bar.update()

    def refresh(self) -> None:
        """Show that time passes."""
        self._bar.refresh()

    def summary(self) -> str:
        """Return the counts and the best in one line."""
        failed = f", {self.counts[FAILED]} failed" if self.counts[FAILED] else ""
        best = f", best {self._best[0]:.4g} ({self._best[1]})" if self._best else ""
        return f"{self.counts[FINISHED]} of {self._total} finished{failed}{best}"

    def _compare(self, metrics: Mapping[str, float], run_id: str) -> None:
        value = metrics.get(self._objective.metric, math.nan) if self._objective else math.nan
        if not math.isfinite(value):  # a run that diverged is not the best, and nothing would compare as better
            return
        if self._best is None or self._objective.better(value, self._best[0]):
            self._best = (value, run_id)
