"""The configuration of a training run, and the presets; importing it does not load Keras."""

from dataclasses import dataclass, field, replace
from typing import Any

from digit_utils.augmentation.images import MILD, STRONG

OPTIMIZERS = ("adamw", "muon", "brief_muon")  # see digit_utils.training.optimizers.build_optimizer
AUGMENTATIONS = {"none": None, "mild": MILD, "strong": STRONG}


@dataclass(frozen=True)
class DataMix:
    """What an epoch consists of, beside all scans."""

    augmentation: str = "mild"  # of the scans: "none", "mild" or "strong"
    pen_strokes: int = 0  # drawings by pendigits' training writers, each deformed anew
    allographs: int = 0  # drawings of the forms in digit_utils.augmentation.allographs
    non_digits: int = 0  # letters, signs, scribbles, ...; needs a network with a logit for "is a digit"
    wrong_groupings: int = 0  # non-digits as well: wrong groups of strokes, as the lattice of a number tries them
    photographed: float = 0.0  # fraction of the drawings seen as a worn picture instead of clean strokes
    blur: float = 0.0  # fraction of all images, digits or not, that are blurred or sharpened
    label_smoothing: float = 0.0  # probability that the target spreads evenly over all ten digits

    def __post_init__(self):
        if self.augmentation not in AUGMENTATIONS:
            raise ValueError(
                f"augmentation is {self.augmentation!r}; choose one of {', '.join(map(repr, AUGMENTATIONS))}"
            )
        for name in ("pen_strokes", "allographs", "non_digits", "wrong_groupings"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it is a number of images, so 0 or more")
        for name in ("photographed", "blur", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 0 and below 1")


@dataclass(frozen=True)
class TrainingConfig:
    """How a network is trained: with the training data, everything that decides the result of a run."""

    network: str = "simple_cnn"  # a name in digit_utils.training.networks, or that of a network of your own
    epochs: int = 8  # passes through the training data
    batch_size: int = 128  # images per step
    learning_rate: float = 0.002  # at its peak, after the warm-up; it then falls along a cosine
    final_learning_rate: float = 0.0  # where it ends, as a fraction of the peak
    average_weights: bool = False  # the result is an average of the weights along the way, not the last ones
    warm_up: float = 0.15  # fraction of the steps in which the learning rate rises
    optimizer: str = "adamw"  # "adamw", "muon" or "brief_muon", see digit_utils.training.optimizers
    weight_decay: float = 0.0  # decoupled: each step shrinks the weights by this times the learning rate
    seed: int = 0  # of the weights, the order, the augmentation and dropout
    data_mix: DataMix = field(default_factory=DataMix)

    def __post_init__(self):
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer is {self.optimizer!r}; choose one of {', '.join(map(repr, OPTIMIZERS))}")
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate is {self.learning_rate}; it must be above 0")
        if not 0 <= self.warm_up <= 1:
            raise ValueError(f"warm_up is {self.warm_up}; it is a fraction of the steps, from 0 to 1")
        if not 0 <= self.final_learning_rate <= 1:
            raise ValueError(
                f"final_learning_rate is {self.final_learning_rate}; it is a fraction of learning_rate, from 0 to 1"
            )
        if not self.weight_decay >= 0:
            raise ValueError(f"weight_decay is {self.weight_decay}; it must be at least 0")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed is {self.seed}; it must be at least 0 and below 2**32")


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
        average_weights=True,
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
    """Return a preset with some values changed, those of `TrainingConfig` and of its `data_mix` alike.

    Raises ValueError for an unknown preset or an invalid value, TypeError for an unknown name.
    """
    if name not in PRESETS:
        raise ValueError(f"there is no preset {name!r}; choose one of {', '.join(map(repr, PRESETS))}")
    config = PRESETS[name]
    mix_changes = {key: changes.pop(key) for key in list(changes) if key in DataMix.__dataclass_fields__}
    return replace(config, **changes, data_mix=replace(config.data_mix, **mix_changes))
