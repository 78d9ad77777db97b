"""The pad where Colab's widgets live: the classic notebook, ipywidgets 7 and ipycanvas 0.13, on Colab's versions."""

import shutil
import subprocess
import time

import numpy as np
import pytest

from digit_utils.datasets.samples import sample_digits
from tests.colab.set_up_cell import ROOT

from .conftest import free_port, wait_for
from .hand import Pad

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.serial]  # the kernel is that of tests/colab

SAMPLES = {sample.digit: sample.strokes for sample in sample_digits(side=1.0)}
NOTEBOOK = "04_draw.ipynb"
NONE_IS_RUNNING = "!document.querySelector('.code_cell.running')"


@pytest.fixture(scope="module")
def classic_notebook(colab_kernel, after_first_cell, tmp_path_factory):
    """Notebook 04 in the classic notebook of Colab's version; its address."""
    folder = tmp_path_factory.mktemp("classic")
    shutil.copy(ROOT / "notebooks" / NOTEBOOK, folder)
    port = free_port()
    options = ["--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", "--port-retries=0"]
    options += ["--NotebookApp.token=", f"--notebook-dir={folder}"]
    with (folder / "server.log").open("wb") as log:
        command = [colab_kernel.python, "-m", "notebook", *options]
        server = subprocess.Popen(command, env=colab_kernel.environment, stdout=log, stderr=log)
    try:
        wait_for(f"http://127.0.0.1:{port}/api", server)
        yield f"http://127.0.0.1:{port}/notebooks/{NOTEBOOK}"
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture(scope="module")
def pad(chromium, classic_notebook):
    """The pad of the notebook, after all its cells have run from the first one on."""
    context = chromium.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    page.goto(classic_notebook)
    page.wait_for_function("window.Jupyter?.notebook?.kernel?.is_connected()", timeout=120_000)
    # The first cells alone, as a reader would: a page that asks a busy kernel which widgets there are loses new ones.
    page.evaluate("Jupyter.notebook.clear_all_output(), Jupyter.notebook.execute_cells([0, 1, 2])")
    page.wait_for_function(NONE_IS_RUNNING, timeout=240_000)
    page.wait_for_timeout(3000)
    page.evaluate("Jupyter.notebook.execute_all_cells()")
    page.wait_for_function(NONE_IS_RUNNING, timeout=240_000)
    pad = Pad(page)
    pad.canvas.wait_for(timeout=60_000)
    pad.canvas.scroll_into_view_if_needed()
    page.wait_for_timeout(3000)  # until the pictures of the cells above have found their height
    yield pad
    context.close()


def test_the_kernel_is_the_one_that_colab_has(after_first_cell):
    versions = after_first_cell.after
    assert versions["notebook"] == "6.5.7"
    assert versions["ipywidgets"] == "7.7.1"
    assert versions["ipycanvas"] == "0.13.3"


def test_no_cell_failed_from_the_first_to_the_last(pad):
    assert pad.page.locator(".output_error").all_inner_texts() == []
    cells = pad.page.locator(".code_cell").filter(has_text="the custom widget manager is on")
    assert cells.count() == 2, "the first one, and the pad's, where anywidget asks for it again"
    assert cells.first.locator("pre", has_text="is ready").inner_text().count("the custom widget manager is on") == 1
    assert cells.last.locator(".digit-pad").count() == 1
    assert cells.last.get_by_text("the custom widget manager is on").count() == 1


@pytest.mark.parametrize("digit", range(10))
def test_a_drawn_digit_is_read(pad, digit, artifacts):
    pad.clear()
    pad.draw_by_mouse(SAMPLES[digit])
    end = time.monotonic() + 30  # a busy machine shows what half a digit looked like for a while
    while pad.answer() != str(digit) and time.monotonic() < end:
        pass
    assert pad.answer() == str(digit)
    assert pad.ink().any()
    pad.page.screenshot(path=artifacts / "classic-notebook.png")  # the last one is kept


def test_undo_takes_the_ink_back(pad):
    pad.clear()
    pad.draw_by_mouse(SAMPLES[1][:1])
    pad.answer()
    before = pad.ink()
    pad.draw_by_mouse([np.array([[0.1, 0.1], [0.3, 0.1]])])
    pad.answer()
    assert pad.ink().sum() > before.sum()
    pad.button("Undo").click()
    pad.answer()
    assert (pad.ink() != before).mean() < 0.001  # drawn anew in one piece, its edge may differ
