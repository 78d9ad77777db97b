"""What a sweep found: settings with their intervals over seeds, which parameter matters, and one page of it all."""

from __future__ import annotations

import csv
import math
import os
import re
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from digit_utils.files import atomic_write, with_home
from digit_utils.notebook.scratch import scratch_folder
from digit_utils.sweeps.config import SEED, Objective, SweepError, hint
from digit_utils.sweeps.store import FAILED, FINISHED, RunStore

NOTEBOOK = Path(__file__).with_name("report.ipynb")
PAGE = Path(__file__).with_name("report.html.j2")
CURVES = "learning_curves.csv"  # as training writes it into a run's folder
GROUPS = 4  # that the values of a number are put into, if it has more
MOST_RENDERED = 12  # notebooks of one table that are made into pages
SHUFFLES = 400  # to estimate what chance gives
LOWEST_ERROR = 0.005  # per cent: an error rate of 0 has no place on a logarithmic axis


@dataclass(frozen=True)
class SweepResults:
    """The runs of one sweep, and the metric by which they are compared."""

    folder: Path
    name: str
    rows: list[dict[str, Any]]  # see `RunStore.rows`
    objective: Objective | None

    @property
    def metric(self) -> str:
        """Return the name of the objective's column, or ""."""
        return f"metric.{self.objective.metric}" if self.objective else ""

    @property
    def sign(self) -> int:
        """Return the factor that makes a lower value the better one."""
        return 1 if self.objective is None or self.objective.lower_is_better else -1

    @property
    def unit(self) -> tuple[float, str]:
        """Return the factor that makes the metric what is shown, and its unit: error rates are shown in per cent."""
        rates = self.metric.endswith("errors") and all(0 <= row[self.metric] <= 1 for row in self.measured)
        return (100.0, " %") if rates else (1.0, "")

    @property
    def measured(self) -> list[dict[str, Any]]:
        """Return the rows that have the metric, the best first; not those of other code."""
        rows = [row for row in self.rows if math.isfinite(row.get(self.metric, math.nan)) and "outdated" not in row]
        return sorted(rows, key=lambda row: self.sign * row[self.metric])

    @property
    def varied(self) -> list[str]:
        """Return the columns of the parameters that have more than one value, the seed last."""
        names = dict.fromkeys(name for row in self.rows for name in row if name.startswith("parameter."))
        found = [name for name in names if len({repr(row.get(name)) for row in self.rows}) > 1]
        return sorted(found, key=lambda name: name == f"parameter.{SEED}")


