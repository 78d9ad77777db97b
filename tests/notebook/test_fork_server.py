"""Kernels that are forked from a process with everything imported are as fresh as any other, and end as surely."""

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


def children_of(fork_server: ForkServer) -> list[str]:
    pid = fork_server._process.pid
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def client_of(fork_server: ForkServer) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(f"\0{fork_server._address}")
    return client


@pytest.fixture
def with_numpy(tmp_path: Path) -> Iterator[ForkServer]:
    fork_server = ForkServer(write_notebook(tmp_path / "imports.ipynb", "import numpy as np"), environment_of_run(1))
    assert fork_server.why_not == "ready"
    yield fork_server
    fork_server.close()


def test_the_imports_of_a_notebook_are_found_except_in_functions_and_the_set_up_cell(tmp_path: Path):
    cells = (
        "import secret",
        "import os, json as j\nfrom pathlib import Path",
        "%matplotlib inline\nimport never_parsed",
        "def f():\n    import within\nif False:\n    import conditional\nfrom numpy import random, linalg",
    )
    found = imports_of(write_notebook(tmp_path / "a.ipynb", *cells, tags=("setup",)))
    assert found == ["os", "json", "pathlib", "pathlib.Path", "numpy", "numpy.random", "numpy.linalg"]


def test_a_forked_kernel_has_the_modules_already_and_comes_from_the_fork_server(with_numpy: ForkServer, tmp_path: Path):
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


def test_a_kernel_whose_fork_server_is_killed_ends_and_its_run_counts_as_interrupted(
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


def test_a_kernel_that_is_killed_while_it_starts_is_an_interruption_and_prints_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    notebook = write_notebook(tmp_path / "n.ipynb", "1")
    with pytest.raises(NotebookInterrupted, match="died"):
        execute_notebook(notebook, tmp_path / "o.ipynb", parameters={}, on_start=subprocess.Popen.kill)
    assert not [record.message for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


def test_a_kernel_ends_when_its_client_is_killed(with_numpy: ForkServer, tmp_path: Path):
    asking = subprocess.Popen(
        [*with_numpy.command(), "-f", str(tmp_path / "kernel.json")], env={**os.environ, "JPY_PARENT_PID": "1"}
    )
    wait_until(lambda: children_of(with_numpy), "a kernel to be forked")
    (kernel,) = children_of(with_numpy)
    asking.kill()
    asking.wait()
    wait_until(lambda: not alive(kernel), "the kernel to end")
    assert with_numpy.alive()


def test_clients_that_talk_nonsense_or_hang_up_get_no_kernel(with_numpy: ForkServer):
    for said in (b"", b"nonsense\n", b"\xff\n"):
        with client_of(with_numpy) as client:
            client.sendall(said)
            client.shutdown(socket.SHUT_WR)
            assert client.makefile().readline() not in ("", "0\n"), "the exit code of a kernel that failed"
    wait_until(lambda: not children_of(with_numpy), "what was forked for them to end")


def test_a_client_that_connects_and_says_nothing_delays_no_other(with_numpy: ForkServer, tmp_path: Path):
    here = write_notebook(tmp_path / "here.ipynb", "import os\nprint(os.getppid())")
    with client_of(with_numpy), client_of(with_numpy) as half:
        half.sendall(b'{"arguments": ')
        assert run(here, with_numpy.command()) == str(with_numpy._process.pid)
    wait_until(lambda: not children_of(with_numpy), "what was forked for them to end")


def test_a_killed_owner_leaves_nothing_behind(tmp_path: Path):
    """Neither the fork server nor its kernels, nor a file in the temporary folder."""
    (tmp_path / "temporary").mkdir()
    notebook = write_notebook(tmp_path / "a.ipynb", "import json")
    code = f"""
import subprocess, time
from pathlib import Path
from digit_utils.notebook.fork_server import ForkServer
server = ForkServer(Path({str(notebook)!r}), {{}})
subprocess.Popen([*server.command(), "-f", {str(tmp_path / "kernel.json")!r}])
while not (children := Path(f"/proc/{{server._process.pid}}/task/{{server._process.pid}}/children").read_text()):
    time.sleep(0.05)
print(server._process.pid, children, flush=True)
time.sleep(60)
"""
    environment = {**os.environ, "TMPDIR": str(tmp_path / "temporary"), "JPY_PARENT_PID": "1"}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment) as owner:
        processes = owner.stdout.readline().split()
        assert len(processes) == 2
        owner.kill()
    wait_until(lambda: not any(map(alive, processes)), "the fork server and its kernel to end")
    assert not list((tmp_path / "temporary").iterdir())


def test_if_no_more_processes_can_be_forked_the_running_kernels_go_on():
    """The fork server's own loop, in a process whose second fork fails as it does at a limit of processes."""
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
server.bind("")
server.listen()
threading.Thread(target=kernel_process.Forker(server).run, daemon=True).start()
def ask():
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(server.getsockname())
    reading, writing = os.pipe()
    request = {{"environment": {{}}, "folder": "/", "arguments": [str(reading)]}}
    try:
        connection.sendall(json.dumps(request).encode() + b"\\n")
    except BrokenPipeError:  # hung up before it was sent
        pass
    return connection, writing
(first, goes_on), (refused, _) = ask(), ask()
try:
    answer = refused.recv(10)
except ConnectionResetError:  # hung up before it read the request
    answer = b""
os.write(goes_on, b"x")
print(answer, first.recv(10))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "b'' b'0\\n'\n", done.stderr


def test_a_notebook_whose_imports_start_threads_gets_kernels_that_do_their_own_imports(tmp_path: Path, monkeypatch):
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


def test_where_forking_is_unsafe_kernels_do_their_own_imports(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    server = ForkServer(tmp_path / "not even read.ipynb", {})
    assert server.command() == alone()
    assert server.alive()
    server.close()


@pytest.mark.parametrize("how", ["forked", "alone"])
def test_a_kernel_can_start_processes_of_its_own(how: str, tmp_path: Path):
    """As the preparation of epochs does: a spawned process imports its parent's main module, which a kernel lacks."""
    use = (
        "with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context('spawn')) as pool:\n"
        "    results = list(pool.map(math.sqrt, [1, 4, 9]))\n"
        "print(results)"
    )
    imports = "import math, multiprocessing\nfrom concurrent.futures import ProcessPoolExecutor"
    notebook = write_notebook(tmp_path / "processes.ipynb", imports, use)
    with contextlib.closing(ForkServer(notebook, environment_of_run(1))) as fork_server:
        assert fork_server.why_not == "ready"
        kernel = fork_server.command() if how == "forked" else alone()
        assert run(notebook, kernel) == "[1.0, 2.0, 3.0]"
