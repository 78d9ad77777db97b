"""The command `digits`: thin over the notebooks and the package."""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from digit_utils import __version__
from digit_utils.files import with_home
from digit_utils.notebook.parameters import PATHS, check_parameters
from digit_utils.recognition.model_file import ModelFileError
from digit_utils.serving.start_up import ADDRESS_GRAMMAR, pretend_not_installed

PLACES = (*PATHS, "output_folder")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, or 1 after an error that was reported in one sentence, or 130 after Ctrl-C."""
    options = _parser().parse_args(arguments)
    pretend_not_installed(ADDRESS_GRAMMAR)
    from digit_utils.datasets.base import DatasetCorrupt
    from digit_utils.datasets.drawings import DrawingsFileError
    from digit_utils.notebook.execute import NotebookError
    from digit_utils.recognition.image_files import TableNameError
    from digit_utils.serving.app import PageError
    from digit_utils.sweeps.config import SweepError

    reported = (
        ModelFileError,
        NotebookError,
        PageError,
        SweepError,
        TableNameError,
        DatasetCorrupt,
        DrawingsFileError,
        OSError,
    )
    try:
        return options.run(options) or 0
    except reported as error:
        print(f"digits {options.command}: {_message(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _message(error: Exception) -> str:
    """Return an error in one sentence; what the system says of a file is turned into one."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename} cannot be used ({error.strerror}); choose another path, or fix this one"
    return str(error)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="digits",
        description="Recognise handwritten digits: draw, read images, train, evaluate, sweep.",
    )
    parser.add_argument("--version", action="version", version=f"digits {__version__}")
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="draw | read | train | evaluate | export | sweep | report"
    )
    _add_draw(commands)
    _add_read(commands)
    _add_train(commands)
    _add_evaluate(commands)
    _add_export(commands)
    _add_sweep(commands)
    _add_report(commands)
    return parser


def _add_draw(commands: argparse._SubParsersAction) -> None:
    draw = commands.add_parser(
        "draw", help="open the drawing page", description="Open a page that reads digits and numbers as you draw them."
    )
    draw.add_argument("--model", metavar="PATH", help="model file or folder of a run (default: the bundled model)")
    draw.add_argument("--port", type=_port, help="port to listen on (default: 8866, or a free one)")
    draw.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default: %(default)s, this machine only); with 0.0.0.0 others can draw, too, if "
        "they have the link with the token, which is also printed as a QR code",
    )
    draw.add_argument(
        "--base-url",
        default="/",
        metavar="PATH",
        help="path under which a reverse proxy serves the page, such as /draw/",
    )
    draw.add_argument(
        "--visitors",
        type=_at_least_one,
        metavar="N",
        help="how many may draw at once; others are asked to wait (default: as many as free memory allows)",
    )
    draw.add_argument(
        "--drawings",
        metavar="FILE.jsonl",
        help="save corrected drawings in this file, as strokes, and apply those in it if nobody else can reach the "
        "page (default: nothing is saved)",
    )
    draw.add_argument("--keep-all", action="store_true", help="with --drawings: save all labelled drawings")
    draw.add_argument(
        "--theme",
        choices=("auto", "light", "dark"),
        default="auto",
        help="colours until a visitor chooses others (default: auto, which follows the visitor's system)",
    )
    draw.add_argument("--no-browser", action="store_true", help="print the link without opening a browser")
    draw.set_defaults(run=_draw)


def _add_read(commands: argparse._SubParsersAction) -> None:
    read = commands.add_parser(
        "read",
        help="read the numbers in image files",
        description="Read the numbers in image files: scans, photos, drawings. A file that cannot be read is reported, "
        "and the others are read.",
        epilog="Prints one line per number: file, text, confidence, box. Exits with 1 if a file cannot be read.",
    )
    read.add_argument("files", nargs="+", metavar="FILE|FOLDER", help="images, or folders of images")
    read.add_argument(
        "--output", metavar="FILE", help="write a table, .csv or .jsonl (default: print lines, or CSV if piped)"
    )
    read.add_argument("--boxes", metavar="FOLDER", help="save a copy of each image with boxes around the numbers")
    read.add_argument(
        "--one-digit", action="store_true", help="each image shows one digit; faster, and never splits it"
    )
    read.add_argument("--model", metavar="PATH", help="model file or folder of a run (default: the bundled model)")
    read.set_defaults(run=_read)


