"""Muon for convolutions, against the singular value decomposition that it approximates."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

from digit_utils.training.optimizers import AveragedAdamW, ConvolutionMuon, averaged_weights

KERNEL = (3, 3, 16, 24)


def test_a_convolutions_update_is_nearly_orthogonal():
    gradient = np.random.default_rng(0).normal(size=KERNEL).astype(np.float32)
    update = ops.convert_to_numpy(ConvolutionMuon().zeropower_via_newtonschulz5(ops.convert_to_tensor(gradient), 5))
    assert update.shape == KERNEL
    left, _, right = np.linalg.svd(gradient.reshape(-1, KERNEL[-1]), full_matrices=False)
    singular = np.linalg.svd(update.reshape(-1, KERNEL[-1]), compute_uv=False)
    assert 0.6 < singular.min() <= singular.max() < 1.3  # the quintic iteration stays within these bounds of one
    nearest = left @ right
    cosine = (update.reshape(nearest.shape) * nearest).sum() / np.linalg.norm(update) / np.linalg.norm(nearest)
    assert cosine > 0.98


def test_one_step_moves_a_kernel_as_far_as_the_formula_says_and_leaves_the_rest_to_adam():
    image = keras.Input((8, 8, 1))
    features = layers.Conv2D(4, 3, name="reads_the_picture")(image)
    features = layers.Conv2D(6, 3, use_bias=False, name="inner")(features)
    network = keras.Model(image, layers.Dense(2, name="last")(layers.Flatten()(features)))
    optimizer = ConvolutionMuon(0.01, weight_decay=0.0, adam_weight_decay=0.0)
    optimizer.build(network.trainable_variables)
    before = [ops.convert_to_numpy(variable) for variable in network.trainable_variables]
    rng = np.random.default_rng(1)
    optimizer.apply([ops.convert_to_tensor(rng.normal(size=value.shape).astype(np.float32)) for value in before])
    moved = {
        variable.path: ops.convert_to_numpy(variable) - value
        for variable, value in zip(network.trainable_variables, before, strict=True)
    }
    for path, change in moved.items():
        if path.startswith("inner"):  # 36 x 6, of six singular values near one
            size = np.linalg.norm(change) / (0.01 * 0.2 * np.sqrt(36))
            assert size == pytest.approx(np.sqrt(6), rel=0.25)
        else:  # Adam's first step: the learning rate, whatever the gradient
            assert np.abs(change) == pytest.approx(np.full(change.shape, 0.01), rel=0.05)


def test_it_comes_back_from_a_checkpoint_with_its_momentum(tmp_path):
    network = keras.Sequential([keras.Input((8, 8, 2)), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(2)])
    network.compile(ConvolutionMuon(0.01), loss="mse")
    rng = np.random.default_rng(0)
    pictures, targets = rng.normal(size=(16, 8, 8, 2)), rng.normal(size=(16, 2))
    network.fit(pictures, targets, batch_size=8, verbose=0)
    network.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras")
    assert type(loaded.optimizer) is ConvolutionMuon
    for one, other in ((network, network), (network, loaded)):
        assert [np.array(v).tolist() for v in one.optimizer.variables] == [
            np.array(v).tolist() for v in other.optimizer.variables
        ]
    for model in (network, loaded):
        model.fit(pictures, targets, batch_size=8, shuffle=False, verbose=0)
    assert np.allclose(network.predict(pictures, verbose=0), loaded.predict(pictures, verbose=0), atol=1e-6)


@pytest.mark.parametrize("kind", [ConvolutionMuon, AveragedAdamW])
def test_the_average_of_the_weights_is_the_one_of_the_formula_and_training_goes_on_without_it(kind, tmp_path):
    network = keras.Sequential([keras.Input((8, 8, 2)), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(2)])
    network.compile(kind(0.01, use_ema=True), loss="mse")
    rng = np.random.default_rng(0)
    pictures, targets = rng.normal(size=(8, 8, 8, 2)), rng.normal(size=(8, 2))
    steps = []
    for _ in range(7):  # fit ends after each step, where Keras would put the average in the place of the weights
        network.fit(pictures, targets, batch_size=8, verbose=0)
        steps.append([ops.convert_to_numpy(variable) for variable in network.trainable_variables])
        network.save(tmp_path / "network.keras")
        network = keras.models.load_model(tmp_path / "network.keras")
    shares = np.array([(s + 1) * (s + 2) * (s + 3) * (s + 4) for s in range(7)], float)  # a power of four, rising
    shares /= shares.sum()
    for place, average in enumerate(averaged_weights(network.optimizer)):
        expected = sum(share * step[place] for share, step in zip(shares, steps, strict=True))
        assert np.allclose(average, expected, atol=1e-6)
        assert not np.allclose(average, steps[-1][place], atol=1e-4)


def test_the_average_is_found_under_a_loss_scale():
    network = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    inner = ConvolutionMuon(0.01, use_ema=True)
    network.compile(keras.optimizers.LossScaleOptimizer(inner), loss="mse")
    network.fit(np.ones((4, 4)), np.ones((4, 2)), verbose=0)
    for average, variable in zip(averaged_weights(network.optimizer), network.trainable_variables, strict=True):
        assert np.allclose(average, ops.convert_to_numpy(variable))  # of one step
