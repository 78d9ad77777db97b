"""A sweep: one question in a file of YAML becomes the parameters of many runs of one notebook.

    notebook: 02_train                       # a notebook of the project, or the path of any other
    parameters: {preset: quick, epochs: 4}   # the same in every run
    grid:                                    # every combination; or `list:` of settings, or `random:` (below)
      augmentation: [none, mild, strong]
      learning_rate: [0.001, 0.002, 0.004]
    seeds: 5                                 # each setting with the seeds 0 to 4; or a list of them
    lowest: validation.mnist_errors          # what the best run is lowest (or `highest:`) in

Instead of a grid, a random sample, which the same seed draws again:

    random:
      runs: 20
      seed: 1
      parameters:
        learning_rate: {from: 0.0005, to: 0.01, scale: log}
        batch_size: {from: 32, to: 256}
        augmentation: [mild, strong]

A range gives whole numbers where the notebook says `int`, or says no type but has a whole number and both ends are
whole. Both ends are among them, and each is as likely as the others (on the scale log: as likely as its logarithm is
far from the next).

A run that is finished is done again only when its notebook, this package, its parameters or its data have changed:

- In the notebooks of the project, data are the datasets that they read, and what `model` and `drawings` name. They
  count by their content, wherever it lies.
- In a notebook of your own, whatever its parameters are called, data are the files that they name by a whole path
  ("/home/me/words.txt"), and the `model.tflite` in a folder that `model` names: path and content both count. Nothing
  else in a folder is looked at. When it has changed, give it another name, or let a parameter count its versions.

What a notebook writes is best named without a folder: each run has a working directory of its own, which is also
what `output_folder` names. An output that a parameter names by its whole path would be taken for data.

Everything is checked here, before anything runs.
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from digit_utils.files import with_home
from digit_utils.notebook.files import NOTEBOOK_FOLDERS, find_notebook
from digit_utils.notebook.parameters import PATHS, problem

KEYS = ("name", "notebook", "parameters", "grid", "list", "random", "seeds", "lowest", "highest")
RANDOM_KEYS, RANGE_KEYS = ("runs", "seed", "parameters"), ("from", "to", "scale")
SEED, OUTPUT_FOLDER = "seed", "output_folder"
MOST_RUNS = 100_000
NO_TYPE = "None"  # how papermill says that a parameter has no annotation
EXAMPLES = {"int": "3", "float": "0.5", "bool": "true", "str": "text", "list": "[1, 2]", "dict": "{a: 1}"}


class SweepError(RuntimeError):
    """A sweep cannot be done as asked; the message names the file, the value and the remedy."""


@dataclass(frozen=True)
class Objective:
    """By which figure a run is better than another."""

    metric: str  # path of a number in metrics.json, such as "validation.mnist_errors"
    lower_is_better: bool

    def better(self, value: float, than: float) -> bool:
        """Tell whether one value is better than another."""
        return value < than if self.lower_is_better else value > than


@dataclass(frozen=True)
class Sweep:
    """What a file of YAML asks for."""

    name: str
    notebook: Path
    runs: tuple[dict[str, Any], ...]  # the parameters of each run, none twice
    defaults: dict[str, Any]  # of the notebook's parameters
    objective: Objective | None
    ours: bool  # whether the notebook is one of the project's, in which names of parameters mean what they mean there


def read_sweep(path: str | Path) -> Sweep:
    """Read a file of YAML and check all of it against the notebook's parameters.

    Raises SweepError that names the file, what is wrong in it, and the remedy.
    """
    path = Path(path)
    try:
        return _sweep_of(_load(path), default_name=path.stem, folder=path.parent)
    except SweepError as error:
        raise SweepError(f"{path}: {error}") from error


def _load(path: Path) -> dict[str, Any]:
    """Return the content of a file of YAML, which must be a mapping without a repeated key."""
    try:
        import yaml
    except ImportError as error:
        raise SweepError('PyYAML is not installed: run `pip install "digit-utils[train]"`') from error
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SweepError(
            f"it cannot be read ({getattr(error, 'strerror', None) or error}); give a file of YAML"
        ) from error
    try:
        content = yaml.load(text, Loader=_loader())
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the last two: "\UFFFFFFFF" is no character
        raise SweepError(f"it is no YAML: {error}") from error
    if not isinstance(content, dict):
        raise SweepError("it must hold keys such as `notebook:` and `grid:`")
    return content


def _loader() -> type:
    """Return a safe loader that names a value which only looks like a date or a number, such as 2024-13-45.

    It also refuses a repeated key, of which YAML would silently keep the last.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
            try:
                return super().construct_object(node, deep)
            except (ValueError, LookupError) as error:
                raise SweepError(
                    f"line {node.start_mark.line + 1} has {node.value!r}, which cannot be read ({error}); "
                    "put it in quotes if it is a text"
                ) from error

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
            keys = [self.construct_object(key) for key, _ in node.value if not key.tag.endswith(":merge")]
            for key in keys:
                if keys.count(key) > 1:
                    raise SweepError(f"line {node.start_mark.line + 1} begins a mapping with {key!r} twice; keep one")
            return super().construct_mapping(node, deep)

    return Loader


