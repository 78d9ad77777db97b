"""The workers of a dask cluster, as an executor: only those that see the folder and have the same code do runs."""

from __future__ import annotations

import logging
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from digit_utils.files import locked
from digit_utils.sweeps.config import SweepError
from digit_utils.sweeps.identity import Run
from digit_utils.sweeps.trial import TOKEN, unfitness

ADDRESS = re.compile(r"(tcp|tls|ucx|ws|wss)://(\[[^\]]+\]|[^/:\s]+):\d{1,5}")
SECONDS_TO_CONNECT = 6
SECONDS_TO_ANSWER = 15
SECONDS_FOR_WORKERS = 600  # to wait while there is none
SECONDS_BETWEEN_LOOKS = 2.0  # for workers that have come or gone
GONE = "start the same command again: finished runs are kept"


@contextmanager
def connection(address: str) -> Iterator[Any]:
    """Yield a client of the dask scheduler at an address, and close it on leaving.

    Raises SweepError, within ten seconds, if no dask scheduler answers there.
    """
    client = _connect(address)
    try:
        yield client
    finally:
        with suppress(Exception):  # whatever a scheduler that is gone leads to
            client.close(timeout=5)


@contextmanager
def cluster_executor(client: Any, root: Path, run: Run, note: Callable[[str], None]) -> Iterator[Cluster]:
    """Yield the workers of a cluster that can do the runs of a sweep, of which `run` is one, in the folder `root`.

    On leaving, the cluster is rid of what was not begun.
    """
    token = secrets.token_hex(16)
    shown = root / f"{TOKEN}{token}"
    for other in root.glob(f"{TOKEN}*"):
        with suppress(OSError), locked(other, blocking=False) as left_behind:  # by a command that was killed
            if left_behind:
                other.unlink()
    cluster = Cluster(client, lambda worker: _unfitness(client, worker, str(root), token, run), note)
    note(f"connected to {client.scheduler.address}; watch it at {client.dashboard_link}")
    with locked(shown, blocking=True):
        try:
            yield cluster
        finally:
            with suppress(Exception):
                cluster.cancel()
            with suppress(OSError):
                shown.unlink()


def _connect(address: str) -> Any:
    try:
        import distributed
    except ImportError as error:
        raise SweepError('--scheduler needs dask: run `pip install "digit-utils[sweep]"`') from error
    full = address if "://" in address else f"tcp://{address}"
    if not ADDRESS.fullmatch(full):
        raise SweepError(f"{address} is not the address of a dask scheduler, which looks like tcp://host:8786")
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what matters is raised or noted
    try:
        return bounded(lambda: distributed.Client(full, timeout=SECONDS_TO_CONNECT), SECONDS_TO_CONNECT + 1)
    except Exception as error:  # whatever another kind of server makes dask raise
        reason = str(error).partition("\n")[0] or f"not within {SECONDS_TO_CONNECT + 1} s"
        if isinstance(error, MemoryError):  # dask takes "HTTP/1.1" for the length of a message
            reason = "a web server does"
        raise SweepError(
            f"no dask scheduler answers at {address} ({reason}); start one, or leave out --scheduler"
        ) from error


def bounded(function: Callable[[], Any], seconds: float) -> Any:
    """Return what a function returns, or raise what it raises; TimeoutError if it takes too long."""
    future: Future[Any] = Future()

    def call() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    return future.result(timeout=seconds)


def _unfitness(client: Any, worker: str, root: str, token: str, run: Run) -> str:
    """Return why a worker cannot do the runs, with its name; "" if it can."""

    def ask(function: Callable[..., str], *arguments: Any) -> Any:
        return client.run(function, *arguments, workers=[worker], on_error="return")[worker]

    try:
        why = bounded(lambda: ask(unfitness, root, token, run), SECONDS_TO_ANSWER)
        host = bounded(lambda: ask(socket.gethostname), SECONDS_TO_ANSWER)
    except Exception as error:
        why, host = error, "worker"
    if isinstance(why, Exception):
        why = f"it cannot load this version of digit_utils ({type(why).__name__}: {why})"
    return why and f"{host} ({worker}) gets no runs: {why}"


class Cluster:
    """Gives tasks to fit workers, and never more than they can begin soon, so that workers may come and go."""

    def __init__(self, client: Any, unfitness_of: Callable[[str], str], note: Callable[[str], None]):
        self._client, self._unfitness_of, self._note = client, unfitness_of, note
        self._found: dict[str, str] = {}  # why a worker is unfit, or "", by its address
        self._threads: dict[str, int] = {}  # of the fit workers that are there
        self._executors: dict[tuple[str, ...], Any] = {}
        self._submitted: dict[Future, tuple[str, ...]] = {}
        self._next_look, self._told = 0.0, False
        self._last_seen = time.monotonic()

    def submit(self, function: Callable[..., Any], task: Any) -> Future:
        """Have a fit worker call a function."""
        workers = tuple(sorted(self._threads))
        if workers not in self._executors:  # not "pure": no other command's tasks are mistaken for ours
            self._executors[workers] = self._client.get_executor(pure=False, workers=list(workers))
        future = self._executors[workers].submit(function, task)
        self._submitted[future] = workers
        future.add_done_callback(lambda done: self._submitted.pop(done, None))
        return future

    def capacity(self) -> int:
        """Return how many tasks the workers should have. Raises SweepError if there is no hope of any."""
        if time.monotonic() >= self._next_look:
            self._look()
            self._next_look = time.monotonic() + SECONDS_BETWEEN_LOOKS
        return 2 * sum(self._threads.values())

    def answers(self) -> bool:
        """Tell whether the scheduler is still there."""
        try:
            bounded(self._client.nthreads, SECONDS_TO_ANSWER)
        except Exception:
            return False
        return self._client.status == "running"

    def cancel(self) -> None:
        """Take back what was not begun."""
        for executor in self._executors.values():
            executor.shutdown(wait=False)

    def _look(self) -> None:
        try:
            present = bounded(self._client.nthreads, SECONDS_TO_ANSWER)
        except Exception as error:
            raise SweepError(f"the scheduler is gone; {GONE}") from error
        for worker in set(present) - set(self._found):
            self._found[worker] = self._unfitness_of(worker)
            if self._found[worker]:
                self._note(self._found[worker])
        self._threads = {worker: threads for worker, threads in present.items() if not self._found[worker]}
        for future, workers in list(self._submitted.items()):
            if not set(workers) & set(self._threads):  # it would wait for those that are gone
                future.cancel()
        if self._threads:
            self._last_seen, self._told = time.monotonic(), False
        elif present:
            raise SweepError(f"none of the {len(present)} workers of the cluster can do the runs; see above")
        elif time.monotonic() - self._last_seen > SECONDS_FOR_WORKERS:
            raise SweepError(f"the scheduler has had no workers for {SECONDS_FOR_WORKERS // 60} minutes; {GONE}")
        elif not self._told:
            self._told = True
            address = self._client.scheduler.address
            self._note(f"no workers yet; start some with `dask worker {address}`: they are found automatically")
