"""Images as people have them: files, PIL images and arrays of any usual kind become one grayscale array."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

import cv2
import numpy as np

from digit_utils.files import with_home

if TYPE_CHECKING:
    from PIL.Image import Image

    ImageInput = np.ndarray | Image | str | os.PathLike[str] | bytes

MAX_PIXELS = 100_000_000  # of a file: a phone's largest photo; a small file may claim to unpack to far more
LEAST_CONTRAST = 24  # gray levels; a page with less is as good as blank
CLEAR_CONTRAST = 48  # gray levels between ink and page from which on brightness alone will do
COLOUR_GAIN = 2.0  # below that, colours must differ by so many times what brightness does to be used instead
SAMPLE_SIDE = 256  # pixels a side of the sample that decides on this
CHANNEL_ORDERS = ("rgb", "bgr")


class ImageInputError(ValueError):
    """An image cannot be read or is of no usable kind; the message names the value and the remedy."""


def to_grayscale(image: ImageInput, *, channels: str = "rgb") -> np.ndarray:
    """Return any usual image as gray levels.

    Args:
        image: a path or the bytes of a file (its EXIF orientation is applied), a PIL image, or an array: (height,
            width) or (height, width, 1, 3 or 4) of uint8, uint16, bool, or float in [0, 1]. Arrays of uint8 that hold
            only 0 and 1 are taken for two levels. A fourth channel is opacity: the image is laid on white, or on black
            where white would hide it.
        channels: "rgb", or "bgr" as OpenCV reads files; ignored for files and PIL images.

    Returns:
        (height, width) uint8. Where ink and page differ in colour alone, the gray levels follow the colours' first
        principal component, so that they differ as well.

    Raises:
        ImageInputError: the file cannot be decoded, or the array has another shape, type or range.
        TypeError: `image` is none of these.
        FileNotFoundError: there is no such file.
    """
    if channels not in CHANNEL_ORDERS:
        raise ImageInputError(f"channels is {channels!r}; choose 'rgb' or 'bgr'")
    if isinstance(image, (str, os.PathLike, bytes)):
        image, channels = read_image(image), "rgb"
    elif not isinstance(image, np.ndarray):
        image, channels = _from_pil(image), "rgb"
    levels = _as_uint8(_checked_shape(image))
    if levels.ndim == 2:
        return levels
    if levels.shape[2] == 1:
        return levels[..., 0]
    if levels.shape[2] == 4:
        levels = _without_transparency(levels)
    return _gray_of_colours(levels if channels == "rgb" else levels[..., ::-1])


def read_image(file: str | os.PathLike[str] | bytes, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Return an image file, given by its path or as its bytes, as an array, turned upright by its EXIF orientation.

    Returns:
        (height, width) or (height, width, 3 or 4), uint8 or uint16; colours in the order red, green, blue, opacity.

    Raises:
        ImageInputError: the file cannot be decoded, or its header says that it has more than `max_pixels` pixels.
        FileNotFoundError: there is no such file.
    """
    from PIL import Image, ImageOps

    if isinstance(file, bytes):
        source, name = io.BytesIO(file), "the picture"
    else:
        source = name = with_home(file)
        if not source.is_file():
            raise FileNotFoundError(f"there is no image file {source}")
    try:
        with Image.open(source) as image:
            if image.width * image.height > max_pixels:
                raise ImageInputError(
                    f"{name} has {image.width} x {image.height} pixels; make it smaller than {max_pixels:,} pixels"
                )
            return _from_pil(ImageOps.exif_transpose(image))
    except ImageInputError:
        raise
    except Image.DecompressionBombError as error:  # so many that Pillow itself refuses
        raise ImageInputError(f"{name} has far more than {max_pixels:,} pixels; make it smaller") from error
    except Exception as error:  # Pillow's plug-ins let through whatever a damaged file makes of their decoders
        detail = "" if isinstance(file, bytes) else f" ({error})"  # it would name the bytes' address in memory
        raise ImageInputError(
            f"{name} cannot be decoded as an image{detail}; save it as PNG or JPEG and try again"
        ) from error


def _from_pil(image: Image) -> np.ndarray:
    """Return a PIL image as an array of gray levels, of RGB or of RGBA."""
    from PIL import Image

    if not isinstance(image, Image.Image):
        raise TypeError(
            f"an image must be a NumPy array, a PIL image or a path, not {type(image).__name__}; "
            "convert it with numpy.asarray first"
        )
    if image.mode in ("I;16", "I;16B", "I;16L", "I;16N"):
        return np.asarray(image).astype(np.uint16)
    if image.mode in ("I", "F"):  # 32 bits: whatever program wrote them, only the range of their values says the scale
        values = np.asarray(image, np.float64)
        low, high = values.min(), values.max()
        return np.round((values - low) / max(high - low, 1e-12) * 65535).astype(np.uint16)
    if image.mode == "1":
        return np.asarray(image.convert("L"))
    if "transparency" in image.info or image.mode in ("LA", "PA", "La", "RGBa"):
        image = image.convert("RGBA")
    return np.asarray(image if image.mode in ("L", "RGB", "RGBA") else image.convert("RGB"))


