"""What the drawing pad shows: the paper, the buttons, the digit, ten bars and the image that the network sees.

The widgets are made once, and only their contents change. The bars move because one small `<style>` sets CSS variables
of ten columns, which the browser animates. Nothing is fetched from anywhere: no web font, no icon font, no script.
"""

import base64
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import ipywidgets as widgets
import numpy as np
from ipycanvas import Canvas

from digit_utils.datasets.samples import sample_digits
from digit_utils.pad.corrections import CorrectionRow, spoken, with_article
from digit_utils.pad.ink import DIGIT_COLOURS, DOUBTFUL_COLOURS, INK_COLOUR
from digit_utils.pad.state import smooth_path
from digit_utils.preprocessing.strokes import ink_from_strokes
from digit_utils.recognition.numbers import Alternative, Character, Number
from digit_utils.recognition.recognizer import Prediction

CERTAIN = 0.9  # probability from which the digit is stated without "probably"
LEAST_OF_SEVERAL = 0.5  # confidence from which several characters are a number; most letters stay below
LEAST_WITH_NON_DIGITS = 0.7  # likewise where some of the digits look like none
OFFERED = 0.01  # confidence from which another reading can be tapped
READINGS = 3  # at most
CLOSE = 0.2  # a runner-up is named from this fraction of the best digit's probability
PAPER_DESCRIPTION = "Paper to draw on with mouse, finger or pen. Control Z undoes, Control Y redoes, Escape clears."
UNFOLD, FOLD = "How it sees", "Hide how it sees"
EXAMPLE = sample_digits(side=100)[6]  # of one stroke
INK_BGR = tuple(bytes.fromhex(INK_COLOUR[1:])[::-1])
FRAME_BGR = (200, 200, 200)
STYLE_FILE = Path(__file__).with_name("pad.css")

_pad_numbers = itertools.count(1)


# ------------------------------------------------------------------------------------------------ words


@dataclass(frozen=True)
class DisplayedPrediction:
    """A prediction in the words and lengths that a person sees."""

    state: str  # "blank", "digit", "unknown" or "problem"
    mark: str  # the large digit or sign
    caption: str  # one short sentence below it
    bars: tuple[float, ...]  # ten lengths in [0, 1]
    best: int | None  # the digit whose bar is highlighted
    runner_up: int | None = None  # the second-best digit, when it is close
    selected: int | None = None  # of several characters, the place of the one that the bars are about
    confidence: float | None = None  # of several characters


@dataclass(frozen=True)
class DisplayedCharacter:
    """One of several characters, as it is written under its ink."""

    text: str
    x: float  # where its ink ends at the bottom, as shares of the paper's width and height
    y: float
    is_selected: bool = False


BLANK = DisplayedPrediction("blank", "", "Draw a digit or a number", (0.0,) * 10, None)


def displayed(prediction: Prediction | None) -> DisplayedPrediction:
    """Put a prediction into words: the digit, how certain, what else it could be. BLANK for None and blank ink."""
    if prediction is None or prediction.is_blank:
        return BLANK
    probabilities = np.asarray(prediction.probabilities, dtype=np.float64)
    second, best = (int(digit) for digit in probabilities.argsort()[-2:])
    is_close = probabilities[second] >= CLOSE * probabilities[best]
    bars = tuple(float(value) for value in probabilities)
    if prediction.digit is None:
        nearest = f"Nearest: {best}" + (f" or {second}" if is_close else "")
        return DisplayedPrediction("unknown", "?", f"Not a digit. {nearest}.", bars, None)
    if is_close:
        caption = f"Perhaps {with_article(best)}, or {with_article(second)}"
    elif probabilities[best] >= CERTAIN:
        caption = f"This is {with_article(best)}"
    else:
        caption = f"Probably {with_article(best)}"
    return DisplayedPrediction("digit", str(prediction.digit), caption, bars, best, second if is_close else None)


def ink_colours(number: Number, count: int) -> list[str]:
    """Return the colours of a number's first `count` strokes: neighbours differ, and a doubtful digit is paler."""
    colours = [INK_COLOUR] * count
    if len(number.digits) > 1:
        for place, character in enumerate(number.digits):
            palette = DOUBTFUL_COLOURS if is_doubtful(character) else DIGIT_COLOURS
            for stroke in character.strokes:
                if stroke < count:
                    colours[stroke] = palette[place % len(palette)]
    return colours


