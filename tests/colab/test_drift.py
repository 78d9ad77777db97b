"""The list of versions that the tests use is Colab's, and what changes there is told."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from digit_utils.notebook.colab import EXACTLY

from .drift import Drift, drift, main, names_added
from .replica import CONSTRAINTS, HERE, pins


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """A list in which keras rose, notebook went, and ai-edge-litert came."""
    lines = [f"{name}=={version}" for name, version in pins(CONSTRAINTS).items() if name not in ("keras", "notebook")]
    path = tmp_path / "pip-freeze.txt"
    path.write_text("\n".join([*lines, "keras==3.99.0", "ai_edge_litert==9.0", "torch @ https://somewhere/torch.whl"]))
    return path


def test_changed_gone_and_arrived_packages_are_told():
    found = drift({"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "2.1", "d": "4", "e": "5"}, added=["d", "f"])
    assert found == [Drift("b", "2", "2.1"), Drift("c", "3", "absent"), Drift("d", "absent", "4")]


def test_the_command_prints_a_table_and_says_so_by_its_status(newer: Path):
    command = [sys.executable, "-m", "tests.colab.drift", str(newer)]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=HERE.parents[1])
    assert finished.returncode == 1, finished.stderr
    rows = [line.split() for line in finished.stdout.splitlines()[1:]]
    assert rows == [["ai-edge-litert", "absent", "9.0"], ["keras", "3.13.2", "3.99.0"], ["notebook", "6.5.7", "absent"]]


def test_versions_are_read_as_pip_freeze_prints_them(tmp_path: Path):
    path = tmp_path / "pip-freeze.txt"
    wheel = "https://a.b/c-1.0/torch-2.3.0%2Bcpu-cp310-cp310-linux_x86_64.whl#sha256=e3"
    path.write_text(
        f"# by pip freeze\nabsl-py==1.4.0\nml_dtypes==0.6.0\ntorch @ {wheel}\na @ file:///a-1.tar.gz\n-e .\n"
    )
    assert pins(path) == {"absl-py": "1.4.0", "ml-dtypes": "0.6.0", "torch": "2.3.0%2Bcpu", "a": "unknown"}


def test_no_drift_from_itself(capsys: pytest.CaptureFixture):
    assert main([str(CONSTRAINTS)]) == 0
    assert "as tested" in capsys.readouterr().out


@pytest.mark.parametrize("content", [None, "<html>not found</html>"])
def test_what_is_no_list_is_refused_by_name(content: str | None, tmp_path: Path, capsys: pytest.CaptureFixture):
    path = tmp_path / "list.txt"
    if content:
        path.write_text(content)
    assert main([str(path)]) == 2
    assert str(path) in capsys.readouterr().err


def test_what_the_cell_adds_is_what_colab_lacks():
    added = ["ai-edge-litert", "hershey-fonts", "ipycanvas", "papermill", "unlzw3"]
    assert names_added(pins(CONSTRAINTS)) == added
    assert EXACTLY["ipycanvas"] == "==0.13.3"


def test_the_tested_versions_are_those_of_colabs_own_list(capsys: pytest.CaptureFixture):
    path = os.environ.get("DIGITS_COLAB_PINS")
    if not path:
        pytest.skip("DIGITS_COLAB_PINS names no list of what Colab has")
    lists = sorted(Path(path).glob("*.txt"))
    assert lists, f"there is no list in {path}"
    for each in lists:
        assert main([str(each)]) == 0, capsys.readouterr().out
