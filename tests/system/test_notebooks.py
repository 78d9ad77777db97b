"""Every notebook runs with papermill, small and offline, and is committed as a reader wants to find it."""

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill
import pytest

from digit_utils.datasets.drawings import LabelledDrawing, append_drawing
from digit_utils.datasets.samples import sample_digits
from digit_utils.notebook.parameters import RULES
from digit_utils.notebook.results import METRICS_MIME, flat_metrics

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = [path.stem for path in NOTEBOOKS]
# What makes a run short, and independent of any download.
SMALL = {
    "01_explore_data": {"dataset": "digits8x8"},
    "02_train": {"dataset": "digits8x8", "epochs": 2, "seed": 1},
    "03_evaluate": {"dataset": "digits8x8", "limit": 60},
    "04_draw": {},
}


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Take away data folder, cache and network."""
    monkeypatch.delenv("DIGITS_DATA_DIR", raising=False)
    monkeypatch.setenv("DIGITS_CACHE_DIR", str(tmp_path / "empty-cache"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there


def test_there_are_four_notebooks():
    assert list(SMALL) == NAMES


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("offline")
def test_notebook_runs_offline_with_papermill(name: str, tmp_path: Path):
    output = tmp_path / f"{name}.ipynb"
    papermill.execute_notebook(
        ROOT / "notebooks" / f"{name}.ipynb", output, parameters=SMALL[name], cwd=tmp_path, progress_bar=False
    )
    cells = nbformat.read(output, as_version=4).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    assert not [out for cell in code for out in cell.outputs if out.output_type == "error"]
    (written,) = tmp_path.rglob("metrics.json")
    metrics = json.loads(written.read_text())
    assert metrics["notebook"] == name
    assert len(flat_metrics(metrics)) >= 3
    within = [out.data[METRICS_MIME] for cell in code for out in cell.outputs if METRICS_MIME in out.get("data", {})]
    assert within == [metrics]


@pytest.mark.slow
@pytest.mark.usefixtures("offline")
def test_without_mnist_the_training_notebook_says_so_and_uses_the_stand_in(tmp_path: Path):
    output = tmp_path / "out.ipynb"
    parameters = {"epochs": 1, "compare": False}
    source = ROOT / "notebooks" / "02_train.ipynb"
    papermill.execute_notebook(source, output, parameters=parameters, cwd=tmp_path, progress_bar=False)
    printed = "".join(
        out.get("text", "") for cell in nbformat.read(output, as_version=4).cells for out in cell.get("outputs", [])
    )
    assert "DIGITS_DATA_DIR" in printed
    assert "digits8x8 stands in" in printed
    metrics = json.loads((tmp_path / "runs" / "quick-seed0" / "metrics.json").read_text())
    assert metrics["dataset"] == "digits8x8"
    assert metrics["test"]["digits"] == 300


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_typed_and_explained(name: str):
    parameters = papermill.inspect_notebook(str(ROOT / "notebooks" / f"{name}.ipynb"))
    assert parameters, "there is no cell tagged `parameters`"
    assert set(parameters) <= set(RULES), "a parameter without a rule"
    for parameter in parameters.values():
        assert parameter["inferred_type_name"] not in ("", "None"), parameter
        assert len(parameter["help"]) > 5, parameter


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_notebook_is_committed_clean(path: Path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert any(cell.outputs for cell in code), "no outputs are committed"
    for cell in code:
        assert set(cell.metadata) <= {"tags"}, cell.metadata
        assert not [out for out in cell.outputs if out.output_type == "error" or out.get("name") == "stderr"]
        assert not [out for out in cell.outputs if "it/s]" in out.get("data", {}).get("text/plain", "")], "a dead bar"
        assert len(cell.source.splitlines()) <= 20, cell.source
    assert path.stat().st_size < 1_000_000


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"preset": "quickest"}, "preset is 'quickest'; choose one of 'quick', 'full'"),
        ({"epochs": -3, "seed": 0.5}, "seed is 0.5; it must be a whole number"),
        ({"epochs": -3}, "epochs is -3; it must be a whole number from 0"),
        ({"network": "resnet"}, "network is 'resnet'; choose one of"),
        ({"augmentation": "wild"}, "augmentation is 'wild'; choose one of"),
        ({"dataset": "emnist"}, "dataset is 'emnist'; choose one of 'mnist', 'digits8x8'"),
    ],
)
def test_training_notebook_refuses_bad_parameters(parameters: dict, expected: str, tmp_path: Path):
    source = ROOT / "notebooks" / "02_train.ipynb"
    with pytest.raises(papermill.PapermillExecutionError) as caught:
        papermill.execute_notebook(
            source, tmp_path / "out.ipynb", parameters=parameters, cwd=tmp_path, progress_bar=False
        )
    assert caught.value.ename == "ValueError"
    assert expected in caught.value.evalue


@pytest.mark.slow
@pytest.mark.usefixtures("offline")
def test_command_line_and_papermill_are_the_same_run(tmp_path: Path):
    drawings = tmp_path / "mine.jsonl"
    for sample in 5 * sample_digits(side=800):
        append_drawing(drawings, LabelledDrawing(sample.strokes, sample.digit))
    shared = ["epochs", "1", "seed", "3", "drawings", str(drawings)]
    command = [sys.executable, "-m", "digit_utils.cli", "train", "--epochs", "1", "--seed", "3"]
    command += ["-p", "dataset=digits8x8", "-p", "compare=false", "--drawings", "mine.jsonl"]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr
    assert "epoch  1/1" in finished.stdout, "progress is not shown"
    assert "80 drawings of mine.jsonl; 20 more held out" in finished.stdout
    command = [sys.executable, "-m", "papermill", str(ROOT / "notebooks" / "02_train.ipynb"), "out.ipynb"]
    for name, value in zip(shared[::2], shared[1::2], strict=True):
        command += ["-p", name, value]
    command += ["-p", "dataset", "digits8x8", "-p", "compare", "False", "-p", "output_folder", "other"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=300)
    one = json.loads((tmp_path / "runs" / "quick-seed3" / "metrics.json").read_text())
    other = json.loads((tmp_path / "other" / "metrics.json").read_text())
    for run in (one, other):
        del run["seconds"], run["validation"]["seconds"]
    assert one == other
    weights = [(tmp_path / folder / "model.tflite").read_bytes() for folder in ("runs/quick-seed3", "other")]
    assert weights[0] == weights[1]
