"""The folder of a sweep: records and the table, without running anything."""

from __future__ import annotations

import csv
import json
import socket
from pathlib import Path

import pytest

from digit_utils.files import write_json
from digit_utils.sweeps.config import SweepError, read_sweep
from digit_utils.sweeps.identity import plan_runs
from digit_utils.sweeps.store import FAILED, FINISHED, INTERRUPTED, RUNNING, WAITING, RunStore
from tests.support.tiny_sweep import write_tiny_notebook


@pytest.fixture
def sweep(tmp_path: Path):
    write_tiny_notebook(tmp_path)
    (tmp_path / "s.yaml").write_text("notebook: tiny.ipynb\ngrid: {x: [1, 2]}\nlowest: validation.errors\n")
    return read_sweep(tmp_path / "s.yaml")


@pytest.fixture
def runs(sweep):
    return plan_runs(sweep, ["data"] * 2)


@pytest.fixture
def store(sweep, runs, tmp_path: Path) -> RunStore:
    store = RunStore(tmp_path / "runs")
    store.save_plan(sweep, runs)
    return store


def finish(store: RunStore, run, **metrics: float) -> None:
    store.end(run, store.begin(run), status=FINISHED, metrics=metrics, seconds=1.5)


def test_a_run_is_waiting_running_interrupted_finished_or_failed(store, runs):
    run, other = runs
    assert store.record(run) == {"status": WAITING}
    with store.lock(run) as held:
        assert held
        store.begin(run)
        assert [row["status"] for row in store.rows()] == [RUNNING, WAITING]
        with RunStore(store.root).lock(run) as again:
            assert not again
    assert store.rows()[0]["status"] == INTERRUPTED  # its lock is gone, and no end was recorded
    assert store.begin(run)["attempts"] == 2
    finish(store, run, errors=0.5)
    store.end(other, store.begin(other), status=FAILED, seconds=1.0, error={"reason": "it broke", "traceback": ""})
    assert [row["status"] for row in store.rows()] == [FINISHED, FAILED]


def test_the_table_has_one_row_per_run_and_grouped_columns(store, runs):
    finish(store, runs[0], **{"validation.errors": 0.25})
    store.end(runs[1], store.begin(runs[1]), status=FAILED, seconds=1.0, error={"reason": "a, b", "traceback": ""})
    with store.write_results().open(newline="") as stream:
        first, second = csv.DictReader(stream)
    assert (first["parameter.x"], first["metric.validation.errors"], first["seconds"]) == ("1", "0.25", "1.5")
    assert (second["status"], second["error"], second["metric.validation.errors"]) == (FAILED, "a, b", "")
    assert first["version.python"]
    kinds = [name.partition(".")[0] for name in first]
    assert list(dict.fromkeys(kinds)) == [
        "run", "sweep", "notebook", "status", "outdated", "parameter", "metric", "seconds", "host", "version", "error",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["{", "[]", '{"status": "finished", "identity": {"notebook": "another"}}'])
def test_a_record_that_is_damaged_or_of_another_run_is_named(text: str, store, runs):
    store.folder(runs[0]).mkdir()
    (store.folder(runs[0]) / "run.json").write_text(text)
    with pytest.raises(
        SweepError, match=rf"{runs[0].id}/run.json (is damaged|belongs to another run).*remove its folder"
    ):
        store.record(runs[0])


def test_a_damaged_plan_and_a_folder_without_one_are_named(store, tmp_path: Path):
    for text, reason in (("{", "Expecting"), ("{}", "it lacks notebook, objective, runs")):
        (store.root / "sweeps" / "s.json").write_text(text)
        with pytest.raises(SweepError, match=rf"sweeps/s.json is damaged \({reason}.*; remove it and start the sweep"):
            store.plans()
    with pytest.raises(SweepError, match="holds no sweep"):
        RunStore(tmp_path / "empty").plans()


def test_the_table_tells_what_was_used_and_its_typed_twin_keeps_nothing_from_empty_text(tmp_path: Path):
    notebook = write_tiny_notebook(tmp_path)
    notebook.write_text(notebook.read_text().replace("x: int = 1", "x: int = 1\\nnothing = None\\nmode = 'None'"))
    (tmp_path / "s.yaml").write_text("notebook: tiny.ipynb\ngrid: {word: ['', 'None']}\n")
    sweep = read_sweep(tmp_path / "s.yaml")
    runs, store = plan_runs(sweep, ["data"] * 2), RunStore(tmp_path / "runs")
    store.save_plan(sweep, runs)
    folder = store.folder(runs[0])
    record = store.begin(runs[0])
    metrics = {"errors": 0.5, "device": "gpu:0", "config": {"batch_size": 512, "data_mix": {"augmentation": "mild"}}}
    write_json(folder / "metrics.json", {"notebook": "tiny", **metrics})
    store.end(runs[0], record, status=FINISHED, seconds=1.0, **store.findings(runs[0]))
    store.write_results()
    first, second = json.loads((store.root / "results.json").read_text())
    assert (first["parameter.word"], second["parameter.word"]) == ("", "None")
    assert (first["parameter.nothing"], first["parameter.mode"], first["parameter.x"]) == (None, "None", 1)
    used = {"used.config.batch_size": 512, "used.config.data_mix.augmentation": "mild", "used.device": "gpu:0"}
    assert used.items() <= first.items()
    assert first["host"] == socket.gethostname()
    assert first["metric.errors"] == 0.5
