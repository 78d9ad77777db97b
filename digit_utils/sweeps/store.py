"""The folder of a sweep: which runs there are, what became of each, and one table of all.

    runs/
      results.csv            one row a run
      sweeps/NAME.json       the runs of each sweep that was started here, and what its best run is best in
      3f2a9c01be47/          a run, named by its identity
        run.json             what it is, and what became of it: the last thing written
        02_train.ipynb       the notebook with its outputs; 02_train.part.ipynb while it runs
        metrics.json ...     whatever the notebook writes

A run's identity is the hash of the notebook's code, the package's code, the parameters and the data: the same identity
is never run twice, another is never mistaken for it. Every file appears whole or not at all, and whoever works on a
run holds its lock, which the system takes away from a process that dies.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import importlib.metadata
import io
import json
import platform
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from digit_utils.files import atomic_write, locked, with_home, write_json
from digit_utils.notebook.files import PACKAGE
from digit_utils.notebook.parameters import PATHS
from digit_utils.notebook.results import flat_metrics, metrics_of_run
from digit_utils.sweeps.config import Sweep, SweepError

RESULTS, RECORD, LOCK, SWEEPS = "results.csv", "run.json", ".lock", "sweeps"
WAITING, RUNNING, FINISHED, FAILED, INTERRUPTED = "waiting", "running", "finished", "failed", "interrupted"
CODE_SUFFIXES = (".py", ".json", ".tflite")  # what of the package can change a result
VERSIONS = ("digit-utils", "keras", "tensorflow", "numpy", "opencv-python-headless", "papermill")
ID_LENGTH = 12  # hexadecimal characters: two of a million runs share one with a chance of 0.2 %, and that is noticed


@dataclass(frozen=True)
class Run:
    """One run of a sweep."""

    id: str
    notebook: str  # path
    parameters: dict[str, Any]  # those that the sweep sets
    identity: dict[str, str]  # what `id` is the hash of


def plan_runs(sweep: Sweep, data: Sequence[str]) -> list[Run]:
    """Return the runs of a sweep; `data` holds the hash of what each of them reads.

    Raises SweepError where two runs differ in nothing that counts.
    """
    notebook, package = code_of_notebook(sweep.notebook), code_of_package()
    runs = []
    for parameters, content in zip(sweep.runs, data, strict=True):
        places = [name for name, value in parameters.items() if sweep.ours and _is_place(name, value)]
        counting = {name: value for name, value in parameters.items() if name not in places}
        identity = {
            "notebook": notebook,
            "package": package,
            "parameters": json.dumps(counting, sort_keys=True),
            "data": content,
        }
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        runs.append(Run(digest[:ID_LENGTH], str(sweep.notebook), parameters, identity))
    _check_apart(runs)
    return runs


def _check_apart(runs: Sequence[Run]) -> None:
    """Raise SweepError where two runs would be one and the same, because only places differ and not what lies there."""
    first: dict[str, Run] = {}
    for run in runs:
        other = first.setdefault(json.dumps(run.identity, sort_keys=True), run)
        if other is not run:
            apart = {name: value for name, value in run.parameters.items() if other.parameters.get(name) != value}
            raise SweepError(
                f"two runs differ in {', '.join(apart)} alone ({', '.join(map(str, apart.values()))}), "
                "and what lies there is the same; keep one"
            )


def _is_place(name: str, value: Any) -> bool:
    """Tell whether a parameter of our notebooks says only where something lies: that counts, as the run's data."""
    return name in PATHS and isinstance(value, str) and (not value or Path(value).is_absolute())


def code_of_notebook(path: Path) -> str:
    """Return the hash of a notebook's code cells: neither outputs nor prose can change a result."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()


@cache
def code_of_package() -> str:
    """Return the hash of this package as it lies on this machine."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*")):
        if path.suffix in CODE_SUFFIXES:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{path.relative_to(PACKAGE).as_posix()} {content}\n".encode())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Return the versions of Python and of what a result may depend on, without importing any of it."""
    found = {"python": platform.python_version()}
    for package in VERSIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


