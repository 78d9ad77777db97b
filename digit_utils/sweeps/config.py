"""Sweeps: a YAML file lists the parameters of many runs of one notebook.

    notebook: 02_train                       # a notebook of the project, or the path of your own
    parameters: {preset: quick, epochs: 4}   # the same in every run
    grid:                                    # every combination; or `list:` of settings, or `random:` (below)
      augmentation: [none, mild, strong]
      learning_rate: [0.001, 0.002, 0.004]
    seeds: 5                                 # run each setting with seeds 0 to 4; or a list of seeds
    lowest: validation.mnist_errors          # the metric that is lowest (or `highest:`) in the best run
    time_limit: 3600                         # seconds after which a run is stopped and recorded as failed

Instead of a grid, a random sample; the same seed draws the same runs:

    random:
      runs: 20
      seed: 1
      parameters:
        learning_rate: {from: 0.0005, to: 0.01, scale: log}
        batch_size: {from: 32, to: 256}
        augmentation: [mild, strong]
        seed: {randint: [0, 1000]}       # a distribution of scipy.stats, with its arguments in order

A range gives whole numbers, both ends included, if the notebook declares the parameter as `int`, or declares no type
but has a whole number there and both ends are whole. A distribution is any of `scipy.stats`, such as
`{loguniform: [0.0001, 0.01]}`, `{truncnorm: [-2, 2, 0.25, 0.1]}` or `{poisson: [3]}`: its parameters, then optionally
`loc` and `scale`. Drawn values are not rounded, so a parameter of type `int` takes only discrete distributions.

A finished run is repeated only if its notebook, the code or libraries that it imports, its parameters or its data have
changed. In the notebooks of the project, data are the datasets that they read, and the files that `model` and
`drawings` name: their content counts, not their path. In your own notebooks, data are the files that parameters name by
an absolute path ("/home/me/words.txt"), and the `model.tflite` in a folder that `model` names: both path and content
count. Other files in a folder are ignored; if they change, rename the folder or add a parameter with a version number.

A notebook should write to relative paths: each run has its own working directory, which is also the value of
`output_folder`. An output that a parameter names by its absolute path would be treated as data.

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
from digit_utils.notebook.execute import NOTEBOOK_FOLDERS, NotebookError, find_notebook, inspect_parameters
from digit_utils.notebook.parameters import PATHS, problem
from digit_utils.notebook.results import flat_metrics, metrics_within

KEYS = ("name", "notebook", "parameters", "grid", "list", "random", "seeds", "lowest", "highest", "time_limit")
RANDOM_KEYS, RANGE_KEYS = ("runs", "seed", "parameters"), ("from", "to", "scale")
SEED, OUTPUT_FOLDER, DATASET = "seed", "output_folder", "dataset"
DATA = "data"  # the parameter that names digits of one's own, a file or a folder, in place of the dataset
MOST_RUNS = 100_000
NO_TYPE = "None"  # how papermill says that a parameter has no annotation
EXAMPLES = {"int": "3", "float": "0.5", "bool": "true", "str": "text", "list": "[1, 2]", "dict": "{a: 1}"}


class SweepError(RuntimeError):
    """A sweep cannot be done as asked; the message names the file, the value and the remedy."""


@dataclass(frozen=True)
class Objective:
    """The metric by which runs are compared."""

    metric: str  # path of a number in metrics.json, such as "validation.mnist_errors"
    lower_is_better: bool

    def better(self, value: float, than: float) -> bool:
        """Tell whether one value is better than another."""
        return value < than if self.lower_is_better else value > than


@dataclass(frozen=True)
class Sweep:
    """What a YAML file asks for."""

    name: str
    notebook: Path
    runs: tuple[dict[str, Any], ...]  # the parameters of each run, none twice
    defaults: dict[str, Any]  # of the notebook's parameters
    objective: Objective | None
    ours: bool  # whether the notebook is one of the project's, whose parameters mean what the rules say
    time_limit: float | None = None  # seconds that a run may take


def varied_names(sweep: Sweep) -> list[str]:
    """Return the names of the parameters that differ between the runs of a sweep, the seed last."""
    names = dict.fromkeys(name for run in sweep.runs for name in run)
    used = [sweep.defaults | run for run in sweep.runs]
    found = [name for name in names if len({repr(run.get(name)) for run in used}) > 1]
    return sorted(found, key=lambda name: name == SEED)


def read_sweep(path: str | Path) -> Sweep:
    """Read a YAML file and check all of it against the notebook's parameters.

    Raises SweepError, which names the file, what is wrong in it, and the remedy.
    """
    path = Path(path)
    try:
        return _sweep_of(_load(path), default_name=path.stem, folder=path.parent)
    except SweepError as error:
        raise SweepError(f"{path}: {error}") from error


def _load(path: Path) -> dict[str, Any]:
    try:
        import yaml
    except ImportError as error:
        raise SweepError('PyYAML is not installed: run `pip install "digit-utils[train]"`') from error
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_loader())
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SweepError(f"it cannot be read ({reason}); give a YAML file") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the last two: there is no character "\UFFFFFFFF"
        raise SweepError(f"it is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise SweepError("it must hold keys such as `notebook:` and `grid:`")
    return content


def _loader() -> type:
    """Return a safe loader that names the line of what cannot be read, such as the date 2024-13-45.

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
                    "put it in quotes if it is text"
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
    checks = _Checks(_notebook(content.get("notebook"), folder))
    fixed = checks.setting(content.get("parameters", {}), "parameters")
    varied, seeds = _varied(content, checks), _seeds(content, checks)
    names = [name for part in ([fixed], varied, seeds) for name in dict.fromkeys(itertools.chain(*part))]
    for name in names:
        if names.count(name) > 1:
            raise SweepError(f"{name} is set in two places; keep one")
    if len(varied) * len(seeds) > MOST_RUNS:
        raise SweepError(
            f"it asks for {len(varied):,} settings with {len(seeds):,} seeds each; {MOST_RUNS:,} runs at most"
        )
    runs = [fixed | setting | seed for seed in seeds for setting in varied]
    unique: dict[str, dict[str, Any]] = {}
    for run in runs:
        unique.setdefault(repr(sorted((checks.defaults | run).items())), run)
    name = content.get("name", default_name)
    if not isinstance(name, str) or not name or "/" in name or name.startswith("."):
        raise SweepError(f"name is {name!r}; it must be a word that can be a file's name")
    limit = content.get("time_limit")
    if limit is not None and (type(limit) not in (int, float) or not 0 < limit < math.inf):
        raise SweepError(f"time_limit is {limit!r}; it must be a number of seconds above 0")
    objective = _objective(content)
    if objective is not None:
        _check_metric(objective.metric, unique.values(), checks)
    return Sweep(name, checks.notebook, tuple(unique.values()), checks.defaults, objective, checks.ours, limit)