@dataclass(frozen=True)
class Setting:
    """One combination of parameters with all its seeds."""

    parameters: dict[str, Any]
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Return the mean over seeds."""
        return float(np.mean(self.values))

    @property
    def label(self) -> str:
        """Return the parameters in words, such as "augmentation mild, learning_rate 0.01"."""
        return ", ".join(f"{name} {short(value)}" for name, value in self.parameters.items()) or "the one setting"

    @property
    def half_width(self) -> float:
        """Return half of the 95 % confidence interval of the mean (Student, 1908); NaN with one seed."""
        from scipy.stats import sem, t

        count = len(self.values)
        return float(t.ppf(0.975, count - 1) * sem(self.values)) if count > 1 else math.nan


@dataclass(frozen=True)
class Importance:
    """How much of the variance between runs is between the values of one parameter."""

    parameter: str
    share: float  # from 0 to 1, eta squared
    by_chance: float  # the share that 95 of 100 shuffled tables stay below


def read_results(folder: str | Path, *, metric: str = "") -> list[SweepResults]:
    """Return the sweeps in a folder; `metric` names one to compare runs by instead of the sweep's own.

    Raises SweepError if the folder holds no sweep, or no run recorded the metric.
    """
    store = RunStore(folder)
    plans, rows = store.plans(), {row["run"]: row for row in store.rows()}
    results = []
    for name, plan in plans.items():
        own = [rows[planned["id"]] for planned in [*plan["runs"], *plan.get("outdated", ())]]
        results.append(SweepResults(store.root, name, own, _objective(plan, own, metric)))
    return results


def _objective(plan: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], asked: str) -> Objective | None:
    columns = dict.fromkeys(name for row in rows for name in row if name.startswith("metric."))
    names = [name.removeprefix("metric.") for name in columns]
    if asked and asked not in names:
        raise SweepError(
            f"no run recorded {asked!r}; they recorded {', '.join(names) or 'nothing yet'}{hint(asked, names)}"
        )
    planned = Objective(**plan["objective"]) if plan["objective"] else None
    if asked:
        return Objective(asked, planned.lower_is_better if planned else True)
    errors = [name for name in names if name.startswith("validation.") and name.endswith("errors")]
    return planned or (Objective(errors[0], lower_is_better=True) if errors else None)


def settings_of(results: SweepResults) -> list[Setting]:
    """Return the settings, the best first, each with the metric of its seeds."""
    names = [name for name in results.varied if name != f"parameter.{SEED}"]
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in results.measured:
        groups[repr([row.get(name) for name in names])].append(row)
    settings = [
        Setting(
            {name.removeprefix("parameter."): rows[0].get(name) for name in names},
            tuple(row[results.metric] for row in rows),
        )
        for rows in groups.values()
    ]
    return sorted(settings, key=lambda setting: results.sign * setting.mean)


def verdict(results: SweepResults) -> str:
    """Return in one sentence which setting is best, and whether it is better than the next by more than chance.

    By Welch's t-test (1947) at 5 %, divided by the number of settings that the best was chosen over (Bonferroni).
    """
    from scipy.stats import ttest_ind

    settings = settings_of(results)
    if not settings:
        return "No run has recorded a metric to compare by."
    (best, *others), (factor, unit) = settings, results.unit
    width = f" ± {factor * best.half_width:.2g}" if len(best.values) > 1 else ""
    sentence = f"**{best.label}** is best: {factor * best.mean:.3g}{width}{unit}"
    if not others:
        return f"{sentence}."
    sentence += f" against {factor * others[0].mean:.3g}{unit} ({others[0].label})"
    if min(len(best.values), len(others[0].values)) < 2:
        return f"{sentence}; one seed cannot show whether the difference is chance."
    p = ttest_ind(best.values, others[0].values, equal_var=False).pvalue
    beyond = p < 0.05 / len(others)
    return f"{sentence}; the difference {'is beyond' if beyond else 'may be'} chance (p = {p:.2g})."


def grid_of_means(results: SweepResults) -> tuple[list[str], list[list[Any]], np.ndarray] | None:
    """Return the names and values of two parameters, and the mean metric at each pair; None if not just two vary."""
    settings = settings_of(results)
    names = list(settings[0].parameters) if settings else []
    if len(names) != 2:
        return None
    values = [list({repr(one.parameters[name]): one.parameters[name] for one in settings}.values()) for name in names]
    for column in values:
        if all(type(value) in (int, float) for value in column):
            column.sort()
    if min(map(len, values)) < 2 or len(settings) < 0.5 * len(values[0]) * len(values[1]):  # a random sample
        return None
    means = np.full([len(column) for column in values], np.nan)
    for setting in settings:
        place = tuple(column.index(setting.parameters[name]) for name, column in zip(names, values, strict=True))
        means[place] = setting.mean
    return names, values, means


def importances(results: SweepResults, rng: np.random.Generator) -> list[Importance]:
    """Return the share of the variance between runs that each parameter accounts for alone, the largest first.

    It is eta squared: the variance between the means of the groups that a parameter makes, divided by that of all
    runs. Interactions of parameters are in no share. Numbers with many values are put into groups of equal size.
    """
    rows = results.measured
    values = np.array([row[results.metric] for row in rows])
    if len(rows) < 3 or not values.std():
        return []
    found = []
    for name in results.varied:
        groups = _groups([row.get(name) for row in rows])
        if 1 < groups.max() + 1 < len(rows):
            shuffled = [_share(rng.permutation(values), groups) for _ in range(SHUFFLES)]
            by_chance = float(np.quantile(shuffled, 0.95))
            found.append(Importance(name.removeprefix("parameter."), _share(values, groups), by_chance))
    return sorted(found, key=lambda importance: -importance.share)


def _groups(values: Sequence[Any]) -> np.ndarray:
    """Return the number of the group of each value, (n,) from 0."""
    if all(type(value) in (int, float) for value in values) and len(set(values)) > GROUPS:
        edges = np.quantile(values, np.linspace(0, 1, GROUPS + 1)[1:-1])
        return np.unique(np.searchsorted(edges, values, side="right"), return_inverse=True)[1]
    return np.unique([repr(value) for value in values], return_inverse=True)[1]


def _share(values: np.ndarray, groups: np.ndarray) -> float:
    means = np.bincount(groups, values) / np.bincount(groups)
    return float(np.mean((means[groups] - values.mean()) ** 2) / values.var())


def learning_curve(results: SweepResults, row: Mapping[str, Any]) -> tuple[list[int], list[float]] | None:
    """Return the epochs of a run and its validation errors in per cent; None if it recorded none."""
    records = _epochs(results, row)
    names = [name for name in (records[0] if records else ()) if name.endswith("_errors")]
    if not names:
        return None
    wanted = results.metric.rpartition(".")[2]
    name = wanted if wanted in names else names[0]
    rates = [max(100 * float(record[name]), LOWEST_ERROR) for record in records]
    return [int(record["epoch"]) for record in records], rates


def _epochs(results: SweepResults, row: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return what a run recorded after each epoch, by column; nothing if it has no learning curves."""
    try:
        with (results.folder / row["run"] / CURVES).open(newline="", encoding="utf-8") as stream:
            return list(csv.DictReader(stream))
    except FileNotFoundError:
        return []


