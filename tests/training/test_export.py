"""Export: the file against the network, its calibration and its provenance."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from digit_utils.augmentation.non_digits import random_non_digits
from digit_utils.datasets.ink import LabelledInk, ink_of
from digit_utils.recognition.model_file import HEAD, MAX_PROBABILITY, read_model_file
from digit_utils.recognition.recognizer import Recognizer
from digit_utils.training.calibration import MAX_REJECTED, calibrate
from digit_utils.training.export import (
    NON_DIGITS,
    export_network,
    feature_count,
    to_litert,
    versions,
    whitening_of,
)


@pytest.mark.parametrize("name", ["simple_cnn", "large_cnn"])
def test_the_export_holds_calibration_and_provenance(name, exports, digits8x8):
    digits = ink_of(digits8x8.validation)
    recognizer = Recognizer.load(exports[name])
    card, has_head = recognizer.card, name == "large_cnn"
    assert (card.name, card.features) == (name, 112 if has_head else 0)
    assert card.digit_score == (HEAD if has_head else MAX_PROBABILITY)
    assert card.provenance["made_for"] == "tests"
    assert card.provenance["versions"] == versions()
    non_digits = random_non_digits(NON_DIGITS, np.random.default_rng(0), photographed=0.3)
    non_digit_outputs = recognizer.outputs(non_digits) if has_head else None
    expected = calibrate([recognizer.outputs(digits.ink)], [digits.labels], non_digit_outputs)
    assert card.temperature == expected.temperature
    assert card.confidence_weight == expected.confidence_weight
    assert card.threshold == expected.threshold
    scores, non_digit_scores = (recognizer.probabilities_and_scores(ink)[1] for ink in (digits.ink, non_digits))
    assert (scores < card.threshold).sum() <= MAX_REJECTED * len(scores)
    # The recogniser computes the very scores that the threshold was fitted to.
    highest = np.quantile(scores, MAX_REJECTED, method="lower")
    limits = [highest, np.quantile(non_digit_scores, 0.9)] if has_head else [highest]
    assert card.threshold == min(limits)


def test_features_are_exported_where_the_network_has_them_and_must_be_one_row_per_image(networks):
    assert {name: feature_count(network) for name, network in networks.items()} == {
        "simple_cnn": 0,
        "tiny_cnn": 0,
        "small_cnn": 0,
        "medium_cnn": 0,
        "large_cnn": 112,
    }
    image = keras.Input((28, 28, 1))
    maps = keras.layers.Conv2D(2, 3, name="features")(image)
    with pytest.raises(ValueError, match=r"'features' of unpooled returns .*26, 26, 2.*expected \(batch, d\)"):
        feature_count(keras.Model(image, keras.layers.Dense(10)(keras.layers.Flatten()(maps)), name="unpooled"))


def test_features_are_a_linear_map_of_the_layer_in_which_digits_of_a_class_are_at_distance_one(
    networks, exports, digits8x8
):
    digits, network = ink_of(digits8x8.validation), networks["large_cnn"]
    layer = keras.Model(network.inputs, network.get_layer("features").output)
    inner = layer.predict(digits.ink[..., np.newaxis], verbose=0)
    features = Recognizer.load(exports["large_cnn"]).features(digits.ink)
    matrix, *_ = np.linalg.lstsq(inner, features, rcond=None)
    assert np.abs(inner @ matrix - features).max() < 1e-3
    own = [features[digits.labels == label] for label in range(10)]
    squares = [((each[:, np.newaxis] - each) ** 2).sum(axis=2).mean() for each in own]
    assert np.average(squares, weights=[len(each) for each in own]) == pytest.approx(1, abs=0.01)


def test_whitening_evens_the_spread_within_classes_and_each_dataset_weighs_the_same():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), 100)
    centres = rng.normal(0, 50, (10, 3))[labels]  # between the classes it does not matter
    wide, tall = (centres + rng.normal(0, 1, (1000, 3)) * scale for scale in ([4, 1, 0], [1, 4, 0]))
    matrix = whitening_of([(wide, labels), (np.repeat(tall, 5, axis=0), np.repeat(labels, 5))])
    lengths = np.linalg.norm(matrix, axis=1)
    assert lengths[0] == pytest.approx(lengths[1], rel=0.05)
    alone = np.linalg.norm(whitening_of([(wide, labels)]), axis=1)
    assert alone[1] > 2 * alone[0]
    assert np.isfinite(matrix).all()  # though the third feature never differs within a class


def test_constant_features_do_no_harm():
    assert np.array_equal(whitening_of([(np.zeros((5, 2)), np.zeros(5, int))]), np.eye(2))


def test_the_recogniser_that_comes_back_is_the_one_in_the_file(networks, digits8x8, tmp_path):
    ink = ink_of(digits8x8.validation.take(slice(100)))
    returned = export_network(networks["simple_cnn"], tmp_path / "new" / "folder", validation={"digits8x8": ink})
    loaded = Recognizer.load(tmp_path / "new" / "folder")
    assert returned.card == loaded.card
    assert np.array_equal(returned.outputs(ink.ink), loaded.outputs(ink.ink))
    assert [entry.name for entry in (tmp_path / "new" / "folder").iterdir()] == ["model.tflite"]


@pytest.mark.parametrize("sets", [{}, {"none": LabelledInk(np.zeros((0, 28, 28), np.float32), np.zeros(0, np.int64))}])
def test_without_validation_digits_nothing_is_exported(sets, networks, tmp_path):
    with pytest.raises(ValueError, match=r"the numbers of validation digits are .*calibration needs at least one set"):
        export_network(networks["large_cnn"], tmp_path / "new", validation=sets)
    assert not (tmp_path / "new").exists()


def test_the_same_network_exports_to_the_same_bytes(networks, exports):
    assert to_litert(networks["simple_cnn"]) == read_model_file(exports["simple_cnn"] / "model.tflite")[0]


def test_weights_are_exported_in_half_precision_and_the_logits_hardly_notice(networks, exports, digits8x8):
    ink = ink_of(digits8x8.validation).ink
    for name, network in networks.items():
        weights = network.count_params() + feature_count(network) ** 2
        size = (exports[name] / "model.tflite").stat().st_size
        assert 2 * weights < size < 2 * weights + 40_000
        logits = network.predict(ink[..., np.newaxis], verbose=0)
        differences = np.abs(Recognizer.load(exports[name]).outputs(ink) - logits)
        assert 0 < differences.max() < 5e-3 * np.ptp(logits)


def test_feature_maps_are_those_of_the_network_in_keras(networks, exports, digits8x8):
    network, ink = networks["simple_cnn"], ink_of(digits8x8.validation).ink[:3]
    layers = [layer for layer in network.layers if len(layer.output.shape) == 4]
    expected = keras.Model(network.inputs, [layer.output for layer in layers]).predict(ink[..., np.newaxis], verbose=0)
    maps = Recognizer.load(exports["simple_cnn"]).feature_maps
    for place, image in enumerate(ink):
        found = maps.of(image)
        assert [each.shape for each in found] == [each.shape[1:] for each in expected]
        for mine, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(mine, theirs[place], atol=0.005 * theirs[place].max())


def test_versions_name_what_the_network_depends_on():
    found = versions()
    assert {"python", "backend", "keras", "tensorflow", "numpy", "ai-edge-litert", "digit-utils"} <= set(found)
    assert found["numpy"] == np.__version__
