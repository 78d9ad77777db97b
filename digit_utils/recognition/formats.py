"""The formats in which numbers are written, as a prior on whole texts.

A lattice weighs each character by itself, and would read 15:30 as 15.:30 where a dot looks like two. What people write
is an integer, a decimal, a price, a time, a date, a telephone number, ...: other rows of digits and marks stay
possible, but need better ink.
"""

import re

_INTEGER_OR_DECIMAL = r"-?\d*[.,]?\d+"
_THOUSANDS = r"\d{1,3}(,\d{3})+(\.\d+)?|\d{1,3}(\.\d{3})+(,\d+)?"
_TIME = r"([01]?\d|2[0-4])(:[0-5]\d){1,2}"
_DATE = r"\d{1,4}(?P<mark>[./-])\d{1,2}(?P=mark)\d{1,4}"
_TELEPHONE = r"(?=(\D*\d){4})\d+(-\d+)+"  # at least four digits
_FRACTION = r"\d{1,3}/\d{1,3}"

# Patterns with the penalty of the texts that they match, in nats; the first that matches counts. The penalties were
# chosen from a few on development numbers of other people.
FORMATS = (
    (re.compile("|".join((_INTEGER_OR_DECIMAL, _THOUSANDS, _TIME, _DATE, _TELEPHONE, _FRACTION))), 0.0),
    (re.compile(rf"\d+(\.\d+)?(,\d+(\.\d+)?)+|\d+:\d+|(\d+|{_THOUSANDS})[.,]-{{1,2}}"), 1.0),  # list, ratio, price
    (re.compile(rf"({_INTEGER_OR_DECIMAL}|{_TIME})[.,:-]"), 2.0),  # the end of a sentence, or text that goes on
)
NO_FORMAT = 3.0  # the penalty of any other text
COUNTING, FEWEST_COUNTED = "01234567890", 4
COUNTS = 0.6  # nats a digit in favour of digits that count up or down; each digit more is chance ten times less often


def format_penalty(text: str) -> float:
    """Return how many nats less likely a text is than one in a usual format: 0 for 15:30, 3 for 15.:30.

    Who tries a pen writes 12345 or 9876543210, far more often than chance would: such a text has -0.6 a digit.
    """
    if len(text) >= FEWEST_COUNTED and (text in COUNTING or text[::-1] in COUNTING):
        return -COUNTS * len(text)
    return next((penalty for pattern, penalty in FORMATS if pattern.fullmatch(text)), NO_FORMAT)
