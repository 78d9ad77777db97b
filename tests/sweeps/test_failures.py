"""Sweeps that are disturbed in every way, with real processes, must end with the table of an undisturbed one."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import pytest

from digit_utils import cli
from digit_utils.sweeps import cluster as cluster_module
from digit_utils.sweeps.config import SweepError
from tests.support.tiny_sweep import Place, alive, counted, finish, wait_until

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at processes in /proc")
TWO_BY_TWO = """\
notebook: tiny.ipynb
parameters: {seconds: 1.0}
grid: {x: [1, 2]}
seeds: 2
lowest: validation.errors
"""
RUNS = {"1/0": 1, "1/1": 1, "2/0": 1, "2/1": 1}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """Return the table of an undisturbed sweep, which needs no dask."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "hiding").mkdir()
    (folder / "hiding" / "distributed.py").write_text("raise ImportError('hidden')")
    path = os.pathsep.join([str(folder / "hiding"), os.environ.get("PYTHONPATH", "")])
    place = Place(folder, TWO_BY_TWO, PYTHONPATH=path)
    code, printed = place.run("--workers", "2")
    assert code == 0, printed
    assert counted(place.journalled("ends")) == RUNS
    table = place.table()
    assert [row["metric.validation.errors"] for row in table] == ["0.01", "0.02", "0.011", "0.021"]
    return table


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, TWO_BY_TWO)


def kernels_and_fork_servers(place: Place) -> set[str]:
    return {process for _, *processes in place.journalled("begins") for process in processes}


def parent_of(process: str) -> str:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1]


@pytest.mark.parametrize("victim", ["fork_server", pytest.param("kernel", marks=pytest.mark.slow)])
def test_killing_a_process_of_a_run_costs_nothing_but_its_repetition(victim: str, place: Place, undisturbed: list):
    process = place.start("--workers", "2")
    wait_until(lambda: place.journalled("begins"), "a run to begin")
    run, kernel, fork_server = place.journalled("begins")[0]
    os.kill(int({"fork_server": fork_server, "kernel": kernel}[victim]), signal.SIGKILL)
    wait_until(lambda: not alive(kernel), "the kernel to end with it")
    code, printed = finish(process)
    assert code == 0, printed
    assert place.table() == undisturbed
    assert counted(place.journalled("ends")) == RUNS
    assert counted(place.journalled("begins"))[run] == 2


def finished_runs(place: Place) -> list[dict[str, int]]:
    """Return the parameters of the runs that are recorded as finished."""
    records = [json.loads(path.read_text()) for path in place.output.glob("*/run.json")]
    return [record["parameters"] for record in records if record["status"] == "finished"]


@pytest.mark.parametrize("way", ["SIGKILL", "Ctrl-C"])
def test_the_command_can_be_stopped_and_started_again(way: str, place: Place, undisturbed: list):
    process = place.start("--workers", "2")
    wait_until(lambda: finished_runs(place), "a run to be recorded as finished")
    wait_until(lambda: len(place.journalled("begins")) > 2, "another run to begin")
    if way == "SIGKILL":
        os.kill(process.pid, signal.SIGKILL)
    else:
        os.killpg(process.pid, signal.SIGINT)
    code, printed = finish(process)
    assert code == (-signal.SIGKILL if way == "SIGKILL" else 130), printed
    wait_until(lambda: not any(map(alive, kernels_and_fork_servers(place))), "all kernels to end")
    finished = finished_runs(place)
    assert 1 <= len(finished) < len(RUNS)
    if way == "Ctrl-C":
        assert "Traceback" not in printed
        assert "the same command resumes the sweep" in printed
        assert {row["status"] for row in place.table()} <= {"finished", "interrupted", "waiting"}
    code, printed = place.run("--workers", "2")
    assert code == 0, printed
    assert place.table() == undisturbed
    begun = counted(place.journalled("begins"))
    assert all(begun[f"{parameters['x']}/{parameters['seed']}"] == 1 for parameters in finished)
    assert not list(place.output.glob("*/*.part.ipynb"))


