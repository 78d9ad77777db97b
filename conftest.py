"""What concerns every test, the notebooks' too: Ctrl-C can be sent, and committed outputs are compared on real data."""

import functools
import os
import signal

import pytest

from digit_utils.datasets.base import DatasetUnavailable
from digit_utils.datasets.loading import load_dataset

NEEDED = ("mnist", "pendigits")
NEED_NO_DATA = ("04_draw.ipynb", "06_sweep.ipynb")
SLOW_NOTEBOOKS = ("02_train.ipynb", "03_evaluate.ipynb", "05_look_inside.ipynb", "06_sweep.ipynb")


def pytest_configure() -> None:
    """Listen to Ctrl-C in the background as well, and so let every process that a test starts listen to it.

    A shell makes what it runs in the background ignore SIGINT, and child processes inherit that: the tests that
    interrupt a training, a sweep or the page would wait in vain.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)  # before pytest deselects by its marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave to `make test-all` what takes minutes; small runs of the same notebooks, by papermill, are fast."""
    for item in items:
        if item.path.name in SLOW_NOTEBOOKS:
            item.add_marker(pytest.mark.slow)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip the notebooks' committed outputs where the data behind them cannot be had; in CI that is an error.

    tests/system/test_notebooks.py still runs the notebooks then, on the digits that scikit-learn carries.
    """
    if item.path.suffix == ".ipynb" and item.path.name not in NEED_NO_DATA and (reason := missing_data()):
        if os.environ.get("CI"):
            pytest.fail(f"CI needs the real data: {reason}")
        pytest.skip(f"its outputs come from other data: {reason}")


@functools.cache
def missing_data() -> str | None:
    """Return why the data behind the notebooks' outputs cannot be had, or None when they are here."""
    try:
        for name in NEEDED:
            load_dataset(name)
    except DatasetUnavailable as error:
        return str(error)
    return None
