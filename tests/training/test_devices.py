"""Devices: found by what Keras lists, used with larger batches and 16 bits, of which the result shows nothing."""

from __future__ import annotations

import ast
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

import digit_utils
from digit_utils.datasets.ink import ink_of
from digit_utils.datasets.loading import load_dataset
from digit_utils.training.checkpoint import load_checkpoint
from digit_utils.training.config import TrainingConfig, preset
from digit_utils.training.data import TrainingData
from digit_utils.training.devices import DEVICE_SETTINGS, MAX_WORKERS, Device, config_for, find_device, usable_cores
from digit_utils.training.loop import compile_network
from digit_utils.training.networks import NETWORKS, build_network, to_float32
from tests.training.conftest import train_quietly


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        (["cpu:0"], Device("cpu")),
        (["cpu:0", "cpu:1"], Device("cpu", 2)),
        (["gpu:0"], Device("gpu")),
        (["cuda:0", "cuda:1"], Device("gpu", 2)),
        ([f"tpu:{number}" for number in range(8)], Device("tpu", 8)),
        (["METAL:0"], Device("cpu")),
        ([], Device("cpu")),
    ],
)
def test_the_device_is_what_keras_lists(devices, expected, monkeypatch):
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: devices)
    assert find_device() == expected


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("cuda:0", Device("gpu")),
        ("cpu", Device("cpu")),
        ("mps:0", Device("cpu")),
        (None, Device("cpu")),
    ],
)
def test_a_backend_without_a_list_is_asked_where_it_puts_a_variable(place, expected, monkeypatch):
    def list_devices():
        return None.list_devices()  # what Keras does for PyTorch

    value = SimpleNamespace(device=place) if place else object()
    monkeypatch.setattr(keras.distribution, "list_devices", list_devices)
    monkeypatch.setattr(keras, "Variable", lambda _: SimpleNamespace(value=value))
    assert find_device() == expected


