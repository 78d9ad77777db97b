"""Ink: handwriting, as strokes or as a picture, becomes the 28x28 picture that the network reads.

Training, evaluation and the drawing pad all call the two functions of this module, so what the network learnt
from is what it is shown later. Both follow the way MNIST was made (Bottou et al., 1994; LeCun et al., 1998,
"Gradient-based learning applied to document recognition"): aspect ratio kept, long side 20 pixels, centre of
mass at the centre of a 28x28 field, light ink (1) on a dark page (0).
"""

from collections.abc import Sequence

import cv2
import numpy as np

IMAGE_SIZE = 28  # pixels, side of the picture that the network reads (MNIST)
BOX_SIZE = 20  # pixels, long side of the digit within that picture (MNIST)
CENTRE = 14.5  # pixels from the left and upper edge: the middle of pixel 14, where MNIST's centres of mass lie
PEN_WIDTH = 2.4  # pixels at that scale: the typical stroke width of MNIST, measured in notebook 01
SUPERSAMPLING = 8  # strokes are drawn at eight times the size, then averaged down: smooth edges at any position

PICTURE_PEN_RANGE = (1.5, 4.5)  # pixels at BOX_SIZE scale; pens outside are thickened or thinned, those inside kept
LARGEST_PICTURE = 384  # pixels; a longer side is shrunk first, to bound the work
FAINTEST_CONTRAST = 20  # grey levels of 255; a picture with less contrast than this is a blank page
SMALLEST_PHOTO = 48  # pixels; smaller pictures show no light of their own
DOUBT = 6  # standard deviations of the grain that no grain reaches
PHOTO_INK = (0.35, 0.7)  # of full ink, in photos: below, a ruled line or grain; above, as good as full
FULL_DEPTH = 32  # grey levels; what is as much darker than its surroundings is a stroke
CLOSE_VOTE = 0.2  # of 1; nearer to even than this, border and area do not tell the page from the ink
FRAME = 0.35  # part of an edge that no digit covers while something else lies inside
SMALL_DIGIT = 128  # pixels; a large picture is looked at once more where its digit is smaller
TWO_LEVELS = 0.78  # part of the variance that two levels explain; of even noise they explain 0.75
SOFT_EDGES = 0.15  # part of the pixels of a clean picture that may be nearer to the page than to the ink
CLEAN_PAGE = 0.3  # part of the pixels that have the commonest level: more of them only where nothing was photographed
CLEAR_INK = 0.25  # of full ink; fainter pixels are a stroke's soft edge, or grain
SMALLEST_SPECK = 0.02  # components with less than this part of the largest one's area are dust

Strokes = Sequence[np.ndarray]  # one (n, 2) array per stroke: x to the right, y down, in drawing order

_FRACTION_BITS = 4  # cv2.polylines takes fixed-point coordinates; a sixteenth of a supersampled pixel


def blank_ink() -> np.ndarray:
    """Return an empty page, (28, 28) float32 zeros."""
    return np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.float32)


# ---------------------------------------------------------------------------------------------- strokes


def clean_strokes(strokes: Strokes) -> list[np.ndarray]:
    """Return the strokes as (n, 2) float64 arrays without points that are no numbers and without empty strokes.

    Raises ValueError when a stroke is not an (n, 2) array of numbers.
    """
    cleaned = []
    for index, stroke in enumerate(strokes):
        try:
            points = np.asarray(stroke, dtype=np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"stroke {index} is no (n, 2) array of numbers: {error}") from error
        if points.size == 0:
            continue
        if points.ndim != 2 or points.shape[1] != 2:
            raise ValueError(f"stroke {index} has shape {points.shape}; expected (n, 2) with a column x and a column y")
        points = points[np.isfinite(points).all(axis=1)]
        if len(points):
            cleaned.append(points)
    return cleaned


