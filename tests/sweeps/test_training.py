"""A sweep of real trainings, 02_train itself: killed in the middle it ends with the same networks to the last bit."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from digit_utils import cli
from digit_utils.notebook.execute import execute_notebook
from digit_utils.notebook.files import find_notebook
from digit_utils.sweeps.trial import environment_of_run
from tests.support.tiny_sweep import Place, finish, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="kernels are forked on Linux only"),
]
EPOCHS = 12
SWEEP = f"""\
notebook: 02_train
parameters: {{dataset: digits8x8, compare: false, epochs: {EPOCHS}}}
seeds: 2
lowest: validation.digits8x8_errors
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("undisturbed"), SWEEP)
    code, printed = place.run("--workers", "1")
    assert code == 0, printed
    return place


def measured(place: Place) -> list[dict[str, str]]:
    """Return the rows of the table without times."""
    return [{name: value for name, value in row.items() if not name.endswith("seconds")} for row in place.table()]


def weights_of(folder: Path) -> list[np.ndarray]:
    return keras.models.load_model(folder / "model.keras", compile=False).get_weights()


def printed_in(notebook: Path) -> str:
    cells = json.loads(notebook.read_text())["cells"]
    return "".join("".join(output.get("text", "")) for cell in cells for output in cell.get("outputs", []))


def test_the_table_holds_what_each_training_measured(undisturbed: Place):
    rows = undisturbed.table()
    assert [row["parameter.seed"] for row in rows] == ["0", "1"]
    assert [row["status"] for row in rows] == ["finished"] * 2
    for row in rows:
        metrics = json.loads((undisturbed.output / row["run"] / "metrics.json").read_text())
        assert float(row["metric.validation.digits8x8_errors"]) == metrics["validation"]["digits8x8_errors"] < 0.2
        assert row["metric.validation.epoch"] == str(EPOCHS)
    first, second = (weights_of(undisturbed.output / row["run"]) for row in rows)
    assert not np.array_equal(first[0], second[0])


def test_a_sweep_that_was_killed_while_it_trained_ends_with_the_same_networks(undisturbed: Place, tmp_path: Path):
    place = Place(tmp_path, SWEEP)
    process = place.start("--workers", "1")
    wait_until(lambda: list(place.output.glob("[!.]*/checkpoint-*.keras")), "a first epoch to be kept")
    os.kill(process.pid, signal.SIGKILL)
    finish(process)
    (begun,) = {path.parent for path in place.output.glob("[!.]*/progress.json")}
    epochs = len(json.loads((begun / "progress.json").read_text())["history"])
    assert 1 <= epochs < EPOCHS
    code, printed = place.run("--workers", "1")
    assert code == 0, printed
    assert "continuing after epoch" in printed_in(begun / "02_train.ipynb")
    assert measured(place) == measured(undisturbed)
    for row in place.table():
        for mine, theirs in zip(*(weights_of(p.output / row["run"]) for p in (place, undisturbed)), strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_a_forked_kernel_trains_the_network_that_a_usual_one_trains(undisturbed: Place, tmp_path: Path):
    run = undisturbed.table()[0]["run"]
    output = tmp_path / "02_train.ipynb"
    parameters = {"dataset": "digits8x8", "compare": False, "epochs": EPOCHS, "seed": 0, "output_folder": str(tmp_path)}
    execute_notebook(find_notebook("02_train"), output, parameters=parameters, environment=environment_of_run(1))
    for mine, theirs in zip(weights_of(tmp_path), weights_of(undisturbed.output / run), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert (tmp_path / "model.tflite").read_bytes() == (undisturbed.output / run / "model.tflite").read_bytes()


def test_its_report_shows_the_learning_curves(undisturbed: Place):
    assert cli.main(["report", str(undisturbed.output)]) == 0
    page = (undisturbed.output / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 2  # the one setting, and the curves of its two seeds
    assert "left no learning curves" not in page
    assert "There are too few runs to tell." in page
