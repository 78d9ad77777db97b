"""Runs a function when requests for it pause, so that a burst of requests costs few calls."""

import threading
import time
from collections.abc import Callable


class Debouncer:
    """Calls a function on a thread of its own once requests pause, at intervals while they go on, and after the last.

    However many requests come, at most one call runs and at most one waits, so no queue can grow.
    """

    def __init__(self, function: Callable[..., None], *, wait: float, interval: float):
        """Call `function(announce=...)` once no request came for `wait` seconds, or `interval` after the first one.

        Between two calls there are at least `interval` seconds, except before one that is to be announced.
        """
        self._function = function
        self._wait, self._interval = wait, interval
        self._called = float("-inf")  # time.monotonic() of the newest call
        self._lock = threading.Lock()
        self._running = threading.Lock()
        self._at_once = threading.Event()
        self._is_waiting = False
        self._announce = False
        self._newest = 0.0  # time.monotonic() of the newest request

    def request(self, *, announce: bool = False) -> None:
        """Ask for a call, with `announce` for one without delay. Returns at once."""
        with self._lock:
            self._newest = time.monotonic()
            self._announce |= announce
            if announce:
                self._at_once.set()
            if self._is_waiting:
                return
            self._is_waiting = True
        threading.Thread(target=self._run, args=(self._newest,), daemon=True).start()

    def _run(self, first: float) -> None:
        with self._running:
            while (delay := self._due(first) - time.monotonic()) > 0:
                if self._at_once.wait(delay):
                    break
            with self._lock:
                self._is_waiting = False
                self._at_once.clear()
                announce, self._announce = self._announce, False
            self._called = time.monotonic()
            self._function(announce=announce)

    def _due(self, first: float) -> float:
        """Return when to call the function, in the time of time.monotonic(), after a first request at `first`."""
        return max(min(self._newest + self._wait, first + self._interval), self._called + self._interval)
