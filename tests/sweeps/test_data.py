"""What data a run reads: another content makes another run, whatever the names of the files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from digit_utils.sweeps import data
from digit_utils.sweeps.config import Sweep, read_sweep
from digit_utils.sweeps.data import data_of_runs
from digit_utils.sweeps.store import plan_runs
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


def test_a_folder_is_not_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It might be the whole disk, or hold what the runs write."""
    (tmp_path / "results").mkdir()
    sweep = sweep_of(tmp_path, f"notebook: tiny.ipynb\ngrid: {{word: [/, '{tmp_path / 'results'}']}}\n")
    monkeypatch.setattr(Path, "rglob", lambda *_: pytest.fail("a folder was searched"))
    before = data_of_runs(sweep)
    (tmp_path / "results" / "model.tflite").write_text("written by a run")
    assert data_of_runs(sweep) == before


def test_a_text_that_only_begins_like_a_path_is_a_text(tmp_path: Path):
    sweep = sweep_of(tmp_path, f"notebook: tiny.ipynb\nparameters: {{word: /{'prompt ' * 1000}}}\n")
    assert len(data_of_runs(sweep)) == 1


def test_a_folder_of_a_model_counts_by_its_model_alone(tmp_path: Path):
    (tmp_path / "run").mkdir()
    sweep = sweep_of(
        tmp_path, f"notebook: 03_evaluate\nparameters: {{dataset: digits8x8, model: '{tmp_path / 'run'}'}}\n"
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

    monkeypatch.setattr(data, "load_dataset", refuse)
    monkeypatch.setattr(data, "load_with_fallback", refuse)
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
    assert data._datasets("02_train", {"dataset": "digits8x8", "data_dir": str(tmp_path)})["pendigits"] == "absent"


@pytest.mark.parametrize(
    ("loader", "content"), [("load_semeion", object()), ("load_fashion_mnist", np.zeros(1))], ids=["digits", "others"]
)
def test_an_evaluation_is_another_when_a_development_set_was_added(
    loader: str, content: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    parameters = f"parameters: {{dataset: digits8x8, data_dir: '{tmp_path}'}}\n"
    evaluation = sweep_of(tmp_path, f"notebook: 03_evaluate\n{parameters}")
    training = sweep_of(tmp_path, f"notebook: 02_train\n{parameters}")
    before = data_of_runs(evaluation), data_of_runs(training)
    monkeypatch.setattr(data, loader, lambda folder: content if folder == str(tmp_path) else None)
    assert data_of_runs(evaluation) != before[0]
    assert data_of_runs(training) == before[1]


@pytest.mark.parametrize(("name", "place"), [("drawings", "mine.jsonl"), ("data_dir", ".")])
def test_a_place_is_found_from_the_folder_of_the_run(
    name: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(f"notebook: 02_train\nparameters: {{{name}: {place}}}\n")
    assert read_sweep("s.yaml").runs[0][name] == str(tmp_path / place)
