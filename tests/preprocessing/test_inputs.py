"""Images of every usual kind show the same digit, and what cannot be meant is refused with a remedy."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from digit_utils.preprocessing.inputs import ImageInputError, read_image, to_grayscale

SIDE = 60


@pytest.fixture(scope="module")
def drawing() -> np.ndarray:
    """A 7 with dark ink on a light page, (60, 60) uint8; its upper right corner is inked, its lower left one is not."""
    page = np.full((SIDE, SIDE), 250, np.uint8)
    cv2.polylines(page, [np.array([[10, 8], [55, 8], [25, 55]])], False, 20, 5)
    return page


def same_shape_of_ink(found: np.ndarray, drawing: np.ndarray) -> bool:
    """Tell whether two images are inked in the same places, whichever of ink and page is dark."""
    correlation = np.corrcoef(found.ravel().astype(float), drawing.ravel().astype(float))[0, 1]
    return found.dtype == np.uint8 and found.shape == drawing.shape and abs(correlation) > 0.99


def test_every_kind_of_array_shows_the_same_ink(drawing: np.ndarray):
    is_page = drawing > 128
    kinds = {
        "uint8": drawing,
        "one channel": drawing[..., np.newaxis],
        "RGB": np.repeat(drawing[..., np.newaxis], 3, axis=2),
        "uint16": drawing.astype(np.uint16) * 257,
        "float32": (drawing / 255).astype(np.float32),
        "bool": is_page,
        "levels 0 and 1": is_page.astype(np.uint8),
        "int64": drawing.astype(np.int64),
    }
    for name, image in kinds.items():
        assert same_shape_of_ink(to_grayscale(image), drawing), name
    assert np.array_equal(to_grayscale(drawing), drawing)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "I;16", "I", "F"])
def test_every_mode_of_pillow_shows_the_same_ink(mode: str, drawing: np.ndarray):
    image = Image.fromarray(drawing)
    image = (
        Image.fromarray(drawing.astype(np.uint16) * 257)
        if mode == "I;16"
        else image.convert(mode, dither=Image.Dither.NONE)
    )
    assert image.mode == mode
    assert same_shape_of_ink(to_grayscale(image), drawing)


@pytest.mark.parametrize("ink", [0, 255])
def test_transparency_is_laid_on_the_page_on_which_the_ink_shows(ink: int, drawing: np.ndarray, tmp_path: Path):
    layers = np.full((SIDE, SIDE, 4), ink, np.uint8)
    layers[..., 3] = 255 - drawing
    assert same_shape_of_ink(to_grayscale(layers), drawing)
    Image.fromarray(layers).save(tmp_path / "drawing.png")
    assert same_shape_of_ink(to_grayscale(tmp_path / "drawing.png"), drawing)


def test_ink_that_differs_from_the_page_in_colour_alone_is_seen(drawing: np.ndarray):
    red, green = np.array([200, 40, 40]), np.array([30, 118, 60])
    colours = np.where((drawing < 128)[..., np.newaxis], red, green).astype(np.uint8)
    assert np.ptp(cv2.cvtColor(colours, cv2.COLOR_RGB2GRAY)) < 12
    assert same_shape_of_ink(to_grayscale(colours), np.where(drawing < 128, 0, 255))
    assert np.array_equal(to_grayscale(colours[..., ::-1], channels="bgr"), to_grayscale(colours))


def test_faint_noise_of_colours_on_a_blank_page_is_not_made_into_ink():
    rng = np.random.default_rng(0)
    page = rng.integers(236, 244, (SIDE, SIDE, 3), dtype=np.uint8)
    assert np.ptp(to_grayscale(page)) <= 8


def test_a_file_is_turned_upright_by_its_exif(drawing: np.ndarray, tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: a viewer must turn the pixels clockwise by 90 degrees
    path = tmp_path / "photo.jpg"
    Image.fromarray(np.ascontiguousarray(np.rot90(drawing))).save(path, quality=98, exif=exif)
    assert np.abs(to_grayscale(path).astype(int) - drawing).mean() < 4


@pytest.mark.parametrize(
    ("image", "remedy"),
    [
        (np.zeros(784, np.uint8), r"reshape\(28, 28\)"),
        (np.zeros((5, 28, 28), np.uint8), "one image"),
        (np.zeros((5, 28, 28, 1), np.uint8), "one image"),
        (np.zeros((0, 28), np.uint8), "expected"),
        (np.full((28, 28), 255.0), r"scale them to \[0, 1\]"),
        (np.full((28, 28), np.nan), "nan_to_num"),
        (np.full((28, 28), -3), "scale them"),
        (np.zeros((28, 28), complex), "expected uint8"),
    ],
)
def test_what_cannot_be_an_image_is_refused_with_the_remedy(image: np.ndarray, remedy: str):
    with pytest.raises(ImageInputError, match=remedy):
        to_grayscale(image)


def test_other_objects_orders_and_files_are_refused_by_name(drawing: np.ndarray, tmp_path: Path):
    with pytest.raises(TypeError, match="not list"):
        to_grayscale([[0, 1]])
    with pytest.raises(ImageInputError, match="channels is 'grb'; choose 'rgb' or 'bgr'"):
        to_grayscale(drawing, channels="grb")
    with pytest.raises(FileNotFoundError, match=r"there is no image file .*missing\.png"):
        to_grayscale(tmp_path / "missing.png")
    damaged = tmp_path / "damaged.png"
    Image.fromarray(drawing).save(damaged)
    damaged.write_bytes(damaged.read_bytes()[:80])
    with pytest.raises(ImageInputError, match=r"damaged\.png cannot be decoded as an image"):
        to_grayscale(damaged)


def test_a_small_file_that_unpacks_to_gigapixels_is_refused(tmp_path: Path):
    path = tmp_path / "bomb.png"
    Image.new("1", (20_000, 20_000)).save(path)
    assert path.stat().st_size < 100_000
    with pytest.raises(ImageInputError, match=r"has far more than 100,000,000 pixels; make it smaller"):
        read_image(path)
