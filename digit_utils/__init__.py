"""Recognise handwritten digits: the recogniser, its training and its drawing pad.

`Recognizer` needs no TensorFlow; `digit_utils.training` does, and is imported by its own name.
"""

from digit_utils.recognition.recognizer import Prediction, Recognizer

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