def is_doubtful(character: Character) -> bool:
    """Whether a digit's ink alone does not say clearly which digit it is. Marks are judged by their place only."""
    if not character.text.isdigit():
        return False
    prediction = character.prediction
    return prediction.digit is None or bool(prediction.probabilities[int(character.text)] < CERTAIN)


def is_refused(number: Number) -> bool:
    """Whether ink is shown as no number: it is read as none, or hardly as one."""
    if number.text is None:
        return True
    has_non_digit = any(c.text.isdigit() and c.prediction.digit is None for c in number.digits)
    least = LEAST_WITH_NON_DIGITS if has_non_digit else LEAST_OF_SEVERAL if len(number.digits) > 1 else 0.0
    return number.confidence < least


def displayed_number(number: Number, selected: int) -> DisplayedPrediction:
    """Put a number into words; the bars are those of the character at place `selected`. One digit as `displayed`."""
    character = number.digits[selected]
    digit = displayed(character.prediction)
    if len(number.digits) == 1:
        return digit
    if is_refused(number):
        guesses = [number.text or "", *(alternative.text for alternative in number.alternatives)]
        nearest = next((f" Nearest: {guess}." for guess in guesses if guess), "")
        return DisplayedPrediction("unknown", "?", f"Not a number.{nearest}", digit.bars, None)
    how = "This is" if number.confidence >= CERTAIN else "Probably"
    best = int(character.text) if character.text.isdigit() else None
    return DisplayedPrediction(
        "digit",
        number.text,
        f"{how} {number.text}",
        digit.bars,
        best,
        digit.runner_up if digit.runner_up != best else None,
        selected,
        number.confidence,
    )


@dataclass(frozen=True)
class OnPaper:
    """What is shown of a number once the pen is lifted, besides the answer."""

    characters: tuple[DisplayedCharacter, ...] = ()
    readings: tuple[Alternative, ...] = ()  # that can be tapped instead
    can_join: bool = False  # the selected character and the one before it
    can_split: bool = False


def on_paper(number: Number, selected: int, *, width: float, height: float) -> OnPaper:
    """Return what is shown of a number on a paper of this size. Nothing is written under one character alone."""
    characters = []
    for place, character in enumerate(number.digits if len(number.digits) > 1 else ()):
        left, top, across, down = character.box
        x, y = (left + across / 2) / width, (top + down) / height
        characters.append(DisplayedCharacter(character.text, x, y, place == selected))
    groups = [character.strokes for character in number.digits]
    readings = [
        reading
        for reading in number.alternatives
        if reading.confidence >= OFFERED
        # One digit read as another is corrected by the ten buttons.
        and (characters or [character.strokes for character in reading.digits] != groups)
    ]
    can_split = len(groups[selected]) > 1 and (len(groups) > 1 or number.confidence < CERTAIN)
    return OnPaper(tuple(characters), tuple(readings[:READINGS]), selected > 0, can_split)


def png_of(image: np.ndarray) -> bytes:
    """Return ink, (height, width) in [0, 1], as a PNG: light ink on a dark background, as the network sees it."""
    grey = np.clip(np.asarray(image) * 255 + 0.5, 0, 255).astype(np.uint8)
    return cv2.imencode(".png", grey)[1].tobytes()


