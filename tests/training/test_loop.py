"""Training: runs of seconds, disturbed in every way, against undisturbed ones and plain NumPy."""

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

from digit_utils.datasets.ink import LabelledInk, ink_of
from digit_utils.datasets.loading import load_dataset
from digit_utils.training import loop, optimizers, prefetch
from digit_utils.training.checkpoint import TrainingFolderError
from digit_utils.training.config import PRESETS, DataMix, TrainingConfig, preset
from digit_utils.training.data import TrainingData, make_epoch
from digit_utils.training.loop import error_rate, new_network, take_steps, train
from digit_utils.training.networks import build_network
from digit_utils.training.optimizers import averaged_weights

CONFIGS = {
    "simple_cnn": TrainingConfig(epochs=2, batch_size=32, seed=7),
    # The recipe of the bundled model, but for the pen strokes of others and for how much there is of everything.
    "large_cnn": preset(
        "full", epochs=2, batch_size=64, seed=3, pen_strokes=0, allographs=30, non_digits=20, label_smoothing=0.02
    ),
}
KILLED_RUN = "import sys; from tests.training.test_loop import killed_run; killed_run(sys.argv[1], sys.argv[2])"


def small_material() -> TrainingData:
    """250 scans to train on, which no batch size here divides, and 100 to validate with."""
    digits = load_dataset("digits8x8")
    scans, validation = ink_of(digits.train.take(slice(250))), ink_of(digits.validation.take(slice(100)))
    return TrainingData(scans, validation={"digits8x8": validation}, hashes={"digits8x8": digits.sha256})


def quiet(config: TrainingConfig, training_data: TrainingData, folder: Path, **options) -> loop.TrainingResult:
    return train(config, training_data, folder, **({"report": lambda line: None, "show_progress": False} | options))


def killed_run(name: str, folder: str) -> None:
    """Train until the middle of the second epoch, and be killed there as by a power cut."""
    config, training_data = CONFIGS[name], small_material()
    steps = -(-len(make_epoch(training_data, config.data_mix, np.random.default_rng(0))[0]) // config.batch_size)

    class KillingBar(loop.tqdm):
        steps_done = 0

        def update(self, n: int = 1) -> None:
            KillingBar.steps_done += n
            if KillingBar.steps_done == steps + 2:
                signal.raise_signal(signal.SIGKILL)

    loop.tqdm = KillingBar
    train(config, training_data, folder)


def same_weights(first: keras.Model, second: keras.Model) -> bool:
    pairs = zip(first.get_weights(), second.get_weights(), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def without_seconds(history: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in record.items() if name != "seconds"} for record in history]


@pytest.fixture(scope="module")
def training_data() -> TrainingData:
    return small_material()


@pytest.fixture(scope="module")
def undisturbed(training_data, tmp_path_factory) -> dict[str, loop.TrainingResult]:
    """A run of each network from its start to its end."""
    return {name: quiet(config, training_data, tmp_path_factory.mktemp(name)) for name, config in CONFIGS.items()}


# ------------------------------------------------------------------------------------------------------------
# The same seed gives the same network, whatever happens on the way


def test_the_same_seed_gives_the_same_weights_to_the_last_bit(training_data, undisturbed, tmp_path):
    reports: list[str] = []
    again = quiet(CONFIGS["simple_cnn"], training_data, tmp_path, report=reports.append)
    assert same_weights(again.network, undisturbed["simple_cnn"].network)
    assert without_seconds(again.history) == without_seconds(undisturbed["simple_cnn"].history)
    assert [report.split("loss")[0].strip() for report in reports] == ["epoch  1/2", "epoch  2/2"]


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_a_run_that_was_killed_within_an_epoch_ends_as_if_it_had_not_been(name, training_data, undisturbed, tmp_path):
    command = [sys.executable, "-c", KILLED_RUN, name, str(tmp_path)]
    killed = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=300)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    assert "epoch  1/2" in killed.stdout
    assert (tmp_path / "checkpoint-001.keras").exists()
    reports: list[str] = []
    resumed = quiet(CONFIGS[name], training_data, tmp_path, report=reports.append)
    assert reports[0] == "goes on after epoch 1 of 2"
    assert same_weights(resumed.network, undisturbed[name].network)
    assert without_seconds(resumed.history) == without_seconds(undisturbed[name].history)


