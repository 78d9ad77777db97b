"""What the scheduler does with outcomes, without running anything."""

from __future__ import annotations

import math
from concurrent.futures import Future
from pathlib import Path

import pytest

from digit_utils.sweeps import scheduler
from digit_utils.sweeps.config import Objective, Sweep, read_sweep
from digit_utils.sweeps.identity import Run, plan_runs
from digit_utils.sweeps.scheduler import Progress, Scheduler
from digit_utils.sweeps.store import FINISHED, INTERRUPTED, RunStore
from digit_utils.sweeps.trial import Outcome, Task
from tests.support.tiny_sweep import write_tiny_notebook


@pytest.mark.parametrize("lower_is_better", [True, False])
@pytest.mark.parametrize("diverged", [math.nan, math.inf, -math.inf])
def test_a_run_that_diverged_is_never_the_best(diverged: float, lower_is_better: bool):
    sweep = Sweep("s", Path("tiny.ipynb"), (), {}, Objective("errors", lower_is_better), ours=False)
    known = {"before": {"status": FINISHED, "parameters": {}, "metrics": {"errors": diverged}}}
    with Progress(sweep, total=3, known=known, note=lambda text: None) as progress:
        assert "best" not in progress.summary()
        for name, value in (("first", 0.5), ("second", diverged)):
            progress.ended(Run(name, "tiny.ipynb", {}, {}), Outcome(FINISHED, metrics={"errors": value}))
        assert progress.summary() == "3 of 3 finished, best errors 0.5 (first)"


def test_what_a_worker_calls_finished_counts_only_if_its_record_is_read_here(tmp_path: Path, monkeypatch):
    class Elsewhere:
        """Workers that see another folder."""

        def capacity(self) -> int:
            return 1

        def submit(self, function: object, task: Task) -> Future[Outcome]:
            done: Future[Outcome] = Future()
            done.set_result(Outcome(FINISHED, metrics={"errors": 0.5}))
            return done

    monkeypatch.setattr(scheduler, "SECONDS_TO_APPEAR", 0.0)
    write_tiny_notebook(tmp_path)
    (tmp_path / "s.yaml").write_text("notebook: tiny.ipynb\n")
    sweep, store, told = read_sweep(tmp_path / "s.yaml"), RunStore(tmp_path / "runs"), []
    (run,) = runs = plan_runs(sweep, ["data"])
    store.save_plan(sweep, runs)
    with Progress(sweep, total=1, known={}, note=told.append) as progress:
        Scheduler(store, progress, Elsewhere()).run([Task(run, str(store.root), takes_output_folder=True)])
    assert progress.counts == {INTERRUPTED: 1}
    assert f"its worker finished it, but {store.folder(run)} lacks its record" in told[0]
