import base64

import cv2
import numpy as np
import pytest

from digit_utils.datasets.samples import sample_digits
from tests.support.pictures import picture_of

from .hand import Pad

pytestmark = pytest.mark.browser

COPY = """async data => {
    const bytes = Uint8Array.from(atob(data), character => character.charCodeAt(0));
    await navigator.clipboard.write([new ClipboardItem({ "image/png": new Blob([bytes], { type: "image/png" }) })]);
}"""
LINKED = "element => element.closest('.jp-LinkedOutputView') ? 'Linked' : ''"
SAMPLES = {sample.digit: sample.strokes for sample in sample_digits(side=1.0)}


@pytest.fixture(scope="module")
def notebook(chromium, jupyterlab):
    """The notebook with two pads, opened and run."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(jupyterlab)
    page.locator(".jp-Notebook .jp-CodeCell").first.wait_for(timeout=60_000)
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=60_000)
    choose(page, "Run", "Run All Cells")
    Pad(page, index=1).canvas.wait_for(timeout=60_000)
    page.wait_for_timeout(500)
    yield page
    context.close()


def choose(page, menu: str, item: str) -> None:
    page.get_by_role("menuitem", name=menu, exact=True).click()
    page.locator(".lm-Menu-item").filter(has=page.get_by_text(item, exact=True)).first.click()


def shown(page, index) -> Pad:
    pad = Pad(page, index=index)
    pad.canvas.scroll_into_view_if_needed()
    page.wait_for_timeout(200)
    return pad


@pytest.mark.slow
def test_ten_people_write_in_jupyterlab_and_are_read(notebook, peoples_digits, recognizer, artifacts):
    pad = shown(notebook, 0)
    right = 0
    for digit, strokes in peoples_digits:
        pad.draw_by_mouse(strokes)
        expected = recognizer.recognize(strokes).digit
        assert pad.reads("?" if expected is None else str(expected)), f"a written {digit}"
        right += expected == digit
        pad.clear()
    assert right >= 9
    pad.draw_by_mouse(SAMPLES[7])
    assert pad.answer() == "7"
    notebook.screenshot(path=artifacts / "jupyterlab.png")


def test_a_second_pad_keeps_to_itself(notebook):
    first = shown(notebook, 0)
    first.clear()
    first.draw_by_mouse(SAMPLES[3])
    assert first.answer() == "3"
    ink = first.ink()
    second = shown(notebook, 1)
    second.draw_by_mouse(SAMPLES[6])
    assert second.answer() == "6"
    assert second.ink().any()
    assert first.mark.inner_text().strip() == "3"
    np.testing.assert_array_equal(first.ink(), ink)


def test_a_picture_in_the_clipboard_is_pasted_on_the_pad_that_has_the_focus(notebook):
    pad, other = shown(notebook, 0), Pad(notebook, index=1)
    pad.clear()
    before = other.caption.inner_text()
    notebook.context.grant_permissions(["clipboard-read", "clipboard-write"])
    picture = cv2.imencode(".png", picture_of(("2026", 100, 80), ("47", 150, 400))[..., ::-1])[1].tobytes()
    cells = notebook.locator(".jp-Notebook .jp-Cell").count()
    notebook.evaluate(COPY, base64.b64encode(picture).decode())
    pad.canvas.focus()
    notebook.keyboard.press("Control+v")
    wait = "([element, text]) => element.innerText.includes(text)"
    notebook.wait_for_function(wait, arg=[pad.caption.element_handle(), "2 numbers: 2026, 47"])
    assert other.caption.inner_text() == before
    assert notebook.locator(".jp-Notebook .jp-Cell").count() == cells
    pad.clear()


def test_undo_by_key_stays_within_the_pad(notebook):
    pad = shown(notebook, 0)
    pad.clear()
    cells = notebook.locator(".jp-Notebook .jp-Cell").count()
    pad.draw_by_mouse(SAMPLES[1])
    assert pad.answer() == "1"
    notebook.keyboard.press("Control+z")
    assert pad.answer() == ""
    assert not pad.ink().any()
    assert notebook.locator(".jp-Notebook .jp-Cell").count() == cells


def test_the_right_button_draws_nothing_and_the_wheel_scrolls_the_notebook(notebook):
    pad = shown(notebook, 0)
    pad.clear()
    mouse, box = notebook.mouse, pad.canvas.bounding_box()
    for button in ("right", "middle"):
        mouse.move(box["x"] + 100, box["y"] + 100)
        mouse.down(button=button)
        mouse.move(box["x"] + 200, box["y"] + 200, steps=4)
        mouse.up(button=button)
        notebook.keyboard.press("Escape")  # whatever it has opened
    notebook.wait_for_timeout(300)
    assert not pad.ink().any()
    before = pad.canvas.bounding_box()["y"]
    mouse.move(box["x"] + 100, box["y"] + 100)
    mouse.wheel(0, 100)
    notebook.wait_for_timeout(400)
    assert pad.canvas.bounding_box()["y"] < before


@pytest.mark.slow
def test_two_views_of_one_pad_show_the_same_ink_and_both_draw(notebook):
    pad = shown(notebook, 0)
    pad.clear()
    notebook.locator(".jp-OutputArea-output").first.click(button="right", position={"x": 700, "y": 20})
    notebook.locator(".lm-Menu-item").filter(has=notebook.get_by_text("Create New View for Cell Output")).click()
    notebook.locator(".jp-LinkedOutputView .digit-pad-paper div > canvas").wait_for()
    notebook.wait_for_timeout(1000)
    views = [Pad(notebook, index=index) for index in range(notebook.locator(".digit-pad-paper > canvas").count())]
    first, other = views[0], next(view for view in views[1:] if "Linked" in view.root.evaluate(LINKED))
    first.draw_by_mouse(SAMPLES[1])
    assert first.reads("1")
    assert (first.dry_ink() == other.dry_ink()).all()
    other.draw_by_mouse(SAMPLES[0])
    notebook.wait_for_function("!document.querySelector('[data-wet]')")
    assert (first.dry_ink() == other.dry_ink()).all()
    assert first.dry_ink().sum() > 60_000
    first.clear()
    notebook.wait_for_timeout(300)
    assert not other.ink().any()
    notebook.locator(".lm-TabBar-tab.lm-mod-current .lm-TabBar-tabCloseIcon").last.click()


@pytest.mark.slow
def test_after_a_reload_of_the_page_the_drawing_is_there_and_goes_on(notebook):
    pad = shown(notebook, 0)
    pad.clear()
    pad.draw_by_mouse(SAMPLES[1])
    assert pad.answer() == "1"
    ink = pad.ink()
    choose(notebook, "File", "Save Notebook")
    notebook.wait_for_timeout(1000)
    notebook.reload()
    Pad(notebook, index=1).canvas.wait_for(timeout=60_000)
    notebook.wait_for_timeout(1500)
    pad = shown(notebook, 0)
    assert pad.answer() == "1"
    assert (pad.ink() != ink).mean() < 0.001
    pad.clear()
    pad.draw_by_mouse(SAMPLES[2])
    assert pad.answer() == "2"
    assert pad.ink().any()


@pytest.mark.slow
def test_cells_that_are_run_again_give_new_working_pads(notebook):
    shown(notebook, 0).draw_by_mouse(SAMPLES[0])
    choose(notebook, "Run", "Run All Cells")
    notebook.wait_for_timeout(2500)
    pad = shown(notebook, 0)
    assert pad.answer() == ""
    assert not pad.ink().any()
    pad.draw_by_mouse(SAMPLES[5])
    assert pad.answer() == "5"


@pytest.mark.slow
def test_in_the_dark_theme_the_pad_is_dark_and_the_digit_is_read(notebook, artifacts):
    theme = "JupyterLab Dark"
    notebook.get_by_role("menuitem", name="Settings", exact=True).click()
    notebook.locator(".lm-Menu-item").filter(has=notebook.get_by_text("Theme", exact=True)).first.hover()
    notebook.locator(".lm-Menu-item").filter(has=notebook.get_by_text(theme, exact=True)).first.click()
    notebook.wait_for_function(f"document.body.dataset.jpThemeName === '{theme}'")
    pad = shown(notebook, 0)
    pad.clear()
    pad.draw_by_mouse(SAMPLES[8])
    assert pad.answer() == "8"
    light = "getComputedStyle(element).color.match(/[0-9.]+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0)"
    assert pad.caption.evaluate(f"element => {light}") > 380, "light words on dark"
    notebook.screenshot(path=artifacts / "jupyterlab-dark.png")
