"""What is seen of a sweep while it runs: a bar in a terminal, a line a run in a file."""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from tqdm import tqdm

from digit_utils.sweeps.config import Sweep
from digit_utils.sweeps.store import FAILED, FINISHED, Run
from digit_utils.sweeps.trial import Outcome

BAR = "{percentage:3.0f}% {bar} {n}/{total} [{elapsed}<{remaining}] {postfix}"
SECONDS_BETWEEN_BARS = 0.2


class Progress:
    """Counts what became of runs, remembers the best, and shows both."""

    def __init__(
        self, sweep: Sweep, *, total: int, known: Mapping[str, Mapping[str, Any]], note: Callable[[str], None]
    ):
        """Begin; `known` holds the records of the runs that were done before, by their names."""
        self.counts: Counter[str] = Counter(record["status"] for record in known.values())
        self._objective, self._total, self._note = sweep.objective, total, note
        self._best: tuple[float, str] | None = None
        self._running: set[str] = set()
        for run_id, record in known.items():
            self._consider(record.get("metrics") or {}, run_id)
        self._terminal, self._shown = sys.stderr.isatty(), 0.0
        self._bar = tqdm(total=total, initial=len(known), bar_format=BAR, disable=not self._terminal)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._show(now=True)
        self._bar.close()

    def started(self, run_id: str) -> None:
        """Count a run as running."""
        self._running.add(run_id)
        self._show()

    def stopped(self, run_id: str) -> None:
        """Count a run as waiting again."""
        self._running.discard(run_id)
        self._show()

    def nothing_runs(self) -> None:
        """Count all runs as waiting again."""
        self._running.clear()
        self._show()

    def ended(self, run: Run, outcome: Outcome) -> None:
        """Count a run that has ended."""
        self._running.discard(run.id)
        self.counts[outcome.status] += 1
        self._consider(outcome.metrics or {}, run.id)
        if outcome.status != FINISHED:
            reason = (outcome.reason.splitlines() or ["no reason was given"])[0]
            self.note(f"{run.id} {outcome.status}: {reason}")
        elif not self._terminal:
            self.note(f"{run.id} finished in {outcome.seconds:.0f} s; {self.summary()}")
        self._bar.n += 1
        self._show()

    def refresh(self) -> None:
        """Show that time passes."""
        self._show()

    def note(self, text: str) -> None:
        """Tell something without disturbing the bar."""
        if self._terminal:
            tqdm.write(text, file=sys.stderr)
        else:
            self._note(text)

    def summary(self) -> str:
        """Return the counts and the best in one line."""
        done = f"{self.counts[FINISHED]} of {self._total} finished, {len(self._running)} running"
        failed = f", {self.counts[FAILED]} failed" if self.counts[FAILED] else ""
        best = f", best {self._best[0]:.4g} ({self._best[1]})" if self._best else ""
        return done + failed + best

    def _consider(self, metrics: Mapping[str, float], run_id: str) -> None:
        value = metrics.get(self._objective.metric, math.nan) if self._objective else math.nan
        if not math.isfinite(value):  # a run that diverged: it is not the best, and nothing would compare as better
            return
        if self._best is None or self._objective.better(value, self._best[0]):
            self._best = (value, run_id)

    def _show(self, *, now: bool = False) -> None:
        if not self._terminal or not (now or time.monotonic() - self._shown > SECONDS_BETWEEN_BARS):
            return
        self._shown = time.monotonic()
        self._bar.set_postfix_str(self.summary())
