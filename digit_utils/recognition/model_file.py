"""The exported model: one `.tflite` file that contains its own calibration and a checksum.

A small zip archive behind the LiteRT flatbuffer holds `recognizer.json`, the way TensorFlow Lite's own metadata packs
its associated files: what the recogniser needs (temperature, threshold) and how the model was trained. LiteRT reads the
flatbuffer from the front, `zipfile` reads the archive from the back. The archive's comment, which ends the file, is the
SHA-256 of every byte before it.
"""

import hashlib
import io
import json
import math
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from digit_utils.files import atomic_write

FORMAT = 1
MEMBER = "recognizer.json"
DIGEST_SIZE = 64  # bytes: a SHA-256, hexadecimal
HEAD = "head"  # the network has an eleventh logit: whether the ink is a digit at all
MAX_PROBABILITY = "max_probability"  # it has ten logits: the largest calibrated probability serves as the score
REMEDY = "train one with `digits train`, or load without a path for the bundled one"


class ModelFileError(ValueError):
    """A model file is missing, truncated, changed or not one of this project's; the message names it."""


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
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as bundle:
        # A fixed date and system: the same model gives the same file.
        entry = zipfile.ZipInfo(MEMBER, date_time=(1980, 1, 1, 0, 0, 0))
        entry.create_system = 3
        bundle.writestr(entry, json.dumps({"format": FORMAT, **asdict(card)}, indent=1, sort_keys=True))
        bundle.comment = bytes(DIGEST_SIZE)  # reserves the place of the digest
    content = flatbuffer + archive.getvalue()[:-DIGEST_SIZE]
    with atomic_write(path) as temporary:
        temporary.write_bytes(content + _digest(content))


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def read_model_file(path: str | Path) -> tuple[bytes, ModelCard]:
    """Read and check a model file; return the LiteRT flatbuffer and its card.

    Raises ModelFileError, which names the file, when it is missing, truncated, damaged or not made by
    `write_model_file`. Nothing of the file is executed or unpickled, and LiteRT never sees unchecked bytes.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ModelFileError(f"there is no model file {path}; {REMEDY}") from None
    except OSError as error:
        raise ModelFileError(f"the model file {path} cannot be read: {error.strerror or error}") from error
    if _digest(data[:-DIGEST_SIZE]) != data[-DIGEST_SIZE:]:
        what = "is truncated, damaged, or not a model that this project exported" if data else "is empty"
        raise ModelFileError(f"the model file {path} {what}; {REMEDY}")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as bundle:
            content = json.loads(bundle.read(MEMBER))
            start = min(entry.header_offset for entry in bundle.infolist())
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise ModelFileError(f"the model file {path} does not end in a readable {MEMBER}: {error}") from error
    return data[:start], _card(path, content)


def _card(path: Path, content: Any) -> ModelCard:
    """Check what `recognizer.json` holds and return it as a card."""
    if not isinstance(content, dict):
        raise ModelFileError(f"the model file {path} is damaged: its {MEMBER} is not a JSON object")
    if content.get("format") != FORMAT:
        raise ModelFileError(
            f"the model file {path} has format {content.get('format')!r}; this version of digit_utils reads {FORMAT}"
        )
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
