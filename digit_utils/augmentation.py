"""Augmentation: what a digit may look like and still be that digit, for strokes and for pictures.

Strokes are changed as a hand would change them (slant, proportions, tremor, ends that overshoot, gaps, sampling)
and then drawn by the same ink function as everything else. Pictures are warped by OpenCV, one smooth map each
(Simard et al., 2003, "Best practices for convolutional neural networks applied to visual document analysis").
All randomness comes from the generator that the caller passes.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from digit_utils.ink import BOX_SIZE, CENTRE, IMAGE_SIZE, PEN_WIDTH, Strokes, clean_strokes, fit_to_box

# ---------------------------------------------------------------------------------------------- pictures


@dataclass(frozen=True)
class PictureAugmentation:
    """How far pictures of digits are changed; every range is symmetric and drawn evenly."""

    rotation: float = 10.0  # degrees to either side
    shift: float = 2.0  # pixels to either side, in x and in y
    scale: float = 0.12  # in logarithm: 0.12 is from 0.89 to 1.13
    stretch: float = 0.0  # in logarithm of the aspect ratio
    shear: float = 0.15  # slant: pixels to the side for each pixel of height
    elastic: float = 0.0  # pixels: typical displacement of a smooth random warp
    pen: float = 0.0  # probability that the pen is made thinner or thicker
    fill_box: float = 0.0  # probability of a digit stretched to fill the whole box, as some scans are
    cubic: bool = False  # interpolation that keeps edges sharp; linear, which blurs a little, takes less time


MILD = PictureAugmentation()
STRONG = PictureAugmentation(
    rotation=10, shift=1, scale=0.12, stretch=0.15, shear=0.22, elastic=0.45, pen=0.3, fill_box=0.06, cubic=True
)


def augment_pictures(
    pictures: np.ndarray, rng: np.random.Generator, *, config: PictureAugmentation = MILD
) -> np.ndarray:
    """Return randomly changed copies of pictures.

    Args:
        pictures: (n, 28, 28) float32 in [0, 1], ink 1.
        rng: where the randomness comes from.
        config: how far.

    Returns:
        (n, 28, 28) float32 in [0, 1], a new array.
    """
    warped = _warped(np.asarray(pictures, np.float32), rng, config=config)
    if config.pen:
        _change_pens(warped, rng, probability=config.pen)
    return np.clip(warped, 0, 1, out=warped)


def _warped(pictures: np.ndarray, rng: np.random.Generator, *, config: PictureAugmentation) -> np.ndarray:
    """Return pictures (n, 28, 28) float32, each under its own smooth map."""
    matrices = random_affines(len(pictures), rng, config=config)
    if config.fill_box:
        _fill_box(matrices, pictures, rng, probability=config.fill_box)
    result = np.empty_like(pictures)
    interpolation = cv2.INTER_CUBIC if config.cubic else cv2.INTER_LINEAR
    maps = elastic_fields(len(pictures), rng, strength=config.elastic) if config.elastic else None
    for index, (picture, matrix) in enumerate(zip(pictures, matrices, strict=True)):
        if maps is None:
            flags = interpolation | cv2.WARP_INVERSE_MAP
            cv2.warpAffine(picture, matrix, (IMAGE_SIZE, IMAGE_SIZE), dst=result[index], flags=flags)
        else:
            x, y = _affine_grid(matrix)
            x += maps[index, 0] * np.float32(np.hypot(*matrix[0, :2]))  # in pixels of the result
            y += maps[index, 1]
            cv2.remap(picture, x, y, interpolation, dst=result[index])
    return result


def vary_sharpness(pictures: np.ndarray, rng: np.random.Generator, *, probability: float) -> None:
    """Make some of the pictures, (n, 28, 28) float32 in [0, 1], softer or sharper, in place.

    Scans are softer than drawings, pictures of few pixels softer than both. Were each kind always as sharp as it is,
    a network would learn to tell them apart by that, and to expect of each only what it saw of it.
    """
    for index in np.flatnonzero(rng.random(len(pictures)) < probability):
        blurred = cv2.GaussianBlur(pictures[index], (5, 5), 0.8)
        amount = rng.uniform(-0.6, 1.0)  # below 0 it is the unsharp mask
        pictures[index] = np.clip(pictures[index] + amount * (blurred - pictures[index]), 0, 1)


def random_affines(count: int, rng: np.random.Generator, *, config: PictureAugmentation) -> np.ndarray:
    """Return `count` random maps from new to old pixel positions, (count, 2, 3) float64, around the centre."""

    def spread(limit: float) -> np.ndarray:
        return rng.uniform(-limit, limit, count)

    angle, scale = np.deg2rad(spread(config.rotation)), np.exp(spread(config.scale))
    stretch, shear = np.exp(spread(config.stretch) / 2), spread(config.shear)
    cosine, sine = np.cos(angle) / scale, np.sin(angle) / scale
    linear = np.empty((count, 2, 2))
    linear[:, 0, 0], linear[:, 0, 1] = cosine * stretch, (sine + shear * cosine) * stretch
    linear[:, 1, 0], linear[:, 1, 1] = -sine / stretch, (cosine - shear * sine) / stretch
    centre = np.full(2, CENTRE - 0.5)  # OpenCV counts from the middle of pixel 0
    shift = np.stack([spread(config.shift), spread(config.shift)], axis=1)
    offset = centre - np.einsum("nij,nj->ni", linear, centre + shift)
    return np.concatenate([linear, offset[:, :, np.newaxis]], axis=2)


def _fill_box(matrices: np.ndarray, pictures: np.ndarray, rng: np.random.Generator, *, probability: float) -> None:
    """Narrow some of the maps horizontally, in place, so that a slim digit comes out as wide as it is high."""
    centre = CENTRE - 0.5
    for index in np.flatnonzero(rng.random(len(pictures)) < probability):
        columns = np.flatnonzero(pictures[index].max(axis=0) > 0.1)
        width = columns[-1] - columns[0] + 1 if len(columns) else BOX_SIZE
        narrow = np.clip(width / BOX_SIZE, 0.25, 1)  # beyond four times, a stem becomes a wall
        middle = (columns[0] + columns[-1]) / 2 if len(columns) else centre
        matrices[index, 0] *= narrow
        matrices[index, 0, 2] += middle - narrow * centre


def elastic_fields(count: int, rng: np.random.Generator, *, strength: float) -> np.ndarray:
    """Return smooth random displacements, (count, 2, 28, 28) float32, with a deviation of about `strength` pixels."""
    coarse = rng.normal(0, strength, (count, 5, 5, 2)).astype(np.float32)
    size = (IMAGE_SIZE, IMAGE_SIZE)
    fields = [cv2.resize(field, size, interpolation=cv2.INTER_CUBIC) for field in coarse]
    return np.ascontiguousarray(np.moveaxis(np.stack(fields), 3, 1)) if fields else np.zeros((0, 2, *size), np.float32)


_GRID_X, _GRID_Y = np.meshgrid(np.arange(IMAGE_SIZE, dtype=np.float32), np.arange(IMAGE_SIZE, dtype=np.float32))


def _affine_grid(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a = matrix.astype(np.float32)
    x = a[0, 0] * _GRID_X + a[0, 1] * _GRID_Y + a[0, 2]
    return x, a[1, 0] * _GRID_X + a[1, 1] * _GRID_Y + a[1, 2]


def _change_pens(pictures: np.ndarray, rng: np.random.Generator, *, probability: float) -> None:
    """Thin or thicken the ink of some pictures, in place, by blending with their erosion or dilation."""
    kernel = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    for index in np.flatnonzero(rng.random(len(pictures)) < probability):
        amount = rng.uniform(-0.7, 1.0)  # less when thinning: a pen of one pixel must not vanish
        changed = (cv2.erode if amount < 0 else cv2.dilate)(pictures[index], kernel)
        pictures[index] += abs(amount) * (changed - pictures[index])


# ----------------------------------------------------------------------------------------------- strokes


@dataclass(frozen=True)
class StrokeAugmentation:
    """How far strokes are changed. Lengths are parts of the digit's long side; deviations are of normal laws."""

    slant: float = 0.42  # sideways per height, to either side, drawn evenly; 0.42 is 23 degrees
    rotation: float = 8.0  # degrees to either side, drawn evenly
    stretch: float = 0.25  # in logarithm of the aspect ratio, to either side, drawn evenly
    bend: float = 0.035  # deviation of each of the three slow waves that warp the whole drawing
    tremor: float = 0.006  # deviation of a smoothed shake along the path
    gap: float = 0.02  # deviation of each stroke's own displacement
    end: float = 0.06  # strokes end up to this much early or late
    resample: float = 0.35  # probability of another sampling along the path, from about 10 points a digit up
    fill_box: float = 0.06  # probability of a drawing stretched to fill a square, as some scans are
    pen_width: tuple[float, float] = (1.6, 3.8)  # pixels; half of the drawings keep the usual pen


