"""A sweep's file: what it becomes, and everything wrong in it refused before anything runs."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kstest, uniform

from digit_utils import cli
from digit_utils.sweeps.config import Objective, SweepError, read_sweep
from tests.support.tiny_sweep import write_tiny_notebook

HEAD = "notebook: tiny.ipynb\n"
MANY = list(range(400))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweeps")
    write_tiny_notebook(folder)
    return folder


def read(folder: Path, text: str):
    (folder / "sweep.yaml").write_text(text)
    return read_sweep(folder / "sweep.yaml")


def test_a_grid_is_every_combination_and_the_first_seed_of_all_comes_first(folder: Path):
    sweep = read(folder, HEAD + "parameters: {seconds: 1}\ngrid: {x: [1, 2], word: [a, b]}\nseeds: 2\n")
    assert sweep.name == "sweep"
    assert sweep.notebook == folder / "tiny.ipynb"
    assert [(run["seed"], run["x"], run["word"]) for run in sweep.runs] == [
        *[(0, 1, "a"), (0, 1, "b"), (0, 2, "a"), (0, 2, "b")],
        *[(1, 1, "a"), (1, 1, "b"), (1, 2, "a"), (1, 2, "b")],
    ]
    assert {type(run["seconds"]) for run in sweep.runs} == {float}
    assert sweep.defaults["word"] == "one"
    assert sweep.objective is None


def test_settings_may_be_shared_as_yaml_shares_them(folder: Path):
    sweep = read(folder, HEAD + "list: [&base {x: 1, word: a}, {<<: *base, x: 2}]\n")
    assert [(run["x"], run["word"]) for run in sweep.runs] == [(1, "a"), (2, "a")]


def test_a_list_is_taken_as_it_is_and_nothing_is_run_twice(folder: Path):
    sweep = read(folder, HEAD + "list: [{x: 1}, {x: 2, word: b}, {x: 1}]\nseeds: [7]\nhighest: validation.score\n")
    assert sweep.runs == ({"x": 1, "seed": 7}, {"x": 2, "word": "b", "seed": 7})
    assert sweep.objective == Objective("validation.score", lower_is_better=False)
    assert sweep.objective.better(2, 1)


def test_a_random_sample_is_the_same_for_the_same_seed(folder: Path):
    text = HEAD + (
        "random:\n  runs: 400\n  seed: 3\n  parameters:\n    seconds: {from: 1e-4, to: 1, scale: log}\n"
        "    x: {from: 10, to: 20}\n    word: [a, b]\n"
    )
    sweep, again, other = read(folder, text), read(folder, text), read(folder, text.replace("seed: 3", "seed: 4"))
    assert sweep.runs == again.runs != other.runs
    assert len(sweep.runs) == 400
    exponents = [math.log10(run["seconds"]) for run in sweep.runs]
    assert -4 <= min(exponents) < -3.9 < -0.1 < max(exponents) <= 0
    assert abs(sum(exponents) / 400 + 2) < 0.2, "a logarithmic scale has its mean in the middle"
    assert {run["x"] for run in sweep.runs} == set(range(10, 21))
    assert {type(run["x"]) for run in sweep.runs} == {int}
    assert 140 < [run["word"] for run in sweep.runs].count("a") < 260


def test_random_values_follow_the_distributions_of_scipy_and_its_seed(folder: Path):
    text = HEAD + (
        "random:\n  runs: 2000\n  seed: 3\n  parameters:\n    seconds: {loguniform: [1e-4, 1e-2]}\n"
        "    x: {poisson: [5]}\n    seed: {randint: [0, 1000000000]}\n"
    )
    sweep, again, other = read(folder, text), read(folder, text), read(folder, text.replace("seed: 3", "seed: 4"))
    assert sweep.runs == again.runs != other.runs
    seconds, counts = ([run[name] for run in sweep.runs] for name in ("seconds", "x"))
    assert kstest(np.log10(seconds), uniform(-4, 2).cdf).pvalue > 0.001
    assert {type(count) for count in counts} == {int}
    assert abs(np.mean(counts) - 5) < 4 * np.sqrt(5 / 2000)
    assert abs(np.var(counts) - 5) < 0.7


@pytest.mark.parametrize(
    ("scale", "shares"), [("linear", [1 / 4] * 4), ("log", [0.500, 0.233, 0.153, 0.114])], ids=["linear", "log"]
)
def test_both_ends_of_a_range_of_whole_numbers_are_as_likely_as_the_others(
    scale: str, shares: list[float], folder: Path
):
    count = 4000
    source = f"{{from: 1, to: 4, scale: {scale}}}"
    sweep = read(folder, f"{HEAD}random: {{runs: {count}, parameters: {{x: {source}, seed: {{from: 0, to: 1e9}}}}}}\n")
    drawn = [run["x"] for run in sweep.runs]
    assert set(drawn) == {1, 2, 3, 4}
    for value, share in enumerate(shares, start=1):
        assert abs(drawn.count(value) / len(drawn) - share) < 0.03  # four standard deviations


@pytest.mark.parametrize(
    ("ends", "kind"), [("from: 3, to: 12", int), ("from: 0.5, to: 12", float)], ids=["whole ends", "other ends"]
)
def test_a_parameter_without_a_type_is_drawn_as_whole_numbers_if_its_default_and_the_ends_are_whole(
    ends: str, kind: type, tmp_path: Path
):
    notebook = write_tiny_notebook(tmp_path)
    notebook.write_text(notebook.read_text().replace("x: int = 1", "x = 1"))
    sweep = read(tmp_path, f"{HEAD}random: {{runs: 20, parameters: {{x: {{{ends}}}}}}}\n")
    assert {type(run["x"]) for run in sweep.runs} == {kind}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "must hold keys such as `notebook:`"),
        ("grid: {x: [1]}", "`notebook:` is missing; name one, for example 02_train"),
        ("notebook: 07_cook", "there is no notebook 07_cook.ipynb; looked in"),
        ("notebook: no/such.ipynb", "there is no notebook no/such.ipynb relative to the folder of this file"),
        (HEAD + "gird: {x: [1]}", "unknown key 'gird'; known are .*did you mean grid?"),
        (HEAD + "grid: {y: [1]}", "grid has 'y', but tiny.ipynb has no such parameter; it has x, seed, seconds, word"),
        (HEAD + "grid: {wrod: [1]}", r"did you mean word\?"),
        (HEAD + "grid: {x: 1}", r"grid: x is 1; it must be a list of values, such as \[1\]"),
        (HEAD + "grid: {x: [1, many]}", r"grid: x is 'many' \(str\), but tiny.ipynb takes int, such as 3"),
        (HEAD + "grid: {x: [1, true]}", r"grid: x is True \(bool\), but tiny.ipynb takes int"),
        (HEAD + "grid: {word: [on]}", r"grid: word is True \(bool\), but tiny.ipynb takes str.*put it in quotes"),
        (HEAD + "grid: {seconds: [long]}", r"seconds is 'long' \(str\), but tiny.ipynb takes float, such as 0.5"),
        (HEAD + "grid: {x: [1], x: [2]}", "line 2 begins a mapping with 'x' twice; keep one"),
        (HEAD + "grid: {x: [1]}\nparameters: {x: 2}", "x is set in two places; keep one"),
        (HEAD + "grid: {seed: [1]}\nseeds: 2", "seed is set in two places; keep one"),
        (HEAD + "grid: {x: [1]}\nlist: [{x: 1}]", "it has grid and list; keep one"),
        (HEAD + "parameters: {output_folder: here}", "sets output_folder, which a sweep gives each run; leave it out"),
        (HEAD + "list: {x: 1}", "list must hold settings, each beginning with a dash"),
        (HEAD + "list: [{x: 1}, {x: b}]", "list, entry 2: x is 'b'"),
        (HEAD + "seeds: 0", r"seeds is 0; it must be their number, or a list such as \[0, 1, 2\]"),
        (HEAD + "random: {runs: 3}", "random: parameters must give choices or ranges by name"),
        (HEAD + "random: {runs: 0, parameters: {x: [1]}}", "random: runs is 0; it must be a whole number from 1"),
        (HEAD + "random: {runs: 1, parameters: {x: {from: 2, to: 1}}}", "x must have numbers as `from` and `to`"),
        (HEAD + "random: {runs: 1, parameters: {x: {from: 0, to: 1, scale: log}}}", "x has the scale 'log'; choose"),
        (HEAD + "random: {runs: 1, parameters: {x: {from: -.inf, to: 1}}}", "x must have numbers as `from` and `to`"),
        (HEAD + "random: {runs: 1, parameters: {x: {from: 0.2, to: 0.8}}}", "x must be a whole number, and none lies"),
        (HEAD + "random: {runs: 1, parameters: {seconds: {lognuniform: [1, 2]}}}", r"did you mean loguniform\?"),
        (
            HEAD + "random: {runs: 1, parameters: {seconds: {rv_frozen: [1]}}}",
            "has 'rv_frozen'; give a list, a range",
        ),
        (HEAD + "random: {runs: 1, parameters: {seconds: {uniform: 1}}}", "uniform is 1; it must be a list of numbers"),
        (HEAD + "random: {runs: 1, parameters: {seconds: {uniform: [a]}}}", r"uniform is \['a'\]; it must be a list"),
        (
            HEAD + "random: {runs: 1, parameters: {seconds: {loguniform: [2, 1]}}}",
            r"cannot draw from loguniform",
        ),
        (HEAD + "random: {runs: 1, parameters: {seconds: {uniform: [1, 2, 3, 4]}}}", "scipy cannot draw from uniform"),
        (
            HEAD + "random: {runs: 1, parameters: {x: {uniform: [1, 2]}}}",
            r"\(float\), but tiny.ipynb takes int",
        ),
        (HEAD + "lowest: a\nhighest: b", "it has lowest and highest; keep one"),
        (HEAD + "time_limit: soon", "time_limit is 'soon'; it must be a number of seconds above 0"),
        (
            "notebook: 02_train\nlowest: validation.mnist_error",
            r"02_train.ipynb records no metric 'validation.mnist_error'",
        ),
        ("notebook: 02_train\nlowest: validation.mnist_error", r"did you mean validation.mnist_errors\?"),
        (
            "notebook: 02_train\nparameters: {dataset: digits8x8}\nlowest: validation.mnist_errors",
            r"did you mean validation.digits8x8_errors\?",
        ),
        (HEAD + "lowest: test.errors", "no choice may depend on test digits; name a metric of validation digits"),
        (
            HEAD + f"grid: {{x: {MANY}, seed: {MANY}}}",
            "160,000 combinations; at most 100,000 can be",
        ),
        (
            HEAD + "grid: {x: [1, 2]}\nseeds: 60000",
            "it asks for 2 settings with 60,000 seeds each; 100,000 runs at most",
        ),
        (HEAD + "name: a/b", "name is 'a/b'; it must be a word that can be a file's name"),
        ("notebook: [", "it is not valid YAML"),
        (HEAD + 'name: "\\UFFFFFFFF"', "it is not valid YAML"),
        (
            HEAD + "name: 2024-13-45",
            r"line 2 has '2024-13-45', which cannot be read \(month .*; put it in quotes",
        ),
        (HEAD + "grid: {x: [!!int many]}", "line 2 has 'many', which cannot be read .*; put it in quotes"),
        ("notebook: 02_train\ngrid: {augmentation: [wild]}", "grid: augmentation is 'wild'; choose one of 'none'"),
        ("notebook: 02_train\ngrid: {epochs: [-1]}", "grid: epochs is -1; it must be a whole number from 0"),
        ("notebook: 02_train\ngrid: {data_dir: [~nosuch/data]}", "grid: data_dir is ~nosuch/data: the home"),
        ("notebook: 04_draw\nseeds: 3", "seeds has 'seed', but 04_draw.ipynb has no such parameter"),
    ],
)
def test_an_error_names_the_file_the_value_and_the_remedy(text: str, expected: str, folder: Path):
    with pytest.raises(SweepError, match=expected) as caught:
        read(folder, text)
    assert str(caught.value).startswith(f"{folder / 'sweep.yaml'}: ")


@pytest.mark.parametrize("values", ["{y: [1]}", "{x: [many]}"])
def test_the_command_refuses_a_wrong_file_before_anything_runs(
    values: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (folder / "sweep.yaml").write_text(f"{HEAD}grid: {values}\n")
    assert cli.main(["sweep", str(folder / "sweep.yaml"), "--output", str(tmp_path / "runs")]) == 1
    assert f"digits sweep: {folder / 'sweep.yaml'}: grid" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["sweep", str(tmp_path / "none.yaml")]) == 1
    assert "none.yaml: it cannot be read (No such file or directory)" in capsys.readouterr().err


def test_a_dry_run_lists_the_runs_and_starts_none(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (folder / "sweep.yaml").write_text(HEAD + "grid: {x: [1, 2]}\nseeds: 2\n")
    assert cli.main(["sweep", str(folder / "sweep.yaml"), "--output", str(tmp_path / "runs"), "--dry-run"]) == 0
    assert "x=2, seed=1\n4 runs of tiny.ipynb" in capsys.readouterr().out
    assert not (tmp_path / "runs").exists()
