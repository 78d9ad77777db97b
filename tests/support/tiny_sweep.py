"""A tiny notebook to sweep over, the command in a process of its own, and what it left behind."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import nbformat

PATIENCE = 240  # seconds, for a machine that has much else to do
PARAMETERS = """\
x: int = 1  # a number
seed: int = 0  # of nothing, but it is there
seconds: float = 0.0  # to sleep in all
word: str = "one"  # anything
breaks: bool = False  # whether to raise, unless MENDED is set
output_folder: str = ""  # of the run"""
# A journal records what was really done; the environment names it, since parameters decide what a run is.
WORK = """\
import json, os, time
from pathlib import Path


def log(what):
    with open(os.environ["JOURNAL"], "a") as journal:
        journal.write(f"{x}/{seed} {what} {os.getpid()} {os.getppid()}\\n")


log("begins")
for step in range(20):
    time.sleep(seconds / 20)
if breaks and not os.environ.get("MENDED"):
    raise ValueError(f"{x} was to break")
metrics = {"notebook": "tiny", "validation": {"errors": x / 100 + seed / 1000}, "config": {"x": x}}
Path(output_folder, "metrics.json").write_text(json.dumps(metrics))
Path(output_folder, "ballast").write_bytes(b"x" * int(os.environ.get("BALLAST", 0)))
log("ends")"""


def write_tiny_notebook(folder: Path) -> Path:
    """Write a notebook that sleeps, may raise, and computes a figure; it needs nothing of this package."""
    cells = [nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}), nbformat.v4.new_code_cell(WORK)]
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path = folder / "tiny.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": spec}), path)
    return path


class Place:
    """A folder with a sweep, its output and its journal."""

    def __init__(self, folder: Path, text: str, **environment: str):
        self.folder, self.output, self.journal = folder, folder / "runs", folder / "journal.txt"
        self.file = folder / "sweep.yaml"
        folder.mkdir(parents=True, exist_ok=True)
        write_tiny_notebook(folder)
        self.file.write_text(text)
        self.environment = {**os.environ, "JOURNAL": str(self.journal), **environment}

    def start(self, *options: str, **environment: str) -> subprocess.Popen[str]:
        """Start `digits sweep` in a session of its own."""
        command = [sys.executable, "-m", "digit_utils.cli", "sweep", str(self.file), "--output", str(self.output)]
        return subprocess.Popen(
            [*command, *options],
            cwd=self.folder,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=_restore_ctrl_c,
        )

    def run(self, *options: str, **environment: str) -> tuple[int, str]:
        """Run the command to its end and return its exit code and what it printed."""
        return finish(self.start(*options, **environment))

    def journalled(self, what: str) -> list[list[str]]:
        """Return the entries of the journal of one kind: the run, the kernel's process, its parent."""
        lines = self.journal.read_text().splitlines() if self.journal.exists() else []
        entries = [line.split() for line in lines]
        return [[entry[0], *entry[2:]] for entry in entries if len(entry) == 4 and entry[1] == what]

    def table(self) -> list[dict[str, str]]:
        """Return the rows of the results, without what differs between two undisturbed sweeps."""
        with (self.output / "results.csv").open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def _restore_ctrl_c() -> None:
    """Undo what a shell does to the commands that it runs in the background: they ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for a command; return its exit code and what it printed."""
    try:
        printed, _ = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        printed, _ = process.communicate()
        raise AssertionError(f"the command did not end:\n{printed}") from None
    return process.returncode, printed


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.05)


def alive(pid: int | str) -> bool:
    """Tell whether a process runs, and is not merely waiting to be reaped."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def counted(entries: list[list[str]]) -> Mapping[str, int]:
    """Return how often each run occurs among the entries of a journal."""
    runs = [entry[0] for entry in entries]
    return {run: runs.count(run) for run in sorted(set(runs))}
