"""What a sweep found: settings with their intervals over seeds, which parameter matters, and one page of it all.

Figures are told as they are: an interval needs two seeds, and a share of the variance is shown beside the share that
mere chance would give.
"""

from __future__ import annotations

import csv
import html
import math
import os
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from digit_utils.files import atomic_write, with_home
from digit_utils.sweeps.config import SEED, Objective, SweepError
from digit_utils.sweeps.store import FAILED, FINISHED, RunStore

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TEMPLATE = Path(__file__).with_name("report.ipynb")
CURVES = "learning_curves.csv"  # as training writes it into a run's folder
GROUPS = 4  # that the values of a number are put into, where it has more
SHUFFLES = 400  # by which it is told what chance gives
MOST_CURVES, MOST_SETTINGS = 200, 40  # more would be a blot

STYLE = """
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.5 system-ui, sans-serif; color: #222; }
h1, h2, h3 { line-height: 1.2; } img { max-width: 100%; height: auto; }
.table { overflow-x: auto; } table { border-collapse: collapse; font-size: .875rem; }
th, td { padding: .25rem .75rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap; }
th { position: sticky; top: 0; background: #fff; } td.text, th.text { text-align: left; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: .875rem; }
"""


@dataclass(frozen=True)
class SweepResults:
    """The runs of one sweep, and by which figure they are compared."""

    folder: Path
    name: str
    rows: list[dict[str, Any]]  # see `RunStore.rows`
    objective: Objective | None

    @property
    def metric(self) -> str:
        """Return the name of the column of the objective."""
        return f"metric.{self.objective.metric}" if self.objective else ""

    @property
    def measured(self) -> list[dict[str, Any]]:
        """Return the rows that have the figure, the best first."""
        rows = [row for row in self.rows if math.isfinite(row.get(self.metric, math.nan))]
        sign = 1 if self.objective is None or self.objective.lower_is_better else -1
        return sorted(rows, key=lambda row: sign * row[self.metric])

    @property
    def varied(self) -> list[str]:
        """Return the parameters that have more than one value, the seed last."""
        names = dict.fromkeys(name for row in self.rows for name in row if name.startswith("parameter."))
        found = [name for name in names if len({repr(row.get(name)) for row in self.rows}) > 1]
        return sorted(found, key=lambda name: name == f"parameter.{SEED}")


@dataclass(frozen=True)
class Setting:
    """All seeds of one combination of parameters."""

    parameters: dict[str, Any]
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Return the mean over seeds."""
        return float(np.mean(self.values))

    @property
    def half_width(self) -> float:
        """Return half of the 95 % interval of the mean (Student, 1908); NaN with one seed."""
        from scipy.stats import t

        count = len(self.values)
        if count < 2:
            return math.nan
        return float(t.ppf(0.975, count - 1) * np.std(self.values, ddof=1) / math.sqrt(count))


@dataclass(frozen=True)
class Importance:
    """How much of the variance between runs lies between the values of one parameter."""

    parameter: str
    share: float  # from 0 to 1, eta squared
    by_chance: float  # the share that 95 of 100 shuffled tables stay below


def read_results(folder: str | Path, *, metric: str = "") -> list[SweepResults]:
    """Return the sweeps in a folder; `metric` names a figure to compare by in place of the sweep's own.

    Raises SweepError when the folder holds no sweep, or no run recorded the metric that was asked for.
    """
    store = RunStore(folder)
    plans, rows = store.plans(), {row["run"]: row for row in store.rows()}
    results = []
    for name, plan in plans.items():
        mine = [rows[planned["id"]] for planned in plan["runs"]]
        objective = _objective(plan, mine, metric)
        results.append(SweepResults(store.root, name, mine, objective))
    return results


def _objective(plan: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], asked: str) -> Objective | None:
    found = list(dict.fromkeys(name for row in rows for name in row if name.startswith("metric.")))
    names = [name.removeprefix("metric.") for name in found]
    if asked and asked not in names:
        raise SweepError(f"no run recorded {asked!r}; they recorded {', '.join(names) or 'nothing yet'}")
    kept = plan["objective"] and Objective(**plan["objective"])
    if asked:
        return Objective(asked, kept.lower_is_better if kept else True)
    if kept:
        return kept
    errors = [name for name in names if name.startswith("validation.") and name.endswith("errors")]
    return Objective(errors[0], lower_is_better=True) if errors else None


def settings_of(results: SweepResults) -> list[Setting]:
    """Return the settings, the best first, each with the figures of its seeds."""
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
    sign = 1 if results.objective is None or results.objective.lower_is_better else -1
    return sorted(settings, key=lambda setting: sign * setting.mean)


def importances(results: SweepResults, rng: np.random.Generator) -> list[Importance]:
    """Return the share of the variance between runs that each parameter accounts for alone, the largest first.

    It is eta squared: the variance between the means of the groups that a parameter makes, by that of all runs. What
    two parameters do together is in neither share. Numbers with many values are put into groups of equal size.
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


