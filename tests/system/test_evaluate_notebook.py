"""Notebook 03 measures any model, writes what it found, and refuses parameters that make no sense."""

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest

from digit_utils import cli
from digit_utils.datasets.base import at_most
from digit_utils.datasets.drawings import LabelledDrawing, append_drawing
from digit_utils.datasets.ink import ink_of
from digit_utils.datasets.loading import load_dataset
from digit_utils.datasets.samples import sample_digits
from digit_utils.recognition.recognizer import Recognizer
from tests.conftest import TrainedRun

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "03_evaluate.ipynb"
SAMPLES = sample_digits(side=800)
LIMIT = 40  # digits of each set
SETS_THAT_MAY_BE_THERE = {"mnist", "pendigits", "allographs", "digits8x8", "semeion (development check)"}


@pytest.fixture(scope="module")
def evaluation(tiny_run: TrainedRun, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What `digits evaluate` writes of the tiny run, with a person's own drawings."""
    folder = tmp_path_factory.mktemp("evaluation")
    for sample in SAMPLES:
        append_drawing(folder / "mine.jsonl", LabelledDrawing(sample.strokes, sample.digit))
    command = ["evaluate", str(tiny_run.folder), "--output", str(folder), "--drawings", str(folder / "mine.jsonl")]
    assert cli.main([*command, "-p", "dataset=digits8x8", "-p", f"limit={LIMIT}"]) == 0
    return json.loads((folder / "evaluation.json").read_text())


def figures_in(tree: object) -> list[float]:
    if isinstance(tree, dict):
        return [figure for branch in tree.values() for figure in figures_in(branch)]
    if isinstance(tree, list):
        return [figure for branch in tree for figure in figures_in(branch)]
    return [tree] if isinstance(tree, float) else []


def test_the_report_holds_every_figure_with_its_number_of_digits(evaluation: dict):
    assert evaluation["model"]["network"] == "simple_cnn"
    assert "digits8x8" in evaluation["scores"]
    assert set(evaluation["scores"]) <= SETS_THAT_MAY_BE_THERE
    for score in [*evaluation["scores"].values(), *evaluation["ways_to_ink"].values()]:
        assert score["digits"] == LIMIT
        assert score["error_low"] <= score["errors"] / LIMIT == score["error_rate"] <= score["error_high"]
    for curve in [*evaluation["scans_changed"].values(), *evaluation["drawings_changed"].values()]:
        assert {point["digits"] for point in curve} == {LIMIT}
    assert evaluation["digits_turned_away"]["digits"] == 2 * LIMIT
    for kind in evaluation["numbers"].values():
        assert kind["numbers"] == LIMIT
        assert kind["exact_low"] <= kind["exact"] <= kind["exact_high"]
        assert kind["exact"] + kind["segmentation"] + kind["reading"] == pytest.approx(1)
    assert all(np.isfinite(figures_in(evaluation)))


def test_the_report_says_what_the_recogniser_says(evaluation: dict, tiny_run: TrainedRun):
    recognizer = Recognizer.load(tiny_run.folder)
    digits = ink_of(at_most(load_dataset("digits8x8").test, LIMIT))
    answers = [prediction.best_digit for prediction in recognizer.recognize_ink(digits.ink)]
    assert evaluation["scores"]["digits8x8"]["errors"] == (answers != digits.labels).sum()
    wrong = [recognizer.recognize(sample.strokes).best_digit != sample.digit for sample in SAMPLES]
    assert (evaluation["drawings"]["digits"], evaluation["drawings"]["errors"]) == (len(SAMPLES), sum(wrong))


def test_measuring_needs_no_tensorflow():
    """What the notebook imports, and hence `digits evaluate`, starts in a second and not in ten."""
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    imports = next(cell.source for cell in cells if "from digit_utils.evaluation import" in cell.source)
    imports = imports.partition("check_parameters(")[0]  # the rest of the cell needs the parameters
    program = f"{imports}\nimport sys\nprint(sorted({{'keras', 'tensorflow'}} & set(sys.modules)))"
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "[]"
