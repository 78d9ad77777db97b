"""The exported model: one `.tflite` file that contains its own calibration and a checksum.

Behind the LiteRT flatbuffer, in `recognizer.json`, stands what the recogniser needs (temperature, threshold) and how
the model was trained; `files.write_bundle` says how the file is built.
"""

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from digit_utils.files import ModelFileError, read_bundle, write_bundle

FORMAT = 1
MEMBER = "recognizer.json"
HEAD = "head"  # the network has an eleventh logit: whether the ink is a digit at all
MAX_PROBABILITY = "max_probability"  # it has ten logits: the largest calibrated probability serves as the score
REMEDY = "train one with `digits train`, or load without a path for the bundled one"


@dataclass(frozen=True)
class ModelCard:
    """What the recogniser needs to know about a network, and how the network was trained."""

    temperature: float = 1.0  # logits are divided by it before the softmax (Guo et al., 2017)
    threshold: float = 0.0  # a digit score below it means "no digit"
    digit_score: str = MAX_PROBABILITY  # where the score comes from: HEAD or MAX_PROBABILITY
    name: str = ""  # the network, as in digit_utils.training.networks
    provenance: dict[str, Any] = field(default_factory=dict)  # config, data hashes, seed, versions, validation figures
    confidence_weight: float = 0.0  # the digit score's logit is the eleventh and this times log(largest probability)
    features: int = 0  # columns behind the logits, see export.with_features; 0 where there are none


_TYPES = {
    "temperature": (int, float),
    "threshold": (int, float),
    "digit_score": str,
    "name": str,
    "provenance": dict,
    "confidence_weight": (int, float),
    "features": int,
}
_DEFAULTS = {"features": 0, "confidence_weight": 0.0}  # for the first files of this format, which lack these values


def write_model_file(path: str | Path, flatbuffer: bytes, card: ModelCard) -> None:
    """Write a LiteRT flatbuffer and its card as one file, atomically."""
    write_bundle(path, flatbuffer, {"format": FORMAT, **asdict(card)}, member=MEMBER)


def read_model_file(path: str | Path) -> tuple[bytes, ModelCard]:
    """Read and check a model file; return the LiteRT flatbuffer and its card.

    Raises ModelFileError, which names the file, when it is missing, truncated, damaged or not made by
    `write_model_file`. Nothing of the file is executed or unpickled, and LiteRT never sees unchecked bytes.
    """
    path = Path(path)
    flatbuffer, content = read_bundle(path, member=MEMBER, remedy=REMEDY)
    if content.get("format") != FORMAT:
        raise ModelFileError(
            f"the model file {path} has format {content.get('format')!r}; this version of digit_utils reads {FORMAT}"
        )
    return flatbuffer, _card(path, content)


def _card(path: Path, content: dict[str, Any]) -> ModelCard:
    """Check the values of `recognizer.json` and return them as a card."""
    content = _DEFAULTS | content
    wrong = [name for name, kinds in _TYPES.items() if not isinstance(content.get(name), kinds)]
    if wrong:
        raise ModelFileError(f"the model file {path} is damaged: its {MEMBER} lacks or misstates {', '.join(wrong)}")
    card = ModelCard(**{name: content[name] for name in _TYPES})
    ranges = {
        "temperature": (0 < card.temperature < math.inf, "a positive number"),
        "threshold": (0 <= card.threshold <= 1, "a number from 0 to 1"),
        "confidence_weight": (0 <= card.confidence_weight < math.inf, "a number from 0 up"),
        "features": (card.features >= 0, "a number from 0 up"),
        "digit_score": (card.digit_score in (HEAD, MAX_PROBABILITY), f"{HEAD!r} or {MAX_PROBABILITY!r}"),
    }
    for name, (is_valid, expected) in ranges.items():
        if not is_valid:
            raise ModelFileError(f"the model file {path} has {name} {getattr(card, name)!r}; expected {expected}")
    return card