@pytest.mark.parametrize("place", ["error_rate", "write_json", "_save_curves"])
def test_a_run_that_was_stopped_between_epochs_ends_as_if_it_had_not_been(
    place, training_data, undisturbed, tmp_path, monkeypatch
):
    """Stopped after the second epoch: before its checkpoint, before that counts, or when all is trained."""

    def stop(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    def report(line: str) -> None:  # after the first epoch
        patch.setattr(loop, place, stop)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        quiet(CONFIGS["simple_cnn"], training_data, tmp_path, report=report)
    resumed = quiet(CONFIGS["simple_cnn"], training_data, tmp_path)
    assert same_weights(resumed.network, undisturbed["simple_cnn"].network)
    assert without_seconds(resumed.history) == without_seconds(undisturbed["simple_cnn"].history)
    assert contents(tmp_path) == contents(undisturbed["simple_cnn"].folder)


def test_a_run_may_go_on_with_other_validation_digits(training_data, undisturbed, tmp_path):
    """Which have no say in training; nothing tells them apart in training data that is made by hand."""
    digits = training_data.validation["digits8x8"]
    sets = [{"mine": digits}, {"yours": digits, "mine": digits}]

    def stop(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quiet(CONFIGS["simple_cnn"], replace(training_data, validation=sets[0]), tmp_path, report=stop)
    for _ in range(2):  # the second time it is finished
        result = quiet(CONFIGS["simple_cnn"], replace(training_data, validation=sets[1]), tmp_path)
        assert same_weights(result.network, undisturbed["simple_cnn"].network)
        with (tmp_path / "learning_curves.csv").open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert list(rows[0]) == ["epoch", "loss", "seconds", "mine_errors", "yours_errors"]
        assert [row["yours_errors"] for row in rows] == ["", rows[1]["mine_errors"]]
        assert [float(row["mine_errors"]) for row in rows] == [
            record["digits8x8_errors"] for record in undisturbed["simple_cnn"].history
        ]
        assert (tmp_path / "learning_curves.png").exists()


def test_a_second_run_in_a_folder_is_refused_while_one_trains_there(training_data, undisturbed, tmp_path):
    refused = []

    def report(line: str) -> None:  # after each epoch of the first
        with pytest.raises(TrainingFolderError, match=f"another process trains in {tmp_path}; wait for it"):
            quiet(CONFIGS["simple_cnn"], training_data, tmp_path)
        refused.append(line)

    first = quiet(CONFIGS["simple_cnn"], training_data, tmp_path, report=report)
    assert len(refused) == 2
    assert same_weights(first.network, undisturbed["simple_cnn"].network)
    quiet(CONFIGS["simple_cnn"], training_data, tmp_path)  # the lock is gone with it


def contents(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


# ------------------------------------------------------------------------------------------------------------
# What is learnt, against plain NumPy


def test_the_loss_of_an_epoch_is_the_mean_over_all_its_rows(training_data, tmp_path):
    # With next to no learning rate the network stays what it was, so that every batch can be computed again.
    config = replace(CONFIGS["large_cnn"], epochs=1, learning_rate=1e-12, weight_decay=0)
    found = quiet(config, training_data, tmp_path).history[0]["loss"]
    keras.utils.set_random_seed(config.seed)
    network = build_network("large_cnn")
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


def test_the_learning_rate_rises_then_falls_as_far_as_told_with_the_last_step(training_data, undisturbed):
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
        optimizer = optimizers.OPTIMIZERS[name](1.0, 0.0, False)
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


def test_averaged_weights_get_statistics_of_their_own(training_data):
    config = CONFIGS["large_cnn"]
    network, average = new_network(config, training_data), build_network("large_cnn")
    ink, targets = make_epoch(training_data, config.data_mix, np.random.default_rng(0))
    network.fit(ink, targets, batch_size=64, verbose=0)
    loop._take_average(average, network, ink, batch_size=6)
    first, trained = (
        next(layer for layer in each.layers if isinstance(layer, keras.layers.BatchNormalization))
        for each in (average, network)
    )
    expected = keras.ops.convert_to_numpy(trained.moving_mean).astype(np.float64)
    seen = keras.Model(average.inputs, first.input).predict(ink, verbose=0)
    for start in range(0, 300, 6):
        expected = 0.95 * expected + 0.05 * seen[start : start + 6].mean(axis=(0, 1, 2))
    found = keras.ops.convert_to_numpy(first.moving_mean)
    assert found == pytest.approx(expected, abs=1e-4)
    assert np.abs(found - keras.ops.convert_to_numpy(trained.moving_mean)).max() > 1e-3


def test_steps_are_those_of_fit(training_data):
    config = CONFIGS["simple_cnn"]
    ink, targets = make_epoch(training_data, config.data_mix, np.random.default_rng(0))
    ours, by_keras = new_network(config, training_data), new_network(config, training_data)
    sums = list(take_steps(ours, ink, targets, batch_size=32))
    fitted = by_keras.fit(ink, targets, batch_size=32, shuffle=False, verbose=0)
    assert len(ink) == 250
    assert len(sums) == 8  # the last one of 26
    assert sum(sums) / 250 == pytest.approx(fitted.history["loss"][0], rel=1e-5)
    assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(ours.get_weights(), by_keras.get_weights(), strict=True))
    assert not np.allclose(ours.get_weights()[0], new_network(config, training_data).get_weights()[0], atol=1e-3)


def test_training_learns(training_data, tmp_path):
    config = TrainingConfig(epochs=6, batch_size=16, learning_rate=0.004, data_mix=DataMix(augmentation="none"))
    history = quiet(config, training_data, tmp_path).history
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

    monkeypatch.setattr(loop, "tqdm", Spy)
    other = quiet(replace(CONFIGS["simple_cnn"], seed=8), training_data, tmp_path, show_progress=True)
    assert [bar.options["total"] for bar in bars] == [bar.done for bar in bars] == [8, 8]
    assert [bar.options["desc"] for bar in bars] == ["epoch 1", "epoch 2"]
    assert not any(bar.options["disable"] for bar in bars)
    assert not same_weights(other.network, undisturbed["simple_cnn"].network)  # as the seed is another


# ------------------------------------------------------------------------------------------------------------
# The folder of a run


def test_the_folder_holds_the_network_and_its_curves(undisturbed, training_data):
    for name, result in undisturbed.items():
        expected = {"config.json", "progress.json", "model.keras", "learning_curves.csv", "learning_curves.png"}
        assert contents(result.folder) == expected
        assert same_weights(keras.models.load_model(result.folder / "model.keras"), result.network)
        config = json.loads((result.folder / "config.json").read_text(encoding="utf-8"))
        assert config["config"]["network"] == name
        assert config["config"]["data_mix"]["allographs"] == CONFIGS[name].data_mix.allographs
        assert config["data"] == training_data.hashes
        assert (result.folder / "learning_curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_learning_curves_are_the_history(undisturbed, training_data):
    for result in undisturbed.values():
        with (result.folder / "learning_curves.csv").open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert [{name: float(value) for name, value in row.items()} for row in rows] == result.history
        assert list(rows[0]) == ["epoch", "loss", "seconds", "digits8x8_errors"]
        assert [record["epoch"] for record in result.history] == [1, 2]
        assert result.history[-1]["digits8x8_errors"] == error_rate(
            result.network, training_data.validation["digits8x8"]
        )


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"seed": 1}, "config.seed"),
        ({"learning_rate": 0.5, "epochs": 9}, "config.epochs, config.learning_rate"),
        ({"data_mix": DataMix(augmentation="none")}, "config.recipe.augmentation"),
        ({"network": "large_cnn"}, "config.network"),
    ],
)
def test_a_folder_with_another_run_is_left_alone(changes, names, training_data, undisturbed):
    folder = undisturbed["simple_cnn"].folder
    before = {entry: entry.read_bytes() for entry in folder.iterdir()}
    with pytest.raises(TrainingFolderError, match=f"{folder} holds a run with another {names}; choose another"):
        quiet(replace(CONFIGS["simple_cnn"], **changes), training_data, folder)
    assert {entry: entry.read_bytes() for entry in folder.iterdir()} == before


