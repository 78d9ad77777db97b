"""Reads digits from UNIPEN text, the format in which UCI ships the pen trajectories of `pendigits`.

What such a file looks like::

    .SEGMENT DIGIT  6-7 ? "4"     a digit made of the strokes number 6 and 7 of this file
    .COMMENT 4  1  117            label, writer, and number within the writer's session
    .PEN_DOWN
     277  306                     x, y in tablet units; y points up
     272  301
    .PEN_UP
    .DT 100                       a pause

Source: I. Guyon, UNIPEN 1.0 Format Definition, 1994. Strokes are counted from 0 over the whole file, and only
those with the pen down are counted.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class UnipenDigit:
    """One handwritten digit as the pen wrote it."""

    label: int  # 0..9
    writer: int | None  # the writer's number in this file; None if the file does not say
    strokes: list[np.ndarray]  # each (points, 2) float32 in tablet units: x to the right, y down


@dataclass
class _Segment:
    """A `.SEGMENT` line: which strokes make up one digit."""

    line_number: int
    label: int
    components: list[range]
    writer: int | None = None


@dataclass
class _Reader:
    """The content of a file as read so far."""

    components: list[list[tuple[float, float]]] = field(default_factory=list)
    segments: list[_Segment] = field(default_factory=list)
    pen_is_down: bool = False
    last_pen_down: int = 0  # line number

    def read(self, line: str, line_number: int) -> None:
        """Take in one line that is not blank."""
        if not line.startswith("."):
            self._read_point(line, line_number)
            return
        keyword, _, arguments = line.partition(" ")
        if keyword == ".PEN_DOWN":
            self._finish_stroke()
            self.components.append([])
            self.pen_is_down, self.last_pen_down = True, line_number
        elif keyword == ".PEN_UP":
            self._finish_stroke()
        elif keyword == ".SEGMENT":
            segment = _parse_segment(arguments, line_number)
            if segment is not None:
                self.segments.append(segment)
        elif keyword == ".COMMENT" and self.segments:
            self._read_comment(arguments, line_number)

    def _read_point(self, line: str, line_number: int) -> None:
        try:
            x, y = map(float, line.split())
        except ValueError:
            raise ValueError(f"line {line_number}: expected two numbers x and y, found {line!r}") from None
        if self.pen_is_down:
            self.components[-1].append((x, y))
        elif not self.components:
            raise ValueError(f"line {line_number}: a point stands before the first .PEN_DOWN")

    def _read_comment(self, arguments: str, line_number: int) -> None:
        """Keep the writer of `label writer index`; any other comment is free text."""
        words = arguments.split()
        if len(words) != 3 or not all(word.isdecimal() for word in words):
            return
        segment = self.segments[-1]
        if int(words[0]) != segment.label:
            raise ValueError(
                f"line {line_number}: the comment says the digit is a {words[0]}, "
                f"its segment in line {segment.line_number} says {segment.label}"
            )
        segment.writer = int(words[1])

    def _finish_stroke(self) -> None:
        if self.pen_is_down and not self.components[-1]:
            raise ValueError(f"line {self.last_pen_down}: a .PEN_DOWN without a point")
        self.pen_is_down = False

    def finish(self) -> None:
        """Check that the file does not end in the middle of a stroke.

        Raises:
            ValueError: naming the line of the unfinished stroke.
        """
        if self.pen_is_down:
            raise ValueError(f"line {self.last_pen_down}: the text ends within the stroke that begins here")


def parse_unipen(text: str, *, height: float = 0.0) -> list[UnipenDigit]:
    """Return the digits of a UNIPEN text, in the order of their `.SEGMENT` lines.

    Args:
        text: the whole content of the file.
        height: height of the tablet in its own units. UNIPEN's y points up; here it becomes `height - y`,
            which points down like the rows of an image.

    Raises:
        ValueError: the text breaks the format; the message names the line, counted from 1.
    """
    reader = _Reader()
    for line_number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if stripped:
            reader.read(stripped, line_number)
    reader.finish()
    return [_assemble(segment, reader.components, height) for segment in reader.segments]


def _parse_segment(arguments: str, line_number: int) -> _Segment | None:
    """Read `DIGIT 6-7 ? "4"`; None for a segment of another level of the hierarchy, such as a page."""
    words = arguments.split()
    if not words or words[0] != "DIGIT":
        return None
    if len(words) != 4:
        raise ValueError(
            f'line {line_number}: expected .SEGMENT DIGIT <strokes> <quality> "<digit>", found {arguments!r}'
        )
    label = words[3].strip('"')
    if len(label) != 1 or label not in "0123456789":
        raise ValueError(f"line {line_number}: expected a digit from 0 to 9 in quotes, found {words[3]}")
    return _Segment(line_number, int(label), _parse_components(words[1], line_number))


def _parse_components(text: str, line_number: int) -> list[range]:
    """Turn `6`, `6-7` or `6-7,9` into ranges of stroke numbers."""
    components = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ValueError(f"line {line_number}: expected stroke numbers such as 6 or 6-7, found {text!r}")
        start, stop = int(first), int(last or first)
        if stop < start:
            raise ValueError(f"line {line_number}: the stroke numbers {part!r} run backwards")
        components.append(range(start, stop + 1))
    return components


def _assemble(segment: _Segment, components: list[list[tuple[float, float]]], height: float) -> UnipenDigit:
    """Collect the strokes of one segment, with y pointing down."""
    last = max(numbers[-1] for numbers in segment.components)
    if last >= len(components):
        raise ValueError(
            f"line {segment.line_number}: the digit needs stroke {last}, "
            f"but the text holds only {len(components)} strokes (is it cut short?)"
        )
    strokes = [np.array(components[i], dtype=np.float32) for numbers in segment.components for i in numbers]
    for stroke in strokes:
        if not np.isfinite(stroke).all():
            raise ValueError(f"line {segment.line_number}: the digit has a point that is not finite")
        stroke[:, 1] = height - stroke[:, 1]
    return UnipenDigit(segment.label, segment.writer, strokes)
