"""The folder of a sweep: identities, records and the table, without running anything."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from digit_utils.sweeps import store as sweeps_store
from digit_utils.sweeps.config import SweepError, read_sweep
from digit_utils.sweeps.store import FAILED, FINISHED, INTERRUPTED, RUNNING, WAITING, RunStore, columns_of, plan_runs
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
    store.keep_plan(sweep, runs)
    return store


def finish(store: RunStore, run, **metrics: float) -> None:
    store.end(run, store.begin(run), status=FINISHED, metrics=metrics, seconds=1.5)


def test_an_identity_is_the_same_for_the_same_run_and_another_when_anything_that_counts_is_another(
    sweep, runs, monkeypatch
):
    assert plan_runs(sweep, ["data"] * 2) == runs
    assert len({run.id for run in runs}) == 2
    assert plan_runs(sweep, ["other"] * 2)[0].id != runs[0].id
    changed = replace(sweep, runs=tuple({**parameters, "seed": 7} for parameters in sweep.runs))
    assert plan_runs(changed, ["data"] * 2)[0].id != runs[0].id
    content = json.loads(sweep.notebook.read_text())
    content["cells"].append({"cell_type": "markdown", "id": "a", "metadata": {}, "source": ["prose"]})
    sweep.notebook.write_text(json.dumps(content))
    assert plan_runs(sweep, ["data"] * 2) == runs
    content["cells"][1]["source"] = [*content["cells"][1]["source"], "\nx = 2"]
    sweep.notebook.write_text(json.dumps(content))
    assert plan_runs(sweep, ["data"] * 2)[0].id != runs[0].id
    sweep.notebook.write_text(sweep.notebook.read_text().replace("\\nx = 2", ""))
    monkeypatch.setattr(sweeps_store, "code_of_package", lambda: "other code")
    assert plan_runs(sweep, ["data"] * 2)[0].id != runs[0].id


def test_the_package_is_told_apart_by_its_code_alone(tmp_path: Path, monkeypatch):
    def code() -> str:
        sweeps_store.code_of_package.cache_clear()
        return sweeps_store.code_of_package()

    monkeypatch.setattr(sweeps_store, "PACKAGE", tmp_path)
    (tmp_path / "a.py").write_text("x = 1")
    first = code()
    (tmp_path / "a.pyc").write_text("compiled")
    assert code() == first
    (tmp_path / "a.py").write_text("x = 2")
    assert code() != first
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    second = code()
    (tmp_path / "b.py").write_text("x = 1")
    assert second != code() != first
    sweeps_store.code_of_package.cache_clear()


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


def test_the_table_has_a_row_a_run_and_its_columns_in_groups(store, runs):
    finish(store, runs[0], **{"validation.errors": 0.25})
    store.end(runs[1], store.begin(runs[1]), status=FAILED, seconds=1.0, error={"reason": "a, b", "traceback": ""})
    with store.write_results().open(newline="") as stream:
        first, second = csv.DictReader(stream)
    assert (first["parameter.x"], first["metric.validation.errors"], first["seconds"]) == ("1", "0.25", "1.5")
    assert (second["status"], second["error"], second["metric.validation.errors"]) == (FAILED, "a, b", "")
    assert first["version.python"]
    kinds = [name.partition(".")[0] for name in first]
    assert list(dict.fromkeys(kinds)) == [
        "run", "sweep", "notebook", "status", "parameter", "metric", "seconds", "version", "error",
    ]  # fmt: skip


def test_columns_of_no_rows_are_none():
    assert columns_of([]) == []


@pytest.mark.parametrize("text", ["{", "[]", '{"status": "finished", "identity": {"notebook": "another"}}'])
def test_a_record_that_is_damaged_or_anothers_is_refused_with_its_path(text: str, store, runs):
    store.folder(runs[0]).mkdir()
    (store.folder(runs[0]) / "run.json").write_text(text)
    with pytest.raises(
        SweepError, match=rf"{runs[0].id}/run.json (is damaged|belongs to another run).*remove its folder"
    ):
        store.record(runs[0])


def test_a_damaged_plan_and_a_folder_without_one_are_told(store, tmp_path: Path):
    (store.root / "sweeps" / "s.json").write_text("{")
    with pytest.raises(SweepError, match=r"sweeps/s.json is damaged"):
        store.plans()
    with pytest.raises(SweepError, match="holds no sweep"):
        RunStore(tmp_path / "empty").plans()


def test_what_depends_on_a_place_is_no_part_of_the_identity_of_our_notebooks_but_of_others(sweep):
    moved = replace(sweep, runs=tuple({**parameters, "data_dir": "/elsewhere"} for parameters in sweep.runs))
    ids = {run.id for run in plan_runs(sweep, ["data"] * 2)}
    assert {run.id for run in plan_runs(replace(moved, ours=True), ["data"] * 2)} == ids
    assert ids.isdisjoint(run.id for run in plan_runs(moved, ["data"] * 2))


@pytest.mark.parametrize("values", ["[cnn, mlp]", "[/data/one, /data/other]"])
def test_a_parameter_of_another_notebook_counts_though_it_has_the_name_of_a_place(values: str, tmp_path: Path):
    notebook = write_tiny_notebook(tmp_path)
    notebook.write_text(notebook.read_text().replace("word: str", "model: str"))
    (tmp_path / "s.yaml").write_text(f"notebook: tiny.ipynb\ngrid: {{model: {values}}}\n")
    first, second = plan_runs(read_sweep(tmp_path / "s.yaml"), ["data"] * 2)
    assert first.id != second.id


def test_runs_that_differ_in_nothing_that_counts_are_refused(sweep):
    sweep = replace(sweep, ours=True)
    same = tuple({"x": 1, "data_dir": place} for place in ("/one", "/other"))
    with pytest.raises(SweepError, match=r"two runs differ in data_dir alone \(/other\).*keep one"):
        plan_runs(replace(sweep, runs=same), ["data"] * 2)
    assert len(plan_runs(replace(sweep, runs=same), ["one", "other"])) == 2
