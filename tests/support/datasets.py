"""Data that only those who have it can test with."""

import os
from typing import Never

import pytest


def skip_without(what: str) -> Never:
    """Skip a test for lack of data; in CI, where nothing that matters is skipped, fail."""
    if os.environ.get("CI"):
        pytest.fail(f"CI needs the real data: {what}")
    pytest.skip(what)
