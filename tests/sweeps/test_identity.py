"""What a run is: code, parameters and the content of its data, whatever the names of the files."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from digit_utils.sweeps import code, identity
from digit_utils.sweeps.config import Sweep, SweepError, read_sweep
from digit_utils.sweeps.identity import Run, data_of_runs, plan_runs
from digit_utils.sweeps.store import FINISHED, RunStore, columns_of
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


def test_the_folder_of_ones_own_data_counts_by_its_files_in_our_notebooks(sweep: Sweep, tmp_path: Path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_text("an image")
    runs = tuple({"data": str(tmp_path / name)} for name in ("one", "other"))
    sweep = replace(sweep, ours=True, runs=runs)
    first, second = data_of_runs(sweep)
    assert first == second
    with pytest.raises(SweepError, match="two runs differ only in data "):
        plan_runs(sweep, [first, second])
    (tmp_path / "other" / "a.png").write_text("another")
    first, second = data_of_runs(sweep)
    assert first != second
    (run, _) = plan_runs(sweep, [first, second])
    assert identity.changed_file(run) == ""
    (tmp_path / "one" / "b.png").write_text("one more")
    assert identity.changed_file(run) == str(tmp_path / "one")
    assert data_of_runs(replace(sweep, ours=False))[0] == "{}"  # it might be the whole disk


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
    demonstration = {"cell_type": "code", "id": "b", "metadata": {"tags": ["demonstration"]}, "source": ["print(x)"]}
    content["cells"].append(demonstration | {"outputs": [], "execution_count": None})
    sweep.notebook.write_text(json.dumps(content))
    assert plan_runs(sweep, ["data"] * 2) == runs, "a sweep leaves such cells out"
    content["cells"][1]["source"] = [*content["cells"][1]["source"], "\nx = 2"]
    sweep.notebook.write_text(json.dumps(content))
    assert plan_runs(sweep, ["data"] * 2)[0].id != runs[0].id
    content["cells"][1]["source"][-1] = "\n# a comment, and a blank line\n\n"
    sweep.notebook.write_text(json.dumps(content))
    assert plan_runs(sweep, ["data"] * 2) == runs
    monkeypatch.setattr(identity, "deciding_versions", lambda notebook: {"keras": "0.1"})
    assert plan_runs(sweep, ["data"] * 2)[0].id != runs[0].id


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package in the place of this one, with a notebook that imports one of its modules."""
    folder = tmp_path / code.OWN
    (folder / "room").mkdir(parents=True)
    (folder / "__init__.py").write_text(
        "def __getattr__(name):\n    from digit_utils.lazy import widget\n    return widget\n"
    )
    (folder / "room" / "__init__.py").write_text("")
    (folder / "room" / "used.py").write_text("from digit_utils import indirect\nx = 1\n")
    (folder / "indirect.py").write_text("import keras\nfile = 'table.json'\n")
    for name in ("lazy", "unused"):
        (folder / f"{name}.py").write_text("x = 1")
    for name in ("table", "other"):
        (folder / f"{name}.json").write_text("{}")
    monkeypatch.setattr(code, "PACKAGE", folder)
    return folder


def notebook_with(folder: Path, source: str) -> Path:
    path = folder / "n.ipynb"
    path.write_text(json.dumps({"cells": [{"cell_type": "code", "source": [source], "metadata": {}}]}))
    return path


@pytest.mark.parametrize(
    ("name", "content", "counts"),
    [
        ("room/used.py", "from digit_utils import indirect\nx = 2\n", True),
        ("room/used.py", '"""Prose."""\nfrom digit_utils import indirect\n\nx = 1  # a comment\n', False),
        ("indirect.py", "import keras\nfile = 'table.json' + ''\n", True),
        ("table.json", "[]", True),
        ("other.json", "[]", False),
        ("unused.py", "x = 2", False),
        ("lazy.py", "x = 2", False),
        ("room/used.pyc", "compiled", False),
    ],
)
def test_of_the_package_counts_the_code_that_the_notebook_imports(name: str, content: str, counts: bool, package: Path):
    notebook = notebook_with(package.parent, "%matplotlib inline\nfrom digit_utils.room import used\n")
    before = code.code_of_notebook(notebook)
    (package / name).write_text(content)
    assert (code.code_of_notebook(notebook) != before) is counts
    (package / "room" / "used.py").unlink()
    assert code.code_of_notebook(notebook) != before


def test_what_a_package_imports_when_it_is_asked_counts_for_those_who_ask(package: Path):
    for source, asks in (("from digit_utils import widget", True), ("from digit_utils.room import used", False)):
        assert ("digit_utils.lazy" in code.modules_of(notebook_with(package.parent, f"{source}  # {asks}"))) is asks


def test_versions_count_of_the_libraries_that_are_imported(package: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    used = code.deciding_versions(notebook_with(package.parent, "from digit_utils.room import used"))
    assert used == {"backend": "tensorflow", "keras": version("keras"), "tensorflow": version("tensorflow")}
    assert code.deciding_versions(notebook_with(package.parent, "import numpy as np")) == {"numpy": version("numpy")}


@pytest.mark.parametrize("before", ["notebook", "package", "versions", "data"])
def test_finished_runs_of_other_code_are_told_and_their_rows_stay(before: str, sweep: Sweep, runs: list[Run], tmp_path):
    store = RunStore(tmp_path / "runs")
    old = [replace(run, id=f"old{place}", identity=run.identity | {before: "other"}) for place, run in enumerate(runs)]
    store.save_plan(sweep, old)
    store.end(old[0], store.begin(old[0]), status=FINISHED, metrics={"errors": 0.5}, seconds=1.0)
    for _ in range(2):  # also when the same is started once more
        changed = {"versions": "versions", "data": "data"}.get(before, "code")
        assert store.save_plan(sweep, runs) == {changed: 1}
        rows = store.rows()
        assert [(row["run"], row.get("outdated")) for row in rows] == [
            *((run.id, None) for run in runs),
            ("old0", changed),
        ]
        assert rows[-1]["metric.errors"] == 0.5
        table = list(csv.DictReader(store.write_results().open(encoding="utf-8")))
        assert [row["outdated"] for row in table] == ["", "", changed]
    assert "outdated" in columns_of([{"run": "a"}]), "so that a notebook can select by it"


def test_a_sweep_takes_no_other_data_in_place_of_those_it_asks_for(tmp_path: Path):
    sweep = sweep_of(tmp_path, f"notebook: 02_train\nparameters: {{data_dir: '{tmp_path}'}}\n")
    with pytest.raises(SweepError, match=r"does not hold mnist .* A sweep uses no other data in its place"):
        data_of_runs(sweep)


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
