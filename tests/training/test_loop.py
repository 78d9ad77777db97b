"""Training: runs of seconds, interrupted in every way, against undisturbed ones and plain NumPy."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from scipy.special import log_softmax

from digit_utils.datasets.ink import ink_of
from digit_utils.files import PROGRESS_FILE
from digit_utils.training import checkpoint, loop
from digit_utils.training.checkpoint import TrainingFolderError
from digit_utils.training.config import DataMix, TrainingConfig
from digit_utils.training.data import TrainingData, make_epoch
from digit_utils.training.loop import compile_network, error_rate, train, train_batches
from digit_utils.training.networks import build_network, float32_copy
from digit_utils.training.optimizers import averaged_weights, build_optimizer
from tests.training.conftest import CONFIGS, small_training_data, train_quietly

KILLED_RUN = "import sys; from tests.training.test_loop import killed_run; killed_run(sys.argv[1], sys.argv[2])"


def killed_run(name: str, folder: str) -> None:
    """Train until the middle of the second epoch, and be killed there as by a power cut."""
    config, training_data = CONFIGS[name], small_training_data()
    steps = -(-len(make_epoch(training_data, config.data_mix, np.random.default_rng(0))[0]) // config.batch_size)

    class KillingBar(loop.tqdm):
        steps_done = 0

        def update(self, n: int = 1) -> None:
            KillingBar.steps_done += n
            if KillingBar.steps_done == steps + 2:
                signal.raise_signal(signal.SIGKILL)

    loop.tqdm = KillingBar
    train(build_network(config.network, seed=config.seed), config, training_data, folder)


def same_weights(first: keras.Model, second: keras.Model) -> bool:
    pairs = zip(first.get_weights(), second.get_weights(), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def without_seconds(history: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in record.items() if name != "seconds"} for record in history]


# ------------------------------------------------------------------------------------------------------------
# The same seed gives the same network, whatever happens on the way


def test_the_same_seed_gives_the_same_weights_to_the_last_bit(training_data, undisturbed, tmp_path):
    reports: list[str] = []
    again = train_quietly(CONFIGS["simple_cnn"], training_data, tmp_path, report=reports.append)
    assert same_weights(again.network, undisturbed["simple_cnn"].network)
    assert without_seconds(again.history) == without_seconds(undisturbed["simple_cnn"].history)
    assert [report.split("loss")[0].strip() for report in reports] == ["epoch  1/2", "epoch  2/2"]


@pytest.mark.parametrize(
    "name", ["simple_cnn", *(pytest.param(name, marks=pytest.mark.slow) for name in CONFIGS if name != "simple_cnn")]
)
def test_a_run_that_was_killed_within_an_epoch_ends_as_if_it_had_not_been(name, training_data, undisturbed, tmp_path):
    command = [sys.executable, "-c", KILLED_RUN, name, str(tmp_path)]
    killed = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=300)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    assert "epoch  1/2" in killed.stdout
    assert (tmp_path / "checkpoint-001.keras").exists()
    reports: list[str] = []
    resumed = train_quietly(CONFIGS[name], training_data, tmp_path, report=reports.append)
    assert reports[0] == "continuing after epoch 1 of 2"
    assert same_weights(resumed.network, undisturbed[name].network)
    assert without_seconds(resumed.history) == without_seconds(undisturbed[name].history)


@pytest.mark.parametrize(
    ("module", "function"), [(loop, "error_rate"), (checkpoint, "write_json"), (loop, "save_learning_curves")]
)
def test_a_run_that_was_stopped_between_epochs_ends_as_if_it_had_not_been(
    module, function, training_data, undisturbed, tmp_path, monkeypatch
):
    """Stopped in the second epoch: before its checkpoint is saved or counts, or before the curves are written."""

    def stop(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    def report(line: str) -> None:  # after the first epoch
        patch.setattr(module, function, stop)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        train_quietly(CONFIGS["simple_cnn"], training_data, tmp_path, report=report)
    resumed = train_quietly(CONFIGS["simple_cnn"], training_data, tmp_path)
    assert same_weights(resumed.network, undisturbed["simple_cnn"].network)
    assert without_seconds(resumed.history) == without_seconds(undisturbed["simple_cnn"].history)
    assert contents(tmp_path) == contents(undisturbed["simple_cnn"].folder)


def test_a_run_may_be_continued_with_other_validation_digits(training_data, undisturbed, tmp_path):
    """They have no influence on training; the curves then hold a column for each set."""
    digits = training_data.validation["digits8x8"]
    first, second = ({"mine": digits}, {"yours": digits, "mine": digits})

    def stop(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_quietly(CONFIGS["simple_cnn"], replace(training_data, validation=first), tmp_path, report=stop)
    for _ in range(2):  # the second time it is finished
        result = train_quietly(CONFIGS["simple_cnn"], replace(training_data, validation=second), tmp_path)
        assert same_weights(result.network, undisturbed["simple_cnn"].network)
        with (tmp_path / "learning_curves.csv").open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert list(rows[0]) == ["epoch", "loss", "seconds", "mine_errors", "yours_errors"]
        assert [row["yours_errors"] for row in rows] == ["", rows[1]["mine_errors"]]
        assert [float(row["mine_errors"]) for row in rows] == [
            record["digits8x8_errors"] for record in undisturbed["simple_cnn"].history
        ]


def test_a_second_run_in_a_folder_is_refused_while_one_trains_there(training_data, undisturbed, tmp_path):
    refused = []

    def report(line: str) -> None:  # after each epoch of the first
        with pytest.raises(TrainingFolderError, match=f"another process trains in {tmp_path}; wait for it"):
            train_quietly(CONFIGS["simple_cnn"], training_data, tmp_path)
        refused.append(line)

    first = train_quietly(CONFIGS["simple_cnn"], training_data, tmp_path, report=report)
    assert len(refused) == 2
    assert same_weights(first.network, undisturbed["simple_cnn"].network)
    train_quietly(CONFIGS["simple_cnn"], training_data, tmp_path)  # the lock is gone with it


def contents(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


# ------------------------------------------------------------------------------------------------------------
# Networks of one's own


def own_network(*, dropout: float = 0.3, precision: str = "float32") -> keras.Model:
    """A network as somebody writes it in a notebook; Keras names its layers anew each time."""
    keras.utils.set_random_seed(4)
    keras.config.set_dtype_policy(precision)
    try:
        image = keras.Input((28, 28, 1))
        one, other = (keras.layers.Conv2D(4, size, strides=4, padding="same")(image) for size in (3, 5))
        features = keras.layers.Concatenate()([one, other])
        features = keras.layers.BatchNormalization(momentum=0.9)(features)
        head = keras.Sequential([keras.layers.Flatten(), keras.layers.Dropout(dropout), keras.layers.Dense(10)])
        return keras.Model(image, head(features), name="own")
    finally:
        keras.config.set_dtype_policy("float32")


def test_any_keras_model_is_trained_resumed_and_averaged(training_data, tmp_path):
    """In 16 bits, already compiled and with its dropout in a model of its own; the config names another network."""
    config = TrainingConfig(epochs=2, batch_size=64, optimizer="muon", average_weights=True, seed=5)
    options = {"show_progress": False, "report": lambda line: None}
    network = own_network(precision="mixed_float16")
    network.compile("sgd", loss="mse")
    before = network.get_weights()
    whole = train(network, config, training_data, tmp_path / "whole", **options)
    assert whole.network.name == "own"
    assert not np.array_equal(before[0], network.get_weights()[0]), "it is trained in place"
    assert json.loads((tmp_path / "whole" / "config.json").read_text())["config"]["network"] == "own"
    assert {str(layer.compute_dtype) for layer in whole.network.layers} == {"float32"}
    again = own_network()  # of a finished run, the given network gets the weights
    finished = train(again, config, training_data, tmp_path / "whole", **options)
    assert finished.network is again
    assert same_weights(again, whole.network)

    def stop(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(
            own_network(precision="mixed_float16"),
            config,
            training_data,
            tmp_path / "cut",
            **options | {"report": stop},
        )
    resumed = train(own_network(precision="mixed_float16"), config, training_data, tmp_path / "cut", **options)
    assert same_weights(resumed.network, whole.network)
    with pytest.raises(TrainingFolderError, match="holds a run with a different architecture; choose another folder"):
        train(own_network(dropout=0.5), config, training_data, tmp_path / "cut", **options)


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        ((28, 28), 10, r"small maps \(None, 28, 28\) to .*; expected a network from \(None, 28, 28, 1\) to 10 logits"),
        ((28, 28, 1), 5, r"small maps .* to \(None, 5\); expected"),
        ((28, 28, 1), 10, "non_digits is 7, but small has no logit for 'is a digit'; set it to 0 or choose"),
    ],
)
def test_a_network_that_does_not_fit_is_refused_before_the_folder_is_touched(
    inputs, outputs, message, training_data, tmp_path
):
    network = keras.Sequential([keras.Input(inputs), keras.layers.Flatten(), keras.layers.Dense(outputs)], name="small")
    with pytest.raises(ValueError, match=message):
        train(network, TrainingConfig(data_mix=DataMix(non_digits=7)), training_data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


# ------------------------------------------------------------------------------------------------------------
# What is learnt, against plain NumPy


def test_the_loss_of_an_epoch_is_the_mean_over_all_its_rows(training_data, tmp_path):
    # With next to no learning rate the network stays what it was, so that every batch can be computed again.
    config = replace(CONFIGS["large_cnn"], epochs=1, learning_rate=1e-12, weight_decay=0)
    image = keras.Input((28, 28, 1))
    network = keras.Model(image, keras.layers.Dense(11)(keras.layers.Flatten()(image)))
    result = train(network, config, training_data, tmp_path, show_progress=False, report=lambda line: None)
    found = result.history[0]["loss"]
    ink, targets = make_epoch(training_data, config.data_mix, np.random.default_rng([config.seed, 0]))
    losses = []
    for start in range(0, len(ink), config.batch_size):
        rows = slice(start, start + config.batch_size)
        logits = keras.ops.convert_to_numpy(network(ink[rows], training=True)).astype(np.float64)
        digits = -(targets[rows, :10] * log_softmax(logits[:, :10], axis=1)).sum(axis=1)
        losses.extend(digits + np.logaddexp(0, np.where(targets[rows, 10] == 1, -1, 1) * logits[:, 10]))
    assert len(losses) == 300
    assert len(losses) % config.batch_size  # a ragged last batch
    assert found == pytest.approx(np.mean(losses), rel=1e-4)


def test_the_learning_rate_rises_then_falls_to_its_final_value_with_the_last_step(training_data, undisturbed):
    for name, result in undisturbed.items():
        config = CONFIGS[name]
        settings = result.network.optimizer.get_config()
        rate = keras.optimizers.schedules.deserialize(settings["learning_rate"])
        steps = int(result.network.optimizer.iterations)
        warm_up = int(0.15 * steps)
        rates = np.array([float(rate(step)) for step in range(steps + 1)])
        assert steps == 2 * -(-(250 + config.data_mix.allographs + config.data_mix.non_digits) // config.batch_size)
        assert rates[0] == pytest.approx(config.learning_rate / 20)
        assert rates.argmax() == warm_up
        assert rates[warm_up] == pytest.approx(config.learning_rate)
        assert rates[-1] == pytest.approx(config.final_learning_rate * config.learning_rate, abs=1e-9)
        assert settings["weight_decay"] == config.weight_decay


def test_brief_muon_forgets_a_burst_that_muon_remembers():
    def last_step(name: str) -> float:
        bias = keras.Variable(np.zeros(1, np.float32))  # not of a kernel: Adam's
        optimizer = build_optimizer(name, 1.0)
        optimizer.build([bias])
        for gradient in (100.0, *200 * [1.0]):
            before = float(bias.numpy()[0])
            optimizer.apply([keras.ops.convert_to_tensor(np.array([gradient], np.float32))])
        return before - float(bias.numpy()[0])

    assert last_step("brief_muon") == pytest.approx(1, abs=0.2)
    assert last_step("muon") < 0.3


def test_averaged_weights_are_kept(undisturbed):
    network = undisturbed["large_cnn"].network
    for variable, average in zip(network.trainable_variables, averaged_weights(network.optimizer), strict=True):
        assert np.array_equal(keras.ops.convert_to_numpy(variable), average)


def compiled(config: TrainingConfig, training_data: TrainingData) -> keras.Model:
    network = build_network(config.network, seed=config.seed)
    compile_network(network, config, training_data)
    return network


def test_averaged_weights_get_statistics_of_their_own(training_data):
    config = replace(CONFIGS["large_cnn"], data_mix=DataMix(allographs=50))
    network = own_network()
    compile_network(network, config, training_data)
    average = float32_copy(network)
    ink, targets = make_epoch(training_data, config.data_mix, np.random.default_rng(0))
    network.fit(ink, targets, batch_size=64, verbose=0)
    loop._copy_averaged_weights(network, average, ink, batch_size=6)
    first, trained = (
        next(layer for layer in each.layers if isinstance(layer, keras.layers.BatchNormalization))
        for each in (average, network)
    )
    expected = keras.ops.convert_to_numpy(trained.moving_mean).astype(np.float64)
    seen = keras.Model(average.inputs, first.input).predict(ink, verbose=0)
    for start in range(0, 300, 6):
        expected = 0.9 * expected + 0.1 * seen[start : start + 6].mean(axis=(0, 1, 2))
    found = keras.ops.convert_to_numpy(first.moving_mean)
    assert found == pytest.approx(expected, abs=1e-4)
    assert np.abs(found - keras.ops.convert_to_numpy(trained.moving_mean)).max() > 1e-3


def test_steps_are_those_of_fit(training_data):
    config = CONFIGS["simple_cnn"]
    ink, targets = make_epoch(training_data, config.data_mix, np.random.default_rng(0))
    ours, by_keras = compiled(config, training_data), compiled(config, training_data)
    sums = list(train_batches(ours, ink, targets, batch_size=32))
    fitted = by_keras.fit(ink, targets, batch_size=32, shuffle=False, verbose=0)
    assert len(ink) == 250
    assert len(sums) == 8  # the last one of 26
    assert sum(sums) / 250 == pytest.approx(fitted.history["loss"][0], rel=1e-5)
    assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(ours.get_weights(), by_keras.get_weights(), strict=True))
    assert not np.allclose(ours.get_weights()[0], compiled(config, training_data).get_weights()[0], atol=1e-3)


def test_training_learns(training_data, tmp_path):
    config = TrainingConfig(epochs=6, batch_size=16, learning_rate=0.004, data_mix=DataMix(augmentation="none"))
    history = train_quietly(config, training_data, tmp_path).history
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert history[-1]["digits8x8_errors"] < 0.2


def test_errors_are_counted_over_all_digits_whatever_the_batch(networks, digits8x8):
    digits = ink_of(digits8x8.train.take(slice(517)))  # 512 and five
    logits = networks["large_cnn"].predict(digits.ink[..., np.newaxis], batch_size=517, verbose=0)
    wrong = sum(int(np.argmax(row[:10])) != label for row, label in zip(logits, digits.labels, strict=True))
    assert error_rate(networks["large_cnn"], digits) == wrong / 517


def test_progress_is_shown_step_by_step(training_data, undisturbed, tmp_path, monkeypatch):
    bars = []

    class Spy:
        def __init__(self, **options: object):
            self.options, self.done = options, 0
            bars.append(self)

        def __enter__(self) -> Spy:
            return self

        def __exit__(self, *reason: object) -> None:
            pass

        def update(self, n: int = 1) -> None:
            self.done += n
            reported.append(progress.read_text() if progress.exists() else "")

    reported, progress = [], tmp_path / "progress.txt"
    monkeypatch.setenv(PROGRESS_FILE, str(progress))
    monkeypatch.setattr(loop, "tqdm", Spy)
    other = train_quietly(replace(CONFIGS["simple_cnn"], seed=8), training_data, tmp_path / "run", show_progress=True)
    assert reported[::4] == ["", "epoch 1 of 2, 50%", "epoch 1 of 2, 100%", "epoch 2 of 2, 50%"]
    assert progress.read_text() == ""
    assert [bar.options["total"] for bar in bars] == [bar.done for bar in bars] == [8, 8]
    assert [bar.options["desc"] for bar in bars] == ["epoch 1", "epoch 2"]
    assert not any(bar.options["disable"] for bar in bars)
    assert not same_weights(other.network, undisturbed["simple_cnn"].network)  # as the seed is another
