"""What data a run reads, as a hash: part of its identity, and fetched before the first run, so none races for it.

Datasets are known of the project's notebooks alone: what another one means by `dataset` or `data_dir` is its affair.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from digit_utils.datasets.base import DatasetUnavailable
from digit_utils.datasets.external import FASHION_MNIST, SEMEION, load_fashion_mnist, load_semeion
from digit_utils.datasets.loading import load_dataset, load_with_fallback
from digit_utils.files import sha256_of
from digit_utils.recognition.recognizer import MODEL_FILE_NAME
from digit_utils.sweeps.config import OUTPUT_FOLDER, Sweep

NEEDS_NO_NETWORK = "digits8x8"
READS_DEVELOPMENT_DATA = "03_evaluate"
MODEL = "model"  # the parameter that may name a folder in place of the model in it
ABSENT = "absent"


def data_of_runs(sweep: Sweep) -> list[str]:
    """Return a hash of the data that each run reads: datasets by their content, and files that parameters name.

    Raises what loading a dataset raises: `DatasetCorrupt`, `ValueError` for an unknown name; OSError for a file that
    cannot be read.
    """
    for kept in (_scans, _drawings, _development_data, _file_hash):
        kept.cache_clear()  # each is read once a sweep, but anew for the next one, before which it may have changed
    return [_digest(_content(sweep, sweep.defaults | parameters)) for parameters in sweep.runs]


def _digest(content: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _content(sweep: Sweep, values: Mapping[str, Any]) -> dict[str, str]:
    content = _datasets(sweep.notebook.stem, values) if sweep.ours else {}
    files = {name: _file_named_by(name, value) for name, value in values.items()}
    return content | {name: _file_hash(path) for name, path in files.items() if path is not None}


def _datasets(notebook: str, values: Mapping[str, Any]) -> dict[str, str]:
    """Return the hashes of the datasets that one of the project's notebooks reads."""
    content = {}
    folder = values.get("data_dir") or ""
    if "dataset" in values:
        content["dataset"] = _scans(values["dataset"], folder)
    if "dataset" in values or "data_dir" in values:
        content["pendigits"] = _drawings(folder, values.get("dataset") != NEEDS_NO_NETWORK)
    if notebook == READS_DEVELOPMENT_DATA:
        content |= _development_data(folder)
    return content


@cache
def _scans(name: str, folder: str) -> str:
    """Return the hash of the scans that a notebook will find: of their stand-in where they cannot be had."""
    return load_with_fallback(name, data_dir=folder).sha256


@cache
def _drawings(folder: str, download: bool) -> str:
    try:
        return load_dataset("pendigits", data_dir=folder, download=download).sha256
    except DatasetUnavailable:
        return ABSENT


@cache
def _development_data(folder: str) -> dict[str, str]:
    """Return the hashes of the sets that are the user's to bring; loading them verifies their content."""
    return {
        "semeion": ABSENT if load_semeion(folder) is None else SEMEION.sha256,
        "fashion_mnist": ABSENT if load_fashion_mnist(folder) is None else FASHION_MNIST.sha256,
    }


def _file_named_by(name: str, value: Any) -> Path | None:
    """Return the file that a parameter names by its whole path, or None.

    Of a folder only the model in it is looked at. All of it might be the whole disk, or be written by the runs.
    """
    if name == OUTPUT_FOLDER or not isinstance(value, str) or not Path(value).is_absolute():
        return None
    places = [Path(value), Path(value) / MODEL_FILE_NAME] if name == MODEL else [Path(value)]
    # Unlike `Path.is_file` it raises nothing where a text is too long for a path, or the folder is not open to us.
    return next((place for place in places if os.path.isfile(place)), None)  # noqa: PTH113


@cache
def _file_hash(path: Path) -> str:
    return sha256_of(path)