HAND = StrokeAugmentation()


def augment_strokes(
    strokes: Strokes, rng: np.random.Generator, *, config: StrokeAugmentation = HAND
) -> list[np.ndarray]:
    """Return the strokes as another hand might have drawn them.

    Args:
        strokes: list of (n, 2) arrays of numbers, any unit, at least one point in all.
        rng: where the randomness comes from.
        config: how far.

    Returns:
        As many strokes, (m, 2) float64, long side about 1, around (0, 0).
    """
    cleaned = fit_to_box(clean_strokes(strokes), long_side=1.0)
    changed = [_new_path(stroke, rng, config=config) for stroke in cleaned]
    sizes = np.cumsum([len(stroke) for stroke in changed])[:-1]
    points = np.concatenate(changed) @ _random_matrix(rng, config=config)
    points += _smooth_warp(points, rng, strength=config.bend)
    if rng.random() < config.fill_box:
        extent = np.ptp(points, axis=0)
        points *= np.clip(extent.max() / np.maximum(extent, 1e-9), 1, 4)  # beyond four times, a stem becomes a wall
    return np.split(points, sizes)


def random_pen_width(rng: np.random.Generator, *, config: StrokeAugmentation = HAND) -> float:
    """Return a pen width in pixels: the usual one every other time, else any from the configured range."""
    return PEN_WIDTH if rng.random() < 0.5 else float(rng.uniform(*config.pen_width))


