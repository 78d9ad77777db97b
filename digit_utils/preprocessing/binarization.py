"""Binarization: separates ink from page in an image, whatever the illumination, the noise and the polarity.

Clean images, which are canvases and scans, have a page of one grey level. Photos do not: see `illumination.py`.
"""

import cv2
import numpy as np

from digit_utils.preprocessing.components import (
    FAINTEST_CONTRAST,
    LARGE,
    deviation_of_page,
    has_blob,
    page_is_light,
    small_copy,
    two_levels,
    without_frame,
    without_haze,
    without_specks,
)
from digit_utils.preprocessing.illumination import ink_of_photo
from digit_utils.preprocessing.page_detection import (
    Page,
    covered_edge,
    find_pages,
    is_photo_of,
    may_contain_page,
    page_alone,
    without_edge,
)

CLEAN_PAGE = 0.3  # share of the pixels that have the most frequent level: more only if nothing was photographed
SOFT_EDGES = 0.15  # share of the pixels of a clean image that may be closer to the page than to the ink
MARGIN = 8  # pixels around the ink: enough to see that the page is uniform
NOISE_LIMIT = 6  # standard deviations of a page's noise that no noise reaches
SMALLEST_WITH_SHADOW = 32  # pixels, shorter side; in smaller clean images a bold digit is as broad as a shadow
MOST_PAGE_BESIDE_SHADOW = 0.75  # share of the pixels; a shadow leaves less of the page's level than strokes do
ALONG_EDGE = 0.6  # share of a page's edge that false ink from a desk follows
TWO_LEVELS = 0.78  # share of the variance that two levels explain; of uniform noise they explain 0.75

SOFTENED, SMALLEST_WINDOW, LOCAL = 0.7, 15, 0.2  # pixels; pixels; of the shorter side, the window of a local threshold
LEAST_DEVIATION = 20  # grey levels; on an even page noise is no ink

NARROWEST_PHOTO, FEWEST_PIXELS = 6, 200  # in smaller images the illumination cannot be estimated


def find_ink(image: np.ndarray) -> np.ndarray | None:
    """Return how much ink each pixel of an image holds.

    Args:
        image: (height, width) uint8, sides up to `LARGEST_IMAGE`; dark ink on a light page or light on dark.

    Returns:
        (height, width) float32 in [0, 1], None for a blank page. A small photo comes back enlarged.
    """
    histogram = cv2.calcHist([image], [0], None, [256], [0, 256]).ravel()
    if not may_contain_page(image, histogram):
        return _ink_of_page(image, histogram)
    found = find_pages(image)
    ink = _ink_of_pages(image, found, nested=2)  # on a desk, and a box on it
    if ink is None:
        ink = _ink_of_page(image, histogram)
        if ink is not None and any(_is_empty(page, image, ink) for page in found):
            return None
    return ink


def ink_by_local_threshold(image: np.ndarray, *, sensitivity: float) -> np.ndarray:
    """Return the ink of a photo, (height, width) float32, 0 or 1, by the threshold of Sauvola and Pietikainen (2000).

    sensitivity: their k; the higher, the more a stroke must stand out where the page is even. The contrast that they
    take as the highest of all images is that of this image, so that pencil is ink.
    """
    window = max(SMALLEST_WINDOW, int(LOCAL * min(image.shape))) | 1
    levels = cv2.GaussianBlur(image.astype(np.float32), (0, 0), SOFTENED)
    relief = levels - cv2.blur(levels, (window, window), borderType=cv2.BORDER_REFLECT)
    if float((relief**3).mean()) > 0:  # strokes are few and stand out: here they are lighter than the page around them
        levels = 255 - levels
    mean = cv2.blur(levels, (window, window), borderType=cv2.BORDER_REFLECT)
    squares = cv2.blur(levels * levels, (window, window), borderType=cv2.BORDER_REFLECT)
    deviation = np.sqrt(np.maximum(squares - mean * mean, 0))
    threshold = mean * (1 + sensitivity * (deviation / max(float(deviation.max()), LEAST_DEVIATION) - 1))
    return (levels < threshold).astype(np.float32)


def is_clean(image: np.ndarray) -> bool:
    """Return whether an image, (height, width) uint8, is a canvas or a scan: its page has one grey level."""
    return _is_clean(cv2.calcHist([image], [0], None, [256], [0, 256]).ravel())


def _ink_of_pages(image: np.ndarray, found: list[Page], *, nested: int) -> np.ndarray | None:
    """Return the ink of the first page in an image that has any, the size of the image; None without one.

    Pages are sought within a page again, up to `nested` levels in all. A page without ink does not count: the light
    half of a page with a shadow may look like one, while the digit is in the other half.
    """
    for page in found:
        left, top, width, height = cv2.boundingRect(page.inside)
        part = slice(top, top + height), slice(left, left + width)
        alone = page_alone(image, page)[part]
        histogram = cv2.calcHist([alone], [0], None, [256], [0, 256]).ravel()
        ink = None
        if nested > 1 and may_contain_page(alone, histogram):
            ink = _ink_of_pages(alone, find_pages(alone), nested=nested - 1)
        ink = _ink_of_page(alone, histogram) if ink is None else ink
        if ink is not None and without_edge(ink, page.inside[part]).any():
            whole = np.zeros(image.shape, np.float32)
            whole[part] = ink
            return whole
    return None


def _is_empty(page: Page, image: np.ndarray, ink: np.ndarray) -> bool:
    """Return whether a photo shows an empty page on a desk: the only ink found is along its edge.

    A digit that crosses the edge of a shadow touches it as well, but does not follow it.
    """
    return is_photo_of(page, image) and covered_edge(page, ink) > ALONG_EDGE