def picture_of_pad(
    strokes: Sequence[np.ndarray], *, size: tuple[float, float], pen_width: float, image: np.ndarray, caption: str
) -> bytes:
    """Return paper and answer as a PNG, some 240 pixels high, for where widgets are not shown, as on GitHub.

    Args:
        strokes: (n, 2) arrays in pixels of the paper.
        size: width and height of the paper in its pixels.
        pen_width: in pixels of the paper.
        image: (28, 28) in [0, 1], the network's input.
        caption: what the pad says of the drawing.
    """
    scale = 7 * len(image) / size[1]  # the network's input has 7x7 screen pixels for each of its own
    paper = np.full((round(size[1] * scale), round(size[0] * scale), 3), 255, np.uint8)
    for stroke in strokes:
        points = np.round(smooth_path(stroke) * scale * 16).astype(np.int32)
        cv2.polylines(paper, [points], False, INK_BGR, round(pen_width * scale), cv2.LINE_AA, shift=4)
    seen = cv2.cvtColor(np.uint8(255 * image), cv2.COLOR_GRAY2BGR).repeat(7, axis=0).repeat(7, axis=1)
    framed = [cv2.copyMakeBorder(each, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=FRAME_BGR) for each in (paper, seen)]
    row = cv2.hconcat([framed[0], np.full((len(framed[0]), 12, 3), 255, np.uint8), framed[1]])
    picture = cv2.copyMakeBorder(row, 4, 36, 4, 4, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    place = (6, len(picture) - 12)
    cv2.putText(picture, caption, place, cv2.FONT_HERSHEY_DUPLEX, 0.6, INK_BGR, 1, cv2.LINE_AA)
    return cv2.imencode(".png", picture, (cv2.IMWRITE_PNG_COMPRESSION, 9))[1].tobytes()


# ---------------------------------------------------------------------------------------------- widgets


class PadView:
    """The widgets of one pad, and what they show. Knows nothing of strokes or recognisers."""

    def __init__(self, *, canvas: Canvas, size: int, saving_notice: str):
        """Lay out the widgets around a canvas.

        The paper is `size` CSS pixels high where there is room; `saving_notice` says what is saved of the drawings.
        """
        self._scope = f"digit-pad-{next(_pad_numbers)}"  # so that each pad in a page has its own bars
        self.undo = widgets.Button(description="Undo", tooltip="Undo the last action (Ctrl+Z on the paper)")
        self.redo = widgets.Button(description="Redo", tooltip="Redo what was undone (Ctrl+Y on the paper)")
        self.clear = widgets.Button(description="Clear", tooltip="Clear the paper (Escape on the paper)")
        self.predict = widgets.Button(description="Predict", tooltip="Recognise the drawing now")
        self.predict.add_class("digit-pad-predict")
        # The script of the ink layer opens the dialog; the style sheet hides the button where that does not run.
        self.open = widgets.Button(description="Open a picture", tooltip="Open a picture, or paste or drop it here")
        self.open.add_class("digit-pad-open")
        # A style sheet of each reading shows those of them that are of use, and what they offer.
        self.readings = [
            _quiet_button("Read as", "Choose this reading", f"digit-pad-reading-{n}") for n in range(READINGS)
        ]
        self.join = _quiet_button("Join", "Join this digit and the one before it into one", "digit-pad-join")
        self.split = _quiet_button("Split", "Split this digit into its strokes", "digit-pad-split")
        self.unfold = widgets.Button(description=UNFOLD, tooltip="Follow the drawing through the network")
        self.unfold.add_class("digit-pad-unfold")
        self._strip = widgets.HTML().add_class("digit-pad-strip")
        self.corrections = CorrectionRow(saving_notice=saving_notice)
        self._tiles = widgets.HTML().add_class("digit-pad-tiles")  # answer, network input, lengths of the bars
        self._caption = widgets.HTML().add_class("digit-pad-caption")
        self._announcement = widgets.HTML().add_class("digit-pad-announcement")  # and what is written under the ink
        self._photo = widgets.HTML().add_class("digit-pad-photo")  # apart: the boxes change more often
        self._boxes = widgets.HTML().add_class("digit-pad-boxes")
        self.root_children = self._lay_out(canvas, size)
        self.root_classes = ("digit-pad", self._scope)
        self.show(BLANK, np.zeros((28, 28)))

    def _lay_out(self, canvas: Canvas, size: int) -> list[widgets.Widget]:
        buttons = [self.undo, self.redo, self.clear, self.predict, self.open]
        buttons = widgets.Box(buttons).add_class("digit-pad-buttons")
        description = widgets.HTML(PAPER_DESCRIPTION).add_class("digit-pad-unseen")
        example = widgets.HTML(_example_html()).add_class("digit-pad-example")
        paper = widgets.Box([canvas, example, description, self._announcement, self._photo, self._boxes])
        paper.add_class("digit-pad-paper")
        self._paper = paper
        sheet = widgets.Box([paper, buttons]).add_class("digit-pad-sheet")
        readings = widgets.Box([*self.readings, self.join, self.split]).add_class("digit-pad-readings")
        words = widgets.Box([self._caption, readings]).add_class("digit-pad-words")
        chart = widgets.HTML(f"<style>.{self._scope}{{--pad-size:{size}px}}</style>{_chart_html()}").add_class(
            "digit-pad-chart"
        )
        parts = [self._tiles, words, chart, self.corrections.root]
        readout = widgets.Box(parts).add_class("digit-pad-readout")
        return [sheet, readout, widgets.Box([self.unfold, self._strip]).add_class("digit-pad-sight")]

    def cover_paper(self, layer: widgets.Widget) -> None:
        """Lay a layer over the canvas. A page that asks again has not heard of it."""
        if layer in self._paper.children:
            self._paper.send_state("children")
        else:
            self._paper.children = [*self._paper.children, layer]

    @property
    def is_unfolded(self) -> bool:
        """Whether the strip "how it sees" is shown."""
        return bool(self._strip.value)

    def show_strip(self, strip: str) -> None:
        """Unfold a strip that shows how the network sees; fold it away with ""."""
        self._strip.value = strip
        self.unfold.description = FOLD if strip else UNFOLD

    def show(self, display: DisplayedPrediction, image: np.ndarray, *, steps: str = "") -> None:
        """Show a prediction, the (28, 28) image that the network saw, and the strip's pictures as CSS variables."""
        # Two messages: what changes with every prediction is one, the caption another, when it changes.
        answer = _tile_html("The answer", _mark_html(display))
        seen = _tile_html("Network input", _picture_html(display, image))
        self._tiles.value = self._levels_html(display, steps) + answer + seen + _percentages_html(display)
        self._caption.value = display.caption

    def show_photo(self, picture: str = "") -> None:
        """Show the HTML of a picture in place of the paper, still without boxes; without one, the paper again."""
        self._photo.value, self._boxes.value = picture, ""

    def show_boxes(self, boxes: str) -> None:
        """Show other boxes on the picture."""
        self._boxes.value = boxes

    def announce(self, display: DisplayedPrediction, paper: OnPaper | None = None) -> None:
        """Have screen readers say the caption, and write each character under its ink, in one message.

        Called at the end of a stroke, not for every move.
        """
        words = spoken(display.caption + _confidence_words(display))
        paper = paper or OnPaper()
        self._announcement.value = (
            f'<div class="digit-pad-unseen">{words}</div>{_characters_html(paper.characters)}{self._offers_html(paper)}'
        )

    def show_problem(self, message: str, *, announce: bool = False) -> None:
        """Show that recognition failed, in place of the answer; with `announce` have screen readers say it."""
        problem = DisplayedPrediction("problem", "!", message, (0.0,) * 10, None)
        self.show(problem, np.zeros((28, 28)))
        if announce:
            self.announce(problem)

    def _offers_html(self, paper: OnPaper) -> str:
        names = ["join"] * paper.can_join + ["split"] * paper.can_split
        names += [f"reading-{place}" for place in range(len(paper.readings))]
        rules = [f".digit-pad.{self._scope} .digit-pad-{name}{{display:inline-block}}" for name in names]
        for place, reading in enumerate(paper.readings):
            rules.append(f'.{self._scope} .digit-pad-reading-{place}::after{{content:"{reading.text}"}}')
        return f"<style>{''.join(rules)}</style>"

    def _levels_html(self, display: DisplayedPrediction, steps: str) -> str:
        """Return rules for what moves. Each concerns few elements: a browser styles all anew that inherit from them."""
        is_blank = display.state == "blank"
        rules = {
            ":is(.digit-pad-paper,.digit-pad-columns)": f"--hint:{int(is_blank)}",
            # Unseen, an animation would still take a phone time in every frame.
            ".digit-pad-example": "" if is_blank else "display:none",
            ".digit-pad-caption": f'--confidence:"{words}"' if (words := _confidence_words(display)) else "",
            ".digit-pad-steps": steps,
        }
        colours = {display.runner_up: ";--colour:var(--pad-second)", display.best: ";--colour:var(--pad-accent)"}
        for digit, length in enumerate(display.bars):
            level = f"--level:{length:.3f};--percent:{100 * length:.0f}{colours.get(digit, '')}"
            rules[f".digit-pad-column:nth-child({digit + 1})"] = level
        return f"<style>{''.join(f'.{self._scope} {place}{{{rule}}}' for place, rule in rules.items() if rule)}</style>"


def _confidence_words(display: DisplayedPrediction) -> str:
    if display.confidence is None:
        return ""
    share = "over\u00a099" if display.confidence > 0.99 else f"{100 * display.confidence:.0f}"  # nothing is certain
    return f", {share}\u00a0%\u00a0sure"


def _tile_html(title: str, content: str) -> str:
    return f'<div class="digit-pad-tile"><div class="digit-pad-title">{title}</div>{content}</div>'


def _mark_html(display: DisplayedPrediction) -> str:
    characters = [f"<b>{text}</b>" if place == display.selected else text for place, text in enumerate(display.mark)]
    options = f'class="digit-pad-{display.state}" style="--length:{len(display.mark)}" aria-hidden="true"'
    if display.state == "blank":
        options += f' data-example="{EXAMPLE.digit}"'
    return f'<div class="digit-pad-mark"><div {options}>{"".join(characters)}</div></div>'


def _characters_html(characters: Sequence[DisplayedCharacter]) -> str:
    spans = []
    for place, character in enumerate(characters):
        name = "digit-pad-selected" if character.is_selected else ""
        spans.append(
            f'<span class="{name}" style="left:{100 * character.x:.1f}%;--bottom:{100 * character.y:.1f}%;'
            f'color:{DIGIT_COLOURS[place % len(DIGIT_COLOURS)]}">{character.text}</span>'
        )
    return f'<div class="digit-pad-characters" aria-hidden="true">{"".join(spans)}</div>' if spans else ""


def _picture_html(display: DisplayedPrediction, image: np.ndarray) -> str:
    """Return the network's input as an image with a description; that of the example while the paper is blank."""
    if display.state == "problem":
        return '<div class="digit-pad-picture"></div>'
    if display.state == "blank":
        return f'<div class="digit-pad-picture"><img alt="" src="{png_url(ink_from_strokes(EXAMPLE.strokes))}"></div>'
    return f'<img class="digit-pad-picture" alt="The drawing as the network sees it" src="{png_url(image)}">'


def png_url(image: np.ndarray) -> str:
    """Return ink, (height, width) in [0, 1], as the address of a PNG that holds it."""
    return f"data:image/png;base64,{base64.b64encode(png_of(image)).decode()}"


def _example_html() -> str:
    """Return a digit that the style sheet draws on the blank paper."""
    lines = (" ".join(f"{x:.1f},{y:.1f}" for x, y in smooth_path(stroke)) for stroke in EXAMPLE.strokes)
    lines = "".join(f'<polyline pathLength="1" points="{points}"/>' for points in lines)
    return f'<svg viewBox="0 0 100 100" aria-hidden="true">{lines}</svg>'


def _percentages_html(display: DisplayedPrediction) -> str:
    """Return what the bars show as a sentence for screen readers, likeliest digits first, those below 1 % left out."""
    percentages = sorted(((round(100 * length), digit) for digit, length in enumerate(display.bars)), reverse=True)
    words = ", ".join(f"{digit}: {percentage} %" for percentage, digit in percentages if percentage)
    return f'<p class="digit-pad-unseen">Probabilities: {words}</p>' if words else ""


def _quiet_button(description: str, tooltip: str, name: str) -> widgets.Button:
    return widgets.Button(description=description, tooltip=tooltip).add_class("digit-pad-quiet").add_class(name)


def columns_html() -> str:
    """Return ten bars, which rules of their own move."""
    column = '<div class="digit-pad-column"><div class="digit-pad-track"><div class="digit-pad-bar"></div></div></div>'
    label = "Ten bars: how likely each digit from 0 to 9 is"
    return f'<div class="digit-pad-columns" role="img" aria-label="{label}">{10 * column}</div>'


def _chart_html() -> str:
    """Return ten bars, and the style of the whole pad."""
    return f"<style>{STYLE_FILE.read_text(encoding='utf-8')}</style>{columns_html()}"