def fit_to_box(strokes: Strokes, *, long_side: float) -> list[np.ndarray]:
    """Scale and move cleaned strokes, aspect ratio kept, so that their bounding box is centred at (0, 0).

    The long side of the box becomes `long_side`. A dot has no size, so it stays a point at (0, 0).
    """
    everything = np.concatenate(strokes)
    magnitude = np.abs(everything).max()
    unit = magnitude if magnitude > 1e100 else 1.0  # far from overflow when the extent is squared or doubled
    low, high = everything.min(axis=0) / unit, everything.max(axis=0) / unit
    extent = (high - low).max()
    with np.errstate(over="ignore"):
        scale = long_side / extent if extent > 0 else 0.0
    if not np.isfinite(scale):  # an extent so small that its inverse overflows: a dot
        scale = 0.0
    return [(stroke / unit - (low + high) / 2) * scale for stroke in strokes]


def ink_from_strokes(strokes: Strokes, *, pen_width: float = PEN_WIDTH) -> np.ndarray:
    """Draw strokes the way MNIST's digits look, with one pen, whatever their scale, place and sampling.

    Args:
        strokes: list of (n, 2) arrays, x right, y down, any unit. Points that are no numbers are passed over.
        pen_width: width of the pen in pixels of the result; the ink's long side, pen included, is 20 pixels.

    Returns:
        (28, 28) float32 in [0, 1], ink 1. All zeros when there is no ink.

    Raises ValueError when a stroke is not an (n, 2) array, or the pen is as wide as the digit.
    """
    if not 0 < pen_width < BOX_SIZE:
        raise ValueError(f"pen_width is {pen_width}; it must be above 0 and below {BOX_SIZE} pixels")
    cleaned = clean_strokes(strokes)
    if not cleaned:
        return blank_ink()
    fitted = fit_to_box(cleaned, long_side=BOX_SIZE - pen_width)
    drawn = _draw(fitted, pen_width=pen_width, centre=np.full(2, IMAGE_SIZE / 2))
    # The box keeps inside the page: where the centre of mass would push ink over the edge, the edge wins.
    room = np.maximum(IMAGE_SIZE / 2 - _half_extent(fitted) - pen_width / 2, 0)
    shift = np.clip(CENTRE - centre_of_mass(drawn), -room, room)
    return _draw(fitted, pen_width=pen_width, centre=IMAGE_SIZE / 2 + shift)


def _half_extent(strokes: Strokes) -> np.ndarray:
    """Return half the width and half the height of strokes whose box is centred at (0, 0)."""
    return np.abs(np.concatenate(strokes)).max(axis=0)