def test_a_folder_with_a_run_on_other_data_is_left_alone(training_data, undisturbed):
    folder = undisturbed["simple_cnn"].folder
    with pytest.raises(TrainingFolderError, match=r"another data\.digits8x8"):
        quiet(CONFIGS["simple_cnn"], replace(training_data, hashes={"digits8x8": "0" * 64}), folder)
    fewer = LabelledInk(training_data.scans.ink[:-1], training_data.scans.labels[:-1])
    with pytest.raises(TrainingFolderError, match="another ink, training data"):
        quiet(CONFIGS["simple_cnn"], replace(training_data, scans=fewer), folder)


def test_a_run_goes_on_where_the_processor_makes_the_last_digits_of_ink_differently(training_data, tmp_path):
    """As OpenCV does with and without its instructions of one maker: by up to 0.001, in a pixel of a thousand."""
    config, rng = replace(CONFIGS["simple_cnn"], epochs=1), np.random.default_rng(0)
    quiet(config, training_data, tmp_path)
    ink = training_data.scans.ink.copy()
    touched = rng.random(ink.shape) < 0.001
    ink[touched] += rng.uniform(-0.001, 0.001, touched.sum()).astype(np.float32)
    elsewhere = replace(training_data, scans=LabelledInk(ink, training_data.scans.labels))
    quiet(config, elsewhere, tmp_path)
    with pytest.raises(TrainingFolderError, match=r"another config\.seed; choose"):  # and not of the ink
        quiet(replace(config, seed=5), elsewhere, tmp_path)


