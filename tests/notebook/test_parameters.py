"""What notebooks accept as parameters, and that the rules are in step with what they stand for."""

from __future__ import annotations

from pathlib import Path

import pytest

from digit_utils.notebook.parameters import RULES, check_parameters, problem
from digit_utils.training.config import AUGMENTATIONS


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("preset", "huge", "preset is 'huge'; choose one of 'quick', 'full'"),
        ("augmentation", "wild", "augmentation is 'wild'; choose one of 'none', 'mild', 'strong'"),
        ("seed", -1, "seed is -1; it must be a whole number from 0, below 4294967296"),
        ("seed", 2**32, "seed is 4294967296; it must be a whole number from 0, below 4294967296"),
        ("epochs", True, "epochs is True; it must be a whole number from 0"),
        ("epochs", 2.0, "epochs is 2.0; it must be a whole number from 0"),
        ("learning_rate", "fast", "learning_rate is 'fast'; it must be a number, at least 0"),
        ("learning_rate", float("inf"), "learning_rate is inf; it must be a number, at least 0"),
        ("learning_rate", float("nan"), "learning_rate is nan; it must be a number, at least 0"),
        ("compare", 1, "compare is 1; it must be True or False"),
        ("model", None, "model is None; it must be text, in quotes"),
        ("drawings", "mine.txt", "drawings is 'mine.txt'; it must be a path that ends in .jsonl, or empty"),
        ("data_dir", "/no/such", "data_dir is '/no/such'; it must be a folder that exists, or empty"),
    ],
)
def test_a_wrong_value_is_named_with_the_remedy(name: str, value: object, expected: str):
    assert problem(name, value) == expected
    with pytest.raises(ValueError, match=r"must|choose") as caught:
        check_parameters({name: value})
    assert str(caught.value) == expected


def test_right_values_pass(tmp_path: Path):
    check_parameters({"preset": "full", "seed": 2**32 - 1, "epochs": 0, "learning_rate": 1, "compare": False})
    check_parameters({"network": "", "augmentation": "", "data_dir": "", "model": "", "limit": 0})
    check_parameters({"data_dir": str(tmp_path), "unheard_of": object()})


def test_all_wrong_values_are_named_at_once():
    with pytest.raises(ValueError, match=r"^seed is -1; [^\n]*\nlimit is 'few'; [^\n]*$"):
        check_parameters({"limit": "few", "seed": -1})


def test_rules_know_every_preset_network_augmentation_and_dataset():
    from digit_utils.training.config import PRESETS
    from digit_utils.training.networks import NETWORKS

    for rule, known in (("preset", PRESETS), ("network", NETWORKS), ("augmentation", AUGMENTATIONS)):
        assert not [name for name in known if not RULES[rule].allows(name)], rule
        for name in known:
            assert repr(name) in RULES[rule].remedy
