"""A real Chromium, the drawing page and JupyterLab, and real people's digits to draw with."""

import contextlib
import importlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
import numpy as np
import pytest

from tests.support.page_client import running_page
from tests.support.skipping import skip_without

ROOT = Path(__file__).parents[2]
ARTIFACTS = ROOT / "test-artifacts"
FLAGS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
TABLET = 500.0  # side of the tablet that pendigits was written on, in its own units


@pytest.fixture(scope="package")
def chromium():
    """A running Chromium: DIGITS_CHROMIUM, the system's, or Playwright's own.

    It ends with this folder's tests: while it lives, Playwright's event loop runs, and no other can.
    """
    find = importlib.import_module if os.environ.get("CI") else pytest.importorskip
    sync_api = find("playwright.sync_api")
    names = ("chromium", "chromium-browser", "google-chrome")
    path = os.environ.get("DIGITS_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    with sync_api.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        except sync_api.Error as error:
            reason = str(error).splitlines()[0]
            skip_without(f"no Chromium ({reason}); install one, set DIGITS_CHROMIUM, or: playwright install chromium")
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def artifacts() -> Path:
    """A folder, ignored by git, that keeps the screenshots."""
    ARTIFACTS.mkdir(exist_ok=True)
    return ARTIFACTS


@pytest.fixture(scope="session")
def peoples_digits(pendigits) -> list[tuple[int, list[np.ndarray]]]:
    """0 to 9 by ten people who wrote nothing that the network learnt from: (digit, strokes on a sheet of side 1).

    Each stands where its writer put it on the tablet, in the size in which it was written.
    """
    test = pendigits.test
    writers = np.unique(test.writers)
    digits = []
    for digit in range(10):
        index = np.flatnonzero((test.labels == digit) & (test.writers == writers[digit]))[0]
        digits.append((digit, [stroke / TABLET for stroke in test.strokes[index]]))
    return digits


@pytest.fixture(scope="session")
def drawing_page() -> Iterator[str]:
    """`digits draw`, running; its address."""
    with running_page() as (_, address):
        yield address


@pytest.fixture(scope="session")
def jupyterlab(tmp_path_factory) -> Iterator[str]:
    """JupyterLab in a folder with one notebook, pads.ipynb, of two pads; the notebook's address."""
    folder = tmp_path_factory.mktemp("lab")
    cells = [
        "from digit_utils.pad.widget import DigitPad\n\npad = DigitPad()\npad",
        "second = DigitPad(pad._recognizer, size=250)\nsecond",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, folder / "pads.ipynb")
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", *_lab_options(folder, port)],
        env={**os.environ, **_lab_environment(folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/api", server)
        yield f"http://127.0.0.1:{port}/lab/tree/pads.ipynb"
    finally:
        server.terminate()
        server.wait(20)


def _lab_options(folder: Path, port: int) -> list[str]:
    return [
        "--no-browser",
        "--allow-root",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        "--IdentityProvider.token=",
        f"--ServerApp.root_dir={folder}",
        "--LabApp.news_url=",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]


def _lab_environment(folder: Path) -> dict[str, str]:
    """Keep JupyterLab away from the user's settings, and from asking about news."""
    settings = folder / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(json.dumps({"fetchNews": "false"}))
    return {
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
    }


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(address: str, server: subprocess.Popen, *, seconds: float = 60) -> None:
    """Wait until a server answers; fail when it ends or takes too long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert server.poll() is None, f"the server for {address} ended by itself"
        with contextlib.suppress(OSError):
            urllib.request.urlopen(address, timeout=5).close()
            return
        time.sleep(0.1)
    pytest.fail(f"nobody answered at {address} within {seconds:.0f} s")