def test_other_ink_is_other_material(training_data, tmp_path):
    config = replace(CONFIGS["simple_cnn"], epochs=1)
    quiet(config, training_data, tmp_path)
    ink, labels = training_data.scans.ink, training_data.scans.labels
    first, second = np.flatnonzero(labels == labels[0])[:2]
    swapped, moved = ink.copy(), ink.copy()
    swapped[[first, second]] = ink[[second, first]]
    moved[first] = np.roll(ink[first], 1, axis=1)
    for other in (swapped, moved):
        with pytest.raises(TrainingFolderError, match="another ink; choose"):
            quiet(config, replace(training_data, scans=LabelledInk(other, labels)), tmp_path)


@pytest.mark.parametrize("other", [{"network": "small_cnn"}, {"optimizer": "muon"}])
def test_a_checkpoint_of_another_network_or_optimizer_is_refused_and_kept(other, training_data, tmp_path):
    config = replace(CONFIGS["simple_cnn"], epochs=2)

    def stop_after_one(line: str) -> None:
        raise KeyboardInterrupt

    for folder, changes in ((tmp_path / "run", {}), (tmp_path / "other", other)):
        with pytest.raises(KeyboardInterrupt):
            train(replace(config, **changes), training_data, folder, report=stop_after_one, show_progress=False)
    stray = (tmp_path / "other" / "checkpoint-001.keras").read_bytes()
    (tmp_path / "run" / "checkpoint-001.keras").write_bytes(stray)
    with pytest.raises(TrainingFolderError, match=r"the checkpoint in .*run is none of this run's.*remove the folder"):
        quiet(config, training_data, tmp_path / "run")
    assert (tmp_path / "run" / "checkpoint-001.keras").read_bytes() == stray


def test_other_strokes_are_other_material(training_data, tmp_path):
    a, b, c = np.array([[0.0, 0.0], [5.0, 9.0]]), np.array([[3.0, 1.0], [4.0, 4.0]]), np.array([[8.0, 2.0]])
    labels = np.array([7, 7])
    config = replace(CONFIGS["simple_cnn"], epochs=1)
    first = replace(
        training_data, strokes=([a], [b]), stroke_labels=labels, own_drawings=([a, b], [c]), own_labels=labels
    )
    quiet(config, first, tmp_path)
    quiet(config, first, tmp_path)  # the same run, finished
    others = [
        replace(first, strokes=([a + 1], [b])),
        replace(first, strokes=([a, b], [])),
        replace(first, own_drawings=([a], [b, c])),
        replace(first, own_drawings=([np.concatenate([a, b])], [c])),
        replace(first, own_labels=np.array([7, 1])),
    ]
    for other in others:
        with pytest.raises(TrainingFolderError, match="another training data"):
            quiet(config, other, tmp_path)


