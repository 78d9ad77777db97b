"""Ink: handwriting, as strokes or as a picture, becomes the 28x28 picture that the network reads.

Training, evaluation and the drawing pad all call the two functions of this module, so what the network learnt
from is what it is shown later. Both follow the way MNIST was made (Bottou et al., 1994; LeCun et al., 1998,
"Gradient-based learning applied to document recognition"): aspect ratio kept, long side 20 pixels, centre of
mass at the centre of a 28x28 field, light ink (1) on a dark page (0).
"""

from collections.abc import Sequence

import cv2
import numpy as np

from digit_utils.marks import LARGEST_PICTURE, crop_to_ink, ink_box, pen_width_of
from digit_utils.paper import find_ink

IMAGE_SIZE = 28  # pixels, side of the picture that the network reads (MNIST)
BOX_SIZE = 20  # pixels, long side of the digit within that picture (MNIST)
CENTRE = 14.5  # pixels from the left and upper edge: the middle of pixel 14, where MNIST's centres of mass lie
PEN_WIDTH = 2.4  # pixels at that scale: the typical stroke width of MNIST, measured in notebook 01
LONGEST_CHORD = 1.0  # pixels at that scale; points further apart are joined by a curve
SUPERSAMPLING = 8  # strokes are drawn at eight times the size, then averaged down: smooth edges at any position

PICTURE_PEN_RANGE = (1.5, 4.5)  # pixels at BOX_SIZE scale; pens outside are thickened or thinned, those inside kept
SMALL_DIGIT = 128  # pixels; a large picture is looked at once more where its digit is smaller
BESIDE_INK = 3  # pixels of the shrunk picture; what is further from its ink is none on a closer look either

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
            points = np.array(stroke, dtype=np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"stroke {index} is no (n, 2) array of numbers: {error}") from error
        if points.size == 0:
            continue
        if points.ndim != 2 or points.shape[1] != 2:
            raise ValueError(f"stroke {index} has shape {points.shape}; expected (n, 2) with a column x and a column y")
        finite = np.isfinite(points)
        if not finite.all():
            points = points[finite.all(axis=1)]
        if len(points):
            cleaned.append(points)
    return cleaned


def fit_to_box(strokes: Strokes, *, long_side: float) -> list[np.ndarray]:
    """Scale and move cleaned strokes, aspect ratio kept, so that their bounding box is centred at (0, 0).

    The long side of the box becomes `long_side`. A dot has no size, so it stays a point at (0, 0).
    """
    everything = np.concatenate(strokes) if len(strokes) > 1 else strokes[0]
    low, high = everything.min(axis=0), everything.max(axis=0)
    magnitude = max(-low.min(), high.max())
    if magnitude > 1e100:  # far from overflow when the extent is squared or doubled
        strokes, low, high = [stroke / magnitude for stroke in strokes], low / magnitude, high / magnitude
    extent = float((high - low).max())
    scale = float(long_side) / extent if extent > 0 else 0.0
    if scale == np.inf:  # an extent so small that its inverse overflows: a dot
        scale = 0.0
    middle = (low + high) / 2
    return [(stroke - middle) * scale for stroke in strokes]


