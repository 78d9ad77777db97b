"""Strokes become normalised ink: the 28x28 image that the network reads.

Training, evaluation and the drawing pad all call `ink_from_strokes` and `ink_from_image`, so the network reads what it
was trained on. Both follow the way MNIST was made (Bottou et al., 1994; LeCun et al., 1998, "Gradient-based
learning applied to document recognition"): aspect ratio kept, long side 20 pixels, centre of mass at the centre of a
28x28 image, light ink (1) on a dark page (0).
"""

import cv2
import numpy as np

from digit_utils.types import IMAGE_SIZE, Strokes

BOX_SIZE = 20  # pixels, long side of the digit within the image (MNIST)
CENTRE = 14.5  # pixels from the left and upper edge: the middle of pixel 14, where MNIST's centres of mass lie
PEN_WIDTH = 2.4  # pixels: the typical stroke width of MNIST, measured in notebook 01
LONGEST_CHORD = 1.0  # pixels; points farther apart are joined by a curve
SUPERSAMPLING = 8  # strokes are drawn at eight times the size, then averaged: smooth edges at any position

_FRACTION_BITS = 4  # cv2.polylines takes fixed-point coordinates; a sixteenth of a supersampled pixel


def blank_ink() -> np.ndarray:
    """Return an empty page, (28, 28) float32 zeros."""
    return np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.float32)


def clean_strokes(strokes: Strokes) -> list[np.ndarray]:
    """Return the strokes as (n, 2) float64 arrays without non-finite points and without empty strokes.

    Raises ValueError when a stroke is not an (n, 2) array of numbers.
    """
    cleaned = []
    for index, stroke in enumerate(strokes):
        try:
            points = np.array(stroke, dtype=np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"stroke {index} is not an (n, 2) array of numbers: {error}") from error
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
    """Draw strokes as MNIST's digits look, with one pen width, whatever their scale, position and sampling.

    A hand moves along curves, so the few points that a slow device samples are joined by curves again.

    Args:
        strokes: list of (n, 2) arrays, x right, y down, any unit. Non-finite points are ignored.
        pen_width: width of the pen in pixels of the result; the ink's long side, pen included, is 20 pixels.

    Returns:
        (28, 28) float32 in [0, 1], ink 1. All zeros if there is no ink.

    Raises ValueError when a stroke is not an (n, 2) array, or the pen is as wide as the digit.
    """
    if not 0 < pen_width < BOX_SIZE:
        raise ValueError(f"pen_width is {pen_width}; it must be above 0 and below {BOX_SIZE} pixels")
    cleaned = clean_strokes(strokes)
    if not cleaned:
        return blank_ink()
    fitted = _fitted_curves(cleaned, long_side=BOX_SIZE - pen_width)
    drawn = _draw(fitted, pen_width=pen_width, centre=np.full(2, IMAGE_SIZE / 2))
    # The box stays inside the image, even if the centre of mass is then off centre.
    room = np.maximum(IMAGE_SIZE / 2 - _half_extent(fitted) - pen_width / 2, 0)
    shift = np.clip(CENTRE - centre_of_mass(drawn), -room, room)
    return _draw(fitted, pen_width=pen_width, centre=IMAGE_SIZE / 2 + shift)


def _fitted_curves(strokes: Strokes, *, long_side: float) -> list[np.ndarray]:
    """Return strokes fitted to the box, with curves between points that are farther apart than LONGEST_CHORD."""
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
        pieces: the number of line segments between two neighbours, at least 1: a number, or (n - 1,) numbers.
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
    cubic = [points[:-1], out, 3 * steps - 2 * out - back, out + back - 2 * steps]  # from the constant coefficient up
    cuts = [np.cumsum(counts) - counts, counts]  # the number of its first point, and of its pieces
    cubic = np.repeat(np.column_stack(cubic + cuts), counts, axis=0)
    t = ((np.arange(len(cubic)) - cubic[:, 8]) / cubic[:, 9])[:, np.newaxis]
    curve = cubic[:, :2] + t * (cubic[:, 2:4] + t * (cubic[:, 4:6] + t * cubic[:, 6:8]))
    return np.concatenate([curve, points[-1:]])


def _half_extent(strokes: Strokes) -> np.ndarray:
    """Return half the width and half the height of strokes whose box is centred at (0, 0)."""
    return np.abs(np.concatenate(strokes)).max(axis=0)


def _draw(strokes: Strokes, *, pen_width: float, centre: np.ndarray) -> np.ndarray:
    """Draw strokes (pixels around (0, 0)) around `centre` (x, y) into a (28, 28) float32 image."""
    side = IMAGE_SIZE * SUPERSAMPLING
    canvas = np.zeros((side, side), np.uint8)
    # OpenCV's lines are an odd number of samples wide: one more than an even thickness, two more than an odd one.
    thickness = max(1, 2 * round((pen_width * SUPERSAMPLING - 1) / 2))
    # OpenCV puts the centre of pixel 0 at 0, this module puts its left edge there: hence the half pixel.
    scaled = [(stroke + centre) * SUPERSAMPLING - 0.5 for stroke in strokes]
    draw_lines(canvas, scaled, thickness=thickness, drop_repeats=True)
    small = cv2.resize(canvas, (IMAGE_SIZE, IMAGE_SIZE), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / 255


def draw_lines(
    canvas: np.ndarray, strokes: Strokes, *, thickness: int, smooth: bool = False, drop_repeats: bool = False
) -> None:
    """Draw strokes as polylines of value 255 into a (height, width) uint8 canvas, in place.

    Args:
        canvas: the canvas; (0, 0) is the centre of its upper left pixel.
        strokes: (n, 2) arrays of pixels, which are rounded to sixteenths; a single point becomes a dot.
        thickness: of the lines, in pixels.
        smooth: whether edges are antialiased, which widens the lines a little.
        drop_repeats: whether points within half a pixel of their predecessor are skipped in long strokes, to save time.
    """
    line_type = cv2.LINE_AA if smooth else cv2.LINE_8
    for stroke in strokes:
        points = np.round(stroke * (1 << _FRACTION_BITS)).astype(np.int32)
        if len(points) == 1:
            points = np.repeat(points, 2, axis=0)  # OpenCV draws no line from one point
        elif drop_repeats:
            points = _without_repeats(points)
        cv2.polylines(canvas, [points], False, 255, thickness, line_type, _FRACTION_BITS)


def _without_repeats(points: np.ndarray) -> np.ndarray:
    """Drop points of an (n, 2) integer path that lie within half a pixel of the one before."""
    if len(points) < 64:
        return points
    cells = points >> (_FRACTION_BITS - 1)
    moved = np.any(cells[1:] != cells[:-1], axis=1)
    moved[-1] = True  # two points at least
    return points[np.concatenate([[True], moved])]


def centre_of_mass(image: np.ndarray) -> np.ndarray:
    """Return the centre of mass (x, y) of a 2-D image with ink, in pixels from its left and upper edge."""
    total = image.sum(dtype=np.float64)
    x = image.sum(axis=0, dtype=np.float64) @ (np.arange(image.shape[1]) + 0.5)
    y = image.sum(axis=1, dtype=np.float64) @ (np.arange(image.shape[0]) + 0.5)
    return np.array([x, y]) / total
