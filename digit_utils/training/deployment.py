"""Deployment: a trained network as ONNX or as an int8 file for microcontrollers, for programs without this package.

Both hold the bare network: normalised ink in, logits out. Temperature, threshold and digit score stay in the run's
`model.tflite`, which `Recognizer.load` reads.
"""

from digit_utils.training import environment  # noqa: F401  # isort: skip  (before Keras)

from pathlib import Path

import keras
import numpy as np

from digit_utils.datasets.ink import ink_of
from digit_utils.datasets.loading import load_dataset
from digit_utils.files import atomic_write
from digit_utils.recognition.model_file import ModelFileError
from digit_utils.training.export import exported, to_litert
from digit_utils.types import IMAGE_SIZE

FORMATS = {"onnx": "model.onnx", "int8": "model-int8.tflite"}
REPRESENTATIVE = 500  # training digits, from which the converter takes the range of each layer's values


def export_run(run: str | Path, format: str, output: str | Path | None = None) -> Path:
    """Write the network of a run as another program needs it, and return the file.

    Args:
        run: the folder of a finished run.
        format: "onnx": float32, input (n, 28, 28, 1), ink 1 and page 0; "int8": a LiteRT flatbuffer for one image
            whose input, weights and output are int8, with scale and zero point in the file.
        output: the file; left out: `model.onnx` or `model-int8.tflite` in the run's folder.

    Raises:
        ValueError: there is no such format.
        ModelFileError: the folder holds no finished run, a package is missing, or Keras runs on another backend than
            TensorFlow, whose converters these are.
    """
    if format not in FORMATS:
        raise ValueError(f"format is {format!r}; choose one of {', '.join(map(repr, FORMATS))}")
    path = Path(output) if output else Path(run) / FORMATS[format]
    network = _network_of(Path(run))
    content = to_onnx(network) if format == "onnx" else to_int8(network, ink_of(load_dataset("mnist").train).ink)
    with atomic_write(path) as temporary:
        Path(temporary).write_bytes(content)
    return path


def _network_of(run: Path) -> keras.Model:
    path = run / "model.keras"
    if not path.is_file():
        raise ModelFileError(f"{run} holds no finished run (no model.keras); give the folder that `digits train` names")
    try:
        network = keras.models.load_model(path, compile=False)
        network(np.zeros((1, IMAGE_SIZE, IMAGE_SIZE, 1), np.float32))  # Keras exports no Sequential without a call
        return network
    except Exception as error:
        raise ModelFileError(f"{path} cannot be read ({error}); train again, or give another run") from error


def to_onnx(network: keras.Model) -> bytes:
    """Return a network as an ONNX model that takes batches of any size.

    Raises ModelFileError without the packages, and on another backend than TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise ModelFileError(f"Keras runs on {keras.backend.backend()}; the converters need KERAS_BACKEND=tensorflow")
    try:
        import onnx  # noqa: F401
        import tf2onnx  # noqa: F401
    except ImportError as error:
        raise ModelFileError(f'{error.name} is missing; install it with `pip install -e ".[onnx]"`') from error
    return exported(network, "network.onnx", format="onnx")


def to_int8(network: keras.Model, ink: np.ndarray) -> bytes:
    """Return a network as a flatbuffer of int8 alone (Jacob et al., 2018), for one image at a time.

    ink: (n, 28, 28) float32 in [0, 1], from whose values the scale of each layer is taken.

    Raises ModelFileError on another backend than TensorFlow.
    """
    single = keras.Sequential([keras.Input((IMAGE_SIZE, IMAGE_SIZE, 1), batch_size=1), network])
    return to_litert(single, int8_range=ink[:REPRESENTATIVE, ..., np.newaxis].astype(np.float32))
