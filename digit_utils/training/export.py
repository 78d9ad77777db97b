"""Export: a trained network becomes the one file that the recogniser loads, with its calibration inside."""

from digit_utils.training import environment  # noqa: F401  # isort: skip  (before Keras)

import contextlib
import io
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from digit_utils.augmentation.non_digits import random_non_digits
from digit_utils.datasets.ink import LabelledInk
from digit_utils.files import package_versions
from digit_utils.recognition.model_file import HEAD, MAX_PROBABILITY, ModelCard, ModelFileError, write_model_file
from digit_utils.recognition.recognizer import MODEL_FILE_NAME, Recognizer
from digit_utils.training.calibration import calibrate
from digit_utils.training.networks import has_digit_head

FEATURES = "features"  # name of the layer whose output the last layer weighs: (batch, d)
WHITENING_SHRINKAGE = 0.3  # of the features' mean variance, added to each; from 0.03 to 1 results hardly depend on it
CONVERSION = """
import pathlib, sys, keras
from digit_utils.training.export import to_litert
network = keras.models.load_model(sys.argv[1], compile=False)
pathlib.Path(sys.argv[2]).write_bytes(to_litert(network))
"""
NON_DIGITS = 2000  # made for the calibration
PACKAGES = ("keras", "tensorflow", "numpy", "opencv-python-headless", "ai-edge-litert", "digit-utils")


def export_network(
    network: keras.Model,
    folder: str | Path,
    *,
    validation: dict[str, LabelledInk],
    provenance: dict[str, Any] | None = None,
) -> Recognizer:
    """Write `model.tflite` into a folder: the network, and the calibration that is fitted here.

    Args:
        network: a trained network with 10 logits, or 11 where the last one says whether the ink is a digit.
        folder: created if needed.
        validation: digits by the name of their dataset, on which the calibration is fitted.
        provenance: what the model card records beside the versions of the packages; anything that JSON can hold.

    Returns the recogniser, loaded back from the file.

    Raises ValueError when there are no validation digits, or a set is empty.
    """
    if not validation or not all(map(len, validation.values())):
        counts = {name: len(digits) for name, digits in validation.items()}
        raise ValueError(
            f"the numbers of validation digits are {counts}; calibration needs at least one set, and none may be empty"
        )
    flatbuffer = to_litert(with_features(network, validation))
    card = ModelCard(
        digit_score=HEAD if has_digit_head(network) else MAX_PROBABILITY,
        name=network.name,
        provenance={"versions": versions(), **(provenance or {})},
        features=feature_count(network),
    )
    uncalibrated = Recognizer(flatbuffer, card)
    non_digit_outputs = None
    if has_digit_head(network):
        non_digits = random_non_digits(NON_DIGITS, np.random.default_rng(0), photographed=0.3)
        non_digit_outputs = uncalibrated.outputs(non_digits)
    outputs = [uncalibrated.outputs(digits.ink) for digits in validation.values()]
    calibration = calibrate(outputs, [digits.labels for digits in validation.values()], non_digit_outputs)
    path = Path(folder) / MODEL_FILE_NAME
    write_model_file(path, flatbuffer, replace(card, **asdict(calibration)))
    return Recognizer.load(path)


def versions() -> dict[str, str]:
    """Return the backend of Keras and the versions of what a network depends on."""
    return {"backend": keras.backend.backend(), **package_versions(*PACKAGES)}


