"""Epochs ahead of time: the same whoever makes them, and nothing is left running when they are no longer wanted."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from digit_utils.data import load_dataset
from digit_utils.epochs import epochs_ahead
from digit_utils.material import Material, Recipe, ink_of, make_epoch
from digit_utils.sample_strokes import sample_digits

RECIPE = Recipe(augmentation="strong", pen_strokes=20, allographs=20, non_digits=20, photographed=0.5, sharpness=0.4)


@pytest.fixture(scope="module")
def material() -> Material:
    scans = load_dataset("digits8x8").train.take(slice(50))
    samples = sample_digits()
    return Material(
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
def test_epochs_depend_on_seed_and_number_alone(material, workers):
    expected = [make_epoch(material, RECIPE, np.random.default_rng([7, number])) for number in range(2, 6)]
    assert not np.array_equal(expected[0][0], expected[1][0])
    assert_same(list(epochs_ahead(material, RECIPE, seed=7, first=2, end=6, workers=workers)), expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_no_epoch_is_made_where_none_is_wanted(material, workers):
    assert list(epochs_ahead(material, RECIPE, seed=7, first=3, end=3, workers=workers)) == []
    assert not multiprocessing.active_children()


def test_processes_end_at_once_when_nothing_more_is_wanted(material):
    slow = Recipe(allographs=200_000)  # minutes of work
    epochs = epochs_ahead(material, slow, seed=7, first=0, end=4, workers=2)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        interrupt_once_busy(epochs)
    assert time.monotonic() - started < 40
    assert not multiprocessing.active_children()


def test_processes_of_others_go_on(material):
    epochs = epochs_ahead(material, RECIPE, seed=7, first=0, end=3, workers=2)
    next(epochs)
    other = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    other.start()
    try:
        epochs.close()
        assert multiprocessing.active_children() == [other]
    finally:
        other.terminate()
        other.join()


def interrupt_once_busy(epochs) -> None:
    """Ask for an epoch and press Ctrl-C, as it were, while two processes make one each."""

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(15)
    try:
        next(epochs)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_a_process_that_the_system_ends_is_told_with_the_remedy(material):
    epochs = epochs_ahead(material, RECIPE, seed=7, first=0, end=50, workers=2)
    next(epochs)
    for process in multiprocessing.active_children():
        os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match=r"2 processes that prepare epochs has ended.*choose fewer workers"):
        list(epochs)
    assert not multiprocessing.active_children()


def test_processes_end_with_the_one_that_trains():
    script = (
        "from digit_utils.epochs import epochs_ahead\n"
        "from digit_utils.data import load_dataset\n"
        "from digit_utils.material import Material, Recipe, ink_of\n"
        "material = Material(ink_of(load_dataset('digits8x8').train.take(slice(50))))\n"
        "for _ in epochs_ahead(material, Recipe(allographs=2_000), seed=0, first=0, end=1_000, workers=2):\n"
        "    print('epoch', flush=True)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout.readline() == "epoch\n"
        workers = psutil.Process(parent.pid).children(recursive=True)
        assert len(workers) >= 2
    finally:
        parent.kill()
        parent.wait()
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive, "processes outlived the one that started them"