def _add_train(commands: argparse._SubParsersAction) -> None:
    train = commands.add_parser(
        "train",
        help="train a network",
        description="Train a network by running notebook 02_train. An interrupted run is resumed.",
        epilog="The result is a folder: model.keras, model.tflite, metrics.json, config.json, the learning curves "
        "and the notebook itself. Draw with it: digits draw --model FOLDER",
    )
    train.add_argument(
        "--preset",
        choices=("quick", "full"),
        help="quick: a minute, and another to compare without augmentation, unless -p compare=False; full: how the "
        "bundled model was trained, 80 minutes (default: quick)",
    )
    train.add_argument("--epochs", type=_at_least_one, help="passes through the training data (default: the preset's)")
    train.add_argument("--seed", type=int, help="seed of weights, order and augmentation (default: 0)")
    train.add_argument("--output", metavar="FOLDER", help="folder of the run (default: runs/PRESET-seedSEED)")
    train.add_argument("--data-dir", metavar="FOLDER", help="folder of the datasets (default: found or downloaded)")
    train.add_argument(
        "--data",
        metavar="FOLDER|FILE",
        help="train on these digits instead of MNIST: a folder with subfolders 0 to 9, a .csv with label and "
        "pixels, a folder with idx files, an .npz with x and y, or a .jsonl of drawings",
    )
    train.add_argument("--drawings", metavar="FILE.jsonl", help="also train on your own drawings")
    _add_parameters(train, "02_train")
    train.set_defaults(run=_train)


def _add_evaluate(commands: argparse._SubParsersAction) -> None:
    evaluate = commands.add_parser(
        "evaluate",
        help="evaluate a model",
        description="Evaluate a model on digits that it has not seen, by running notebook 03_evaluate.",
    )
    evaluate.add_argument(
        "model", nargs="?", default="", help="model file or folder of a run (default: the bundled model)"
    )
    evaluate.add_argument(
        "--output", metavar="FOLDER", help="for the figures (default: evaluation in MODEL's folder, or runs/bundled)"
    )
    evaluate.add_argument(
        "--data-dir", metavar="FOLDER", help="folder with the datasets (default: found or downloaded)"
    )
    evaluate.add_argument("--data", metavar="FOLDER|FILE", help="also evaluate on these digits, given as for train")
    evaluate.add_argument("--drawings", metavar="FILE.jsonl", help="also evaluate on your own drawings")
    _add_parameters(evaluate, "03_evaluate")
    evaluate.set_defaults(run=_evaluate)


def _add_export(commands: argparse._SubParsersAction) -> None:
    export = commands.add_parser(
        "export",
        help="export a network for other programs",
        description="Export the bare network of a run, from normalised ink to logits, as ONNX, or as LiteRT with int8 "
        "arithmetic for microcontrollers.",
    )
    export.add_argument("folder", metavar="RUN", help="folder of a finished run")
    export.add_argument("--format", choices=("onnx", "int8"), default="onnx", help="format of the file (default: onnx)")
    export.add_argument("--output", metavar="FILE", help="target (default: model.onnx or model-int8.tflite in RUN)")
    export.set_defaults(run=_export)


def _add_sweep(commands: argparse._SubParsersAction) -> None:
    sweep = commands.add_parser(
        "sweep",
        help="run a notebook hundreds of times",
        description="Run a notebook with many sets of parameters, several at a time. You can stop the sweep at any "
        "time and start it again: finished runs are kept, interrupted runs are resumed.",
        epilog="The table is results.csv in the output folder; `digits report FOLDER` makes a report.",
    )
    sweep.add_argument("file", metavar="SWEEP.yaml", help="what to vary: see `pydoc digit_utils.sweeps.config`")
    sweep.add_argument("--output", metavar="FOLDER", default="runs", help="for runs and table (default: runs)")
    sweep.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="of a dask cluster that shares the output folder, such as tcp://host:8786",
    )
    sweep.add_argument("--workers", type=_at_least_one, help="runs at a time on this machine (default: one per core)")
    sweep.add_argument("--threads", type=_at_least_one, default=1, help="threads per run (default: 1)")
    sweep.add_argument("--retry-failed", action="store_true", help="repeat the runs that failed")
    sweep.add_argument(
        "--max-failures", type=_at_least_one, metavar="N", help="stop when N runs have failed (default: continue)"
    )
    sweep.add_argument("--dry-run", action="store_true", help="check everything and list the runs, but start none")
    sweep.set_defaults(run=_sweep)


