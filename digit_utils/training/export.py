"""Export: a trained network becomes the one file that the recogniser loads, with its calibration inside."""

import contextlib
import importlib.metadata
import io
import logging
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.linear_model import LogisticRegression

from digit_utils.augmentation.non_digits import random_non_digits
from digit_utils.datasets.ink import LabelledInk
from digit_utils.recognition.model_file import HEAD, MAX_PROBABILITY, ModelCard, write_model_file
from digit_utils.recognition.recognizer import MODEL_FILE_NAME, Recognizer, softmax
from digit_utils.training.networks import has_digit_head
from digit_utils.types import NUM_CLASSES

FEATURES = "features"  # the layer of a network that the last one weighs: (batch, d)
WHITENING_SHRINKAGE = (
    0.3  # of the mean variance of the features, added to each; results hardly depend on it from 0.03 to 1
)
CONVERSION = """
import pathlib, sys, keras
from digit_utils.training.export import to_litert
network = keras.models.load_model(sys.argv[1], compile=False)
pathlib.Path(sys.argv[2]).write_bytes(to_litert(network))
"""
NON_DIGITS = 2000  # made anew, to be told from the validation digits
REJECTED_AT_MOST = 0.002  # of each validation set's digits: what the threshold for "no digit" may cost
PASSES = 0.1  # of those non-digits: to let fewer in, too many digits of strangers would be turned away


def export_network(
    network: keras.Model,
    folder: str | Path,
    *,
    validation: dict[str, LabelledInk],
    provenance: dict[str, Any] | None = None,
) -> Recognizer:
    """Write `model.tflite` into a folder: the network and what its answers are made with, all from validation data.

    That is the temperature, how much the digit score heeds it, and the threshold.

    Returns the recogniser, loaded back from the file.

    Raises ValueError when there is no set of validation digits, or one without digits.
    """
    if not validation or not all(len(digits) for digits in validation.values()):
        counts = {name: len(digits) for name, digits in validation.items()}
        raise ValueError(
            f"the numbers of validation digits are {counts}; temperature and threshold come from these digits, so give "
            "at least one set, and none that is empty"
        )
    card = ModelCard(
        digit_score=HEAD if has_digit_head(network) else MAX_PROBABILITY,
        name=network.name,
        provenance={"versions": versions(), **(provenance or {})},
        features=feature_count(network),
    )
    flatbuffer = to_litert(with_features(network, validation))
    recognizer = Recognizer(flatbuffer, card)
    card = replace(card, temperature=best_temperature(recognizer, validation))
    recognizer = Recognizer(flatbuffer, card)
    others = None
    if card.digit_score == HEAD:
        others = random_non_digits(NON_DIGITS, np.random.default_rng(0), photographed=0.3)
        card = replace(card, confidence_weight=best_confidence_weight(recognizer, validation, others))
        recognizer = Recognizer(flatbuffer, card)
    card = replace(card, threshold=best_threshold(recognizer, validation, others))
    path = Path(folder) / MODEL_FILE_NAME
    write_model_file(path, flatbuffer, card)
    return Recognizer.load(path)


def to_litert(network: keras.Model) -> bytes:
    """Return a network as a LiteRT flatbuffer that takes batches of any size.

    Its weights are kept in half precision, and the sums are done in float32: half the bytes, the same speed, and
    logits that differ by less than half a percent of their range.
    """
    if keras.backend.backend() != "tensorflow":
        return _converted_by_tensorflow(network)
    import tensorflow as tf  # the converter is TensorFlow's, and only TensorFlow has names for its settings

    half_precision = {"optimizations": [tf.lite.Optimize.DEFAULT], "target_spec": {"supported_types": [tf.float16]}}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.tflite"
        with _quietly():
            network.export(str(path), format="litert", verbose=False, **half_precision)  # Keras 3.13 takes no Path
        return path.read_bytes()


