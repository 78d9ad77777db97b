"""Runs the project's notebooks with papermill: the command line and the notebooks are the same run."""

import contextlib
import re
import sys
from pathlib import Path
from typing import Any

from digit_utils.notebook_files import find_notebook


class NotebookError(RuntimeError):
    """A notebook could not be run, or raised; the message says which, why, and where its output lies."""


def run_notebook(name: str, output: str | Path, *, parameters: dict[str, Any]) -> Path:
    """Run a notebook of the project with parameters, show what it prints, and keep it with its outputs.

    Args:
        name: for example "02_train".
        output: path of the notebook with outputs; it ends in .ipynb.
        parameters: values for names of the notebook's `parameters` cell; None leaves the notebook's own value.

    Raises NotebookError for missing packages, unknown parameters, and for errors within the notebook.
    """
    try:
        import papermill
    except ImportError as error:
        raise NotebookError(
            f"this needs the packages for training, and {error.name} is not installed: "
            'run `pip install "digit-utils[train]"` (in a clone: `pip install -e ".[train]"`)'
        ) from error
    source, output = find_notebook(name), Path(output)
    given = {key: value for key, value in parameters.items() if value is not None}
    _check_names(papermill.inspect_notebook(str(source)), given, source)
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        papermill.execute_notebook(
            str(source),
            str(output),
            parameters=given,
            kernel_name="python3",
            progress_bar=False,
            stdout_file=sys.stdout,
        )
    except papermill.PapermillExecutionError as error:
        reason = f"{error.ename}: {_without_colours(str(error.evalue))}"
        raise NotebookError(f"{reason}\n(the notebook with the whole story: {output})") from error
    return output


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