def _add_report(commands: argparse._SubParsersAction) -> None:
    report = commands.add_parser(
        "report",
        help="make a report of a sweep",
        description="Make an HTML report of a sweep, finished or not: table, intervals across seeds, which parameters "
        "matter, learning curves.",
    )
    report.add_argument("folder", help="the sweep's output folder")
    report.add_argument("--output", metavar="FILE", help="file to write (default: FOLDER/report.html)")
    report.add_argument("--metric", help="metric to compare runs by, such as validation.loss (default: the sweep's)")
    report.add_argument("--tensorboard", metavar="FOLDER", help="also write the learning curves there for TensorBoard")
    report.set_defaults(run=_report)


def _add_parameters(parser: argparse.ArgumentParser, notebook: str) -> None:
    parser.add_argument(
        "-p",
        "--parameter",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        type=_parameter,
        help=f"any other parameter of notebook {notebook}; `papermill --help-notebook` lists them",
    )


def _draw(options: argparse.Namespace) -> None:
    from digit_utils.serving.app import serve

    serve(
        model=_expanded(options.model),
        port=options.port,
        host=options.host,
        base_url=options.base_url,
        theme=options.theme,
        drawings=_expanded(options.drawings),
        keep_all=options.keep_all,
        visitors=options.visitors,
        open_browser=not options.no_browser,
    )


def _read(options: argparse.Namespace) -> int:
    from digit_utils.recognition import image_files
    from digit_utils.recognition.recognizer import Recognizer

    if options.output:
        image_files.check_table_name(options.output)
    files = image_files.image_files(options.files)
    counted = len(files) > 1 and sys.stderr.isatty()
    found = list(
        image_files.read_files(
            Recognizer.load(_expanded(options.model)),
            files,
            one_digit=options.one_digit,
            boxes=Path(_expanded(options.boxes)) if options.boxes else None,
            on_progress=lambda done: counted and print(f"\r{done} of {len(files)} files", end="", file=sys.stderr),
        )
    )
    if counted:
        print(file=sys.stderr)
    readings = [each for each in found if isinstance(each, image_files.Reading)]
    failures = [each for each in found if isinstance(each, image_files.FileFailure)]
    for failure in failures:
        print(f"digits read: {failure.message}", file=sys.stderr)
    if options.output:
        image_files.write_table(options.output, readings)
    else:
        sys.stdout.write((image_files.as_text if sys.stdout.isatty() else image_files.as_csv)(readings))
    return 1 if failures else 0


def _train(options: argparse.Namespace) -> None:
    from digit_utils.notebook.execute import run_notebook

    parameters = {
        "preset": options.preset,
        "epochs": options.epochs,
        "seed": options.seed,
        "output_folder": options.output,
        "data_dir": _absolute(options.data_dir),
        "data": _own_data(options.data, complete=True),
        "drawings": _drawings(options.drawings),
        **dict(options.parameter),
    }
    parameters |= _places_of(parameters)
    _check_values(parameters)
    named = f"runs/{parameters['preset'] or 'quick'}-seed{parameters['seed'] or 0}"
    folder = Path(str(parameters["output_folder"] or named))
    parameters["output_folder"] = str(folder)
    start = time.monotonic()
    notebook = run_notebook("02_train", folder / "02_train.ipynb", parameters=parameters)
    print(f"The run is in {folder}; the notebook with its figures is {notebook}.")
    print(_outcome_of_training(folder, notebook, time.monotonic() - start))
    print(f"Draw with it:  digits draw --model {folder}")


def _outcome_of_training(folder: Path, notebook: Path, seconds: float) -> str:
    """Return accuracy, interval and time in one line; only the time if the run recorded no score."""
    from digit_utils.notebook.results import metrics_of_run

    try:
        metrics = metrics_of_run(folder, notebook)
        test = metrics["test"]
        low, high = 1 - test["error_high"], 1 - test["error_low"]
        score = (
            f"{1 - test['error_rate']:.2%} of {test['digits']:,} {metrics['dataset']} test digits are read correctly"
        )
        return f"{score}, 95 % interval [{low:.2%}, {high:.2%}], after {seconds:.0f} s."
    except (OSError, KeyError, TypeError):
        return f"It took {seconds:.0f} s."


def _evaluate(options: argparse.Namespace) -> None:
    from digit_utils.notebook.execute import run_notebook
    from digit_utils.recognition.recognizer import Recognizer

    parameters = {
        "model": _absolute(options.model),
        "output_folder": options.output,
        "data_dir": _absolute(options.data_dir),
        "data": _own_data(options.data),
        "drawings": _drawings(options.drawings),
        **dict(options.parameter),
    }
    parameters |= _places_of(parameters)
    _check_values(parameters)
    model = str(parameters["model"] or "")
    Recognizer.load(model)  # a broken model is reported before a notebook is started
    folder = Path(str(parameters["output_folder"] or _folder_of(model)))
    parameters["output_folder"] = str(folder)
    notebook = run_notebook("03_evaluate", folder / "03_evaluate.ipynb", parameters=parameters)
    print(f"The figures are in {folder / 'evaluation.json'}; the notebook is {notebook}.")


