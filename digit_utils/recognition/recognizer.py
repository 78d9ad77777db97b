"""The recogniser: turns ink into a prediction with LiteRT, without TensorFlow."""

import threading
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from digit_utils.files import with_home
from digit_utils.preprocessing.images import ink_from_image
from digit_utils.preprocessing.inputs import to_grayscale
from digit_utils.preprocessing.strokes import ink_from_strokes
from digit_utils.recognition.model_file import HEAD, ModelCard, ModelFileError, read_model_file
from digit_utils.types import IMAGE_SIZE, NUM_CLASSES, Strokes

if TYPE_CHECKING:
    from digit_utils.preprocessing.inputs import ImageInput
    from digit_utils.recognition.feature_maps import FeatureMaps
    from digit_utils.recognition.numbers import KnownCharacters, Number, NumberReader

BUNDLED_MODEL = Path(__file__).parents[1] / "models" / "digits.tflite"
MODEL_FILE_NAME = "model.tflite"  # in the folder of a run
LOGITS_UNIT = 3.0  # typical distance between the tempered logits of two digits of a class
LARGEST_BATCH = 256  # images per call of the network; more only costs memory


@dataclass(frozen=True, eq=False)
class Prediction:
    """The result of reading one drawing or image."""

    digit: int | None  # 0 to 9; None when the page is blank or the ink is judged to be no digit
    probabilities: np.ndarray = field(repr=False)  # (10,) float64, sum 1, calibrated; the argmax is the best digit
    digit_score: float  # in [0, 1]: probability that the ink is a digit at all
    image: np.ndarray = field(repr=False)  # (28, 28) float32 in [0, 1]: what the network saw
    is_among_others: bool = False  # whether no digit was read because the image holds several

    @property
    def best_digit(self) -> int:
        """The most probable digit, also when the ink is judged to be none."""
        return int(self.probabilities.argmax())

    @property
    def is_blank(self) -> bool:
        """Whether there was no ink at all."""
        return not self.image.any()

    @property
    def reason(self) -> str:
        """Why `digit` is None: "blank", "several digits" or "not a digit"; "" where a digit was read."""
        if self.digit is not None:
            return ""
        if self.is_among_others:
            return "several digits"
        return "blank" if self.is_blank else "not a digit"


