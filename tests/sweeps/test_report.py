"""The report of a sweep: its statistics against independent ones, and a page that needs nothing from elsewhere."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from scipy import stats

from digit_utils import cli
from digit_utils.sweeps import report
from digit_utils.sweeps.config import Objective, SweepError, read_sweep
from digit_utils.sweeps.identity import plan_runs
from digit_utils.sweeps.report import SweepResults
from digit_utils.sweeps.store import FINISHED, RunStore
from tests.support.tiny_sweep import Place, write_tiny_notebook

ROOT = Path(__file__).parents[2]


def results_of(values: dict[tuple[object, int], float]) -> SweepResults:
    rows = [
        {"run": f"{place:012x}", "status": "finished", "notebook": "n.ipynb", "seconds": 1.0}
        | {"parameter.x": x, "parameter.seed": seed, "metric.errors": value}
        for place, ((x, seed), value) in enumerate(values.items())
    ]
    return SweepResults(Path(), "made", rows, Objective("errors", lower_is_better=True))


def test_interval_over_seeds_is_that_of_student():
    values = [0.011, 0.014, 0.010, 0.013]
    (setting,) = report.settings_of(results_of({("a", seed): value for seed, value in enumerate(values)}))
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert setting.mean == pytest.approx(np.mean(values))
    assert setting.half_width == pytest.approx((high - low) / 2)


def test_the_first_sentence_names_the_best_and_says_whether_it_is_better_by_more_than_chance():
    apart = {("mild", 0): 0.0050, ("mild", 1): 0.0054, ("none", 0): 0.0089, ("none", 1): 0.0091}
    clear = report.verdict(results_of(apart))
    p = stats.ttest_ind([0.0050, 0.0054], [0.0089, 0.0091], equal_var=False).pvalue
    assert clear == (
        f"**x mild** is best: 0.52 ± 0.25 % against 0.9 % (x none); the difference is beyond chance (p = {p:.2g})."
    )
    alike = report.verdict(results_of(apart | {("none", 0): 0.0049, ("none", 1): 0.0060}))
    assert "the difference may be chance" in alike
    assert "one seed cannot show" in report.verdict(results_of({("a", 0): 0.3, ("b", 0): 0.1}))
    assert report.verdict(results_of({})) == "No run has recorded a metric to compare by."


def test_two_parameters_make_a_grid_of_means():
    results = results_of({(x, seed): x + seed for x in (2.0, 1.0) for seed in (0, 1)})
    assert report.grid_of_means(results) is None  # the seed is no setting
    rows = [row | {"parameter.y": y} for row in results.rows for y in ("b", "a")]
    names, values, means = report.grid_of_means(replace(results, rows=rows))
    assert (names, values) == (["x", "y"], [[1.0, 2.0], ["b", "a"]])
    np.testing.assert_allclose(means, [[1.5, 1.5], [2.5, 2.5]])


def test_one_seed_has_no_interval_and_the_best_comes_first():
    settings = report.settings_of(results_of({("a", 0): 0.3, ("b", 0): 0.1, ("b", 1): 0.3}))
    assert [setting.parameters["x"] for setting in settings] == ["b", "a"]
    assert np.isnan(settings[1].half_width)


def test_share_of_variance_is_eta_squared_and_chance_is_below_it_only_when_it_matters():
    rng = np.random.default_rng(0)
    values = {(x, seed): effect + rng.normal(0, 0.1) for x, effect in (("a", 0), ("b", 1)) for seed in range(20)}
    found = report.importances(results_of(values), np.random.default_rng(1))
    (x,) = [importance for importance in found if importance.parameter == "x"]
    groups = [[value for (name, _), value in values.items() if name == wanted] for wanted in "ab"]
    between = sum(len(group) * (np.mean(group) - np.mean(list(values.values()))) ** 2 for group in groups)
    total = sum((value - np.mean(list(values.values()))) ** 2 for value in values.values())
    assert x.share == pytest.approx(between / total)
    assert x.by_chance < 0.3 < 0.9 < x.share
    noise = results_of({(x, seed): rng.normal() for x in "ab" for seed in range(20)})
    (x,) = [one for one in report.importances(noise, rng) if one.parameter == "x"]
    assert x.share < 2 * x.by_chance


def test_links_lead_to_the_runs_from_the_folder_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    results = replace(results_of({("a", 0): 0.3}), folder=tmp_path / "runs #1")
    run = results.folder / results.rows[0]["run"]
    run.mkdir(parents=True)
    (run / "n.ipynb").touch()
    monkeypatch.chdir(results.folder)
    assert f'<a href="{run.name}/">' in report.runs_table(results, results.rows)
    (tmp_path / "pages").mkdir()
    monkeypatch.chdir(tmp_path / "pages")
    page = report.runs_table(results, results.rows)
    assert re.findall('href="([^"]+)"', page) == [f"../runs%20%231/{run.name}/", f"../runs%20%231/{run.name}/n.ipynb"]


def test_a_link_to_another_drive_is_a_whole_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(path: Path) -> str:
        raise ValueError("path is on mount 'C:', start on mount 'D:'")

    monkeypatch.setattr(report.os.path, "relpath", refuse)
    results = replace(results_of({("a", 0): 0.3}), folder=tmp_path)
    address = (tmp_path / results.rows[0]["run"]).as_uri()
    assert f'<a href="{address}/">' in report.runs_table(results, results.rows)


@pytest.mark.parametrize(
    "content", ["", "epoch,digits8x8_errors\n", "epoch,loss\n1,0.5\n"], ids=["empty", "no rows", "no errors"]
)
def test_a_curve_without_rows_or_errors_is_left_out(content: str, tmp_path: Path):
    results = replace(results_of({("a", 0): 0.3, ("b", 0): 0.2}), folder=tmp_path)
    contents = content, "epoch,digits8x8_errors\n1,0.5\n2,0.0\n"
    for row, text in zip(results.rows, contents, strict=True):
        (tmp_path / row["run"]).mkdir()
        (tmp_path / row["run"] / "learning_curves.csv").write_text(text)
    assert [report.learning_curve(results, row) for row in results.rows] == [None, ([1, 2], [50, 0.005])]


def test_tensorboard_reads_the_curves_parameters_and_metric_of_each_run(
    store: RunStore, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    monkeypatch.setattr(report, "write_report", lambda *args, **options: "not made")
    finished = store.rows()[0]["run"]
    (store.root / finished / "learning_curves.csv").write_text("epoch,loss,errors\n1,0.5,\n2,0.25,0.125\n")
    boards = tmp_path / "boards"
    for _ in range(2):  # repeated, it replaces what it wrote
        assert cli.main(["report", str(store.root), "--tensorboard", str(boards)]) == 0
    assert f"The learning curves of 1 run are in {boards}; see them with: tensorboard" in capsys.readouterr().out
    (run,) = (boards / "s").iterdir()
    assert run.name == f"x 1 {finished}"
    events = EventAccumulator(str(run)).Reload()
    found = {name: [(one.step, one.value) for one in events.Scalars(name)] for name in events.Tags()["scalars"]}
    expected = {"loss": [(1, 0.5), (2, 0.25)], "errors": [(2, 0.125)], "metric.validation.errors": [(2, 0.25)]}
    assert found == expected
    parameters = HParamsPluginData.FromString(events.PluginTagToContent("hparams")["_hparams_/session_start_info"])
    assert parameters.session_start_info.hparams["x"].number_value == 1


def test_a_missing_tensorboard_package_is_named_before_the_page_is_made(
    store: RunStore, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    assert cli.main(["report", str(store.root), "--tensorboard", str(tmp_path / "boards")]) == 1
    assert 'install it with `pip install -e ".[tensorboard]"`' in capsys.readouterr().err
    assert not (store.root / "report.html").exists()


def test_a_column_of_numbers_with_gaps_is_still_one_of_numbers():
    assert report.html_table(["a"], [[1.0], [""]]).count('class="text"') == 0


def test_cells_are_escaped():
    assert '<td class="text">&lt;b&gt;</td>' in report.html_table(["a"], [["<b>"]])


def test_page_holds_everything_and_fetches_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    grid = "notebook: tiny.ipynb\ngrid: {x: [1, 2], breaks: [false, true]}\nseeds: 2\nlowest: validation.errors\n"
    place = Place(tmp_path, grid)
    assert place.run("--workers", "2")[0] == 1
    assert cli.main(["report", str(place.output)]) == 0
    page = (place.output / "report.html").read_text()
    assert not re.findall(r"(?:src|href)=[\"']?(?:https?:)?//", page)
    assert not re.findall(r"@import|<script [^>]*src|url\(", page)
    assert page.count("data:image/png;base64,") == 2  # the settings, and the metric against x
    assert '<td class="text">x</td><td class="text">' in page, "which parameter matters"
    assert "4 of 8 runs finished, 4 failed, 0 remaining" in page
    assert "ValueError: 1 was to break" in page
    linked = re.findall(r'href="([^"#]+)"', page)
    assert len(linked) >= 16
    assert all((place.output / target).exists() for target in linked)


def test_a_folder_without_a_sweep_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["report", str(tmp_path)]) == 1
    assert "holds no sweep; start one with `digits sweep FILE" in capsys.readouterr().err


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    """Return the folder of two runs, of which one is finished."""
    write_tiny_notebook(tmp_path)
    (tmp_path / "s.yaml").write_text("notebook: tiny.ipynb\ngrid: {x: [1, 2]}\n")
    sweep = read_sweep(tmp_path / "s.yaml")
    runs, store = plan_runs(sweep, ["data"] * 2), RunStore(tmp_path / "runs")
    store.save_plan(sweep, runs)
    store.end(runs[0], store.begin(runs[0]), status=FINISHED, metrics={"validation.errors": 0.25}, seconds=1.5)
    store.notebook(runs[0]).write_text("{}")
    store.folder(runs[1]).mkdir()
    return store


@pytest.mark.slow
def test_links_of_a_page_elsewhere_lead_to_the_runs(
    store: RunStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    page = tmp_path / "my pages" / "report.html"
    assert cli.main(["report", str(store.root), "--output", str(page)]) == 0
    linked = re.findall(r'href="([^"]+)"', page.read_text())
    assert len(linked) >= 3
    assert all((page.parent / unquote(target)).exists() for target in linked)


def test_a_folder_in_place_of_the_page_is_told_before_any_work(
    store: RunStore, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    worked = []
    monkeypatch.setattr("digit_utils.notebook.execute.execute_notebook", lambda *args, **options: worked.append(args))
    assert cli.main(["report", str(store.root), "--output", str(tmp_path)]) == 1
    told = f"digits report: {tmp_path} is a folder; name the file of the page, such as {tmp_path / 'report.html'}"
    assert told in capsys.readouterr().err
    assert not worked


def test_an_unknown_metric_is_told_with_those_that_there_are(store: RunStore):
    with pytest.raises(SweepError, match=r"no run recorded 'validation.erors'.* \(did you mean validation\.errors\?\)"):
        report.read_results(store.root, metric="validation.erors")


def test_the_example_can_be_run():
    sweep = read_sweep(ROOT / "notebooks" / "sweeps" / "augmentation.yaml")
    assert len(sweep.runs) == 45
    assert sweep.objective == Objective("validation.mnist_errors", lower_is_better=True)
