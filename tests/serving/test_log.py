"""What the operator sees of an error that a visitor has caused."""

import logging

import pytest

from digit_utils.serving.log import LOUD, keep_to_one_line


@pytest.fixture
def logger():
    """A logger whose records are kept to one line."""
    logger = logging.Logger("page")
    keep_to_one_line(logger)
    yield logger
    for name in LOUD:
        logging.getLogger(name).filters.clear()


@pytest.mark.parametrize("name", ["page", *LOUD])
def test_an_error_is_one_line_that_says_what_happened_and_where(logger, name, capsys):
    logger = logger if name == "page" else logging.getLogger(name)
    handler = logging.StreamHandler()
    logger.addHandler(handler)
    try:
        raise ValueError("no\nsuch port")
    except ValueError:
        logger.error("Uncaught exception %s\n%r", "GET /", "the request", exc_info=True)
    finally:
        logger.removeHandler(handler)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("Uncaught exception GET /: ValueError: no (")
    assert "test_log.py:" in line


def test_a_visitor_sends_no_control_characters_to_the_terminal(logger, capsys):
    logger.addHandler(logging.StreamHandler())
    logger.warning("blocked %s", "\x1b[2J\rhello")
    assert capsys.readouterr().err == "blocked ?[2J?hello\n"