def write_tensorboard(results: SweepResults, folder: Path) -> int:
    """Write the learning curves of a sweep for TensorBoard, a folder for each run, and return how many have any.

    The folder of a run is named by its parameters and its identity. With the curves go the parameters and the metric,
    which TensorBoard shows in its tab HPARAMS. Files of an earlier call are replaced.

    Raises SweepError if tensorboardX is not installed.
    """
    try:
        from tensorboardX import SummaryWriter
        from tensorboardX.summary import hparams
    except ImportError as error:
        raise SweepError(f'{error.name} is missing; install it with `pip install -e ".[tensorboard]"`') from error
    written = 0
    for row in results.rows:
        records = _epochs(results, row)
        if not records or "outdated" in row:
            continue
        parameters = {name.removeprefix("parameter."): row.get(name) for name in results.varied}
        label = re.sub(r"[^\w ,.+-]", "_", Setting(parameters, ()).label)[:200]
        run = folder / results.name / f"{label} {row['run']}"
        for old in run.glob("events.out.tfevents.*"):
            old.unlink()
        metric = {results.metric: row[results.metric]} if results.metric in row else {}
        with SummaryWriter(str(run)) as writer:
            for summary in hparams(parameters, metric):
                writer.file_writer.add_summary(summary)
            for name, value in metric.items():
                writer.add_scalar(name, value, int(records[-1]["epoch"]))
            for record in records:
                for name, value in record.items():
                    if name != "epoch" and value:  # a set that only some epochs were validated on has gaps
                        writer.add_scalar(name, float(value), int(record["epoch"]))
        written += 1
    return written


# ----------------------------------------------------------------------------------------------------- tables


def settings_table(results: SweepResults) -> str:
    """Return the settings as an HTML table, the best first."""
    rows, (factor, unit) = [], results.unit
    for setting in settings_of(results):
        width = "one seed" if math.isnan(setting.half_width) else f"± {factor * setting.half_width:.3g}{unit}"
        mean = f"{factor * setting.mean:.5g}{unit}"
        rows.append([*setting.parameters.values(), mean, width, len(setting.values)])
    names = [name.removeprefix("parameter.") for name in results.varied if name != f"parameter.{SEED}"]
    return html_table([*names, "mean", "95 % interval", "runs"], rows)


def runs_table(results: SweepResults, rows: Sequence[Mapping[str, Any]], *extra: str) -> str:
    """Return runs as an HTML table, each with a link to its folder and notebook; `extra` names further columns.

    Links are relative to the working directory, which is that of the page, or of the notebook that shows the table.
    """
    from markupsafe import Markup

    names = [*results.varied, *([results.metric] if results.metric else []), "seconds", *extra]
    factor, unit = results.unit
    link, table = Markup('<a href="{}">{}</a>'), []
    for row in rows:
        folder = results.folder / row["run"]
        links = [link.format(_address(folder) + "/", row["run"])]
        if (folder / row["notebook"]).exists():
            page = _rendered(folder / row["notebook"], make=len(rows) <= MOST_RENDERED)
            links.append(link.format(_address(page), "notebook"))
        status = f"{row['status']}, of other {row['outdated']}" if "outdated" in row else row["status"]
        shown = {**row, results.metric: factor * row[results.metric]} if results.metric in row else row
        table.append([Markup(", ").join(links), status, *[shown.get(name, "") for name in names]])
    heads = [
        name.split(".", 1)[-1] + (f" ({unit.strip()})" if unit and name == results.metric else "") for name in names
    ]
    return html_table(["run", "status", *heads], table)