def _random_matrix(rng: np.random.Generator, *, config: StrokeAugmentation) -> np.ndarray:
    """Return a (2, 2) matrix for row vectors: slant, then proportions, then rotation."""
    angle = np.deg2rad(rng.uniform(-config.rotation, config.rotation))
    slant = rng.uniform(-config.slant, config.slant)
    stretch = np.exp(rng.uniform(-config.stretch, config.stretch) / 2)
    cosine, sine = np.cos(angle), np.sin(angle)
    return (
        np.array([[1, 0], [-slant, 1]]) @ np.diag([stretch, 1 / stretch]) @ np.array([[cosine, sine], [-sine, cosine]])
    )


def _smooth_warp(points: np.ndarray, rng: np.random.Generator, *, strength: float) -> np.ndarray:
    """Return a displacement for each of the (n, 2) points that varies smoothly over the drawing: slow waves."""
    directions = rng.normal(0, 4.0, (2, 3))  # three waves of about one and a half periods over the drawing
    phases, sizes = rng.uniform(0, 2 * np.pi, 3), rng.normal(0, strength, (3, 2))
    return np.sin(points @ directions + phases) @ sizes


def _new_path(stroke: np.ndarray, rng: np.random.Generator, *, config: StrokeAugmentation) -> np.ndarray:
    """Return one stroke with its ends, its sampling, its tremor and its place changed."""
    if len(stroke) > 2:
        stroke = _resampled(stroke, rng, config=config)
        stroke = stroke + _tremor(len(stroke), rng, strength=config.tremor)
    return stroke + rng.normal(0, config.gap, 2)


def path_length(stroke: np.ndarray) -> np.ndarray:
    """Return the length of the path up to each of its (n, 2) points: (n,) float64, from 0."""
    return np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(stroke, axis=0).T))])


