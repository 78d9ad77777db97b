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
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import psutil
from tqdm import tqdm

from digit_utils.notebook.execute import FULL_DISK_NUMBERS, full_disk
from digit_utils.notebook.results import flat_metrics, has_metric, metrics_of_run
from digit_utils.notebook.scratch import scratch_folder
from digit_utils.sweeps.config import OUTPUT_FOLDER, Sweep, SweepError, hint, varied_names
from digit_utils.sweeps.identity import Run, data_of_runs, plan_runs
from digit_utils.sweeps.store import FAILED, FINISHED, INTERRUPTED, RunStore
from digit_utils.sweeps.trial import BUSY, DISK_FULL, KERNELS, Outcome, Task, perform, visible_gpus

MOST_LOSSES = 3  # times that a run is begun whose kernel or worker died
MEMORY_OF_A_RUN = 1.5e9  # bytes: TensorFlow, the training data and the network of 02_train
SECONDS_BETWEEN_TABLES = 2.0
SECONDS_UNTIL_BUSY_AGAIN = 2.0  # before trying again a run that another process is doing
SECONDS_TO_APPEAR = 10.0  # that another machine's file may take to be seen here
MAKE_SPACE = "make space and start again: finished runs are kept"
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
    max_failures: int | None = None,
    note: Callable[[str], None] = print_line,
) -> Counter[str]:
    """Do all runs of a sweep and keep them in a folder, which may hold some of them already.

    Args:
        sweep: what to run.
        output: the folder.
        scheduler: address of a dask scheduler, such as "tcp://host:8786", whose workers see the same folder; None to
            use this machine.
        workers: how many runs to do at a time on this machine; None for one per GPU, or else one per core, as far as
            memory allows.
        threads: of each run.
        retry_failed: whether to repeat runs that failed.
        max_failures: how many runs may fail before the sweep is stopped; None for any number.
        note: called with each line for the user.

    Returns how many runs are "finished", "failed" and "interrupted"; the table is in `results.csv`.
    Raises SweepError if nothing can be run, the disk is full, the folder is damaged, or too many
    runs have failed. What is finished is kept.
    """
    store = RunStore(output)
    with _client(scheduler) as client, _explained_full_disk(store):
        runs = plan_runs(sweep, data_of_runs(sweep))
        scratch_folder()  # also removes what a killed command has left there
        _save_plan(store, sweep, runs, note)
        tasks, known = _open_tasks(store, runs, sweep, threads=threads, retry_failed=retry_failed)
        with _table_in_the_end(store), Progress(sweep, total=len(runs), known=known, note=note) as progress:
            if tasks:
                with _executor(store, runs[0], client, workers=workers, note=note) as executor:
                    Scheduler(store, progress, executor, max_failures=max_failures).run(tasks)
    return progress.counts


def _save_plan(store: RunStore, sweep: Sweep, runs: Sequence[Run], note: Callable[[str], None]) -> None:
    """Record the runs of a sweep, and say which finished ones are to be done again."""
    for changed, count in store.save_plan(sweep, runs).items():
        note(
            f"{count} finished run{'s are' if count > 1 else ' is'} of other {changed}: "
            "their rows stay in the table, marked as outdated, and their settings are run again"
        )


@contextmanager
def _table_in_the_end(store: RunStore) -> Iterator[None]:
    """Write the table of results, also if something is raised, which then counts."""
    try:
        yield
    except BaseException:
        with suppress(OSError, SweepError):  # the table can be made again
            store.write_results()
        raise
    store.write_results()


def _client(scheduler: str | None) -> Any:
    """Return a context manager that yields a client of a dask scheduler, or None; a wrong address is told first."""
    if scheduler is None:
        return nullcontext()
    from digit_utils.sweeps.cluster import connection

    return connection(scheduler)


def _executor(store: RunStore, run: Run, client: Any, *, workers: int | None, note: Callable[[str], None]) -> Any:
    """Return a context manager that yields an executor, and on leaving stops what still runs."""
    if client is None:
        return local_executor(workers or default_workers(), note)
    from digit_utils.sweeps.cluster import cluster_executor

    return cluster_executor(client, store.root, run, note)


