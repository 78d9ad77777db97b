"""Export: calibration against brute force, the threshold against counting, the file against the network."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from scipy.special import log_softmax

from digit_utils.augmentation.non_digits import random_non_digits
from digit_utils.datasets.ink import LabelledInk, ink_of
from digit_utils.recognition.model_file import HEAD, MAX_PROBABILITY, ModelCard, read_model_file
from digit_utils.recognition.recognizer import Recognizer
from digit_utils.training.export import (
    NON_DIGITS,
    PASSES,
    REJECTED_AT_MOST,
    best_confidence_weight,
    best_temperature,
    best_threshold,
    export_network,
    feature_count,
    negative_log_likelihood,
    to_litert,
    versions,
    whitening_of,
)


class Replay:
    """Stands in for a recogniser: the "ink" of a digit holds the logits that the network would give for it."""

    def __init__(self, card: ModelCard):
        self.card = card

    def outputs(self, ink: np.ndarray) -> np.ndarray:
        return ink.reshape(len(ink), -1)[:, :11].astype(np.float64)

    def probabilities_and_scores(self, ink: np.ndarray) -> tuple[None, np.ndarray]:
        return None, 1 / (1 + np.exp(-self.outputs(ink)[:, 10]))


def replayed(count: int, *, blur: float, seed: int) -> LabelledInk:
    """Digits whose label is drawn with the very probabilities that their logits, divided by `blur`, tell."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (count, 10))
    probabilities = np.exp(log_softmax(logits, axis=1))
    labels = np.array([rng.choice(10, p=row) for row in probabilities])
    ink = np.zeros((count, 28, 28), np.float32)
    ink.reshape(count, -1)[:, :10] = logits * blur
    ink.reshape(count, -1)[:, 10] = rng.normal(3, 2, count)
    return LabelledInk(ink, labels)


# ------------------------------------------------------------------------------------------------------------
# Calibration


def test_negative_log_likelihood_is_scipys():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 30, (50, 10)), rng.integers(0, 10, 50)
    expected = -log_softmax(logits, axis=1)[np.arange(50), labels].mean()
    assert negative_log_likelihood(logits, labels) == pytest.approx(expected, rel=1e-9)


def test_a_hopeless_answer_costs_much_but_not_infinitely_much():
    assert np.isfinite(negative_log_likelihood(np.array([[0.0, 5000.0]]), np.array([0])))


@pytest.mark.parametrize("blur", [0.25, 1.0, 3.0])
def test_the_temperature_undoes_over_and_underconfidence(blur):
    validation = {"a": replayed(4000, blur=blur, seed=1)}
    assert best_temperature(Replay(ModelCard()), validation) == pytest.approx(blur, rel=0.08)


def test_the_temperature_is_the_best_of_a_fine_grid_and_each_dataset_weighs_the_same():
    small, large = replayed(300, blur=3, seed=2), replayed(3000, blur=0.8, seed=3)
    grid = np.exp(np.linspace(-1.5, 2, 701))

    def loss(temperature: float) -> float:
        total = 0.0
        for digits in (small, large):
            logits = digits.ink.reshape(len(digits), -1)[:, :10] / temperature
            total -= log_softmax(logits, axis=1)[np.arange(len(digits)), digits.labels].mean()
        return total

    best = grid[np.argmin([loss(temperature) for temperature in grid])]
    found = best_temperature(Replay(ModelCard()), {"small": small, "large": large})
    assert found == pytest.approx(best, rel=0.01)
    assert 1.2 < found < 2.8  # between the two


@pytest.mark.parametrize("count", [1, 60, 200, 1000, 2001])
def test_the_threshold_rejects_no_more_than_it_may_of_any_dataset(count):
    sets = {"a": replayed(count, blur=1, seed=4), "b": replayed(700, blur=1, seed=5)}
    recognizer = Replay(ModelCard(digit_score=HEAD))
    threshold = best_threshold(recognizer, sets)
    rejected = {}
    for name, digits in sets.items():
        scores = recognizer.probabilities_and_scores(digits.ink)[1]
        rejected[name] = (scores < threshold).mean()
        assert rejected[name] <= REJECTED_AT_MOST
    assert count < 1000 or max(rejected.values()) > REJECTED_AT_MOST / 2  # it is worth something, too


def test_the_threshold_is_no_higher_than_non_digits_make_it():
    recognizer, sets = Replay(ModelCard(digit_score=HEAD)), {"a": replayed(2000, blur=1, seed=4)}
    highest, others = best_threshold(recognizer, sets), replayed(1000, blur=1, seed=6).ink
    for shift, limited in ((-12, True), (0, False)):
        moved = others.copy()
        moved.reshape(1000, -1)[:, 10] += shift
        threshold = best_threshold(recognizer, sets, moved)
        assert (threshold < highest) == limited
        passed = (recognizer.probabilities_and_scores(moved)[1] >= threshold).mean()
        assert passed == PASSES if limited else passed > PASSES