class Recognizer:
    """Reads digits from strokes and from images. Safe to share between threads.

    Make one with `Recognizer.load()`; it holds the network, the temperature that calibrates its probabilities, and the
    threshold below which ink is judged to be no digit.
    """

    def __init__(self, flatbuffer: bytes, card: ModelCard):
        from ai_edge_litert.interpreter import Interpreter

        self.card = card
        self._flatbuffer = flatbuffer
        self._lock = threading.Lock()  # an interpreter has one scratch memory, so one caller at a time
        self._interpreter = Interpreter(model_content=flatbuffer, num_threads=1)
        self._input = self._interpreter.get_input_details()[0]
        self._output = self._interpreter.get_output_details()[0]["index"]
        self._batch = 0
        _check_signature(self._interpreter, card)

    @classmethod
    def load(cls, path: str | Path | None = None) -> "Recognizer":
        """Load the bundled model, or an export: a `.tflite` file, or the folder of a run that holds one.

        Raises ModelFileError, which names the file, when it is missing, truncated, damaged or of another kind.
        """
        path = _model_file(path)
        flatbuffer, card = read_model_file(path)
        try:
            return cls(flatbuffer, card)
        except (ValueError, RuntimeError) as error:
            raise ModelFileError(f"LiteRT cannot run the model file {path}: {error}") from error

    def recognize(self, strokes: Strokes) -> Prediction:
        """Read a drawing from its strokes: (n, 2) arrays, x right, y down, any scale, in drawing order.

        Raises ValueError when a stroke is not an (n, 2) array of numbers.
        """
        return self.recognize_ink(ink_from_strokes(strokes)[np.newaxis])[0]

    def recognize_image(self, image: "ImageInput", *, channels: str = "rgb") -> Prediction:
        """Read the one digit in an image of any size, light ink on dark or dark on light.

        Where there is none, the prediction's `reason` says whether that is because of several, see `recognize_numbers`.

        Args:
            image: a path or the bytes of a file (its EXIF orientation is applied), a PIL image, or an array: (height,
                width) or (height, width, 1, 3 or 4) of uint8, uint16, bool, or float in [0, 1].
            channels: "rgb", or "bgr" as OpenCV reads files; ignored for files and PIL images.

        Raises:
            ImageInputError (a ValueError): the file cannot be decoded, or the array has another shape, type or range.
            TypeError: `image` is none of these.
            FileNotFoundError: there is no such file.
        """
        gray = to_grayscale(image, channels=channels)
        prediction = self.recognize_ink(ink_from_image(gray)[np.newaxis])[0]
        if prediction.digit is not None:
            return prediction
        digits = "".join(number.text or "" for number in self.recognize_numbers(gray))
        return replace(prediction, is_among_others=sum(map(str.isdigit, digits)) > 1)

    def recognize_number(self, strokes: Strokes, *, known: "KnownCharacters | None" = None) -> "Number":
        """Read one line of one or more characters: digits and the marks . , - : / from strokes in any order.

        `known` are characters that somebody has said, by the indices of their strokes: `{(0, 1): "8"}`.

        Raises ValueError when a stroke is not an (n, 2) array of numbers.
        """
        return self._number_reader.read_strokes(strokes, known=known)

    def recognize_numbers(self, image: "ImageInput", *, channels: str = "rgb") -> "list[Number]":
        """Read every number in an image, lines from top to bottom, from left to right.

        Takes what `recognize_image` takes and raises what it raises; boxes are in pixels of the upright image.
        """
        from digit_utils.recognition.number_images import read_image  # it builds on this module

        return read_image(self._number_reader, to_grayscale(image, channels=channels))

    @cached_property
    def _number_reader(self) -> "NumberReader":
        from digit_utils.recognition.numbers import NumberReader  # it builds on this module

        return NumberReader(self)

    @cached_property
    def feature_maps(self) -> "FeatureMaps":
        """What the network's layers make of an image: `feature_maps.of(ink)`."""
        from digit_utils.recognition.feature_maps import FeatureMaps

        return FeatureMaps(self._flatbuffer)

    def recognize_ink(self, ink: np.ndarray) -> list[Prediction]:
        """Read normalised ink (`digit_utils.preprocessing`): (n, 28, 28) float32 in [0, 1]; any n, also 0.

        Raises ValueError, which names the remedy, when the ink has another shape or values outside [0, 1].
        """
        ink = checked_ink(ink)
        return predictions_of(ink, *self.probabilities_and_scores(ink), threshold=self.card.threshold)

    def probabilities_and_scores(self, ink: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return calibrated probabilities (n, 10) and digit scores (n,), float64, of ink (n, 28, 28).

        A blank page has equal probabilities and a score of 0.
        """
        return self.probabilities_scores_and_features(ink)[:2]

    def probabilities_scores_and_features(self, ink: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return what `probabilities_and_scores` and `features` return, from one call of the network."""
        ink = np.asarray(ink, np.float32)
        columns = self._run(ink)
        outputs = columns[:, : _logits(self.card)]
        probabilities = softmax(outputs[:, :NUM_CLASSES] / self.card.temperature)
        if self.card.digit_score == HEAD:
            scores = logistic(digit_logits(outputs[:, NUM_CLASSES], probabilities, weight=self.card.confidence_weight))
        else:
            scores = probabilities.max(axis=1, initial=0)
        blank = ~ink.any(axis=(1, 2))
        probabilities[blank], scores[blank] = 1 / NUM_CLASSES, 0.0
        return probabilities, scores, self._features(columns)

    def outputs(self, ink: np.ndarray) -> np.ndarray:
        """Return the network's float64 logits for ink (n, 28, 28): ten of the digits, then any of being a digit."""
        return self._run(ink)[:, : _logits(self.card)]

    def features(self, ink: np.ndarray) -> np.ndarray:
        """Return the network's features for ink (n, 28, 28): (n, d) float64, in which similar drawings are close.

        Two digits of the same class are at a distance of about 1, see `digit_utils.training.export.with_features`.
        d is `card.features`. A model without features returns its ten tempered logits instead, in units of
        LOGITS_UNIT, which are nearly as good.
        """
        return self._features(self._run(ink))

    def _features(self, columns: np.ndarray) -> np.ndarray:
        if self.card.features:
            return columns[:, _logits(self.card) :]
        return columns[:, :NUM_CLASSES] / (self.card.temperature * LOGITS_UNIT)

    def _run(self, ink: np.ndarray) -> np.ndarray:
        """Return the network's output for ink (n, 28, 28): float64 columns, first logits, then features."""
        ink = np.asarray(ink, np.float32)
        _check_shape(ink)
        result = np.empty((len(ink), _logits(self.card) + self.card.features), np.float64)
        with self._lock:
            for start in range(0, len(ink), LARGEST_BATCH):
                result[start : start + LARGEST_BATCH] = self._invoke(ink[start : start + LARGEST_BATCH])
        return result

    def _invoke(self, batch: np.ndarray) -> np.ndarray:
        if len(batch) != self._batch:
            self._interpreter.resize_tensor_input(self._input["index"], (len(batch), IMAGE_SIZE, IMAGE_SIZE, 1))
            self._interpreter.allocate_tensors()
            self._batch = len(batch)
        self._interpreter.set_tensor(self._input["index"], batch[..., np.newaxis])
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output)


