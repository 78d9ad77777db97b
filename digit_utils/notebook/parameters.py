"""What the parameters of the notebooks may be, in one place for notebooks run by hand and in sweeps.

A name means the same in every notebook, so each has one rule. Rules import nothing heavy: a sweep checks its values
first. A test keeps them in step with the notebooks, presets and networks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from digit_utils.files import with_home

PATHS = ("data_dir", "data", "model", "beside", "drawings")  # parameters that name what a notebook reads


@dataclass(frozen=True)
class Rule:
    """What one parameter may be."""

    allows: Callable[[Any], bool]
    remedy: str  # follows "NAME is VALUE; " in the message


def one_of(*choices: str) -> Rule:
    """Allow these words. An empty one stands for the preset's choice."""
    return Rule(lambda value: value in choices, f"choose one of {', '.join(map(repr, filter(None, choices)))}")


def whole_number(*, below: int | None = None) -> Rule:
    """Allow whole numbers from 0, but not True and False."""
    remedy = "it must be a whole number from 0" + (f", below {below}" if below else "")
    return Rule(lambda value: type(value) is int and 0 <= value < (below or value + 1), remedy)


def number() -> Rule:
    """Allow finite numbers from 0."""
    return Rule(
        lambda value: type(value) in (int, float) and 0 <= value < float("inf"), "it must be a number, at least 0"
    )


def boolean() -> Rule:
    """Allow True and False."""
    return Rule(lambda value: isinstance(value, bool), "it must be True or False")


def text() -> Rule:
    """Allow any text; what it names is checked where it is used."""
    return Rule(lambda value: isinstance(value, str), "it must be text, in quotes")


def folder() -> Rule:
    """Allow a folder that exists, or empty text."""
    return Rule(
        lambda value: isinstance(value, str) and (not value or _is_folder(value)),
        "it must be a folder that exists, or empty",
    )


def _is_folder(path: str) -> bool:
    try:
        return with_home(path).is_dir()
    except FileNotFoundError:
        return False


def drawings_file() -> Rule:
    """Allow the path of a file of drawings, or empty text."""
    return Rule(
        lambda value: isinstance(value, str) and (not value or value.endswith(".jsonl")),
        "it must be a path that ends in .jsonl, or empty",
    )


RULES: dict[str, Rule] = {
    "preset": one_of("quick", "full"),
    "seed": whole_number(below=2**32),
    "seeds": whole_number(),
    "epochs": whole_number(),
    "network": one_of("", "simple_cnn", "tiny_cnn", "small_cnn", "medium_cnn", "large_cnn"),
    "augmentation": one_of("", "none", "mild", "strong"),
    "learning_rate": number(),
    "batch_size": whole_number(),
    "compare": boolean(),
    "keep_all": boolean(),
    "recall": boolean(),
    "dataset": one_of("mnist", "digits8x8"),
    "limit": whole_number(),
    "model": text(),
    "beside": text(),
    "data_dir": folder(),
    "data": text(),
    "drawings": drawings_file(),
    "output_folder": text(),
}


def problem(name: str, value: Any) -> str | None:
    """Return what is wrong with a value and the remedy; None if nothing is, or there is no rule of this name."""
    rule = RULES.get(name)
    if rule is None or rule.allows(value):
        return None
    return f"{name} is {value!r}; {rule.remedy}"


def check_parameters(values: Mapping[str, Any]) -> None:
    """Check every value whose name has a rule; in a notebook: `check_parameters(globals())`.

    Raises ValueError, which names each value that is not allowed, and the remedy.
    """
    problems = [found for name in RULES if name in values and (found := problem(name, values[name]))]
    if problems:
        raise ValueError("\n".join(problems))
