"""Training configurations and presets: what they accept, and how they are changed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from digit_utils.training.config import OPTIMIZERS, PRESETS, TrainingConfig, preset
from digit_utils.training.networks import NETWORKS
from digit_utils.training.optimizers import build_optimizer


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("optimizer", "lion"),
        ("epochs", 0),
        ("batch_size", 0),
        ("learning_rate", 0),
        ("learning_rate", float("nan")),
        ("warm_up", 1.5),
        ("warm_up", -0.1),
        ("final_learning_rate", 1.5),
        ("final_learning_rate", float("nan")),
        ("weight_decay", -1),
        ("weight_decay", float("nan")),
        ("seed", -1),
        ("seed", 2**32),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused_by_name_and_value(name, value):
    with pytest.raises(ValueError, match=f"{name} is .?{value}"):
        TrainingConfig(**{name: value})


def test_configs_name_networks_and_optimizers_that_exist():
    assert {config.network for config in PRESETS.values()} | {TrainingConfig().network} <= set(NETWORKS)
    assert [float(build_optimizer(name, 0.5).learning_rate) for name in OPTIMIZERS] == [0.5] * 3
    with pytest.raises(ValueError, match="'lion'; choose one of adamw, muon, brief_muon"):
        build_optimizer("lion", 0.1)


def test_processes_that_prepare_epochs_do_not_load_keras():
    code = "import sys, digit_utils.training.prefetch; print({'keras', 'tensorflow'} & set(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "set()\n"


def test_presets_can_be_changed_by_the_names_of_their_values():
    changed = preset("full", epochs=3, seed=5, pen_strokes=10, augmentation="mild")
    assert (changed.epochs, changed.seed, changed.data_mix.pen_strokes, changed.data_mix.augmentation) == (
        3,
        5,
        10,
        "mild",
    )
    assert changed.learning_rate == PRESETS["full"].learning_rate
    assert changed.data_mix.allographs == PRESETS["full"].data_mix.allographs
    assert preset("quick") == PRESETS["quick"]


def test_unknown_presets_and_names_are_refused():
    with pytest.raises(ValueError, match="'fast'; choose one of 'quick', 'full'"):
        preset("fast")
    with pytest.raises(TypeError, match="momentum"):
        preset("quick", momentum=0.9)
    with pytest.raises(ValueError, match="epochs is 0"):
        preset("quick", epochs=0)
