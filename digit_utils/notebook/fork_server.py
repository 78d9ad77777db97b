"""Kernels that are ready at once: one process imports what a notebook needs, and each run's kernel is forked from it.

`multiprocessing` has a fork server, too, but not for this: killed owners leave its folder and its processes behind, a
module that raises on import ends it, it cannot be asked whether it started threads (which makes forking unsafe), and
what it forks first imports the owner's main module.
"""

from __future__ import annotations

import ast
import json
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
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
    """A process that has imported what a notebook needs, and from which kernels are forked. Any thread may use it.

    It ends with the process that made it, and on Linux with the thread that made it. Where such a process cannot be
    forked, because the system has no safe way or the imports start threads, `command` gives kernels that do their own
    imports.
    """

    def __init__(self, needs: Path | Sequence[str], environment: Mapping[str, str], **options):
        """Start it, without waiting for the imports.

        Args:
            needs: the modules that are imported once, or the notebook that imports them. No module that makes a
                widget when it is imported, as ipycanvas does: that widget would belong to no kernel.
            environment: variables of the kernels in addition to those of this process.
            options: of the process, as for `subprocess.Popen`, in place of the ones here.
        """
        self.key = (needs, tuple(sorted(environment.items())))
        self._lock = threading.Lock()
        self._answer: str | None = None
        self._process: subprocess.Popen[str] | None = None
        if not sys.platform.startswith("linux") or not hasattr(os, "pidfd_open"):
            return
        self._address = f"digits-{secrets.token_hex(16)}"
        modules = [*KERNEL, *imports_of(needs)] if isinstance(needs, Path) else needs
        defaults = {"stderr": subprocess.DEVNULL, "start_new_session": True}  # no greetings of TensorFlow, no Ctrl-C
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(SCRIPT), "serve", self._address, *modules],
            env={**os.environ, **environment, "JPY_PARENT_PID": str(os.getpid())},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            **{**defaults, **options},
        )

    @property
    def why_not(self) -> str:
        """Wait for the imports; return "ready", or why no kernel can be forked ("" if the process died)."""
        with self._lock:
            if self._answer is None:
                self._answer = self._process.stdout.readline().strip()
            return self._answer

    def alive(self) -> bool:
        """Return False if it was ready once and has died since."""
        return self._process is None or self._process.poll() is None or self.why_not != "ready"

    def command(self, *, otherwise: Sequence[str] = ()) -> list[str]:
        """Return the command that starts a kernel, without the kernel's own arguments, once the imports are done.

        `otherwise` is the command where kernels cannot be forked; if empty, that of a kernel that does its own imports.
        """
        if self._process is None or self.why_not != "ready":
            return list(otherwise) or alone()
        # A bare Python: it only passes the request on, and starts within a few milliseconds.
        return [sys.executable, "-I", "-S", str(SCRIPT), "forked", self._address]

    def close(self) -> None:
        """End it, and the kernels that still run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()


def alone() -> list[str]:
    """Return the command of a kernel that does its own imports."""
    return [sys.executable, "-P", str(SCRIPT), "alone"]
