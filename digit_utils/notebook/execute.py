"""Runs notebooks with papermill: `digits train`, a sweep and a notebook run by hand do the same."""

import contextlib
import errno
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from digit_utils.files import PROGRESS_FILE
from digit_utils.notebook.fork_server import alone
from digit_utils.notebook.scratch import scratch_folder

PACKAGE = Path(__file__).parents[1]
NOTEBOOK_FOLDERS = (PACKAGE.parent / "notebooks", PACKAGE / "notebooks")  # in a clone; as installed from a wheel
FULL_DISK = ("No space left on device", "Disk quota exceeded")  # as the system says it, and a traceback repeats it
FULL_DISK_NUMBERS = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
TEMPORARY = ("TMPDIR", "TEMP", "TMP")  # where `tempfile` looks for the folder of temporary files
DEMONSTRATION = "demonstration"  # tag of cells that explain, on which no result depends
LONGEST_SOCKET_PATH = 100  # bytes; Linux allows 107, macOS 103


class NotebookError(RuntimeError):
    """A notebook could not be run, or raised; the message says which, why, and where its output is."""


class NotebookRaised(NotebookError):  # noqa: N818 (what happened, not what to do about it)
    """A cell raised: running it again would raise again."""

    def __init__(self, reason: str, traceback: str, output: Path):
        super().__init__(f"{reason}\n(the whole traceback is in {output})")
        self.reason, self.traceback, self.output = reason, traceback, output


class NotebookInterrupted(NotebookError):  # noqa: N818
    """The kernel died or the disk is full: not the notebook's fault, so it may be run again."""


class DiskFull(NotebookInterrupted):
    """There is no space left; running again helps only once some has been made."""


def find_notebook(name: str) -> Path:
    """Return the path of one of the project's notebooks, for example "04_draw" or "04_draw.ipynb".

    Raises FileNotFoundError, which names the places searched, if there is none of that name.
    """
    file_name = Path(name).with_suffix(".ipynb").name
    for folder in NOTEBOOK_FOLDERS:
        if (folder / file_name).is_file():
            return folder / file_name
    places = " and ".join(str(folder) for folder in NOTEBOOK_FOLDERS)
    raise FileNotFoundError(f"there is no notebook {file_name}; looked in {places}. Install digit-utils again")


def can_use_ipc(socket_path: str | Path) -> bool:
    """Tell whether a kernel can be reached by a socket at a path, instead of a port that others may take first."""
    return os.name == "posix" and len(os.fsencode(socket_path)) <= LONGEST_SOCKET_PATH