def scored(head: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Ink for Replay: the head's logit (n,), and logits whose softmax has `probability` (n,) in its first place."""
    ink = np.zeros((len(head), 28, 28), np.float32)
    rows = ink.reshape(len(head), -1)
    rows[:, 0], rows[:, 10] = np.log(9 * probability / (1 - probability)), head
    return ink


def scored_sets(weight: float, *, seed: int) -> tuple[dict[str, LabelledInk], np.ndarray]:
    """Digits of two datasets and others, divided by a coin that lands as head + weight * log(probability) says."""
    rng = np.random.default_rng(seed)
    head, probability = rng.normal(2, 2, 40_000), rng.uniform(0.2, 0.999, 40_000)
    is_digit = rng.random(40_000) < 1 / (1 + np.exp(-(head - 2 + weight * (np.log(probability) + 0.6))))
    ink = scored(head, probability)
    digits, others = ink[is_digit], ink[~is_digit]
    few = len(digits) // 20
    labels = np.zeros(len(digits), int)
    return {"a": LabelledInk(digits[:few], labels[:few]), "b": LabelledInk(digits[few:], labels[few:])}, others


@pytest.mark.parametrize("weight", [0.5, 1.5, 4.0])
def test_the_weight_of_confidence_is_the_one_that_divided_digits_from_others(weight):
    validation, others = scored_sets(weight, seed=1)
    found = best_confidence_weight(Replay(ModelCard(digit_score=HEAD)), validation, others)
    assert found == pytest.approx(weight, rel=0.2)


@pytest.mark.parametrize("weight", [-2.0, 0.0])
def test_confidence_that_tells_nothing_has_next_to_no_weight(weight):
    validation, others = scored_sets(weight, seed=2)
    assert 0 <= best_confidence_weight(Replay(ModelCard(digit_score=HEAD)), validation, others) < 0.1


# ------------------------------------------------------------------------------------------------------------
# The file


def test_the_export_holds_calibration_and_origin(exports, digits8x8):
    validation = {"digits8x8": ink_of(digits8x8.validation)}
    for name, folder in exports.items():
        recognizer = Recognizer.load(folder)
        card = recognizer.card
        assert card.name == name
        assert card.features == (112 if name == "large_cnn" else 0)
        assert card.digit_score == (HEAD if name == "large_cnn" else MAX_PROBABILITY)
        assert card.provenance["made_for"] == "tests"
        assert card.provenance["versions"] == versions()
        assert card.temperature == best_temperature(recognizer, validation)
        others = random_non_digits(NON_DIGITS, np.random.default_rng(0), photographed=0.3)
        weight = best_confidence_weight(recognizer, validation, others) if name == "large_cnn" else 0.0
        assert card.confidence_weight == weight
        assert card.threshold == best_threshold(recognizer, validation, others if name == "large_cnn" else None)
        scores = recognizer.probabilities_and_scores(validation["digits8x8"].ink)[1]
        assert (scores < card.threshold).sum() <= REJECTED_AT_MOST * len(scores)


def test_features_are_exported_where_the_network_has_them_and_must_be_one_row_a_picture(networks):
    assert {name: feature_count(network) for name, network in networks.items()} == {
        "simple_cnn": 0,
        "tiny_cnn": 0,
        "small_cnn": 0,
        "medium_cnn": 0,
        "large_cnn": 112,
    }
    image = keras.Input((28, 28, 1))
    maps = keras.layers.Conv2D(2, 3, name="features")(image)
    with pytest.raises(ValueError, match=r"'features' of unpooled gives .*26, 26, 2.*expected \(batch, d\)"):
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


def test_features_that_never_differ_do_no_harm():
    assert np.array_equal(whitening_of([(np.zeros((5, 2)), np.zeros(5, int))]), np.eye(2))


def test_the_recogniser_that_comes_back_is_the_one_in_the_file(networks, digits8x8, tmp_path):
    ink = ink_of(digits8x8.validation.take(slice(100)))
    returned = export_network(networks["simple_cnn"], tmp_path / "new" / "folder", validation={"digits8x8": ink})
    loaded = Recognizer.load(tmp_path / "new" / "folder")
    assert returned.card == loaded.card
    assert np.array_equal(returned.outputs(ink.ink), loaded.outputs(ink.ink))
    assert [entry.name for entry in (tmp_path / "new" / "folder").iterdir()] == ["model.tflite"]


@pytest.mark.parametrize("sets", [{}, {"none": LabelledInk(np.zeros((0, 28, 28), np.float32), np.zeros(0, np.int64))}])
def test_without_validation_digits_nothing_is_exported_and_the_reason_is_told(sets, networks, tmp_path):
    with pytest.raises(ValueError, match=r"the numbers of validation digits are .*give at least one set"):
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


def test_versions_name_what_the_network_depends_on():
    found = versions()
    assert {"python", "backend", "keras", "tensorflow", "numpy", "ai-edge-litert", "digit-utils"} <= set(found)
    assert found["numpy"] == np.__version__
