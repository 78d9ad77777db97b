"""Metrics: written beside a notebook and within it, read back, flattened, and never another notebook's overwritten."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest

from digit_utils.notebook.execute import execute_notebook
from digit_utils.notebook.results import METRICS_MIME, MetricsError, flat_metrics, metrics_of_run, record_metrics

TREE = {"validation": {"errors": 0.25, "digits": 4}, "config": {"seed": 3}, "name": "x", "list": [1], "good": True}


def test_numbers_are_found_by_their_paths_without_settings():
    assert flat_metrics(TREE | {"a": 1}) == {"validation.errors": 0.25, "validation.digits": 4, "a": 1}


def test_numbers_that_are_not_finite_are_left_out():
    assert flat_metrics({"loss": math.nan, "validation": {"errors": 0.9, "worst": -math.inf}}) == {
        "validation.errors": 0.9
    }


def test_a_training_that_diverged_leaves_json_and_all_its_other_figures(tmp_path: Path):
    history = ({"loss": math.nan}, {"loss": math.inf}, {"loss": 0.5})
    record_metrics({"validation": {"loss": math.nan, "errors": 0.9}, "history": history}, tmp_path, notebook="mine")
    assert "NaN" not in (tmp_path / "metrics.json").read_text()
    found = metrics_of_run(tmp_path, "none.ipynb")
    assert found["history"] == [{"loss": None}, {"loss": None}, {"loss": 0.5}]
    assert flat_metrics(found) == {"validation.errors": 0.9}


def test_what_keras_computes_on_is_recorded_if_it_is_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    keras = SimpleNamespace(distribution=SimpleNamespace(list_devices=lambda: ["gpu:0"]))
    for module, recorded in ((keras, {"device": "gpu:0"}), (SimpleNamespace(), {})):  # the second: it cannot tell
        monkeypatch.setitem(sys.modules, "keras", module)
        record_metrics({"a": 1}, tmp_path, notebook="mine")
        assert json.loads((tmp_path / "metrics.json").read_text()) == {"notebook": "mine", **recorded, "a": 1}


def test_the_file_names_its_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    record_metrics(TREE, tmp_path / "new", notebook="02_train")
    assert json.loads((tmp_path / "new" / "metrics.json").read_text()) == {"notebook": "02_train", **TREE}
    record_metrics({"a": 1}, tmp_path / "new", notebook="02_train")  # its own it may write again
    assert metrics_of_run(tmp_path / "new", "none.ipynb") == {"notebook": "02_train", "a": 1}


def test_the_metrics_of_another_notebook_are_not_overwritten(tmp_path: Path):
    record_metrics(TREE, tmp_path, notebook="02_train")
    before = (tmp_path / "metrics.json").read_bytes()
    with pytest.raises(
        MetricsError, match=r"metrics\.json holds the metrics of 02_train; choose another output_folder"
    ):
        record_metrics({"a": 1}, tmp_path, notebook="03_evaluate")
    assert (tmp_path / "metrics.json").read_bytes() == before


def test_a_damaged_file_is_named_with_the_remedy(tmp_path: Path):
    for content in ("{", "[1]"):
        (tmp_path / "metrics.json").write_text(content)
        with pytest.raises(MetricsError, match=r"metrics\.json is damaged .*; remove the folder to run it again"):
            metrics_of_run(tmp_path, "none.ipynb")


def test_metrics_are_read_from_the_outputs_of_a_notebook(tmp_path: Path):
    record = "record_metrics({'a': 0.5}, 'elsewhere', notebook='mine')"
    code = f"from digit_utils.notebook.results import record_metrics\n{record}"
    parameters = nbformat.v4.new_code_cell("x: int = 1", metadata={"tags": ["parameters"]})
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells = [parameters, nbformat.v4.new_code_cell(code)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": spec}), tmp_path / "in.ipynb")
    execute_notebook(tmp_path / "in.ipynb", tmp_path / "out.ipynb", parameters={"x": 2}, folder=tmp_path)
    assert METRICS_MIME in (tmp_path / "out.ipynb").read_text()
    assert metrics_of_run(tmp_path, tmp_path / "out.ipynb") == {"notebook": "mine", "a": 0.5}
    assert json.loads((tmp_path / "elsewhere" / "metrics.json").read_text()) == {"notebook": "mine", "a": 0.5}
