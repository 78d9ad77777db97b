"""Epochs ahead of time: what the network sees next is made while it trains, by a thread or by several processes.

A processor that trains is slower than one thread that draws, deforms and photographs digits. A graphics card is not: it
goes through an epoch of the full recipe in about a second, which one core takes one or two minutes to make.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import islice
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

import numpy as np

from digit_utils.material import Material, Recipe, make_epoch

Epoch = tuple[np.ndarray, np.ndarray]  # ink and targets, as digit_utils.material.make_epoch returns them


def epochs_ahead(
    material: Material, recipe: Recipe, *, seed: int, first: int, end: int, workers: int = 0
) -> Iterator[Epoch]:
    """Yield the epochs from `first` to before `end`; the next ones are made meanwhile.

    An epoch depends on the seed and its number alone, not on who makes it or which ones were made before.

    Args:
        material: what they are made of.
        recipe: how.
        seed: of all of them.
        first: the number of the first one, from 0.
        end: the number after the last one.
        workers: processes that make them, each of which takes as much memory as the material and two epochs; 0: a
            thread of this process makes them.

    Raises RuntimeError when the system has ended a process, as it does where memory runs out.
    """
    make = partial(_make, material, recipe, seed) if workers == 0 else partial(_make_remembered, seed)
    with _makers(material, recipe, min(workers, end - first)) as executor:
        ahead = iter(range(first, end))
        coming = deque(executor.submit(make, number) for number in islice(ahead, max(1, workers)))
        while coming:
            try:
                epoch = coming.popleft().result()
            except BrokenProcessPool as error:
                raise RuntimeError(
                    f"one of {workers} processes that prepare epochs has ended, perhaps for want of memory; choose "
                    "fewer workers (no more than OMP_NUM_THREADS says are taken by a notebook or a sweep)"
                ) from error
            coming.extend(executor.submit(make, number) for number in islice(ahead, 1))
            yield epoch


@contextlib.contextmanager
def _makers(material: Material, recipe: Recipe, workers: int) -> Iterator[Executor]:
    """Give a thread or processes to make epochs with; the processes end at once when nothing more is wanted of them."""
    if workers <= 0:
        with ThreadPoolExecutor(max_workers=1) as executor:
            yield executor
        return
    context = _Spawning()
    executor = ProcessPoolExecutor(workers, context, initializer=_remember, initargs=(material, recipe))
    try:
        yield executor
    finally:
        for process in context.started:
            if process.pid is not None:  # it was started
                process.terminate()  # what is half made, minutes of work perhaps, is for nobody
        executor.shutdown(cancel_futures=True)


class _Spawning(SpawnContext):
    """Starts processes anew, since a fork would inherit the locks of the backend's threads, and remembers which."""

    def __init__(self):
        super().__init__()
        self.started: list[SpawnProcess] = []

    def Process(self, *arguments: Any, **options: Any) -> SpawnProcess:  # noqa: N802 (multiprocessing's name)
        """Return a new process, not yet started."""
        self.started.append(SpawnProcess(*arguments, **options))
        return self.started[-1]


def _make(material: Material, recipe: Recipe, seed: int, number: int) -> Epoch:
    return make_epoch(material, recipe, np.random.default_rng([seed, number]))


def _remember(material: Material, recipe: Recipe) -> None:
    """Keep in a new process what all its epochs are made of, and end it with the one that started it."""
    global _remembered
    _remembered = material, recipe
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of them; the one that trains ends the others
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _make_remembered(seed: int, number: int) -> Epoch:
    return _make(*_remembered, seed, number)


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)
