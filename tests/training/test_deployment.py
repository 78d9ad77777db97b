"""Deployment: ONNX and int8 files against Keras, on real digits, with other programs' interpreters."""

import keras
import numpy as np
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter

from digit_utils.cli import main
from digit_utils.datasets.ink import ink_of
from digit_utils.training.deployment import to_int8, to_onnx
from digit_utils.training.networks import build_network


@pytest.fixture(scope="module")
def digits(digits8x8):
    return ink_of(digits8x8.train), ink_of(digits8x8.validation)


@pytest.fixture(scope="module")
def network(digits):
    training, _ = digits
    network = build_network("simple_cnn", seed=0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(optimizer=keras.optimizers.Adam(0.003), loss=loss)
    network.fit(training.ink[..., np.newaxis], training.labels, epochs=6, batch_size=32, verbose=0)
    return network


def test_onnx_computes_the_logits_of_keras(network, digits):
    ink = digits[1].ink[..., np.newaxis]
    session = onnxruntime.InferenceSession(to_onnx(network), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {session.get_inputs()[0].name: ink})
    np.testing.assert_allclose(logits, network.predict(ink, verbose=0), atol=1e-4)


def test_int8_is_int8_throughout_and_reads_like_keras(network, digits):
    training, validation = digits
    interpreter = Interpreter(model_content=to_int8(network, training.ink))
    interpreter.allocate_tensors()
    (given,), (wanted,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert given["dtype"] == wanted["dtype"] == np.int8
    assert not any(np.issubdtype(tensor["dtype"], np.floating) for tensor in interpreter.get_tensor_details())
    scale, zero = given["quantization"]

    def read(ink: np.ndarray) -> int:
        quantized = np.clip(np.round(ink / scale + zero), -128, 127).astype(np.int8)
        interpreter.set_tensor(given["index"], quantized[np.newaxis, ..., np.newaxis])
        interpreter.invoke()
        return int(interpreter.get_tensor(wanted["index"])[0].argmax())

    read_by_keras = network.predict(validation.ink[..., np.newaxis], verbose=0).argmax(axis=1)
    assert np.mean(read_by_keras == validation.labels) > 0.9
    assert np.mean([read(ink) for ink in validation.ink] == read_by_keras) >= 0.98


def test_digits_export_writes_the_file_and_says_where(network, tmp_path, capsys):
    network.save(tmp_path / "model.keras")
    assert main(["export", str(tmp_path), "--format", "onnx"]) == 0
    assert str(tmp_path / "model.onnx") in capsys.readouterr().out
    assert onnxruntime.InferenceSession(str(tmp_path / "model.onnx")).get_outputs()[0].shape[1] == 10


def test_a_folder_without_a_finished_run_is_named(tmp_path, capsys):
    assert main(["export", str(tmp_path)]) == 1
    assert f"{tmp_path} holds no finished run" in capsys.readouterr().err


def test_a_damaged_network_is_named(tmp_path, capsys):
    (tmp_path / "model.keras").write_bytes(b"damaged")
    assert main(["export", str(tmp_path)]) == 1
    assert f"{tmp_path / 'model.keras'} cannot be read" in capsys.readouterr().err
