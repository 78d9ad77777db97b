"""What data a run reads, as a hash: part of its identity, and fetched before the first run, so none races for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from digit_utils.data import DatasetUnavailable, load_dataset, load_with_fallback
from digit_utils.files import sha256_of
from digit_utils.recognizer import MODEL_FILE_NAME
from digit_utils.sweep import OUTPUT_FOLDER, Sweep

NEEDS_NO_NETWORK = "digits8x8"


def data_of_runs(sweep: Sweep) -> list[str]:
    """Return a hash of the data that each run reads: datasets by their content, and files that parameters name.

    Raises what loading a dataset raises: `DatasetCorrupt`, `ValueError` for an unknown name.
    """
    return [_digest(_content(sweep.defaults | parameters)) for parameters in sweep.runs]


def _digest(content: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _content(values: Mapping[str, Any]) -> dict[str, str]:
    content = {}
    folder = values.get("data_dir") or None
    if "dataset" in values:
        content["dataset"] = _scans(values["dataset"], folder)
    if "dataset" in values or "data_dir" in values:
        content["pendigits"] = _drawings(folder, values.get("dataset") != NEEDS_NO_NETWORK)
    for name, value in values.items():
        if name not in ("data_dir", OUTPUT_FOLDER) and isinstance(value, str) and Path(value).is_absolute():
            content[name] = _files(Path(value))
    return content


@cache
def _scans(name: str, folder: str | None) -> str:
    """Return the hash of the scans that a notebook will find: of their stand-in where they cannot be had."""
    return load_with_fallback(name, data_dir=folder).sha256


@cache
def _drawings(folder: str | None, download: bool) -> str:
    try:
        return load_dataset("pendigits", data_dir=folder, download=download).sha256
    except DatasetUnavailable:
        return "absent"


@cache
def _files(path: Path) -> str:
    """Return the hash of a file, of the model in a folder, or of all that is in another folder."""
    if path.is_dir() and (path / MODEL_FILE_NAME).is_file():
        path = path / MODEL_FILE_NAME
    if path.is_file():
        return sha256_of(path)
    files = sorted(found for found in path.rglob("*") if found.is_file())
    return _digest({found.relative_to(path).as_posix(): sha256_of(found) for found in files})