# ---------------------------------------------------------------------------------------------------- figures


def show_settings(results: SweepResults, *, ax: Axes | None = None) -> Axes | None:
    """Show the mean of each setting with its interval over seeds, and each seed as a dot; None without figures."""
    from digit_utils import plots

    settings = settings_of(results)[:MOST_SETTINGS]
    if not settings:
        return None
    if ax is None:
        ax = plots.new_axes(width=9.0, height=1.0 + 0.3 * len(settings))
    for place, setting in enumerate(settings):
        ax.plot(setting.values, [place] * len(setting.values), ".", color=plots.GREY, alpha=0.6)
        error = None if math.isnan(setting.half_width) else setting.half_width
        ax.errorbar(setting.mean, place, xerr=error, fmt="o", color=plots.BLUE, capsize=3)
    labels = [", ".join(f"{name} {_short(value)}" for name, value in s.parameters.items()) or "all" for s in settings]
    ax.set_yticks(range(len(settings)), labels, fontsize=9)
    ax.invert_yaxis()
    ax.set_xlabel(results.metric.removeprefix("metric."))
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def show_importances(found: Sequence[Importance], *, ax: Axes | None = None) -> Axes | None:
    """Show the share of each parameter as a bar, and what chance would give as a line; None without any."""
    from digit_utils import plots

    if not found:
        return None
    if ax is None:
        ax = plots.new_axes(width=7.0, height=1.0 + 0.35 * len(found))
    places = range(len(found))
    ax.barh(places, [100 * importance.share for importance in found], color=plots.BLUE, height=0.6)
    for place, importance in zip(places, found, strict=True):
        label = "chance, 19 times of 20" if not place else None
        ax.plot([100 * importance.by_chance] * 2, [place - 0.4, place + 0.4], color=plots.ORANGE, lw=2, label=label)
    ax.set_yticks(places, [importance.parameter for importance in found])
    ax.invert_yaxis()
    ax.set(xlim=(0, 100), xlabel="share of the variance between runs (%)")
    ax.legend(frameon=False, fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def show_curves(results: SweepResults, *, colour_by: str = "", ax: Axes | None = None) -> Axes | None:
    """Show the learning curves of all runs in one figure, coloured by the value of a parameter; None without any."""
    from digit_utils import plots

    curves = [(row, curve) for row in results.measured[:MOST_CURVES] if (curve := _curve(results, row))]
    if not curves:
        return None
    if ax is None:
        ax = plots.new_axes(width=7.0, height=4.0)
    values = list(dict.fromkeys(repr(row.get(f"parameter.{colour_by}")) for row, _ in curves))
    for row, (epochs, rates) in curves:
        place = values.index(repr(row.get(f"parameter.{colour_by}")))
        ax.plot(epochs, rates, color=plots.COLOURS[place % len(plots.COLOURS)], lw=1, alpha=0.6)
    if colour_by and len(values) <= len(plots.COLOURS):
        for place, value in enumerate(values):
            ax.plot([], [], color=plots.COLOURS[place], label=f"{colour_by} {value}")
        ax.legend(frameon=False, fontsize=9)
    ax.set(yscale="log", xlabel="epoch", ylabel="errors on validation digits (%)")
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _curve(results: SweepResults, row: Mapping[str, Any]) -> tuple[list[int], list[float]] | None:
    """Return the epochs of a run and its validation errors in per cent."""
    path = results.folder / row["run"] / CURVES
    if not path.exists():
        return None
    with path.open(newline="", encoding="utf-8") as stream:
        records = list(csv.DictReader(stream))
    names = [name for name in records[0] if name.endswith("_errors")]
    wanted = results.metric.rpartition(".")[2]
    name = wanted if wanted in names else names[0]
    return [int(record["epoch"]) for record in records], [max(100 * float(record[name]), 0.005) for record in records]


# ----------------------------------------------------------------------------------------------------- tables


def settings_table(results: SweepResults) -> str:
    """Return the settings as a table of HTML, the best first."""
    rows = []
    for setting in settings_of(results):
        width = "one seed" if math.isnan(setting.half_width) else f"± {setting.half_width:.3g}"
        rows.append([*setting.parameters.values(), f"{setting.mean:.5g}", width, len(setting.values)])
    names = [name.removeprefix("parameter.") for name in results.varied if name != f"parameter.{SEED}"]
    return html_table([*names, "mean", "95 % interval", "runs"], rows)


def runs_table(results: SweepResults, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return runs as a table of HTML, each with a link to its folder and notebook.

    Links lead there from the working directory, which is that of the page, or of the notebook that shows the table.
    """
    names = results.varied
    metrics = [results.metric] if results.metric else []
    table = []
    for row in rows:
        folder = results.folder / row["run"]
        links = Html(f'<a href="{_address(folder)}/">{row["run"]}</a>')
        notebook = folder / row["notebook"]
        if notebook.exists():
            links = Html(f'{links}, <a href="{_address(notebook)}">notebook</a>')
        table.append([links, row["status"], *[row.get(name, "") for name in [*names, *metrics, "seconds"]]])
    heads = [name.split(".", 1)[1] for name in [*names, *metrics]]
    return html_table(["run", "status", *heads, "seconds"], table)


def _address(path: Path) -> str:
    """Return where a file lies as seen from the working directory, as a link says it."""
    try:
        relative = os.path.relpath(path)
    except ValueError:  # on Windows it may lie on another drive
        return html.escape(path.resolve().as_uri())
    return html.escape(quote(Path(relative).as_posix()))


def failures_text(results: SweepResults) -> str:
    """Return what failed, as HTML with links."""
    rows = [row for row in results.rows if row["status"] == FAILED]
    if not rows:
        return "<p>No run failed.</p>"
    errors = [f"<p>{html.escape(row['run'])}: {html.escape(row.get('error', ''))}</p>" for row in rows]
    return runs_table(results, rows) + "\n".join(errors)


class Html(str):
    """Text that is HTML already."""


def html_table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table of HTML; whatever is not `Html` is escaped."""
    texts = [any(isinstance(row[place], str) for row in rows) for place in range(len(heads))]
    kinds = [' class="text"' if text else "" for text in texts]
    head = "".join(f"<th{kind}>{html.escape(name)}</th>" for name, kind in zip(heads, kinds, strict=True))
    body = ["".join(f"<td{kind}>{_cell(value)}</td>" for value, kind in zip(row, kinds, strict=True)) for row in rows]
    lines = "\n".join(f"<tr>{row}</tr>" for row in body)
    return f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>\n{lines}\n</tbody></table></div>'


def _cell(value: Any) -> str:
    return value if isinstance(value, Html) else html.escape(_short(value))


def _short(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def summary(results: SweepResults) -> str:
    """Return in one sentence what there is."""
    count = len(results.rows)
    finished = sum(row["status"] == FINISHED for row in results.rows)
    failed = sum(row["status"] == FAILED for row in results.rows)
    rest = count - finished - failed
    hours = sum(row.get("seconds", 0) for row in results.rows) / 3600
    return (
        f"{finished} of {count} runs finished, {failed} failed, {rest} still to be done; "
        f"together they took {hours:.2f} hours."
    )


# ------------------------------------------------------------------------------------------------------- page


def write_report(folder: str | Path, output: str | Path | None = None) -> Path:
    """Write one HTML page of all sweeps in a folder, without anything fetched from elsewhere, and return its path.

    The page is the notebook `report.ipynb` of this package, run for each sweep in the page's folder, which is made if
    needed: so its links lead from there to the runs.

    Raises SweepError when the folder holds no sweep, or `output` is a folder.
    """
    from digit_utils.notebook.execute import execute_notebook

    root = RunStore(folder).root
    path = with_home(output).resolve() if output else root / "report.html"
    if path.is_dir():
        raise SweepError(f"{path} is a folder; name the file of the page, such as {path / 'report.html'}")
    found, bodies = read_results(root), []
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for results in found:
            notebook = Path(scratch) / f"{results.name}.ipynb"
            parameters = {"folder": str(root), "sweep": results.name}
            execute_notebook(TEMPLATE, notebook, parameters=parameters, folder=path.parent)
            bodies.append(_body_of(notebook))
    with atomic_write(path) as temporary:
        temporary.write_text(_page(f"Sweep: {root.name}", bodies), encoding="utf-8")
    return path


def _body_of(notebook: Path) -> str:
    """Return a notebook's prose and outputs as HTML; pictures lie within it."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(template_name="basic", exclude_input=True, exclude_anchor_links=True)
    exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
    return exporter.from_filename(str(notebook))[0]


def _page(title: str, bodies: Sequence[str]) -> str:
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{html.escape(title)}</title><style>{STYLE}</style></head>
<body>
{"<hr>".join(bodies)}
</body>
</html>
"""
