"""The notebooks on Colab's own versions, from the first cell to the last; the pad is in tests/browser."""

import importlib.metadata
import json
import os
import subprocess
from pathlib import Path

import nbformat
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from digit_utils import __version__
from digit_utils.notebook.colab import EXACTLY, PACKAGE, constraints, missing_requirements

from .replica import ROOT, Replica, pins, python_313
from .set_up_cell import NOTEBOOKS, SOURCE

pytestmark = [pytest.mark.slow, pytest.mark.serial]  # one environment, which the set-up cell changes

SMALL = {
    "01_explore_data": {"dataset": "digits8x8"},
    "02_train": {"dataset": "digits8x8", "epochs": 1, "compare": False},
    "03_evaluate": {"dataset": "digits8x8", "limit": 20},
    "04_draw": {},
    "05_look_inside": {},
    "06_sweep": {"epochs": 1, "seeds": 1},
}

FULL_RECIPE_IN_SMALL = """
import json

from digit_utils.training import loop  # isort: skip

import keras

from digit_utils.datasets.loading import load_dataset
from digit_utils.training.export import export_network
from digit_utils.training.config import preset
from digit_utils.training.data import make_training_data, targets_of
from digit_utils.training.networks import DigitLoss, build_network

def interrupt(said):
    if "2/4" in said:
        raise KeyboardInterrupt

training_data = make_training_data(load_dataset("digits8x8"))
config = preset("full", network="small_cnn", epochs=4, pen_strokes=0, allographs=600, non_digits=0)
try:
    loop.train(build_network("small_cnn", seed=0), config, training_data, "run", report=interrupt)
except KeyboardInterrupt:
    said = []
result = loop.train(build_network("small_cnn", seed=0), config, training_data, "run", report=said.append)
recognizer = export_network(result.network, "run", validation=training_data.validation)
digits = training_data.validation["digits8x8"]
read = recognizer.probabilities_and_scores(digits.ink)[0].argmax(axis=1)
right = float((read == digits.labels).mean())

network = build_network("small_cnn")
network.compile(keras.optimizers.SGD(0.0), loss=DigitLoss(), jit_compile=False)  # learns nothing
ink, targets = digits.ink[:300, ..., None], targets_of(digits.labels[:300])
sums = list(loop.train_batches(network, ink, targets, batch_size=128))
losses = keras.ops.convert_to_numpy(DigitLoss(reduction=None)(targets, network(ink)))
alone = [float(losses[start : start + 128].sum()) for start in (0, 128, 256)]
print(json.dumps({"said": said[0], "right": right, "epochs": len(result.history), "sums": sums, "alone": alone}))
"""


