"""Synthetic non-digits, with which the network learns to reject what is not a digit (outlier exposure).

Hendrycks et al., 2019, "Deep anomaly detection with outlier exposure": a network trained to reject some outliers also
rejects others. The non-digits are letters and signs of Hershey's vector fonts (Hershey, 1967, "Calligraphy for
computers") and of `digit_utils.augmentation.letters`, deformed like handwriting, scribbles, doodles, several digits
side by side, lines, dots and blobs. Letters and signs with the shape of a digit (O, l, I, Z, S, a straight q, |, ...)
are left out: an O may well be meant as a zero. So is everything of the datasets and fonts on which rejection is
evaluated. What only resembles a digit (B, D, G, Q, y, a looped g, ?) is included: digits are so many more in training
that they are still accepted.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import cv2
import numpy as np

from digit_utils.augmentation.allographs import draw_skeleton, random_allographs, smooth_curve
from digit_utils.augmentation.images import MILD, STRONG, augment_images
from digit_utils.augmentation.letters import LETTERS, SIGNS
from digit_utils.augmentation.photos import photograph, photograph_of_a_blank_page
from digit_utils.augmentation.strokes import augment_strokes, random_pen_width
from digit_utils.preprocessing.images import ink_from_image
from digit_utils.preprocessing.strokes import BOX_SIZE, ink_from_strokes
from digit_utils.types import IMAGE_SIZE, Strokes

# The usable glyphs of each font by their keys, chosen by eye; glyphs with the shape of a digit are missing.
GLYPHS = {
    "futural": "ABCDEFGHJKLMNPQRTUVWXYacdefhijkmnprtuvwxy!#$%&*+:;<=>?@[^~",
    "scripts": "ABCDEFGHKLMNPRTUVWXacdefhijkmnprtuvwx&?",
    "timesi": "ABCDEFGHJKLMNPQRTUVWXYacdefhijkmnprtuvwxy!?",
    "timesr": "ABCDEFGHJKLMNPQRTUVWXYacdefhijkmnprtuvwxy!?",
    "gothiceng": "ABCDEFGHKLMNPQRTUVWXYacdefhijkmnprtuvw",
    "greeks": "CDGJLNPRVWXaegjklmptvwx",
    "greek": "CDEFGHKMNPQRSTUWXYacefgkmnpqrvwxy",
    "cyrillic": "$%&CDEFGHKLMNPQRSTUVWX[]^`acdfhkmqtuw",
    "mathlow": "!\"#&'?@^_adefghiknwxy",
    "symbolic": "36789<>CDEFGJKLMNOPQRSTUWXYZabcdefhijklmnop",
    "astrology": "!$%&'+/:;=>?@[]^_`{|}~",
    "music": "',/;<=>?@",
    "meteorology": "\"#$&'():;_`|",
    "japanese": "$%&')*+,-./ADEFGIKMNPUVWXZ\\^_`abcdfhln",
}
WRITTEN = 0.4  # share of letters and of signs that are pen paths of `letters` instead of glyphs: chosen by hand
LETTER_FONTS = ("futural", "scripts", "timesi", "timesr", "gothiceng", "greeks", "greek", "cyrillic")


@cache
def _glyphs(fonts: tuple[str, ...]) -> list[list[np.ndarray]]:
    """Return the strokes of all usable glyphs of some fonts."""
    from HersheyFonts import HersheyFonts

    drawings = []
    for font in fonts:
        writer = HersheyFonts()
        writer.load_default_font(font)
        for key in GLYPHS[font]:
            strokes = [_refined(np.array(path, np.float64)) for path in writer.strokes_for_text(key)]
            drawings.append([stroke for stroke in strokes if len(stroke)])
    return drawings


def _refined(path: np.ndarray) -> np.ndarray:
    """Put points along the straight pieces of a glyph's path, so that it can be bent."""
    if len(path) < 2:
        return path
    along = np.arange(len(path))
    at = np.linspace(0, len(path) - 1, max(12, 3 * len(path)))
    return np.stack([np.interp(at, along, path[:, axis]) for axis in (0, 1)], axis=1)


