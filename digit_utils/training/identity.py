"""The identity of a run: what has to agree for a folder's run to be continued."""

from digit_utils.training import environment  # noqa: F401  # isort: skip  (before Keras)

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import keras
import numpy as np

from digit_utils.datasets.base import content_hash
from digit_utils.training.config import TrainingConfig
from digit_utils.training.data import TrainingData
from digit_utils.types import IMAGE_SIZE, Strokes

INK_TOLERANCE = 0.02  # far more than another processor changes, far less than nearly any other image
NO_ARCHITECTURE = ("name", "dtype", "module", "registered_name")  # keys of a Keras config that may differ


def run_identity(network: keras.Model, config: TrainingConfig, training_data: TrainingData) -> dict[str, Any]:
    """Return the identity of a run as it reads back from JSON: config, architecture and training data."""
    training_digits = content_hash(
        [
            training_data.scans.labels,
            *(*_join_strokes(training_data.strokes), training_data.stroke_labels),
            *(*_join_strokes(training_data.own_drawings), training_data.own_labels),
        ]
    )
    identity = {
        "config": asdict(replace(config, network=network.name)),
        "architecture": _architecture_hash(network),
        "data": training_data.hashes,
        "training_data": training_digits,
        "ink": _project_ink(training_data.scans.ink),
    }
    return json.loads(json.dumps(identity))


def differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Return the sorted names of what differs between two identities, such as "config.seed"."""
    found, expected = _flatten(found), _flatten(expected)
    names = {name for name, _ in found.items() ^ expected.items()}
    if "ink" in names and _is_close(found.get("ink"), expected.get("ink")):
        names.remove("ink")
    return sorted(names)


def _is_close(found: Any, expected: Any) -> bool:
    return (
        isinstance(found, float)
        and isinstance(expected, float)
        and math.isclose(found, expected, rel_tol=0, abs_tol=INK_TOLERANCE)
    )


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    result = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            result |= _flatten(value, f"{prefix}{key}.")
        else:
            result[prefix + key] = value if isinstance(value, (int, float, str, bool)) else repr(value)
    return result


def _architecture_hash(network: keras.Model) -> str:
    """Return a hash of the layers, their settings and connections, whatever their names and precision."""
    places = {layer.name: place for place, layer in enumerate(network.layers)}

    def without_names(tree: Any) -> Any:
        if isinstance(tree, dict):
            return {key: without_names(value) for key, value in tree.items() if key not in NO_ARCHITECTURE}
        if not isinstance(tree, (list, tuple)):
            return tree
        if len(tree) == 3 and isinstance(tree[0], str) and tree[0] in places:  # (layer, node, tensor)
            return [places[tree[0]], *tree[1:]]
        return [without_names(value) for value in tree]

    text = json.dumps(without_names(network.get_config()), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _project_ink(ink: np.ndarray) -> float:
    """Return a number that tells ink (n, 28, 28) from other ink, but not from the same ink of another processor.

    Where OpenCV has other instructions at hand, some pixels differ in their last digits. A hash would refuse to go on
    with a run that was begun on such a machine; this random projection differs by less than INK_TOLERANCE.
    """
    rng = np.random.default_rng(0)
    image_weights = rng.normal(size=len(ink)).astype(np.float32)
    pixel_weights = rng.normal(size=IMAGE_SIZE**2)
    return float((image_weights @ ink.reshape(len(ink), IMAGE_SIZE**2)) @ pixel_weights)


def _join_strokes(drawings: Sequence[Strokes]) -> tuple[np.ndarray, np.ndarray]:
    """Return the points of all drawings, (n, 2) float64, and the stroke lengths, with -1 before each drawing."""
    lengths = [length for drawing in drawings for length in (-1, *map(len, drawing))]
    points = [np.asarray(stroke, np.float64).reshape(-1, 2) for drawing in drawings for stroke in drawing]
    return np.concatenate([np.empty((0, 2)), *points]), np.array(lengths, np.int64)
