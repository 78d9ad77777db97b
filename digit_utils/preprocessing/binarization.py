"""Paper: which part of a picture is the page and which is the ink, whatever the light, the grain and the polarity.

Clean pictures, canvases and scans, have a page of one level. Photos have not; how they are read is in `photo.py`.
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
    Sheet,
    covered_edge,
    is_photo_of,
    may_hold_sheet,
    sheet_alone,
    sheets,
    without_edge,
)

CLEAN_PAGE = 0.3  # part of the pixels that have the commonest level: more of them only where nothing was photographed
SOFT_EDGES = 0.15  # part of the pixels of a clean picture that may be nearer to the page than to the ink
MARGIN = 8  # pixels around what is written: enough to see that the page is even
DOUBT = 6  # standard deviations of a page's grain that no grain reaches
SMALLEST_WITH_SHADOW = 32  # pixels, shorter side; in smaller clean pictures a bold digit is as broad as a shadow
MOST_PAGE_BESIDE_SHADOW = 0.75  # part of the pixels; a shadow takes more from the page's level than strokes do
ALONG_EDGE = 0.6  # part of a sheet's edge that a desk's ink follows
TWO_LEVELS = 0.78  # part of the variance that two levels explain; of even noise they explain 0.75

NARROWEST_PHOTO, FEWEST_PIXELS = 6, 200  # what is smaller shows no light of its own


def find_ink(image: np.ndarray) -> np.ndarray | None:
    """Return how much ink each pixel of a picture holds.

    Args:
        image: (height, width) uint8, sides up to `LARGEST_PICTURE`; dark ink on a light page or light on dark.

    Returns:
        (height, width) float32 in [0, 1], None for a blank page. A small photo comes back enlarged.
    """
    histogram = cv2.calcHist([image], [0], None, [256], [0, 256]).ravel()
    if not may_hold_sheet(image, histogram):
        return _ink_of_page(image, histogram)
    found = sheets(image)
    ink = _ink_of_sheets(image, found, nested=2)  # on a desk, and a box on it
    if ink is None:
        ink = _ink_of_page(image, histogram)
        if ink is not None and any(_is_empty(sheet, image, ink) for sheet in found):
            return None
    return ink


def _ink_of_sheets(image: np.ndarray, found: list[Sheet], *, nested: int) -> np.ndarray | None:
    """Return the ink of the first sheet in a picture that has some, the size of the picture; None without one.

    Sheets are looked for on a sheet again, `nested` of them in all. A sheet without ink is none: the light half of a
    page with a shadow may look like one, while the digit is in the other.
    """
    for sheet in found:
        left, top, width, height = cv2.boundingRect(sheet.inside)
        part = slice(top, top + height), slice(left, left + width)
        alone = sheet_alone(image, sheet)[part]
        histogram = cv2.calcHist([alone], [0], None, [256], [0, 256]).ravel()
        ink = None
        if nested > 1 and may_hold_sheet(alone, histogram):
            ink = _ink_of_sheets(alone, sheets(alone), nested=nested - 1)
        ink = _ink_of_page(alone, histogram) if ink is None else ink
        if ink is not None and without_edge(ink, sheet.inside[part]).any():
            whole = np.zeros(image.shape, np.float32)
            whole[part] = ink
            return whole
    return None


def _is_empty(sheet: Sheet, image: np.ndarray, ink: np.ndarray) -> bool:
    """Tell whether a photo shows an empty sheet on a desk: all that is found is ink along its edge.

    A digit that lies across the edge of a shadow touches it as well, but does not follow it.
    """
    return is_photo_of(sheet, image) and covered_edge(sheet, ink) > ALONG_EDGE


def _ink_of_page(image: np.ndarray, histogram: np.ndarray) -> np.ndarray | None:
    """Return the ink of a picture that is a page from edge to edge, None for a blank one."""
    tiny = min(image.shape) < NARROWEST_PHOTO or image.size < FEWEST_PIXELS
    if tiny or (_is_clean(histogram) and not _has_shadow(image, histogram)):
        return _ink_of_clean_picture(image, histogram)
    return ink_of_photo(image)


def _is_clean(histogram: np.ndarray) -> bool:
    """Tell from its grey levels whether a picture is a canvas or a scan: one level is its page, few are near it.

    Soft edges have as many levels near the page as near the ink; the uneven light of an overexposed photo has not.
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
    """Tell whether a picture with levels as a clean one's has a shadow on it, as photos without any grain may."""
    if min(image.shape) < SMALLEST_WITH_SHADOW or histogram.max() > MOST_PAGE_BESIDE_SHADOW * image.size:
        return False
    distance = np.abs(np.arange(256) - int(histogram.argmax()))
    far = distance >= distance[np.flatnonzero(histogram)].max() / 2
    return has_blob(small_copy(cv2.LUT(image, far.astype(np.uint8)), cv2.INTER_NEAREST))


