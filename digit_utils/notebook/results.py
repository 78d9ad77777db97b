"""The metrics of a notebook: written to a file beside it and into its outputs, and read back as columns of a table."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from digit_utils.files import read_json, with_home, write_json

METRICS_FILE = "metrics.json"
METRICS_MIME = "application/vnd.digits.metrics+json"  # the type of the output that holds them
SETTINGS = ("config", "provenance")  # branches that hold no metrics


class MetricsError(ValueError):
    """Metrics cannot be recorded or read; the message names the file and the remedy."""


def record_metrics(metrics: Mapping[str, Any], folder: str | Path, *, notebook: str) -> None:
    """Write the metrics of a notebook to `metrics.json` in a folder, and display them in the notebook that calls this.

    Args:
        metrics: a tree that JSON can hold; its numbers are the metrics. NaN and infinity, which JSON lacks, are
            written as null: a training that diverged has no finite loss, but all else still counts.
        folder: where the file goes, made if needed; "~" is the user's home.
        notebook: its name, for example "02_train"; it becomes part of the file.

    Raises MetricsError if the file there is another notebook's, which is not overwritten.
    """
    path = with_home(folder) / METRICS_FILE
    owner = _owner(path)
    if owner not in (None, notebook):
        raise MetricsError(f"{path} holds the metrics of {owner}; choose another output_folder for {notebook}")
    content = _finite({"notebook": notebook, **_device(), **metrics})
    write_json(path, content)
    _show(content, path)


def _device() -> dict[str, str]:
    """Return what Keras computes on, such as "gpu:0", if the notebook uses it and its backend can tell."""
    try:
        return {"device": ", ".join(sys.modules["keras"].distribution.list_devices())}
    except (KeyError, AttributeError):  # not imported; or PyTorch, for which Keras cannot list any
        return {}


def _finite(tree: Any) -> Any:
    """Return a tree with None in place of numbers that are not finite."""
    if isinstance(tree, Mapping):
        return {name: _finite(value) for name, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [_finite(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree


def _owner(path: Path) -> str | None:
    """Return the notebook that wrote a file of metrics; None if there is no file, or a damaged one."""
    try:
        return read_json(path).get("notebook")
    except (OSError, ValueError):
        return None


def _show(content: dict[str, Any], path: Path) -> None:
    from IPython.display import display

    display({METRICS_MIME: content, "text/plain": f"recorded in {path.name}"}, raw=True)


def metrics_of_run(folder: str | Path, notebook: str | Path) -> dict[str, Any]:
    """Return the metrics of a run: from `metrics.json` in its folder, or else from its notebook; {} if neither has any.

    Raises MetricsError if the file is damaged.
    """
    path = Path(folder) / METRICS_FILE
    if not path.exists():
        return metrics_within(Path(notebook))
    try:
        return read_json(path)
    except ValueError as error:
        raise MetricsError(f"{error}; remove the folder to run it again") from error


def metrics_within(notebook: Path) -> dict[str, Any]:
    """Return the last metrics among a notebook's outputs; {} if there are none."""
    found: dict[str, Any] = {}
    for cell in json.loads(notebook.read_text(encoding="utf-8")).get("cells", []):
        for output in cell.get("outputs", []):
            found = output.get("data", {}).get(METRICS_MIME, found)
    return found


def flat_metrics(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Return the numbers of a tree by their paths, such as "validation.mnist_errors", without settings and lists.

    A number that is not finite, in a file that another program wrote, is left out, too.
    """
    result: dict[str, float] = {}
    for name, value in metrics.items():
        if isinstance(value, Mapping) and name not in SETTINGS:
            result |= flat_metrics(value, f"{prefix}{name}.")
        elif type(value) is int or (type(value) is float and math.isfinite(value)):
            result[prefix + name] = value
    return result


def flat_settings(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the leaves of a tree of settings by their paths, such as "config.data_mix.augmentation"."""
    result: dict[str, Any] = {}
    for name, value in tree.items():
        result |= flat_settings(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return result


def has_metric(metrics: Mapping[str, Any], name: str) -> bool:
    """Tell whether a metric was recorded under a path, be it as null since it was not finite."""
    tree: Any = metrics
    for part in name.split("."):
        if not isinstance(tree, Mapping) or part not in tree:
            return False
        tree = tree[part]
    return tree is None or type(tree) in (int, float)
