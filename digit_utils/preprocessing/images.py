"""Images (scans, canvases, photos of paper) become normalised ink."""

import cv2
import numpy as np

from digit_utils.preprocessing.binarization import find_ink, ink_by_local_threshold, is_clean
from digit_utils.preprocessing.components import (
    LARGE,
    LARGEST_IMAGE,
    crop_to_ink,
    edges_of,
    ink_box,
    pen_width_of,
    without_neighbours,
)
from digit_utils.preprocessing.strokes import BOX_SIZE, CENTRE, blank_ink, centre_of_mass, ink_from_strokes
from digit_utils.types import IMAGE_SIZE

PEN_WIDTH_RANGE = (1.5, 4.5)  # pixels at BOX_SIZE scale; pens outside are thickened or thinned
SMALL_DIGIT = 128  # pixels; a smaller digit in a large image is binarized again at a higher resolution
SMALLEST_CROP = 48  # pixels, shorter side; in smaller images nothing at an edge is taken for a frame
MOST_OF_EDGE = 0.7  # share of an edge that a digit cropped to its ink covers; frames and desks cover more
FAINT = 0.1  # of full ink; as much is the outermost part of a soft stroke
MOSTLY_AT_EDGE = 0.9  # share of its ink that is connected to an edge; beside the rest of a grid line there is a digit
SENSITIVITIES = 0.15, 0.2, 0.3, 0.4  # of Sauvola's threshold; two of them read fewer cheques of other people
BESIDE_INK = 3  # pixels of the shrunk image; what is farther from its ink is not ink at the higher resolution either


def ink_from_image(image: np.ndarray) -> np.ndarray:
    """Find the ink in an image (a scan, a canvas, a photo of paper) and normalise it as MNIST's digits are.

    Whether the ink is light or dark is found from the image: the page is what covers the border. Uneven illumination
    is evened out, dust removed, and very thin or thick pens are brought into the range of MNIST's pens.

    Args:
        image: (height, width) uint8, any size from 1x1.

    Returns:
        (28, 28) float32 in [0, 1], ink 1. All zeros if the image is blank. A digit of MNIST is only
        shifted or scaled, by less than a pixel.

    Raises TypeError or ValueError when the image is not a 2-D uint8 array with at least one pixel.
    """
    _check_image(image)
    image = _with_margin(image)
    ink = find_ink(_shrink_to(image, LARGEST_IMAGE))
    if ink is not None:
        ink = without_neighbours(ink) if min(image.shape) >= LARGE else ink  # small scans are cropped to their digit
        ink = _refine_small_digit(image, ink) if max(image.shape) > LARGEST_IMAGE else ink
    return blank_ink() if ink is None else normalize_ink(ink)


def ink_at_full_size(image: np.ndarray, *, longest: int) -> np.ndarray | None:
    """Find the ink in an image as `ink_from_image` does, but leave it where it is: (height, width) float32 in [0, 1].

    The image is shrunk first where its long side exceeds `longest`. None when the page is blank.
    """
    _check_image(image)
    return find_ink(_shrink_to(image, longest))


def inks_by_local_threshold(image: np.ndarray, *, longest: int) -> list[np.ndarray]:
    """Find the ink in a photo in several ways, each (height, width) float32, 0 or 1; in none if the image is no photo.

    Faint strokes, strokes that touch and the print of a cheque each want another threshold. On a blank page the edge
    of a shadow may be ink. The image is shrunk first where its long side exceeds `longest`.
    """
    _check_image(image)
    image = _shrink_to(image, longest)
    return [] if is_clean(image) else [ink_by_local_threshold(image, sensitivity=each) for each in SENSITIVITIES]


def normalize_ink(ink: np.ndarray) -> np.ndarray:
    """Bring ink, (height, width) float32 in [0, 1] and not all 0, to the size, place and pen of MNIST: (28, 28)."""
    crop = _with_usual_pen(crop_to_ink(ink))
    return ink_from_strokes([[[0, 0]]]) if _is_dot(crop) else _place(crop)


def _check_image(image: np.ndarray) -> None:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        kind = getattr(image, "dtype", type(image).__name__)
        raise TypeError(f"an image must be a numpy array of uint8 (grey levels 0 to 255), not {kind}")
    if image.ndim != 2 or image.size == 0:
        raise ValueError(
            f"an image must be 2-D, (height, width), with at least one pixel; this one has shape {image.shape}. "
            "Convert a colour image to grey first, for example with cv2.cvtColor"
        )


