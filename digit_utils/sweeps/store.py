"""The folder of a sweep: which runs there are, what became of each, and one table of all.

    runs/
      results.csv            one row per run; results.json holds the same with types, so that null and "" stay apart
      sweeps/NAME.json       the runs of each sweep that was started here, and its objective
      3f2a9c01be47/          a run, named by its identity
        run.json             what it is, and what became of it: the last thing written
        02_train.ipynb       the notebook with its outputs; 02_train.part.ipynb while it runs
        metrics.json ...     whatever the notebook writes

Every file appears complete or not at all, and whoever works on a run holds its lock, which the system releases when
the process dies.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import shutil
import socket
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from digit_utils.files import atomic_write, locked, package_versions, read_json, with_home, write_json
from digit_utils.notebook.results import flat_metrics, flat_settings, metrics_of_run
from digit_utils.sweeps.config import OUTPUT_FOLDER, Sweep, SweepError
from digit_utils.sweeps.identity import Run

RESULTS, RECORD, LOCK, SWEEPS = "results.csv", "run.json", ".lock", "sweeps"
TYPED_RESULTS = "results.json"
WAITING, RUNNING, FINISHED, FAILED, INTERRUPTED = "waiting", "running", "finished", "failed", "interrupted"
PLAN_KEYS = {"notebook", "objective", "runs"}
PARTS = {"notebook": "code", "package": "code"}  # what parts of an identity are called, if not as they are
VERSIONS = ("digit-utils", "keras", "tensorflow", "numpy", "opencv-python-headless", "papermill")


class RunStore:
    """The folder of a sweep. Many processes, also on several machines, may use it at the same time."""

    def __init__(self, root: str | Path):
        self.root = with_home(root).resolve()
        self._rows: dict[str, dict[str, Any]] = {}  # of finished runs, which never change

    def folder(self, run: Run) -> Path:
        """Return the folder of a run."""
        return self.root / run.id

    def notebook(self, run: Run) -> Path:
        """Return the path of a run's notebook with its outputs."""
        return self.folder(run) / Path(run.notebook).name

    @contextlib.contextmanager
    def lock(self, run: Run) -> Iterator[bool]:
        """Hold the lock of a run; yield False if somebody else holds it."""
        with locked(self.folder(run) / LOCK, blocking=False) as acquired:
            yield acquired

    # ------------------------------------------------------------------------------------- what became of a run

    def record(self, run: Run) -> dict[str, Any]:
        """Return what is known of a run: `status` and, once it was started, the rest of `run.json`.

        Raises SweepError if the record is damaged, or another run has the same name.
        """
        return self._record(run.id, run.identity)

    def _record(self, run_id: str, identity: Mapping[str, str]) -> dict[str, Any]:
        path = self.root / run_id / RECORD
        try:
            record = read_json(path)
        except FileNotFoundError:
            return {"status": WAITING}
        except ValueError as error:
            raise SweepError(f"{error}; remove its folder to run it again") from error
        if record.get("identity") != dict(identity):
            raise SweepError(f"{path} belongs to another run; remove its folder, or choose another --output")
        return record

    def begin(self, run: Run) -> dict[str, Any]:
        """Record that a run was started here, and return the record."""
        attempts = self.record(run).get("attempts", 0)
        record = {
            "status": RUNNING,
            "notebook": Path(run.notebook).name,
            "parameters": run.parameters,
            "identity": run.identity,
            "attempts": attempts + 1,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "host": socket.gethostname(),
            "versions": package_versions(*VERSIONS),
        }
        write_json(self.folder(run) / RECORD, record)
        return record

    def end(self, run: Run, record: Mapping[str, Any], **outcome: Any) -> None:
        """Record what became of a run: its `status`, its `seconds`, and the `error` of one that failed."""
        write_json(self.folder(run) / RECORD, {**record, **outcome})

    def clear(self, run: Run) -> None:
        """Remove what a run has written, but for its record and the lock, which the caller holds."""
        for path in self.folder(run).iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name not in (RECORD, LOCK):
                path.unlink()

    def findings(self, run: Run) -> dict[str, dict[str, Any]]:
        """Return what a finished run recorded: its `metrics`, and the settings that it `used` after all.

        Raises MetricsError if its file is damaged.
        """
        found = metrics_of_run(self.folder(run), self.notebook(run))
        used = flat_settings(found.get("config") or {}, "config.")
        if "device" in found:
            used["device"] = found["device"]
        return {"metrics": flat_metrics(found), "used": used}

    # --------------------------------------------------------------------------------------------- plan and table

    def save_plan(self, sweep: Sweep, runs: Sequence[Run]) -> Counter[str]:
        """Record the runs of a sweep, in place of those of an earlier sweep of the same name.

        Finished runs of that one that are to be done again, since something but their parameters has changed, stay in
        the table, marked. Returns how many there are, by what has changed.
        """
        objective = sweep.objective
        outdated = self._outdated(sweep, runs)
        plan = {
            "notebook": sweep.notebook.name,
            "objective": objective and {"metric": objective.metric, "lower_is_better": objective.lower_is_better},
            "defaults": runs[0].defaults if runs else {},
            "runs": [{"id": run.id, "parameters": run.parameters, "identity": run.identity} for run in runs],
            "outdated": outdated,
        }
        write_json(self._plan(sweep), plan)
        return Counter(planned["outdated"] for planned in outdated)

    def _plan(self, sweep: Sweep) -> Path:
        return self.root / SWEEPS / f"{sweep.name}.json"

    def _outdated(self, sweep: Sweep, runs: Sequence[Run]) -> list[dict[str, Any]]:
        if not self._plan(sweep).exists():
            return []
        old = self.plans()[sweep.name]
        present, found = {run.id for run in runs}, []
        by_parameters = {_key(run.parameters, run.defaults): run for run in runs}
        for planned in [*old["runs"], *old.get("outdated", ())]:
            defaults = (runs[0].defaults if runs else {}) | old.get("defaults", {})
            run = by_parameters.get(_key(planned["parameters"], defaults))
            if run is None or planned["id"] in present:
                continue
            if self._record(planned["id"], planned["identity"])["status"] == FINISHED:
                changed = {
                    PARTS.get(part, part)
                    for part, value in run.identity.items()
                    if planned["identity"].get(part) != value
                }
                found.append({"defaults": defaults, **planned, "outdated": " and ".join(sorted(changed))})
        return found

    def plans(self) -> dict[str, dict[str, Any]]:
        """Return what `save_plan` saved, by the name of the sweep.

        Raises SweepError if a plan is damaged, or there is none.
        """
        try:
            plans = {path.stem: read_json(path) for path in sorted((self.root / SWEEPS).glob("*.json"))}
        except ValueError as error:
            raise SweepError(f"{error}; remove it and start the sweep again") from error
        for name, plan in plans.items():
            if missing := PLAN_KEYS - set(plan):
                raise SweepError(
                    f"{self.root / SWEEPS / name}.json is damaged (it lacks {', '.join(sorted(missing))}); "
                    "remove it and start the sweep again"
                )
        if not plans:
            raise SweepError(f"{self.root} holds no sweep; start one with `digits sweep FILE --output {self.root}`")
        return plans

    def rows(self) -> list[dict[str, Any]]:
        """Return the table: one row per run of every sweep here, in the order of the sweeps' files."""
        rows = {}
        for name, plan in self.plans().items():
            for planned in [*plan["runs"], *plan.get("outdated", ())]:
                rows.setdefault(planned["id"], self._row(name, plan, planned))
        return list(rows.values())

    def _row(self, sweep: str, plan: Mapping[str, Any], planned: Mapping[str, Any]) -> dict[str, Any]:
        if planned["id"] in self._rows:
            return self._rows[planned["id"]]
        record = self._record(planned["id"], planned["identity"])
        status = self._current_status(planned["id"], record["status"])
        row = {"run": planned["id"], "sweep": sweep, "notebook": plan["notebook"], "status": status}
        if "outdated" in planned:
            row["outdated"] = planned["outdated"]
        used = planned.get("defaults", plan.get("defaults", {})) | planned["parameters"]
        row |= {f"parameter.{name}": value for name, value in used.items() if name != OUTPUT_FOLDER}
        row |= {f"used.{name}": value for name, value in record.get("used", {}).items()}
        row |= {f"metric.{name}": value for name, value in record.get("metrics", {}).items()}
        row |= {name: record[name] for name in ("seconds", "host") if name in record}
        row |= {f"version.{name}": value for name, value in record.get("versions", {}).items()}
        if "error" in record:
            row["error"] = record["error"]["reason"]
        if status == FINISHED:
            self._rows[planned["id"]] = row
        return row

    def _current_status(self, run_id: str, recorded: str) -> str:
        """Return the status; a process that died while running left the record behind, but not the lock."""
        if recorded != RUNNING:
            return recorded
        with locked(self.root / run_id / LOCK, blocking=False) as acquired:
            return INTERRUPTED if acquired else RUNNING

    def write_results(self) -> Path:
        """Rewrite `results.csv` and return its path; of several processes the last one sees what all others did."""
        path = self.root / RESULTS
        with locked(self.root / f".{RESULTS}{LOCK}", blocking=True):
            rows = self.rows()
            table = io.StringIO()
            writer = csv.DictWriter(table, fieldnames=columns_of(rows), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
            with atomic_write(path) as temporary:
                temporary.write_text(table.getvalue(), encoding="utf-8")
            with atomic_write(self.root / TYPED_RESULTS) as temporary:
                temporary.write_text(json.dumps(rows, indent=0) + "\n", encoding="utf-8")
        return path


def _key(parameters: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    used = {name: value for name, value in {**defaults, **parameters}.items() if name != OUTPUT_FOLDER}
    return json.dumps(used, sort_keys=True)


def columns_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the columns of a table: what the run is, its parameters, its metrics, the rest."""
    groups = ["run", "sweep", "notebook", "status", "outdated", "parameter", "used", "metric"]
    groups += ["seconds", "host", "version", "error"]
    found = {"outdated": None} | dict.fromkeys(name for row in rows for name in row)  # one to select current rows by
    return sorted(found, key=lambda name: groups.index(name.partition(".")[0]))
