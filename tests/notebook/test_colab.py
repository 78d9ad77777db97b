"""What is done on Colab, without Colab: its module is faked, and so is pip where a list says enough."""

import subprocess
import sys
import types
from pathlib import Path

import pytest

from digit_utils import __version__
from digit_utils.notebook import colab

REQUIRED = [
    "ai-edge-litert>=2.0.2",
    "ipycanvas>=0.13.3",
    "numpy>=1.26",
    "voila>=0.5.8",
    'keras>=3.10; extra == "train"',
    'Hershey_Fonts>=2.1; extra == "train"',
    'jupyterlab>=4.2; extra == "train"',
    'pytest>=8.2; extra == "test"',
]


@pytest.fixture
def fake_colab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """A google.colab that notes what is asked of it, Drive in a temporary folder, and nothing to install."""
    asked = []

    def mount(place: str) -> None:
        asked.append(f"mount {place}")
        (Path(place) / "MyDrive").mkdir(parents=True)

    google, module = types.ModuleType("google"), types.ModuleType("google.colab")
    module.output = types.SimpleNamespace(enable_custom_widget_manager=lambda: asked.append("widgets"))
    module.drive = types.SimpleNamespace(mount=mount)
    monkeypatch.setitem(sys.modules, "google", google)
    monkeypatch.setitem(sys.modules, "google.colab", module)
    monkeypatch.setattr(colab, "DRIVE", tmp_path / "drive")
    monkeypatch.setattr(colab, "install", lambda requirements: asked.append(f"install {' '.join(requirements)}"))
    monkeypatch.setattr(colab, "installed_versions", lambda: {"numpy": "2.1.3", "keras": "3.13.2"})
    monkeypatch.setattr(colab.importlib.metadata, "requires", lambda name: REQUIRED)
    monkeypatch.chdir(tmp_path)
    return asked


def test_missing_is_what_the_notebooks_need_and_colab_lacks():
    missing = colab.missing_requirements(REQUIRED, {"numpy": "2.1.3", "keras": "3.13.2"})
    assert missing == ["ai-edge-litert>=2.0.2", "hershey-fonts>=2.1", "ipycanvas==0.13.3"]


def test_nothing_is_missing_once_it_is_there():
    there = {"ai-edge-litert": "2.3", "hershey-fonts": "2.1", "ipycanvas": "0.13.3", "numpy": "2.1", "keras": "3.13"}
    assert colab.missing_requirements(REQUIRED, there) == []


def test_opencv_under_any_of_its_names_is_there():
    for name in ("opencv-python-headless", "opencv-python", "opencv-contrib-python"):
        assert colab.missing_requirements(["opencv-python-headless>=4.8"], {name: "4.14.0"}) == []
    assert colab.missing_requirements(["opencv-python-headless>=4.8"], {}) == ["opencv-python-headless>=4.8"]


def test_another_ipycanvas_is_replaced_since_colab_cannot_show_it():
    assert "ipycanvas==0.13.3" in colab.missing_requirements(REQUIRED, {"ipycanvas": "0.14.3"})
    assert "ipycanvas==0.14.3" not in colab.constraints({"ipycanvas": "0.14.3"})


def test_what_is_too_old_is_told_and_left_alone(capsys: pytest.CaptureFixture):
    assert not [each for each in colab.missing_requirements(REQUIRED, {"numpy": "1.24.0"}) if "numpy" in each]
    assert "numpy 1.24.0, older than >=1.26" in capsys.readouterr().out


def test_constraints_hold_everything_that_is_installed():
    assert colab.constraints({"numpy": "2.1.3", "torch": "2.11.0+cpu"}) == ["numpy==2.1.3", "torch==2.11.0+cpu"]
    assert f"pytest=={pytest.__version__}" in colab.constraints(colab.installed_versions())


def test_pip_is_kept_from_changing_what_is_there():
    with pytest.raises(colab.ColabError, match=r"pip could not install pytest<8.*Run this cell again"):
        colab.install(["pytest<8"])
    assert colab.installed_versions()["pytest"] == pytest.__version__


def test_nothing_to_install_starts_no_pip(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(subprocess, "run", None)
    colab.install([])


def test_set_up_installs_shows_widgets_and_says_what_is_lost(fake_colab, capsys, tmp_path):
    colab.set_up(version=__version__)
    assert fake_colab == ["install ai-edge-litert>=2.0.2 hershey-fonts>=2.1 ipycanvas==0.13.3", "widgets"]
    said = capsys.readouterr().out
    assert f"digit-utils {__version__} is ready; added: ai-edge-litert" in said
    assert f"{tmp_path} is lost when Colab takes this machine back" in said


def test_on_drive_relative_paths_outlive_the_machine(fake_colab, capsys, tmp_path):
    colab.set_up(version=__version__, keep_on_drive=True)
    assert f"mount {tmp_path / 'drive'}" in fake_colab
    kept = tmp_path / "drive" / "MyDrive" / "Digit-Recognition"
    Path("runs").mkdir()
    assert (kept / "runs").is_dir()
    assert f"{kept} stays in your Google Drive" in capsys.readouterr().out


def test_a_refused_drive_is_an_error_with_the_way_out(fake_colab, monkeypatch):
    def refuse(place: str) -> None:
        raise ValueError("mount failed")

    monkeypatch.setattr(sys.modules["google.colab"].drive, "mount", refuse)
    with pytest.raises(colab.ColabError, match=r"mount failed\); run this cell again and allow it, or set keep_on"):
        colab.set_up(version=__version__, keep_on_drive=True)


def test_a_notebook_of_another_version_is_refused_before_anything_is_done(fake_colab):
    with pytest.raises(colab.ColabError, match=rf"version 9.9, but the package has version {__version__}.*Open the"):
        colab.set_up(version="9.9")
    assert fake_colab == []


@pytest.mark.parametrize(
    ("variables", "devices", "backend"),
    [
        ({"TPU_ACCELERATOR_TYPE": "v5e-1"}, [], "jax"),
        ({}, ["accel0"], "jax"),
        ({"TPU_ACCELERATOR_TYPE": "v5e-1", "KERAS_BACKEND": "torch"}, [], "torch"),
        ({}, ["null"], None),
    ],
)
def test_a_tpu_is_driven_by_jax_unless_told_otherwise(variables, devices, backend, fake_colab, monkeypatch, tmp_path):
    for name in ("KERAS_BACKEND", *colab.SIGNS_OF_A_TPU):
        monkeypatch.setenv(name, "")  # or what is set from here on would outlive the test
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(colab, "DEVICES", tmp_path / "dev")
    (tmp_path / "dev").mkdir()
    for name in devices:
        (tmp_path / "dev" / name).touch()
    colab.set_up(version=__version__)
    assert colab.os.environ.get("KERAS_BACKEND") == backend