def run_notebook(name: str, output: str | Path, *, parameters: dict[str, Any]) -> Path:
    """Run a notebook of the project with parameters, show what it prints, and save it with its outputs.

    A run that fails leaves the `output` of a successful one alone: its own notebook is saved beside it as
    NAME.failed.ipynb, until a run succeeds.

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
    with tempfile.TemporaryDirectory(dir=scratch_folder(), ignore_cleanup_errors=True) as folder:
        progress = Path(folder) / "progress.txt"
        with Waiting(sys.stdout, f"{source.stem} is running", progress=progress) as stdout:
            execute_notebook(
                source,
                output,
                parameters=given,
                environment={PROGRESS_FILE: str(progress)},
                stdout=stdout,
                failed=failed if _succeeded(output) else None,
            )
    failed.unlink(missing_ok=True)
    return output


class Waiting:
    """A stream whose last line tells that time passes, and is replaced by what is written; for people at a terminal.

    Elsewhere one line is written in the beginning. The line also repeats what `report_progress` wrote to a file.
    """

    def __init__(self, stream: TextIO, what: str, *, progress: Path | None = None):
        self._stream, self._what, self._progress, self._start = stream, what, progress, time.monotonic()
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._shown = False  # whether the line that tells the time is there
        self._at_line_start = True

    def __enter__(self) -> "Waiting":
        if self._stream.isatty():
            threading.Thread(target=self._tick, daemon=True).start()
        else:
            self.write(f"{self._what}; what it prints follows\n")
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.write("")

    def _tick(self) -> None:
        while True:
            with self._lock:
                if self._at_line_start and not self._ended.is_set():
                    self._stream.write(
                        f"\r\x1b[K{self._what}, {time.monotonic() - self._start:.0f} s{self._reported()}"
                    )
                    self._stream.flush()
                    self._shown = True
            if self._ended.wait(1):
                return

    def _reported(self) -> str:
        try:
            text = self._progress.read_text(encoding="utf-8") if self._progress else ""
        except OSError:  # nothing has been reported yet
            return ""
        return f": {text}" if text else ""

    def write(self, text: str) -> None:
        """Write text in place of the line that tells the time."""
        with self._lock:
            self._stream.write("\r\x1b[K" * self._shown + text)
            self._stream.flush()
            self._shown, self._at_line_start = False, text.endswith("\n") or (self._at_line_start and not text)

    def flush(self) -> None:
        """Do nothing: everything is written at once."""


def inspect_parameters(source: Path) -> dict[str, dict[str, Any]]:
    """Return the parameters of a notebook by name, with `inferred_type_name`, `default` and `help`, as papermill does.

    Raises NotebookError if papermill is not installed, or the notebook has no cell tagged `parameters`.
    """
    try:
        found = _papermill().inspect_notebook(str(source))
    except ValueError as error:  # not a notebook, or it does not name its language
        raise NotebookError(f"{source} cannot be read as a Python notebook ({error})") from error
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
    demonstrations: bool = True,
    on_start: Callable[[subprocess.Popen], None] | None = None,
) -> None:
    """Run a notebook. `output` appears complete, with the error if a cell raised, or not at all.

    Until then, the notebook with the outputs so far is beside it as NAME.part.ipynb. Many threads may do this at once.

    Args:
        source: the notebook.
        output: path of the notebook with outputs.
        parameters: values for names of its `parameters` cell.
        folder: working directory of the kernel; None for that of this process.
        environment: variables of the kernel in addition to those of this process.
        kernel: the command that starts one, as from `ForkServer.command`; None for a kernel that does its own imports.
        stdout: where to repeat what it prints.
        failed: where to save the notebook if a cell raised, in the same folder; None for `output`.
        demonstrations: whether cells tagged `demonstration` are run, too.
        on_start: called with the kernel's process, which may be killed to end the run.

    Raises:
        NotebookRaised: a cell raised.
        NotebookInterrupted: the kernel died; `DiskFull` if there is no space left.
    """
    papermill = _papermill()
    part = output.with_name(f"{output.stem}.part.ipynb")
    with _translated_errors(papermill.PapermillExecutionError, part, output, failed or output):
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=scratch_folder(), ignore_cleanup_errors=True) as scratch:
            manager = _kernel_manager(scratch, folder, environment or {}, kernel or alone(), on_start=on_start)
            options = {"kernel_name": "python3", "kernel_manager_class": manager, "progress_bar": False}
            if not demonstrations:
                options["skip_cells_with_tag"] = DEMONSTRATION  # of nbclient
            papermill.execute_notebook(
                str(source), str(part), parameters=dict(parameters), stdout_file=stdout, **options
            )
        os.replace(part, output)  # noqa: PTH105


def _succeeded(output: Path) -> bool:
    """Tell whether there is something at a path other than a notebook that failed, as papermill notes in it."""
    try:
        notebook = json.loads(output.read_text(encoding="utf-8"))
        return not notebook["metadata"]["papermill"]["exception"]
    except OSError:
        return False
    except (ValueError, LookupError, TypeError):  # whatever it is, papermill did not write it
        return True


@contextlib.contextmanager
def _translated_errors(raised: type[Exception], part: Path, output: Path, failed: Path) -> Iterator[None]:
    """Turn the errors of papermill, the kernel's client and the disk into NotebookError."""
    try:
        yield
    except raised as error:
        raise _error_of_cell(error, part, failed) from error
    except OSError as error:
        if error.errno in FULL_DISK_NUMBERS:
            raise DiskFull(full_disk(output.parent)) from error
        raise
    except RuntimeError as error:  # nbclient's DeadKernelError, and jupyter_client's for one that never answered
        raise NotebookInterrupted(f"the kernel of {output} died ({_without_colours(str(error))})") from error


