"""Prefetching: the next epochs are prepared while the network trains, by a thread or by worker processes.

Training on a CPU is slower than one thread that draws, deforms and photographs digits. A GPU is far faster: with the
`full` preset it would wait for data nearly all of the time.
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


def prefetch_epochs(
    training_data: TrainingData, data_mix: DataMix, *, seed: int, first: int, end: int, workers: int = 0
) -> Generator[Epoch, None, None]:
    """Yield the epochs from `first` up to, but not including, `end`, and prepare the next ones meanwhile.

    An epoch depends on the seed and its number alone, not on who makes it or which ones were made before. Close the
    generator to stop early: that ends the worker processes.

    Args:
        training_data: what the epochs are made from.
        data_mix: what each consists of.
        seed: of all epochs.
        first: number of the first epoch, from 0.
        end: number after the last epoch.
        workers: processes, each of which takes as much memory as the training data and two epochs; 0: a thread of this
            process. Processes are spawned, so a script needs its `if __name__ == "__main__"`.

    Raises ValueError for a negative number of workers, RuntimeError when a worker was killed, as the system does when
    memory runs out, and whatever `make_epoch` raises.
    """
    if workers < 0:
        raise ValueError(f"workers is {workers}; it is a number of processes, so 0 or more")
    numbers = range(first, end)
    if workers and numbers:
        yield from _from_workers(training_data, data_mix, seed, numbers, workers=min(workers, len(numbers)))
    else:
        yield from _from_thread(training_data, data_mix, seed, numbers)


def _make(training_data: TrainingData, data_mix: DataMix, seed: int, number: int) -> Epoch:
    return make_epoch(training_data, data_mix, np.random.default_rng([seed, number]))


def _from_thread(training_data: TrainingData, data_mix: DataMix, seed: int, numbers: range) -> Iterator[Epoch]:
    executor = ThreadPoolExecutor(max_workers=1)
    try:
        coming = {number: executor.submit(_make, training_data, data_mix, seed, number) for number in numbers[:1]}
        for number in numbers:
            epoch = coming.pop(number).result()
            if number + 1 in numbers:
                coming[number + 1] = executor.submit(_make, training_data, data_mix, seed, number + 1)
            yield epoch
    finally:
        executor.shutdown(wait=False, cancel_futures=True)  # does not wait for the epoch in progress


def _from_workers(
    training_data: TrainingData, data_mix: DataMix, seed: int, numbers: range, *, workers: int
) -> Iterator[Epoch]:
    """Yield epochs that processes make in turn: each starts on its next as soon as its last one has been taken."""
    needed = replace(training_data, validation={}, hashes={})
    with _start_workers(workers) as connections:
        with _explain_lost_worker():
            for worker, connection in enumerate(connections):
                connection.send((needed, data_mix, seed, numbers[worker::workers]))
        for index in range(len(numbers)):
            with _explain_lost_worker():
                epoch = connections[index % workers].recv()
            if isinstance(epoch, Exception):
                raise epoch
            yield epoch


@contextlib.contextmanager
def _explain_lost_worker() -> Iterator[None]:
    """Turn a closed connection, perhaps in the middle of an epoch, into an error that names cause and remedy."""
    try:
        yield
    except (EOFError, OSError) as error:
        raise RuntimeError(
            "a process that prepares epochs was killed, perhaps for lack of memory; pass fewer workers, or set "
            "OMP_NUM_THREADS to a smaller number for a notebook"
        ) from error


@contextlib.contextmanager
def _start_workers(count: int) -> Iterator[list[Connection]]:
    """Start worker processes, yield a connection to each, and terminate them on leaving.

    Each has its own connection, of which this process holds one end only: so a killed worker is noticed at once. They
    are spawned, since a fork would inherit the locks of the backend's threads.
    """
    context = multiprocessing.get_context("spawn")
    started, connections = [], []
    try:
        for _ in range(count):
            here, there = context.Pipe()
            connections.append(here)
            process = context.Process(target=_run_worker, args=(there,), daemon=True)
            process.start()
            started.append(process)
            there.close()
        yield connections
    finally:
        for process in started:
            process.terminate()  # nobody waits for a half-made epoch, perhaps minutes of work
        for process in started:
            process.join()
        for connection in connections:
            connection.close()


def _run_worker(connection: Connection) -> None:
    """Make the epochs that the parent process asks for and send them to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the process that trains terminates its workers
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
