"""What has changed on Colab since it was rebuilt for the tests.

    python -m tests.colab.drift LIST

LIST is a newer `pip freeze` of Colab. Google publishes them (github.com/googlecolab/backend-info, pip-freeze.txt), and
`!pip freeze` on Colab prints one. Told is every version that differs from constraints.txt, and every package that the
set-up cell adds today and that Colab has by now. The exit status is 1 when there is any.
"""

import argparse
import importlib.metadata
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

from digit_utils.notebook.colab import PACKAGE, missing_requirements
from tests.colab.replica import CONSTRAINTS, pins

ABSENT = "absent"


@dataclass(frozen=True)
class Drift:
    """A package that is not as it was tested."""

    name: str
    tested: str  # a version, or "absent"
    there: str


def drift(tested: Mapping[str, str], there: Mapping[str, str], *, added: list[str]) -> list[Drift]:
    """Return what differs, by name.

    Args:
        tested: versions that the tests use, by name.
        there: all versions that Colab has now.
        added: names of what the set-up cell adds to what was tested.
    """
    changed = [Drift(name, version, there.get(name, ABSENT)) for name, version in tested.items()]
    arrived = [Drift(name, ABSENT, there[name]) for name in added if name in there]
    return sorted((each for each in [*changed, *arrived] if each.tested != each.there), key=lambda each: each.name)


def names_added(tested: Mapping[str, str]) -> list[str]:
    """Return the names of what the set-up cell adds to a Colab that has `tested`."""
    missing = missing_requirements(importlib.metadata.requires(PACKAGE) or (), tested)
    return [Requirement(each).name for each in missing]


def main(arguments: list[str] | None = None) -> int:
    """Print the drift; return 1 when there is any, 2 when the list cannot be read."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("list", type=Path, help="lines of name==version, as `pip freeze` prints them")
    path = parser.parse_args(arguments).list
    try:
        there = pins(path)
    except (OSError, UnicodeDecodeError) as error:
        print(f"{path} cannot be read: {error}", file=sys.stderr)
        return 2
    if not there:
        print(f"{path} holds no line of the form name==version", file=sys.stderr)
        return 2
    tested = pins(CONSTRAINTS)
    found = drift(tested, there, added=names_added(tested))
    if not found:
        print(f"All {len(tested)} packages are as tested.")
        return 0
    width = max(len(each.name) for each in found)
    print(f"{'package':{width}}  {'tested':12}  there")
    for each in found:
        print(f"{each.name:{width}}  {each.tested:12}  {each.there}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
