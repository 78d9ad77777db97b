"""Tests that need what not everybody has: data, a browser."""

import os
from typing import Never

import pytest


def skip_without(what: str) -> Never:
    """Skip a test, saying what is lacking; in CI, where nothing that matters is skipped, fail."""
    if os.environ.get("CI"):
        pytest.fail(f"CI skips no test: {what}")
    pytest.skip(what)