def execute(kernel: Replica, name: str, folder: Path, **variables: str) -> str:
    """Execute a notebook with papermill from its first cell to its last, and return all that it printed."""
    command = ["-m", "papermill", str(ROOT / "notebooks" / f"{name}.ipynb"), "out.ipynb", "-k", "python3"]
    command += ["--no-progress-bar", "-y", json.dumps(SMALL[name])]
    kernel.run(*command, cwd=folder, **variables)
    cells = nbformat.read(folder / "out.ipynb", as_version=4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert all(cell.execution_count for cell in cells if cell.cell_type == "code")
    return "".join(output.get("text", "") for output in outputs)


def test_the_first_cell_adds_what_colab_lacks_and_changes_nothing(after_first_cell):
    said, before, after = after_first_cell.said, after_first_cell.before, after_first_cell.after
    changed = {name for name, version in before.items() if after.get(name) != version}
    assert not changed
    assert {"digit-utils", "ai-edge-litert", "anywidget", "hershey-fonts", "ipycanvas", "papermill", "unlzw3"} <= set(
        after
    )
    assert not {"voila", "jupyterlab"} & set(after)
    assert after["ipycanvas"] == EXACTLY["ipycanvas"].removeprefix("==")
    assert "the custom widget manager is on" in said
    assert "is ready; added: ai-edge-litert" in said


def test_a_second_time_it_adds_nothing(after_first_cell, colab_kernel, tmp_path):
    assert "is ready; added: nothing." in colab_kernel.run_cell(SOURCE, cwd=tmp_path)
    assert colab_kernel.versions() == after_first_cell.after


@pytest.mark.usefixtures("after_first_cell")
def test_a_notebook_older_than_the_package_says_what_to_do(colab_kernel, tmp_path):
    older = SOURCE.replace(f'version="{__version__}"', 'version="0.0.9"')
    with pytest.raises(AssertionError, match=r"this notebook has version 0\.0\.9.*Open the notebook again"):
        colab_kernel.run_cell(older, cwd=tmp_path)


@pytest.mark.usefixtures("after_first_cell")
@pytest.mark.parametrize("name", [path.stem for path in NOTEBOOKS])
def test_notebook_runs_from_its_first_cell_to_its_last(name, colab_kernel, tmp_path):
    assert "the custom widget manager is on" in execute(colab_kernel, name, tmp_path)


@pytest.mark.usefixtures("after_first_cell")
def test_the_same_training_runs_on_jax(colab_kernel, tmp_path):
    """Another backend proves that training calls nothing of TensorFlow; the export agrees with the network."""
    said = execute(colab_kernel, "02_train", tmp_path, KERAS_BACKEND="jax")
    assert "with Keras on jax" in said
    assert "the exported network's logits are the trained one's" in said
    assert json.loads((tmp_path / "runs/quick-seed0/metrics.json").read_text())["test"]["digits"] == 300


@pytest.mark.usefixtures("after_first_cell")
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_the_full_recipe_in_small_goes_on_where_it_was_on_either_backend(backend, colab_kernel, tmp_path):
    """Averaged weights live in the optimiser, whose state is another thing on JAX and in Colab's older Keras."""
    said = colab_kernel.run("-c", FULL_RECIPE_IN_SMALL, cwd=tmp_path, KERAS_BACKEND=backend)
    told = json.loads(said.splitlines()[-1])
    assert told["said"] == "continuing after epoch 2 of 4"
    assert told["epochs"] == 4
    assert told["right"] > 0.9
    assert told["sums"] == pytest.approx(told["alone"], rel=1e-4), "a step does not tell its own loss"


@pytest.fixture(scope="module")
def everything_on_colab() -> dict[str, str]:
    """The versions of all packages on Colab's CPU runtime."""
    folder = os.environ.get("DIGITS_COLAB_PINS")
    if not folder:
        pytest.skip("DIGITS_COLAB_PINS names no list of all that Colab has")
    return pins(next(Path(folder).glob("*cpu.txt")))


def test_beside_all_of_colabs_packages_pip_changes_none(everything_on_colab, colab_kernel, tmp_path):
    """pip's own report, with every package of Colab there as far as pip can tell: its name and version."""
    subprocess.run([python_313(), "-m", "venv", "--without-pip", str(tmp_path / "env")], check=True)
    packages = next((tmp_path / "env").glob("lib/*/site-packages"))
    for name, version in everything_on_colab.items():
        folder = packages / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    wanted = missing_requirements(importlib.metadata.requires(PACKAGE), everything_on_colab)
    held = tmp_path / "constraints.txt"
    held.write_text("\n".join(constraints(everything_on_colab)))
    command = ["-m", "pip", "--python", str(tmp_path / "env/bin/python"), "install", "--dry-run", "--quiet"]
    command += ["--report", str(tmp_path / "report.json"), "--constraint", str(held), *wanted]
    colab_kernel.run(*command, cwd=tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    added = {canonicalize_name(each["metadata"]["name"]) for each in report["install"]}
    assert added >= {canonicalize_name(Requirement(each).name) for each in wanted}
    assert not added & set(everything_on_colab)