def _sweep_of(content: dict[str, Any], *, default_name: str, folder: Path) -> Sweep:
    _check_keys(content, KEYS, "it")
    notebook = _notebook(content.get("notebook"), folder)
    checks = _Checks(notebook)
    fixed = checks.settings(content.get("parameters", {}), "parameters")
    varied, seeds = _varied(content, checks), _seeds(content, checks)
    _check_once([[fixed], varied, seeds])
    if len(varied) * len(seeds) > MOST_RUNS:
        raise SweepError(
            f"it asks for {len(varied):,} settings with {len(seeds):,} seeds each; {MOST_RUNS:,} runs at most"
        )
    runs = [fixed | setting | seed for seed in seeds for setting in varied]
    unique = list({repr(sorted(run.items())): run for run in runs}.values())
    name = content.get("name", default_name)
    if not isinstance(name, str) or not name or "/" in name or name.startswith("."):
        raise SweepError(f"name is {name!r}; it must be a word that can be a file's name")
    return Sweep(name, notebook, tuple(unique), checks.defaults(), _objective(content), checks.ours)


def _check_once(parts: list[list[dict[str, Any]]]) -> None:
    """Refuse a parameter that two parts of the file set."""
    names = [name for part in parts for name in {name: None for setting in part for name in setting}]
    for name in names:
        if names.count(name) > 1:
            raise SweepError(f"{name} is set in two places; keep one")


