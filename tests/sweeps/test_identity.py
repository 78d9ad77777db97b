"""What a run is: code, parameters and the content of its data, whatever the names of the files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from digit_utils.sweeps import identity
from digit_utils.sweeps.config import Sweep, SweepError, read_sweep
from digit_utils.sweeps.identity import Run, data_of_runs, plan_runs
from tests.support.tiny_sweep import write_tiny_notebook


def sweep_of(folder: Path, text: str, *, parameters: str = "") -> Sweep:
    """Return a sweep, of a notebook that has some more parameters."""
    notebook = write_tiny_notebook(folder)
    notebook.write_text(notebook.read_text().replace("x: int = 1", f"{parameters}x: int = 1"))
    (folder / "s.yaml").write_text(text)
    return read_sweep(folder / "s.yaml")


def test_files_that_parameters_name_count_by_their_content(tmp_path: Path):
    one, other = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    sweep = sweep_of(tmp_path, f"notebook: tiny.ipynb\ngrid: {{word: ['{one}', '{other}']}}\n")
    one.write_text("a")
    other.write_text("a")
    first = data_of_runs(sweep)
    assert first[0] == first[1]
    other.write_text("b")
    second = data_of_runs(sweep)
    assert second[0] == first[0] != second[1]


def test_folders_are_not_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It might be the whole disk, or hold what the runs write."""
    (tmp_path / "results").mkdir()
    sweep = sweep_of(tmp_path, f"notebook: tiny.ipynb\ngrid: {{word: [/, '{tmp_path / 'results'}']}}\n")
    monkeypatch.setattr(Path, "rglob", lambda *_: pytest.fail("a folder was searched"))
    before = data_of_runs(sweep)
    (tmp_path / "results" / "model.tflite").write_text("written by a run")
    assert data_of_runs(sweep) == before


def test_a_text_that_only_begins_like_a_path_is_no_file(tmp_path: Path):
    sweep = sweep_of(tmp_path, f"notebook: tiny.ipynb\nparameters: {{word: /{'prompt ' * 1000}}}\n")
    assert len(data_of_runs(sweep)) == 1


def test_the_folder_of_a_model_counts_by_its_model_alone(tmp_path: Path):
    (tmp_path / "run").mkdir()
    sweep = sweep_of(
        tmp_path,
        "notebook: 03_evaluate\n"
        f"parameters: {{dataset: digits8x8, data_dir: '{tmp_path}', model: '{tmp_path / 'run'}'}}\n",
    )
    with_model = []
    for content in (b"network", b"another"):
        (tmp_path / "run" / "model.tflite").write_bytes(content)
        with_model += data_of_runs(sweep)
    assert with_model[0] != with_model[1]
    (tmp_path / "run" / "log.txt").write_text("a log that grew")
    assert data_of_runs(sweep) == with_model[1:]


def test_names_of_data_mean_nothing_in_another_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a dataset was loaded")

    monkeypatch.setattr(identity, "load_dataset", refuse)
    monkeypatch.setattr(identity, "load_with_fallback", refuse)
    (tmp_path / "more").mkdir()
    text = f"notebook: tiny.ipynb\ngrid: {{data_dir: ['{tmp_path}', '{tmp_path / 'more'}']}}\n"
    sweep = sweep_of(tmp_path, text, parameters='dataset: str = \\"cifar10\\"\\ndata_dir: str = \\"\\"\\n')
    assert sweep.defaults["dataset"] == "cifar10"
    one, other = data_of_runs(sweep)
    assert one == other
    first, second = plan_runs(sweep, [one, other])
    assert first.id != second.id  # by their paths


def test_scans_count_by_their_content_not_by_their_folder(tmp_path: Path):
    text = "notebook: 02_train\nparameters: {dataset: digits8x8}\nlist: [{data_dir: '%s'}, {data_dir: '%s', seed: 1}]\n"
    (tmp_path / "more").mkdir()
    here, there = data_of_runs(sweep_of(tmp_path, text % (tmp_path, tmp_path / "more")))
    assert here == there  # and the seed is no data
    assert identity._datasets("02_train", {"dataset": "digits8x8", "data_dir": str(tmp_path)})["pendigits"] == "absent"


