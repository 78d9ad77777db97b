"""Read what people really draw: a handwritten-digit recogniser, its training and its drawing pad.

`Recognizer` needs no TensorFlow. What trains (`network`, `training`) is imported by its own name.
"""

import os

from digit_utils.recognition.recognizer import Prediction, Recognizer

# Read when TensorFlow is loaded, wherever Keras is first imported: its convolutions are then oneDNN's. By itself it
# takes these only on processors with AVX-512 VNNI; on one without, training then took a fifth less time.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

__version__ = "0.2.0"

__all__ = ["DigitPad", "Prediction", "Recognizer", "load_dataset"]


def __getattr__(name: str) -> object:
    # Imported when asked for: whoever only recognises needs neither widgets nor datasets.
    if name == "DigitPad":
        from digit_utils.pad.widget import DigitPad

        return DigitPad
    if name == "load_dataset":
        from digit_utils.datasets.loading import load_dataset

        return load_dataset
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
