"""The row "It is a ..." of the drawing pad: ten buttons, one below each bar, and a line that says what they are for.

The buttons are always there and always enabled, so that nothing jumps while somebody draws, and no message is sent for
them; only a tap changes anything.
"""

import itertools
from collections.abc import Callable

import ipywidgets as widgets

from digit_utils.pad.labelling import SaveResult

QUESTION = "Misread? Tap the digit that it is."
NOTHING_DRAWN = "Draw a digit first, then say what it is."
BECAME = {
    SaveResult.NOT_ASKED: "Forms like this are read so from now on.",
    SaveResult.SAVED: "Forms like this are read so from now on. Saved.",
    SaveResult.TAKEN_BACK: "The correction is taken back.",
    SaveResult.FULL: "Not saved: there is no room for more drawings.",
    SaveResult.ONLY_TAKEN_BACK: "What was saved is taken back, but there is no room to save this.",
    SaveResult.FAILED: "It could not be saved.",
}

_turns = itertools.count(1)


class CorrectionRow:
    """The widgets with which a person says what a drawing is."""

    def __init__(self, *, saves: str = ""):
        """Make the row; `saves` tells, where that is so, what is saved of what is drawn."""
        self._question = f"{QUESTION} {saves}".strip()
        # The whole sentence is the button's name for a screen reader; the style sheet shows the digit alone.
        self._buttons = [
            widgets.Button(description=f"It is {with_article(digit)}", tooltip=f"It is {with_article(digit)}")
            .add_class("digit-pad-label")
            .add_class(f"digit-pad-label-{digit}")
            for digit in range(10)
        ]
        self._note = widgets.HTML(self._question).add_class("digit-pad-note")
        row = widgets.Box(self._buttons).add_class("digit-pad-labels")
        self.root = widgets.Box([row, self._note]).add_class("digit-pad-corrections")
        self._chosen: int | None = None

    def on_label(self, action: Callable[[int], None]) -> None:
        """Call `action` with the digit whenever a button is pressed."""
        for digit, button in enumerate(self._buttons):
            button.on_click(lambda _, digit=digit: action(digit))

    def show_label(self, digit: int, kept: SaveResult) -> None:
        """Show which digit was said, and what became of it."""
        self._choose(digit)
        self._say(f"Noted as {digit}. {BECAME[kept]}")

    def show_nothing_drawn(self) -> None:
        """Show why a tap has changed nothing."""
        self._say(NOTHING_DRAWN)

    def reset(self) -> None:
        """Ask again: the drawing has changed. Costs nothing where the question stands already."""
        self._choose(None)
        if self._note.value != self._question:
            self._note.value = self._question

    def _say(self, sentence: str) -> None:
        self._note.value = spoken(sentence)

    def _choose(self, digit: int | None) -> None:
        if self._chosen is not None:
            self._buttons[self._chosen].remove_class("digit-pad-chosen")
        if digit is not None:
            self._buttons[digit].add_class("digit-pad-chosen")
        self._chosen = digit


def spoken(sentence: str) -> str:
    """Return HTML of a sentence that screen readers say whenever a widget is set to it, the same sentence included."""
    # A reader notices an alert when it appears, and a widget that is set to what it holds sends nothing to the page:
    # the number makes a new alert of a sentence that is said again.
    return f'<span role="alert" aria-live="polite" data-turn="{next(_turns)}">{sentence}</span>'


def with_article(digit: int) -> str:
    """Return a digit as one speaks of it: "a 7", "an 8"."""
    return f"an {digit}" if digit == 8 else f"a {digit}"
