"""Who is on the drawing page: how many may come in, and when a visitor's kernel is ended.

Each visitor has a kernel, a process of about a tenth of a gigabyte, or less than half of that where kernels are forked
and share what they have imported. A kernel whose page is gone is ended after a minute, so that a phone whose network
comes back finds its drawing; one that has died, at once; one whose page is open and unused, after an hour, or after ten
minutes when others wait. One that could not be ended takes its place still, and is ended at one of the next sweeps.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import psutil
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_core.utils import ensure_async
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from traitlets import Bool, List, Unicode

KERNEL_MEMORY = 120e6  # bytes that a visitor's kernel takes at most
MEMORY_KEPT_FREE = 600e6  # bytes; with less no further visitor comes in, so that the machine never swaps
MOST_VISITORS = 60  # unless more are asked for: what two cores can serve
SWEEP_SECONDS = 2.0
UNCONNECTED_SECONDS = 60.0  # since the last connection of a page, or since the page was fetched
UNUSED_SECONDS = 3600.0  # since the last event of a page that is connected
UNUSED_SECONDS_WHEN_FULL = 600.0
ENDED = 4001  # close code of the websocket: this page's kernel is no more, a reload brings a new one

_log = logging.getLogger(__name__)


class VisitorsKernels(AsyncMappingKernelManager):
    """Kernels that are not listened to for signs of life; the pages' own messages are these signs.

    Jupyter's server would unpack everything that a kernel says a second time only to learn that it is not idle.
    """

    async def end_kernel(self, kernel_id: str) -> None:
        """End a kernel at once. Raises whatever kept it from ending."""
        try:
            await ensure_async(self.shutdown_kernel(kernel_id, now=True))
        except Exception:
            if kernel_id not in self:
                raise
            # Voila, whose class is derived from this one, first looks through the kernels that wait for a visitor, and
            # stumbles over one that could not be started. Jupyter's own method does not look there.
            await ensure_async(super().shutdown_kernel(kernel_id, now=True))

    def start_watching_activity(self, kernel_id: str) -> None:
        """Note when a kernel was started."""
        kernel = self._kernels[kernel_id]
        kernel.execution_state, kernel.reason, kernel.last_activity = "idle", "", datetime.now(UTC)


class PageKernelSpecs(KernelSpecManager):
    """Knows the kernels of the page's folder only; the search for others would import all of IPython."""

    ensure_native_kernel = Bool(False)
    kernel_dirs = List(Unicode()).tag(config=True)


class Visitors:
    """The visitors of a page, each known by the id of a kernel. Kernels that wait for one do not count."""

    def __init__(self, kernels: VisitorsKernels, *, limit: int, clock: Callable[[], float] = time.monotonic):
        """Watch over the visitors' kernels; `clock` tells seconds."""
        self.limit = limit
        self._kernels = kernels
        self._clock = clock
        self._arriving = 0  # visitors whose kernel is not known yet
        self._last_sign: dict[str, float] = {}  # of each visitor, by kernel: when there was one
        self._pages: dict[str, list] = {}  # websockets by kernel
        self._left: set[str] = set()  # kernels whose visitor is gone, and which could not be ended

    # ------------------------------------------------------------------------------------------- coming in

    @property
    def here(self) -> int:
        """How many visitors there are, those whose page is being made and kernels that did not end included."""
        return len(self._last_sign) + len(self._left) + self._arriving

    def is_full(self) -> bool:
        """Tell whether nobody else can come in: too many visitors, or too little memory for one more."""
        return self.here >= self.limit or psutil.virtual_memory().available < MEMORY_KEPT_FREE

    @contextmanager
    def arriving(self) -> Iterator[Callable[[str], None]]:
        """Keep a place for a visitor; yield a function to call with the id of the kernel once it is known."""
        known: list[str] = []

        def got(kernel_id: str) -> None:
            self._last_sign[kernel_id] = self._clock()
            if not known:
                self._arriving -= 1
            known.append(kernel_id)

        self._arriving += 1
        try:
            yield got
        finally:
            if not known:
                self._arriving -= 1

    # ---------------------------------------------------------------------------------------- while here

    def connected(self, kernel_id: str, page) -> None:
        """Note a page's websocket."""
        self._pages.setdefault(kernel_id, []).append(page)
        self.gave_sign(kernel_id)

    def disconnected(self, kernel_id: str, page) -> None:
        """Note that a page's websocket is closed."""
        if page in self._pages.get(kernel_id, []):
            self._pages[kernel_id].remove(page)
            self.gave_sign(kernel_id)

    def gave_sign(self, kernel_id: str) -> None:
        """Note that somebody uses a page."""
        if kernel_id in self._last_sign:
            self._last_sign[kernel_id] = self._clock()

    # ------------------------------------------------------------------------------------------- leaving

    async def sweep(self) -> None:
        """End the kernels that nobody uses any more, and those that have died."""
        for kernel_id in list(self._left):
            await self._end_kernel(kernel_id)
        for kernel_id in list(self._last_sign):
            # While one is waited for, whoever leaves may end another.
            if kernel_id in self._last_sign and await self._is_over(kernel_id):
                await self.end(kernel_id)

    async def _is_over(self, kernel_id: str) -> bool:
        quiet = self._clock() - self._last_sign[kernel_id]
        if self._pages.get(kernel_id):
            longest = UNUSED_SECONDS_WHEN_FULL if self.is_full() else UNUSED_SECONDS
        else:
            longest = UNCONNECTED_SECONDS
        return quiet > longest or not await self._is_alive(kernel_id)

    async def _is_alive(self, kernel_id: str) -> bool:
        if kernel_id not in self._kernels:
            return False
        kernel = self._kernels.get_kernel(kernel_id)
        return not kernel.has_kernel or await ensure_async(kernel.is_alive())  # without one it is about to start

    async def end(self, kernel_id: str) -> None:
        """End a visitor's kernel, if it is there, and tell the page."""
        if self._last_sign.pop(kernel_id, None) is None:
            return
        await self._end_kernel(kernel_id)

    async def _end_kernel(self, kernel_id: str) -> None:
        """End a kernel and tell its pages. One that lives on takes a place and memory: the next sweep tries again."""
        try:
            if kernel_id in self._kernels:
                await self._kernels.end_kernel(kernel_id)
            self._left.discard(kernel_id)
        except Exception:
            if kernel_id not in self._left:  # once, not at each sweep
                _log.warning("a kernel could not be ended", exc_info=True)
            if await self._is_alive(kernel_id):
                self._left.add(kernel_id)
            else:
                self._left.discard(kernel_id)
        for page in self._pages.pop(kernel_id, []):
            page.close(ENDED, "this page has ended")


def default_limit() -> int:
    """Return how many visitors this machine's free memory holds, at most MOST_VISITORS, at least one."""
    room = (psutil.virtual_memory().available - MEMORY_KEPT_FREE) / KERNEL_MEMORY
    return int(min(MOST_VISITORS, max(1, room)))