class RunStore:
    """The folder of a sweep. Many processes, also of several machines, may use it at the same time."""

    def __init__(self, root: str | Path):
        self.root = with_home(root).resolve()
        self._rows: dict[str, dict[str, Any]] = {}  # of finished runs, which never change

    def folder(self, run: Run) -> Path:
        """Return the folder of a run."""
        return self.root / run.id

    def notebook(self, run: Run) -> Path:
        """Return where the notebook of a run lies with its outputs."""
        return self.folder(run) / Path(run.notebook).name

    @contextlib.contextmanager
    def lock(self, run: Run) -> Iterator[bool]:
        """Hold the lock of a run; yield False when another process holds it."""
        with locked(self.folder(run) / LOCK, blocking=False) as held:
            yield held

    # ------------------------------------------------------------------------------------- what became of a run

    def record(self, run: Run) -> dict[str, Any]:
        """Return what is known of a run: `status` and, once it was started, the rest of `run.json`.

        Raises SweepError when the record is damaged, or another run has the same name.
        """
        return self._record(run.id, run.identity)

    def _record(self, run_id: str, identity: Mapping[str, str]) -> dict[str, Any]:
        path = self.root / run_id / RECORD
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {"status": WAITING}
        except ValueError as error:
            raise SweepError(f"{path} is damaged ({error}); remove its folder to run it again") from error
        if not isinstance(record, dict) or record.get("identity") != dict(identity):
            raise SweepError(f"{path} belongs to another run; remove its folder, or choose another --output")
        return record

    def begin(self, run: Run) -> dict[str, Any]:
        """Record that a run is at work here, and return the record."""
        attempts = self.record(run).get("attempts", 0)
        record = {
            "status": RUNNING,
            "notebook": Path(run.notebook).name,
            "parameters": run.parameters,
            "identity": run.identity,
            "attempts": attempts + 1,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "host": socket.gethostname(),
            "versions": versions(),
        }
        write_json(self.folder(run) / RECORD, record)
        return record

    def end(self, run: Run, record: Mapping[str, Any], **outcome: Any) -> None:
        """Record what became of a run: its `status`, its `seconds`, and the `error` of one that failed."""
        write_json(self.folder(run) / RECORD, {**record, **outcome})

    def metrics(self, run: Run) -> dict[str, float]:
        """Return the figures that a finished run recorded. Raises MetricsError when its file is damaged."""
        return flat_metrics(metrics_of_run(self.folder(run), self.notebook(run)))

    # --------------------------------------------------------------------------------------------- plan and table

    def keep_plan(self, sweep: Sweep, runs: Sequence[Run]) -> None:
        """Record which runs a sweep is made of; a sweep of the same name, before a change of code, is replaced."""
        objective = sweep.objective
        plan = {
            "notebook": sweep.notebook.name,
            "objective": objective and {"metric": objective.metric, "lower_is_better": objective.lower_is_better},
            "runs": [{"id": run.id, "parameters": run.parameters, "identity": run.identity} for run in runs],
        }
        write_json(self.root / SWEEPS / f"{sweep.name}.json", plan)

    def plans(self) -> dict[str, dict[str, Any]]:
        """Return what `keep_plan` kept, by the name of the sweep. Raises SweepError for a damaged one, or for none."""
        found = {}
        for path in sorted((self.root / SWEEPS).glob("*.json")):
            try:
                found[path.stem] = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise SweepError(f"{path} is damaged ({error}); remove it and start the sweep again") from error
        if not found:
            raise SweepError(f"{self.root} holds no sweep; start one with `digits sweep FILE --output {self.root}`")
        return found

    def rows(self) -> list[dict[str, Any]]:
        """Return the table: a row a run of every sweep here, in the order of the files."""
        rows = {}
        for name, plan in self.plans().items():
            for planned in plan["runs"]:
                rows.setdefault(planned["id"], self._row(name, plan, planned))
        return list(rows.values())

    def _row(self, sweep: str, plan: Mapping[str, Any], planned: Mapping[str, Any]) -> dict[str, Any]:
        """Return one row; groups of columns are told apart by their first letters."""
        if planned["id"] in self._rows:
            return self._rows[planned["id"]]
        record = self._record(planned["id"], planned["identity"])
        status = self._status_now(planned["id"], record["status"])
        row = {"run": planned["id"], "sweep": sweep, "notebook": plan["notebook"], "status": status}
        row |= {f"parameter.{name}": value for name, value in planned["parameters"].items()}
        if record["status"] == FINISHED:
            row |= {f"metric.{name}": value for name, value in record["metrics"].items()}
        row |= {name: record[name] for name in ("seconds",) if name in record}
        row |= {f"version.{name}": value for name, value in record.get("versions", {}).items()}
        if "error" in record:
            row["error"] = record["error"]["reason"]
        if record["status"] == FINISHED:
            self._rows[planned["id"]] = row
        return row

    def _status_now(self, run_id: str, recorded: str) -> str:
        """Return the status; whoever died while running left its record behind, but no lock."""
        if recorded != RUNNING:
            return recorded
        with locked(self.root / run_id / LOCK, blocking=False) as free:
            return INTERRUPTED if free else RUNNING

    def write_results(self) -> Path:
        """Write `results.csv` anew and return its path; of several processes the last one sees what all others did."""
        path = self.root / RESULTS
        with locked(self.root / f".{RESULTS}{LOCK}", blocking=True):
            rows = self.rows()
            table = io.StringIO()
            writer = csv.DictWriter(table, fieldnames=columns_of(rows), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
            with atomic_write(path) as temporary:
                temporary.write_text(table.getvalue(), encoding="utf-8")
        return path


def columns_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the columns of a table: what the run is, its parameters, its metrics, the rest."""
    found = list(dict.fromkeys(name for row in rows for name in row))
    groups = ("run", "sweep", "notebook", "status"), ("seconds",), ("error",)
    first, seconds, error = ([name for name in names if name in found] for names in groups)
    grouped = [[name for name in found if name.startswith(start)] for start in ("parameter.", "metric.", "version.")]
    return [*first, *grouped[0], *grouped[1], *seconds, *grouped[2], *error]
