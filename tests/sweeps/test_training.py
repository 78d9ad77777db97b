"""A sweep of real trainings, 02_train itself: though killed, it ends with the networks of undisturbed trainings."""

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
from digit_utils.notebook.execute import execute_notebook, find_notebook
from digit_utils.notebook.results import flat_metrics, metrics_of_run
from digit_utils.sweeps.trial import environment_of_run
from tests.support.tiny_sweep import Place, finish, wait_until

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="kernels are forked on Linux only"),
    pytest.mark.slow,  # tests/training/test_loop.py kills one training, tests/sweeps/test_failures.py short runs
]
EPOCHS = 6
PARAMETERS = {"dataset": "digits8x8", "compare": False, "epochs": EPOCHS}
SWEEP = f"notebook: 02_train\nparameters: {json.dumps(PARAMETERS)}\nseeds: 2\nlowest: validation.digits8x8_errors\n"


@pytest.fixture(scope="module")
def killed_and_resumed(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Return a sweep that was killed after the first epoch, and finished by the same command."""
    folder = tmp_path_factory.mktemp("resumed")
    (folder / "temporary").mkdir()
    place = Place(folder, SWEEP, TMPDIR=str(folder / "temporary"))
    process = place.start("--workers", "1")
    wait_until(lambda: list(place.output.glob("[!.]*/checkpoint-*.keras")), "the first checkpoint")
    os.kill(process.pid, signal.SIGKILL)
    finish(process)
    (begun,) = {path.parent for path in place.output.glob("[!.]*/progress.json")}
    epochs = len(json.loads((begun / "progress.json").read_text())["history"])
    assert 1 <= epochs < EPOCHS
    code, printed = place.run("--workers", "1")
    assert code == 0, printed
    cells = json.loads((begun / "02_train.ipynb").read_text())["cells"]
    assert "after epoch" in "".join("".join(o.get("text", "")) for cell in cells for o in cell.get("outputs", []))
    return place


def weights_of(folder: Path) -> list[np.ndarray]:
    return keras.models.load_model(folder / "model.keras", compile=False).get_weights()


def test_a_training_that_was_killed_in_a_sweep_ends_with_the_network_of_a_usual_kernel(
    killed_and_resumed: Place, tmp_path: Path
):
    run = killed_and_resumed.output / killed_and_resumed.table()[0]["run"]
    parameters = PARAMETERS | {"seed": 0, "output_folder": str(tmp_path)}
    execute_notebook(
        find_notebook("02_train"), tmp_path / "o.ipynb", parameters=parameters, environment=environment_of_run(1)
    )
    for resumed, undisturbed in zip(weights_of(run), weights_of(tmp_path), strict=True):
        np.testing.assert_array_equal(resumed, undisturbed)
    resumed, undisturbed = (flat_metrics(metrics_of_run(path, "none.ipynb")) for path in (run, tmp_path))
    differing = {name for name in resumed | undisturbed if resumed[name] != undisturbed[name]}
    assert differing <= {"seconds", "validation.seconds"}


def test_the_table_holds_what_each_training_measured(killed_and_resumed: Place):
    rows = killed_and_resumed.table()
    assert [row["parameter.seed"] for row in rows] == ["0", "1"]
    assert [row["status"] for row in rows] == ["finished"] * 2
    for row in rows:
        metrics = json.loads((killed_and_resumed.output / row["run"] / "metrics.json").read_text())
        assert float(row["metric.validation.digits8x8_errors"]) == metrics["validation"]["digits8x8_errors"] < 0.5
        assert row["metric.validation.epoch"] == str(EPOCHS)
    first, second = (weights_of(killed_and_resumed.output / row["run"]) for row in rows)
    assert not np.array_equal(first[0], second[0])


def test_a_killed_and_resumed_sweep_of_trainings_leaves_no_temporary_files(killed_and_resumed: Place):
    assert not list((killed_and_resumed.folder / "temporary").iterdir())


def test_its_report_shows_the_learning_curves(killed_and_resumed: Place):
    assert cli.main(["report", str(killed_and_resumed.output)]) == 0
    page = (killed_and_resumed.output / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 2  # the one setting, and the curves of its two seeds
    assert "left no learning curves" not in page
    assert "There are too few runs to tell." in page
