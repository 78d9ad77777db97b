"""Everything that is special about Google Colab.

The first cell of every notebook fetches this package on Colab and calls `set_up`. Nothing else calls this module, and
no other cell asks where it runs. A batch run *on* Colab starts kernels of its own, which use what the first cell has
installed, and show no widgets.

Colab comes with hundreds of packages that fit each other. `set_up` adds missing ones and changes none.
"""

import importlib
import importlib.metadata
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from digit_utils import __version__

REPOSITORY = "https://github.com/sohailshk/Digit-Recognition"  # the one place; tests/colab/set_up_cell.py copies it
PACKAGE = "digit-utils"
EXTRA = "train"  # what the notebooks need
# Colab fetches a widget's script from npm, where no ipycanvas newer than this one was found.
EXACTLY = {"ipycanvas": "==0.13.3"}
# Packages with the same content under another name: the TPU's image has one of them.
ALSO_KNOWN_AS = {"opencv-python-headless": ("opencv-python", "opencv-contrib-python")}
NOT_NEEDED = ("jupyter-server", "jupyterlab", "segno", "voila")  # Colab is the page around the notebook itself
DRIVE = Path("/content/drive")
FOLDER_ON_DRIVE = "MyDrive/Digit-Recognition"
SIGNS_OF_A_TPU = ("TPU_ACCELERATOR_TYPE", "COLAB_TPU_ADDR", "TPU_NAME")  # variables of a machine that has one
DEVICES = Path("/dev")


class ColabError(RuntimeError):
    """The notebook cannot be set up on Colab; the message says why, and what to do."""


def set_up(*, version: str, keep_on_drive: bool = False) -> None:
    """Make a notebook run on Colab: install missing packages, enable widgets, use a TPU, keep the results.

    Args:
        version: of the package that the notebook was written for.
        keep_on_drive: mount the user's Google Drive and work in its folder Digit-Recognition, so that what is written
            to a relative path, such as runs/quick-seed0, stays there. Otherwise all is lost with Colab's machine.

    Raises ColabError if the package has another version, pip fails, or Drive cannot be mounted.
    """
    if version != __version__:
        raise ColabError(
            f"this notebook has version {version}, but the package has version {__version__}. "
            f"Open the notebook again from {REPOSITORY}; if you did, choose Runtime > Restart session"
        )
    added = missing_requirements(importlib.metadata.requires(PACKAGE) or (), installed_versions())
    install(added)
    _enable_widgets()
    _choose_backend()
    folder = _enter_drive() if keep_on_drive else Path.cwd()
    print(f"{PACKAGE} {version} is ready; added: {', '.join(added) or 'nothing'}.")
    kept = "stays in your Google Drive" if keep_on_drive else "is lost when Colab takes this machine back"
    print(f"What is written to {folder} {kept}.")


def installed_versions() -> dict[str, str]:
    """Return the version of every installed package by its normalised name."""
    found = ((each.metadata["Name"], each.version) for each in importlib.metadata.distributions())
    return {canonicalize_name(name): version for name, version in found if name and version}


def missing_requirements(required: Iterable[str], installed: Mapping[str, str]) -> list[str]:
    """Return what must be installed for the notebooks, sorted.

    Args:
        required: requirements of the package, as its metadata hold them: 'keras>=3.10; extra == "train"'.
        installed: versions by normalised name.

    A package that is older than required is Colab's own: it is reported in a line and left alone.
    """
    missing = []
    for text in required:
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        wanted = requirement.marker is None or any(requirement.marker.evaluate({"extra": e}) for e in ("", EXTRA))
        if not wanted or name in NOT_NEEDED:
            continue
        specifier = SpecifierSet(EXACTLY.get(name) or str(requirement.specifier))
        version = next((installed[each] for each in (name, *ALSO_KNOWN_AS.get(name, ())) if each in installed), None)
        if version is None or (name in EXACTLY and version not in specifier):
            missing.append(f"{name}{specifier}")
        elif not specifier.contains(version, prereleases=True):
            print(f"Colab has {name} {version}, older than {specifier}. It is not changed; please report any failure.")
    return sorted(set(missing))


def constraints(installed: Mapping[str, str]) -> list[str]:
    """Return constraints for pip that keep every installed package as it is, except those in `EXACTLY`."""
    return [f"{name}=={version}" for name, version in sorted(installed.items()) if name not in EXACTLY]


def install(requirements: list[str]) -> None:
    """Install packages with pip, changing no other. Raises ColabError with the last lines that pip printed."""
    if not requirements:
        return
    with tempfile.TemporaryDirectory() as folder:
        held = Path(folder) / "constraints.txt"
        held.write_text("\n".join(constraints(installed_versions())), encoding="utf-8")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        command += ["--constraint", str(held), *requirements]
        finished = subprocess.run(command, capture_output=True, text=True)
    if finished.returncode:
        last = finished.stderr.strip().splitlines()[-3:]
        raise ColabError(f"pip could not install {', '.join(requirements)}: {' '.join(last)}. Run this cell again")
    importlib.invalidate_caches()


def _enable_widgets() -> None:
    from google.colab import output

    output.enable_custom_widget_manager()


def _choose_backend() -> None:
    """On a TPU, let Keras run on JAX, which uses it as it is; TensorFlow would need a strategy around all training."""
    if any(name in os.environ for name in SIGNS_OF_A_TPU) or any(DEVICES.glob("accel*")):
        os.environ.setdefault("KERAS_BACKEND", "jax")


def _enter_drive() -> Path:
    """Mount Drive, make its folder the working directory, and return it."""
    from google.colab import drive

    folder = DRIVE / FOLDER_ON_DRIVE
    try:
        drive.mount(str(DRIVE))
        folder.mkdir(parents=True, exist_ok=True)
    except Exception as error:  # Colab raises what its front end makes of a refusal
        raise ColabError(
            f"Google Drive cannot be used ({error}); run this cell again and allow it, or set keep_on_drive = False"
        ) from error
    os.chdir(folder)
    return folder
