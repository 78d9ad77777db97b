"""Pictures on the drawing page, in a real browser: opened, pasted, dropped, framed by a drag, tapped and corrected."""

import base64

import cv2
import numpy as np
import pytest

from tests.support.pictures import SAMPLES, picture_of

from .hand import BLANK
from .test_drawing_page import DESKTOP, PHONE, opened

pytestmark = pytest.mark.browser

# Give the page a file as the browser does after a paste or a drop, which no driver can make.
GIVE = """([kind, data, type]) => {
    const bytes = Uint8Array.from(atob(data), character => character.charCodeAt(0));
    const files = new DataTransfer();
    files.items.add(new File([bytes], "photo", { type }));
    const target = kind === "paste" ? document.body : document.querySelector(".digit-pad-paper");
    for (const name of kind === "paste" ? ["paste"] : ["dragover", "drop"]) {
        const about = { bubbles: true, cancelable: true };
        const event = name === "paste" ? new ClipboardEvent(name, { ...about, clipboardData: files })
                                       : new DragEvent(name, { ...about, dataTransfer: files });
        target.dispatchEvent(event);
        if (!event.defaultPrevented) throw new Error(`nobody took the ${name}`);
    }
}"""


def photo(width=3000) -> bytes:
    """Return a JPEG of a noisy page with 2026 above 47, far larger than what the page may send."""
    page = cv2.resize(picture_of(("2026", 100, 80), ("47", 150, 400)), (width, round(0.7 * width)))[..., ::-1]
    noisy = (page + np.random.default_rng(0).normal(0, 8, page.shape)).clip(0, 255).astype(np.uint8)
    file = cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    assert len(file) > 1_000_000
    return file


CORNERS = (60, 340), (420, 560)


def places(pad, *points: tuple[float, float]) -> np.ndarray:
    """Return where places of the picture of 1000 x 700 lie on a sheet as high as the paper, 1."""
    paper = pad.root.locator(".digit-pad-paper").bounding_box()
    size = np.array([paper["width"], paper["height"]])
    scale = (size / [1000, 700]).min()  # fitted to the paper, in the middle
    return ((size - scale * np.array([1000, 700])) / 2 + scale * np.array(points)) / pad.canvas.bounding_box()["height"]


def show(pad, way: str, file: bytes, kind: str = "image/jpeg") -> None:
    if way == "button":
        with pad.page.expect_file_chooser() as chooser:
            pad.button("Open a picture").click()
        chooser.value.set_files({"name": "photo.jpg", "mimeType": kind, "buffer": file})
    else:
        pad.page.evaluate(GIVE, [way, base64.b64encode(file).decode(), kind])


def says(pad, caption: str) -> bool:
    pad.page.wait_for_function(
        "([element, text]) => element.innerText.includes(text)", arg=[pad.caption.element_handle(), caption]
    )
    return True


@pytest.mark.parametrize(
    ("name", "device"), [("desktop", DESKTOP), pytest.param("phone", PHONE, marks=pytest.mark.slow)]
)
def test_a_photo_is_opened_by_button_paste_and_drop_and_its_numbers_are_read(
    chromium, drawing_page, artifacts, name, device
):
    file = photo()
    with opened(chromium, drawing_page, **device) as pad:
        for way in ("button", "paste", "drop"):
            show(pad, way, file)
            assert says(pad, "2 numbers: 2026, 47"), way
            pad.page.screenshot(path=artifacts / f"page-{name}-picture-{way}.png")
            assert pad.root.locator(".digit-pad-boxes text").all_text_contents() == ["2026", "47"]
            pad.clear()
            assert pad.root.locator(".digit-pad-photo img").count() == 0
        assert pad.caption.inner_text().strip() == BLANK


@pytest.mark.parametrize(
    ("name", "device"), [pytest.param("desktop", DESKTOP, marks=pytest.mark.slow), ("phone", PHONE)]
)
def test_a_drag_reads_a_region_and_a_tap_corrects_a_digit(chromium, drawing_page, artifacts, name, device):
    with opened(chromium, drawing_page, **device) as pad:
        draw = pad.draw_by_touch if name == "phone" else pad.draw_by_mouse
        show(pad, "button", photo())
        assert says(pad, "2 numbers: 2026, 47")
        draw([places(pad, (225, 460))])  # a tap on the 4
        assert pad.reads("47")
        pad.button("It is a 9").click()
        assert says(pad, "2 numbers: 2026, 97")
        pad.page.screenshot(path=artifacts / f"page-{name}-picture-corrected.png")
        pad.button("Forget this").click()
        assert says(pad, "2 numbers: 2026, 47")
        draw([np.linspace(*places(pad, *CORNERS), 12)])
        assert says(pad, "This is 47")
        assert not pad.ink().any(), "the frame is gone once the region is read, and it was no ink"
        pad.page.screenshot(path=artifacts / f"page-{name}-picture-region.png")
        pad.button("Undo").click()
        assert says(pad, "2 numbers: 2026, 47")
        pad.clear()
        draw(SAMPLES[5])
        assert pad.answer() == "5", "the paper takes ink again"


def test_while_the_pointer_is_down_a_frame_is_seen_instead_of_ink(chromium, drawing_page, artifacts):
    with opened(chromium, drawing_page, **DESKTOP) as pad:
        show(pad, "button", photo())
        assert says(pad, "2 numbers")
        corners, mouse = places(pad, *CORNERS), pad.page.mouse
        start, stop = pad.on_screen([corners])[0]
        mouse.move(*start)
        mouse.down()
        mouse.move(*stop, steps=8)
        wet = pad.wet_ink()
        pad.page.screenshot(path=artifacts / "page-desktop-picture-drag.png")
        mouse.up()
    (left, top), (right, bottom) = np.round(corners * wet.shape[0]).astype(int)
    assert wet[top - 4 : top + 5, left:right].mean() > 0.4
    assert wet[top:bottom, left - 4 : left + 5].mean() > 0.4
    assert not wet[top + 20 : bottom - 20, left + 20 : right - 20].any()


def test_what_the_browser_cannot_decode_is_one_sentence(chromium, drawing_page):
    with opened(chromium, drawing_page, **DESKTOP) as pad:
        show(pad, "drop", b"%PDF-1.7 no picture", "application/pdf")
        assert says(pad, "The picture cannot be decoded as an image; save it as PNG or JPEG and try again.")
        pad.draw_by_mouse(SAMPLES[5])
        assert pad.answer() == "5"
