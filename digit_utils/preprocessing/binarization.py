"""Binarization: clean images, canvases and scans, by their levels; photos by the network of `segmentation.py`."""

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
from digit_utils.preprocessing.segmentation import ink_of_photo

CLEAN_PAGE = 0.3  # share of the pixels that have the most frequent level: more only if nothing was photographed
SOFT_EDGES = 0.15  # share of the pixels of a clean image that may be closer to the page than to the ink
MARGIN = 8  # pixels around the ink: enough to see that the page is uniform
NOISE_LIMIT = 6  # standard deviations of a page's noise that no noise reaches
SMALLEST_WITH_SHADOW = 32  # pixels, shorter side; in smaller clean images a bold digit is as broad as a shadow
MOST_PAGE_BESIDE_SHADOW = 0.75  # share of the pixels; a shadow leaves less of the page's level than strokes do
TWO_LEVELS = 0.78  # share of the variance that two levels explain; of uniform noise they explain 0.75
NARROWEST_PHOTO, FEWEST_PIXELS = 6, 200  # in smaller images the illumination cannot be estimated


def find_ink(image: np.ndarray) -> np.ndarray | None:
    """Return how much ink each pixel of an image holds.

    Args:
        image: (height, width) uint8; dark ink on a light page or light on dark.

    Returns:
        (height, width) float32 in [0, 1], None for a blank page. A small photo comes back enlarged.
    """
    return _ink_of_clean_image(image) if _is_clean(image) else ink_of_photo(image)


def _is_clean(image: np.ndarray) -> bool:
    """Return whether an image, (height, width) uint8, is a canvas or a scan, or too small to be anything else."""
    if min(image.shape) < NARROWEST_PHOTO or image.size < FEWEST_PIXELS:
        return True
    histogram = _histogram(image)
    return _has_one_page_level(histogram) and not _has_shadow(image, histogram)


def _histogram(image: np.ndarray) -> np.ndarray:
    return cv2.calcHist([image], [0], None, [256], [0, 256]).ravel()


def _has_one_page_level(histogram: np.ndarray) -> bool:
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


def _ink_of_clean_image(image: np.ndarray) -> np.ndarray | None:
    """Return the ink of a canvas or a scan, None for a blank one."""
    page = _clean_page(image, _histogram(image))
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
