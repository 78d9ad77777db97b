"""What a sweep costs on top of the work itself.

    python -m benchmarks.speed.sweeps              all of these
    python -m benchmarks.speed.sweeps overhead     a run of 02_train, its kernel alone or forked, against a script
    python -m benchmarks.speed.sweeps throughput   short runs per minute with 1, 2, 4 and 8 workers; the runs only sleep
    python -m benchmarks.speed.sweeps trainings    24 runs of 02_train on two workers, against training alone (20 min)
    python -m benchmarks.speed.sweeps queue        1,000 runs: the client's processor time on each, and its memory

What counts are the ratios of one call on one machine, while nothing else runs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import Executor, Future
from pathlib import Path

import psutil

from digit_utils.notebook.execute import execute_notebook, find_notebook
from digit_utils.notebook.fork_server import ForkServer, alone
from digit_utils.sweeps.trial import environment_of_run
from tests.support.tiny_sweep import Place, write_tiny_notebook

PLAIN = """
from digit_utils.training.config import preset
from digit_utils.training.loop import train
from digit_utils.datasets.loading import load_dataset
from digit_utils.training.export import export_network
from digit_utils.training.data import make_training_data
from digit_utils.training.networks import build_network
training_data = make_training_data(load_dataset("digits8x8"))
config = preset("quick", epochs=3)
result = train(build_network(config.network, seed=0), config, training_data, "plain", show_progress=False)
export_network(result.network, "plain", validation=training_data.validation)
"""


def overhead() -> None:
    """Compare runs of three epochs on digits8x8."""
    with tempfile.TemporaryDirectory() as name:
        folder, environment = Path(name), environment_of_run(1)
        start = time.perf_counter()
        command = [sys.executable, "-c", PLAIN]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, env=os.environ | environment)
        plain = time.perf_counter() - start
        print(f"plain training and export, in a process of its own: {plain:.1f} s")
        notebook = find_notebook("02_train")
        start = time.perf_counter()
        fork_server = ForkServer(notebook, environment)
        forked = fork_server.command()  # waits for the imports
        print(f"imports of the fork server, once: {time.perf_counter() - start:.1f} s")
        ways = {"first (imports papermill)": alone(), "alone": alone(), "forked": forked}
        for way, kernel in ways.items():
            place = folder / way.split()[0]
            parameters = {"dataset": "digits8x8", "epochs": 3, "compare": False, "output_folder": str(place)}
            start = time.perf_counter()
            execute_notebook(
                notebook, place / "o.ipynb", parameters=parameters, environment=environment, folder=place, kernel=kernel
            )
            seconds = time.perf_counter() - start
            print(f"the notebook, kernel {way}: {seconds:.1f} s, {seconds / plain:.2f} of plain training")
        fork_server.close()


def throughput() -> None:
    """Run 24 runs that sleep two seconds each with more and more workers, and some with plain papermill."""
    import papermill

    with tempfile.TemporaryDirectory() as name:
        folder, count = Path(name), 6
        os.environ["JOURNAL"] = str(folder / "journal.txt")
        notebook = str(write_tiny_notebook(folder))
        start = time.perf_counter()
        for x in range(count):
            parameters = {"seconds": 2.0, "x": x, "output_folder": name}
            papermill.execute_notebook(notebook, str(folder / f"{x}.ipynb"), parameters, progress_bar=False)
        print(f"plain papermill: {count * 60 / (time.perf_counter() - start):.0f} runs of 2 s a minute", flush=True)
    for workers in (1, 2, 4, 8):
        with tempfile.TemporaryDirectory() as name:
            text = f"notebook: tiny.ipynb\nparameters: {{seconds: 2.0}}\ngrid: {{x: {list(range(24))}}}\n"
            place = Place(Path(name), text)
            start = time.perf_counter()
            code, printed = place.run("--workers", str(workers))
            seconds = time.perf_counter() - start
            assert code == 0, printed
            print(f"{workers} workers: 24 runs of 2 s in {seconds:.0f} s, {24 * 60 / seconds:.0f} a minute", flush=True)


def trainings() -> None:
    """Run `02_train` as it is on MNIST, 24 times on two workers, and compare with the seconds of training alone."""
    text = "notebook: 02_train\nparameters: {compare: false}\nseeds: 24\n"
    with tempfile.TemporaryDirectory() as name:
        file, output = Path(name, "trainings.yaml"), Path(name, "out")
        file.write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "digit_utils.cli", "sweep", file, "--output", output, "--workers", "2"]
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds = time.perf_counter() - start
        metrics = [json.loads(path.read_text(encoding="utf-8")) for path in output.rglob("metrics.json")]
        assert len(metrics) == 24
        alone = sum(each["seconds"] for each in metrics) / 2
        print(f"24 runs of 02_train in {seconds:.0f} s; training alone {alone:.0f} s; {seconds / alone:.2f} of it")


def queue() -> None:
    """Queue 1,000 runs that do nothing, without kernels, and measure what the client spends on each."""
    from contextlib import nullcontext

    from digit_utils.sweeps import scheduler
    from digit_utils.sweeps.config import read_sweep
    from digit_utils.sweeps.store import FINISHED, RunStore
    from digit_utils.sweeps.trial import Outcome

    def record_only(task) -> Outcome:
        store = RunStore(task.root)
        record = store.begin(task.run)
        store.end(task.run, record, status=FINISHED, metrics={"a": 1.0}, seconds=0.0)
        return Outcome(FINISHED, metrics={"a": 1.0})

    class Immediate(Executor):
        """Does each task when it is submitted."""

        def capacity(self) -> int:
            return 16

        def submit(self, function, /, *arguments, **options) -> Future:
            future: Future[Outcome] = Future()
            future.set_result(function(*arguments, **options))
            return future

    scheduler.perform = record_only
    scheduler._executor = lambda *_, **__: nullcontext(Immediate())
    for count in (100, 1000):
        with tempfile.TemporaryDirectory() as name:
            place = Place(Path(name), f"notebook: tiny.ipynb\nparameters: {{x: 1}}\nseeds: {count}\n")
            sweep = read_sweep(place.file)
            start = time.process_time()
            scheduler.run_sweep(sweep, place.output, note=lambda text: None)
            seconds = time.process_time() - start
            megabytes = psutil.Process().memory_info().rss / 1e6
            print(
                f"{count:5d} runs: {1000 * seconds / count:.1f} ms of the client's processor a run, records included; "
                f"{megabytes:.0f} MB of memory"
            )


def main() -> None:
    """Run the benchmark that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {"overhead": overhead, "throughput": throughput, "trainings": trainings, "queue": queue}
    parser.add_argument("what", nargs="?", choices=parts)
    what = parser.parse_args().what
    for part in [what] if what else parts:
        parts[part]()


if __name__ == "__main__":
    main()