def to_litert(network: keras.Model, *, int8_range: np.ndarray | None = None) -> bytes:
    """Return a network as a LiteRT flatbuffer that takes batches of the network's size, any if it has none.

    Weights are stored in half precision and computed with in float32: half the bytes, the same speed, and logits that
    differ by less than half a percent of their range. With `int8_range`, inputs (n, ...) of the network from which each
    layer's range is taken, everything is int8, input and output too; that needs Keras on TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        if int8_range is not None:
            raise ModelFileError(f"Keras runs on {keras.backend.backend()}; int8 needs KERAS_BACKEND=tensorflow")
        return _convert_in_subprocess(network)
    import tensorflow as tf  # the converter is TensorFlow's, and only TensorFlow has names for its settings

    settings = {"optimizations": [tf.lite.Optimize.DEFAULT], "target_spec": {"supported_types": [tf.float16]}}
    if int8_range is not None:
        settings |= {
            "representative_dataset": lambda: ([given[np.newaxis]] for given in int8_range),
            "target_spec": {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]},
            "inference_input_type": tf.int8,
            "inference_output_type": tf.int8,
        }
    return exported(network, "network.tflite", format="litert", **settings)


def exported(network: keras.Model, name: str, **settings: Any) -> bytes:
    """Return what `keras.Model.export` writes into a file of this name."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        with _quietly():
            network.export(str(path), verbose=False, **settings)  # Keras 3.13 takes no Path
        return path.read_bytes()


def _convert_in_subprocess(network: keras.Model) -> bytes:
    """Return a network of another backend as a flatbuffer, converted by a process that runs Keras on TensorFlow.

    Raises RuntimeError with the last line of that process' errors when it fails.
    """
    # The other backend may hold all memory of a GPU, and a conversion needs none.
    variables = {**os.environ, "KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "network.keras", Path(folder) / "network.tflite"
        network.save(source)
        command = [sys.executable, "-c", CONVERSION, str(source), str(target)]
        finished = subprocess.run(command, env=variables, capture_output=True, text=True)
        if finished.returncode:
            last = (finished.stderr.strip().splitlines() or ["no message"])[-1]
            raise RuntimeError(f"the conversion of the network, which needs TensorFlow, failed: {last}")
        return target.read_bytes()


def feature_count(network: keras.Model) -> int:
    """Return d, the width of a network's layer "features", (batch, d); 0 where there is no such layer.

    Raises ValueError when the output of that layer has another shape.
    """
    layer = next((layer for layer in network.layers if layer.name == FEATURES), None)
    if layer is None:
        return 0
    if len(layer.output.shape) != 2 or layer.output.shape[1] is None:
        raise ValueError(f"the layer {FEATURES!r} of {network.name} returns {layer.output.shape}; expected (batch, d)")
    return int(layer.output.shape[1])


def with_features(network: keras.Model, validation: dict[str, LabelledInk]) -> keras.Model:
    """Return a network whose output is its logits followed by its features, in which distances are meaningful.

    The features are the output of the layer "features", transformed linearly so that digits of the same class vary
    equally in all directions, and two of them are at a distance of about 1 (the root mean square over the validation
    digits; each set counts the same). A network without that layer is returned as it is.
    """
    count = feature_count(network)
    if not count:
        return network
    inner = keras.Model(network.inputs, network.get_layer(FEATURES).output)
    sets = [
        (inner.predict(digits.ink[..., np.newaxis], batch_size=512, verbose=0), digits.labels)
        for digits in validation.values()
    ]
    whitening = keras.layers.Dense(count, use_bias=False, name="even_features")
    features = whitening(inner.output)
    whitening.set_weights([whitening_of(sets)])
    return keras.Model(network.inputs, keras.layers.Concatenate()([network.output, features]), name=network.name)


def whitening_of(sets: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return the (d, d) matrix that whitens the variation within classes, of features (n, d) and labels (n,) per set.

    Directions in which digits of a class hardly vary are stretched less than by exact whitening (WHITENING_SHRINKAGE),
    because their small variance is the least certain.
    """
    spread = np.mean([_spread_within_classes(features.astype(np.float64), labels) for features, labels in sets], axis=0)
    variances, directions = np.linalg.eigh(spread)
    mean = variances.mean()
    if not mean > 0:  # constant features
        return np.eye(len(spread))
    whitening = directions / np.sqrt(np.maximum(variances, 0) + WHITENING_SHRINKAGE * mean)
    return whitening / np.sqrt(2 * np.trace(whitening.T @ spread @ whitening))


def _spread_within_classes(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the covariance (d, d) of features around their class means."""
    centred = features.copy()
    for label in np.unique(labels):
        centred[labels == label] -= features[labels == label].mean(axis=0)
    return centred.T @ centred / max(1, len(features))


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Suppress what the converter prints and logs about its progress."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)