def _resampled(stroke: np.ndarray, rng: np.random.Generator, *, config: StrokeAugmentation) -> np.ndarray:
    """Cut a little off the ends or add a little, and sometimes sample the path anew, more or less densely."""
    along = path_length(stroke)
    length = along[-1]
    if length < 0.1:
        return stroke
    early, late = rng.uniform(-config.end, config.end, 2).clip(max=length / 8)
    count = len(stroke)
    if rng.random() < config.resample:
        # From what a slow tablet gives, some ten points a digit, to what a fast one does; evenly in logarithm.
        fewest = max(4, int(length * 2.5))
        count = int(fewest * np.exp(rng.uniform(0, np.log(30))))
    elif early == late == 0:
        return stroke
    at = np.linspace(early, length - late, max(count, 2))
    path = np.stack([np.interp(at, along, stroke[:, axis]) for axis in (0, 1)], axis=1)
    path[at < 0] += np.outer(at[at < 0], _direction(stroke[:4]))
    path[at > length] += np.outer(at[at > length] - length, _direction(stroke[-4:]))
    return path


def _direction(points: np.ndarray) -> np.ndarray:
    step = points[-1] - points[0]
    return step / max(np.hypot(*step), 1e-9)


def _tremor(count: int, rng: np.random.Generator, *, strength: float) -> np.ndarray:
    """Return a shake along a path of `count` points, (count, 2), smooth over five points."""
    noise = rng.normal(0, strength * 2.2, (count + 4, 2))  # the mean of five has 1/2.2 of the deviation
    sums = np.cumsum(np.concatenate([np.zeros((1, 2)), noise]), axis=0)
    return (sums[5:] - sums[:-5]) / 5


def without_augmentation(config: StrokeAugmentation = HAND) -> StrokeAugmentation:
    """Return a configuration that leaves strokes as they are, for comparisons."""
    return replace(
        config, slant=0, rotation=0, stretch=0, bend=0, tremor=0, gap=0, end=0, resample=0, fill_box=0,
        pen_width=(PEN_WIDTH, PEN_WIDTH),
    )  # fmt: skip


# --------------------------------------------------------------------------------- strokes as pictures


def photograph(strokes: Strokes, rng: np.random.Generator) -> np.ndarray:
    """Return strokes as a scanner, a canvas or a camera might show them: small or large, thin or thick, worn.

    Args:
        strokes: list of (n, 2) arrays of numbers, any unit, at least one point in all.
        rng: where the randomness comes from.

    Returns:
        (height, width) uint8, sides from about 6 to 330 pixels, dark on light or light on dark.
    """
    side = int(np.exp(rng.uniform(np.log(16), np.log(140))))
    ink = _drawn_on_page(strokes, side, rng)
    kind = rng.random()
    if kind < 0.2:
        return _either_polarity(_small_scan(ink, rng), rng)
    if rng.random() < 0.5:
        ink = cv2.GaussianBlur(ink, (0, 0), float(rng.uniform(0.3, 0.012 * side + 0.5)))
    if kind < 0.4:
        return _either_polarity(_black_and_white(ink, rng), rng)
    if kind < 0.6:
        return _either_polarity((ink * rng.uniform(0.2, 1.0)).astype(np.uint8), rng)
    return _either_polarity(_on_paper(ink, rng), rng)


def photograph_of_a_blank_page(rng: np.random.Generator) -> np.ndarray:
    """Return a photo of paper on which nobody wrote: (height, width) uint8, sides from 16 to 200 pixels."""
    page = np.zeros(tuple(rng.integers(16, 201, 2)), np.float32)
    return _either_polarity(_on_paper(page, rng), rng)


def _drawn_on_page(strokes: Strokes, side: int, rng: np.random.Generator) -> np.ndarray:
    """Draw strokes, long side `side` pixels, with some margin: (height, width) float32 up to 255, ink light."""
    fitted = fit_to_box(clean_strokes(strokes), long_side=float(side))
    everything = np.concatenate(fitted)
    low, high = everything.min(axis=0), everything.max(axis=0)
    scale = np.ones(2)
    if rng.random() < 0.3:  # some scans are stretched to their box
        scale = np.clip(side / np.maximum(high - low, 1), 1, 4)
    pen = side * np.exp(rng.uniform(np.log(0.015), np.log(0.22)))
    margin = pen / 2 + 1 + side * rng.choice([0.0, rng.uniform(0, 0.6)])
    width, height = (np.ceil((high - low) * scale + 2 * margin)).astype(int)
    page = np.zeros((height, width), np.uint8)
    for stroke in fitted:
        points = np.round(((stroke - low) * scale + margin) * 16).astype(np.int32)
        if len(points) == 1:
            points = np.repeat(points, 2, axis=0)
        cv2.polylines(page, [points], False, 255, max(1, round(pen)), cv2.LINE_AA, 4)
    ink = page.astype(np.float32)
    if rng.random() < 0.2:  # a dry or blotchy pen, or a faint pencil
        ink *= np.clip(_cloud(page.shape, rng, cell=max(1.5, pen / 2), between=(0.3, 1.4)), 0.2, 1)
    return ink


