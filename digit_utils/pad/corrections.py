"""The correction row of the drawing pad: ten buttons, one below each bar, and a line that says what they are for.

The buttons are always shown and always enabled, so that nothing moves while somebody draws, and drawing sends no
message for them.
"""

import itertools
from collections.abc import Callable

import ipywidgets as widgets

from digit_utils.pad.labelling import SaveResult

QUESTION = "Wrong? Tap the right digit."
PICTURE_QUESTION = "Wrong? Tap the digit in the picture, then the right one."
NOTHING_TO_CORRECT = "Once a number is found, it can be corrected here."
NOTHING_DRAWN = "Draw a digit first, then tap what it is."
RESULTS = {
    SaveResult.NOT_SAVED: "Similar drawings will be recognised the same way.",
    SaveResult.SAVED: "Similar drawings will be recognised the same way. Saved.",
    SaveResult.REMOVED: "The earlier correction is removed.",
    SaveResult.FULL: "Not saved: there is no room for more drawings.",
    SaveResult.REMOVED_ONLY: "The earlier correction is removed, but there is no room to save this one.",
    SaveResult.FAILED: "The drawing could not be saved.",
}
FORGOTTEN = {
    SaveResult.NOT_SAVED: "The correction is forgotten.",
    SaveResult.REMOVED: "The correction is forgotten, and removed from the file.",
    SaveResult.FAILED: "The correction is forgotten, but could not be removed from the file.",
}

_turns = itertools.count(1)


class CorrectionRow:
    """The widgets with which a person labels a drawing."""

    def __init__(self, *, saving_notice: str):
        """Make the row; `saving_notice` says what is saved of the drawings, if anything."""
        self._question = f"{QUESTION} {saving_notice}".strip()
        # The whole sentence is the button's name for a screen reader; the style sheet shows the digit alone.
        self._buttons = [
            widgets.Button(description=f"It is {with_article(digit)}", tooltip=f"It is {with_article(digit)}")
            .add_class("digit-pad-label")
            .add_class(f"digit-pad-label-{digit}")
            for digit in range(10)
        ]
        self._note = widgets.HTML(self._question).add_class("digit-pad-note")
        row = widgets.Box(self._buttons).add_class("digit-pad-labels")
        self.forget = widgets.Button(description="Forget this", tooltip="Remove this label (Ctrl+Z on the paper)")
        self.forget.add_class("digit-pad-forget")
        foot = widgets.Box([self._note, self.forget]).add_class("digit-pad-foot")
        self.root = widgets.Box([row, foot]).add_class("digit-pad-corrections")
        self.chosen: int | None = None  # the digit that is shown as the label

    def on_label(self, action: Callable[[int], None]) -> None:
        """Call `action` with the digit whenever a button is pressed."""
        for digit, button in enumerate(self._buttons):
            button.on_click(lambda _, digit=digit: action(digit))

    def show_label(self, digit: int | str, result: SaveResult | None = None) -> None:
        """Show which digit or mark was chosen, and whether it was saved."""
        self._choose(digit if isinstance(digit, int) else None)
        self._say(f"Labelled {digit}. {RESULTS[result] if result else ''}".strip())

    def show_forgotten(self, result: SaveResult) -> None:
        """Show that the label was taken back, and whether it was removed from the file."""
        self._choose(None)
        self._say(FORGOTTEN[result])

    def show_in_picture(self, digit: int | None) -> None:
        """Show the label of the digit that is selected in a picture; without one (None), how to correct it."""
        if digit is None:
            self.reset(PICTURE_QUESTION)
        else:
            self.show_label(digit, SaveResult.NOT_SAVED)

    def show_nothing_drawn(self) -> None:
        """Show that there is no drawing to label."""
        self._say(NOTHING_DRAWN)

    def reset(self, question: str = "") -> None:
        """Ask again, because the drawing has changed. Sends nothing if the question is shown already."""
        self._choose(None)
        if self._note.value != (question or self._question):
            self._note.value = question or self._question

    def _say(self, sentence: str) -> None:
        self._note.value = spoken(sentence)

    def _choose(self, digit: int | None) -> None:
        if self.chosen is not None:
            self._buttons[self.chosen].remove_class("digit-pad-chosen")
        if digit is not None:
            self._buttons[digit].add_class("digit-pad-chosen")
        if (digit is None) != (self.chosen is None):
            (self.root.remove_class if digit is None else self.root.add_class)("digit-pad-is-labelled")
        self.chosen = digit


def spoken(sentence: str) -> str:
    """Return HTML of a sentence that screen readers say whenever a widget is set to it, even twice in a row."""
    # They notice an alert when it appears, and a widget that is set to the value it has sends nothing to the page:
    # the number makes a repeated sentence a new alert.
    return f'<span role="alert" aria-live="polite" data-turn="{next(_turns)}">{sentence}</span>'


def with_article(digit: int) -> str:
    """Return a digit with its article: "a 7", "an 8"."""
    return f"an {digit}" if digit == 8 else f"a {digit}"