def _rendered(notebook: Path, *, make: bool) -> Path:
    """Return a run's notebook as a page, which is made if need be; the notebook itself if there is none."""
    page = notebook.with_suffix(".html")
    if page.exists() and page.stat().st_mtime >= notebook.stat().st_mtime:
        return page
    if not make:
        return notebook
    try:
        body = _body_of(notebook, with_code=True)
    except Exception:  # whatever nbconvert raises for what is no notebook
        return notebook
    with atomic_write(page) as temporary:
        temporary.write_text(_template("page")(notebook.stem, [body]), encoding="utf-8")
    return page


def _address(path: Path) -> str:
    """Return the address of a file as seen from the working directory."""
    try:
        return quote(Path(os.path.relpath(path)).as_posix())
    except ValueError:  # on Windows it may be on another drive
        return path.resolve().as_uri()


def importances_table(found: Sequence[Importance]) -> str:
    """Return the share of each parameter, and what chance would give, as an HTML table."""
    rows = [[one.parameter, f"{100 * one.share:.0f} %", f"{100 * one.by_chance:.0f} %"] for one in found]
    return html_table(["parameter", "share of the variance", "by chance (95th percentile)"], rows)


def html_table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return an HTML table; whatever is not `Markup` is escaped, and columns with text are aligned to the left."""
    texts = [any(isinstance(row[place], str) and row[place] for row in rows) for place in range(len(heads))]
    return str(_template("table")(heads, [[short(value) for value in row] for row in rows], texts))


def _template(macro: str) -> Any:
    """Return a macro of the page's template, which escapes what it is given (Jinja comes with nbconvert)."""
    import jinja2

    template = jinja2.Environment(autoescape=True).from_string(PAGE.read_text(encoding="utf-8"))
    return getattr(template.module, macro)


def short(value: Any) -> Any:
    """Return a float with five digits, and anything else as it is."""
    return f"{value:.5g}" if isinstance(value, float) else value


def summary(results: SweepResults) -> str:
    """Return in one sentence how much of the sweep is done."""
    count = len(results.rows)
    finished = sum(row["status"] == FINISHED for row in results.rows)
    failed = sum(row["status"] == FAILED for row in results.rows)
    together = timedelta(seconds=round(sum(row.get("seconds", 0) for row in results.rows)))
    return (
        f"{finished} of {count} runs finished, {failed} failed, {count - finished - failed} remaining; "
        f"together they took {together} (hours, minutes, seconds)."
    )


# ------------------------------------------------------------------------------------------------------- page


def write_report(folder: str | Path, output: str | Path | None = None, *, metric: str = "") -> Path:
    """Write one HTML page of all sweeps in a folder, which fetches nothing from elsewhere, and return its path.

    The page is the notebook `report.ipynb` of this package, run for each sweep in the page's folder (made if needed),
    so its links to the runs are relative to that.

    Raises SweepError if the folder holds no sweep, no run recorded the `metric`, or `output` is a folder.
    """
    from digit_utils.notebook.execute import execute_notebook

    root = RunStore(folder).root
    path = with_home(output).resolve() if output else root / "report.html"
    if path.is_dir():
        raise SweepError(f"{path} is a folder; name the file of the page, such as {path / 'report.html'}")
    found, bodies = read_results(root, metric=metric), []
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch_folder()) as scratch:
        for results in found:
            notebook = Path(scratch) / f"{results.name}.ipynb"
            parameters = {"folder": str(root), "sweep": results.name, "metric": metric}
            execute_notebook(NOTEBOOK, notebook, parameters=parameters, folder=path.parent)
            bodies.append(_body_of(notebook))
    with atomic_write(path) as temporary:
        temporary.write_text(_template("page")(f"Sweep: {root.name}", bodies), encoding="utf-8")
    return path


def _body_of(notebook: Path, *, with_code: bool = False) -> str:
    """Return a notebook's prose and outputs as HTML, with its figures embedded."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(template_name="basic", exclude_input=not with_code, exclude_anchor_links=True)
    exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
    return exporter.from_filename(str(notebook))[0]