def _ink_of_page(image: np.ndarray, histogram: np.ndarray) -> np.ndarray | None:
    """Return the ink of an image that is a page from edge to edge, None for a blank one."""
    tiny = min(image.shape) < NARROWEST_PHOTO or image.size < FEWEST_PIXELS
    if tiny or (_is_clean(histogram) and not _has_shadow(image, histogram)):
        return _ink_of_clean_image(image, histogram)
    return ink_of_photo(image)


def _is_clean(histogram: np.ndarray) -> bool:
    """Return from its histogram whether an image is a canvas or a scan: one level is its page, few pixels are near it.

    Soft edges have as many levels near the page as near the ink; uneven illumination in an overexposed photo does not.
    """
    page, total = int(histogram.argmax()), histogram.sum()
    distance = np.abs(np.arange(256) - page)
    half = distance[np.flatnonzero(histogram)].max() / 2
    near, far = (
        histogram[(distance > 0) & (distance < half)].sum(),
        histogram[(distance > 0) & (distance >= half)].sum(),
    )
    return bool(histogram[page] > CLEAN_PAGE * total and near <= max(SOFT_EDGES * total, 1.5 * far))


def _has_shadow(image: np.ndarray, histogram: np.ndarray) -> bool:
    """Return whether an image with the levels of a clean one has a shadow on it, as photos without noise may."""
    if min(image.shape) < SMALLEST_WITH_SHADOW or histogram.max() > MOST_PAGE_BESIDE_SHADOW * image.size:
        return False
    distance = np.abs(np.arange(256) - int(histogram.argmax()))
    far = distance >= distance[np.flatnonzero(histogram)].max() / 2
    return has_blob(small_copy(cv2.LUT(image, far.astype(np.uint8)), cv2.INTER_NEAREST))


# ------------------------------------------------------------------------------------------------ clean images


def _ink_of_clean_image(image: np.ndarray, histogram: np.ndarray) -> np.ndarray | None:
    """Return the ink of a canvas or a scan, None for a blank one."""
    page = _clean_page(image, histogram)
    if min(image.shape) < LARGE:
        contrast = _contrast_to_page(page, image)
        return None if _is_blank(contrast) else without_specks(_ink_by_levels(contrast))
    written, contrast = _written_part(page, image)
    if _is_blank(cv2.blur(contrast, (3, 3))):
        return None
    ink = np.zeros(image.shape, np.float32)
    ink[written] = without_haze(without_specks(_ink_by_levels(contrast)))
    return ink


def _clean_page(image: np.ndarray, histogram: np.ndarray) -> tuple[int, bool]:
    """Return the median grey level of a uniform page, and whether it is lighter than the ink."""
    threshold, light_page = page_is_light(image)
    page = np.arange(256) > threshold
    amounts = np.cumsum(np.where(page if light_page else ~page, histogram, 0))
    return int(np.searchsorted(amounts, amounts[-1] / 2)), light_page


def _contrast_to_page(page: tuple[int, bool], image: np.ndarray) -> np.ndarray:
    """Return the contrast of each pixel to a uniform page, positive for ink: (height, width) float32 grey levels."""
    level, light_page = page
    difference = image.astype(np.float32)
    difference -= level
    return np.negative(difference, out=difference) if light_page else difference


def _written_part(page: tuple[int, bool], image: np.ndarray) -> tuple[tuple[slice, slice], np.ndarray]:
    """Return the rows and columns outside of which a page is perfectly uniform, and the contrast within them.

    The empty part of a canvas need not be searched, and there is a frame only if something reaches an edge.
    """
    part = _part_with_margin(cv2.compare(image, page[0], cv2.CMP_NE))
    if all(side.start > 0 and side.stop < length for side, length in zip(part, image.shape, strict=True)):
        return part, _contrast_to_page(page, image[part])
    contrast = without_frame(_contrast_to_page(page, image))
    part = _part_with_margin((contrast != 0).astype(np.uint8))
    return part, contrast[part]


def _part_with_margin(mask: np.ndarray) -> tuple[slice, slice]:
    """Return the rows and columns of a uint8 mask that are not empty, with a margin."""
    left, top, width, height = cv2.boundingRect(mask)
    starts, ends = (top - MARGIN, left - MARGIN), (top + height + MARGIN, left + width + MARGIN)
    rows, columns = (slice(max(0, start), end) for start, end in zip(starts, ends, strict=True))
    return rows, columns


def _is_blank(contrast: np.ndarray) -> bool:
    """Return whether no ink stands out from the noise, neither by its level nor as one of two levels (Otsu, 1979)."""
    strongest = float(contrast.max())
    if strongest < FAINTEST_CONTRAST:
        return True
    if strongest >= NOISE_LIMIT * deviation_of_page(contrast, below=0.4 * strongest):
        return False
    return two_levels(contrast, contrast > 0.4 * strongest)[0] < TWO_LEVELS


def _ink_by_levels(contrast: np.ndarray) -> np.ndarray:
    """Return ink in proportion to the contrast, for clean images and for those with few pixels."""
    half = 0.4 * float(contrast.max())
    full = _percentile_of_levels(contrast[contrast > half], 95)
    noise = 3 * deviation_of_page(contrast, below=half)  # 0 on clean canvases
    ink = np.clip((contrast - noise) / max(full - noise, 1), 0, 1)
    return without_haze(ink) if noise else ink


def _percentile_of_levels(levels: np.ndarray, percent: float) -> float:
    """Return `np.percentile` of integers from 0 to 255, but faster."""
    amounts = np.cumsum(np.bincount(levels.astype(np.uint8)))
    place = percent / 100 * (len(levels) - 1)
    low, high = np.searchsorted(amounts, [np.floor(place), np.ceil(place)], side="right")
    return float(low + (high - low) * (place % 1))
