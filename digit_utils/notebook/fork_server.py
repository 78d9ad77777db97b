"""Kernels that are ready at once: a process imports what a notebook needs, and each run's kernel is forked from it."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

SCRIPT = Path(__file__).with_name("kernel_process.py")
KERNEL = ("ipykernel.kernelapp", "ipykernel.ipkernel")  # what every kernel imports


def imports_of(notebook: Path) -> list[str]:
    """Return the modules that a notebook imports in its cells, outside of functions and conditions, in their order."""
    found: dict[str, None] = {}
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "code" or "setup" in cell["metadata"].get("tags", []):
            continue
        try:
            statements = ast.parse("".join(cell["source"])).body
        except SyntaxError:  # a cell with a magic command
            continue
        for statement in statements:
            if isinstance(statement, ast.Import):
                found |= dict.fromkeys(name.name for name in statement.names)
            elif isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
                found |= dict.fromkeys([statement.module, *(f"{statement.module}.{n.name}" for n in statement.names)])
    return list(found)


class ForkServer:
    """A process that has imported what a notebook needs, and from which kernels are forked.

    It ends with the process that made it. Where a process with such imports cannot be forked, because the system has
    no safe way or the imports start threads, `command` gives kernels that import for themselves.
    """

    def __init__(self, needs: Path | Sequence[str], environment: Mapping[str, str], **options):
        """Start, and do not wait for the imports.

        Args:
            needs: the modules that are imported once, or the notebook that imports them. No module that makes a
                widget when it is imported, as ipycanvas does: that widget would belong to no kernel.
            environment: the variables of the kernels beside those of this process.
            options: of the process, as of `subprocess.Popen`, in place of the ones here.
        """
        self.key = (needs, tuple(sorted(environment.items())))
        self._process: subprocess.Popen[str] | None = None
        if not sys.platform.startswith("linux") or not hasattr(os, "pidfd_open"):
            return
        self._folder = tempfile.TemporaryDirectory(prefix="digits-fork server-", ignore_cleanup_errors=True)
        self._socket = str(Path(self._folder.name) / "socket")
        modules = [*KERNEL, *imports_of(needs)] if isinstance(needs, Path) else needs
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(SCRIPT), "fork_server", self._socket, *modules],
            env={**os.environ, **environment, "JPY_PARENT_PID": str(os.getpid())},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            **{"stderr": subprocess.DEVNULL, "text": True, **options},  # what TensorFlow greets with is not read
        )

    @cached_property
    def why_not(self) -> str:
        """Wait for the imports; return "ready", or why no kernel can be forked: nothing when the process died."""
        return self._process.stdout.readline().strip()

    def alive(self) -> bool:
        """Tell whether it was not killed since."""
        return self._process is None or self._process.poll() is None or self.why_not != "ready"

    def command(self, *, otherwise: Sequence[str] = ()) -> list[str]:
        """Return the command that starts a kernel, without the kernel's own arguments, once the imports are done.

        `otherwise` is the command where kernels cannot be forked; empty for a kernel that imports for itself.
        """
        if self._process is None or self.why_not != "ready":
            return list(otherwise) or alone()
        # A bare Python: it only passes the request on, and is there within a few milliseconds.
        return [sys.executable, "-I", "-S", str(SCRIPT), "forked", self._socket]

    def close(self) -> None:
        """End it, with the kernels that still run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()
            self._folder.cleanup()


def alone() -> list[str]:
    """Return the command of a kernel that imports for itself."""
    return [sys.executable, "-P", str(SCRIPT), "alone"]
