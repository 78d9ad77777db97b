"""A picture that lies on the pad: the numbers in it, the region that is read, and the character that is selected."""

import base64
import os
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from digit_utils.pad.state import Point
from digit_utils.pad.view import DisplayedPrediction, displayed_number
from digit_utils.preprocessing.inputs import MAX_PIXELS, ImageInputError, read_image, to_grayscale
from digit_utils.recognition.adaptation import AdaptiveRecognizer
from digit_utils.recognition.numbers import OTHER, Character, Number
from digit_utils.types import IMAGE_SIZE

if TYPE_CHECKING:
    from digit_utils.preprocessing.inputs import ImageInput

LONGEST_SHOWN = 1280  # pixels of what the browser gets to show
LARGEST_CUT_OUT = 112  # pixels, of one character in the strip "how it sees"
SMALLEST_SIDE = 8  # pixels; in less there is no digit
SMALLEST_REGION = 0.02  # of the picture's longer side; a smaller frame was meant as a tap
LETTERS = 1 / 20  # height of a reading, of the picture's longer side
MOST_LISTED = 6  # numbers in the caption
SHOWN_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 85]
NOTHING_FOUND = DisplayedPrediction("problem", "?", "No number found. Drag a box around one.", (0.0,) * 10, None)

Box = tuple[float, float, float, float]  # x, y, width, height, in pixels of the picture