def _check_keys(content: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    for key in content:
        if key not in known:
            raise SweepError(f"{where} has the unknown key {key!r}; known are {', '.join(known)}{_meant(key, known)}")


def _meant(name: object, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _notebook(name: Any, folder: Path) -> Path:
    if not isinstance(name, str) or not name:
        raise SweepError("`notebook:` is missing; name one, for example 02_train")
    if (folder / name).is_file():
        return (folder / name).resolve()
    if "/" in name:
        raise SweepError(f"there is no notebook {name}, seen from the folder of this file")
    try:
        return find_notebook(name).resolve()
    except FileNotFoundError as error:
        raise SweepError(str(error)) from error


class _Checks:
    """Checks names, types and values against the parameters of one notebook."""

    def __init__(self, notebook: Path):
        from digit_utils.notebook.execute import NotebookError, inspect_parameters

        try:
            self.known = inspect_parameters(notebook)
        except NotebookError as error:
            raise SweepError(str(error)) from error
        self.notebook = notebook
        self.ours = notebook.parent in [folder.resolve() for folder in NOTEBOOK_FOLDERS]

    def defaults(self) -> dict[str, Any]:
        """Return the notebook's own values, as far as they are literals."""
        found = {}
        for name, parameter in self.known.items():
            with contextlib.suppress(ValueError, SyntaxError):
                found[name] = ast.literal_eval(parameter["default"])
        return found

    def is_whole(self, name: str, low: float, high: float) -> bool:
        """Tell whether a range means whole numbers: by the parameter's type, or else by its default and both ends."""
        wanted = self.known[name]["inferred_type_name"]
        if wanted != NO_TYPE:
            return wanted == "int"
        return type(self.defaults().get(name)) is int and low.is_integer() and high.is_integer()

    def name(self, name: Any, where: str) -> None:
        """Refuse a name that is no parameter of the notebook."""
        if name == OUTPUT_FOLDER:
            raise SweepError(f"{where} sets {name}, which a sweep gives each run; leave it out")
        if name not in self.known:
            raise SweepError(
                f"{where} has {name!r}, but {self.notebook.name} has no such parameter{_meant(name, self.known)}; "
                f"it has {', '.join(self.known)}"
            )

    def value(self, name: str, value: Any, where: str) -> Any:
        """Return a value as the notebook's type, or refuse it."""
        wanted = self.known[name]["inferred_type_name"]
        value = _as_type(value, wanted)
        if wanted in EXAMPLES and type(value).__name__ != wanted:
            hint = "; put it in quotes" if wanted == "str" else ""
            raise SweepError(
                f"{where}: {name} is {value!r} ({type(value).__name__}), but {self.notebook.name} takes {wanted}, "
                f"such as {EXAMPLES[wanted]}{hint}"
            )
        if self.ours and name in PATHS and value:
            value = _place(name, value, where)
        told = problem(name, value) if self.ours else None
        if told:
            raise SweepError(f"{where}: {told}")
        return value

    def settings(self, content: Any, where: str) -> dict[str, Any]:
        """Return checked values by name."""
        if not isinstance(content, dict):
            raise SweepError(f"{where} must give values by name, such as `seed: 0`")
        for name in content:
            self.name(name, where)
        return {name: self.value(name, value, where) for name, value in content.items()}


def _place(name: str, value: str, where: str) -> str:
    """Return a place as an absolute path, since a run has its own working directory."""
    try:
        return str(with_home(value).resolve())
    except FileNotFoundError as error:
        raise SweepError(f"{where}: {name} is {error}") from error


def _as_type(value: Any, wanted: str) -> Any:
    """Return a whole number as float where that is wanted, and 1e-3, which YAML takes for text, as the number meant."""
    if wanted == "float" and isinstance(value, (int, str)) and not isinstance(value, bool):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _varied(content: Mapping[str, Any], checks: _Checks) -> list[dict[str, Any]]:
    """Return what differs between settings: of a grid, a list, a random sample, or nothing."""
    ways = [way for way in ("grid", "list", "random") if way in content]
    if len(ways) > 1:
        raise SweepError(f"it has {' and '.join(ways)}; keep one")
    if not ways:
        return [{}]
    (way,) = ways
    return {"grid": _grid, "list": _list, "random": _random}[way](content[way], checks)


def _grid(content: Any, checks: _Checks) -> list[dict[str, Any]]:
    if not isinstance(content, dict) or not content:
        raise SweepError("grid must give a list of values by name, such as `augmentation: [mild, strong]`")
    choices = {name: _choices(name, values, "grid", checks) for name, values in content.items()}
    count = math.prod(map(len, choices.values()))
    if count > MOST_RUNS:
        raise SweepError(f"grid has {count:,} combinations; at most {MOST_RUNS:,} can be run, so use `random:`")
    return [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]


def _choices(name: str, values: Any, where: str, checks: _Checks) -> list[Any]:
    checks.name(name, where)
    if not isinstance(values, list) or not values:
        raise SweepError(f"{where}: {name} is {values!r}; it must be a list of values, such as [{values!r}]")
    return [checks.value(name, value, where) for value in values]


def _list(content: Any, checks: _Checks) -> list[dict[str, Any]]:
    if not isinstance(content, list) or not content:
        raise SweepError("list must hold settings, each beginning with a dash")
    return [checks.settings(setting, f"list, entry {place}") for place, setting in enumerate(content, start=1)]


def _random(content: Any, checks: _Checks) -> list[dict[str, Any]]:
    if not isinstance(content, dict):
        raise SweepError(f"random must have the keys {', '.join(RANDOM_KEYS)}")
    _check_keys(content, RANDOM_KEYS, "random")
    runs, seed = (_count(content.get(key, default), f"random: {key}") for key, default in (("runs", 0), ("seed", 0)))
    if not 0 < runs <= MOST_RUNS:
        raise SweepError(f"random: runs is {runs}; it must be a whole number from 1 to {MOST_RUNS:,}")
    sources = content.get("parameters")
    if not isinstance(sources, dict) or not sources:
        raise SweepError("random: parameters must give choices or ranges by name")
    generator = np.random.default_rng(seed)
    draws = {name: _draw(name, source, runs, generator, checks) for name, source in sources.items()}
    return [dict(zip(draws, values, strict=True)) for values in zip(*draws.values(), strict=True)]


def _count(value: Any, what: str) -> int:
    if type(value) is not int or value < 0:
        raise SweepError(f"{what} is {value!r}; it must be a whole number from 0")
    return value


def _draw(name: str, source: Any, runs: int, generator: np.random.Generator, checks: _Checks) -> list[Any]:
    """Return values of one parameter, each from a list or a range."""
    where = "random: parameters"
    if not isinstance(source, dict):
        choices = _choices(name, source, where, checks)
        return [choices[place] for place in generator.integers(len(choices), size=runs)]
    checks.name(name, where)
    _check_keys(source, RANGE_KEYS, f"{where}: {name}")
    low, high, scale = _range(source, f"{where}: {name}")
    if checks.is_whole(name, low, high):
        values = _whole_numbers(low, high, scale, runs, generator, where=f"{where}: {name}")
    else:
        values = [float(f"{value:.6g}") for value in _numbers(low, high, scale, runs, generator)]
    return [checks.value(name, value, where) for value in values]


def _range(source: Mapping[str, Any], where: str) -> tuple[float, float, str]:
    """Return both ends of a range and its scale."""
    low, high = (_as_type(source.get(key), "float") for key in ("from", "to"))
    if not isinstance(low, float) or not isinstance(high, float) or not -math.inf < low < high < math.inf:
        raise SweepError(f"{where} must have numbers as `from` and `to`, the first lower; it has {source!r}")
    scale = source.get("scale", "linear")
    if scale not in ("linear", "log") or (scale == "log" and low <= 0):
        raise SweepError(f"{where} has the scale {scale!r}; choose linear, or log with `from` above 0")
    return low, high, scale


def _numbers(low: float, high: float, scale: str, runs: int, generator: np.random.Generator) -> list[float]:
    if scale == "log":
        return np.exp(generator.uniform(math.log(low), math.log(high), runs)).tolist()
    return generator.uniform(low, high, runs).tolist()


def _whole_numbers(
    low: float, high: float, scale: str, runs: int, generator: np.random.Generator, *, where: str
) -> list[int]:
    """Return whole numbers of a range, both ends included.

    Each stands for all that is rounded to it, which for the ends lies half outside the range: so it is drawn from half
    a step more on either side, lest the ends come half as often as the others.
    """
    first, last = math.ceil(low), math.floor(high)
    if first > last:
        raise SweepError(f"{where} must be a whole number, and none lies from {low:g} to {high:g}; widen that")
    drawn = _numbers(first - 0.5, last + 0.5, scale, runs, generator)
    return [min(max(round(value), first), last) for value in drawn]


def _seeds(content: Mapping[str, Any], checks: _Checks) -> list[dict[str, int]]:
    """Return the seeds to repeat every setting with; the first seed of all settings comes first."""
    if "seeds" not in content:
        return [{}]
    checks.name(SEED, "seeds")
    seeds = content["seeds"]
    if type(seeds) is int and 0 < seeds <= MOST_RUNS:
        seeds = list(range(seeds))
    if not isinstance(seeds, list) or not seeds:
        raise SweepError(f"seeds is {seeds!r}; it must be how many, or a list of them such as [0, 1, 2]")
    return [{SEED: checks.value(SEED, seed, "seeds")} for seed in seeds]


def _objective(content: Mapping[str, Any]) -> Objective | None:
    if "lowest" in content and "highest" in content:
        raise SweepError("it has lowest and highest; keep one")
    key = next((key for key in ("lowest", "highest") if key in content), None)
    if key is None:
        return None
    metric = content[key]
    if not isinstance(metric, str) or not metric:
        raise SweepError(f"{key} is {metric!r}; name a figure of metrics.json, such as validation.mnist_errors")
    if metric.split(".")[0] == "test":
        raise SweepError(f"{key} is {metric}, but test digits choose nothing; name a figure of validation digits")
    return Objective(metric, lower_is_better=key == "lowest")
