"""A command's folder of temporary files: removed when the command ends, and by the next one if it was killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from digit_utils.notebook import execute
from digit_utils.notebook.execute import execute_notebook
from tests.notebook.test_fork_server import run, write_notebook

USE = """
import sys
from digit_utils.notebook.scratch import scratch_folder
print((scratch_folder() / "left").write_text("x") and scratch_folder(), flush=True)
sys.stdin.read()
"""


def start(folder: Path) -> tuple[subprocess.Popen[str], Path]:
    environment = {**os.environ, "TMPDIR": str(folder)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", USE], env=environment, **pipes)
    return process, Path(process.stdout.readline().strip())


def test_a_command_leaves_nothing_and_removes_what_a_killed_one_left_but_not_what_is_in_use(tmp_path: Path):
    killed, left = start(tmp_path)
    used, in_use = start(tmp_path)
    killed.kill()
    killed.communicate()
    assert left.parent == tmp_path
    assert left.is_dir()
    ended, own = start(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([in_use, own])
    for process in (ended, used):
        process.communicate("")
        assert process.returncode == 0
    assert not list(tmp_path.iterdir())


def test_what_a_notebook_leaves_among_temporary_files_is_removed(tmp_path: Path):
    cell = "import tempfile\nprint(tempfile.NamedTemporaryFile(delete=False).name)"
    left = Path(run(write_notebook(tmp_path / "a.ipynb", cell), execute.alone()))
    assert left.is_relative_to(execute.scratch_folder())
    assert not left.exists()


@pytest.mark.parametrize("full", ["output", "temporary"])
def test_the_folder_whose_disk_is_full_is_named(full: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Usage:
        def __init__(self, folder: Path):
            self.free = 0 if (folder == tmp_path) is (full == "output") else 10**9

    monkeypatch.setattr(execute.shutil, "disk_usage", Usage)
    notebook = write_notebook(tmp_path / "a.ipynb", "raise OSError(28, 'No space left on device')")
    expected = {"output": f"for {tmp_path} ", "temporary": "for temporary files in .*, which the variable TMPDIR names"}
    with pytest.raises(execute.DiskFull, match=f"no space is left {expected[full]}"):
        execute_notebook(notebook, tmp_path / "o.ipynb", parameters={})