def full_disk(output: Path) -> str:
    """Tell which of two folders has no space left: that of an output, or that of temporary files."""
    temporary = Path(tempfile.gettempdir())
    free = {folder: shutil.disk_usage(folder).free for folder in (output, temporary) if folder.exists()}
    if free.get(temporary, 1) < free.get(output, 0):
        return f"no space is left for temporary files in {temporary}, which the variable TMPDIR names"
    return f"no space is left for {output}"


def _error_of_cell(error: Any, part: Path, output: Path) -> NotebookError:
    """Save the notebook with its error, and return what to raise."""
    reason = f"{error.ename}: {_without_colours(str(error.evalue))}"
    traceback = _without_colours("\n".join(error.traceback))
    if any(sign in traceback or sign in reason for sign in FULL_DISK):
        return DiskFull(f"{full_disk(output.parent)} ({reason})")
    os.replace(part, output)  # noqa: PTH105
    return NotebookRaised(reason, traceback, output)


def _kernel_manager(
    scratch: str,
    folder: Path | None,
    environment: Mapping[str, str],
    command: Sequence[str],
    *,
    on_start: Callable[[subprocess.Popen], None] | None,
) -> type:
    """Return the class of the kernel of one run.

    It runs on this very Python, whatever other kernels the user has installed; it ends with this process; its temporary
    files lie in `scratch`, which is removed with all that it leaves there; and where the system has them it is reached
    by sockets there, since another run could take a port between its being chosen and its being opened (papermill
    #511).
    """
    from jupyter_client.manager import AsyncKernelManager

    class RunKernel(AsyncKernelManager):
        def __init__(self, **options: Any):
            super().__init__(**options)
            self.connection_file = str(Path(scratch) / "kernel.json")
            if can_use_ipc(Path(scratch) / "kernel-ipc-5"):
                self.transport = "ipc"

        def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
            return [*command, "-f", self.connection_file, "--HistoryManager.enabled=False", *(extra_arguments or [])]

        async def start_kernel(self, **options: Any) -> None:
            options["env"] = {**os.environ, **environment, **dict.fromkeys(TEMPORARY, scratch)}
            if folder is not None:
                options["cwd"] = str(folder)
            # What cells print comes as messages; the process itself prints greetings and warnings of TensorFlow.
            options["stdout"] = options["stderr"] = subprocess.DEVNULL
            await super().start_kernel(**options)
            if on_start is not None:
                on_start(self.provisioner.process)

    return RunKernel


def _papermill() -> Any:
    try:
        import papermill
    except ImportError as error:
        raise NotebookError(
            f"this needs the packages for training, and {error.name} is not installed: "
            'run `pip install "digit-utils[train]"` (in a clone: `pip install -e ".[train]"`)'
        ) from error
    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # what matters is raised, and told once
    return papermill


def read_parameter(text: str) -> tuple[str, Any]:
    """Return name and value of "name=value"; the value is a number, True or False, or else the text itself.

    Raises ValueError if there is no "=".
    """
    name, separator, value = text.partition("=")
    if not separator or not name.isidentifier():
        raise ValueError(f"{text!r} is not a parameter; write name=value")
    for convert in (int, float):
        with contextlib.suppress(ValueError):
            return name, convert(value)
    return name, {"true": True, "false": False}.get(value.lower(), value)


def _check_names(known: dict[str, dict[str, Any]], given: dict[str, Any], source: Path) -> None:
    """Raise NotebookError if a parameter is not one of the notebook's."""
    unknown = sorted(set(given) - set(known))
    if unknown:
        names = ", ".join(sorted(known))
        raise NotebookError(f"{source.name} has no parameter {', '.join(unknown)}; it has {names}")


def _without_colours(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