def _draw(strokes: Strokes, *, pen_width: float, centre: np.ndarray) -> np.ndarray:
    """Draw strokes (pixels around (0, 0)) around `centre` (x, y) into a (28, 28) float32 picture."""
    side = IMAGE_SIZE * SUPERSAMPLING
    canvas = np.zeros((side, side), np.uint8)
    # OpenCV's lines are an odd number of samples wide: one more than an even thickness, two more than an odd one.
    thickness = max(1, 2 * round((pen_width * SUPERSAMPLING - 1) / 2))
    for stroke in strokes:
        # OpenCV puts the centre of pixel 0 at 0, this module puts its left edge there: hence the half pixel.
        points = (stroke + centre) * SUPERSAMPLING - 0.5
        points = _without_repeats(np.round(points * (1 << _FRACTION_BITS)).astype(np.int32))
        cv2.polylines(canvas, [points], False, 255, thickness, cv2.LINE_8, _FRACTION_BITS)
    small = cv2.resize(canvas, (IMAGE_SIZE, IMAGE_SIZE), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / 255


def _without_repeats(points: np.ndarray) -> np.ndarray:
    """Drop points of an (n, 2) integer path that lie within half a supersampled pixel of the one before.

    A single point comes back twice: OpenCV draws no line from one point, and a dot is a line of no length.
    """
    if len(points) == 1:
        return np.repeat(points, 2, axis=0)
    if len(points) < 64:
        return points
    cells = points >> (_FRACTION_BITS - 1)
    moved = np.any(cells[1:] != cells[:-1], axis=1)
    moved[-1] = True  # two points at least
    return points[np.concatenate([[True], moved])]


def centre_of_mass(picture: np.ndarray) -> np.ndarray:
    """Return the centre of mass (x, y) of a 2-D picture with ink, in pixels from its left and upper edge."""
    total = picture.sum(dtype=np.float64)
    x = picture.sum(axis=0, dtype=np.float64) @ (np.arange(picture.shape[1]) + 0.5)
    y = picture.sum(axis=1, dtype=np.float64) @ (np.arange(picture.shape[0]) + 0.5)
    return np.array([x, y]) / total


# --------------------------------------------------------------------------------------------- pictures


def ink_from_image(image: np.ndarray) -> np.ndarray:
    """Find the ink in a picture (a scan, a canvas, a photo of paper) and normalise it as MNIST's digits are.

    Whether the ink is light or dark is found from the picture: the page is what the border shows. Uneven light is
    evened out, dust removed, and very thin or thick pens are brought into the range of MNIST's pens.

    Args:
        image: (height, width) uint8, any size from 1x1.

    Returns:
        (28, 28) float32 in [0, 1], ink 1. All zeros when the picture is blank. A digit of MNIST stays as it is,
        but for a shift or scale of less than a pixel.

    Raises TypeError or ValueError when the picture is not a 2-D uint8 array with at least one pixel.
    """
    _check_picture(image)
    ink = _find_ink(_shrink_to(image, LARGEST_PICTURE))
    if ink is not None and max(image.shape) > LARGEST_PICTURE:
        ink = _closer_look(image, ink)
    if ink is None:
        return blank_ink()
    crop = _crop(_with_usual_pen(_crop(ink)))
    return ink_from_strokes([[[0, 0]]]) if _is_dot(crop) else _place(crop)


def _check_picture(image: np.ndarray) -> None:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        kind = getattr(image, "dtype", type(image).__name__)
        raise TypeError(f"a picture must be a numpy array of uint8 (grey levels 0 to 255), not {kind}")
    if image.ndim != 2 or image.size == 0:
        raise ValueError(
            f"a picture must be 2-D, (height, width), with at least one pixel; this one has shape {image.shape}. "
            "Turn a colour picture into grey first, for example with cv2.cvtColor"
        )


def _shrink_to(image: np.ndarray, longest: int) -> np.ndarray:
    factor = longest / max(image.shape)
    if factor >= 1:
        return image
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _closer_look(image: np.ndarray, ink: np.ndarray) -> np.ndarray | None:
    """Find the ink again where a large picture holds a small digit, which suffered when the picture was shrunk."""
    box, scale = _ink_box(ink), max(image.shape) / max(ink.shape)
    size = max(part.stop - part.start for part in box)
    if size > SMALL_DIGIT:
        return ink
    rows, columns = (
        slice(max(0, int((part.start - size / 2) * scale)), int((part.stop + size / 2) * scale)) for part in box
    )
    return _find_ink(_shrink_to(image[rows, columns], LARGEST_PICTURE))


def _find_ink(image: np.ndarray) -> np.ndarray | None:
    """Return how much ink each pixel holds, (height, width) float32 in [0, 1], or None for a blank page."""
    large = min(image.shape) >= SMALLEST_PHOTO
    histogram = cv2.calcHist([image], [0], None, [256], [0, 256]).ravel()
    is_clean, gain = min(image.shape) < 14 or _is_clean(histogram), None
    if is_clean:
        light = _light_on_clean_page(image, histogram)
    elif large:
        light, gain = _light_on_photo(image)
    else:
        light = _light_on_small_photo(image)
    if large:
        light = _without_frame(light)
    # Blurring thins the grain of a photo to a third; a small picture has too few pixels for that.
    smooth = cv2.blur(light, (3, 3)) if large else light
    if _is_blank(smooth):
        return None
    ink = _ink_by_levels(light) if gain is None else _ink_by_edges(light * gain)
    ink = _without_specks(ink)
    return _without_haze(ink) if large else ink


def _is_blank(light: np.ndarray) -> bool:
    """Tell whether no ink stands out from the grain, neither by its level nor as one of two levels (Otsu, 1979)."""
    strongest = float(light.max())
    if strongest < FAINTEST_CONTRAST:
        return True
    if strongest >= DOUBT * _deviation_of_page(light, below=0.4 * strongest):
        return False
    inside = light > 0.4 * strongest
    share, gap = float(inside.mean()), float(light[inside].mean() - light[~inside].mean())
    return share * (1 - share) * gap**2 < TWO_LEVELS * float(light.var())


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


def _ink_by_levels(light: np.ndarray) -> np.ndarray:
    """Return ink in proportion to the light, as in clean pictures and in those with few pixels."""
    half = 0.4 * float(light.max())
    full = float(np.percentile(light[light > half], 95))
    grain = 3 * _deviation_of_page(light, below=half)  # 0 on clean canvases
    ink = np.clip((light - grain) / max(full - grain, 1), 0, 1)
    return _without_haze(ink) if grain else ink


def _ink_by_edges(light: np.ndarray) -> np.ndarray:
    """Return ink that is full within the edges of the strokes and none outside, as photos with grain and lines need."""
    smooth = cv2.blur(light, (3, 3))
    half = 0.4 * float(smooth.max())
    if 3 * _deviation_of_page(light, below=half) > half:
        light = cv2.GaussianBlur(light, (0, 0), 1.5)
    full = float(np.percentile(light[smooth > half], 80))
    grain = 3 * _deviation_of_page(smooth, below=half)
    faint, clear = (max(part * full, grain) for part in PHOTO_INK)
    return np.clip((light - faint) / max(clear - faint, 1), 0, 1)


def _deviation_of_page(light: np.ndarray, *, below: float) -> float:
    """Return the standard deviation of a page's grain, robust to outliers; 0 on clean canvases."""
    values = _sample(light)
    page = values[values <= below]
    return 1.4826 * float(np.median(np.abs(page - np.median(page)))) if page.size else 0.0


def _light_on_clean_page(image: np.ndarray, histogram: np.ndarray) -> np.ndarray:
    """Return how far each pixel stands out from an even page towards the ink: (height, width) float32 grey levels."""
    threshold, light_page = _page_is_light(image)
    page = np.arange(256) > threshold
    amounts = np.cumsum(np.where(page if light_page else ~page, histogram, 0))
    level = float(np.searchsorted(amounts, amounts[-1] / 2))  # the median
    difference = image.astype(np.float32) - np.float32(level)
    return -difference if light_page else difference


def _light_on_small_photo(image: np.ndarray) -> np.ndarray:
    """Return the same for a picture with too few pixels to show more of its light than a slope."""
    rows, columns = np.indices(image.shape, np.float32).reshape(2, -1)
    terms = np.stack([np.ones_like(rows), rows, columns], axis=1)
    levels, page = image.ravel().astype(np.float32), np.ones(image.size, bool)
    for _ in range(2):  # the slope of everything, then of the page alone
        slope = terms @ np.linalg.lstsq(terms[page], levels[page], rcond=None)[0]
        difference = (levels - slope).reshape(image.shape)
        evened = cv2.normalize(difference, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
        threshold, light_page = _page_is_light(evened)
        page = ((evened > threshold) == light_page).ravel()
    difference -= np.median(difference.ravel()[page])
    return -difference if light_page else difference


def _light_on_photo(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the same for a photo, with its shadows and uneven light, and how much more it would be in full light."""
    dark, bright = (_longest_stroke(page) for page in (image, 255 - image))
    if bright > dark:
        image = 255 - image
    field = _light_under_ink(image, pen=max(dark, bright)[1])
    light = field - image
    level = max(float(np.median(field)), 1.0)  # black all over, there is no light to divide by
    return light - np.median(_sample(light)), level / np.maximum(field, 0.4 * level)


def _longest_stroke(image: np.ndarray) -> tuple[float, float]:
    """Return how long the dark strokes of a picture are, in some unit, and their width as a part of its shorter side.

    What a closing fills has an area; divided by the width of the window, it is a length. Around a light page's dark
    strokes there are light gaps as well, but those are wider or shorter than the strokes.
    """
    small = cv2.resize(image, (96, 96), interpolation=cv2.INTER_AREA)
    small = cv2.copyMakeBorder(small, 14, 14, 14, 14, cv2.BORDER_REPLICATE)
    found = []
    for window in (3, 5, 7, 11, 15, 21):
        filled = cv2.morphologyEx(small, cv2.MORPH_CLOSE, np.ones((window, window), np.uint8))
        depth = cv2.min(cv2.subtract(filled, small), FULL_DEPTH)  # an edge of the paper counts no more than ink
        found.append((cv2.norm(depth, cv2.NORM_L2SQR) / window**1.5, window / 96))
    return max(found)


def _sample(values: np.ndarray) -> np.ndarray:
    """Return enough of the values for their median."""
    return values.ravel()[:: max(1, values.size // 15_000)]


def _light_under_ink(image: np.ndarray, *, pen: float) -> np.ndarray:
    """Return the light on a light page under dark ink, shadows with their edges: (height, width) float32 grey levels.

    A closing fills what is narrower than its window, a pen's stroke, and keeps every edge between wider areas.
    """
    scale = min(0.5, 160 / max(image.shape))  # averaging takes the grain away
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    small = cv2.medianBlur(small, 3).astype(np.float32)
    reach = max(3, round(np.clip(pen, 0.07, 0.15) * min(small.shape)))  # to either side: a window of two pens
    padded = cv2.copyMakeBorder(small, *4 * [reach], cv2.BORDER_REPLICATE)  # what is dark at an edge goes on beyond it
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    inner = cv2.erode(closed, np.ones((5, 5), np.uint8))[reach:-reach, reach:-reach]
    return cv2.resize(cv2.blur(inner, (3, 3)), image.shape[::-1], interpolation=cv2.INTER_LINEAR)


def _without_frame(light: np.ndarray) -> np.ndarray:
    """Remove what runs along an edge of the picture, a table beside the paper, where it leaves a digit inside."""
    dark = (light > max(0.5 * float(light.max()), FAINTEST_CONTRAST)).astype(np.uint8)
    if max(edge.mean() for edge in (dark[0], dark[-1], dark[:, 0], dark[:, -1])) <= FRAME:
        return light
    _, parts = cv2.connectedComponents(dark, connectivity=8)
    edges = (parts[0], parts[-1], parts[:, 0], parts[:, -1])
    shares = np.max([np.bincount(edge, minlength=parts.max() + 1) / edge.size for edge in edges], axis=0)
    frame = (shares > FRAME) & (np.arange(len(shares)) > 0)
    rest = np.where(cv2.dilate(frame[parts].astype(np.uint8), np.ones((9, 9))) > 0, 0, light).astype(np.float32)
    left = cv2.blur(rest, (3, 3))
    clear = left > 0.5 * left.max()
    at_edge = np.concatenate([clear[0], clear[-1], clear[:, 0], clear[:, -1]]).mean()
    return rest if left.max() > FAINTEST_CONTRAST and at_edge < 0.01 else light


def _page_is_light(image: np.ndarray) -> tuple[float, bool]:
    """Return the level between page and ink (Otsu, 1979), and whether the page is above it.

    The page has most of the border and most of the area. A bold digit that fills its picture has about as much of
    both; then the page is what lies in more parts, corners and holes, because strokes hang together.
    """
    threshold, _ = cv2.threshold(image, 0, 255, cv2.THRESH_OTSU)
    light = image > threshold
    border = np.concatenate([light[0], light[-1], light[1:-1, 0], light[1:-1, -1]])
    vote = float(border.mean() + light.mean() - 1)
    if abs(vote) < CLOSE_VOTE:
        bright, dark = (cv2.connectedComponents(part.astype(np.uint8), connectivity=8)[0] for part in (light, ~light))
        if bright != dark:
            return threshold, bright > dark
    return threshold, vote > 0


def _without_haze(ink: np.ndarray) -> np.ndarray:
    """Keep what touches clear ink: a trace of grain at the edge of a photo would pass for a part of the digit."""
    return ink * cv2.dilate((ink > CLEAR_INK).astype(np.uint8), np.ones((3, 3), np.uint8))


def _without_specks(ink: np.ndarray) -> np.ndarray:
    """Remove dust, in place: parts that are tiny against the largest connected part."""
    crop = _crop(ink)
    count, parts, statistics, _ = cv2.connectedComponentsWithStats((crop > CLEAR_INK).astype(np.uint8), connectivity=8)
    if count <= 2:
        return ink
    areas = statistics[:, cv2.CC_STAT_AREA].astype(np.float64)
    areas[0] = np.inf  # the page itself
    dust = areas < SMALLEST_SPECK * areas[1:].max()
    if dust.any():
        halo = cv2.dilate(dust[parts].astype(np.uint8), np.ones((3, 3), np.uint8))
        crop[halo.astype(bool) & (parts == 0) | dust[parts]] = 0
    return ink


def pen_width_of(ink: np.ndarray) -> float:
    """Estimate the pen's width, in pixels, in a (height, width) picture of ink in [0, 1]; 0 without ink.

    The mean distance to the edge within a band of width w is w/4. Small pictures are enlarged first, because
    distances are measured between the centres of whole pixels.
    """
    factor = max(1, int(np.ceil(160 / max(ink.shape))))
    if factor > 1:
        ink = cv2.resize(ink, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
    inside = cv2.copyMakeBorder((ink > 0.5).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    if not inside.any():
        return 0.0
    distances = cv2.distanceTransform(inside, cv2.DIST_L2, 5)
    return 4 * (float(distances[inside > 0].mean()) - 0.5) / factor


def _with_usual_pen(ink: np.ndarray) -> np.ndarray:
    """Thicken or thin the ink so that, at the final size, its pen lies within PICTURE_PEN_RANGE."""
    rows, columns = _ink_box(ink)
    scale = BOX_SIZE / max(rows.stop - rows.start, columns.stop - columns.start)
    width = pen_width_of(ink) * scale
    low, high = PICTURE_PEN_RANGE
    if width < low:
        return _thickened(ink, by=(low - width) / scale / 2)
    if width > high:  # never by so much that the thin places of the digit vanish
        return _thinned(ink, by=min(width - high, width * 0.5) / scale / 2)
    return ink


def _thickened(ink: np.ndarray, *, by: float) -> np.ndarray:
    """Grow the ink by `by` pixels on each side; the picture grows with it."""
    margin = int(np.ceil(by)) + 1
    padded = cv2.copyMakeBorder(ink, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=0)
    distance = cv2.distanceTransform((padded <= 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    return np.maximum(padded, np.clip(by + 0.5 - distance, 0, 1)).astype(np.float32)


def _thinned(ink: np.ndarray, *, by: float) -> np.ndarray:
    """Shrink the ink by `by` pixels on each side."""
    padded = cv2.copyMakeBorder(ink, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    distance = cv2.distanceTransform((padded > 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    return np.minimum(padded, np.clip(distance - by + 0.5, 0, 1)).astype(np.float32)


def _ink_box(ink: np.ndarray) -> tuple[slice, slice]:
    """Return the rows and columns that hold ink; all of them when no pixel holds much."""
    left, top, width, height = cv2.boundingRect((ink > 0.1).astype(np.uint8))
    if not width:
        return slice(0, ink.shape[0]), slice(0, ink.shape[1])
    return slice(top, top + height), slice(left, left + width)


def _crop(ink: np.ndarray) -> np.ndarray:
    return ink[_ink_box(ink)]


def _is_dot(crop: np.ndarray) -> bool:
    """Tell whether a crop of ink is a spot as high as it is wide, and filled."""
    return 0.7 < crop.shape[0] / crop.shape[1] < 1.4 and bool(crop.mean() > 0.72)


def _place(crop: np.ndarray) -> np.ndarray:
    """Resize a crop of ink to the 20-pixel box and put its centre of mass at the centre of a 28x28 page."""
    scale = BOX_SIZE / max(crop.shape)
    size = (max(1, round(crop.shape[1] * scale)), max(1, round(crop.shape[0] * scale)))
    if size != crop.shape[::-1]:
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        crop = np.clip(cv2.resize(crop, size, interpolation=how), 0, 1)
    page = blank_ink()
    extent = np.array(size)
    # Whole pixels, as MNIST was made: a fraction would blur the ink.
    corner = np.floor(CENTRE - centre_of_mass(crop) + 0.5).astype(int) if crop.any() else (4, 4)
    left, top = np.clip(corner, 0, IMAGE_SIZE - extent)
    page[top : top + size[1], left : left + size[0]] = crop
    return page