def _small_scan(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return ink as a picture of few pixels, long side 8 to 32, grey or black and white: uint8."""
    factor = rng.integers(8, 33) / max(ink.shape)
    size = np.maximum(1, np.round(factor * np.array(ink.shape[::-1]))).astype(int)
    small = cv2.resize(ink, size.tolist(), interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    if rng.random() < 0.4:
        small = 255.0 * (small > rng.uniform(60, 140))
    return small.astype(np.uint8)


def _black_and_white(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return ink with a threshold, and sometimes with salt on it and pepper around it: uint8."""
    black = ink > rng.uniform(40, 190)
    if rng.random() < 0.3:
        black ^= rng.random(ink.shape, np.float32) < rng.uniform(0, 0.004)
    return np.where(black, 255, 0).astype(np.uint8)


def _on_paper(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return ink as a camera sees it, in negative: lines on the paper, light, grain, compression; uint8, ink light."""
    shape, level, contrast = ink.shape, rng.uniform(120, 250), rng.uniform(0.2, 0.9)
    page = np.maximum(ink / 255, _ruled_lines(shape, rng)) if rng.random() < 0.3 else ink / 255
    light = level * (1 - contrast * page)
    if rng.random() < 0.6:
        light *= _cloud(shape, rng, cell=max(shape) / 1.5, between=(0.65, 1.1))
    if rng.random() < 0.25:
        light *= _shadow(shape, rng)
    if rng.random() < 0.7:
        light += level * contrast * rng.uniform(0.01, 0.1) * rng.standard_normal(shape, np.float32)
    photo = 255 - np.clip(light, 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        _, file = cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(12, 90))])
        photo = cv2.imdecode(file, cv2.IMREAD_GRAYSCALE)
    return photo


def _cloud(
    shape: tuple[int, int], rng: np.random.Generator, *, cell: float, between: tuple[float, float]
) -> np.ndarray:
    """Return a field, (height, width) float32, that varies smoothly from cell to cell: blotches, or uneven light."""
    cells = [max(2, int(np.ceil(length / cell)) + 1) for length in shape]
    field = rng.uniform(*between, cells).astype(np.float32)
    return cv2.resize(field, shape[::-1], interpolation=cv2.INTER_LINEAR)


def _ruled_lines(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Return the lines or squares of a page, (height, width) float32, too faint for anyone to read them."""
    spacing = max(shape) * rng.uniform(0.12, 0.6)
    lines = np.zeros(shape, np.float32)
    strength, width = float(rng.uniform(0.05, 0.3)), max(1, round(spacing * rng.uniform(0.02, 0.06)))
    for axis in (0, 1) if rng.random() < 0.5 else (rng.integers(2),):
        for place in np.arange(rng.uniform(0, spacing), shape[axis], spacing).astype(int):
            part = slice(place, place + width)
            lines[(part, slice(None)) if axis == 0 else (slice(None), part)] = strength
    return lines


def _shadow(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Return the light beside a hand's shadow with a straight, soft edge: (height, width) float32, 1 in full light."""
    angle, depth = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.6)
    down, right = (np.linspace(-0.5, 0.5, length, dtype=np.float32) for length in shape)
    distance = np.float32(np.sin(angle)) * down[:, np.newaxis] + np.float32(np.cos(angle)) * right
    soft = (distance - np.float32(rng.uniform(-0.3, 0.3))) / np.float32(rng.uniform(0.02, 0.3))
    return 1 - np.float32(depth) * np.clip(soft + 0.5, 0, 1)


def _either_polarity(page: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return 255 - page if rng.random() < 0.5 else page
