"""Prefetched epochs: the same whoever makes them, and no process is left running when they are no longer wanted."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import psutil
import pytest

from digit_utils.datasets.ink import LabelledInk, ink_of
from digit_utils.datasets.loading import load_dataset
from digit_utils.datasets.samples import sample_digits
from digit_utils.training import prefetch
from digit_utils.training.config import DataMix, TrainingConfig
from digit_utils.training.data import TrainingData, make_epoch
from digit_utils.training.prefetch import prefetch_epochs
from tests.training.conftest import train_quietly

MIX = DataMix(augmentation="strong", pen_strokes=20, allographs=20, non_digits=20, photographed=0.5, blur=0.4)


@pytest.fixture(scope="module")
def training_data() -> TrainingData:
    scans = load_dataset("digits8x8").train.take(slice(50))
    samples = sample_digits()
    return TrainingData(
        ink_of(scans),
        strokes=tuple(sample.strokes for sample in samples),
        stroke_labels=np.array([sample.digit for sample in samples]),
    )


def assert_same(one, other):
    assert len(one) == len(other)
    for (ink, targets), (other_ink, other_targets) in zip(one, other, strict=True):
        np.testing.assert_array_equal(ink, other_ink)
        np.testing.assert_array_equal(targets, other_targets)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_epochs_depend_on_seed_and_number_alone(training_data, workers):
    expected = [make_epoch(training_data, MIX, np.random.default_rng([7, number])) for number in range(2, 6)]
    assert not np.array_equal(expected[0][0], expected[1][0])
    assert_same(list(prefetch_epochs(training_data, MIX, seed=7, first=2, end=6, workers=workers)), expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_no_epoch_is_made_where_none_is_wanted(training_data, workers, monkeypatch):
    monkeypatch.setattr(prefetch, "make_epoch", lambda *_: pytest.fail("an epoch was made"))
    monkeypatch.setattr(prefetch, "_start_workers", lambda *_: pytest.fail("a process was started"))
    assert list(prefetch_epochs(training_data, MIX, seed=7, first=3, end=3, workers=workers)) == []
    assert list(prefetch_epochs(training_data, MIX, seed=7, first=3, end=1, workers=workers)) == []


def test_a_negative_number_of_workers_is_refused(training_data):
    with pytest.raises(ValueError, match="workers is -1"):
        next(prefetch_epochs(training_data, MIX, seed=7, first=0, end=1, workers=-1))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_in_making_an_epoch_is_raised(training_data, workers):
    without_strokes = replace(training_data, strokes=())
    with pytest.raises(ValueError, match="pen_strokes is 20, but the training data holds none"):
        next(prefetch_epochs(without_strokes, MIX, seed=7, first=0, end=3, workers=workers))
    assert not multiprocessing.active_children()


SLOW = DataMix(allographs=200_000)  # minutes of work


def test_processes_end_at_once_when_who_waits_for_them_is_interrupted(training_data):
    with within(60), pytest.raises(KeyboardInterrupt), pressing_ctrl_c(after=4):
        next(prefetch_epochs(training_data, SLOW, seed=7, first=0, end=4, workers=2))
    assert not multiprocessing.active_children()


def test_processes_end_while_they_send_what_nobody_wants(training_data):
    """An epoch is larger than what a connection holds, so a process that sends one is in the midst of it for long."""
    large = replace(
        training_data, scans=LabelledInk(np.zeros((20_000, 28, 28), np.float32), np.zeros(20_000, np.int64))
    )
    for _ in range(4):
        coming = prefetch_epochs(large, DataMix(augmentation="none"), seed=7, first=0, end=9, workers=2)
        with within(60):
            next(coming)
            coming.close()
        assert not multiprocessing.active_children()


@pytest.mark.parametrize("pause", [0, 3])
def test_a_killed_worker_is_reported_with_the_remedy(training_data, pause):
    coming = prefetch_epochs(training_data, MIX, seed=7, first=0, end=50, workers=2)
    with within(60):
        next(coming)
        time.sleep(pause)  # then the next epochs wait to be sent
        for process in multiprocessing.active_children():
            os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(RuntimeError, match=r"a process that prepares epochs was killed.*pass fewer workers"):
            list(coming)
    assert not multiprocessing.active_children()


def test_a_script_that_cannot_be_started_anew_ends_with_an_error(tmp_path):
    script = tmp_path / "unguarded.py"
    script.write_text(
        "import numpy as np\n"
        "from digit_utils.training.prefetch import prefetch_epochs\n"
        "from digit_utils.datasets.ink import LabelledInk\n"
        "from digit_utils.training.config import DataMix\n"
        "from digit_utils.training.data import TrainingData\n"
        "training_data = TrainingData(LabelledInk(np.zeros((2000, 28, 28), np.float32), np.zeros(2000, np.int64)))\n"
        "list(prefetch_epochs(training_data, DataMix(), seed=0, first=0, end=4, workers=2))\n"
    )
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert "RuntimeError: a process that prepares epochs was killed" in ended.stderr
    assert '__name__ == "__main__"' in ended.stderr or "__name__ == '__main__'" in ended.stderr  # Python's own advice


def test_a_run_that_is_stopped_ends_its_processes_though_the_error_is_kept(tmp_path):
    digits = load_dataset("digits8x8")
    training_data = TrainingData(
        ink_of(digits.train.take(slice(100))), validation={"digits8x8": ink_of(digits.validation)}
    )
    config = TrainingConfig(epochs=30, batch_size=50, data_mix=DataMix(allographs=500))

    def stop(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as kept:
        train_quietly(config, training_data, tmp_path, report=stop, workers=2)
    assert kept.traceback
    assert not multiprocessing.active_children()


def test_processes_of_others_go_on(training_data):
    coming = prefetch_epochs(training_data, MIX, seed=7, first=0, end=3, workers=2)
    next(coming)
    other = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    other.start()
    try:
        coming.close()
        assert multiprocessing.active_children() == [other]
    finally:
        other.terminate()
        other.join()


@contextlib.contextmanager
def pressing_ctrl_c(*, after: int) -> Iterator[None]:
    """Press Ctrl-C after some seconds; also where SIGINT is ignored, as it is in background jobs."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(after, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail when what is done takes longer."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


def test_processes_end_with_the_one_that_trains():
    script = (
        "from digit_utils.training.prefetch import prefetch_epochs\n"
        "from digit_utils.datasets.loading import load_dataset\n"
        "from digit_utils.datasets.ink import ink_of\n"
        "from digit_utils.training.config import DataMix\n"
        "from digit_utils.training.data import TrainingData\n"
        "training_data = TrainingData(ink_of(load_dataset('digits8x8').train.take(slice(50))))\n"
        "for _ in prefetch_epochs(training_data, DataMix(allographs=2_000), seed=0, first=0, end=1_000, workers=2):\n"
        "    print('epoch', flush=True)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout.readline() == "epoch\n"
        workers = psutil.Process(parent.pid).children(recursive=True)
        assert sum("spawn_main" in " ".join(worker.cmdline()) for worker in workers) == 2
    finally:
        parent.kill()
        parent.wait()
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive, "processes outlived the one that started them"
