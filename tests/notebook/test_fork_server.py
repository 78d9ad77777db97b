"""Kernels that are forked from a process with everything imported are as fresh, and as mortal, as any other."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

from digit_utils.notebook import kernel_process
from digit_utils.notebook.execute import NotebookInterrupted, execute_notebook
from digit_utils.notebook.fork_server import ForkServer, alone, imports_of
from digit_utils.sweeps.trial import environment_of_run
from tests.support.tiny_sweep import alive, wait_until

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="kernels are forked on Linux only")


def write_notebook(path: Path, *cells: str, tags: tuple[str, ...] = ()) -> Path:
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    content = [nbformat.v4.new_code_cell(cell) for cell in cells]
    if tags:
        content[0].metadata["tags"] = list(tags)
    nbformat.write(nbformat.v4.new_notebook(cells=content, metadata={"kernelspec": spec}), path)
    return path


def run(notebook: Path, kernel: list[str], **environment: str) -> str:
    """Run a notebook and return what its last cell printed."""
    output = notebook.with_name(f"{notebook.stem}-output.ipynb")
    execute_notebook(notebook, output, parameters={}, kernel=kernel, environment=environment)
    return json.loads(output.read_text())["cells"][-1]["outputs"][0]["text"][0].strip()


@pytest.fixture
def with_numpy(tmp_path: Path) -> Iterator[ForkServer]:
    fork_server = ForkServer(write_notebook(tmp_path / "imports.ipynb", "import numpy as np"), environment_of_run(1))
    assert fork_server.why_not == "ready"
    yield fork_server
    fork_server.close()


def test_the_imports_of_a_notebook_are_found_but_not_those_within_functions_or_the_set_up(tmp_path: Path):
    cells = (
        "import secret",
        "import os, json as j\nfrom pathlib import Path",
        "%matplotlib inline\nimport never_parsed",
        "def f():\n    import within\nif False:\n    import conditional\nfrom numpy import random, linalg",
    )
    found = imports_of(write_notebook(tmp_path / "a.ipynb", *cells, tags=("setup",)))
    assert found == ["os", "json", "pathlib", "pathlib.Path", "numpy", "numpy.random", "numpy.linalg"]


def test_a_forked_kernel_has_the_modules_already_and_comes_from_the_nursery(with_numpy: ForkServer, tmp_path: Path):
    here = write_notebook(tmp_path / "here.ipynb", "import os, sys\nprint('numpy' in sys.modules, os.getppid())")
    assert run(here, with_numpy.command()) == f"True {with_numpy._process.pid}"
    assert run(here, alone()).startswith("False ")


def test_two_forked_kernels_draw_different_random_numbers_and_share_no_variables(
    with_numpy: ForkServer, tmp_path: Path
):
    cell = (
        "import builtins, numpy as np\n"
        "seen = hasattr(builtins, 'mark')\n"
        "builtins.mark = 1\n"
        "print(seen, np.random.rand())"
    )
    notebook = write_notebook(tmp_path / "draws.ipynb", cell)
    first, second = (run(notebook, with_numpy.command()) for _ in range(2))
    assert first.startswith("False ")
    assert second.startswith("False ")
    assert first != second


def test_a_forked_kernel_has_the_environment_and_the_folder_of_its_run(with_numpy: ForkServer, tmp_path: Path):
    notebook = write_notebook(tmp_path / "where.ipynb", "import os\nprint(os.environ['OF_THIS_RUN'], os.getcwd())")
    (tmp_path / "place").mkdir()
    output = tmp_path / "output.ipynb"
    options = {"environment": {"OF_THIS_RUN": "yes"}, "folder": tmp_path / "place", "kernel": with_numpy.command()}
    execute_notebook(notebook, output, parameters={}, **options)
    assert json.loads(output.read_text())["cells"][-1]["outputs"][0]["text"] == [f"yes {tmp_path / 'place'}\n"]


def test_a_kernel_whose_nursery_is_killed_ends_and_the_run_is_told_to_be_interrupted(
    with_numpy: ForkServer, tmp_path: Path
):
    cell = (
        "import os, signal, time\n"
        "from pathlib import Path\n"
        "Path('pid').write_text(str(os.getpid()))\n"
        "os.kill(os.getppid(), signal.SIGKILL)\n"
        "time.sleep(60)"
    )
    notebook = write_notebook(tmp_path / "kills.ipynb", cell)
    with pytest.raises(NotebookInterrupted, match="died"):
        execute_notebook(notebook, tmp_path / "o.ipynb", parameters={}, folder=tmp_path, kernel=with_numpy.command())
    kernel = (tmp_path / "pid").read_text()
    wait_until(lambda: not alive(kernel), "the kernel to end")
    assert not with_numpy.alive()


def test_a_kernel_ends_when_whoever_asked_for_it_is_killed(with_numpy: ForkServer, tmp_path: Path):
    asking = subprocess.Popen(
        [*with_numpy.command(), "-f", str(tmp_path / "kernel.json")], env={**os.environ, "JPY_PARENT_PID": "1"}
    )
    children = Path(f"/proc/{with_numpy._process.pid}/task/{with_numpy._process.pid}/children")
    wait_until(lambda: children.read_text().split(), "a kernel to be forked")
    (kernel,) = children.read_text().split()
    asking.kill()
    asking.wait()
    wait_until(lambda: not alive(kernel), "the kernel to end")
    assert with_numpy.alive()


def test_who_asks_for_a_kernel_and_says_nothing_or_nonsense_harms_no_other(with_numpy: ForkServer, tmp_path: Path):
    for said in (b"", b"nonsense\n", b"\xff\n"):
        with socket.socket(socket.AF_UNIX) as asking:
            asking.connect(with_numpy._socket)
            asking.sendall(said)
            asking.shutdown(socket.SHUT_WR)
            assert asking.recv(10) == b"", "it is told that no kernel comes"
    here = write_notebook(tmp_path / "here.ipynb", "import os\nprint(os.getppid())")
    assert run(here, with_numpy.command()) == str(with_numpy._process.pid)


def test_when_no_more_processes_are_to_be_had_the_kernels_that_run_go_on(tmp_path: Path):
    """The fork server's own loop, in a process where the second fork fails as it does at a limit of processes."""
    code = f"""
import json, os, socket, sys, threading
sys.path.insert(0, {str(Path(kernel_process.__file__).parent)!r})
import kernel_process
forks, fork = [], os.fork
def failing():
    forks.append(1)
    if len(forks) == 2:
        raise BlockingIOError(11, "Resource temporarily unavailable")
    return fork()
os.fork = failing
kernel_process.run_kernel = lambda arguments: os.read(int(arguments[0]), 1)
server = socket.socket(socket.AF_UNIX)
server.bind({str(tmp_path / "s")!r})
server.listen()
threading.Thread(target=kernel_process._fork_on_demand, args=(server,), daemon=True).start()
def ask():
    connection = socket.socket(socket.AF_UNIX)
    connection.connect({str(tmp_path / "s")!r})
    reading, writing = os.pipe()
    request = {{"environment": {{}}, "folder": "/", "arguments": [str(reading)]}}
    connection.sendall(json.dumps(request).encode() + b"\\n")
    return connection, writing
(first, goes_on), (refused, _) = ask(), ask()
told = refused.recv(10)
os.write(goes_on, b"x")
print(told, first.recv(10))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "b'' b'0\\n'\n", done.stderr


def test_a_notebook_whose_imports_start_threads_gets_kernels_of_its_own(tmp_path: Path, monkeypatch):
    (tmp_path / "threaded.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    fork_server = ForkServer(write_notebook(tmp_path / "a.ipynb", "import threaded"), {})
    try:
        assert "threads" in fork_server.why_not
        assert fork_server.command() == alone()
        assert fork_server.alive()
    finally:
        fork_server.close()


def test_where_nothing_can_be_forked_safely_kernels_import_for_themselves(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    server = ForkServer(tmp_path / "not even read.ipynb", {})
    assert server.command() == alone()
    assert server.alive()
    server.close()


@pytest.mark.parametrize("how", ["forked", "alone"])
def test_a_kernel_can_have_its_epochs_prepared_by_processes(how: str, tmp_path: Path):
    """A new process imports the main module of the one that starts it, which in a kernel is none of its own."""
    code = (
        "import multiprocessing\n"
        "from digit_utils.training.prefetch import prefetch_epochs\n"
        "from digit_utils.datasets.ink import LabelledInk\n"
        "from digit_utils.training.config import DataMix\n"
        "from digit_utils.training.data import TrainingData\n"
        "import numpy as np"
    )
    use = (
        "training_data = TrainingData(LabelledInk(np.zeros((0, 28, 28), np.float32), np.zeros(0, np.int64)))\n"
        "made = prefetch_epochs(training_data, DataMix(allographs=5), seed=0, first=0, end=3, workers=2)\n"
        "print(*[ink.shape for ink, _ in made], len(multiprocessing.active_children()))"
    )
    notebook = write_notebook(tmp_path / "epochs.ipynb", code, use)
    with contextlib.closing(ForkServer(notebook, environment_of_run(1))) as fork_server:
        assert fork_server.why_not == "ready"
        kernel = fork_server.command() if how == "forked" else alone()
        assert run(notebook, kernel) == "(5, 28, 28, 1) (5, 28, 28, 1) (5, 28, 28, 1) 0"