@pytest.fixture
def finished(undisturbed, tmp_path) -> Path:
    """A copy of the folder of a run."""
    for entry in undisturbed["simple_cnn"].folder.iterdir():
        (tmp_path / entry.name).write_bytes(entry.read_bytes())
    return tmp_path


def test_a_finished_run_is_not_trained_again(finished, training_data, undisturbed, monkeypatch):
    reports: list[str] = []
    monkeypatch.setattr(prefetch, "make_epoch", lambda *args: pytest.fail("an epoch was made"))
    again = quiet(CONFIGS["simple_cnn"], training_data, finished, report=reports.append)
    assert same_weights(again.network, undisturbed["simple_cnn"].network)
    assert again.history == undisturbed["simple_cnn"].history
    assert len(reports) == 1
    assert "remove the folder to train anew" in reports[0]


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "middle", "missing"])
def test_a_damaged_checkpoint_is_told(damage, finished, training_data):
    path = finished / "model.keras"
    whole = path.read_bytes()
    middle = len(whole) // 2
    damaged = {
        "empty": b"",
        "cut": whole[:middle],
        "text": b"no network",
        "middle": whole[:middle] + bytes(500) + whole[middle + 500 :],
    }
    path.unlink()
    if damage in damaged:
        path.write_bytes(damaged[damage])
    with pytest.raises(TrainingFolderError, match=f"damaged .*remove {finished} to train from the start"):
        quiet(CONFIGS["simple_cnn"], training_data, finished)


@pytest.mark.parametrize("name", ["config.json", "progress.json"])
@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '"text"'])
def test_a_damaged_record_is_told(name, text, finished, training_data):
    (finished / name).write_text(text, encoding="utf-8")
    with pytest.raises(TrainingFolderError, match=f"{name}.*(damaged|remove)"):
        quiet(CONFIGS["simple_cnn"], training_data, finished)


# ------------------------------------------------------------------------------------------------------------
# Configurations


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("network", "lenet"),
        ("epochs", 0),
        ("batch_size", 0),
        ("learning_rate", 0),
        ("learning_rate", float("nan")),
        ("warm_up", 1.5),
        ("warm_up", -0.1),
        ("final_learning_rate", 1.5),
        ("final_learning_rate", float("nan")),
        ("weight_decay", -1),
        ("weight_decay", float("nan")),
        ("seed", -1),
        ("seed", 2**32),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused_by_name_and_value(name, value):
    with pytest.raises(ValueError, match=f"{name} is .?{value}"):
        TrainingConfig(**{name: value})


def test_only_a_network_that_can_say_so_learns_from_non_digits():
    with pytest.raises(ValueError, match="non_digits is 5, yet simple_cnn cannot say 'no digit'"):
        TrainingConfig(data_mix=DataMix(non_digits=5))
    assert TrainingConfig(network="large_cnn", data_mix=DataMix(non_digits=5)).data_mix.non_digits == 5


def test_presets_can_be_changed_by_the_names_of_their_values():
    changed = preset("full", epochs=3, seed=5, pen_strokes=10, augmentation="mild")
    assert (changed.epochs, changed.seed, changed.data_mix.pen_strokes, changed.data_mix.augmentation) == (
        3,
        5,
        10,
        "mild",
    )
    assert changed.learning_rate == PRESETS["full"].learning_rate
    assert changed.data_mix.allographs == PRESETS["full"].data_mix.allographs
    assert preset("quick") == PRESETS["quick"]


def test_unknown_presets_and_names_are_refused():
    with pytest.raises(ValueError, match="'fast'; choose one of 'quick', 'full'"):
        preset("fast")
    with pytest.raises(TypeError, match="momentum"):
        preset("quick", momentum=0.9)
    with pytest.raises(ValueError, match="epochs is 0"):
        preset("quick", epochs=0)
