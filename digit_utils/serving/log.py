"""What the operator of the page sees in the terminal: one line for whatever goes wrong."""

import logging
import traceback

LOUD = ("tornado.application", "tornado.general", "asyncio")  # loggers that print tracebacks, which visitors can cause


class OneLine(logging.Filter):
    """Turns each record into one line without control characters: the error, and where it was raised, if there is one.

    What it says may come from a visitor, and a traceback for each malformed request would hide everything else.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Shorten a record; none is left out."""
        line = record.getMessage().partition("\n")[0]
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if error is not None:
            line += f": {type(error).__name__}: {error}".partition("\n")[0]
            for frame in traceback.extract_tb(error.__traceback__)[-1:]:
                line += f" ({frame.filename}:{frame.lineno})"
        record.msg = "".join(character if character.isprintable() else "?" for character in line)
        record.args = record.exc_info = record.exc_text = None
        return True


def keep_to_one_line(*loggers: logging.Logger) -> None:
    """Shorten what these loggers print, and what the libraries' loud ones do."""
    one_line = OneLine()
    for logger in (*map(logging.getLogger, LOUD), *loggers):
        logger.addFilter(one_line)
