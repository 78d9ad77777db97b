"""What the page uses of Voila's kernel pool and of Jupyter's kernel managers beyond their documented interfaces.

Checked with Voila 0.5.8 to 0.5.13 and Jupyter Server 2.14 to 2.21; `tests/serving/test_voila_adapter.py` names what
another version lacks.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_core.utils import ensure_async
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from traitlets import List, Unicode

_log = logging.getLogger(__name__)


class PageKernelSpecs(KernelSpecManager):
    """Knows the kernels of the page's folder only; searching for others would import all of IPython."""

    ensure_native_kernel = False
    kernel_dirs = List(Unicode()).tag(config=True)


class VisitorKernels(AsyncMappingKernelManager):
    """The kernels of visitors, and those started ahead for the next ones: Voila derives its pool from this class."""

    _pools: dict[str, list[asyncio.Task]]  # Voila's: the kernels that wait for a visitor, by notebook

    def start_watching_activity(self, kernel_id: str) -> None:
        """Set what Jupyter reports about a kernel, once; watching it would unpack its messages a second time."""
        kernel = self._kernels[kernel_id]
        kernel.execution_state, kernel.reason, kernel.last_activity = "idle", "", datetime.now(UTC)

    async def is_alive(self, kernel_id: str) -> bool:
        """Tell whether a kernel runs, or is about to start."""
        if kernel_id not in self:
            return False
        kernel = self.get_kernel(kernel_id)
        return not kernel.has_kernel or await ensure_async(kernel.is_alive())

    async def end_kernel(self, kernel_id: str) -> None:
        """Shut down a kernel at once, if it is there. Raises whatever kept it from ending."""
        if kernel_id in self:
            self._drop_failed_starts()  # over which Voila stumbles
            await ensure_async(self.shutdown_kernel(kernel_id, now=True))

    async def renew_pool(self) -> None:
        """Replace the kernels in the pool that failed to start, have died, or could not run the notebook."""
        self._drop_failed_starts()
        for notebook, pool in self._pools.items():
            for start in [start for start in pool if start.done()]:
                kernel_id, task = start.result()["kernel_id"], start.result()["task"]
                if not _has_failed(task) and await self.is_alive(kernel_id):
                    continue
                pool.remove(start)
                task.cancel()
                try:
                    await self.end_kernel(kernel_id)
                except Exception:  # it does not keep the visitor waiting
                    _log.warning("a kernel could not be ended", exc_info=True)
            self.fill_if_needed(delay=0, notebook_name=notebook)

    def _drop_failed_starts(self) -> None:
        for pool in self._pools.values():
            for start in [start for start in pool if _has_failed(start)]:
                _log.warning("a kernel could not be started", exc_info=None if start.cancelled() else start.exception())
                pool.remove(start)


def _has_failed(task: asyncio.Future) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


class ReportingKernels:
    """A kernel manager that reports the id of each kernel that Voila's page handler takes from it."""

    def __init__(self, kernels: VisitorKernels, *, on_kernel: Callable[[str], None]):
        self._kernels, self._on_kernel = kernels, on_kernel

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kernels, name)

    async def get_rendered_notebook(self, **options) -> Any:
        """Take a kernel from the pool."""
        task, cells, kernel_id = await self._kernels.get_rendered_notebook(**options)
        self._on_kernel(kernel_id)
        return task, cells, kernel_id

    async def start_kernel(self, **options) -> str:
        """Start a kernel, because the pool is empty."""
        kernel_id = await ensure_async(self._kernels.start_kernel(**options))
        self._on_kernel(kernel_id)
        return kernel_id
