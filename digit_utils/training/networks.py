"""Networks: small convolutional ones in Keras 3, which run on any of its backends.

Each maps ink, (batch, 28, 28, 1) float32 in [0, 1], to logits. The softmax is part of the loss: the logarithm of a
softmax of logits is computed without ever rounding a probability to zero, so the gradients stay exact where the
network is confident.
"""

from digit_utils.training import environment  # noqa: F401  # isort: skip  (before Keras)

from collections.abc import Callable
from typing import Any

import keras
from keras import layers, ops

from digit_utils.types import IMAGE_SIZE, NUM_CLASSES


def build_network(
    network: str | Callable[[], keras.Model], *, seed: int | None = None, precision: str = "float32"
) -> keras.Model:
    """Return a new network with random weights.

    Args:
        network: a key of `NETWORKS`, or a function of your own that returns a new network.
        seed: of the weights, by `keras.utils.set_random_seed`; None: from Keras' global random state.
        precision: Keras' dtype policy, for example "mixed_float16"; the weights are float32 in any case.

    Raises ValueError for a name that is not in `NETWORKS`, or a policy that Keras does not know.
    """
    if isinstance(network, str) and network not in NETWORKS:
        raise ValueError(f"there is no network {network!r}; choose one of {', '.join(NETWORKS)}")
    build = NETWORKS[network] if isinstance(network, str) else network
    if seed is not None:
        keras.utils.set_random_seed(seed)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        return build()
    finally:
        keras.config.set_dtype_policy(before)


def computes_in(network: keras.Model, dtype: str) -> bool:
    """Tell whether any layer of a network computes in a dtype, such as "float16"."""
    return any(layer.compute_dtype == dtype for layer in network.layers)


def to_float32(network: keras.Model) -> keras.Model:
    """Return a network itself where it computes in float32, otherwise a copy that does."""
    return network if all(layer.compute_dtype == "float32" for layer in network.layers) else float32_copy(network)


def float32_copy(network: keras.Model) -> keras.Model:
    """Return an uncompiled copy of a network, with the same weights, that computes in float32."""

    def in_float32(tree: Any) -> Any:
        if isinstance(tree, dict):  # dtypes are names, or the configs of policies; "bfloat16" counts as well
            halves = {key for key, value in tree.items() if key == "dtype" and "float16" in str(value)}
            return {key: "float32" if key in halves else in_float32(value) for key, value in tree.items()}
        return [in_float32(value) for value in tree] if isinstance(tree, list) else tree

    copy = type(network).from_config(in_float32(network.get_config()))
    copy.set_weights(network.get_weights())
    return copy


def simple_cnn(*, dropout: float = 0.25) -> keras.Model:
    """Return the reference network, ten logits, 34,826 parameters: Keras' own MNIST example (Chollet, 2015).

    `dropout` is 0.5 in the example, which trains for 15 epochs; fewer epochs want less.
    """
    return keras.Sequential(
        [
            keras.Input((IMAGE_SIZE, IMAGE_SIZE, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(dropout),
            layers.Dense(NUM_CLASSES),
        ],
        name="simple_cnn",
    )


def small_cnn() -> keras.Model:
    """Return a network that learns fast on a CPU: ten logits, 29,322 parameters.

    What costs time on a CPU is bytes moved more than sums: so the first convolution halves the picture at once, without
    padding, since the outer pixels of ink are empty; pooling comes before the ReLU (the same result from a quarter of
    the pixels), and nothing is normalised.
    """
    return _pooled_twice("small_cnn", 16, 32, 64)


def medium_cnn() -> keras.Model:
    """Return a wider `small_cnn`, which takes half as long again and reads a little better: 44,522 parameters."""
    return _pooled_twice("medium_cnn", 24, 48, 64)


def _pooled_twice(name: str, first: int, *others: int) -> keras.Model:
    image = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 1))
    features = layers.ReLU()(layers.Conv2D(first, 5, strides=2)(image))
    for channels in others:
        features = layers.MaxPooling2D()(layers.Conv2D(channels, 3, padding="same")(features))
        features = layers.ReLU()(features)
    return keras.Model(image, layers.Dense(NUM_CLASSES)(layers.Flatten()(features)), name=name)


def tiny_cnn() -> keras.Model:
    """Return a network for a single epoch: ten logits, 25,098 parameters.

    As `small_cnn`, but the first convolution is pooled at once. So the second, which has nearly all the sums, looks at
    6x6 places only.
    """
    image = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 1))
    features = layers.MaxPooling2D()(layers.Conv2D(32, 5, strides=2)(image))
    features = layers.Conv2D(64, 3, padding="same")(layers.ReLU()(features))
    features = layers.ReLU()(layers.MaxPooling2D()(features))
    return keras.Model(image, layers.Dense(NUM_CLASSES)(layers.Flatten()(features)), name="tiny_cnn")


def large_cnn() -> keras.Model:
    """Return the shipped network: ten logits of digits and one that says whether the ink is a digit at all.

    A strided 5x5 stem brings the picture to 14x14 at once, which is where most time is saved on a CPU; six 3x3
    convolutions with batch normalisation (Ioffe and Szegedy, 2015) follow, most of them at 7x7, then the mean over all
    places. 345,147 parameters: below 1 MB in half precision, as they are exported.
    """
    image = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 1))
    features = _convolution(image, 32, size=5, stride=2)
    features = _convolution(features, 32)
    features = _convolution(features, 80, stride=2)
    for channels in (80, 80, 112, 112):
        features = _convolution(features, channels)
    pooled = layers.GlobalAveragePooling2D(name="features")(features)
    return keras.Model(image, layers.Dense(NUM_CLASSES + 1)(pooled), name="large_cnn")


def _convolution(features: keras.KerasTensor, channels: int, *, size: int = 3, stride: int = 1) -> keras.KerasTensor:
    features = layers.Conv2D(channels, size, strides=stride, padding="same", use_bias=False)(features)
    return layers.ReLU()(layers.BatchNormalization(momentum=0.95)(features))


NETWORKS = {
    "simple_cnn": simple_cnn,
    "tiny_cnn": tiny_cnn,
    "small_cnn": small_cnn,
    "medium_cnn": medium_cnn,
    "large_cnn": large_cnn,
}


def has_digit_head(network: keras.Model) -> bool:
    """Tell whether a network has an eleventh logit, which says whether the ink is a digit at all."""
    return network.output_shape[-1] > NUM_CLASSES


@keras.saving.register_keras_serializable(package="digit_utils")
class DigitLoss(keras.losses.Loss):
    """Cross-entropy over the digits, plus, for networks that have the logit, over digit or no digit.

    Targets are (batch, 11): ten probabilities of the digits, all zero where there is no digit, and 1 for a digit
    or 0. What is no digit then adds nothing to the first part.
    """

    def call(self, y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
        """Return the loss of each row, (batch,)."""
        y_true = ops.cast(y_true, y_pred.dtype)
        # Not ops.categorical_crossentropy: TensorFlow's gradient of that takes each row of targets to sum to 1, and
        # would push the logits of what is no digit down for ever.
        loss = -ops.sum(y_true[:, :NUM_CLASSES] * ops.log_softmax(y_pred[:, :NUM_CLASSES]), axis=-1)
        if y_pred.shape[-1] > NUM_CLASSES:
            target, logit = y_true[:, NUM_CLASSES], y_pred[:, NUM_CLASSES]
            loss = loss + ops.relu(logit) - logit * target + ops.log1p(ops.exp(-ops.absolute(logit)))
        return loss
