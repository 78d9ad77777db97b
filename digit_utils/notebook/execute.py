"""Runs notebooks with papermill: the command line, a sweep and a notebook by hand are the same run."""

import contextlib
import errno
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from digit_utils.notebook.files import find_notebook
from digit_utils.notebook.fork_server import alone

FULL_DISK = ("No space left on device", "Disk quota exceeded")  # as the system says it, and what writes repeats
FULL_DISK_NUMBERS = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
LONGEST_SOCKET_FOLDER = 60  # characters of the temporary folder's path; with more a socket's path would be too long


class NotebookError(RuntimeError):
    """A notebook could not be run, or raised; the message says which, why, and where its output lies."""


class NotebookRaised(NotebookError):  # noqa: N818 (what happened, not what to do about it)
    """A cell raised: running it again would raise again."""

    def __init__(self, reason: str, traceback: str, output: Path):
        super().__init__(f"{reason}\n(the notebook with the whole story: {output})")
        self.reason, self.traceback, self.output = reason, traceback, output


class NotebookInterrupted(NotebookError):  # noqa: N818
    """The kernel died or the disk is full: nothing that the notebook did, so it may be run again."""


class DiskFull(NotebookInterrupted):
    """There is no space left; running again helps only when some was made."""


def run_notebook(name: str, output: str | Path, *, parameters: dict[str, Any]) -> Path:
    """Run a notebook of the project with parameters, show what it prints, and keep it with its outputs.

    Where `output` is there already and did not fail, a run that fails leaves it alone: its own notebook lies beside it
    as NAME.failed.ipynb, until a run succeeds.

    Args:
        name: for example "02_train".
        output: path of the notebook with outputs; it ends in .ipynb.
        parameters: values for names of the notebook's `parameters` cell; None leaves the notebook's own value.

    Raises NotebookError for missing packages, unknown parameters, and for errors within the notebook.
    """
    source, output = find_notebook(name), Path(output)
    given = {key: value for key, value in parameters.items() if value is not None}
    _check_names(inspect_parameters(source), given, source)
    failed = output.with_name(f"{output.stem}.failed.ipynb")
    aside = failed if _is_worth_keeping(output) else None
    execute_notebook(source, output, parameters=given, stdout=sys.stdout, failed=aside)
    failed.unlink(missing_ok=True)
    return output


def inspect_parameters(source: Path) -> dict[str, dict[str, Any]]:
    """Return the parameters of a notebook by name, with `inferred_type_name`, `default` and `help`, as papermill does.

    Raises NotebookError when papermill is not installed, or the notebook has no cell tagged `parameters`.
    """
    try:
        found = _papermill().inspect_notebook(str(source))
    except ValueError as error:  # it is no notebook, or does not say of which language
        raise NotebookError(f"{source} cannot be read as a notebook of Python ({error})") from error
    if not found:
        raise NotebookError(f"{source} has no parameters; tag the cell that assigns them with `parameters`")
    return found


def execute_notebook(
    source: Path,
    output: Path,
    *,
    parameters: Mapping[str, Any],
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    kernel: Sequence[str] | None = None,
    stdout: TextIO | None = None,
    failed: Path | None = None,
) -> None:
    """Run a notebook; `output` appears whole, with the error when a cell raised, and else not at all.

    While it runs, what there is lies beside it as NAME.part.ipynb.

    Args:
        source: the notebook.
        output: path of the notebook with outputs.
        parameters: values for names of its `parameters` cell.
        folder: working directory of the kernel; None for that of this process.
        environment: variables of the kernel beside those of this process.
        kernel: the command that starts one, as of `ForkServer.command`; None for a kernel that imports for itself.
        stdout: where to repeat what it prints.
        failed: where the notebook goes when a cell raised, in the same folder; None for `output`.

    Raises:
        NotebookRaised: a cell raised.
        NotebookInterrupted: the kernel died; `DiskFull` when there is no space left.
    """
    papermill = _papermill()
    part = output.with_name(f"{output.stem}.part.ipynb")
    with _failures_told(papermill.PapermillExecutionError, part, output, failed or output):
        output.parent.mkdir(parents=True, exist_ok=True)
        with _kernel_manager(folder, environment or {}, kernel or alone(), talkative=stdout is not None) as manager:
            papermill.execute_notebook(
                str(source),
                str(part),
                parameters=dict(parameters),
                kernel_name="python3",
                progress_bar=False,
                stdout_file=stdout,
                kernel_manager_class=manager,
            )
        os.replace(part, output)  # noqa: PTH105


