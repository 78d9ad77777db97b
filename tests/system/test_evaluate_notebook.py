"""Notebook 03 measures any model, writes what it found, and refuses parameters that make no sense."""

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import papermill
import pytest

from digit_utils import cli
from digit_utils.datasets.base import at_most
from digit_utils.datasets.drawings import LabelledDrawing, append_drawing
from digit_utils.datasets.ink import ink_of
from digit_utils.datasets.loading import load_dataset
from digit_utils.datasets.samples import sample_digits
from digit_utils.recognition.recognizer import Recognizer

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "03_evaluate.ipynb"
SETS_THAT_MAY_BE_THERE = {"mnist", "pendigits", "allographs", "digits8x8", "semeion (development check)"}


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run whose network has ten outputs and has learnt nothing, with its evaluation."""
    from digit_utils.training.export import export_network
    from digit_utils.training.networks import build_network

    folder = tmp_path_factory.mktemp("run")
    digits = ink_of(load_dataset("digits8x8").validation.take(slice(0, 50)))
    export_network(build_network("simple_cnn"), folder, validation={"digits8x8": digits})
    parameters = {"model": str(folder), "output_folder": str(folder), "dataset": "digits8x8", "limit": 40}
    papermill.execute_notebook(NOTEBOOK, folder / "out.ipynb", parameters=parameters, cwd=folder, progress_bar=False)
    return folder


def figures_in(tree: object) -> list[float]:
    if isinstance(tree, dict):
        return [figure for branch in tree.values() for figure in figures_in(branch)]
    if isinstance(tree, list):
        return [figure for branch in tree for figure in figures_in(branch)]
    return [tree] if isinstance(tree, float) else []


@pytest.mark.slow
def test_the_report_holds_every_figure_with_its_number_of_digits(evaluated: Path):
    report = json.loads((evaluated / "evaluation.json").read_text())
    assert report["model"]["network"] == "simple_cnn"
    assert "digits8x8" in report["scores"]
    assert set(report["scores"]) <= SETS_THAT_MAY_BE_THERE
    for score in [*report["scores"].values(), *report["ways_to_ink"].values()]:
        assert score["digits"] == 40
        assert score["error_low"] <= score["errors"] / 40 == score["error_rate"] <= score["error_high"]
    for curve in [*report["scans_changed"].values(), *report["drawings_changed"].values()]:
        assert {point["digits"] for point in curve} == {40}
    assert report["digits_turned_away"]["digits"] == 80
    assert all(np.isfinite(figures_in(report)))


@pytest.mark.slow
def test_the_command_measures_a_run_and_ones_own_drawings(evaluated: Path, tmp_path: Path, capsys):
    drawings = tmp_path / "mine.jsonl"
    samples = sample_digits(side=800)
    for sample in samples:
        append_drawing(drawings, LabelledDrawing(sample.strokes, sample.digit))
    some = ["-p", "dataset=digits8x8", "-p", "limit=20"]
    assert cli.main(["evaluate", str(evaluated), "--drawings", str(drawings), *some]) == 0
    assert f"{evaluated / 'evaluation' / 'evaluation.json'}" in capsys.readouterr().out
    report = json.loads((evaluated / "evaluation" / "evaluation.json").read_text())
    own = report["drawings"]
    recognizer = Recognizer.load(evaluated)
    wrong = [recognizer.recognize(sample.strokes).best_digit != sample.digit for sample in samples]
    assert (own["digits"], own["errors"]) == (len(samples), sum(wrong))


@pytest.mark.slow
def test_the_report_says_what_the_recogniser_says(evaluated: Path):
    digits = ink_of(at_most(load_dataset("digits8x8").test, 40))
    answers = [prediction.best_digit for prediction in Recognizer.load(evaluated).recognize_ink(digits.ink)]
    report = json.loads((evaluated / "evaluation.json").read_text())
    assert report["scores"]["digits8x8"]["errors"] == (answers != digits.labels).sum()


def test_measuring_needs_no_tensorflow():
    """What the notebook imports, and hence `digits evaluate`, starts in a second and not in ten."""
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    imports = next(cell.source for cell in cells if "from digit_utils.evaluation import" in cell.source)
    program = f"{imports}\nimport sys\nprint(sorted({{'keras', 'tensorflow'}} & set(sys.modules)))"
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"dataset": "emnist"}, "ValueError", "dataset is 'emnist'; choose one of 'mnist', 'digits8x8'"),
        ({"limit": -1}, "ValueError", "limit is -1; it must be a whole number from 0"),
        ({"limit": 2.5}, "ValueError", "limit is 2.5; it must be a whole number from 0"),
        ({"data_dir": "nowhere"}, "ValueError", "data_dir is 'nowhere'; it must be a folder that exists"),
        ({"data_dir": "~nosuch/data"}, "ValueError", "data_dir is '~nosuch/data'; it must be a folder that exists"),
        ({"model": "missing.tflite"}, "ModelFileError", "there is no model file missing.tflite"),
    ],
)
def test_bad_parameters_are_refused(parameters: dict, error: str, message: str, tmp_path: Path):
    with pytest.raises(papermill.PapermillExecutionError) as caught:
        papermill.execute_notebook(
            NOTEBOOK, tmp_path / "out.ipynb", parameters=parameters, cwd=tmp_path, progress_bar=False
        )
    assert caught.value.ename == error
    assert message in caught.value.evalue
