"""What a run is: the hash of its notebook's code, the package's code, its parameters and the data that it reads.

The same identity is never run twice, and another is never mistaken for it. Datasets are fetched while they are hashed,
so no two runs download the same one. Only the project's notebooks are known to read datasets: what another one means
by `dataset` or `data_dir` is its own affair.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from digit_utils.datasets.base import DatasetUnavailable
from digit_utils.datasets.external import FASHION_MNIST, SEMEION, load_fashion_mnist, load_semeion
from digit_utils.datasets.loading import load_dataset, load_with_fallback
from digit_utils.files import sha256_of
from digit_utils.notebook.execute import PACKAGE
from digit_utils.notebook.parameters import PATHS
from digit_utils.recognition.recognizer import MODEL_FILE_NAME
from digit_utils.sweeps.config import OUTPUT_FOLDER, Sweep, SweepError

CODE_SUFFIXES = (".py", ".json", ".tflite")  # the files of the package that can change a result
ID_LENGTH = 12  # hexadecimal characters: two of a million runs share one with a chance of 0.2 %, and that is noticed
NEEDS_NO_NETWORK = "digits8x8"
READS_DEVELOPMENT_DATA = "03_evaluate"
MODEL = "model"  # the parameter that may name a folder instead of the model in it
ABSENT = "absent"


@dataclass(frozen=True)
class Run:
    """One run of a sweep."""

    id: str
    notebook: str  # path
    parameters: dict[str, Any]  # those that the sweep sets
    identity: dict[str, str]  # what `id` is the hash of


def plan_runs(sweep: Sweep, data: Sequence[str]) -> list[Run]:
    """Return the runs of a sweep; `data` holds the hash of what each of them reads, as from `data_of_runs`.

    Raises SweepError if two runs are the same because only paths differ, and not what they lead to.
    """
    notebook, package = code_of_notebook(sweep.notebook), code_of_package()
    runs: dict[str, Run] = {}
    for parameters, content in zip(sweep.runs, data, strict=True):
        values = {name: v for name, v in parameters.items() if not (sweep.ours and _is_path_of_data(name, v))}
        identity = {
            "notebook": notebook,
            "package": package,
            "parameters": json.dumps(values, sort_keys=True),
            "data": content,
        }
        digest = _digest(identity)
        if digest in runs:
            other = runs[digest].parameters
            differing = {name: value for name, value in parameters.items() if other.get(name) != value}
            raise SweepError(
                f"two runs differ only in {', '.join(differing)} ({', '.join(map(str, differing.values()))}), "
                "and the data there are the same; keep one"
            )
        runs[digest] = Run(digest[:ID_LENGTH], str(sweep.notebook), parameters, identity)
    return list(runs.values())


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _is_path_of_data(name: str, value: Any) -> bool:
    """Tell whether a parameter of our notebooks only says where data are; their content counts instead."""
    return name in PATHS and isinstance(value, str) and (not value or Path(value).is_absolute())


def code_of_notebook(path: Path) -> str:
    """Return the hash of a notebook's code cells: neither outputs nor prose can change a result."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return _digest(["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"])


@cache
def code_of_package() -> str:
    """Return the hash of this package as it is installed on this machine."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*")):
        if path.suffix in CODE_SUFFIXES:
            digest.update(f"{path.relative_to(PACKAGE).as_posix()} {sha256_of(path)}\n".encode())
    return digest.hexdigest()


def data_of_runs(sweep: Sweep) -> list[str]:
    """Return a hash of the data that each run reads: the content of datasets, and of files that parameters name.

    Raises what loading a dataset raises: `DatasetCorrupt`, `ValueError` for an unknown name; OSError for a file that
    cannot be read.
    """
    for cached in (_scans, _pendigits, _development_data, _file_hash):
        cached.cache_clear()  # each is read once per sweep, but may change before the next one
    return [_digest(_data(sweep, sweep.defaults | parameters)) for parameters in sweep.runs]


def _data(sweep: Sweep, values: Mapping[str, Any]) -> dict[str, str]:
    datasets = _datasets(sweep.notebook.stem, values) if sweep.ours else {}
    files = {name: _named_file(name, value) for name, value in values.items()}
    return datasets | {name: _file_hash(path) for name, path in files.items() if path is not None}


def _datasets(notebook: str, values: Mapping[str, Any]) -> dict[str, str]:
    """Return the hashes of the datasets that one of the project's notebooks reads."""
    found = {}
    folder = values.get("data_dir") or ""
    if "dataset" in values:
        found["dataset"] = _scans(values["dataset"], folder)
    if "dataset" in values or "data_dir" in values:
        found["pendigits"] = _pendigits(folder, values.get("dataset") != NEEDS_NO_NETWORK)
    if notebook == READS_DEVELOPMENT_DATA:
        found |= _development_data(folder)
    return found


@cache
def _scans(name: str, folder: str) -> str:
    """Return the hash of the scans that a notebook will load, which may be the stand-in for those it asks for."""
    return load_with_fallback(name, data_dir=folder).sha256


@cache
def _pendigits(folder: str, download: bool) -> str:
    try:
        return load_dataset("pendigits", data_dir=folder, download=download).sha256
    except DatasetUnavailable:
        return ABSENT


@cache
def _development_data(folder: str) -> dict[str, str]:
    """Return the hashes of the sets that the user has to provide; loading them verifies their content."""
    return {
        "semeion": ABSENT if load_semeion(folder) is None else SEMEION.sha256,
        "fashion_mnist": ABSENT if load_fashion_mnist(folder) is None else FASHION_MNIST.sha256,
    }


def _named_file(name: str, value: Any) -> Path | None:
    """Return the file that a parameter names by its absolute path, or None.

    In a folder only a model is looked for: the folder might be the whole disk, or be written to by the runs.
    """
    if name == OUTPUT_FOLDER or not isinstance(value, str) or not Path(value).is_absolute():
        return None
    places = [Path(value), Path(value) / MODEL_FILE_NAME] if name == MODEL else [Path(value)]
    # Unlike `Path.is_file` it raises nothing if a text is too long for a path, or the folder may not be read.
    return next((place for place in places if os.path.isfile(place)), None)  # noqa: PTH113


@cache
def _file_hash(path: Path) -> str:
    return sha256_of(path)