def _with_margin(image: np.ndarray) -> np.ndarray:
    """Return an image that was cropped to its ink with a margin of the page's level; any other image as it is.

    Without a margin, strokes along an edge look like the frame or the desk around a page.
    """
    if min(image.shape) < SMALLEST_CROP or image.min() == image.max():
        return image
    _, bright = cv2.threshold(image, 0, 1, cv2.THRESH_OTSU)
    ink = 1 - bright if np.mean([edge.mean() for edge in edges_of(bright)]) > 0.5 else bright
    page, pen = (int(np.median(image[ink == side])) for side in (0, 1))
    traces = np.abs(image.astype(np.int16) - page) > FAINT * abs(pen - page)
    if not all(trace.any() for trace in edges_of(traces)) or any(edge.mean() >= MOST_OF_EDGE for edge in edges_of(ink)):
        return image
    _, components = cv2.connectedComponents(ink, connectivity=8)
    areas = np.bincount(components.ravel())
    at_edge = np.unique(np.concatenate(edges_of(components)))
    if areas[at_edge[at_edge > 0]].sum() < MOSTLY_AT_EDGE * areas[1:].sum():
        return image
    margin = 1 + max(image.shape) // LARGEST_IMAGE
    return cv2.copyMakeBorder(image, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=page)


def _shrink_to(image: np.ndarray, longest: int) -> np.ndarray:
    """Shrink an image whose long side is longer, by an integer factor first: OpenCV averages whole pixels faster."""
    whole = min(max(image.shape) // longest, min(image.shape))
    if whole > 1:
        image = cv2.resize(image, None, fx=1 / whole, fy=1 / whole, interpolation=cv2.INTER_AREA)
    factor = longest / max(image.shape)
    if factor >= 1:
        return image
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    # Within a factor of two interpolation skips no pixel; only strips a few pixels wide have more to shrink.
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR if factor >= 0.5 else cv2.INTER_AREA)


def _refine_small_digit(image: np.ndarray, ink: np.ndarray) -> np.ndarray | None:
    """Find the ink of a small digit in a large image again, which lost detail when the image was shrunk."""
    box, scale = ink_box(ink), max(image.shape) / max(ink.shape)
    size = max(part.stop - part.start for part in box)
    if size > SMALL_DIGIT:
        return ink
    near = tuple(slice(max(0, int(part.start - size / 2)), int(part.stop + size / 2)) for part in box)
    rows, columns = (slice(int(part.start * scale), int(part.stop * scale)) for part in near)
    closer = find_ink(_shrink_to(image[rows, columns], LARGEST_IMAGE))
    if closer is None:
        return None
    # Lines and shadows are told from strokes by their length: in this crop, they would be ink again.
    seen = cv2.dilate((ink[near] > 0).astype(np.uint8), np.ones((2 * BESIDE_INK + 1, 2 * BESIDE_INK + 1), np.uint8))
    return cv2.copyTo(closer, cv2.resize(seen, closer.shape[::-1], interpolation=cv2.INTER_NEAREST))


def _with_usual_pen(crop: np.ndarray) -> np.ndarray:
    """Thicken or thin a crop of ink so that, at the final size, its pen lies within PEN_WIDTH_RANGE."""
    scale = BOX_SIZE / max(crop.shape)
    width = pen_width_of(crop) * scale
    low, high = PEN_WIDTH_RANGE
    if width < low:
        return crop_to_ink(_thickened(crop, by=(low - width) / scale / 2))
    if width > high:  # never by so much that the thin places of the digit vanish
        return crop_to_ink(_thinned(crop, by=min(width - high, width * 0.5) / scale / 2))
    return crop


def _thickened(ink: np.ndarray, *, by: float) -> np.ndarray:
    """Grow the ink by `by` pixels on each side; the image grows with it."""
    margin = int(np.ceil(by)) + 1
    padded = cv2.copyMakeBorder(ink, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=0)
    distance = cv2.distanceTransform((padded <= 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    return np.maximum(padded, np.clip(by + 0.5 - distance, 0, 1)).astype(np.float32)


def _thinned(ink: np.ndarray, *, by: float) -> np.ndarray:
    """Shrink the ink by `by` pixels on each side."""
    padded = cv2.copyMakeBorder(ink, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    distance = cv2.distanceTransform((padded > 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    return np.minimum(padded, np.clip(distance - by + 0.5, 0, 1)).astype(np.float32)


def _is_dot(crop: np.ndarray) -> bool:
    """Return whether a crop of ink is a filled spot, about as high as wide."""
    return 0.7 < crop.shape[0] / crop.shape[1] < 1.4 and bool(crop.mean() > 0.72)


def _place(crop: np.ndarray) -> np.ndarray:
    """Resize a crop of ink to the 20-pixel box and put its centre of mass at the centre of a 28x28 page."""
    scale = BOX_SIZE / max(crop.shape)
    size = (max(1, round(crop.shape[1] * scale)), max(1, round(crop.shape[0] * scale)))
    if size != crop.shape[::-1]:
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        crop = np.clip(cv2.resize(crop, size, interpolation=how), 0, 1)
    # Whole pixels, as in MNIST: a fraction would blur the ink.
    corner = np.floor(CENTRE - centre_of_mass(crop) + 0.5) if crop.any() else (4, 4)
    left, top = (min(max(int(at), 0), IMAGE_SIZE - side) for at, side in zip(corner, size, strict=True))
    page = blank_ink()
    page[top : top + size[1], left : left + size[0]] = crop
    return page
