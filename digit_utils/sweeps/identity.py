"""What a run is: the hash of its code, its parameters as used, the data that it reads, and versions of libraries.

The same identity is never run twice, and another is never mistaken for it. Code is that of the notebook and of those
modules of this package that it imports, directly or not; comments and docstrings do not count (see `code`). Datasets
are fetched while they are hashed, so no two runs download the same one. Only the project's notebooks are known to read
datasets: what another one means by `dataset` or `data_dir` is its own affair.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from digit_utils.datasets.base import DatasetUnavailable
from digit_utils.datasets.external import FASHION_MNIST, SEMEION, load_fashion_mnist, load_semeion
from digit_utils.datasets.loading import ABSENT, load_dataset
from digit_utils.files import sha256_of
from digit_utils.notebook.parameters import PATHS
from digit_utils.recognition.recognizer import BUNDLED_MODEL, MODEL_FILE_NAME
from digit_utils.sweeps.code import code_of_notebook, deciding_versions, modules_of
from digit_utils.sweeps.config import DATA, OUTPUT_FOLDER, Sweep, SweepError

ID_LENGTH = 12  # hexadecimal characters: two of a million runs share one with a chance of 0.2 %, and that is noticed
NEEDS_NO_NETWORK = "digits8x8"
READS_DEVELOPMENT_DATA = "03_evaluate"
MODEL = "model"  # the parameter that may name a folder instead of the model in it
RECOGNIZER = "digit_utils.recognition.recognizer"  # the module that loads the bundled model


@dataclass(frozen=True)
class Run:
    """One run of a sweep."""

    id: str
    notebook: str  # path
    parameters: dict[str, Any]  # those that the sweep sets
    identity: dict[str, str]  # what `id` is the hash of
    defaults: dict[str, Any] = field(default_factory=dict)  # the notebook's values of the others

    @property
    def used(self) -> dict[str, Any]:
        """Return all parameters of the run, as far as they are known without running it."""
        return {name: value for name, value in (self.defaults | self.parameters).items() if name != OUTPUT_FOLDER}


def plan_runs(sweep: Sweep, data: Sequence[str]) -> list[Run]:
    """Return the runs of a sweep; `data` says what each of them reads, as from `data_of_runs`.

    Raises SweepError if two runs are the same because only paths differ, and not what they lead to.
    """
    code = code_of_notebook(sweep.notebook)
    versions = json.dumps(deciding_versions(sweep.notebook), sort_keys=True)
    runs: dict[str, Run] = {}
    for parameters, content in zip(sweep.runs, data, strict=True):
        run = Run("", str(sweep.notebook), parameters, {}, sweep.defaults)
        values = {name: v for name, v in run.used.items() if not (sweep.ours and _is_path_of_data(name, v))}
        identity = {"parameters": json.dumps(values, sort_keys=True), "data": content, "versions": versions, **code}
        digest = _digest(identity)
        if digest in runs:
            other = runs[digest].parameters
            differing = {name: value for name, value in parameters.items() if other.get(name) != value}
            raise SweepError(
                f"two runs differ only in {', '.join(differing)} ({', '.join(map(str, differing.values()))}), "
                "and the data there are the same; keep one"
            )
        runs[digest] = Run(digest[:ID_LENGTH], run.notebook, parameters, identity, sweep.defaults)
    return list(runs.values())


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _is_path_of_data(name: str, value: Any) -> bool:
    """Tell whether a parameter of our notebooks only says where data are; their content counts instead."""
    if name not in (*PATHS, DATA) or not isinstance(value, str):
        return False
    return not value or (
        Path(value).is_absolute() and (name == "data_dir" or _hash_of(name, value, ours=True) is not None)
    )


def data_of_runs(sweep: Sweep) -> list[str]:
    """Return as JSON the hashes of the data that each run reads: datasets, and files that parameters name.

    Raises what loading a dataset raises: `DatasetCorrupt`, `ValueError` for an unknown name; OSError for a file that
    cannot be read; SweepError for scans that are not on this machine.
    """
    for cached in (_scans, _pendigits, _development_data, _known_hash):
        cached.cache_clear()  # each is read once per sweep, but may change before the next one
    return [json.dumps(_data(sweep, sweep.defaults | parameters), sort_keys=True) for parameters in sweep.runs]


def _data(sweep: Sweep, values: Mapping[str, Any]) -> dict[str, str]:
    found = _datasets(sweep.notebook.stem, values) if sweep.ours else {}
    for name, value in values.items():
        if isinstance(value, str) and (content := _known_hash(name, value, ours=sweep.ours)):
            found[name] = content
    reads_bundled = not values.get(MODEL) if sweep.ours and MODEL in values else not sweep.ours
    if reads_bundled and RECOGNIZER in modules_of(sweep.notebook):
        found["bundled model"] = sha256_of(BUNDLED_MODEL)
    return found


def data_as_planned(run: Run) -> dict[str, str]:
    """Return the hashes of the data of a run by the names of datasets and parameters, as its identity has them."""
    try:
        return json.loads(run.identity["data"])
    except ValueError:
        return {}


def changed_file(run: Run) -> str:
    """Return the path of a file that a parameter names and that is not the one that was planned; "" if there is none.

    On another machine the same path may lead to another file.
    """
    planned = data_as_planned(run)
    for name, value in run.used.items():
        if name in planned and isinstance(value, str) and _hash_of(name, value, ours=True) != planned[name]:
            return value
    return ""


def _datasets(notebook: str, values: Mapping[str, Any]) -> dict[str, str]:
    """Return the hashes of the datasets that one of the project's notebooks reads."""
    found = {}
    folder = values.get("data_dir") or ""
    if "dataset" in values and not values.get(DATA):
        found[values["dataset"]] = _scans(values["dataset"], folder)
    if "dataset" in values or "data_dir" in values:
        offline = values.get("dataset") == NEEDS_NO_NETWORK and values.get("preset") != "full"
        found["pendigits"] = _pendigits(folder, not offline)
    if notebook == READS_DEVELOPMENT_DATA:
        found |= _development_data(folder)
    return found


@cache
def _scans(name: str, folder: str) -> str:
    """Return the hash of the scans that a notebook asks for. A sweep takes no others in their place."""
    try:
        return load_dataset(name, data_dir=folder).sha256
    except DatasetUnavailable as error:
        raise SweepError(
            f"{error} A sweep uses no other data in its place; `dataset: {NEEDS_NO_NETWORK}` asks for "
            "the digits that need no network"
        ) from error


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


def _hash_of(name: str, value: str, *, ours: bool) -> str | None:
    """Return the hash of what a parameter names: a file or, if it is one of our notebooks' `data`, a folder's files."""
    if path := _named_file(name, value):
        return sha256_of(path)
    if not (ours and name == DATA and Path(value).is_absolute() and Path(value).is_dir()):
        return None
    files = sorted(path for path in Path(value).rglob("*") if path.is_file())
    return _digest([(path.relative_to(value).as_posix(), sha256_of(path)) for path in files])


_known_hash = cache(_hash_of)