def test_a_gpu_gets_processes_that_prepare_epochs_and_a_cpu_none(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cores = usable_cores()
    assert 1 <= cores <= os.cpu_count()
    assert Device("cpu").workers == 0
    assert Device("gpu").workers == Device("tpu").workers == min(cores, MAX_WORKERS)


@pytest.mark.parametrize(("threads", "expected"), [("1", 1), ("4", 4), ("99", 6), ("", 6), ("two", 6), ("0", 1)])
def test_a_run_takes_no_more_cores_than_its_sweep_gives_it(threads, expected, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    assert usable_cores() == expected


def test_this_machine_is_asked_for_real():
    kinds = {device.partition(":")[0] for device in keras.distribution.list_devices()}
    assert find_device().kind in kinds


def test_a_cpu_trains_as_the_preset_says():
    config = preset("full")
    assert config_for(Device("cpu"), config) == config
    assert Device("cpu").precision == "float32"


@pytest.mark.parametrize("kind", ["gpu", "tpu"])
def test_a_gpu_or_tpu_gets_larger_batches_and_a_learning_rate_that_fits(kind):
    config = preset("quick")
    fitted = config_for(Device(kind), config)
    times = fitted.batch_size // config.batch_size
    assert times > 1
    assert fitted.learning_rate == pytest.approx(config.learning_rate * times**0.5)
    assert replace(fitted, batch_size=config.batch_size, learning_rate=config.learning_rate) == config


def test_values_chosen_on_purpose_stay():
    config = preset("quick", batch_size=32, learning_rate=0.1)
    assert config_for(Device("gpu"), config, fixed=["batch_size"]) == config
    fitted = config_for(Device("gpu"), config, fixed=["learning_rate"])
    assert (fitted.batch_size, fitted.learning_rate) == (32 * DEVICE_SETTINGS["gpu"].batch_factor, 0.1)


def test_a_device_describes_itself():
    said = str(Device("tpu", 8))
    assert said == f"a TPU, one of 8, with Keras on {keras.backend.backend()} in mixed_bfloat16"
    assert str(Device("cpu", 4)).startswith("the CPU, with Keras")


@pytest.mark.parametrize("name", NETWORKS)
def test_full_precision_gives_what_the_weights_say(name):
    mixed = build_network(name, precision="mixed_float16")
    assert {layer.compute_dtype for layer in mixed.layers} == {"float16"}
    assert {str(weight.dtype) for weight in mixed.weights if weight.trainable} == {"float32"}
    full = to_float32(mixed)
    assert {layer.compute_dtype for layer in full.layers} == {"float32"}
    assert all(np.array_equal(a, b) for a, b in zip(mixed.get_weights(), full.get_weights(), strict=True))
    assert to_float32(full) is full
    assert keras.config.dtype_policy().name == "float32", "the policy of everything else has changed"


def test_an_unknown_precision_is_refused_and_changes_nothing():
    with pytest.raises(ValueError, match="float17"):
        build_network("simple_cnn", precision="float17")
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "optimizer"),
    [("mixed_float16", "adamw"), ("mixed_float16", "muon"), ("mixed_bfloat16", "adamw")],
)
def test_any_precision_learns_resumes_exactly_and_ends_to_float32(precision, optimizer, tmp_path):
    digits = load_dataset("digits8x8")
    training_data = TrainingData(
        ink_of(digits.train.take(slice(500))), validation={"digits8x8": ink_of(digits.validation)}
    )
    config = TrainingConfig(epochs=2, batch_size=25, learning_rate=0.005, optimizer=optimizer, seed=1)
    undisturbed = train_quietly(config, training_data, tmp_path / "one", precision=precision)
    assert undisturbed.history[-1]["digits8x8_errors"] < 0.2

    def stop_after_one(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_quietly(config, training_data, tmp_path / "two", report=stop_after_one, precision=precision)
    checkpoint = keras.models.load_model(tmp_path / "two" / "checkpoint-001.keras")
    assert checkpoint.layers[0].compute_dtype == precision.removeprefix("mixed_"), "it did not train in this precision"
    resumed = train_quietly(config, training_data, tmp_path / "two", precision=precision)
    kept = keras.models.load_model(tmp_path / "two" / "model.keras")
    for network in (resumed.network, kept):
        assert {layer.compute_dtype for layer in network.layers} == {"float32"}
        pairs = zip(undisturbed.network.get_weights(), network.get_weights(), strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    ("optimizer", "begun", "ended"), [("adamw", "mixed_float16", "float32"), ("muon", "float32", "mixed_float16")]
)
def test_a_run_may_be_continued_in_another_precision(begun, ended, optimizer, tmp_path):
    """As when a graphics card is no longer lent: in the precision that is asked for then, and from where it was."""
    digits = load_dataset("digits8x8")
    training_data = TrainingData(
        ink_of(digits.train.take(slice(500))), validation={"digits8x8": ink_of(digits.validation)}
    )
    config = TrainingConfig(
        epochs=2, batch_size=25, learning_rate=0.005, optimizer=optimizer, average_weights=True, seed=1
    )
    seen = []

    def stop_after_one(line: str) -> None:
        seen.append(line)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_quietly(config, training_data, tmp_path, report=stop_after_one, precision=begun)
    old = keras.models.load_model(tmp_path / "checkpoint-001.keras")
    new = build_network(config.network, seed=9, precision=ended)
    compile_network(new, config, training_data)
    load_checkpoint(tmp_path, new)
    assert {layer.compute_dtype for layer in new.layers} == {ended.removeprefix("mixed_")}
    inner = [getattr(network.optimizer, "inner_optimizer", network.optimizer) for network in (old, new)]
    assert int(inner[0].iterations) == int(inner[1].iterations) == 20
    assert float(inner[0].learning_rate) == float(inner[1].learning_rate)
    assert len(inner[0].variables) > 2 * len(old.trainable_variables), "no momenta, or no averages"
    for one, other in zip(inner[0].variables + old.weights, inner[1].variables + new.weights, strict=True):
        assert np.array_equal(keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(other)), one.path
    resumed = train_quietly(config, training_data, tmp_path, report=seen.append, precision=ended)
    assert seen[1] == "continuing after epoch 1 of 2"
    assert {layer.compute_dtype for layer in resumed.network.layers} == {"float32"}
    assert resumed.history[-1]["digits8x8_errors"] < 0.2


def test_a_run_begun_on_another_device_keeps_its_batch_size(tmp_path):
    digits = load_dataset("digits8x8").train.take(slice(60))
    training_data = TrainingData(ink_of(digits), validation={"digits8x8": ink_of(digits)})
    config = TrainingConfig(epochs=1, batch_size=10, learning_rate=0.001)
    on_gpu = config_for(Device("gpu"), config, folder=tmp_path)  # nothing is there yet
    assert on_gpu == config_for(Device("gpu"), config) != config
    train_quietly(on_gpu, training_data, tmp_path)
    for kind in DEVICE_SETTINGS:
        assert config_for(Device(kind), config, folder=tmp_path) == on_gpu
    # What nobody's accelerator would have made of this run is another run, which `train` refuses.
    assert config_for(Device("cpu"), config, fixed=["batch_size"], folder=tmp_path) == config
    other = replace(config, seed=3)
    assert config_for(Device("cpu"), other, folder=tmp_path) == other
    (tmp_path / "config.json").write_text("[]")
    assert config_for(Device("cpu"), config, folder=tmp_path) == config


def test_the_package_calls_nothing_of_tensorflow_but_its_converter():
    """Training is Keras and NumPy, on any backend; tests/colab runs it on JAX. Export converts."""
    found = []
    for path in Path(digit_utils.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        places = {id(node): "" for node in ast.walk(tree)}
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            places |= {id(node): function.name for node in ast.walk(function)}
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            backends = [name for name in names if name.partition(".")[0] in ("tensorflow", "tf_keras", "jax")]
            found += [(path.name, places[id(node)], name) for name in backends]
    assert found == [("export.py", "to_litert", "tensorflow")]


def test_processes_that_prepare_epochs_change_nothing_but_the_time(tmp_path):
    digits = load_dataset("digits8x8")
    training_data = TrainingData(
        ink_of(digits.train.take(slice(200))), validation={"digits8x8": ink_of(digits.validation)}
    )
    config = TrainingConfig(epochs=3, batch_size=50, seed=1)
    weights = [
        train_quietly(config, training_data, tmp_path / str(workers), workers=workers).network.get_weights()
        for workers in (0, 2)
    ]
    assert all(np.array_equal(one, other) for one, other in zip(*weights, strict=True))
