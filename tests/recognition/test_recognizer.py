"""The recogniser, on exports of untrained networks: its promises do not depend on what the network learnt."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import threading
from dataclasses import FrozenInstanceError, replace
from itertools import pairwise

import keras
import numpy as np
import pytest

from digit_utils.preprocessing.images import ink_from_image
from digit_utils.preprocessing.strokes import ink_from_strokes
from digit_utils.recognition.model_file import HEAD, MAX_PROBABILITY, ModelFileError, read_model_file, write_model_file
from digit_utils.recognition.recognizer import LOGITS_UNIT, Recognizer, softmax
from digit_utils.training.networks import build_network

SEVEN = [np.array([[0, 0], [60, 2], [40, 45], [22, 100]]), np.array([[15, 50], [55, 46]])]


@pytest.fixture(params=["simple_cnn", "large_cnn"])
def recognizer(request, exports) -> Recognizer:
    return Recognizer.load(exports[request.param])


@pytest.fixture(scope="session")
def ink(digits8x8) -> np.ndarray:
    return np.stack([ink_from_image(image) for image in digits8x8.train.images[:600]])


def in_half_precision(network: keras.Model) -> keras.Model:
    """The network as an export keeps it: batch normalisation folded in, then all weights in half precision."""
    rounded = build_network(network.name)
    rounded.set_weights(network.get_weights())
    for convolution, norm in pairwise(rounded.layers):
        if isinstance(norm, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = norm.get_weights()
            scale = gamma * (1 / np.sqrt(variance + np.float32(norm.epsilon)))
            convolution.set_weights([convolution.get_weights()[0] * scale])
            norm.set_weights(
                [np.ones_like(beta), beta - mean * scale, np.zeros_like(beta), 1 - norm.epsilon + 0 * beta]
            )
    for layer in rounded.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            gamma, beta, *rest = layer.get_weights()
            layer.set_weights([gamma, half(beta), *rest])
        elif isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
            layer.set_weights([half(weights) for weights in layer.get_weights()])
    return rounded


def half(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float16).astype(np.float32)


def with_card(recognizer: Recognizer, exports, **changes) -> Recognizer:
    """The same network with another temperature or threshold."""
    flatbuffer, card = read_model_file(exports[recognizer.card.name] / "model.tflite")
    return Recognizer(flatbuffer, replace(card, **changes))


# ------------------------------------------------------------------------------------------------------------
# What it says


def test_the_networks_of_both_kinds_are_told_apart(exports):
    assert Recognizer.load(exports["simple_cnn"]).card.digit_score == MAX_PROBABILITY
    assert Recognizer.load(exports["large_cnn"]).card.digit_score == HEAD


def test_a_prediction_is_what_it_says(recognizer, ink):
    for prediction, picture in zip(recognizer.recognize_ink(ink[:50]), ink, strict=False):
        assert prediction.probabilities.shape == (10,)
        assert prediction.probabilities.dtype == np.float64
        assert prediction.probabilities.min() >= 0
        assert prediction.probabilities.sum() == pytest.approx(1, abs=1e-12)
        assert 0 <= prediction.digit_score <= 1
        assert prediction.best_digit == np.argmax(prediction.probabilities)
        assert prediction.digit in (None, prediction.best_digit)
        assert (prediction.digit is None) == (prediction.digit_score < recognizer.card.threshold)
        assert np.array_equal(prediction.image, picture)
        assert not prediction.is_blank
        with pytest.raises(FrozenInstanceError):
            prediction.digit = 3


def test_probabilities_are_the_tempered_softmax_of_the_networks_logits(recognizer, networks, ink):
    network = in_half_precision(networks[recognizer.card.name])
    logits = network.predict(ink[:40, :, :, np.newaxis], verbose=0).astype(np.float64)
    probabilities, scores = recognizer.probabilities_and_scores(ink[:40])
    for row, (given, score) in enumerate(zip(probabilities, scores, strict=True)):
        exponentials = [np.exp(value / recognizer.card.temperature) for value in logits[row, :10]]
        assert given == pytest.approx(np.array(exponentials) / sum(exponentials), abs=1e-4)
        if logits.shape[1] == 11:
            expected = 1 / (1 + np.exp(-logits[row, 10]) * max(given) ** -recognizer.card.confidence_weight)
        else:
            expected = max(given)
        assert score == pytest.approx(expected, abs=1e-4)


def test_the_digit_score_heeds_how_sure_the_digit_is_as_much_as_the_card_says(recognizer, exports, ink):
    alone, heeding = (with_card(recognizer, exports, confidence_weight=weight) for weight in (0.0, 1.5))
    probabilities, scores = heeding.probabilities_and_scores(ink)
    before, head = alone.probabilities_and_scores(ink)
    assert np.array_equal(probabilities, before)
    if recognizer.card.digit_score == MAX_PROBABILITY:  # there is no head to weigh it against
        assert np.array_equal(scores, head)
    else:
        odds, head_odds = scores / (1 - scores), head / (1 - head)
        assert odds == pytest.approx(head_odds * probabilities.max(axis=1) ** 1.5, rel=1e-6)


def test_a_higher_temperature_is_less_sure_of_the_same_digits(recognizer, exports, ink):
    cool, hot = (with_card(recognizer, exports, temperature=value) for value in (0.5, 5.0))
    cool_probabilities, hot_probabilities = (each.probabilities_and_scores(ink)[0] for each in (cool, hot))
    assert np.array_equal(cool_probabilities.argmax(axis=1), hot_probabilities.argmax(axis=1))
    assert (cool_probabilities.max(axis=1) > hot_probabilities.max(axis=1)).all()


def test_a_score_below_the_threshold_is_no_digit_and_one_on_it_is(recognizer, exports, ink):
    score = recognizer.recognize_ink(ink[:1])[0].digit_score
    assert with_card(recognizer, exports, threshold=score).recognize_ink(ink[:1])[0].digit is not None
    assert with_card(recognizer, exports, threshold=min(1, score + 1e-9)).recognize_ink(ink[:1])[0].digit is None


@pytest.mark.parametrize("threshold", [0.0, 0.9])
def test_a_blank_page_is_no_digit(recognizer, exports, threshold):
    recognizer = with_card(recognizer, exports, threshold=threshold)
    blank = [
        recognizer.recognize([]),
        recognizer.recognize([np.full((3, 2), np.nan)]),
        recognizer.recognize_image(np.full((50, 40), 255, np.uint8)),
        recognizer.recognize_ink(np.zeros((1, 28, 28)))[0],
    ]
    for prediction in blank:
        assert prediction.digit is None
        assert prediction.is_blank
        assert prediction.digit_score == 0
        assert prediction.probabilities == pytest.approx(np.full(10, 0.1))


def test_figures_of_a_blank_page_are_those_of_its_prediction(recognizer, ink):
    probabilities, scores = recognizer.probabilities_and_scores(np.stack([ink[0], np.zeros((28, 28))]))
    assert scores[1] == 0
    assert probabilities[1] == pytest.approx(np.full(10, 0.1))
    assert scores[0] > 0


def test_strokes_and_pictures_go_through_the_ink_functions(recognizer, digits8x8):
    picture = digits8x8.test.images[0]
    for prediction, ink in [
        (recognizer.recognize(SEVEN), ink_from_strokes(SEVEN)),
        (recognizer.recognize_image(picture), ink_from_image(picture)),
    ]:
        assert np.array_equal(prediction.image, ink)
        assert np.array_equal(prediction.probabilities, recognizer.recognize_ink(ink[np.newaxis])[0].probabilities)


@pytest.mark.parametrize("count", [0, 1, 2, 255, 256, 257])
def test_batches_of_any_size_are_read_row_by_row(recognizer, ink, count):
    batch = ink[:count]
    outputs = recognizer.outputs(batch)
    assert outputs.shape == (count, 11 if recognizer.card.digit_score == HEAD else 10)
    assert len(recognizer.recognize_ink(batch)) == count
    for row in range(0, count, 37):
        assert outputs[row] == pytest.approx(recognizer.outputs(ink[row : row + 1])[0], abs=1e-4)
    for last in outputs[-1:]:
        assert last == pytest.approx(recognizer.outputs(ink[count - 1 : count])[0], abs=1e-4)


@pytest.mark.parametrize("count", [0, 1, 257])
def test_features_come_row_by_row_beside_the_logits(exports, ink, count):
    recognizer = Recognizer.load(exports["large_cnn"])
    features = recognizer.features(ink[:count])
    assert features.shape == (count, 112)
    assert features.dtype == np.float64
    for row in range(0, count, 37):
        assert features[row] == pytest.approx(recognizer.features(ink[row : row + 1])[0], abs=1e-4)


def test_a_network_without_features_gives_its_tempered_logits_in_their_place(exports, ink):
    recognizer = with_card(Recognizer.load(exports["simple_cnn"]), exports, temperature=2.0)
    assert recognizer.card.features == 0
    assert recognizer.features(ink[:5]) == pytest.approx(recognizer.outputs(ink[:5]) / 2 / LOGITS_UNIT)


def test_a_card_that_promises_other_features_is_refused(exports):
    flatbuffer, card = read_model_file(exports["large_cnn"] / "model.tflite")
    for features in (0, 111, 113):
        with pytest.raises(ValueError, match=f"returns 123 values; expected .* {11 + features}"):
            Recognizer(flatbuffer, replace(card, features=features))


@pytest.mark.parametrize("shape", [(28, 28), (2, 27, 28), (2, 28, 28, 1), (784,), (2, 784)])
def test_ink_of_another_shape_is_refused(recognizer, shape):
    with pytest.raises(ValueError, match=r"must have shape \(n, 28, 28\)"):
        recognizer.recognize_ink(np.zeros(shape, np.float32))


def test_bad_strokes_and_pictures_are_refused(recognizer):
    with pytest.raises(ValueError, match="stroke 0"):
        recognizer.recognize([np.zeros((4, 3))])
    with pytest.raises(TypeError, match="not list"):
        recognizer.recognize_image([[0, 255]])
    with pytest.raises(ValueError, match="looks like a batch"):
        recognizer.recognize_image(np.zeros((2, 28, 28), np.uint8))


@pytest.mark.parametrize(
    ("ink", "found"), [(np.full((1, 28, 28), 255), "0 to 255"), (np.full((1, 28, 28), -1.0), "-1 to 0")]
)
def test_ink_outside_0_to_1_is_refused_with_the_remedy(recognizer, ink, found):
    with pytest.raises(ValueError, match=rf"\[0, 1\].*from {found}: divide gray levels by 255"):
        recognizer.recognize_ink(ink)


def test_softmax_does_not_overflow():
    assert softmax(np.array([[1e5, 0.0], [-1e5, 0.0], [3.0, 3.0]])) == pytest.approx(
        np.array([[1, 0], [0, 1], [0.5, 0.5]])
    )


# ------------------------------------------------------------------------------------------------------------
# Keras and LiteRT


def test_keras_and_litert_agree_on_three_hundred_digits(recognizer, networks, mnist):
    digits = np.stack([ink_from_image(image) for image in mnist.validation.images[:300]])
    network = in_half_precision(networks[recognizer.card.name])
    by_keras = network.predict(digits[..., np.newaxis], batch_size=256, verbose=0)
    by_litert = recognizer.outputs(digits)
    assert np.ptp(by_keras, axis=0).min() > 1  # logits that differ from digit to digit, or nothing is shown
    # A folded weight half way between two numbers of half precision may be rounded the other way.
    folded = any(isinstance(layer, keras.layers.BatchNormalization) for layer in network.layers)
    assert np.abs(by_litert - by_keras).max() < (2e-3 if folded else 1e-4)
    assert np.array_equal(by_litert[:, :10].argmax(axis=1), by_keras[:, :10].argmax(axis=1))


# ------------------------------------------------------------------------------------------------------------
# Many threads, little memory, no TensorFlow


def test_eight_threads_get_the_answers_that_one_gets(recognizer, ink):
    batches = [ink[start : start + 1 + start % 5] for start in range(0, 400, 10)]
    alone = [recognizer.outputs(batch) for batch in batches]
    together: dict[tuple[int, int], np.ndarray] = {}
    barrier = threading.Barrier(8)

    def work(thread: int) -> None:
        barrier.wait()
        for index in np.random.default_rng(thread).permutation(len(batches)):
            together[thread, int(index)] = recognizer.outputs(batches[index])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(together) == 8 * len(batches)
    for (_, index), outputs in together.items():
        assert np.array_equal(outputs, alone[index])


MEASURE = textwrap.dedent(
    """
    import json, sys, time
    start = time.process_time()
    import digit_utils
    prediction = digit_utils.Recognizer.load(sys.argv[1]).recognize([[[0, 0], [60, 2], [22, 100]]])
    seconds = time.process_time() - start
    if sys.platform == "linux":  # where getrusage would tell the peak of the process that started this one, too
        status = dict(line.split(":", 1) for line in open("/proc/self/status"))
        peak = int(status["VmHWM"].split()[0]) / 2**10
    else:
        import resource
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    heavy = sorted({name.partition(".")[0] for name in sys.modules})
    print(json.dumps({"seconds": seconds, "peak": peak, "modules": heavy, "image": float(prediction.image.sum())}))
    """
)


@pytest.fixture(scope="module")
def fresh_process(exports) -> dict:
    """What a process of its own needed from its start to its first answer."""
    pytest.importorskip("resource", reason="Windows does not tell a process its peak memory")
    command = [sys.executable, "-c", MEASURE, str(exports["large_cnn"])]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_nothing_heavy_is_imported(fresh_process):
    heavy = {"tensorflow", "keras", "matplotlib", "scipy", "sklearn", "ipywidgets", "ipycanvas", "IPython", "pooch"}
    assert heavy.isdisjoint(fresh_process["modules"])
    assert {"ai_edge_litert", "numpy", "cv2"} <= set(fresh_process["modules"])


def test_the_first_answer_comes_soon_and_takes_little_memory(fresh_process):
    assert fresh_process["image"] > 0
    assert fresh_process["seconds"] < 2  # of computing; a second on an idle machine is what users are promised
    assert fresh_process["peak"] < 150  # MB


# ------------------------------------------------------------------------------------------------------------
# Loading


def test_a_file_or_its_folder_will_do(exports, monkeypatch):
    by_folder, by_file = (
        Recognizer.load(path) for path in (exports["large_cnn"], exports["large_cnn"] / "model.tflite")
    )
    assert by_folder.card == by_file.card
    monkeypatch.chdir(exports["large_cnn"])
    assert Recognizer.load("model.tflite").card == by_file.card
    assert Recognizer.load(".").card == by_file.card


def test_no_path_means_the_bundled_model(exports, monkeypatch):
    monkeypatch.setattr("digit_utils.recognition.recognizer.BUNDLED_MODEL", exports["simple_cnn"] / "model.tflite")
    assert (
        Recognizer.load().card.name == Recognizer.load(None).card.name == Recognizer.load("").card.name == "simple_cnn"
    )


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ModelFileError, match=r"there is no model file .*model\.tflite"):
        Recognizer.load(tmp_path)


@pytest.mark.parametrize(("name", "digit_score"), [("simple_cnn", HEAD), ("large_cnn", MAX_PROBABILITY)])
def test_a_card_that_promises_other_outputs_is_refused(exports, tmp_path, name, digit_score):
    flatbuffer, card = read_model_file(exports[name] / "model.tflite")
    path = tmp_path / "swapped.tflite"
    write_model_file(path, flatbuffer, replace(card, digit_score=digit_score))
    with pytest.raises(ModelFileError, match=r"swapped\.tflite: it takes images of .* and returns (10|123) values"):
        Recognizer.load(path)