def letter(rng: np.random.Generator) -> Strokes:
    """Return a letter, Latin, Greek or Cyrillic, printed or written."""
    if rng.random() < WRITTEN:
        return _written(tuple(LETTERS.values()), rng)
    return _pick(_glyphs(LETTER_FONTS), rng)


def sign(rng: np.random.Generator) -> Strokes:
    """Return a mathematical or other sign, or a Japanese character."""
    if rng.random() < WRITTEN:
        return _written(tuple(SIGNS.values()), rng)
    return _pick(_glyphs(tuple(font for font in GLYPHS if font not in LETTER_FONTS)), rng)


def _written(characters: Sequence[tuple[tuple[str, ...], ...]], rng: np.random.Generator) -> Strokes:
    """Return one of some characters, evenly, in one of its forms."""
    forms = characters[rng.integers(len(characters))]
    return draw_skeleton(forms[rng.integers(len(forms))], rng)


def word(rng: np.random.Generator) -> Strokes:
    """Return two to four letters side by side."""
    return side_by_side([letter(rng) for _ in range(rng.integers(2, 5))], rng)


def several_digits(rng: np.random.Generator) -> Strokes:
    """Return two or three digits side by side."""
    drawings, _ = random_allographs(int(rng.choice([2, 2, 2, 3])), rng)
    return side_by_side([augment_strokes(drawing, rng) for drawing in drawings], rng)


def side_by_side(drawings: Sequence[Strokes], rng: np.random.Generator) -> list[np.ndarray]:
    """Return drawings next to each other, of about one height, as one."""
    result, edge = [], 0.0
    for drawing in drawings:
        points = np.concatenate(drawing)
        low, high = points.min(axis=0), points.max(axis=0)
        height = max(high[1] - low[1], 0.5 * (high[0] - low[0]), 1e-9) / rng.uniform(0.85, 1.1)
        edge += rng.uniform(0.12, 0.35)
        result += [(stroke - low) / height + [edge, rng.normal(0, 0.04)] for stroke in drawing]
        edge += (high[0] - low[0]) / height
    return result


def crossed_out(rng: np.random.Generator) -> Strokes:
    """Return a digit that its writer struck out, with two to five strokes: one alone could be the bar of a 7."""
    (drawing,), _ = random_allographs(1, rng)
    strikes = rng.uniform(-0.1, 1.1, (rng.integers(2, 6), 2, 2))
    strikes[:, 0, 0], strikes[:, 1, 0] = rng.uniform(-0.2, 0.1, len(strikes)), rng.uniform(0.9, 1.2, len(strikes))
    return [*drawing, *strikes]


def scribble(rng: np.random.Generator) -> Strokes:
    """Return an aimless curve: random points, a zigzag, a spiral, loops, or hatching."""
    count = int(rng.integers(5, 18))
    along = np.linspace(0, 1, 10 * count)
    kind = rng.integers(5)
    if kind == 0:
        return [smooth_curve(rng.random((count, 2))) for _ in range(rng.integers(1, 4))]
    if kind == 1:
        zigzag = np.stack([np.linspace(0, rng.uniform(0.6, 2.5), count), np.arange(count) % 2], axis=1)
        return [zigzag + rng.normal(0, 0.06, zigzag.shape)]
    if kind == 2:  # at least two turns, so that it is no 6, 9 or 0
        angle = 2 * np.pi * rng.uniform(2.2, 5) * along * rng.choice([-1, 1])
        radius = rng.uniform(0.02, 0.2) + along
        return [np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)]
    if kind == 3:
        turns = rng.integers(3, 7)
        angle = 2 * np.pi * turns * along
        return [np.stack([np.cos(angle) + angle * rng.uniform(0.1, 0.25), np.sin(angle)], axis=1)]
    slope = rng.normal(0, 0.5)
    return [np.array([[x, 0], [x + slope, 1]]) + rng.normal(0, 0.04, (2, 2)) for x in np.linspace(0, 1, count)]


def doodle(rng: np.random.Generator) -> Strokes:
    """Return a simple figure: a star, heart, face, house, arrow, wave, cross, grid or flower."""
    return _pick(_doodles(), rng)


