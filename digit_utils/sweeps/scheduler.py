"""Runs a sweep to its end: what is finished is skipped, what was cut short goes on, what fails stops no other."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from digit_utils.notebook.execute import FULL_DISK_NUMBERS
from digit_utils.sweeps.config import OUTPUT_FOLDER, Sweep, SweepError
from digit_utils.sweeps.data import data_of_runs
from digit_utils.sweeps.placement import Placement, Report, place
from digit_utils.sweeps.progress import Progress
from digit_utils.sweeps.store import FAILED, FINISHED, INTERRUPTED, Run, RunStore, plan_runs
from digit_utils.sweeps.trial import BUSY, DISK_FULL, Outcome, Task

MOST_LOSSES = 3  # times that a run is begun whose kernel or process died under it
SECONDS_BETWEEN_TABLES = 2.0
SECONDS_UNTIL_BUSY_AGAIN = 2.0  # before a run that another process holds is asked for again
MAKE_SPACE = "make space and start again: what is finished is kept"
PATIENCE = 600.0  # seconds to wait for a scheduler that went away


def run_sweep(
    sweep: Sweep,
    output: str | Path,
    *,
    scheduler: str | None = None,
    workers: int | None = None,
    threads: int = 1,
    retry_failed: bool = False,
    note: Callable[[str], None] = print,
) -> Counter[str]:
    """Do all runs of a sweep and keep them in a folder, which may hold a part of them already.

    Args:
        sweep: what to run.
        output: the folder.
        scheduler: address of dask's scheduler, such as "tcp://host:8786", whose workers see the same folder; None
            for processes of this machine.
        workers: how many of those at a time; None for one a core, as far as memory goes.
        threads: of each run.
        retry_failed: whether to repeat runs that failed.
        note: where to tell the user something.

    Returns how many runs are "finished", "failed" and "interrupted"; the table is in `results.csv`.
    Raises SweepError when nothing can be run, the disk is full, or the folder is damaged. What is finished is kept.
    """
    store = RunStore(output)
    runs = plan_runs(sweep, data_of_runs(sweep))
    with _full_disk_told(store):
        store.keep_plan(sweep, runs)
        tasks, known = _open_tasks(store, runs, sweep, threads=threads, retry_failed=retry_failed)
        with Progress(sweep, total=len(runs), known=known, note=note) as progress:
            if tasks:
                placing = lambda: place(scheduler=scheduler, workers=workers, note=progress.note)  # noqa: E731
                _Conductor(store, progress, placing).do(tasks, comes_back=scheduler is not None)
        store.write_results()
    return progress.counts


@contextmanager
def _full_disk_told(store: RunStore) -> Iterator[None]:
    """Turn what a full disk makes of writing into one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL_DISK_NUMBERS:
            raise
        raise SweepError(f"no space is left for {store.root}; {MAKE_SPACE}") from error


def _open_tasks(
    store: RunStore, runs: Sequence[Run], sweep: Sweep, *, threads: int, retry_failed: bool
) -> tuple[list[Task], dict[str, dict[str, Any]]]:
    """Return what is to be done, and the records of what is done already."""
    tasks, known = [], {}
    for run in runs:
        record = store.record(run)
        again = record["status"] == FAILED and retry_failed
        if record["status"] in (FINISHED, FAILED) and not again:
            known[run.id] = record
        else:
            attempts = record["attempts"] if again else -1
            tasks.append(Task(run, str(store.root), OUTPUT_FOLDER in sweep.defaults, threads, attempts))
    return tasks, known


class _Conductor:
    """Hands tasks over, one loop for every kind of placement, and deals with what can go wrong around a run."""

    def __init__(self, store: RunStore, progress: Progress, new_placement: Callable[[], Placement]):
        self._store, self._progress, self._new_placement = store, progress, new_placement
        self._waiting: deque[Task] = deque()
        self._busy: deque[tuple[float, Task]] = deque()  # with the time from which to ask again
        self._open: dict[str, Task] = {}  # handed over
        self._losses: Counter[str] = Counter()
        self._next_table = 0.0

    def do(self, tasks: Sequence[Task], *, comes_back: bool) -> None:
        """Do tasks until none is left; `comes_back` says whether a placement that was lost is waited for."""
        self._waiting.extend(tasks)
        placement = self._new_placement()
        try:
            while self._waiting or self._busy or self._open:
                self._hand_over(placement)
                report = placement.next_report(0.5)
                if report and report.placement_lost and comes_back:
                    placement = self._replaced(placement)
                elif report:
                    self._take(report)
                self._tidy()
        finally:
            placement.close()
            with suppress(OSError):  # a full disk has its own message, and the table can be made again
                self._store.write_results()

    def _hand_over(self, placement: Placement) -> None:
        now = time.monotonic()
        while self._busy and self._busy[0][0] <= now:
            self._waiting.append(self._busy.popleft()[1])
        while self._waiting and len(self._open) < placement.capacity:
            task = self._waiting.popleft()
            self._open[task.run.id] = task
            placement.submit(task)

    def _take(self, report: Report) -> None:
        task, outcome = report.task, report.outcome
        if report.refused:
            raise SweepError(report.refused)
        if outcome is None and not report.lost:
            self._progress.started(task.run.id)
            return
        self._open.pop(task.run.id, None)
        if outcome is None:
            outcome = Outcome(INTERRUPTED, reason=report.lost)
        if outcome.status == DISK_FULL:
            raise SweepError(f"{outcome.reason}; {MAKE_SPACE}")
        if outcome.status == BUSY:
            self._progress.stopped(task.run.id)
            self._busy.append((time.monotonic() + SECONDS_UNTIL_BUSY_AGAIN, task))
            return
        if outcome.status == INTERRUPTED:
            self._losses[task.run.id] += 1
            if self._losses[task.run.id] < MOST_LOSSES:
                self._progress.stopped(task.run.id)
                self._waiting.append(task)
                return
        self._progress.ended(task.run, outcome)

    def _replaced(self, placement: Placement) -> Placement:
        """Return a new placement for one that was lost, once there is one, and begin anew what was handed over."""
        self._progress.note("the scheduler is gone; waiting for it to come back (Ctrl-C ends this, nothing is lost)")
        placement.close()
        self._waiting.extendleft(reversed(self._open.values()))
        self._open.clear()
        self._progress.nothing_runs()
        until = time.monotonic() + PATIENCE
        while True:
            try:
                return self._new_placement()
            except SweepError:
                if time.monotonic() > until:
                    raise
            self._progress.refresh()
            time.sleep(1)

    def _tidy(self) -> None:
        """Show what there is, and write the table from time to time."""
        self._progress.refresh()
        if time.monotonic() >= self._next_table:
            start = time.monotonic()
            with suppress(OSError):  # a full disk is told by the runs
                self._store.write_results()
            self._next_table = time.monotonic() + max(SECONDS_BETWEEN_TABLES, 20 * (time.monotonic() - start))