def _is_worth_keeping(output: Path) -> bool:
    """Tell whether there is something at a path, and no notebook that failed, as papermill notes in it."""
    try:
        notebook = json.loads(output.read_text(encoding="utf-8"))
        return not notebook["metadata"]["papermill"]["exception"]
    except OSError:
        return False
    except (ValueError, LookupError, TypeError):  # whatever it is, papermill did not write it
        return True


@contextlib.contextmanager
def _failures_told(raised: type[Exception], part: Path, output: Path, failed: Path) -> Iterator[None]:
    """Turn what papermill, the kernel's client and the disk make of a failure into NotebookError."""
    try:
        yield
    except raised as error:
        raise _as_raised(error, part, failed) from error
    except OSError as error:
        if error.errno in FULL_DISK_NUMBERS:
            raise DiskFull(f"no space is left for {output}") from error
        raise
    except RuntimeError as error:  # nbclient's DeadKernelError, and jupyter_client's when it never lived
        raise NotebookInterrupted(f"the kernel of {output} died ({_without_colours(str(error))})") from error


def _as_raised(error: Any, part: Path, output: Path) -> NotebookError:
    """Keep the notebook with its error, and return what to raise."""
    reason = f"{error.ename}: {_without_colours(str(error.evalue))}"
    traceback = _without_colours("\n".join(error.traceback))
    if any(told in traceback or told in reason for told in FULL_DISK):
        return DiskFull(f"no space is left for {output.parent}: {reason}")
    os.replace(part, output)  # noqa: PTH105
    return NotebookRaised(reason, traceback, output)


@contextlib.contextmanager
def _kernel_manager(
    folder: Path | None, environment: Mapping[str, str], kernel: Sequence[str], *, talkative: bool
) -> Iterator[type]:
    """Yield the class of a kernel that belongs to one run.

    It is of this very Python, whatever other kernels the user has installed; it ends with this process; and where the
    system has them it is reached by sockets in a folder of its own, since ports can be taken by another run between
    being chosen and being opened (papermill #511).
    """
    from jupyter_client.manager import AsyncKernelManager

    class RunKernel(AsyncKernelManager):
        def __init__(self, **options: Any):
            super().__init__(**options)
            self.connection_file = str(Path(sockets) / "kernel.json")
            if os.name == "posix" and len(sockets) <= LONGEST_SOCKET_FOLDER:
                self.transport = "ipc"

        def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
            return [*kernel, "-f", self.connection_file, "--HistoryManager.enabled=False", *(extra_arguments or [])]

        async def start_kernel(self, **options: Any) -> None:
            options["env"] = {**os.environ, **environment}
            if folder is not None:
                options["cwd"] = str(folder)
            if not talkative:  # TensorFlow greets beside what the notebook prints
                options["stdout"] = options["stderr"] = subprocess.DEVNULL
            await super().start_kernel(**options)

    with tempfile.TemporaryDirectory(prefix="digits-run-", ignore_cleanup_errors=True) as sockets:
        yield RunKernel


def _papermill() -> Any:
    try:
        import papermill
    except ImportError as error:
        raise NotebookError(
            f"this needs the packages for training, and {error.name} is not installed: "
            'run `pip install "digit-utils[train]"` (in a clone: `pip install -e ".[train]"`)'
        ) from error
    return papermill


def read_parameter(text: str) -> tuple[str, Any]:
    """Return name and value of "name=value"; the value is a number, a truth value, or else the text itself.

    Raises ValueError when there is no "=".
    """
    name, separator, value = text.partition("=")
    if not separator or not name.isidentifier():
        raise ValueError(f"{text!r} is no parameter; write name=value")
    for convert in (int, float):
        with contextlib.suppress(ValueError):
            return name, convert(value)
    return name, {"true": True, "false": False}.get(value.lower(), value)


def _check_names(known: dict[str, dict[str, Any]], given: dict[str, Any], source: Path) -> None:
    """Raise NotebookError when a parameter is not one of the notebook's."""
    unknown = sorted(set(given) - set(known))
    if unknown:
        names = ", ".join(sorted(known))
        raise NotebookError(f"{source.name} has no parameter {', '.join(unknown)}; it has {names}")


def _without_colours(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
