"""Make the animation at the top of the README: a number, drawn with the mouse on the real page and read there.

    python -m docs.make_animation                         # writes docs/drawing.gif; needs a Chromium
    python -m docs.make_animation --number 42             # another number

`digits draw` serves the page and a headless Chromium opens it. After each step of the pen the script waits until the
page shows the reading of what is drawn so far, then takes a frame. The frames are played at a hand's pace.
"""

import argparse
import io
import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from digit_utils.datasets.samples import sample_digits
from digit_utils.pad.state import smooth_path
from tests.support.page_client import running_page

OUTPUT = Path(__file__).with_name("drawing.gif")
VIEWPORT = {"width": 1120, "height": 800}  # CSS pixels
MARGIN = 8  # CSS pixels around the pad
WIDTH = 720  # pixels of the animation
STEP = 0.08  # of the paper's height, between two frames
SETTLE = 250  # milliseconds from a step of the pen to its frame: a reading takes 100 at most
FRAME, HOLD = 60, 1200  # milliseconds: a frame while the pen moves, and the last one
COLOURS = 64


def main() -> None:
    """Draw a number of sample digits and write the animation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", default="205", help="default: 205")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="default: docs/drawing.gif")
    options = parser.parse_args()
    drawings = {sample.digit: sample.strokes for sample in sample_digits(side=0.6)}
    strokes = [
        evenly_spaced(stroke + np.array([0.2 + 0.55 * place, 0.15]), step=STEP)
        for place, digit in enumerate(options.number)
        for stroke in drawings[int(digit)]
    ]

    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = os.environ.get("DIGITS_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    with running_page() as (_, address), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport=VIEWPORT)
        page.goto(address)
        frames = draw(page, strokes)
        browser.close()
    save(frames, options.output)
    print(f"{options.output}: {len(frames)} frames, {options.output.stat().st_size / 1000:.0f} kB")


def evenly_spaced(stroke: np.ndarray, *, step: float) -> np.ndarray:
    """Return points `step` apart along the smooth path of a stroke, (n, 2), its two ends included."""
    path = smooth_path(stroke)
    along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))])
    places = np.linspace(0, along[-1], max(2, round(along[-1] / step) + 1))
    return np.column_stack([np.interp(places, along, path[:, axis]) for axis in (0, 1)])


def draw(page: Page, strokes: list[np.ndarray]) -> list[Image.Image]:
    """Draw strokes on a sheet as high as the paper, 1, with the mouse; return a picture of the pad after each step."""
    canvas = page.locator(".digit-pad-paper > canvas").first
    canvas.wait_for()
    page.wait_for_timeout(1000)  # until the pad's pictures and bars are laid out
    paper, pad = canvas.bounding_box(), page.locator(".digit-pad").first.bounding_box()
    clip = {"x": pad["x"] - MARGIN, "y": pad["y"] - MARGIN}
    clip |= {"width": pad["width"] + 2 * MARGIN, "height": pad["height"] + 2 * MARGIN}
    frames = [picture(page, clip)]
    for stroke in strokes:
        points = stroke * paper["height"] + [paper["x"], paper["y"]]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point, steps=4)
            page.wait_for_timeout(SETTLE)
            frames.append(picture(page, clip))
        page.mouse.up()
    page.wait_for_timeout(2 * SETTLE)
    return [*frames, picture(page, clip)]


def picture(page: Page, clip: dict[str, float]) -> Image.Image:
    """Return a part of the page, WIDTH pixels wide."""
    seen = Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB")
    return seen.resize((WIDTH, round(seen.height * WIDTH / seen.width)), Image.Resampling.LANCZOS)


def save(frames: list[Image.Image], path: Path) -> None:
    """Write frames as an endless GIF with one palette, taken from the last frame, which has all colours."""
    palette = frames[-1].quantize(COLOURS, dither=Image.Dither.NONE)
    first, *others = (frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames)
    durations = [*[FRAME] * (len(frames) - 1), HOLD]
    first.save(path, save_all=True, append_images=others, duration=durations, loop=0, optimize=True)


if __name__ == "__main__":
    main()
