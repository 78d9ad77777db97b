"""Sweeps are disturbed in every way, with real processes, and must end with the table of an undisturbed one."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.tiny_sweep import Place, alive, counted, finish, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at processes in /proc"),
]
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
    place = Place(tmp_path_factory.mktemp("undisturbed"), TWO_BY_TWO)
    code, printed = place.run("--workers", "2")
    assert code == 0, printed
    assert counted(place.told("ends")) == RUNS
    table = place.table()
    assert [row["metric.validation.errors"] for row in table] == ["0.01", "0.02", "0.011", "0.021"]
    return table


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, TWO_BY_TWO)


def everyone(place: Place) -> set[str]:
    """Return the processes of kernels and of what started them."""
    return {process for _, *processes in place.told("begins") for process in processes}


@pytest.mark.parametrize("victim", ["worker", "fork_server", "kernel"])
def test_a_process_that_is_killed_costs_no_run(victim: str, place: Place, undisturbed: list):
    process = place.start("--workers", "2")
    wait_until(lambda: place.told("begins"), "a run to begin")
    run, kernel, fork_server = place.told("begins")[0]
    worker = Path(f"/proc/{fork_server}/stat").read_text().rpartition(")")[2].split()[1]  # the parent
    os.kill(int({"worker": worker, "fork_server": fork_server, "kernel": kernel}[victim]), signal.SIGKILL)
    wait_until(lambda: not alive(kernel), "the kernel to end with it")
    code, printed = finish(process)
    assert code == 0, printed
    assert place.table() == undisturbed
    assert counted(place.told("ends")) == RUNS
    assert counted(place.told("begins"))[run] == 2


def finished_runs(place: Place) -> list[dict[str, int]]:
    """Return the parameters of the runs that are recorded as finished."""
    records = [json.loads(path.read_text()) for path in place.output.glob("*/run.json")]
    return [record["parameters"] for record in records if record["status"] == "finished"]


@pytest.mark.parametrize("way", ["SIGKILL", "Ctrl-C"])
@pytest.mark.parametrize("dask", [True, False], ids=["dask", "one by one"])
def test_the_whole_command_may_be_killed_and_started_again(way: str, dask: bool, place: Place, undisturbed: list):
    environment = {} if dask else {"PYTHONPATH": _without_dask(place.folder)}
    process = place.start(*(("--workers", "2") if dask else ()), **environment)
    wait_until(lambda: finished_runs(place), "a run to be recorded as finished")
    known = len(place.told("begins"))
    wait_until(lambda: len(place.told("begins")) > min(known, 2), "another run to begin")
    if way == "SIGKILL":
        os.kill(process.pid, signal.SIGKILL)
    else:
        os.killpg(process.pid, signal.SIGINT)
    code, printed = finish(process)
    assert code == (-signal.SIGKILL if way == "SIGKILL" else 130), printed
    wait_until(lambda: not [pid for pid in everyone(place) if alive(pid)], "kernels and workers to end")
    finished = finished_runs(place)
    assert 1 <= len(finished) < len(RUNS)
    if way == "Ctrl-C":
        assert "Traceback" not in printed
        assert "the same command goes on from here" in printed
        assert {row["status"] for row in place.table()} <= {"finished", "interrupted", "waiting"}
    code, printed = place.run("--workers", "2")
    assert code == 0, printed
    assert place.table() == undisturbed
    begun = counted(place.told("begins"))
    assert all(begun[f"{parameters['x']}/{parameters['seed']}"] == 1 for parameters in finished)
    assert not list(place.output.glob("*/*.part.ipynb"))


def _without_dask(folder: Path) -> str:
    """Return a path of Python that begins with a folder that hides dask."""
    hiding = folder / "hiding"
    hiding.mkdir()
    (hiding / "distributed.py").write_text("raise ImportError('hidden')")
    return os.pathsep.join([str(hiding), os.environ.get("PYTHONPATH", "")])


def test_two_sweeps_at_once_on_one_folder_share_the_work(place: Place, undisturbed: list):
    both = [place.start("--workers", "2") for _ in range(2)]
    for process in both:
        code, printed = finish(process)
        assert code == 0, printed
        assert "4 finished of 4 runs" in printed
    assert counted(place.told("begins")) == counted(place.told("ends")) == RUNS
    assert place.table() == undisturbed


def test_a_scheduler_may_go_away_and_come_back(place: Place, undisturbed: list):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"

    def cluster() -> list[subprocess.Popen]:
        port = address.rpartition(":")[2]
        scheduler = ["scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard"]
        worker = ["worker", address, "--nthreads", "1", "--no-dashboard", "--death-timeout", "30"]
        return [
            subprocess.Popen(
                [sys.executable, "-m", "distributed.cli.dask_" + name[0], *name[1:]],
                env=place.environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            for name in (scheduler, worker)
        ]

    started = cluster()
    try:
        process = place.start("--scheduler", address)
        wait_until(lambda: place.told("ends"), "a run to end")
        wait_until(lambda: len(place.told("begins")) > len(place.told("ends")), "another run to begin")
        os.kill(started[0].pid, signal.SIGKILL)
        started[0].wait()
        started += cluster()
        code, printed = finish(process)
        assert code == 0, printed
        assert "waiting for it to come back" in printed
        assert place.table() == undisturbed
        assert max(counted(place.told("ends")).values()) <= 2
    finally:
        for one in started:
            one.kill()
            one.wait()
    wait_until(lambda: not [pid for pid in everyone(place) if alive(pid)], "workers to end with the cluster")


def test_a_run_that_raises_is_recorded_and_stops_no_other(tmp_path: Path):
    grid = "notebook: tiny.ipynb\ngrid: {x: [1, 2], breaks: [false, true]}\n"
    place = Place(tmp_path, grid)
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

    assert place.run("--workers", "2")[0] == 1  # as it was: nothing is tried again of its own accord
    assert counted(place.told("begins")) == {"1/0": 2, "2/0": 2}
    code, printed = place.run("--workers", "2", "--retry-failed", MENDED="yes")
    assert code == 0, printed
    assert counted(place.told("begins")) == {"1/0": 3, "2/0": 3}  # the failed ones alone
    assert {row["status"] for row in place.table()} == {"finished"}
    assert not any(row["error"] for row in place.table() if "error" in row)


def test_a_full_disk_is_told_and_costs_nothing(tmp_path: Path, undisturbed: list):
    place = Place(tmp_path, TWO_BY_TWO)
    place.output.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(place.output)]
    mounted = subprocess.run(mount, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a small disk can only be made by root: {mounted.stderr.strip()}")
    try:
        code, printed = place.run("--workers", "1", BALLAST="2500000")  # room for two runs, not for four
        assert code == 1
        assert "make space and start again" in printed
        assert "Traceback" not in printed
        subprocess.run(["mount", "-o", "remount,size=60m", str(place.output)], check=True)
        code, printed = place.run("--workers", "1", BALLAST="2500000")
        assert code == 0, printed
        assert place.table() == undisturbed
        assert counted(place.told("ends")) == RUNS
    finally:
        subprocess.run(["umount", "--lazy", str(place.output)], check=False)
