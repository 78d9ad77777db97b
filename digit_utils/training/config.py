"""Training configuration: everything that decides what a run learns, and the presets."""

from dataclasses import dataclass, field, replace
from typing import Any

from digit_utils.augmentation.images import MILD, STRONG
from digit_utils.training.networks import NETWORKS, WITHOUT_DIGIT_HEAD
from digit_utils.training.optimizers import OPTIMIZERS

AUGMENTATIONS = {"none": None, "mild": MILD, "strong": STRONG}


@dataclass(frozen=True)
class DataMix:
    """What one epoch is made of."""

    augmentation: str = "mild"  # of scans: "none", "mild" or "strong"
    pen_strokes: int = 0  # drawings by pendigits' training writers, each deformed anew
    allographs: int = 0  # drawings of the forms in digit_utils.augmentation.allographs
    non_digits: int = 0  # letters, signs, scribbles, ...: for networks that can say "no digit"
    photographed: float = 0.0  # part of the drawings seen as a worn picture instead of clean strokes
    blur: float = 0.0  # part of all pictures, whatever they show, that is made softer or sharper
    label_smoothing: float = 0.0  # part of the probability that the target spreads over all ten digits

    def __post_init__(self):
        if self.augmentation not in AUGMENTATIONS:
            raise ValueError(
                f"augmentation is {self.augmentation!r}; choose one of {', '.join(map(repr, AUGMENTATIONS))}"
            )
        for name in ("pen_strokes", "allographs", "non_digits"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it counts drawings, so 0 or more")
        for name in ("photographed", "blur", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 0 and below 1")


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides what a run learns."""

    network: str = "simple_cnn"  # a name in digit_utils.training.networks
    epochs: int = 8  # times that the training data is gone through
    batch_size: int = 128  # pictures a step
    learning_rate: float = 0.002  # at its peak, after the warm-up; it then falls along a cosine
    final_learning_rate: float = 0.0  # where it falls to, as a part of its peak
    averaged: bool = (
        False  # keep the average of the weights on their way (digit_utils.training.optimizers), not the last ones
    )
    warm_up: float = 0.15  # part of the steps in which the learning rate rises
    optimizer: str = (
        "adamw"  # "adamw" (Loshchilov and Hutter, 2019), "muon" or "brief_muon" (digit_utils.training.optimizers)
    )
    weight_decay: float = 0.0  # decoupled: what each step takes from the weights, times the learning rate
    seed: int = 0  # of the weights, the order and the augmentation
    data_mix: DataMix = field(default_factory=DataMix)

    def __post_init__(self):
        if self.network not in NETWORKS:
            raise ValueError(f"network is {self.network!r}; choose one of {', '.join(map(repr, NETWORKS))}")
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer is {self.optimizer!r}; choose one of {', '.join(map(repr, OPTIMIZERS))}")
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate is {self.learning_rate}; it must be above 0")
        if not 0 <= self.warm_up <= 1:
            raise ValueError(f"warm_up is {self.warm_up}; it is a part of the steps, from 0 to 1")
        if not 0 <= self.final_learning_rate <= 1:
            raise ValueError(
                f"final_learning_rate is {self.final_learning_rate}; it is a part of learning_rate, from 0 to 1"
            )
        if not self.weight_decay >= 0:
            raise ValueError(f"weight_decay is {self.weight_decay}; it must be at least 0")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed is {self.seed}; it must be at least 0 and below 2**32")
        if self.data_mix.non_digits and self.network in WITHOUT_DIGIT_HEAD:
            raise ValueError(
                f"non_digits is {self.recipe.non_digits}, yet {self.network} cannot say 'no digit'; "
                "choose network='large_cnn'"
            )


PRESETS: dict[str, TrainingConfig] = {
    "quick": TrainingConfig(
        network="small_cnn",
        epochs=5,
        batch_size=256,
        learning_rate=0.015,
        optimizer="muon",
        warm_up=0.2,
        data_mix=DataMix(label_smoothing=0.1),
    ),
    "full": TrainingConfig(
        network="large_cnn",
        epochs=18,
        learning_rate=0.006,
        final_learning_rate=0.25,
        averaged=True,
        optimizer="muon",
        weight_decay=0.01,
        data_mix=DataMix(
            augmentation="strong",
            pen_strokes=18_000,
            allographs=18_000,
            non_digits=14_000,
            photographed=0.3,
            blur=0.4,
        ),
    ),
}


def preset(name: str, **changes: Any) -> TrainingConfig:
    """Return a preset with some values changed; those of the recipe are named the same way.

    Raises ValueError for an unknown preset or a value that makes no sense, TypeError for an unknown name.
    """
    if name not in PRESETS:
        raise ValueError(f"there is no preset {name!r}; choose one of {', '.join(map(repr, PRESETS))}")
    config = PRESETS[name]
    of_data_mix = {key: changes.pop(key) for key in list(changes) if key in DataMix.__dataclass_fields__}
    return replace(config, **changes, data_mix=replace(config.data_mix, **of_data_mix))
