"""The folder of a run: what it holds, which run it belongs to, and what happens when it is damaged."""

from __future__ import annotations

import csv
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from digit_utils.datasets.ink import LabelledInk
from digit_utils.training import prefetch
from digit_utils.training.checkpoint import TrainingFolderError, load_checkpoint
from digit_utils.training.config import DataMix
from digit_utils.training.identity import differences, run_identity
from digit_utils.training.loop import compile_network, error_rate
from digit_utils.training.networks import build_network
from tests.training.conftest import CONFIGS, train_quietly

SIMPLE = CONFIGS["simple_cnn"]


def test_the_folder_holds_the_network_and_its_curves(undisturbed, training_data):
    for name, result in undisturbed.items():
        expected = {"config.json", "progress.json", "model.keras", "learning_curves.csv"}
        assert {entry.name for entry in result.folder.iterdir()} == expected
        saved = keras.models.load_model(result.folder / "model.keras").get_weights()
        assert all(np.array_equal(a, b) for a, b in zip(saved, result.network.get_weights(), strict=True))
        config = json.loads((result.folder / "config.json").read_text(encoding="utf-8"))
        assert config["config"]["network"] == name
        assert config["config"]["data_mix"]["allographs"] == CONFIGS[name].data_mix.allographs
        assert config["data"] == training_data.hashes


def test_a_finished_network_opens_without_this_package(undisturbed):
    for result in undisturbed.values():
        with zipfile.ZipFile(result.folder / "model.keras") as archive:
            saved = archive.read("config.json").decode()
        assert not json.loads(saved)["compile_config"]
        assert "digit_utils" not in saved


def test_the_learning_curves_are_the_history(undisturbed, training_data):
    for result in undisturbed.values():
        with (result.folder / "learning_curves.csv").open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert [{name: float(value) for name, value in row.items()} for row in rows] == result.history
        assert list(rows[0]) == ["epoch", "loss", "seconds", "digits8x8_errors"]
        assert [record["epoch"] for record in result.history] == [1, 2]
        expected = error_rate(result.network, training_data.validation["digits8x8"])
        assert result.history[-1]["digits8x8_errors"] == expected


# ------------------------------------------------------------------------------------------------------------
# Another run


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"seed": 1}, "config.seed"),
        ({"learning_rate": 0.5, "epochs": 9}, "config.epochs, config.learning_rate"),
        ({"data_mix": DataMix(augmentation="none")}, "config.data_mix.augmentation"),
        ({"network": "large_cnn"}, "architecture, config.network"),
    ],
)
def test_a_folder_with_another_run_is_left_alone(changes, names, training_data, undisturbed):
    folder = undisturbed["simple_cnn"].folder
    before = {entry: entry.read_bytes() for entry in folder.iterdir()}
    with pytest.raises(TrainingFolderError, match=f"{folder} holds a run with a different {names}; choose another"):
        train_quietly(replace(SIMPLE, **changes), training_data, folder)
    assert {entry: entry.read_bytes() for entry in folder.iterdir()} == before


def test_a_folder_with_a_run_on_other_data_is_left_alone(training_data, undisturbed):
    folder = undisturbed["simple_cnn"].folder
    with pytest.raises(TrainingFolderError, match=r"a different data\.digits8x8; choose"):
        train_quietly(SIMPLE, replace(training_data, hashes={"digits8x8": "0" * 64}), folder)


def test_a_run_of_an_earlier_version_is_refused_in_one_sentence(training_data, tmp_path):
    old = {"config": {"network": "sprint", "recipe": {"augmentation": "mild"}}, "data": {}, "material": "", "ink": 0.5}
    (tmp_path / "config.json").write_text(json.dumps(old), encoding="utf-8")
    message = f"{tmp_path} holds a run of an earlier version of digit_utils; choose another folder, or remove it"
    with pytest.raises(TrainingFolderError) as refused:
        train_quietly(SIMPLE, training_data, tmp_path)
    assert str(refused.value) == message


def test_a_run_is_the_same_where_the_processor_computes_the_last_digits_of_ink_differently(training_data):
    """As OpenCV does with and without one vendor's instructions: by up to 0.001, in a pixel of a thousand."""
    network, rng = build_network("simple_cnn"), np.random.default_rng(0)
    ink = training_data.scans.ink.copy()
    touched = rng.random(ink.shape) < 0.001
    ink[touched] += rng.uniform(-0.001, 0.001, touched.sum()).astype(np.float32)
    elsewhere = replace(training_data, scans=LabelledInk(ink, training_data.scans.labels))
    here = run_identity(network, SIMPLE, training_data)
    assert run_identity(network, SIMPLE, elsewhere)["ink"] != here["ink"]
    assert differences(run_identity(network, SIMPLE, elsewhere), here) == []
    assert differences(run_identity(network, replace(SIMPLE, seed=5), elsewhere), here) == ["config.seed"]