def ink_from_strokes(strokes: Strokes, *, pen_width: float = PEN_WIDTH) -> np.ndarray:
    """Draw strokes the way MNIST's digits look, with one pen, whatever their scale, place and sampling.

    A hand moves along curves, so the few points that a slow device takes of them are joined by curves again.

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
    fitted = _fitted_curves(cleaned, long_side=BOX_SIZE - pen_width)
    drawn = _draw(fitted, pen_width=pen_width, centre=np.full(2, IMAGE_SIZE / 2))
    # The box keeps inside the page: where the centre of mass would push ink over the edge, the edge wins.
    room = np.maximum(IMAGE_SIZE / 2 - _half_extent(fitted) - pen_width / 2, 0)
    shift = np.clip(CENTRE - centre_of_mass(drawn), -room, room)
    return _draw(fitted, pen_width=pen_width, centre=IMAGE_SIZE / 2 + shift)


def _fitted_curves(strokes: Strokes, *, long_side: float) -> list[np.ndarray]:
    """Return strokes fitted to the box, with curves between points that lie further apart than LONGEST_CHORD."""
    fitted = fit_to_box(strokes, long_side=long_side)
    curves = [_without_long_chords(stroke) for stroke in fitted]
    if all(curve is stroke for curve, stroke in zip(curves, fitted, strict=True)):
        return fitted
    return fit_to_box(curves, long_side=long_side)  # a curve may leave the box of its points


def _without_long_chords(stroke: np.ndarray) -> np.ndarray:
    if len(stroke) < 3:
        return stroke
    lengths = np.hypot(*(stroke[1:] - stroke[:-1]).T)
    longest = lengths.max()
    if longest <= LONGEST_CHORD:
        return stroke
    moved = lengths > 1e-9 * longest
    pieces = np.ceil(lengths[moved] / LONGEST_CHORD).astype(int)
    return curve_through(stroke[np.concatenate([[True], moved])], pieces=pieces)


def curve_through(points: np.ndarray, *, pieces: int | np.ndarray, exponent: float = 0.5) -> np.ndarray:
    """Return a Catmull-Rom curve through points, from the first to the last; through two points it is straight.

    Catmull and Rom, 1974, "A class of local interpolating splines"; with the usual exponent it is the centripetal one,
    which has no loops and no cusps between points (Yuksel et al., 2011, "Parameterization and applications of
    Catmull-Rom curves"). The velocities are those of Barry and Goldman (1988) at the points.

    Args:
        points: (n, 2) float. No two neighbours may be the same, unless `exponent` is 0.
        pieces: in how many the curve is cut between two neighbours, at least 1: a number, or (n - 1,) numbers.
        exponent: the time between two points is this power of their distance; 0 is the uniform curve.

    Returns:
        (sum of the pieces + 1, 2) float64.
    """
    if len(points) < 2:
        return points
    steps = points[1:] - points[:-1]
    times = np.hypot(*steps.T)[:, np.newaxis] ** exponent
    straight = steps / times
    inner = straight[:-1] + straight[1:] - (points[2:] - points[:-2]) / (times[:-1] + times[1:])
    out, back = np.concatenate([straight[:1], inner]) * times, np.concatenate([inner, straight[-1:]]) * times

    counts = np.full(len(steps), pieces) if np.ndim(pieces) == 0 else np.asarray(pieces)
    cubic = [points[:-1], out, 3 * steps - 2 * out - back, out + back - 2 * steps]  # from the constant coefficient on
    cuts = [np.cumsum(counts) - counts, counts]  # of which number its first point is, and in how many it is cut
    cubic = np.repeat(np.column_stack(cubic + cuts), counts, axis=0)
    t = ((np.arange(len(cubic)) - cubic[:, 8]) / cubic[:, 9])[:, np.newaxis]
    curve = cubic[:, :2] + t * (cubic[:, 2:4] + t * (cubic[:, 4:6] + t * cubic[:, 6:8]))
    return np.concatenate([curve, points[-1:]])


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
    ink = find_ink(_shrink_to(image, LARGEST_PICTURE))
    if ink is not None and max(image.shape) > LARGEST_PICTURE:
        ink = _closer_look(image, ink)
    if ink is None:
        return blank_ink()
    crop = _with_usual_pen(crop_to_ink(ink))
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
    """Shrink a picture whose long side is longer, by a whole factor first: OpenCV averages whole pixels sooner."""
    whole = min(max(image.shape) // longest, min(image.shape))
    if whole > 1:
        image = cv2.resize(image, None, fx=1 / whole, fy=1 / whole, interpolation=cv2.INTER_AREA)
    factor = longest / max(image.shape)
    if factor >= 1:
        return image
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    # Within a factor of two interpolation leaves no pixel out; only strips a few pixels wide have more to go.
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR if factor >= 0.5 else cv2.INTER_AREA)


def _closer_look(image: np.ndarray, ink: np.ndarray) -> np.ndarray | None:
    """Find the ink again where a large picture holds a small digit, which suffered when the picture was shrunk."""
    box, scale = ink_box(ink), max(image.shape) / max(ink.shape)
    size = max(part.stop - part.start for part in box)
    if size > SMALL_DIGIT:
        return ink
    near = tuple(slice(max(0, int(part.start - size / 2)), int(part.stop + size / 2)) for part in box)
    rows, columns = (slice(int(part.start * scale), int(part.stop * scale)) for part in near)
    closer = find_ink(_shrink_to(image[rows, columns], LARGEST_PICTURE))
    if closer is None:
        return None
    # Lines and shadows are told from strokes by how far they go on: seen so near, they would be ink again.
    seen = cv2.dilate((ink[near] > 0).astype(np.uint8), np.ones((2 * BESIDE_INK + 1, 2 * BESIDE_INK + 1), np.uint8))
    return cv2.copyTo(closer, cv2.resize(seen, closer.shape[::-1], interpolation=cv2.INTER_NEAREST))


def _with_usual_pen(crop: np.ndarray) -> np.ndarray:
    """Thicken or thin a crop of ink so that, at the final size, its pen lies within PICTURE_PEN_RANGE."""
    scale = BOX_SIZE / max(crop.shape)
    width = pen_width_of(crop) * scale
    low, high = PICTURE_PEN_RANGE
    if width < low:
        return crop_to_ink(_thickened(crop, by=(low - width) / scale / 2))
    if width > high:  # never by so much that the thin places of the digit vanish
        return crop_to_ink(_thinned(crop, by=min(width - high, width * 0.5) / scale / 2))
    return crop


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
    # Whole pixels, as MNIST was made: a fraction would blur the ink.
    corner = np.floor(CENTRE - centre_of_mass(crop) + 0.5) if crop.any() else (4, 4)
    left, top = (min(max(int(at), 0), IMAGE_SIZE - side) for at, side in zip(corner, size, strict=True))
    page = blank_ink()
    page[top : top + size[1], left : left + size[0]] = crop
    return page
