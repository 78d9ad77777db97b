"""What the documentation says is true: its snippets run, its commands, links and names exist."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

from digit_utils import cli
from digit_utils.datasets.base import DigitDataset
from digit_utils.evaluation import ablation

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "digit_utils"
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), PACKAGE / "models" / "README.md"]
}
README = PAGES["README.md"]
ROOMS = [path.parent.name for path in PACKAGE.glob("*/__init__.py")]
ROOMS += [path.stem for path in PACKAGE.glob("*.py") if path.name != "__init__.py"]
COMMANDS = "\n".join(block for text in PAGES.values() for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL))


def snippet_of(page: str) -> str:
    """Return the one snippet of Python on a page."""
    (snippet,) = re.findall(r"```python\n(.*?)```", PAGES[page], re.DOTALL)
    return snippet


def anchors_of(text: str) -> set[str]:
    """Return the anchors that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_map_of_the_code_names_every_room_once():
    the_map = README.partition("\n## The code\n")[2].partition("\n## ")[0].partition("|---|")[2]
    named = re.findall(r"`(\w+)(?:/|\.py)`", the_map)
    assert sorted(named) == sorted(ROOMS)


def test_the_design_lists_every_room():
    table = PAGES["docs/design.md"].partition("## What may import what")[2].partition("\n## ")[0]
    first_cells = "".join(re.findall(r"^\| (`.+?) \|", table, re.MULTILINE))
    assert sorted(re.findall(r"\w+", first_cells)) == sorted(ROOMS)


def is_defined(name: str) -> bool:
    """Tell whether the package's source defines a module, or a class, method or function in it."""
    parts, path = name.split("."), PACKAGE
    while parts and (path / parts[0]).is_dir():
        path = path / parts.pop(0)
    path = path / f"{parts.pop(0)}.py" if parts else path / "__init__.py"
    scope = ast.parse(path.read_text(encoding="utf-8")) if path.exists() else None
    for part in parts:
        inside = getattr(scope, "body", [])
        scope = next((node for node in inside if getattr(node, "name", None) == part), None)
    return scope is not None


def test_all_functions_that_the_design_names_exist():
    named = re.findall(r"`(\w+(?:\.\w+)+)`", PAGES["docs/design.md"].partition("## A stroke")[2])
    of_ours = [name for name in named if name.partition(".")[0] in ROOMS]
    assert len(of_ours) > 20
    assert [name for name in of_ours if not is_defined(name)] == []
    assert not is_defined("pad.widget.DigitPad.no_such_method")


@pytest.mark.parametrize("page", PAGES)
def test_links_and_images_exist(page: str):
    text, folder = PAGES[page], (ROOT / page).parent
    for target in re.findall(r'<img src="([^"]+)"', text) + re.findall(r"\]\((?!http)([^)]+)\)", text):
        path, _, anchor = target.partition("#")
        there = (folder / path).resolve() if path else ROOT / page
        assert there.exists(), target
        if anchor:
            assert anchor in anchors_of(there.read_text(encoding="utf-8")), target


def test_every_image_in_docs_is_shown():
    shown = {Path(target).name for text in PAGES.values() for target in re.findall(r'<img src="([^"]+)"', text)}
    assert {path.name for path in ROOT.glob("docs/*") if path.suffix in (".png", ".gif")} == shown


def test_the_animations_pen_goes_from_end_to_end_in_even_steps():
    from docs.make_animation import evenly_spaced

    corner = np.array([[0.0, 0.0], [0.0, 0.5], [0.5, 0.5]])
    points = evenly_spaced(corner, step=0.05)
    np.testing.assert_allclose(points[[0, -1]], corner[[0, -1]])
    steps = np.hypot(*np.diff(points, axis=0).T)
    assert 0.03 < steps.min() <= steps.max() < 0.06


def test_first_snippet_reads_the_seven():
    names: dict = {}
    exec(snippet_of("README.md"), names)
    assert names["prediction"].digit == 7


@pytest.mark.slow
def test_snippet_for_own_digits_trains(digits8x8: DigitDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    names = {"images": digits8x8.train.images, "labels": digits8x8.train.labels}
    exec(snippet_of("docs/training.md").replace('preset("quick")', 'preset("quick", epochs=3)'), names)
    assert Path("runs/mine/model.tflite").exists()
    test = digits8x8.test.take(slice(0, 100))
    right = [names["recognizer"].recognize_image(picture).best_digit for picture in test.images] == test.labels
    assert right.mean() > 0.5


@pytest.mark.parametrize("line", re.findall(r"^digits [^#\n]+", COMMANDS, re.MULTILINE))
def test_commands_are_understood(line: str):
    cli._parser().parse_args(line.split()[1:])


def test_table_of_steps_says_what_was_stored():
    stored = ablation.steps_of_bundled_model()
    table = ablation.step_table(stored["errors"], stored["digits"]).splitlines()[1:]
    told = re.findall(r"^\| ([a-z, ]+) ((?:\| [\d.]+%[^|]*){3})\|$", PAGES["docs/results.md"], re.MULTILINE)
    assert [name for name, _ in told] == list(stored["errors"])
    assert [[name, *re.split(r" *\| ", cells.strip())[1:]] for name, cells in told] == [
        re.split(r"  +", line.strip()) for line in table
    ]


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"(?:^|`)make (\w+)", "\n".join(PAGES.values()), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_benchmarks_exist():
    for name in re.findall(r"python\s-m\s(benchmarks[\w.]+)", "\n".join(PAGES.values())):
        assert (ROOT / name.replace(".", "/")).with_suffix(".py").exists(), name


def test_no_placeholder_is_left():
    assert not re.findall(r"@[A-Z]+@", "".join(PAGES.values()))