def _model_file(path: str | Path | None) -> Path:
    """Return the file for a path: the bundled model, a file, or the model in a folder."""
    try:
        path = with_home(path) if path else BUNDLED_MODEL
    except FileNotFoundError as error:
        raise ModelFileError(f"there is no model {error}") from error
    return path / MODEL_FILE_NAME if path.is_dir() else path


def checked_ink(ink: np.ndarray) -> np.ndarray:
    """Return ink as (n, 28, 28) float32. Raises ValueError when it has another shape or values outside [0, 1]."""
    ink = np.asarray(ink, np.float32)
    _check_shape(ink)
    low, high = ink.min(initial=0), ink.max(initial=0)
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"ink must lie in [0, 1], with 0 for the page; this goes from {low:g} to {high:g}: divide gray levels by "
            "255, or let recognize_image() find the ink"
        )
    return ink


def _check_shape(ink: np.ndarray) -> None:
    if ink.ndim != 3 or ink.shape[1:] != (IMAGE_SIZE, IMAGE_SIZE):
        remedy = {
            (IMAGE_SIZE, IMAGE_SIZE): "add an axis with ink[numpy.newaxis]",
            (IMAGE_SIZE**2,): "reshape it with ink.reshape(-1, 28, 28)",
            (1, IMAGE_SIZE, IMAGE_SIZE): "remove the axis of channels",
            (IMAGE_SIZE, IMAGE_SIZE, 1): "remove the last axis with ink[..., 0]",
        }
        hint = remedy.get(ink.shape[-3:] if ink.ndim == 4 else ink.shape[-max(1, min(ink.ndim, 2)) :])
        hint = hint or remedy.get(ink.shape[-1:]) or "let recognize_image() bring images of other sizes into shape"
        raise ValueError(f"ink must have shape (n, {IMAGE_SIZE}, {IMAGE_SIZE}); this has {ink.shape}: {hint}")


def predictions_of(
    ink: np.ndarray, probabilities: np.ndarray, scores: np.ndarray, *, threshold: float
) -> list[Prediction]:
    """Return predictions of ink (n, 28, 28), probabilities (n, 10) and digit scores (n,)."""
    predictions = []
    for image, row, score in zip(ink, probabilities, scores, strict=True):
        digit = int(row.argmax()) if image.any() and score >= threshold else None
        predictions.append(Prediction(digit, row, float(score), image))
    return predictions


def digit_logits(head: np.ndarray, probabilities: np.ndarray, *, weight: float) -> np.ndarray:
    """Return the logit (n,) of being a digit, from the network's own (n,) and the calibrated probabilities (n, 10).

    Ink that resembles no digit in particular is less likely to be one (Hendrycks and Gimpel, 2017, "A baseline for
    detecting misclassified and out-of-distribution examples"); `weight` says how much less, see
    `digit_utils.training.calibration.fit_confidence_weight`.
    """
    return head + weight * np.log(probabilities.max(axis=1, initial=1 / NUM_CLASSES))


def logistic(logits: np.ndarray) -> np.ndarray:
    """Return the logistic function, without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * logits))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the softmax of (n, classes) logits over the classes, without overflow."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def _logits(card: ModelCard) -> int:
    """Return the number of logits: ten, and one more if the network has an output for being a digit."""
    return NUM_CLASSES + (card.digit_score == HEAD)


def _check_signature(interpreter: object, card: ModelCard) -> None:
    """Raise ValueError unless the network takes 28x28 images and returns the columns that its card promises."""
    taken = tuple(interpreter.get_input_details()[0]["shape"][1:])
    given = interpreter.get_output_details()[0]["shape"][-1]
    expected = _logits(card) + card.features
    if taken != (IMAGE_SIZE, IMAGE_SIZE, 1) or given != expected:
        raise ValueError(f"it takes images of {taken} and returns {given} values; expected (28, 28, 1) and {expected}")
