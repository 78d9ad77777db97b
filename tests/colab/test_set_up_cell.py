"""The first cell: the same everywhere, idle at home, and in step with the address, the version and the badges."""

import json
import os
import re
import subprocess
import sys
import tomllib
import types

import pytest
from IPython.core.inputtransformer2 import TransformerManager

from digit_utils import __version__
from digit_utils.notebook import colab
from digit_utils.notebook.colab import REPOSITORY

from .set_up_cell import BADGE, NOTEBOOKS, ROOT, SOURCE, first_code_cell, in_step, with_badges

BADGES = re.compile(r"https://colab\.research\.google\.com/github/[^)\s\"]+")


def loaded(path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_notebook_begins_with_the_cell_and_its_own_badge(path):
    notebook = loaded(path)
    assert in_step(notebook) == notebook, "run: python -m tests.colab.set_up_cell"
    assert first_code_cell(notebook)["metadata"]["tags"] == ["setup"]
    owner_and_name = REPOSITORY.removeprefix("https://github.com/")
    own = f"https://colab.research.google.com/github/{owner_and_name}/blob/main/notebooks/{path.name}"
    assert BADGES.findall("".join(notebook["cells"][0]["source"])) == [own]


def test_readme_and_pyproject_lead_to_the_same_repository():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert with_badges(readme) == readme
    assert len(BADGE.findall(readme)) == len(NOTEBOOKS)
    assert {path.name for path in NOTEBOOKS} == {badge.rpartition("/")[2] for badge in BADGES.findall(readme)}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["urls"]["Homepage"] == REPOSITORY


def test_the_cell_is_short_and_names_what_it_fetches():
    assert len(SOURCE.splitlines()) <= 15
    assert f"git+{REPOSITORY}" in SOURCE
    assert f'"v{__version__}"' in SOURCE


def test_the_cell_does_nothing_at_home(capfd: pytest.CaptureFixture):
    names = {}
    exec(TransformerManager().transform_cell(SOURCE), names)  # any command would fail: get_ipython is not there
    del names["__builtins__"], names["sys"], names["colab"]
    assert names == {"keep_on_drive": False, "on_colab": False}
    assert capfd.readouterr() == ("", "")


def test_without_the_package_it_says_in_one_sentence_what_to_do(monkeypatch: pytest.MonkeyPatch):
    """What a reader sees who downloaded a notebook alone, or whose Colab cannot reach the repository."""
    monkeypatch.setitem(sys.modules, "digit_utils", None)
    monkeypatch.setitem(sys.modules, "digit_utils.notebook", None)
    with pytest.raises(SystemExit) as stopped:
        exec(TransformerManager().transform_cell(SOURCE), {})
    assert "digit_utils is not fully installed: check the connection and run this cell again" in str(stopped.value)
    assert REPOSITORY in str(stopped.value)
    assert "\n" not in str(stopped.value)


def test_a_released_version_is_not_changed_any_more():
    """A notebook fetches the release of its version; so what has changed since needs the next one."""
    tag = f"v{__version__}"
    if subprocess.run(["git", "rev-parse", "--quiet", "--verify", tag], cwd=ROOT, capture_output=True).returncode:
        pytest.skip(f"{tag} is not released yet, so notebooks fetch main")
    command = ["git", "diff", "--name-only", tag, "--", "digit_utils", "notebooks", "pyproject.toml"]
    changed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert not changed, f"{tag} is released: raise the version, then run python -m tests.colab.set_up_cell"


@pytest.mark.parametrize("released", [True, False])
def test_it_fetches_the_release_of_its_version_or_else_main(released, tmp_path, monkeypatch, capfd):
    """The cell's own command, in a real shell, with a pip that fails for a release that there is not."""
    log, pip = tmp_path / "log", tmp_path / "pip"
    pip.write_text(f'#!/bin/sh\necho "$@" >> \'{log}\'\ncase "$*" in *@v*) exit {int(not released)};; esac\n')
    pip.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    calls = []
    monkeypatch.setattr(colab, "set_up", lambda **options: calls.append(options))
    names = {}
    shell = types.SimpleNamespace(
        system=lambda command: subprocess.run(command.format(**names), shell=True, check=True)
    )
    names["get_ipython"] = lambda: shell
    exec(TransformerManager().transform_cell(SOURCE), names)
    fetched = [line.rpartition(" ")[2] for line in log.read_text().splitlines()]
    main = f"git+{REPOSITORY}"
    assert fetched == ([f"{main}@v{__version__}"] if released else [f"{main}@v{__version__}", main])
    assert all("--no-deps" in line for line in log.read_text().splitlines())
    assert calls == [{"version": __version__, "keep_on_drive": False}]
    said = capfd.readouterr().out
    assert said == ("" if released else f"Release v{__version__} is not available; main is used.\n")