def _checked_shape(image: np.ndarray) -> np.ndarray:
    shape = image.shape
    if image.ndim == 1 and image.size == 784:
        raise ImageInputError(f"the array has shape {shape}; a flattened image needs its rows back: .reshape(28, 28)")
    if image.ndim == 4 or (image.ndim == 3 and shape[2] not in (1, 3, 4)):
        raise ImageInputError(
            f"the array has shape {shape}, which looks like a batch; pass one image, (height, width) or "
            "(height, width, channels), at a time"
        )
    if image.ndim not in (2, 3) or image.size == 0:
        raise ImageInputError(f"the array has shape {shape}; expected (height, width) or (height, width, channels)")
    return image


def _as_uint8(image: np.ndarray) -> np.ndarray:
    """Return values of any usual type as gray levels from 0 to 255."""
    if image.dtype == np.uint8:
        return image * np.uint8(255) if image.max() == 1 else image
    if image.dtype == bool:
        return image.astype(np.uint8) * np.uint8(255)
    if image.dtype == np.uint16:
        return (image >> 8).astype(np.uint8) if image.max() > 255 else image.astype(np.uint8)
    if np.issubdtype(image.dtype, np.floating):
        return _levels_of_floats(image)
    if np.issubdtype(image.dtype, np.integer):
        low, high = int(image.min()), int(image.max())
        if low >= 0 and high <= 255:
            return _as_uint8(image.astype(np.uint8))
        raise ImageInputError(f"the values go from {low} to {high}; scale them to 0..255 and convert to uint8")
    raise ImageInputError(f"the array holds {image.dtype}; expected uint8, uint16, bool, or float in [0, 1]")


def _levels_of_floats(image: np.ndarray) -> np.ndarray:
    if not np.isfinite(image).all():
        raise ImageInputError("the array holds NaN or infinite values; replace them, for example with numpy.nan_to_num")
    low, high = float(image.min()), float(image.max())
    if low < 0 or high > 1:
        raise ImageInputError(
            f"the floats go from {low:g} to {high:g}; scale them to [0, 1], or convert levels of 0..255 to uint8"
        )
    return np.round(image * 255).astype(np.uint8)


def _without_transparency(levels: np.ndarray) -> np.ndarray:
    """Lay an image (height, width, 4) on white, or on black where it would be nearly invisible on white."""
    colours, opacity = levels[..., :3].astype(np.float32), levels[..., 3:].astype(np.float32) / 255
    on_white, on_black = (np.round(colours * opacity + page * (1 - opacity)).astype(np.uint8) for page in (255, 0))
    is_hidden = np.ptp(on_white) < LEAST_CONTRAST <= np.ptp(on_black)
    return on_black if is_hidden else on_white


def _gray_of_colours(colours: np.ndarray) -> np.ndarray:
    """Return the brightness of an image (height, width, 3), or what sets its colours apart where brightness does not.

    The first principal component is the direction in which the colours differ most (Pearson, 1901).
    """
    gray = cv2.cvtColor(np.ascontiguousarray(colours), cv2.COLOR_RGB2GRAY)
    sampled_gray, sampled = (_sample(levels) for levels in (gray, colours))
    brightness = _contrast(sampled_gray)
    if brightness >= CLEAR_CONTRAST:
        return gray
    mean, directions = cv2.PCACompute(sampled.reshape(-1, 3).astype(np.float32), mean=None, maxComponents=1)
    component = (sampled - mean) @ directions[0]
    low, high = component.min(), component.max()
    if high - low < COLOUR_GAIN * max(brightness, LEAST_CONTRAST):
        return gray
    scale = 255 / (high - low)
    if np.sum(component.ravel() * (sampled_gray.ravel() - sampled_gray.mean())) < 0:  # what is darker stays darker
        scale, low = -scale, high
    weights = scale * np.append(directions[0], -low - mean[0] @ directions[0])
    return cv2.transform(np.ascontiguousarray(colours, np.float32), weights[np.newaxis]).clip(0, 255).astype(np.uint8)


def _sample(levels: np.ndarray) -> np.ndarray:
    """Return rows and columns of an image at even steps, some SAMPLE_SIDE of each, without blending any colours."""
    step = max(1, max(levels.shape[:2]) // SAMPLE_SIDE)
    return levels[::step, ::step]


def _contrast(gray: np.ndarray) -> float:
    """Return the range of gray levels without the rarest hundredth at either end."""
    low, high = np.percentile(gray, [1, 99])
    return float(high - low)