def _converted_by_tensorflow(network: keras.Model) -> bytes:
    """Return a network of another backend as a flatbuffer: a process of its own with TensorFlow converts it.

    Raises RuntimeError with the last words of that process when it fails.
    """
    # The other backend may hold all memory of a GPU, and a conversion needs none.
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "network.keras", Path(folder) / "network.tflite"
        network.save(source)
        command = [sys.executable, "-c", CONVERSION, str(source), str(target)]
        finished = subprocess.run(command, env=environment, capture_output=True, text=True)
        if finished.returncode:
            last = (finished.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise RuntimeError(f"the network cannot be converted, which takes Keras on TensorFlow: {last}")
        return target.read_bytes()


def feature_count(network: keras.Model) -> int:
    """Return the width of a network's layer "features", (batch, d); 0 where there is no such layer.

    Raises ValueError when the layer gives anything but one row a picture.
    """
    layer = next((layer for layer in network.layers if layer.name == FEATURES), None)
    if layer is None:
        return 0
    if len(layer.output.shape) != 2 or layer.output.shape[1] is None:
        raise ValueError(f"the layer {FEATURES!r} of {network.name} gives {layer.output.shape}; expected (batch, d)")
    return int(layer.output.shape[1])


def with_features(network: keras.Model, validation: dict[str, LabelledInk]) -> keras.Model:
    """Return a network that gives its logits and behind them its features, in which distances mean something.

    The features are those of its layer of that name, turned and stretched so that digits of the same class differ
    equally in all directions: two of them are at a distance of about 1 (the root of the mean square, over validation
    digits; each dataset weighs the same). A network without that layer comes back as it is.
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
    """Return the (d, d) matrix that makes the spread within classes even, of features (n, d) and labels (n,) a set.

    Directions in which digits of a class hardly differ are stretched less than whitening would (WHITENING_SHRINKAGE),
    because their small spread is known least well.
    """
    spread = np.mean([_spread_within_classes(features.astype(np.float64), labels) for features, labels in sets], axis=0)
    variances, directions = np.linalg.eigh(spread)
    mean = variances.mean()
    if not mean > 0:  # features that never differ
        return np.eye(len(spread))
    whitening = directions / np.sqrt(np.maximum(variances, 0) + WHITENING_SHRINKAGE * mean)
    return whitening / np.sqrt(2 * np.trace(whitening.T @ spread @ whitening))


def _spread_within_classes(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the covariance (d, d) of features around the means of their classes."""
    centred = features.copy()
    for label in np.unique(labels):
        centred[labels == label] -= features[labels == label].mean(axis=0)
    return centred.T @ centred / max(1, len(features))


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep the converter's pages about its own progress, printed and logged, to itself."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def best_temperature(recognizer: Recognizer, validation: dict[str, LabelledInk]) -> float:
    """Return the temperature that makes the probabilities fit the validation digits best; each dataset weighs the same.

    Guo et al., 2017, "On calibration of modern neural networks": the least mean negative logarithm of the
    probability of the right digit.
    """
    sets = [(recognizer.outputs(digits.ink)[:, :NUM_CLASSES], digits.labels) for digits in validation.values()]

    def loss(log_temperature: float) -> float:
        return sum(negative_log_likelihood(logits / np.exp(log_temperature), labels) for logits, labels in sets)

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))


def negative_log_likelihood(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean over rows of -log(probability of the label), of (n, 10) logits and (n,) labels."""
    probabilities = softmax(logits)[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(probabilities, 1e-300)).mean())


def best_confidence_weight(recognizer: Recognizer, validation: dict[str, LabelledInk], others: np.ndarray) -> float:
    """Return how much log(largest probability) counts beside the digit head's logit, in telling digits from `others`.

    It is the ratio of the two coefficients of a logistic regression; digits and others weigh the same, and so does each
    dataset. 0, the head alone, where either tells nothing.

    Args:
        recognizer: of a network with a digit head, with its temperature.
        validation: digits by dataset.
        others: ink (n, 28, 28) of what is no digit.
    """
    sets = [digits.ink for digits in validation.values()]
    rows = np.concatenate([_head_and_log_probability(recognizer, ink) for ink in (*sets, others)])
    weights = np.concatenate([np.full(len(ink), 1 / len(sets) / len(ink)) for ink in sets])
    weights = np.concatenate([weights, np.full(len(others), 1 / len(others))])
    is_digit = np.arange(len(rows)) < len(rows) - len(others)
    fitted = LogisticRegression().fit(rows, is_digit, sample_weight=weights * len(rows) / weights.sum())
    head, log_probability = fitted.coef_[0]
    return float(log_probability / head) if min(head, log_probability) > 0 else 0.0


def _head_and_log_probability(recognizer: Recognizer, ink: np.ndarray) -> np.ndarray:
    """Return the digit head's logit and the logarithm of the largest calibrated probability, (n, 2)."""
    outputs = recognizer.outputs(ink)
    probabilities = softmax(outputs[:, :NUM_CLASSES] / recognizer.card.temperature)
    return np.column_stack([outputs[:, NUM_CLASSES], np.log(probabilities.max(axis=1))])


def best_threshold(
    recognizer: Recognizer, validation: dict[str, LabelledInk], others: np.ndarray | None = None
) -> float:
    """Return the highest threshold of the digit score that rejects at most REJECTED_AT_MOST of each set's digits.

    A lower one where that lets no more than PASSES of `others` pass, ink (n, 28, 28) of what is no digit: strangers'
    digits score lower than those of the validation hands, so the threshold is no higher than there is a use for.
    """
    digits = [recognizer.probabilities_and_scores(of_set.ink)[1] for of_set in validation.values()]
    highest = min(np.quantile(scores, REJECTED_AT_MOST, method="lower") for scores in digits)
    if others is not None:
        highest = min(highest, np.quantile(recognizer.probabilities_and_scores(others)[1], 1 - PASSES))
    return float(highest)


def versions() -> dict[str, str]:
    """Return the versions of what a network depends on."""
    packages = ("keras", "tensorflow", "numpy", "opencv-python-headless", "ai-edge-litert", "digit-utils")
    found = {"python": platform.python_version(), "backend": keras.backend.backend()}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found