@pytest.mark.parametrize(
    ("loader", "content"), [("load_semeion", object()), ("load_fashion_mnist", np.zeros(1))], ids=["digits", "others"]
)
def test_adding_a_development_set_changes_the_identity_of_evaluations_alone(
    loader: str, content: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    parameters = f"parameters: {{dataset: digits8x8, data_dir: '{tmp_path}'}}\n"
    evaluation = sweep_of(tmp_path, f"notebook: 03_evaluate\n{parameters}")
    training = sweep_of(tmp_path, f"notebook: 02_train\n{parameters}")
    before = data_of_runs(evaluation), data_of_runs(training)
    monkeypatch.setattr(identity, loader, lambda folder: content if folder == str(tmp_path) else None)
    assert data_of_runs(evaluation) != before[0]
    assert data_of_runs(training) == before[1]


@pytest.mark.parametrize(("name", "place"), [("drawings", "mine.jsonl"), ("data_dir", ".")])
def test_a_relative_path_is_resolved_since_runs_have_folders_of_their_own(
    name: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(f"notebook: 02_train\nparameters: {{{name}: {place}}}\n")
    assert read_sweep("s.yaml").runs[0][name] == str(tmp_path / place)


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return sweep_of(tmp_path, "notebook: tiny.ipynb\ngrid: {x: [1, 2]}\n")


@pytest.fixture
def runs(sweep: Sweep) -> list[Run]:
    return plan_runs(sweep, ["data"] * 2)


def test_an_identity_changes_with_data_parameters_and_code_but_not_with_prose(sweep, runs, monkeypatch):
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
    monkeypatch.setattr(identity, "code_of_package", lambda: "other code")
    assert plan_runs(sweep, ["data"] * 2)[0].id != runs[0].id


def test_the_package_counts_by_its_code_alone(tmp_path: Path, monkeypatch):
    def code() -> str:
        identity.code_of_package.cache_clear()
        return identity.code_of_package()

    monkeypatch.setattr(identity, "PACKAGE", tmp_path)
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
    identity.code_of_package.cache_clear()


def test_paths_of_data_count_in_other_notebooks_but_not_in_ours(sweep):
    moved = replace(sweep, runs=tuple({**parameters, "data_dir": "/elsewhere"} for parameters in sweep.runs))
    ids = {run.id for run in plan_runs(sweep, ["data"] * 2)}
    assert {run.id for run in plan_runs(replace(moved, ours=True), ["data"] * 2)} == ids
    assert ids.isdisjoint(run.id for run in plan_runs(moved, ["data"] * 2))


@pytest.mark.parametrize("values", ["[cnn, mlp]", "[/data/one, /data/other]"])
def test_a_parameter_of_another_notebook_counts_though_it_is_named_like_a_path_of_ours(values: str, tmp_path: Path):
    notebook = write_tiny_notebook(tmp_path)
    notebook.write_text(notebook.read_text().replace("word: str", "model: str"))
    (tmp_path / "s.yaml").write_text(f"notebook: tiny.ipynb\ngrid: {{model: {values}}}\n")
    first, second = plan_runs(read_sweep(tmp_path / "s.yaml"), ["data"] * 2)
    assert first.id != second.id


def test_runs_that_differ_only_in_paths_to_the_same_data_are_refused(sweep):
    sweep = replace(sweep, ours=True)
    same = tuple({"x": 1, "data_dir": place} for place in ("/one", "/other"))
    with pytest.raises(SweepError, match=r"two runs differ only in data_dir \(/other\).*keep one"):
        plan_runs(replace(sweep, runs=same), ["data"] * 2)
    assert len(plan_runs(replace(sweep, runs=same), ["one", "other"])) == 2