def _export(options: argparse.Namespace) -> None:
    from digit_utils.training.deployment import export_run

    path = export_run(_expanded(options.folder), options.format, _expanded(options.output))
    print(f"The network is in {path} ({path.stat().st_size / 1000:,.0f} kB).")


def _sweep(options: argparse.Namespace) -> int:
    from digit_utils.sweeps.config import read_sweep

    sweep, output = read_sweep(_expanded(options.file)), _expanded(options.output)
    if options.dry_run:
        for parameters in sweep.runs:
            print(", ".join(f"{name}={value}" for name, value in parameters.items()))
        print(f"{len(sweep.runs)} runs of {sweep.notebook.name}")
        return 0
    from digit_utils.sweeps.scheduler import run_sweep

    try:
        counts = run_sweep(
            sweep,
            output,
            scheduler=options.scheduler,
            workers=options.workers,
            threads=options.threads,
            retry_failed=options.retry_failed,
            max_failures=options.max_failures,
        )
    except KeyboardInterrupt:
        print("stopped; finished runs are kept, and the same command resumes the sweep", file=sys.stderr)
        raise
    print(", ".join(f"{count} {status}" for status, count in counts.items()), f"of {len(sweep.runs)} runs;", end=" ")
    print(f"the table is {Path(output) / 'results.csv'}")
    return 0 if set(counts) <= {"finished"} else 1


def _report(options: argparse.Namespace) -> None:
    from digit_utils.sweeps.report import read_results, write_report, write_tensorboard

    if options.tensorboard:
        folder = Path(_expanded(options.tensorboard))
        written = sum(write_tensorboard(results, folder) for results in read_results(options.folder))
        if written:
            print(f"The learning curves of {written} run{'s' * (written > 1)} are in {folder}", end="; ")
            print(f"see them with: tensorboard --logdir {folder}")
        else:
            print("No run has left learning curves for TensorBoard yet.")
    page = write_report(_expanded(options.folder), _expanded(options.output), metric=options.metric or "")
    print(f"The report is {page}.")


def _folder_of(model: str) -> Path:
    path = Path(model)
    if not model:
        return Path("runs") / "bundled"
    return (path if path.is_dir() else path.parent) / "evaluation"


def _expanded(path: str | None) -> str | None:
    """Return a path with the home folder that its ~ stands for; "" and None as they are. Raises as `with_home` does."""
    return str(with_home(path)) if path else path


def _places_of(parameters: Mapping[str, object]) -> dict[str, str | None]:
    """Return the parameters that name a place, `-p` ones too, with their ~ expanded. Raises as `with_home` does."""
    return {name: _expanded(str(value)) for name in PLACES if (value := parameters.get(name)) is not None}


def _absolute(path: str | None) -> str | None:
    return str(Path(_expanded(path)).resolve()) if path else None


def _check_values(parameters: Mapping[str, object]) -> None:
    """Check parameters before a notebook is started, which would first import TensorFlow. Raises NotebookError."""
    from digit_utils.notebook.execute import NotebookError

    try:
        check_parameters({name: value for name, value in parameters.items() if value is not None})
    except ValueError as error:
        raise NotebookError(str(error)) from error


def _own_data(path: str | None, *, complete: bool = False) -> str | None:
    """Return the absolute path of digits of one's own, checked before a notebook is started; `complete`: of all ten."""
    from digit_utils.datasets.own_data import check_all_classes, load_own_data

    if path:
        dataset = load_own_data(_expanded(path))
        if complete:
            check_all_classes(dataset)
    return _absolute(path)


def _drawings(path: str | None) -> str | None:
    """Return the absolute path of a file of drawings; an unusable one is reported before a notebook starts."""
    from digit_utils.datasets.drawings import load_own_drawings

    if path:
        load_own_drawings(_expanded(path))
    return _absolute(path)


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def _port(text: str) -> int:
    port = _whole_number(text)
    if not 1 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port; choose one from 1 to 65535")
    return port


def _at_least_one(text: str) -> int:
    number = _whole_number(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is too small; choose at least 1")
    return number


def _parameter(text: str) -> tuple[str, object]:
    from digit_utils.notebook.execute import read_parameter

    try:
        return read_parameter(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
