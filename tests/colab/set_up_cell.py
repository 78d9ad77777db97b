"""The first cell of every notebook, and every badge: written from the one address and the one version.

    python -m tests.colab.set_up_cell

After the address in digit_utils/colab.py or the version has changed, this brings notebooks, README and pyproject.toml
in step; the tests say when it was forgotten. The version rises with the first change after a release, so that what a
notebook fetches by its version is what it was written with: the release of that version, or main before there is one.
"""

import json
import re
from pathlib import Path

from digit_utils import __version__
from digit_utils.notebook.colab import REPOSITORY

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
BADGE = re.compile(r"(https://colab\.research\.google\.com/github/)[^/\s]+/[^/\s]+(/blob/main/notebooks/)")
HOMEPAGE = re.compile(r'(?m)^(Homepage = ")[^"]*(")')

SOURCE = f"""\
# On Colab this fetches the package and what Colab lacks; elsewhere it checks that the package is installed.
keep_on_drive = False  # @param {{type:"boolean"}}
import sys

if on_colab := "google.colab" in sys.modules:
    package, tag = "digit-utils @ git+{REPOSITORY}", "v{__version__}"
    pip, note = "pip install -q --no-deps", f"Release {{tag}} is not available; main is used."
    !{{pip}} "{{package}}@{{tag}}" 2>/dev/null || (echo "{{note}}" && {{pip}} "{{package}}")
try:
    from digit_utils.notebook import colab
except ModuleNotFoundError as error:
    remedy = "check the connection and run this cell again, or see {REPOSITORY}"
    raise SystemExit(f"{{error}}, so digit_utils is not fully installed: {{remedy}}") from None
if on_colab:
    colab.set_up(version="{__version__}", keep_on_drive=keep_on_drive)
"""


def first_code_cell(notebook: dict) -> dict:
    """Return the first code cell of a notebook in nbformat's JSON."""
    return next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")


def with_badges(text: str) -> str:
    """Return a text whose badges lead to the repository."""
    place = REPOSITORY.removeprefix("https://github.com/")
    return BADGE.sub(lambda found: found[1] + place + found[2], text)


def in_step(notebook: dict) -> dict:
    """Return a notebook with the set-up cell and badges as they should be; everything else stays."""
    notebook = json.loads(with_badges(json.dumps(notebook)))
    first_code_cell(notebook)["source"] = SOURCE.removesuffix("\n").splitlines(keepends=True)
    return notebook


def main() -> None:
    """Write notebooks, README and pyproject.toml."""
    for path in NOTEBOOKS:
        notebook = in_step(json.loads(path.read_text(encoding="utf-8")))
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for path, change in (
        (ROOT / "README.md", with_badges),
        (ROOT / "pyproject.toml", lambda text: HOMEPAGE.sub(lambda found: found[1] + REPOSITORY + found[2], text)),
    ):
        path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