def test_other_scans_are_other_training_data(training_data):
    ink, labels = training_data.scans.ink, training_data.scans.labels
    first, second = np.flatnonzero(labels == labels[0])[:2]
    swapped, moved = ink.copy(), ink.copy()
    swapped[[first, second]] = ink[[second, first]]
    moved[first] = np.roll(ink[first], 1, axis=1)
    network = build_network("simple_cnn")
    expected = run_identity(network, SIMPLE, training_data)
    for scans, names in (
        (LabelledInk(swapped, labels), ["ink"]),
        (LabelledInk(moved, labels), ["ink"]),
        (LabelledInk(ink[:-1], labels[:-1]), ["ink", "training_data"]),
    ):
        assert differences(run_identity(network, SIMPLE, replace(training_data, scans=scans)), expected) == names


def test_other_strokes_are_other_training_data(training_data):
    a, b, c = np.array([[0.0, 0.0], [5.0, 9.0]]), np.array([[3.0, 1.0], [4.0, 4.0]]), np.array([[8.0, 2.0]])
    network, labels = build_network("simple_cnn"), np.array([7, 7])
    first = replace(
        training_data, strokes=([a], [b]), stroke_labels=labels, own_drawings=([a, b], [c]), own_labels=labels
    )
    expected = run_identity(network, SIMPLE, first)
    assert differences(run_identity(network, SIMPLE, first), expected) == []
    others = [
        replace(first, strokes=([a + 1], [b])),
        replace(first, strokes=([a, b], [])),
        replace(first, own_drawings=([a], [b, c])),
        replace(first, own_drawings=([np.concatenate([a, b])], [c])),
        replace(first, own_labels=np.array([7, 1])),
    ]
    for other in others:
        assert differences(run_identity(network, SIMPLE, other), expected) == ["training_data"]


# ------------------------------------------------------------------------------------------------------------
# Checkpoints


@pytest.fixture
def finished(undisturbed, tmp_path) -> Path:
    """A copy of the folder of a run."""
    for entry in undisturbed["simple_cnn"].folder.iterdir():
        (tmp_path / entry.name).write_bytes(entry.read_bytes())
    return tmp_path


def test_a_finished_run_is_not_trained_again(finished, training_data, undisturbed, monkeypatch):
    reports: list[str] = []
    monkeypatch.setattr(prefetch, "make_epoch", lambda *args: pytest.fail("an epoch was made"))
    again = train_quietly(SIMPLE, training_data, finished, report=reports.append)
    pairs = zip(again.network.get_weights(), undisturbed["simple_cnn"].network.get_weights(), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)
    assert again.history == undisturbed["simple_cnn"].history
    assert reports == [f"{finished} holds this run, finished; remove the folder to train again"]


@pytest.mark.parametrize("other", [{"network": "small_cnn"}, {"optimizer": "muon"}])
def test_a_checkpoint_of_another_network_or_optimizer_is_refused_and_kept(other, finished, training_data):
    stray = build_network(other.get("network", "simple_cnn"))
    compile_network(stray, replace(SIMPLE, **other), training_data)
    stray.save(finished / "checkpoint-001.keras")
    (finished / "progress.json").write_text(json.dumps({"checkpoint": "checkpoint-001.keras", "history": []}))
    saved = (finished / "checkpoint-001.keras").read_bytes()
    with pytest.raises(TrainingFolderError, match=r"the checkpoint in .* is of another network or optimizer; remove"):
        train_quietly(SIMPLE, training_data, finished)
    assert (finished / "checkpoint-001.keras").read_bytes() == saved


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "middle", "missing"])
def test_a_damaged_checkpoint_is_reported(damage, finished):
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
        load_checkpoint(finished, build_network("simple_cnn"))


@pytest.mark.parametrize("name", ["config.json", "progress.json"])
@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '"text"'])
def test_a_damaged_record_is_reported(name, text, finished, training_data):
    (finished / name).write_text(text, encoding="utf-8")
    with pytest.raises(TrainingFolderError, match=f"{name}.*(damaged|remove)"):
        train_quietly(SIMPLE, training_data, finished)
