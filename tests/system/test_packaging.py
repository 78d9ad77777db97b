"""The package as users install it: from a wheel, from conda's file, with nothing missing and nothing to spare."""

import json
import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from itertools import chain
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_environment_file_is_in_step_with_pyproject():
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    dependencies = yaml.safe_load(text)["dependencies"]
    assert f"python{PROJECT['requires-python']}" in dependencies
    assert "pip" in dependencies
    (from_pip,) = [entry["pip"] for entry in dependencies if isinstance(entry, dict)]
    assert from_pip == ["-e .[train]"]
    assert "train" in PROJECT["optional-dependencies"]
    listed = [line for line in text.partition("dependencies:")[2].splitlines() if line.strip() and "pip:" not in line]
    assert all("# " in line for line in listed), "a dependency without its reason"


def test_every_dependency_has_a_lower_bound_and_a_reason():
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[project]")[2].splitlines()
    wanted = list(chain(PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()))
    for requirement in wanted:
        if requirement.startswith("digit-utils["):
            continue
        assert ">=" in requirement, requirement
        assert "<" not in requirement, requirement
        named = [line for line in lines if f'"{requirement}"' in line]
        assert len(named) == 1, f"{requirement} stands {len(named)} times"
        (line,) = named
        assert len(line.partition("# ")[2]) > 10, f"{requirement} has no reason"


def test_versions_agree():
    import digit_utils

    assert digit_utils.__version__ == PROJECT["version"]


def test_wheel_carries_model_notebooks_and_page(wheel: Path):
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = [f"digit_utils/notebooks/{path.name}" for path in (ROOT / "notebooks").glob("*.ipynb")]
    assert len(expected) == 6
    left_out = re.compile(r"(^|/)(__pycache__|\.[^/]*)(/|$)")  # what Python and Jupyter leave behind
    package = [path.relative_to(ROOT).as_posix() for path in (ROOT / "digit_utils").rglob("*") if path.is_file()]
    expected += [path for path in package if not left_out.search(path)]
    assert {"digit_utils/models/digits.tflite", "digit_utils/pad/pad.css", "digit_utils/sweeps/report.ipynb"} <= set(
        expected
    )
    assert names.issuperset([*expected, "digit_utils/notebooks/sweeps/augmentation.yaml"])
    strangers = [name for name in names if not name.startswith(("digit_utils/", "digit_utils-"))]
    assert not strangers
    assert not [name for name in names if "runs/" in name or ".ipynb_checkpoints" in name]


READ_SAMPLES = """
import json, sys
import digit_utils
from digit_utils import DigitPad, Recognizer
from digit_utils.notebook.execute import find_notebook
from digit_utils.serving.app import page_notebook
from digit_utils.datasets.samples import sample_digits
recognizer = Recognizer.load()
wrong = [sample.digit for sample in sample_digits() if recognizer.recognize(sample.strokes).digit != sample.digit]
assert page_notebook().cells
heavy = [name for name in ("tensorflow", "keras", "matplotlib", "sklearn") if name in sys.modules]
places = [digit_utils.__file__, str(find_notebook("04_draw"))]
print(json.dumps({"wrong": wrong, "heavy": heavy, "places": places}))
"""


def assert_reads_samples(python: Path | str, *, cwd: Path, inside: Path, **variables: str) -> None:
    """Read the sample digits in a process that has the package from `inside` a folder, away from the clone."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables
    command = [python, "-c", READ_SAMPLES]
    finished = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)
    assert finished.returncode == 0, finished.stderr
    found = json.loads(finished.stdout)
    assert not found["wrong"]
    assert not found["heavy"]
    assert all(place.startswith(str(inside)) for place in found["places"]), found["places"]


def test_wheel_reads_digits_away_from_the_clone(wheel: Path, tmp_path: Path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    assert_reads_samples(
        sys.executable, cwd=tmp_path, inside=tmp_path / "installed", PYTHONPATH=str(tmp_path / "installed")
    )


@pytest.mark.slow
def test_wheel_asks_for_all_that_it_needs_and_no_tensorflow(wheel: Path, tmp_path: Path):
    """Install it with its dependencies into an empty environment, and recognise there."""
    venv.create(tmp_path / "env", with_pip=True)
    binaries = tmp_path / "env" / ("Scripts" if sys.platform == "win32" else "bin")
    python = binaries / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", str(wheel)], check=True, timeout=900)
    assert_reads_samples(python, cwd=tmp_path, inside=tmp_path / "env")
    helped = subprocess.run([binaries / "digits", "draw", "--help"], capture_output=True, text=True, timeout=60)
    assert "--no-browser" in helped.stdout
    installed = subprocess.run([python, "-m", "pip", "list"], capture_output=True, text=True, timeout=60).stdout
    assert "tensorflow" not in installed.lower()
