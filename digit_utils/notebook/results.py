"""What a notebook measured: a file beside it, the same figures in it, and both as columns of a table."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from digit_utils.files import with_home, write_json

METRICS_FILE = "metrics.json"
METRICS_MIME = "application/vnd.digits.metrics+json"  # how the figures lie among a notebook's outputs
NO_MEASUREMENTS = ("config", "provenance")  # branches that hold settings


class MetricsError(ValueError):
    """Metrics cannot be recorded or read; the message names the file and the remedy."""


def record_metrics(metrics: Mapping[str, Any], folder: str | Path, *, notebook: str) -> None:
    """Write what a notebook measured to `metrics.json` in a folder, and leave it in the notebook that calls this.

    Args:
        metrics: a tree that JSON can hold; its numbers are the measurements. NaN and infinity, which JSON knows not,
            are written as null: a training that diverged has a loss that is no number, and all else still counts.
        folder: where the file goes, made if needed; "~" is the user's home.
        notebook: its name, for example "02_train"; it becomes part of the file.

    Raises MetricsError when the file that lies there is another notebook's: nothing is overwritten then.
    """
    path = with_home(folder) / METRICS_FILE
    owner = _owner(path)
    if owner not in (None, notebook):
        raise MetricsError(f"{path} holds what {owner} measured; choose another output_folder for {notebook}")
    content = _finite({"notebook": notebook, **metrics})
    write_json(path, content)
    _show(content, path)


def _finite(tree: Any) -> Any:
    """Return a tree with None in place of each number that is not finite."""
    if isinstance(tree, Mapping):
        return {name: _finite(value) for name, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [_finite(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree


def _owner(path: Path) -> str | None:
    """Return the notebook that wrote a file of metrics; None when there is no file, or a damaged one."""
    try:
        return json.loads(path.read_text(encoding="utf-8")).get("notebook")
    except (OSError, ValueError, AttributeError):
        return None


def _show(content: dict[str, Any], path: Path) -> None:
    from IPython.display import display

    display({METRICS_MIME: content, "text/plain": f"recorded in {path.name}"}, raw=True)


def metrics_of_run(folder: str | Path, notebook: str | Path) -> dict[str, Any]:
    """Return what a run measured: of `metrics.json` in its folder, or else of its notebook; {} where neither has any.

    Raises MetricsError when the file is damaged.
    """
    path = Path(folder) / METRICS_FILE
    if not path.exists():
        return _metrics_within(Path(notebook))
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise MetricsError(f"{path} is damaged ({error}); remove the folder to run it again") from error
    if not isinstance(content, dict):
        raise MetricsError(f"{path} is damaged (no JSON object); remove the folder to run it again")
    return content


def _metrics_within(notebook: Path) -> dict[str, Any]:
    """Return the last metrics among a notebook's outputs."""
    found: dict[str, Any] = {}
    for cell in json.loads(notebook.read_text(encoding="utf-8")).get("cells", []):
        for output in cell.get("outputs", []):
            found = output.get("data", {}).get(METRICS_MIME, found)
    return found


def flat_metrics(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Return the numbers of a tree by their paths, such as "validation.mnist_errors", without settings and lists.

    A number that is not finite, in a file that another program wrote, measures nothing and is left out, too.
    """
    result: dict[str, float] = {}
    for name, value in metrics.items():
        if isinstance(value, Mapping) and name not in NO_MEASUREMENTS:
            result |= flat_metrics(value, f"{prefix}{name}.")
        elif type(value) is int or (type(value) is float and math.isfinite(value)):
            result[prefix + name] = value
    return result
