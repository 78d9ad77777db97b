"""The rooms of the package and what may know what, read from its source; and what importing it costs."""

import ast
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "digit_utils"

# Each room, and the rooms that it may import. A room stands above all that it imports, so none is listed before them.
ALLOWED = {
    "types": "",
    "files": "",
    "preprocessing": "files types",
    "recognition": "preprocessing files types",
    "augmentation": "preprocessing types",
    "datasets": "preprocessing files types",
    "training": "augmentation datasets recognition preprocessing files types",
    "evaluation": "recognition datasets augmentation preprocessing files types",
    "pad": "recognition datasets preprocessing files types",
    "plots": "evaluation preprocessing types",
    "notebook": "files types",
    "sweeps": "notebook datasets recognition plots files types",
    "serving": "pad notebook recognition datasets files types",
    "cli": "serving sweeps notebook plots pad evaluation training datasets"
    " augmentation recognition preprocessing files types",
}
# From strokes to the page: here nothing of training, and none of its libraries.
TO_THE_PAGE = ("types", "files", "preprocessing", "recognition", "datasets", "pad", "notebook", "serving")
TRAINING_LIBRARIES = {"tensorflow", "keras", "jax", "torch"}


def room_of(path: Path) -> str:
    """Return the room that a source file belongs to: its folder in the package, or its own name."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def modules_imported_by(path: Path) -> set[str]:
    """Return the full names that a source file imports, in functions too, but not what only type checkers see."""
    return set(_imported_below(ast.parse(path.read_text(encoding="utf-8"))))


def _imported_below(node: ast.AST) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"line {child.lineno}: a relative import"
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        elif not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
            yield from _imported_below(child)


SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
ROOMS = sorted({room_of(path) for path in SOURCES})


def test_every_room_is_in_the_table():
    assert sorted(ALLOWED) == ROOMS


def test_a_room_stands_above_all_that_it_imports():
    """So there can be no cycle among the allowed arrows."""
    below: set[str] = set()
    for room, allowed in ALLOWED.items():
        assert set(allowed.split()) <= below, f"{room} stands below a room that it may import"
        below.add(room)


def test_the_design_page_shows_the_same_table():
    page = (PACKAGE.parent / "docs" / "design.md").read_text(encoding="utf-8").partition("| room | may import |")[2]
    shown: dict[str, set[str]] = {}
    for rooms, allowed in re.findall(r"^\| (`[^|]+`) \| ([^|]+) \|$", page, re.MULTILINE):
        shown |= {key: set(re.findall(r"`(\w+)`", allowed)) for key in re.findall(r"`(\w+)`", rooms)}
    expected = {room: set(allowed.split()) for room, allowed in ALLOWED.items() if room != "cli"}
    assert {room: allowed for room, allowed in shown.items() if room != "cli"} == expected


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_it_may(room: str):
    allowed = {room, "__version__", *ALLOWED[room].split()}
    for path in (path for path in SOURCES if room_of(path) == room):
        rooms = {name.split(".")[1] for name in modules_imported_by(path) if name.startswith("digit_utils.")}
        assert rooms <= allowed, f"{path.relative_to(PACKAGE.parent)} imports {sorted(rooms - allowed)}"


@pytest.mark.parametrize("room", TO_THE_PAGE)
def test_nothing_from_strokes_to_the_page_imports_a_training_library(room: str):
    for path in (path for path in SOURCES if room_of(path) == room):
        libraries = {name.partition(".")[0] for name in modules_imported_by(path)}
        assert not libraries & TRAINING_LIBRARIES, path


def test_importing_a_room_imports_none_of_its_modules():
    for path in PACKAGE.glob("*/__init__.py"):
        assert not modules_imported_by(path), path


def test_every_module_says_what_it_is_for():
    for path in SOURCES:
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        assert docstring, f"{path.relative_to(PACKAGE.parent)} has no docstring"


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        pytest.param(
            "from digit_utils import DigitPad, Recognizer, load_dataset; load_dataset('digits8x8')",
            TRAINING_LIBRARIES,
            id="the public face",
        ),
        pytest.param(
            "import digit_utils; digit_utils.Recognizer.load()",
            {*TRAINING_LIBRARIES, "matplotlib", "sklearn", "scipy", "papermill", "ipycanvas", "voila", "distributed"},
            id="the recogniser",
        ),
    ],
)
def test_importing_brings_in_nothing_heavy(code: str, unwanted: set[str]):
    program = f"{code}\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=120)
    assert not set(json.loads(said.stdout)) & unwanted


@pytest.mark.serial
def test_the_first_answer_comes_at_once_and_in_little_memory():
    """From the start of the process; on an idle core of 2026 it is there after 0.25 s, and with 66 MB.

    The bound on time leaves room for a core half as fast, and the fastest of ten starts for what else the machine does.
    """
    program = """
import numpy as np
from digit_utils import Recognizer
print(Recognizer.load().recognize([np.array([[50.0, 0.0], [50.0, 100.0]])]).digit, flush=True)
import re, resource, sys
if sys.platform == "linux":  # ru_maxrss would count the process that started this one
    print(int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) / 1024)
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
            answer = process.stdout.readline()
            seconds.append(time.perf_counter() - start)
            megabytes = float(process.stdout.read())
        assert answer == "1\n"
        assert megabytes < 80
    assert min(seconds) < 0.5
