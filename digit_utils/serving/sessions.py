"""The visitors of the drawing page: how many may come in, and when a visitor's kernel is shut down.

Each visitor has a kernel, a process of about 100 MB, or less than half of that where kernels are forked and share what
they have imported. A kernel whose page is gone is shut down after a minute, so that a phone whose network comes back
finds its drawing; one that has died, at once; one whose page is open but unused, after an hour, or after ten minutes
when the page is full. Until a kernel has really ended, it counts as a visitor.

Jupyter's own culling (`cull_idle_timeout`) has one time limit for all kernels, does not know when a page was left,
closes no websocket, and reads everything that a kernel sends a second time to learn that it is not idle.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil

from digit_utils.serving.voila_adapter import VisitorKernels

KERNEL_MEMORY = 120e6  # bytes that a visitor's kernel takes at most
RESERVED_MEMORY = 600e6  # bytes; with less available no further visitor comes in, so that the machine never swaps
MAX_VISITORS = 60  # unless more are asked for: what two cores can serve
SWEEP_SECONDS = 2.0
DISCONNECTED_SECONDS = 60.0  # since a page's last websocket closed, or since the page was fetched
UNUSED_SECONDS = 3600.0  # since the last event of a page that is connected
UNUSED_SECONDS_WHEN_FULL = 600.0
MAX_CONNECTIONS = 4  # of a visitor; a page has one, and lost ones are noticed late
ENDED = 4001  # close code of the websocket: the kernel of this page is gone, a reload brings a new one

_log = logging.getLogger(__name__)


class Visitors:
    """The visitors of a page, each known by the id of a kernel. Kernels that wait for a visitor do not count."""

    def __init__(self, kernels: VisitorKernels, *, limit: int, clock: Callable[[], float] = time.monotonic):
        """Keep track of at most `limit` visitors; `clock` returns seconds."""
        self.limit = limit
        self._kernels = kernels
        self._clock = clock
        self._arriving = 0  # visitors whose kernel is not known yet
        self._last_used: dict[str, float] = {}  # by kernel id; -inf for a kernel that is being shut down
        self._pages: dict[str, list] = {}  # websockets by kernel id

    @property
    def count(self) -> int:
        """How many visitors there are, including those whose page is being made and kernels that have not ended."""
        return len(self._last_used) + self._arriving

    def is_full(self) -> bool:
        """Tell whether nobody else can come in: too many visitors, or too little memory for one more."""
        return self.count >= self.limit or psutil.virtual_memory().available < RESERVED_MEMORY

    @contextmanager
    def arriving(self) -> Iterator[Callable[[str], None]]:
        """Reserve a place for a visitor; yield a function to call with the id of the kernel once it is known."""
        is_known = False

        def got_kernel(kernel_id: str) -> None:
            nonlocal is_known
            self._arriving -= not is_known
            self._last_used[kernel_id] = self._clock()
            is_known = True

        self._arriving += 1
        try:
            yield got_kernel
        finally:
            self._arriving -= not is_known

    def connected(self, kernel_id: str, page) -> None:
        """Note that a page has opened its websocket; cut off the oldest of too many."""
        pages = self._pages.setdefault(kernel_id, [])
        pages.append(page)
        if len(pages) > MAX_CONNECTIONS:
            pages.pop(0).cut_off()
        self.used(kernel_id)

    def disconnected(self, kernel_id: str, page) -> None:
        """Note that a page's websocket is closed."""
        if page in self._pages.get(kernel_id, []):
            self._pages[kernel_id].remove(page)
            self.used(kernel_id)

    def used(self, kernel_id: str) -> None:
        """Note that somebody uses a page."""
        if self._last_used.get(kernel_id, -math.inf) > -math.inf:
            self._last_used[kernel_id] = self._clock()

    async def sweep(self) -> None:
        """Shut down the kernels that nobody uses any more, and forget those that have died."""
        for kernel_id in list(self._last_used):
            # While one is awaited, a visitor who leaves may have ended another.
            if kernel_id in self._last_used and await self._is_over(kernel_id):
                await self.end(kernel_id)

    async def _is_over(self, kernel_id: str) -> bool:
        if self._pages.get(kernel_id):
            limit = UNUSED_SECONDS_WHEN_FULL if self.is_full() else UNUSED_SECONDS
        else:
            limit = DISCONNECTED_SECONDS
        unused = self._clock() - self._last_used[kernel_id]
        return unused > limit or not await self._kernels.is_alive(kernel_id)

    async def end(self, kernel_id: str) -> None:
        """Shut down a visitor's kernel, if it is there, and tell its pages. If it survives, the next sweep retries."""
        if kernel_id not in self._last_used:
            return
        is_retry = self._last_used[kernel_id] == -math.inf
        self._last_used[kernel_id] = -math.inf
        try:
            await self._kernels.end_kernel(kernel_id)
            is_gone = True
        except Exception:
            if not is_retry:  # once, not at each sweep
                _log.warning("a kernel could not be ended", exc_info=True)
            is_gone = not await self._kernels.is_alive(kernel_id)
        if is_gone:
            self._last_used.pop(kernel_id, None)
        for page in self._pages.pop(kernel_id, []):
            page.close(ENDED, "this page has ended")


def default_limit() -> int:
    """Return how many visitors this machine's available memory holds, from 1 to MAX_VISITORS."""
    room = (psutil.virtual_memory().available - RESERVED_MEMORY) / KERNEL_MEMORY
    return int(min(MAX_VISITORS, max(1, room)))
