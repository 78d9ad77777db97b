"""Epochs ahead of time: what the network sees next is made while it trains, by a thread or by several processes.

A processor that trains is slower than one thread that draws, deforms and photographs digits. A graphics card is far
faster than that: it would wait for the epochs of the full recipe nearly all of the time.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing.connection import Connection

import numpy as np

from digit_utils.training.config import DataMix
from digit_utils.training.data import TrainingData, make_epoch

Epoch = tuple[np.ndarray, np.ndarray]  # ink and targets, as digit_utils.training.data.make_epoch returns them


def epochs_ahead(
    training_data: TrainingData, data_mix: DataMix, *, seed: int, first: int, end: int, workers: int = 0
) -> Generator[Epoch, None, None]:
    """Yield the epochs from `first` to before `end`; the next ones are made meanwhile.

    An epoch depends on the seed and its number alone, not on who makes it or which ones were made before. Close the
    generator when no more are wanted: that ends the processes.

    Args:
        training_data: what they are made of.
        data_mix: how.
        seed: of all of them.
        first: the number of the first one, from 0.
        end: the number after the last one.
        workers: processes that make them, each of which takes as much memory as the training data and two epochs; 0: a
            thread of this process makes them. They are started anew, so a script needs its `if __name__ == "__main__"`.

    Raises ValueError when there are fewer than no workers, RuntimeError when one has ended, as the system has it where
    memory runs out, and whatever `make_epoch` raises.
    """
    if workers < 0:
        raise ValueError(f"workers is {workers}; it counts processes, so 0 or more")
    numbers = range(first, end)
    if workers and numbers:
        yield from _from_processes(training_data, data_mix, seed, numbers, workers=min(workers, len(numbers)))
    else:
        yield from _from_a_thread(training_data, data_mix, seed, numbers)


def _make(training_data: TrainingData, data_mix: DataMix, seed: int, number: int) -> Epoch:
    return make_epoch(training_data, data_mix, np.random.default_rng([seed, number]))


def _from_a_thread(training_data: TrainingData, data_mix: DataMix, seed: int, numbers: range) -> Iterator[Epoch]:
    executor = ThreadPoolExecutor(max_workers=1)
    try:
        coming = {number: executor.submit(_make, training_data, data_mix, seed, number) for number in numbers[:1]}
        for number in numbers:
            epoch = coming.pop(number).result()
            if number + 1 in numbers:
                coming[number + 1] = executor.submit(_make, training_data, data_mix, seed, number + 1)
            yield epoch
    finally:
        executor.shutdown(wait=False, cancel_futures=True)  # only Python's own end waits for the one that is being made


def _from_processes(
    training_data: TrainingData, data_mix: DataMix, seed: int, numbers: range, *, workers: int
) -> Iterator[Epoch]:
    """Yield epochs that processes make in turns: each makes its next as soon as its last one has been taken."""
    needed = replace(training_data, validation={}, hashes={})
    with _processes(workers) as connections:
        with _ends_told():
            for worker, connection in enumerate(connections):
                connection.send((needed, data_mix, seed, numbers[worker::workers]))
        for index in range(len(numbers)):
            with _ends_told():
                epoch = connections[index % workers].recv()
            if isinstance(epoch, Exception):
                raise epoch
            yield epoch


@contextlib.contextmanager
def _ends_told() -> Iterator[None]:
    """Say what it means that the other end of a connection is gone, perhaps in the midst of an epoch."""
    try:
        yield
    except (EOFError, OSError) as error:
        raise RuntimeError(
            "a process that prepares epochs has ended, perhaps for want of memory; pass fewer workers, or set "
            "OMP_NUM_THREADS to fewer for a notebook"
        ) from error


@contextlib.contextmanager
def _processes(count: int) -> Iterator[list[Connection]]:
    """Start processes, give the connections to them, and end them at once when nothing more is wanted of them.

    Each has a connection to itself, of which this process keeps one end: so nobody waits for one that has ended. They
    are no forks, which would inherit the locks of the backend's threads.
    """
    context = multiprocessing.get_context("spawn")
    started, connections = [], []
    try:
        for _ in range(count):
            here, there = context.Pipe()
            connections.append(here)
            process = context.Process(target=_send_epochs, args=(there,), daemon=True)
            process.start()
            started.append(process)
            there.close()
        yield connections
    finally:
        for process in started:
            process.terminate()  # what is half made, minutes of work perhaps, is for nobody
        for process in started:
            process.join()
        for connection in connections:
            connection.close()


def _send_epochs(connection: Connection) -> None:
    """Be a process that makes epochs: those that it is told, of the training data that it is given."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of them; the one that trains ends the others
    threading.Thread(target=_end_with_parent, daemon=True).start()
    training_data, data_mix, seed, numbers = connection.recv()
    for number in numbers:
        try:
            epoch = _make(training_data, data_mix, seed, number)
        except Exception as error:
            epoch = error
        connection.send(epoch)


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)
