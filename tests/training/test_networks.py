"""Networks and their loss, against parameter counts by hand and a plain NumPy computation."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from scipy.special import expit, log_softmax

from digit_utils.training.networks import NETWORKS, DigitLoss, build_network, has_digit_head, simple_cnn


def random_rows(count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Targets (n, 11), a third of them no digits, and logits (n, 11), some of them extreme."""
    rng = np.random.default_rng(0)
    targets = np.zeros((count, 11), np.float32)
    digits = np.arange(count) % 3 > 0
    smooth = 0.9 * np.eye(10)[rng.integers(0, 10, count)] + 0.01
    targets[digits, :10] = smooth[digits]
    targets[:, 10] = digits
    return targets, rng.normal(0, np.where(np.arange(count) % 7 == 0, 100, 3)[:, np.newaxis], (count, 11))


def reference_loss(targets: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """The loss of each row in float64: cross-entropy of the digits, plus that of digit or no digit."""
    loss = -(targets[:, :10] * log_softmax(logits[:, :10].astype(np.float64), axis=1)).sum(axis=1)
    if logits.shape[1] == 11:
        sign = np.where(targets[:, 10] == 1, 1, -1)
        loss += np.logaddexp(0, -sign * logits[:, 10].astype(np.float64))
    return loss


def gradient_of_loss(targets: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """The gradient of the summed loss by its logits, by the backend."""
    import tensorflow as tf

    variable = tf.Variable(logits.astype(np.float32))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(DigitLoss(reduction=None)(targets, variable))
    return tape.gradient(loss, variable).numpy()


def test_simple_cnn_is_the_reference_network():
    network = build_network("simple_cnn")
    by_hand = (3 * 3 * 1 + 1) * 32 + (3 * 3 * 32 + 1) * 64 + (5 * 5 * 64 + 1) * 10
    assert network.count_params() == by_hand == 34_826
    assert [type(layer).__name__ for layer in network.layers] == [
        "Conv2D", "MaxPooling2D", "Conv2D", "MaxPooling2D", "Flatten", "Dropout", "Dense",
    ]  # fmt: skip
    assert network.get_layer(index=5).rate == 0.25
    assert network.layers[-1].activation is keras.activations.linear  # logits: the softmax is in the loss


@pytest.mark.parametrize(
    ("name", "channels", "count"), [("small_cnn", (16, 32), 29_322), ("medium_cnn", (24, 48), 44_522)]
)
def test_small_and_medium_cnn_pool_before_they_rectify(name, channels, count):
    network, (first, second) = build_network(name), channels
    by_hand = (25 + 1) * first + (9 * first + 1) * second + (9 * second + 1) * 64 + (3 * 3 * 64 + 1) * 10
    assert network.count_params() == by_hand == count
    names = [type(layer).__name__ for layer in network.layers]
    assert names == ["InputLayer", "Conv2D", "ReLU", *["Conv2D", "MaxPooling2D", "ReLU"] * 2, "Flatten", "Dense"]
    assert not has_digit_head(network)


def test_tiny_cnn_has_no_padding_and_pools_at_once():
    network = build_network("tiny_cnn")
    assert network.count_params() == (25 + 1) * 32 + (9 * 32 + 1) * 64 + (3 * 3 * 64 + 1) * 10 == 25_098
    assert network.get_layer(index=2).output.shape == (None, 6, 6, 32)
    assert not has_digit_head(network)


def test_dropout_of_the_reference_network_can_be_that_of_keras_example():
    assert simple_cnn(dropout=0.5).get_layer(index=5).rate == 0.5


def test_large_cnn_is_small_and_says_whether_it_sees_a_digit():
    network = build_network("large_cnn")
    assert network.output_shape == (None, 11)
    assert network.count_params() * 2 < 1e6  # bytes in half precision: below 1 MB
    assert has_digit_head(network)
    assert not has_digit_head(build_network("simple_cnn"))


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_take_ink_and_are_random_from_the_seed(name):
    def weights(seed: int) -> list[np.ndarray]:
        return build_network(name, seed=seed).get_weights()

    assert build_network(name).input_shape == (None, 28, 28, 1)
    assert all(np.array_equal(a, b) for a, b in zip(weights(1), weights(1), strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(weights(1), weights(2), strict=True))


def test_an_unknown_network_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="'lenet'; choose one of simple_cnn, tiny_cnn, small_cnn, medium_cnn,"):
        build_network("lenet")


@pytest.mark.parametrize("outputs", [10, 11])
def test_the_loss_is_that_of_plain_numpy(outputs):
    targets, logits = random_rows()
    logits = logits[:, :outputs].astype(np.float32)
    expected = reference_loss(targets, logits)
    by_row = keras.ops.convert_to_numpy(DigitLoss(reduction=None)(targets, logits))
    assert by_row == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert float(DigitLoss()(targets, logits)) == pytest.approx(expected.mean(), rel=1e-5)


@pytest.mark.parametrize("outputs", [10, 11])
def test_the_gradient_is_that_of_plain_numpy(outputs):
    targets, logits = random_rows()
    logits = logits[:, :outputs].astype(np.float32)
    probabilities = np.exp(log_softmax(logits[:, :10].astype(np.float64), axis=1))
    expected = targets[:, :10].sum(axis=1, keepdims=True) * probabilities - targets[:, :10]
    if outputs == 11:
        expected = np.column_stack([expected, expit(logits[:, 10].astype(np.float64)) - targets[:, 10]])
    assert gradient_of_loss(targets, logits) == pytest.approx(expected, abs=1e-5)


def test_non_digits_have_no_gradient_in_the_digit_logits():
    targets, logits = np.zeros((1, 11), np.float32), np.linspace(-2, 5, 11, dtype=np.float32)[np.newaxis]
    gradient = gradient_of_loss(targets, logits)[0]
    assert np.abs(gradient[:10]).max() < 1e-7
    assert gradient[10] > 0.9  # yet it lowers the score of a digit


def test_the_loss_stays_finite_where_the_network_is_confident_and_wrong():
    targets, logits = random_rows()
    assert np.isfinite(gradient_of_loss(targets, logits * 1e4)).all()
    assert np.isfinite(float(DigitLoss()(targets, (logits * 1e4).astype(np.float32))))


def test_a_compiled_network_comes_back_from_its_file(tmp_path):
    network = build_network("large_cnn")
    network.compile("adam", loss=DigitLoss())
    network.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras")
    assert isinstance(loaded.loss, DigitLoss)
    assert all(np.array_equal(a, b) for a, b in zip(network.get_weights(), loaded.get_weights(), strict=True))


def test_a_function_of_ones_own_is_built_with_the_seed_and_the_precision():
    def build() -> keras.Model:
        return keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(10)], name="own")

    once, again = (build_network(build, seed=3, precision="mixed_bfloat16") for _ in range(2))
    assert once.name == "own"
    assert once.compute_dtype == "bfloat16"
    for first, second in zip(once.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)
