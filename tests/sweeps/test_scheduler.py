"""What the scheduler does with outcomes, without running anything."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from digit_utils.sweeps.config import Objective, Sweep
from digit_utils.sweeps.identity import Run
from digit_utils.sweeps.scheduler import Progress
from digit_utils.sweeps.store import FINISHED
from digit_utils.sweeps.trial import Outcome


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