def test_two_sweeps_at_once_on_one_folder_share_the_work(place: Place, undisturbed: list):
    both = [place.start("--workers", "2") for _ in range(2)]
    for process in both:
        code, printed = finish(process)
        assert code == 0, printed
        assert "4 finished of 4 runs" in printed
    assert counted(place.journalled("begins")) == counted(place.journalled("ends")) == RUNS
    assert place.table() == undisturbed


@contextlib.contextmanager
def cluster(place: Place, *elsewhere: list[str]) -> Iterator[tuple[str, subprocess.Popen]]:
    """Yield the address and the process of a dask scheduler with one worker, and one below each other command."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    address = f"tcp://127.0.0.1:{port}"
    scheduler = ["scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard"]
    worker = ["worker", address, "--nthreads", "1", "--no-dashboard", "--death-timeout", "30"]
    commands = [([], scheduler), ([], worker), *((before, worker) for before in elsewhere)]
    processes = [
        subprocess.Popen(
            [*before, sys.executable, "-m", f"distributed.cli.dask_{name}", *options],
            cwd=place.folder,
            env=place.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for before, (name, *options) in commands
    ]
    try:
        yield address, processes[0]
    finally:
        for process in processes:
            process.terminate()
            process.wait()
    wait_until(lambda: not any(map(alive, kernels_and_fork_servers(place))), "fork servers to end with the workers")


def test_a_cluster_gives_the_same_table_though_its_worker_is_killed(place: Place, undisturbed: list):
    place.output.mkdir()
    (place.output / ".shared-0").touch()  # as a killed command leaves it
    with cluster(place) as (address, _):
        process = place.start("--scheduler", address)
        wait_until(lambda: place.journalled("begins"), "a run to begin")
        _, kernel, fork_server = place.journalled("begins")[0]
        os.kill(int(parent_of(fork_server)), signal.SIGKILL)
        wait_until(lambda: not alive(kernel), "the kernel to end with it")
        code, printed = finish(process)
    assert code == 0, printed
    assert not list(place.output.glob(".shared-*"))
    assert place.table() == undisturbed
    assert counted(place.journalled("ends")) == RUNS


@pytest.mark.slow
def test_a_sweep_whose_scheduler_goes_away_says_so_and_can_be_started_again(place: Place, undisturbed: list):
    with cluster(place) as (address, scheduler):
        process = place.start("--scheduler", address)
        wait_until(lambda: finished_runs(place), "a run to be recorded as finished")
        wait_until(lambda: len(place.journalled("begins")) > 1, "another run to begin")
        scheduler.kill()
        code, printed = finish(process)
        assert code == 1
        assert "the scheduler is gone; start the same command again: finished runs are kept" in printed
    with cluster(place) as (address, _):
        code, printed = place.run("--scheduler", address)
    assert code == 0, printed
    assert place.table() == undisturbed


@contextlib.contextmanager
def wrong_server(kind: str) -> Iterator[str]:
    """Yield an address at which something else is, or nothing."""
    if kind == "web page":
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield f"tcp://127.0.0.1:{server.server_port}"
            server.shutdown()
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        if kind == "silent server":
            probe.listen()
        yield f"tcp://127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.parametrize(
    "kind", ["web page", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("silent server", "nothing"))]
)
def test_an_address_without_a_scheduler_is_one_sentence_within_ten_seconds(kind: str):
    pytest.importorskip("distributed")
    with wrong_server(kind) as address:
        start = time.monotonic()
        with pytest.raises(SweepError) as caught, cluster_module.connection(address):
            pass
        assert time.monotonic() - start < 10
    reason = "Timed out trying to connect.+" if kind == "nothing" else "not within 7 s"
    assert re.fullmatch(
        rf"no dask scheduler answers at {address} \({reason}\); start one, or leave out --scheduler", str(caught.value)
    )


@pytest.mark.parametrize("address", ["sweep.yaml", "tcp://host", "http://host:8787", "host:8786/status", ""])
def test_what_is_no_address_is_refused_before_anything_is_planned(address: str, place: Place, capsys):
    command = ["sweep", str(place.file), "--output", str(place.output), "--scheduler", address]
    assert cli.main(command) == 1
    assert "is not the address of a dask scheduler, which looks like tcp://host:8786" in capsys.readouterr().err
    assert not place.output.exists()


class Client:
    """A dask client in miniature: workers by their threads, and who was asked to do what."""

    status = "running"

    def __init__(self, **workers: int):
        self.workers, self.asked, self.scheduler = workers, [], SimpleNamespace(address="tcp://here:1")

    def nthreads(self) -> dict[str, int]:
        return dict(self.workers)

    def get_executor(self, *, pure: bool, workers: list[str]) -> Client:
        self.asked = workers
        return self

    def submit(self, function: object, task: object) -> Future:
        return Future()


def cluster_of(client: Client, told: list[str], monkeypatch: pytest.MonkeyPatch) -> cluster_module.Cluster:
    monkeypatch.setattr(cluster_module, "SECONDS_BETWEEN_LOOKS", 0.0)
    return cluster_module.Cluster(client, lambda worker: f"{worker} is bad" if worker == "bad" else "", told.append)


def test_an_unfit_worker_is_told_once_and_given_no_runs_and_a_new_one_takes_over(monkeypatch: pytest.MonkeyPatch):
    client, told = Client(good=2, bad=8), []
    cluster = cluster_of(client, told, monkeypatch)
    assert [cluster.capacity(), cluster.capacity()] == [4, 4]
    assert told == ["bad is bad"]
    future = cluster.submit(print, 1)
    assert client.asked == ["good"]
    del client.workers["good"]
    client.workers["new"] = 1
    assert cluster.capacity() == 2
    assert future.cancelled()  # it would have waited for the one that is gone
    cluster.submit(print, 1)
    assert client.asked == ["new"]


def test_a_cluster_without_workers_is_waited_for_and_said_but_not_forever(monkeypatch: pytest.MonkeyPatch):
    client, told = Client(), []
    cluster = cluster_of(client, told, monkeypatch)
    assert [cluster.capacity(), cluster.capacity()] == [0, 0]
    assert told == ["no workers yet; start some with `dask worker tcp://here:1`: they are found automatically"]
    monkeypatch.setattr(cluster_module, "SECONDS_FOR_WORKERS", 0)
    with pytest.raises(SweepError, match="the scheduler has had no workers for"):
        cluster.capacity()
    client.workers["bad"] = 1
    with pytest.raises(SweepError, match="none of the 1 workers of the cluster can do the runs"):
        cluster.capacity()


@pytest.mark.slow
def test_a_worker_that_does_not_see_the_folder_does_no_runs(place: Place, undisturbed: list):
    place.output.mkdir()
    script = f'mount -t tmpfs tmpfs {place.output} && exec "$@"'
    elsewhere = ["unshare", "--mount", "sh", "-c", script, "sh"]
    if subprocess.run([*elsewhere, "true"], capture_output=True).returncode:
        pytest.skip("only root can hide a folder from a worker")
    with cluster(place, elsewhere) as (address, _):
        code, printed = place.run("--scheduler", address)
    assert code == 0, printed
    assert printed.count(f"gets no runs: it does not see the folder {place.output}; mount it there, too") == 1
    assert place.table() == undisturbed


def test_a_run_that_hangs_is_stopped_and_failures_are_limited(tmp_path: Path):
    text = "notebook: tiny.ipynb\nparameters: {seconds: 600.0}\ngrid: {x: [1, 2, 3, 4]}\ntime_limit: 3\n"
    place = Place(tmp_path, text, TMPDIR=str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    code, printed = place.run("--workers", "1", "--max-failures", "1")
    assert code == 1
    assert "x 1 failed: it was stopped after 3 seconds, its time_limit" in printed
    assert "digits sweep: the limit of --max-failures is reached; finished runs are kept" in printed
    assert [row["status"] for row in place.table()].count("failed") == 1
    assert place.table()[-1]["status"] == "waiting"
    assert not list((tmp_path / "temporary").iterdir())
    wait_until(lambda: not any(map(alive, kernels_and_fork_servers(place))), "all kernels to end")


def test_a_misspelt_metric_stops_the_sweep_after_its_first_run(tmp_path: Path):
    place = Place(tmp_path, "notebook: tiny.ipynb\ngrid: {x: [1, 2, 3, 4]}\nlowest: validation.erors\n")
    code, printed = place.run("--workers", "1")
    assert code == 1
    assert "x 1 finished without recording validation.erors, the metric to compare runs by" in printed
    assert "it recorded validation.errors (did you mean validation.errors?)" in printed
    assert len(place.journalled("ends")) < 4


def test_a_run_that_raises_is_recorded_and_stops_no_other(tmp_path: Path):
    place = Place(tmp_path, "notebook: tiny.ipynb\ngrid: {x: [1, 2], breaks: [false, true]}\n")
    code, printed = place.run("--workers", "2")
    assert code == 1
    assert "2 finished, 2 failed of 4 runs" in printed or "2 failed, 2 finished of 4 runs" in printed
    assert "failed: ValueError: 1 was to break" in printed
    rows = [row for row in place.table() if row["status"] == "failed"]
    assert [row["error"] for row in rows] == ["ValueError: 1 was to break", "ValueError: 2 was to break"]
    folder = place.output / rows[0]["run"]
    record = json.loads((folder / "run.json").read_text())
    assert "raise ValueError" in record["error"]["traceback"]
    assert '"output_type": "error"' in (folder / record["error"]["notebook"]).read_text()

    assert place.run("--workers", "2")[0] == 1  # as before: nothing is repeated without being asked for
    assert counted(place.journalled("begins")) == {"1/0": 2, "2/0": 2}
    code, printed = place.run("--workers", "2", "--retry-failed", MENDED="yes")
    assert code == 0, printed
    assert counted(place.journalled("begins")) == {"1/0": 3, "2/0": 3}  # the failed ones alone
    assert {row["status"] for row in place.table()} == {"finished"}
    assert not any(row["error"] for row in place.table() if "error" in row)


@pytest.mark.slow
def test_a_full_disk_is_named_and_costs_nothing(tmp_path: Path, undisturbed: list):
    place = Place(tmp_path, TWO_BY_TWO)
    place.output.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(place.output)]
    mounted = subprocess.run(mount, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"only root can make a small disk: {mounted.stderr.strip()}")
    try:
        code, printed = place.run("--workers", "1", BALLAST="2500000")  # room for two runs, not for four
        assert code == 1
        assert "make space and start again" in printed
        assert "Traceback" not in printed
        subprocess.run(["mount", "-o", "remount,size=60m", str(place.output)], check=True)
        code, printed = place.run("--workers", "1", BALLAST="2500000")
        assert code == 0, printed
        assert place.table() == undisturbed
        assert counted(place.journalled("ends")) == RUNS
    finally:
        subprocess.run(["umount", "--lazy", str(place.output)], check=False)


def test_every_promise_of_the_documentation_names_a_test_that_exists():
    root = Path(__file__).parents[2]
    promised = re.findall(r"\| `(test_\w+)` \|", (root / "docs" / "sweeps.md").read_text())
    assert len(promised) > 20
    tests = "\n".join(path.read_text() for path in (root / "tests").rglob("test_*.py"))
    assert [name for name in promised if f"def {name}(" not in tests] == []
