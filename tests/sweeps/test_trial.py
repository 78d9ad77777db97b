"""One run: its data, its device and its checkpoint, without a kernel."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from digit_utils.datasets.loading import PLANNED_DATA
from digit_utils.files import write_json
from digit_utils.notebook.execute import NotebookRaised
from digit_utils.sweeps import trial
from digit_utils.sweeps.config import SweepError, read_sweep
from digit_utils.sweeps.identity import data_of_runs, plan_runs
from digit_utils.sweeps.store import FAILED, FINISHED
from digit_utils.sweeps.trial import TOKEN, Task, unfitness
from tests.support.tiny_sweep import write_tiny_notebook


@pytest.fixture
def task(tmp_path: Path) -> Task:
    write_tiny_notebook(tmp_path)
    (tmp_path / "data.txt").write_text("data")
    (tmp_path / "s.yaml").write_text(f"notebook: tiny.ipynb\nparameters: {{word: '{tmp_path / 'data.txt'}'}}\n")
    sweep = read_sweep(tmp_path / "s.yaml")
    (run,) = plan_runs(sweep, data_of_runs(sweep))
    (tmp_path / "runs").mkdir()
    return Task(run, str(tmp_path / "runs"), takes_output_folder=True)


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable], None]:
    """Return a function that sets what executing a notebook does; the caller gets its options."""

    def use(execute: Callable) -> None:
        monkeypatch.setattr(trial.KERNELS, "execute", lambda notebook, output, **options: execute(output, options))

    return use


def finish(output: Path, options: dict) -> None:
    write_json(output.parent / "metrics.json", {"errors": 0.5})


def test_a_run_is_given_the_hashes_of_the_data_that_it_was_planned_with(task: Task, kernels):
    given = []
    kernels(lambda output, options: (given.append(options["own"]), finish(output, options)))
    assert trial.perform(task).status == FINISHED
    assert json.loads(given[0][PLANNED_DATA]) == json.loads(task.run.identity["data"])
    assert list(json.loads(given[0][PLANNED_DATA])) == ["word"]


@pytest.mark.parametrize("what", ["changed", "missing"])
def test_a_file_that_is_not_the_planned_one_fails_the_run(what: str, task: Task, kernels, tmp_path: Path):
    kernels(lambda output, options: pytest.fail("the notebook was run"))
    (tmp_path / "data.txt").write_text("other") if what == "changed" else (tmp_path / "data.txt").unlink()
    outcome = trial.perform(task)
    assert outcome.status == FAILED
    assert f"{tmp_path / 'data.txt'} on " in outcome.reason
    assert "is not the file that the run was planned with" in outcome.reason


@pytest.mark.parametrize(("failures", "status"), [(1, FINISHED), (2, FAILED)])
def test_a_damaged_checkpoint_starts_the_run_again_once(failures: int, status: str, task: Task, kernels):
    from digit_utils.training.checkpoint import TrainingFolderError, load_checkpoint

    begun = []

    def execute(output: Path, options: dict) -> None:
        folder = output.parent
        begun.append(sorted(path.name for path in folder.iterdir()))
        if len(begun) <= failures:
            (folder / "progress.json").write_text("{")
            (folder / "checkpoints").mkdir()
            with pytest.raises(TrainingFolderError) as caught:  # as it really is
                load_checkpoint(folder, None)
            raise NotebookRaised(f"TrainingFolderError: {caught.value}", "", output)
        finish(output, options)

    kernels(execute)
    assert trial.perform(task).status == status
    assert begun == [[".lock", "run.json"]] * 2


def test_other_errors_are_not_repeated(task: Task, kernels):
    begun = []

    def execute(output: Path, options: dict) -> None:
        begun.append(output)
        raise NotebookRaised("ValueError: it is damaged", "", output)

    kernels(execute)
    assert trial.perform(task).status == FAILED
    assert len(begun) == 1


def test_code_that_changes_while_a_sweep_runs_stops_it(task: Task, kernels):
    kernels(lambda output, options: pytest.fail("the notebook was run"))
    notebook = Path(task.run.notebook)
    notebook.write_text(notebook.read_text().replace("x / 100", "x / 200"))
    with pytest.raises(SweepError, match=r"the code of tiny\.ipynb, or of what it imports, has changed since"):
        trial.perform(task)


def test_a_machine_is_told_by_what_it_lacks(task: Task, tmp_path: Path):
    root = task.root
    assert unfitness(root, "ab", task.run) == f"it does not see the folder {root}; mount it there, too"
    (Path(root) / f"{TOKEN}ab").touch()
    assert unfitness(root, "ab", task.run) == ""
    other = replace(task.run, identity=task.run.identity | {"versions": '{"keras": "0.1"}'})
    assert unfitness(root, "ab", other) == "it has keras None instead of 0.1; install the same"
    other = replace(task.run, identity=task.run.identity | {"package": "other"})
    assert "tiny.ipynb, or what it imports of digit_utils, differs; install the same" in unfitness(root, "ab", other)
    (tmp_path / "tiny.ipynb").unlink()
    assert f"it has no {tmp_path / 'tiny.ipynb'}; put it there, too" in unfitness(root, "ab", task.run)


@pytest.mark.parametrize(
    ("visible", "gpus"), [("", ()), ("-1", ()), ("2,3", ("2", "3")), ("GPU-ab, GPU-cd", ("GPU-ab", "GPU-cd"))]
)
def test_runs_are_given_the_gpu_with_the_fewest_runs(visible: str, gpus: tuple[str, ...], monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    trial.visible_gpus.cache_clear()
    try:
        assert trial.visible_gpus() == gpus
        kernels = trial.Kernels()
        with kernels._device() as first, kernels._device() as second:
            given = [one.get("CUDA_VISIBLE_DEVICES") for one in (first, second)]
            assert given == (list(gpus) or [None, None])
            with kernels._device() as third:
                assert third.get("CUDA_VISIBLE_DEVICES") in (gpus or (None,))
        with kernels._device() as again:
            assert again == first
            assert not gpus or again["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
    finally:
        trial.visible_gpus.cache_clear()
