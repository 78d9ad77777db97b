"""The command line: help, clear errors, exit codes."""

import io
import re
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from digit_utils import cli
from digit_utils.files import write_json
from digit_utils.notebook import execute
from digit_utils.notebook.execute import NotebookError, execute_notebook, read_parameter, run_notebook
from digit_utils.recognition.recognizer import BUNDLED_MODEL
from tests.support.tiny_sweep import wait_until, write_tiny_notebook


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("command", [[], ["draw"], ["read"], ["train"], ["evaluate"], ["sweep"], ["report"]])
def test_help_explains_every_option(command: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        cli.main([*command, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "usage: digits" in text
    for name in ("draw", "read", "train", "evaluate", "sweep", "report") if not command else ():
        assert name in text


@pytest.mark.parametrize("command", ["draw", "evaluate"])
def test_missing_model_is_told_in_one_sentence(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "nothing.tflite"
    arguments = {"draw": ["--model", str(path), "--no-browser"], "evaluate": [str(path)]}[command]
    assert cli.main([command, *arguments]) == 1
    told = capsys.readouterr().err
    assert str(path) in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["train", "--epochs", "0"], "0 is too small"),
        (["train", "--epochs", "many"], "argument --epochs: 'many' is not a whole number"),
        (["draw", "--port", "http"], "argument --port: 'http' is not a whole number"),
        (["train", "--preset", "huge"], "invalid choice: 'huge'"),
        (["train", "-p", "epochs"], "'epochs' is not a parameter; write name=value"),
        (["draw", "--port", "70000"], "70000 is not a port"),
        (["sing"], "invalid choice: 'sing'"),
    ],
)
def test_bad_options_are_refused_by_name(arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["train", "-p", "epochs=-3"], "epochs is -3; it must be a whole number from 0"),
        (["train", "--data-dir", "nowhere"], "it must be a folder that exists"),
        (["train", "--data", "nowhere.csv"], "nowhere.csv; --data takes"),
        (["evaluate", "-p", "limit=few"], "limit is 'few'; it must be a whole number from 0"),
        (["evaluate", "--data", "nowhere.csv"], "nowhere.csv; --data takes"),
    ],
)
def test_a_slip_is_told_before_a_notebook_is_started_and_leaves_nothing_behind(
    arguments: list[str], expected: str, tmp_path: Path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(execute, "run_notebook", lambda *_, **__: pytest.fail("a notebook was run"))
    assert cli.main(arguments) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"digits {arguments[0]}: ")
    assert expected in told
    assert told.count("\n") == 1 + told.count("INFO")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["draw", "--no-browser", "--model", "PATH.tflite"],
        ["draw", "--no-browser", "--drawings", "PATH.jsonl"],
        ["read", "PATH"],
        ["read", "--model", "PATH", "."],
        ["train", "--output", "PATH"],
        ["train", "--data-dir", "PATH"],
        ["train", "--drawings", "PATH.jsonl"],
        ["train", "-p", "output_folder=PATH"],
        ["train", "-p", "drawings=PATH.jsonl"],
        ["evaluate", "PATH.tflite"],
        ["evaluate", "--output", "PATH"],
        ["evaluate", "--data-dir", "PATH"],
        ["evaluate", "--drawings", "PATH.jsonl"],
        ["evaluate", "-p", "model=PATH.tflite"],
        ["sweep", "PATH.yaml"],
        ["report", "PATH"],
        ["report", ".", "--output", "PATH"],
    ],
    ids=" ".join,
)
def test_a_home_folder_that_nobody_knows_is_told_in_one_sentence(arguments: list[str], capsys, monkeypatch):
    monkeypatch.setattr(execute, "run_notebook", lambda *_, **__: pytest.fail("a notebook was run"))
    assert cli.main([argument.replace("PATH", "~nosuch/mine") for argument in arguments]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"digits {arguments[0]}: ~nosuch/mine")
    assert "the home folder ~nosuch is not known here; write the whole path" in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_an_output_that_cannot_be_a_folder_is_told_by_its_name(command: str, tmp_path: Path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert cli.main([command, "--output", str(tmp_path / "file")]) == 1
    told = capsys.readouterr().err
    assert f"digits {command}: {tmp_path / 'file'}" in told
    assert "choose another" in told


def test_drawings_that_are_a_folder_are_told_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "a.jsonl"
    folder.mkdir()
    assert cli.main(["train", "--drawings", str(folder)]) == 1
    assert f"digits train: {folder} cannot be used (" in capsys.readouterr().err


def test_a_run_is_named_by_the_parameters_that_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    started = []

    def run(name: str, output: Path, *, parameters: dict) -> Path:
        started.append((output, parameters))
        return output

    monkeypatch.setattr(execute, "run_notebook", run)
    cli.main(["train", "--seed", "1", "-p", "seed=3"])
    cli.main(["train", "-p", "output_folder=~/mine"])
    cli.main(["train", "-p", "output_folder=2024"])
    cli.main(["evaluate", "-p", "output_folder=~/mine"])
    cli.main(["evaluate", "-p", f"model={BUNDLED_MODEL}"])
    mine = Path("~/mine").expanduser()
    outputs = [output for output, _ in started]
    trained = [Path("runs/quick-seed3/02_train.ipynb"), mine / "02_train.ipynb", Path("2024/02_train.ipynb")]
    evaluated = [mine / "03_evaluate.ipynb", BUNDLED_MODEL.parent / "evaluation" / "03_evaluate.ipynb"]
    assert outputs == trained + evaluated
    assert [Path(parameters["output_folder"]) for _, parameters in started] == [output.parent for output in outputs]


def test_unknown_notebook_parameter_is_refused_before_anything_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "run"
    assert cli.main(["train", "--output", str(folder), "-p", "learning_rat=0.1"]) == 1
    assert "02_train.ipynb has no parameter learning_rat; it has augmentation, " in capsys.readouterr().err
    assert not folder.exists()


def test_an_error_within_a_notebook_is_told_without_a_traceback(tmp_path: Path):
    output = tmp_path / "out.ipynb"
    with pytest.raises(NotebookError, match=r"ValueError: preset is 'none'; choose one of[\s\S]*out\.ipynb"):
        run_notebook("02_train", output, parameters={"preset": "none"})
    assert output.exists()


@pytest.fixture
def tiny_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A notebook in the place of the project's; it raises where its parameter `breaks` says so."""
    source = write_tiny_notebook(tmp_path)
    monkeypatch.setenv("JOURNAL", str(tmp_path / "journal.txt"))
    monkeypatch.setattr(execute, "find_notebook", lambda name: source)
    return source


@pytest.mark.usefixtures("tiny_notebook")
def test_a_run_that_fails_leaves_the_notebook_of_a_finished_one_alone(tmp_path: Path):
    output, failed = tmp_path / "run" / "out.ipynb", tmp_path / "run" / "out.failed.ipynb"
    good, bad = ({"output_folder": str(tmp_path), "breaks": breaks} for breaks in (False, True))
    run_notebook("tiny", output, parameters=good)
    finished = output.read_bytes()
    for _ in range(2):
        with pytest.raises(NotebookError, match=r"1 was to break\n.*traceback is in .*out\.failed\.ipynb\)"):
            run_notebook("tiny", output, parameters=bad)
        assert output.read_bytes() == finished
        assert '"output_type": "error"' in failed.read_text(encoding="utf-8")
    run_notebook("tiny", output, parameters=good)
    assert output.read_bytes() != finished
    assert [path.name for path in output.parent.iterdir()] == ["out.ipynb"]


def test_a_notebook_that_runs_shows_that_time_passes_at_a_terminal_and_one_line_elsewhere():
    with execute.Waiting(terminal := Terminal(), "it is running") as stream:
        wait_until(lambda: "it is running, 1 s" in terminal.getvalue(), "the seconds to be counted")
        stream.write("loss 0.5\n")
        stream.write("no end of line")
        time.sleep(1.5)
    first, last = terminal.getvalue().split("loss 0.5\n")
    assert first.startswith("\r\x1b[Kit is running, 0 s\r\x1b[K")
    assert first.endswith("\r\x1b[K")
    assert last.rpartition("\x1b[K")[2] == "no end of line"  # which is not overwritten
    with execute.Waiting(file := io.StringIO(), "it is running") as stream:
        stream.write("loss 0.5\n")
    assert file.getvalue() == "it is running; what it prints follows\nloss 0.5\n"


def test_what_a_notebook_reports_within_an_epoch_is_seen_at_a_terminal(
    tiny_notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    report = "from digit_utils.files import report_progress; report_progress('epoch 2 of 5, 40%')"
    loop = "for step in range(20):"
    tiny_notebook.write_text(tiny_notebook.read_text().replace(loop, rf"{report}\n{loop}"))
    run_notebook("tiny", tmp_path / "out.ipynb", parameters={"output_folder": str(tmp_path), "seconds": 3.0})
    assert re.search(r"\rtiny is running, \d s: epoch 2 of 5, 40%", terminal.getvalue().replace("\x1b[K", ""))


def test_training_ends_with_accuracy_interval_time_and_the_next_command(tmp_path: Path, monkeypatch, capsys):
    test = {"digits": 10_000, "errors": 80, "error_rate": 0.008, "error_low": 0.0064, "error_high": 0.0099}

    def run(name: str, output: Path, *, parameters: dict) -> Path:
        write_json(output.parent / "metrics.json", {"dataset": "mnist", "test": test})
        return output

    monkeypatch.setattr(execute, "run_notebook", run)
    assert cli.main(["train", "--output", str(tmp_path)]) == 0
    accuracy, command = capsys.readouterr().out.splitlines()[-2:]
    assert accuracy.startswith(
        "99.20% of 10,000 mnist test digits are read correctly, 95 % interval [99.01%, 99.36%], after"
    )
    assert command == f"Draw with it:  digits draw --model {tmp_path}"


@pytest.mark.usefixtures("tiny_notebook")
def test_a_notebook_that_failed_is_replaced_by_the_next_one(tmp_path: Path):
    output = tmp_path / "run" / "out.ipynb"
    for x in (1, 2):
        with pytest.raises(NotebookError, match=rf"{x} was to break\n.*traceback is in .*out\.ipynb\)"):
            run_notebook("tiny", output, parameters={"breaks": True, "x": x})
        assert f"{x} was to break" in output.read_text(encoding="utf-8")
    run_notebook("tiny", output, parameters={"output_folder": str(tmp_path)})
    assert '"output_type": "error"' not in output.read_text(encoding="utf-8")
    assert [path.name for path in output.parent.iterdir()] == ["out.ipynb"]


def test_a_sweep_finds_the_notebook_of_a_failed_run_in_its_place(tiny_notebook: Path, tmp_path: Path):
    output = tmp_path / "run" / "out.ipynb"
    execute_notebook(tiny_notebook, output, parameters={"output_folder": str(tmp_path)})
    with pytest.raises(NotebookError, match="1 was to break"):
        execute_notebook(tiny_notebook, output, parameters={"breaks": True})
    assert '"output_type": "error"' in output.read_text(encoding="utf-8")
    assert [path.name for path in output.parent.iterdir()] == ["out.ipynb"]


@pytest.mark.parametrize("demonstrations", [True, False])
def test_demonstrations_are_left_out_where_nobody_reads_them(tiny_notebook: Path, tmp_path: Path, demonstrations: bool):
    notebook = nbformat.read(tiny_notebook, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell("print(x + 40)", metadata={"tags": ["demonstration"]}))
    nbformat.write(notebook, tiny_notebook)
    output, parameters = tmp_path / "out.ipynb", {"x": 2, "output_folder": str(tmp_path)}
    execute_notebook(tiny_notebook, output, parameters=parameters, demonstrations=demonstrations)
    *others, last = [cell for cell in nbformat.read(output, as_version=4).cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in others)
    assert [out.text for out in last.outputs] == ["42\n"] * demonstrations


def test_missing_training_packages_are_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setitem(sys.modules, "papermill", None)  # as if it were not installed
    with pytest.raises(NotebookError, match=r"papermill is not installed.*digit-utils\[train\]"):
        run_notebook("02_train", tmp_path / "out.ipynb", parameters={})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=1", 1),
        ("a=0.5", 0.5),
        ("a=true", True),
        ("a=False", False),
        ("a=mild", "mild"),
        ("a=", ""),
        ("a=b=c", "b=c"),
    ],
)
def test_parameters_are_read_as_what_they_look_like(text: str, expected: object):
    name, value = read_parameter(text)
    assert name == "a"
    assert value == expected
    assert type(value) is type(expected)


def test_command_needs_no_tensorflow():
    code = (
        "import sys, digit_utils.cli as c; c._parser(); sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