@contextmanager
def _explained_full_disk(store: RunStore) -> Iterator[None]:
    """Turn what writing to a full disk raises into one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL_DISK_NUMBERS:
            raise
        raise SweepError(f"{full_disk(store.root)}; {MAKE_SPACE}") from error


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
            takes = OUTPUT_FOLDER in sweep.defaults
            tasks.append(Task(run, str(store.root), takes, threads, attempts, sweep.time_limit))
    return tasks, known


# ---------------------------------------------------------------------------------------------------- executors


class LocalExecutor(ThreadPoolExecutor):
    """Threads of this process, each of which waits for a kernel."""

    def capacity(self) -> int:
        """Return how many tasks it should have."""
        return 2 * self._max_workers

    def answers(self) -> bool:
        """Tell whether it is still there."""
        return True


@contextmanager
def local_executor(workers: int, note: Callable[[str], None]) -> Iterator[LocalExecutor]:
    """Yield threads of this process. On leaving, the kernels that still run are killed."""
    note(f"{workers} run{'s' * (workers > 1)} at a time on this machine")
    executor = LocalExecutor(workers)
    try:
        yield executor
    finally:
        stopping = threading.Thread(target=executor.shutdown, kwargs={"cancel_futures": True})
        stopping.start()
        while stopping.is_alive():
            KERNELS.kill()  # again and again, since a thread may have been about to start one
            stopping.join(0.1)
        KERNELS.kill()


def default_workers() -> int:
    """Return how many runs of one thread this machine has GPUs, or else cores, and memory for."""
    import joblib  # comes with scikit-learn, and respects the limits of containers

    if gpus := visible_gpus():
        return len(gpus)
    return max(1, min(joblib.cpu_count(), int(psutil.virtual_memory().total // MEMORY_OF_A_RUN)))


# ---------------------------------------------------------------------------------------------------- the loop


class Scheduler:
    """Hands tasks to an executor and deals with what can go wrong around a run."""

    def __init__(self, store: RunStore, progress: Progress, executor: Any, *, max_failures: int | None = None):
        self._store, self._progress, self._executor = store, progress, executor
        self._failures_left = math.inf if max_failures is None else max_failures
        self._pending: dict[Future[Outcome], Task] = {}
        self._done: queue.SimpleQueue[Future[Outcome]] = queue.SimpleQueue()
        self._busy: deque[tuple[float, Task]] = deque()  # with the time to try again
        self._losses: Counter[str] = Counter()
        self._next_table = 0.0

    def run(self, tasks: Sequence[Task]) -> None:
        """Do all tasks, and write the table from time to time."""
        backlog = deque(tasks)
        while backlog or self._pending or self._busy:
            capacity = self._executor.capacity()
            while backlog and len(self._pending) < capacity:
                self._submit(backlog.popleft())
            with suppress(queue.Empty):
                future = self._done.get(timeout=0.5)
                self._handle(self._pending.pop(future), future)
            while self._busy and self._busy[0][0] <= time.monotonic():
                backlog.appendleft(self._busy.popleft()[1])
            self._progress.refresh()
            self._write_table()

    def _submit(self, task: Task) -> None:
        future = self._executor.submit(perform, task)
        self._pending[future] = task
        future.add_done_callback(self._done.put)

    def _handle(self, task: Task, future: Future[Outcome]) -> None:
        outcome = self._outcome_of(task, future)
        if outcome.status == DISK_FULL:
            raise SweepError(f"{outcome.reason}; {MAKE_SPACE}")
        if outcome.status == BUSY:
            self._busy.append((time.monotonic() + SECONDS_UNTIL_BUSY_AGAIN, task))
            return
        if outcome.status == INTERRUPTED:
            self._losses[task.run.id] += 1
            if self._losses[task.run.id] < MOST_LOSSES:
                self._busy.append((time.monotonic(), task))
                return
        self._progress.ended(task.run, outcome)
        if outcome.status == FAILED:
            self._failures_left -= 1
            if self._failures_left <= 0:
                raise SweepError("the limit of --max-failures is reached; finished runs are kept")
        if outcome.status == FINISHED:
            self._progress.check_metric(task.run, self._store)

    def _outcome_of(self, task: Task, future: Future[Outcome]) -> Outcome:
        """Return the outcome of a task, also if it got lost; what is finished is believed once its record is read here.

        Raises SweepError if no task can be done any more.
        """
        try:
            outcome = future.result()
        except SweepError:
            raise
        except CancelledError as error:
            if self._executor.answers():
                return Outcome(BUSY)
            raise SweepError("the scheduler is gone; start the same command again: finished runs are kept") from error
        except Exception as error:
            killed = type(error).__name__ == "KilledWorker"  # by its name, since dask may not be installed
            reason = "its worker died repeatedly" if killed else f"{type(error).__name__}: {error}"
            return Outcome(INTERRUPTED, reason=reason)
        if outcome.status == FINISHED and not self._reads_back(task.run):
            return Outcome(
                INTERRUPTED, reason=f"its worker finished it, but {self._store.folder(task.run)} lacks its record"
            )
        return outcome

    def _reads_back(self, run: Run) -> bool:
        """Tell whether a run is recorded as finished; a shared folder may take some seconds to show it."""
        end = time.monotonic() + SECONDS_TO_APPEAR
        while self._store.record(run)["status"] != FINISHED:
            if time.monotonic() > end:
                return False
            time.sleep(0.2)
        return True

    def _write_table(self) -> None:
        if time.monotonic() >= self._next_table:
            start = time.monotonic()
            with suppress(OSError):  # if the disk is full, the next run will say so
                self._store.write_results()
            self._next_table = time.monotonic() + max(SECONDS_BETWEEN_TABLES, 20 * (time.monotonic() - start))


class Progress:
    """Counts what became of runs, remembers the best, and shows both: a bar in a terminal, a line per run in a file."""

    def __init__(
        self, sweep: Sweep, *, total: int, known: Mapping[str, Mapping[str, Any]], note: Callable[[str], None]
    ):
        """Begin; `known` holds the records of the runs that were done before, by their names."""
        self.counts: Counter[str] = Counter(record["status"] for record in known.values())
        self._objective, self._total, self._note = sweep.objective, total, note
        self._varied, self._metric_seen = varied_names(sweep), False
        self._best: tuple[float, str] | None = None
        for run_id, record in known.items():
            self._compare(record.get("metrics") or {}, self._label(record["parameters"], run_id))
        self._bar = tqdm(total=total, initial=len(known), bar_format=BAR, disable=None, postfix=self.summary())

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def ended(self, run: Run, outcome: Outcome) -> None:
        """Count a run that has ended."""
        self.counts[outcome.status] += 1
        label = self._label(run.used, run.id)
        self._compare(outcome.metrics or {}, label)
        if outcome.status != FINISHED:
            reason = (outcome.reason.splitlines() or ["no reason was given"])[0]
            self._note(f"{label} {outcome.status}: {reason}")
        elif self._bar.disable:
            self._note(f"{label} finished in {outcome.seconds:.0f} s; {self.summary()}")
        self._bar.set_postfix_str(self.summary(), refresh=False)
        self._bar.update()

    def refresh(self) -> None:
        """Show that time passes."""
        self._bar.refresh()

    def summary(self) -> str:
        """Return the counts and the best in one line."""
        failed = f", {self.counts[FAILED]} failed" if self.counts[FAILED] else ""
        best = f", best {self._objective.metric} {self._best[0]:.4g} ({self._best[1]})" if self._best else ""
        return f"{self.counts[FINISHED]} of {self._total} finished{failed}{best}"

    def check_metric(self, run: Run, store: RunStore) -> None:
        """Raise SweepError if the first run that finishes has not recorded the metric by which runs are compared."""
        if self._objective is None or self._metric_seen:
            return
        recorded, metric = metrics_of_run(store.folder(run), store.notebook(run)), self._objective.metric
        self._metric_seen = has_metric(recorded, metric)
        if not self._metric_seen:
            names = flat_metrics(recorded)
            raise SweepError(
                f"{self._label(run.used, run.id)} finished without recording {metric}, the metric to compare runs by; "
                f"it recorded {', '.join(names) or 'nothing'}{hint(metric, names)}"
            )

    def _label(self, parameters: Mapping[str, Any], otherwise: str) -> str:
        """Return what makes a run different, such as "learning_rate 0.01, seed 2"."""
        return ", ".join(f"{name} {parameters[name]}" for name in self._varied if name in parameters) or otherwise

    def _compare(self, metrics: Mapping[str, float], label: str) -> None:
        value = metrics.get(self._objective.metric, math.nan) if self._objective else math.nan
        if not math.isfinite(value):  # a run that diverged is not the best, and nothing would compare as better
            return
        if self._best is None or self._objective.better(value, self._best[0]):
            self._best = (value, label)