class PadPicture:
    """A picture and what is read in it. Places and boxes are in pixels of the picture."""

    def __init__(self, source: "ImageInput", *, max_pixels: int = MAX_PIXELS):
        """Open a picture: a path, the bytes of a file, a PIL image or an array, as `recognize_image` takes them.

        Raises what `to_grayscale` raises, and ImageInputError when the picture is smaller than SMALLEST_SIDE, or a file
        larger than `max_pixels`.
        """
        if isinstance(source, (str, os.PathLike, bytes)):
            source = read_image(source, max_pixels=max_pixels)
        self._gray = to_grayscale(source)
        if min(self._gray.shape) < SMALLEST_SIDE:
            raise ImageInputError(
                f"the picture has {self._gray.shape[1]} x {self._gray.shape[0]} pixels; "
                f"each side must have at least {SMALLEST_SIDE}"
            )
        is_colour = isinstance(source, np.ndarray) and source.dtype == np.uint8 and source.shape[2:] == (3,)
        self._shown = source if is_colour else self._gray
        self.numbers: list[Number] = []
        self.region: Box | None = None  # all that is read; None for the whole picture
        self.selected: Character | None = None
        self._name = uuid.uuid4().hex[:16]
        self._labels: dict[Box, int] = {}  # of characters
        self._done: list[_Step] = []
        self._undone: list[_Step] = []
        self._is_read = False

    @property
    def number(self) -> Number | None:
        """The number with the selected character, None where nothing is found."""
        return next((number for number in self.numbers if self.selected in number.digits), None)

    @property
    def label_of_selected(self) -> int | None:
        """The label of the selected character, None without one."""
        return self._labels.get(self.selected.box) if self.selected else None

    def read(self, recognizer: object) -> Number | None:
        """Read the numbers in the region, with anything that has `recognize_numbers`; return `number`."""
        if not self._is_read:
            self._read(recognizer)
        return self.number

    def _read(self, recognizer: object) -> None:
        self._is_read = True
        left, top, width, height = map(round, self.region or (0, 0, *self._gray.shape[::-1]))
        found = recognizer.recognize_numbers(self._gray[top : top + height, left : left + width])
        found = [self._labelled(_moved(number, left, top)) for number in found if number.digits]
        self.numbers = [number for number in found if number.text] or found
        box = self.selected.box if self.selected else None
        first = self.numbers[0].digits[-1] if self.numbers else None
        self.selected = next((each for each in self._characters if each.box == box), first)

    def frame(self, start: Point, stop: Point) -> bool:
        """Read only what lies between two places from now on; tell whether that is a region at all."""
        limits = self._gray.shape[::-1]
        corners = [np.clip(place, 0, limits) for place in (start, stop)]
        (left, top), (right, bottom) = np.floor(np.min(corners, axis=0)), np.ceil(np.max(corners, axis=0))
        if min(right - left, bottom - top) < max(SMALLEST_SIDE, SMALLEST_REGION * max(limits)):
            return False
        region = (float(left), float(top), float(right - left), float(bottom - top))
        self._note(_Step((self.region, region)))
        self.region = region
        self.selected, self._is_read = None, False
        return True

    def tap(self, place: Point) -> None:
        """Select the character at a place, if there is one."""
        x, y = place
        near = LETTERS * max(self._gray.shape) / 2
        away = [(_distance(character.box, x, y), index) for index, character in enumerate(self._characters)]
        distance, index = min(away, default=(near + 1, 0))
        if distance <= near:
            self.selected = self._characters[index]

    def label(self, recognizer: object, digit: int | None) -> None:
        """Label the selected character, or take its label back (None); similar ones follow if the recogniser adapts."""
        if self.selected is None:
            return
        self._note(_Step((self.region, self.region), self.selected, (self.label_of_selected, digit)))
        self._label(recognizer, digit)

    def undo(self, recognizer: object) -> bool:
        """Take back the last label or region; tell whether there was one."""
        return self._take_step(recognizer, self._done, self._undone, way=0)

    def redo(self, recognizer: object) -> bool:
        """Do again what was undone last, unless something else was done since; tell whether there was anything."""
        return self._take_step(recognizer, self._undone, self._done, way=1)

    def _note(self, step: "_Step") -> None:
        self._done.append(step)
        self._undone.clear()

    def _take_step(self, recognizer: object, source: list["_Step"], target: list["_Step"], *, way: int) -> bool:
        if not source:
            return False
        step = source.pop()
        target.append(step)
        self.region, self.selected, self._is_read = step.regions[way], step.character, False
        if step.character is not None:
            self._label(recognizer, step.digits[way])
        return True

    def _label(self, recognizer: object, digit: int | None) -> None:
        box = self.selected.box
        self._labels.pop(box, None)
        if digit is not None:
            self._labels[box] = digit
        if isinstance(recognizer, AdaptiveRecognizer):
            name = f"{self._name}-{box}"
            if digit is None:
                recognizer.remove_correction(name)
            else:
                recognizer.add_ink_correction(self.selected.prediction.image, digit, name=name)
        self._is_read = False

    def displayed(self) -> tuple[DisplayedPrediction, np.ndarray]:
        """Return what to show of the numbers: words and bars, and the (28, 28) image of the selected character."""
        number = self.number
        if number is None:
            return NOTHING_FOUND, np.zeros((IMAGE_SIZE, IMAGE_SIZE))
        display = displayed_number(number, number.digits.index(self.selected))
        texts = [each.text for each in self.numbers if each.text]
        if len(texts) > 1:
            listed = ", ".join(texts[:MOST_LISTED]) + (", ..." if len(texts) > MOST_LISTED else "")
            display = replace(display, caption=f"{len(texts)} numbers: {listed}", confidence=None)
        return display, self.selected.prediction.image

    def cut_out(self) -> np.ndarray | None:
        """Return the selected character as it is in the picture, (height, width) in [0, 1]; None without one."""
        if self.selected is None:
            return None
        x, y, width, height = self.selected.box
        margin = 0.15 * max(width, height)
        rows, columns = (
            slice(max(0, int(low - margin)), int(low + side + margin) + 1) for low, side in ((y, height), (x, width))
        )
        part = self._gray[rows, columns]
        factor = min(1.0, LARGEST_CUT_OUT / max(part.shape))
        return cv2.resize(part, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA) / 255

    def picture_html(self) -> str:
        """Return the picture as an element that fills the paper."""
        factor = min(1.0, LONGEST_SHOWN / max(self._gray.shape))
        small = cv2.resize(self._shown, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        data = cv2.imencode(".jpg", small if small.ndim == 2 else small[..., ::-1], SHOWN_JPEG)[1].tobytes()
        return f'<img alt="The picture" src="data:image/jpeg;base64,{base64.b64encode(data).decode()}">'

    def boxes_html(self) -> str:
        """Return the boxes and readings as a drawing that lies on the picture."""
        height, width = self._gray.shape
        size = LETTERS * max(width, height)
        parts = [_outside(self.region, width, height)] if self.region else []
        for number in self.numbers:
            x, y, _, box_height = number.box
            below = y < size * 1.2
            baseline = min(y + box_height + size, height - 2) if below else y - size * 0.25
            kind = "digit-pad-box" if number.text else "digit-pad-box digit-pad-box-unread"
            parts.append(_rectangle(number.box, kind, margin=size / 8))
            parts.append(f'<text x="{x:.1f}" y="{baseline:.1f}" font-size="{size:.1f}">{number.text or "?"}</text>')
        if self.selected is not None:
            parts.append(_rectangle(self.selected.box, "digit-pad-box digit-pad-box-selected", margin=size / 16))
        return f'<svg viewBox="0 0 {width} {height}" aria-hidden="true">{"".join(parts)}</svg>'

    @property
    def _characters(self) -> list[Character]:
        return [character for number in self.numbers for character in number.digits]

    def _labelled(self, number: Number) -> Number:
        """Return a number with the labels of its characters."""
        if not any(character.box in self._labels for character in number.digits):
            return number
        digits = [replace(each, text=str(self._labels.get(each.box, each.text))) for each in number.digits]
        text = "".join(each.text for each in digits)
        return replace(number, digits=tuple(digits), text=None if OTHER in text else text)


@dataclass(frozen=True)
class _Step:
    """A region or a character's label, as it was before and as it is after."""

    regions: tuple[Box | None, Box | None]
    character: Character | None = None
    digits: tuple[int | None, int | None] = (None, None)


def _moved(number: Number, x: float, y: float) -> Number:
    """Return a number that was found in a part of the picture whose corner is at (x, y)."""
    digits = [
        replace(digit, box=(digit.box[0] + x, digit.box[1] + y, digit.box[2], digit.box[3])) for digit in number.digits
    ]
    return replace(number, digits=tuple(digits))


def _distance(box: Box, x: float, y: float) -> float:
    across, down = max(box[0] - x, x - box[0] - box[2], 0), max(box[1] - y, y - box[1] - box[3], 0)
    return max(across, down)


def _rectangle(box: Box, name: str, *, margin: float) -> str:
    x, y, width, height = box[0] - margin, box[1] - margin, box[2] + 2 * margin, box[3] + 2 * margin
    return f'<rect class="{name}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>'


def _outside(region: Box, width: float, height: float) -> str:
    x, y, region_width, region_height = region
    inner = f"M{x} {y}h{region_width}v{region_height}h{-region_width}z"
    return f'<path class="digit-pad-outside" fill-rule="evenodd" d="M0 0h{width}v{height}h{-width}z{inner}"/>'
