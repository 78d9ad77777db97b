"""Runs a function when requests for it pause, so that a burst of requests costs few calls."""

import threading
import time
from collections.abc import Callable


class Debouncer:
    """Calls a function on a thread of its own once requests pause, now and then while they go on, and after the last.

    However many requests come, at most one call runs and at most one waits, so no queue can grow.
    """

    def __init__(self, function: Callable[..., None], *, wait: float, max_wait: float):
        """Call `function(announce=...)` once no request came for `wait` seconds, or `max_wait` after the first one."""
        self._function = function
        self._wait, self._max_wait = wait, max_wait
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
            while (delay := min(self._newest + self._wait, first + self._max_wait) - time.monotonic()) > 0:
                if self._at_once.wait(delay):
                    break
            with self._lock:
                self._is_waiting = False
                self._at_once.clear()
                announce, self._announce = self._announce, False
            self._function(announce=announce)