# ------------------------------------------------------------------------------------------------ clean pictures


def _ink_of_clean_picture(image: np.ndarray, histogram: np.ndarray) -> np.ndarray | None:
    """Return the ink of a canvas or a scan, None for a blank one."""
    page = _clean_page(image, histogram)
    if min(image.shape) < LARGE:
        light = _light_on(page, image)
        return None if _is_blank(light) else without_specks(_ink_by_levels(light))
    written, light = _written_part(page, image)
    if _is_blank(cv2.blur(light, (3, 3))):
        return None
    ink = np.zeros(image.shape, np.float32)
    ink[written] = without_haze(without_specks(_ink_by_levels(light)))
    return ink


def _clean_page(image: np.ndarray, histogram: np.ndarray) -> tuple[int, bool]:
    """Return the grey level of an even page, the median of what is page, and whether it is lighter than the ink."""
    threshold, light_page = page_is_light(image)
    page = np.arange(256) > threshold
    amounts = np.cumsum(np.where(page if light_page else ~page, histogram, 0))
    return int(np.searchsorted(amounts, amounts[-1] / 2)), light_page


def _light_on(page: tuple[int, bool], image: np.ndarray) -> np.ndarray:
    """Return how far each pixel stands out from an even page towards the ink: (height, width) float32 grey levels."""
    level, light_page = page
    difference = image.astype(np.float32)
    difference -= level
    return np.negative(difference, out=difference) if light_page else difference


def _written_part(page: tuple[int, bool], image: np.ndarray) -> tuple[tuple[slice, slice], np.ndarray]:
    """Return the rows and columns beyond which a page is perfectly even, and how far ink stands out within them.

    Where a canvas is empty, nobody need look; and a frame is only there where something reaches an edge.
    """
    part = _part_with_margin(cv2.compare(image, page[0], cv2.CMP_NE))
    if all(side.start > 0 and side.stop < length for side, length in zip(part, image.shape, strict=True)):
        return part, _light_on(page, image[part])
    light = without_frame(_light_on(page, image))
    part = _part_with_margin((light != 0).astype(np.uint8))
    return part, light[part]


def _part_with_margin(mask: np.ndarray) -> tuple[slice, slice]:
    """Return the rows and columns of a uint8 mask that hold more than 0, with a margin."""
    left, top, width, height = cv2.boundingRect(mask)
    starts, ends = (top - MARGIN, left - MARGIN), (top + height + MARGIN, left + width + MARGIN)
    rows, columns = (slice(max(0, start), end) for start, end in zip(starts, ends, strict=True))
    return rows, columns


def _is_blank(light: np.ndarray) -> bool:
    """Tell whether no ink stands out from the grain, neither by its level nor as one of two levels (Otsu, 1979)."""
    strongest = float(light.max())
    if strongest < FAINTEST_CONTRAST:
        return True
    if strongest >= DOUBT * deviation_of_page(light, below=0.4 * strongest):
        return False
    return two_levels(light, light > 0.4 * strongest)[0] < TWO_LEVELS


def _ink_by_levels(light: np.ndarray) -> np.ndarray:
    """Return ink in proportion to the light, as in clean pictures and in those with few pixels."""
    half = 0.4 * float(light.max())
    full = _percentile_of_levels(light[light > half], 95)
    grain = 3 * deviation_of_page(light, below=half)  # 0 on clean canvases
    ink = np.clip((light - grain) / max(full - grain, 1), 0, 1)
    return without_haze(ink) if grain else ink


def _percentile_of_levels(levels: np.ndarray, percent: float) -> float:
    """Return what `np.percentile` returns of whole numbers from 0 to 255, sooner."""
    amounts = np.cumsum(np.bincount(levels.astype(np.uint8)))
    place = percent / 100 * (len(levels) - 1)
    low, high = np.searchsorted(amounts, [np.floor(place), np.ceil(place)], side="right")
    return float(low + (high - low) * (place % 1))
