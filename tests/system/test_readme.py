"""What the README says is true: its snippets run, its commands exist, its map names every module."""

import re
from pathlib import Path

import pytest

from digit_utils import cli
from digit_utils.datasets.base import DigitDataset
from digit_utils.evaluation import ablation

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = "\n".join(re.findall(r"```sh\n(.*?)```", README, re.DOTALL))
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_map_of_the_code_names_every_module_once():
    the_map = README.partition("## The map of the code")[2].partition("\n## ")[0]
    named = re.findall(r"`(\w+\.py)`", the_map)
    modules = [path.name for path in (ROOT / "digit_utils").glob("*.py") if path.name != "__init__.py"]
    assert sorted(named) == sorted(modules)


def test_links_and_pictures_exist():
    pictures = re.findall(r'<img src="([^"]+)"', README)
    assert len(pictures) >= 2
    for target in [*pictures, *re.findall(r"\]\((?!http)([^)#]+)\)", README)]:
        assert (ROOT / target).exists(), target


def test_first_snippet_reads_the_seven():
    names: dict = {}
    exec(SNIPPETS[0], names)
    assert names["prediction"].digit == 7


@pytest.mark.slow
def test_snippet_for_own_digits_trains(digits8x8: DigitDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    names = {"pictures": digits8x8.train.images, "labels": digits8x8.train.labels}
    exec(SNIPPETS[1].replace('preset("quick")', 'preset("quick", epochs=3)'), names)
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
    told = re.findall(r"^\| ([a-z, ]+) ((?:\| [\d.]+%[^|]*){3})\|$", README, re.MULTILINE)
    assert [name for name, _ in told] == list(stored["errors"])
    assert [[name, *re.split(r" *\| ", cells.strip())[1:]] for name, cells in told] == [
        re.split(r"  +", line.strip()) for line in table
    ]


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_no_placeholder_is_left():
    assert not re.findall(r"@[A-Z]+@", README)