@cache
def _doodles() -> list[list[np.ndarray]]:
    turn = np.linspace(0, 2 * np.pi, 40)
    circle = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    heart = np.stack([16 * np.sin(turn) ** 3, -13 * np.cos(turn) + 5 * np.cos(2 * turn)], axis=1)
    star_angles = np.arange(6) * 0.8 * np.pi - np.pi / 2
    star = np.stack([np.cos(star_angles), np.sin(star_angles)], axis=1)
    line = np.linspace([-1.0, 0.0], [1.0, 0.0], 20)
    smile = 0.55 * circle[3:18]
    eyes = [0.08 * circle + [x, -0.3] for x in (-0.35, 0.35)]
    square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]], np.float64)
    roof = np.array([[-1.1, -1], [0, -2], [1.1, -1]])
    wave = np.stack([np.linspace(0, 4, 60), 0.5 * np.sin(np.linspace(0, 7 * np.pi, 60))], axis=1)
    petals = np.stack([np.cos(turn) * np.cos(2.5 * turn), np.sin(turn) * np.cos(2.5 * turn)], axis=1)
    rotated, across = line[:, ::-1], np.array([0.0, 0.4])
    return [
        [star],
        [heart],
        [circle, smile, *eyes],
        [square, roof],
        [square, roof, 0.3 * square + [0, 0.7]],
        [line, np.array([[0.5, -0.5], [1, 0], [0.5, 0.5]])],
        [wave],
        [line, rotated],
        [line, rotated, square],
        [line + across, line - across, rotated + across[::-1], rotated - across[::-1]],
        [np.tile(petals, (2, 1))],
        [circle, *[np.array([[1.2 * np.cos(a), 1.2 * np.sin(a)], [1.8 * np.cos(a), 1.8 * np.sin(a)]])
                   for a in np.arange(8) * np.pi / 4]],
        [square, line, rotated],
        [square, 0.5 * square],
        [circle, 0.45 * circle],
        [np.array([[-1, 1], [0, -0.8], [1, 1], [-1, 1]])],
        [circle, line, rotated],
    ]  # fmt: skip


def line_or_dots(rng: np.random.Generator) -> Strokes:
    """Return a line that is too level for a 1, parallel lines, or one to six dots."""
    kind = rng.integers(3)
    if kind == 0:
        slope = rng.uniform(-0.45, 0.45)
        return [np.array([[0, 0], [0.5, slope / 2 + rng.normal(0, 0.03)], [1, slope]])]
    if kind == 1:
        count, slope = rng.integers(2, 5), rng.uniform(-0.3, 0.3)
        return [np.array([[0, 0], [1, slope]]) + np.array([rng.normal(0, 0.05), 0.45 * k]) for k in range(count)]
    return [rng.random((1, 2)) for _ in range(rng.choice([1, 1, 1, 2, 3, 4, 5, 6]))]


STROKE_KINDS: dict[Callable[[np.random.Generator], Strokes], float] = {
    letter: 0.38,
    sign: 0.2,
    several_digits: 0.12,
    word: 0.05,
    crossed_out: 0.04,
    scribble: 0.11,
    doodle: 0.05,
    line_or_dots: 0.05,
}  # relative frequencies, chosen by hand; letters are frequent because those of school fonts were taken for digits


BLANK_PAGES = 0.1  # share of the photographed non-digits that show only paper: lines, shadows and noise


def random_non_digits(
    count: int, rng: np.random.Generator, *, blobs: float = 0.18, photographed: float = 0.0
) -> np.ndarray:
    """Return ink of random non-digits.

    Args:
        count: how many.
        rng: where the randomness comes from.
        blobs: the share that are filled shapes and textures instead of pen strokes.
        photographed: the share of the drawings that are degraded images instead of clean strokes.

    Returns:
        (count, 28, 28) float32 in [0, 1].
    """
    kinds, weights = list(STROKE_KINDS), np.array(list(STROKE_KINDS.values()))
    chosen = rng.choice(len(kinds), size=count, p=weights / weights.sum())
    result = np.zeros((count, IMAGE_SIZE, IMAGE_SIZE), np.float32)
    for index, (kind, as_blob) in enumerate(zip(chosen, rng.random(count) < blobs, strict=True)):
        if as_blob:
            result[index] = blob(rng)
        else:
            strokes = augment_strokes(kinds[kind](rng), rng)
            if rng.random() < photographed:
                result[index] = _photographed(strokes, rng)
            if not result[index].any():  # not photographed, or faded to a blank page
                result[index] = ink_from_strokes(strokes, pen_width=random_pen_width(rng))
    return result