def _check_keys(content: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    for key in content:
        if key not in known:
            raise SweepError(f"{where} has the unknown key {key!r}; known are {', '.join(known)}{hint(key, known)}")


def hint(name: object, known: Iterable[str]) -> str:
    """Return a question for a name that was perhaps meant, in brackets, or ""."""
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _notebook(name: Any, folder: Path) -> Path:
    if not isinstance(name, str) or not name:
        raise SweepError("`notebook:` is missing; name one, for example 02_train")
    if (folder / name).is_file():
        return (folder / name).resolve()
    if "/" in name:
        raise SweepError(f"there is no notebook {name} relative to the folder of this file")
    try:
        return find_notebook(name).resolve()
    except FileNotFoundError as error:
        raise SweepError(str(error)) from error


class _Checks:
    """Checks names, types and values against the parameters of one notebook."""

    def __init__(self, notebook: Path):
        self.notebook = notebook
        self.ours = notebook.parent in [folder.resolve() for folder in NOTEBOOK_FOLDERS]
        self.defaults: dict[str, Any] = {}  # as far as they are literals
        try:
            found = inspect_parameters(notebook)
        except NotebookError as error:
            raise SweepError(str(error)) from error
        self._types = {name: parameter["inferred_type_name"] for name, parameter in found.items()}
        for name, parameter in found.items():
            with contextlib.suppress(ValueError, SyntaxError):
                self.defaults[name] = ast.literal_eval(parameter["default"])

    def is_whole(self, name: str, low: float, high: float) -> bool:
        """Tell whether a range means whole numbers: by the parameter's type, or else by its default and both ends."""
        if self._types[name] != NO_TYPE:
            return self._types[name] == "int"
        return type(self.defaults.get(name)) is int and low.is_integer() and high.is_integer()

    def name(self, name: Any, where: str) -> None:
        """Refuse a name that is not a parameter of the notebook."""
        if name == OUTPUT_FOLDER:
            raise SweepError(f"{where} sets {name}, which a sweep gives each run; leave it out")
        if name not in self._types:
            raise SweepError(
                f"{where} has {name!r}, but {self.notebook.name} has no such parameter{hint(name, self._types)}; "
                f"it has {', '.join(self._types)}"
            )

    def value(self, name: str, value: Any, where: str) -> Any:
        """Return a value as the notebook's type, or refuse it."""
        expected = self._types[name]
        if expected == "float":
            value = _as_float(value)
        if expected in EXAMPLES and type(value).__name__ != expected:
            remedy = "; put it in quotes" if expected == "str" else ""
            raise SweepError(
                f"{where}: {name} is {value!r} ({type(value).__name__}), but {self.notebook.name} takes {expected}, "
                f"such as {EXAMPLES[expected]}{remedy}"
            )
        if not self.ours:
            return value
        if name in PATHS and value:  # absolute, since a run has its own working directory
            try:
                value = str(with_home(value).resolve())
            except FileNotFoundError as error:
                raise SweepError(f"{where}: {name} is {error}") from error
        if found := problem(name, value):
            raise SweepError(f"{where}: {found}")
        return value

    def choices(self, name: str, values: Any, where: str) -> list[Any]:
        """Return checked values of one parameter."""
        self.name(name, where)
        if not isinstance(values, list) or not values:
            raise SweepError(f"{where}: {name} is {values!r}; it must be a list of values, such as [{values!r}]")
        return [self.value(name, value, where) for value in values]

    def setting(self, content: Any, where: str) -> dict[str, Any]:
        """Return checked values by name."""
        if not isinstance(content, dict):
            raise SweepError(f"{where} must give values by name, such as `seed: 0`")
        for name in content:
            self.name(name, where)
        return {name: self.value(name, value, where) for name, value in content.items()}


def _as_float(value: Any) -> Any:
    """Return a number as float, also 1e-3, which YAML takes for text; anything else as it is."""
    if isinstance(value, (int, str)) and not isinstance(value, bool):
        with contextlib.suppress(ValueError):
            return float(value)
    return value


def _varied(content: Mapping[str, Any], checks: _Checks) -> list[dict[str, Any]]:
    """Return what differs between settings: of a grid, a list, a random sample, or nothing."""
    ways = [way for way in ("grid", "list", "random") if way in content]
    if len(ways) > 1:
        raise SweepError(f"it has {' and '.join(ways)}; keep one")
    if not ways:
        return [{}]
    return {"grid": _grid, "list": _list, "random": _random}[ways[0]](content[ways[0]], checks)


def _grid(content: Any, checks: _Checks) -> list[dict[str, Any]]:
    if not isinstance(content, dict) or not content:
        raise SweepError("grid must give a list of values by name, such as `augmentation: [mild, strong]`")
    choices = {name: checks.choices(name, values, "grid") for name, values in content.items()}
    count = math.prod(map(len, choices.values()))
    if count > MOST_RUNS:
        raise SweepError(f"grid has {count:,} combinations; at most {MOST_RUNS:,} can be run, so use `random:`")
    return [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]


def _list(content: Any, checks: _Checks) -> list[dict[str, Any]]:
    if not isinstance(content, list) or not content:
        raise SweepError("list must hold settings, each beginning with a dash")
    return [checks.setting(setting, f"list, entry {place}") for place, setting in enumerate(content, start=1)]


def _random(content: Any, checks: _Checks) -> list[dict[str, Any]]:
    if not isinstance(content, dict):
        raise SweepError(f"random must have the keys {', '.join(RANDOM_KEYS)}")
    _check_keys(content, RANDOM_KEYS, "random")
    runs, seed, sources = content.get("runs"), content.get("seed", 0), content.get("parameters")
    if type(runs) is not int or not 0 < runs <= MOST_RUNS:
        raise SweepError(f"random: runs is {runs}; it must be a whole number from 1 to {MOST_RUNS:,}")
    if type(seed) is not int or seed < 0:
        raise SweepError(f"random: seed is {seed!r}; it must be a whole number from 0")
    if not isinstance(sources, dict) or not sources:
        raise SweepError("random: parameters must give choices or ranges by name")
    generator = np.random.default_rng(seed)
    draws = {name: _draw(name, source, runs, generator, checks) for name, source in sources.items()}
    return [dict(zip(draws, values, strict=True)) for values in zip(*draws.values(), strict=True)]


def _draw(name: str, source: Any, runs: int, generator: np.random.Generator, checks: _Checks) -> list[Any]:
    """Return random values of one parameter, from a list or a range.

    A whole number stands for all that is rounded to it. For the ends half of that lies outside the range, so it is
    drawn from half a step more on either side, lest the ends come half as often as the others.
    """
    where = "random: parameters"
    if not isinstance(source, dict):
        choices = checks.choices(name, source, where)
        return [choices[place] for place in generator.integers(len(choices), size=runs)]
    checks.name(name, where)
    if len(source) == 1 and not set(source) & set(RANGE_KEYS):
        drawn = _drawn_from_scipy(*next(iter(source.items())), runs, generator, f"{where}: {name}")
        return [checks.value(name, value, where) for value in drawn]
    low, high, log = _range(source, f"{where}: {name}")
    whole = checks.is_whole(name, low, high)
    if whole:
        first, last = math.ceil(low), math.floor(high)
        if first > last:
            raise SweepError(f"{where}: {name} must be a whole number, and none lies from {low:g} to {high:g}")
        low, high = first - 0.5, last + 0.5
    values = (
        np.exp(generator.uniform(math.log(low), math.log(high), runs)) if log else generator.uniform(low, high, runs)
    )
    if whole:
        return [checks.value(name, min(max(round(value), first), last), where) for value in values.tolist()]
    return [checks.value(name, float(f"{value:.6g}"), where) for value in values.tolist()]


def _drawn_from_scipy(
    distribution: Any, arguments: Any, runs: int, generator: np.random.Generator, where: str
) -> list[float] | list[int]:
    """Return random values of a distribution of scipy.stats; floats with six digits, as of a range."""
    from scipy import stats

    kinds = (stats.rv_continuous, stats.rv_discrete)
    known = [name for name in dir(stats) if isinstance(getattr(stats, name), kinds)]
    if distribution not in known:
        raise SweepError(
            f"{where} has {distribution!r}; give a list, a range such as {{from: 1, to: 9}}, or a distribution of "
            f"scipy.stats such as {{loguniform: [0.0001, 0.01]}}{hint(distribution, known)}"
        )
    values = [_as_float(value) for value in arguments] if isinstance(arguments, list) else [None]
    if not all(isinstance(value, float) and math.isfinite(value) for value in values):
        raise SweepError(f"{where}: {distribution} is {arguments!r}; it must be a list of numbers, such as [1, 2]")
    try:
        drawn = getattr(stats, distribution)(*values).rvs(runs, random_state=generator)
    except (TypeError, ValueError) as error:
        raise SweepError(f"{where}: scipy cannot draw from {distribution} with {arguments!r} ({error})") from error
    if not np.isfinite(drawn).all():
        raise SweepError(f"{where}: {distribution} with {arguments!r} gave a value that is not finite")
    return [float(f"{value:.6g}") if isinstance(value, float) else value for value in drawn.tolist()]


def _range(source: Mapping[str, Any], where: str) -> tuple[float, float, bool]:
    """Return both ends of a range, and whether its scale is logarithmic."""
    _check_keys(source, RANGE_KEYS, where)
    low, high = (_as_float(source.get(key)) for key in ("from", "to"))
    if not isinstance(low, float) or not isinstance(high, float) or not -math.inf < low < high < math.inf:
        raise SweepError(f"{where} must have numbers as `from` and `to`, the first lower; it has {source!r}")
    scale = source.get("scale", "linear")
    if scale not in ("linear", "log") or (scale == "log" and low <= 0):
        raise SweepError(f"{where} has the scale {scale!r}; choose linear, or log with `from` above 0")
    return low, high, scale == "log"


def _seeds(content: Mapping[str, Any], checks: _Checks) -> list[dict[str, int]]:
    """Return the seeds to repeat every setting with; the first seed of all settings comes first."""
    if "seeds" not in content:
        return [{}]
    checks.name(SEED, "seeds")
    seeds = content["seeds"]
    if type(seeds) is int and 0 < seeds <= MOST_RUNS:
        seeds = list(range(seeds))
    if not isinstance(seeds, list) or not seeds:
        raise SweepError(f"seeds is {seeds!r}; it must be their number, or a list such as [0, 1, 2]")
    return [{SEED: checks.value(SEED, seed, "seeds")} for seed in seeds]


def _objective(content: Mapping[str, Any]) -> Objective | None:
    found = [key for key in ("lowest", "highest") if key in content]
    if not found:
        return None
    if len(found) > 1:
        raise SweepError("it has lowest and highest; keep one")
    metric = content[found[0]]
    if not isinstance(metric, str) or not metric:
        raise SweepError(f"{found[0]} is {metric!r}; name a metric of metrics.json, such as validation.mnist_errors")
    if metric.split(".")[0] == "test":
        raise SweepError(
            f"{found[0]} is {metric}, but no choice may depend on test digits; name a metric of validation digits"
        )
    return Objective(metric, lower_is_better=found == ["lowest"])


def _check_metric(metric: str, runs: Iterable[Mapping[str, Any]], checks: _Checks) -> None:
    """Refuse a metric that the notebook does not record, as far as the outputs that it was saved with tell."""
    recorded = metrics_within(checks.notebook)
    own = str(recorded.get(DATASET))
    used = [checks.defaults | run for run in runs]
    if any(values.get(DATA) for values in used):  # whose names are known once they are loaded
        return
    datasets = {str(values.get(DATASET)) for values in used}
    known = {name.replace(own, dataset): None for name in flat_metrics(recorded) for dataset in datasets}
    if known and metric not in known:
        raise SweepError(
            f"{checks.notebook.name} records no metric {metric!r}; it records {', '.join(known)}{hint(metric, known)}"
        )