def _photographed(strokes: Strokes, rng: np.random.Generator) -> np.ndarray:
    """Return the ink found in a degraded image of strokes, or in one of a blank page."""
    if rng.random() >= BLANK_PAGES:
        return ink_from_image(photograph(strokes, rng))
    pages = (ink_from_image(photograph_of_a_blank_page(rng)) for _ in range(20))  # most are recognised as blank
    return next((page for page in pages if page.any()), np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.float32))


AS_SCANNED = replace(MILD, cubic=STRONG.cubic)  # warped as digits are, so that they cannot be told apart by their blur
TURNED_DIGITS = (3, 4)  # rotated by 90 degrees these are no digits; the others may be, or look like an S, N or L


def non_digits_of_scans(ink: np.ndarray, labels: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return non-digits made of scanned digits: some rotated by 90 degrees, some two or three in a row.

    Args:
        ink: (n, 28, 28) float32 in [0, 1], scanned digits.
        labels: (n,) digits.
        count: how many.
        rng: where the randomness comes from.

    Returns:
        (count, 28, 28) float32 in [0, 1].
    """
    turnable = np.flatnonzero(np.isin(labels, TURNED_DIGITS))
    result = np.empty((count, IMAGE_SIZE, IMAGE_SIZE), np.float32)
    for index in range(count):
        if rng.random() < 0.5 and len(turnable):
            page = np.rot90(ink[turnable[rng.integers(len(turnable))]], rng.choice([1, 3]))
        else:
            row = [_columns_with_ink(ink[place]) for place in rng.integers(len(ink), size=rng.choice([2, 2, 3]))]
            page = np.concatenate(row, axis=1)
        result[index] = ink_from_image(np.pad((255 * page).astype(np.uint8), 2))
    return augment_images(result, rng, config=AS_SCANNED)


def _columns_with_ink(image: np.ndarray) -> np.ndarray:
    """Return a (28, 28) image without all but one of its empty columns on the left and on the right."""
    columns = np.flatnonzero(image.max(axis=0) > 0.1)
    return image[:, max(columns[0] - 1, 0) : columns[-1] + 2] if len(columns) else image


def blob(rng: np.random.Generator) -> np.ndarray:
    """Return filled shapes with shades and textures, (28, 28) float32 in [0, 1], normalised like any image."""
    side = 56
    page = np.zeros((side, side), np.uint8)
    for _ in range(rng.integers(1, 5)):
        shade = int(rng.integers(90, 256))
        if rng.random() < 0.4:
            centre, axes = rng.integers(10, 46, 2).tolist(), rng.integers(4, 24, 2).tolist()
            cv2.ellipse(page, centre, axes, float(rng.uniform(0, 180)), 0, 360, shade, cv2.FILLED)
        else:
            corners = rng.integers(2, side - 2, (rng.integers(3, 7), 2)).astype(np.int32)
            cv2.fillPoly(page, [cv2.convexHull(corners) if rng.random() < 0.7 else corners], shade)
    if rng.random() < 0.4:  # many things are symmetric
        page = np.maximum(page, page[:, ::-1])
    if rng.random() < 0.5:
        texture = cv2.resize(rng.random((BOX_SIZE, BOX_SIZE)).astype(np.float32), (side, side))
        page = (page * (0.4 + 0.6 * texture)).astype(np.uint8)
    return ink_from_image(page)


def _pick(drawings: Sequence[Strokes], rng: np.random.Generator) -> Strokes:
    return drawings[rng.integers(len(drawings))]
