"""Synthetic numbers: digits of one hand set side by side as numbers are written, with marks, lines and neighbours.

Single digits are all that pendigits has. What makes a number hard is between them: overlap, touching digits, crossbars
that come late, a drifting baseline, small zeros, digits in pieces, a line under the whole, a letter beside it. Every
stroke keeps its owner, so that the right grouping of the strokes is known, and every other one is a wrong grouping.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from digit_utils.augmentation.allographs import ALLOGRAPHS, draw_allograph
from digit_utils.augmentation.non_digits import letter
from digit_utils.augmentation.strokes import DEFAULT, augment_strokes, path_length
from digit_utils.preprocessing.strokes import fit_to_box
from digit_utils.types import NUM_CLASSES, Strokes

MARKS = ".,-:/"
LINE = "_"  # an owner that is a line under, over or around the number: part of no text
OTHER = "?"  # an owner that is a character, but none of a number
IN_NUMBER = replace(DEFAULT, slant=0.06, rotation=3.0, stretch=0.12, fill_box=0.0)  # a hand varies less than hands do
ROWS = 12  # in which the free space between two characters is measured


@dataclass(frozen=True, eq=False)
class SyntheticNumber:
    """A number as somebody might have written it."""

    characters: str  # one for each owner, from left to right: digits, MARKS, LINE, OTHER
    strokes: list[np.ndarray]  # (n, 2) float64, x right, y down; a digit is about 1 high; in drawing order
    owners: list[int]  # the index in `characters` of the one that each stroke belongs to

    @property
    def text(self) -> str | None:
        """What it reads as, without lines; None where a character belongs to no number."""
        return None if OTHER in self.characters else self.characters.replace(LINE, "")


Hand = Sequence[Sequence[Strokes]]  # for each digit the drawings of one writer


def hands_of(strokes: Sequence[Strokes], labels: np.ndarray, writers: np.ndarray) -> list[Hand]:
    """Return each writer's drawings by digit; writers who lack one of the ten digits are left out."""
    hands = []
    for writer in np.unique(writers):
        places = [np.flatnonzero((writers == writer) & (labels == digit)) for digit in range(NUM_CLASSES)]
        if all(len(place) for place in places):
            hands.append([[strokes[index] for index in place] for place in places])
    return hands


def allograph_hand(rng: np.random.Generator) -> Hand:
    """Return a hand that writes each digit in one or two of the forms of `augmentation.allographs`."""
    hand = []
    for digit in range(NUM_CLASSES):
        forms = [form for form in ALLOGRAPHS if form.digit == digit]
        chosen = [forms[rng.integers(len(forms))] for _ in range(2)]
        hand.append([draw_allograph(form, rng) for form in chosen])
    return hand


def random_text(rng: np.random.Generator) -> str:
    """Return a number as text: a few digits, a decimal, a date, a time, a telephone number, ..."""

    def digits(low: int, high: int) -> str:
        return "".join(str(digit) for digit in rng.integers(0, 10, rng.integers(low, high + 1)))

    kind = rng.random()
    if kind < 0.12:
        return digits(1, 1)
    if kind < 0.62:
        return digits(2, 4) if rng.random() < 0.7 else digits(5, 10)
    if kind < 0.74:
        return digits(1, 3) + rng.choice([".", ","]) + digits(1, 3)
    if kind < 0.79:
        return digits(1, 2) + ":" + digits(2, 2) + (":" + digits(2, 2) if rng.random() < 0.3 else "")
    if kind < 0.84:
        mark = str(rng.choice([".", "/", "-"]))
        return mark.join([digits(1, 2), digits(1, 2), digits(2, 4)])
    if kind < 0.89:
        return digits(2, 4) + "-" + digits(2, 5)
    if kind < 0.92:
        return "-" + digits(1, 3) + (rng.choice([".", ","]) + digits(1, 2) if rng.random() < 0.3 else "")
    if kind < 0.95:
        return digits(1, 3) + "," + digits(3, 3) + (rng.choice([".", ","]) + digits(2, 3) if rng.random() < 0.5 else "")
    if kind < 0.97:
        return digits(1, 2) + "/" + digits(1, 2)
    return digits(1, 4) + str(rng.choice([".", ",", "-", ":"]))


def write_number(
    text: str, hand: Hand, rng: np.random.Generator, *, lines: float = 0.1, neighbours: float = 0.08
) -> SyntheticNumber:
    """Return a text of digits and MARKS as a hand might write it.

    Args:
        text: digits and MARKS.
        hand: the drawings of one writer, by digit.
        rng: where the randomness comes from.
        lines: probability of a line under or over the number, or a frame or ring around it.
        neighbours: probability that a letter or sign stands beside it.
    """
    style = _Style.random(rng)
    characters = list(text)
    if rng.random() < neighbours:
        characters.insert(0 if rng.random() < 0.3 else len(characters), OTHER)
    placed: list[list[np.ndarray]] = []
    for character in characters:
        placed.append(_set_beside(placed, _character(character, hand, rng, style=style), rng, style=style))
    slope = rng.normal(0, 0.05)
    placed = [[np.stack([s[:, 0], s[:, 1] + slope * s[:, 0]], axis=1) for s in strokes] for strokes in placed]
    if rng.random() < lines:
        characters.append(LINE)
        placed.append(_line_about(placed, rng))
    return _in_drawing_order("".join(characters), placed, rng, late=style.late)


@dataclass(frozen=True)
class _Style:
    """What stays the same throughout a number."""

    slant: float
    gap: float  # usual free space between characters, in heights
    spread: float  # of that space
    size: float  # deviation of the logarithm of a digit's height
    jitter: float  # deviation of a digit's place above or below the line
    old_style: bool  # 3, 4, 5, 7 and 9 go below the line
    small_zeros: bool
    pieces: float  # probability that a stroke is written in two
    late: float  # probability that a digit's last stroke is added after the number

    @classmethod
    def random(cls, rng: np.random.Generator) -> "_Style":
        tight = rng.random()
        gap = rng.uniform(0.0, 0.12) if tight < 0.2 else rng.uniform(0.1, 0.4) if tight < 0.8 else rng.uniform(0.4, 1)
        return cls(
            slant=float(rng.normal(0.08, 0.16)), gap=float(gap), spread=0.03 + 0.3 * float(gap),
            size=float(rng.uniform(0.02, 0.14)), jitter=float(rng.uniform(0, 0.08)),
            old_style=bool(rng.random() < 0.12), small_zeros=bool(rng.random() < 0.1),
            pieces=0.1 if rng.random() < 0.4 else 0.0, late=0.5 if rng.random() < 0.1 else 0.0,
        )  # fmt: skip


def _character(character: str, hand: Hand, rng: np.random.Generator, *, style: _Style) -> list[np.ndarray]:
    """Return the strokes of a character; x from about 0, the line's middle at y = 0, digits about 1 high."""
    if character in MARKS:
        return _slanted(_mark(character, rng), style.slant)
    if character == OTHER:
        strokes = _upright(augment_strokes(letter(rng), rng, config=IN_NUMBER)) if rng.random() < 0.8 else _sign(rng)
        size = rng.uniform(0.5, 1.1)
        return [stroke * size + [0, 0.5 * (1 - size) * (rng.random() < 0.7)] for stroke in strokes]
    drawings = hand[int(character)]
    strokes = augment_strokes(drawings[rng.integers(len(drawings))], rng, config=IN_NUMBER)
    strokes = _upright(_slanted(_in_pieces(strokes, rng, probability=style.pieces), style.slant))
    size, drop = np.exp(rng.normal(0, style.size)), rng.normal(0, style.jitter)
    if character == "0" and style.small_zeros:
        size *= rng.uniform(0.45, 0.8)
    if style.old_style and character in "34579":
        drop += rng.uniform(0.15, 0.35)
    return [stroke * size + [0, 0.5 * (1 - size) * rng.uniform(0, 1.2) + drop] for stroke in strokes]


def _slanted(strokes: Sequence[np.ndarray], slant: float) -> list[np.ndarray]:
    return [stroke @ np.array([[1.0, 0.0], [-slant, 1.0]]) for stroke in strokes]


def _upright(strokes: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return strokes one unit high, or less where they would be wider than 1.3, around (0, 0)."""
    points = np.concatenate(strokes)
    extent = np.ptp(points, axis=0)
    return fit_to_box(strokes, long_side=extent.max() / max(extent[1], extent[0] / 1.3, 1e-9))


def _in_pieces(strokes: Sequence[np.ndarray], rng: np.random.Generator, *, probability: float) -> list[np.ndarray]:
    """Return strokes of which some are written in two, at a corner where there is one: the pen was lifted."""
    result = []
    for stroke in strokes:
        if len(stroke) < 12 or rng.random() >= probability:
            result.append(stroke)
            continue
        inner = np.arange(len(stroke) // 4, len(stroke) - len(stroke) // 4)
        before, after = (
            stroke[inner] - stroke[inner - 3],
            stroke[inner + 3 - (inner + 3 >= len(stroke))] - stroke[inner],
        )
        turn = np.abs(np.arctan2(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0], (before * after).sum(axis=1)))
        cut = int(inner[turn.argmax()] if rng.random() < 0.7 else rng.choice(inner))
        result += [stroke[: cut + 1], stroke[cut:] + rng.normal(0, 0.03, 2)]
    return result


def _mark(mark: str, rng: np.random.Generator) -> list[np.ndarray]:
    """Return a mark at its place: digits reach from y = -0.5 to 0.5."""
    if mark == ".":
        return [_dot(rng) + np.array([0, 0.46 + rng.normal(-0.03, 0.05)])]
    if mark == ":":
        low = rng.uniform(0.15, 0.5)
        high = low - rng.uniform(0.25, 0.85)
        places = np.array([[rng.normal(0.05, 0.08), high], [0.0, low]])
        return [_dot(rng) + place for place in (places if rng.random() < 0.85 else places[::-1])]
    if mark == ",":
        length, lean = rng.uniform(0.15, 0.65), rng.uniform(0.0, 0.9)
        bow = rng.normal(0.1, 0.1) * length
        along = np.linspace(0, 1, 8)
        x = -lean * length * along + bow * 4 * along * (1 - along)
        return [np.stack([x, length * along + rng.uniform(0.3, 0.5)], axis=1)]
    if mark == "-":
        length, tilt = rng.uniform(0.12, 0.7), rng.normal(0, 0.15)
        along = np.linspace(0, 1, 8)
        wave = rng.normal(0, 0.02) * np.sin(np.pi * along)
        return [np.stack([length * along, tilt * length * along + wave + rng.normal(0.06, 0.12)], axis=1)]
    height, lean = rng.uniform(0.9, 1.6), rng.uniform(0.15, 0.75)
    along = np.linspace(0, 1, 10)
    if rng.random() < 0.3:
        along = along[::-1]
    bow = rng.normal(0, 0.03) * np.sin(np.pi * along)
    return [np.stack([lean * height * (1 - along) + bow, height * (along - 0.5) + rng.normal(0, 0.08)], axis=1)]


def _dot(rng: np.random.Generator) -> np.ndarray:
    """Return a dot: a point, a short dash in any direction, or a small ring."""
    kind, size = rng.random(), rng.uniform(0.01, 0.1)
    if kind < 0.3:
        return np.zeros((1, 2)) + rng.normal(0, 0.003, (int(rng.integers(1, 4)), 2))
    if kind < 0.75:
        angle = rng.uniform(-0.2, np.pi / 2) if rng.random() < 0.7 else rng.uniform(0, np.pi)
        return np.linspace(-0.5, 0.5, 4)[:, np.newaxis] * size * 2 * np.array([np.cos(angle), np.sin(angle)])
    turn = np.linspace(0, rng.uniform(4, 14), 16)
    return (
        1.3
        * size
        * np.linspace(rng.uniform(0.3, 1), 1, 16)[:, np.newaxis]
        * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    )


def _sign(rng: np.random.Generator) -> list[np.ndarray]:
    """Return a bracket, or one of + = x."""
    along = np.linspace(0, 1, 10)
    kind = rng.integers(4)
    if kind == 0:
        bow = rng.uniform(0.1, 0.3) * np.sin(np.pi * along) * rng.choice([-1, 1])
        return [np.stack([bow, 1.3 * (along - 0.5)], axis=1)]
    level = np.stack([0.6 * along, np.zeros(10)], axis=1)
    if kind == 1:
        return [level, np.stack([np.full(10, 0.3), 0.6 * (along - 0.5)], axis=1)]
    if kind == 2:
        return [level - np.array([0, 0.12]), level + np.array([0, 0.12])]
    return [np.stack([0.6 * along, 0.6 * (along - 0.5)], axis=1), np.stack([0.6 * along, 0.6 * (0.5 - along)], axis=1)]


def _set_beside(
    placed: list[list[np.ndarray]], strokes: list[np.ndarray], rng: np.random.Generator, *, style: _Style
) -> list[np.ndarray]:
    """Return a character moved to its place after the last one: what counts is the free space between their ink."""
    left = min(stroke[:, 0].min() for stroke in strokes)
    if not placed:
        return [stroke - [left, 0] for stroke in strokes]
    before = np.concatenate(placed[-1])
    points = np.concatenate(strokes)
    gap = rng.normal(style.gap, style.spread)
    edges = np.linspace(-1.2, 1.2, ROWS + 1)
    free = np.inf
    for low, high in pairwise(edges):
        a = before[(before[:, 1] >= low - 0.1) & (before[:, 1] < high + 0.1), 0]
        b = points[(points[:, 1] >= low - 0.1) & (points[:, 1] < high + 0.1), 0]
        if len(a) and len(b):
            free = min(free, b.min() - a.max())
    # Never so far back that one stands within the other.
    narrower = min(np.ptp(before[:, 0]), np.ptp(points[:, 0]))
    boxes = left - before[:, 0].max()
    most_overlap = 0.6 * narrower if narrower > 0.15 else -0.02
    shift = max(gap - free, gap - boxes - max(most_overlap, 0) - abs(gap)) if np.isfinite(free) else gap - boxes
    shift = max(shift, -boxes - most_overlap)
    return [stroke + np.array([shift, 0]) for stroke in strokes]


def _line_about(placed: list[list[np.ndarray]], rng: np.random.Generator) -> list[np.ndarray]:
    """Return a line under or over a number, or a frame or ring around it, in one stroke or several."""
    points = np.concatenate([stroke for strokes in placed for stroke in strokes])
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    pad = rng.uniform(0.04, 0.3, 4)
    left, right = left - pad[0] * rng.choice([-0.3, 1.5]), right + pad[1] * rng.choice([-0.3, 1.5])
    along = np.linspace(0, 1, 20)
    kind = rng.random()
    if kind < 0.65:
        y = bottom + pad[2] if rng.random() < 0.75 else top - pad[3]
        level = np.stack([left + (right - left) * along, y + rng.normal(0, 0.04) * along], axis=1)
        level[:, 1] += rng.normal(0, 0.02) * np.sin(2 * np.pi * along)
        return [level] if rng.random() < 0.85 else [level, level + np.array([0, rng.uniform(0.06, 0.15)])]
    if kind < 0.85:
        corners = np.array(
            [[left, top - pad[3]], [left, bottom + pad[2]], [right, bottom + pad[2]], [right, top - pad[3]]]
        )
        corners = (
            corners + rng.normal(0, 0.03, corners.shape) + np.array([[-0.05, 0], [-0.05, 0], [0.05, 0], [0.05, 0]])
        )
        sides = [np.linspace(corners[i], corners[(i + 1) % 4], 12) for i in range(4)]
        return [np.concatenate(sides)] if rng.random() < 0.6 else sides
    turn = np.linspace(0, 2 * np.pi * rng.uniform(0.95, 1.1), 60) - rng.uniform(0, 2 * np.pi)
    radii = [(right - left) / 2 * 1.35 + 0.1, (bottom - top) / 2 * 1.35 + 0.1]
    return [np.stack([np.cos(turn), np.sin(turn)], axis=1) * radii + [(left + right) / 2, (top + bottom) / 2]]


def _in_drawing_order(
    characters: str, placed: list[list[np.ndarray]], rng: np.random.Generator, *, late: float
) -> SyntheticNumber:
    """Return the number with its strokes in the order in which they are drawn: some crossbars come late."""
    now, later = [], []
    for owner, strokes in enumerate(placed):
        entries = [(stroke, owner) for stroke in strokes]
        if len(entries) > 1 and characters[owner].isdigit() and rng.random() < late:
            later.append(entries.pop())
        now += entries
    drawn = now + later
    return SyntheticNumber(characters, [stroke for stroke, _ in drawn], [owner for _, owner in drawn])


def random_numbers(
    count: int, hands: Sequence[Hand], rng: np.random.Generator, *, allographs: float = 0.4
) -> list[SyntheticNumber]:
    """Return numbers by some hands, and a part `allographs` of them by hands that write our own forms."""
    numbers = []
    for _ in range(count):
        own = not len(hands) or rng.random() < allographs
        hand = allograph_hand(rng) if own else hands[rng.integers(len(hands))]
        numbers.append(write_number(random_text(rng), hand, rng))
    return numbers


LONGEST_RUN = 4  # strokes of a wrong group
LEAST_PART = 0.25  # of a character's path; less of it may be missing or added without anybody seeing it
STRAIGHT, CLOSED = 0.9, 0.25  # chord by length: a part of a digit that is straighter is a 1, one that closes is a 0


def lattice_junk(count: int, hands: Sequence[Hand], rng: np.random.Generator, **options) -> list[list[np.ndarray]]:
    """Return wrong groups of neighbouring strokes, as a lattice tries them: parts of digits, and parts of several.

    They are no digits, and a network that has seen them says so. What may pass for a digit is left out: a digit that
    lacks only a short stroke (a 7 without its bar), a stem, a ring, a digit with no more than a dot beside it.

    Args:
        count: how many.
        hands: the drawings of some writers, see `hands_of`; may be empty.
        rng: where the randomness comes from.
        options: of `random_numbers`.
    """
    groups: list[list[np.ndarray]] = []
    while len(groups) < count:
        (number,) = random_numbers(1, hands, rng, **options)
        order = np.argsort([stroke[:, 0].min() + stroke[:, 0].max() for stroke in number.strokes], kind="stable")
        start = int(rng.integers(len(order)))
        places = order[start : start + int(rng.integers(1, LONGEST_RUN + 1))].tolist()
        if is_wrong_group(number, places):
            groups.append([number.strokes[place] for place in sorted(places)])
    return groups


def is_wrong_group(number: SyntheticNumber, places: Sequence[int]) -> bool:
    """Return whether some strokes of a number are clearly no digit: see `lattice_junk`."""
    lengths = np.array([path_length(stroke)[-1] for stroke in number.strokes])
    owners = np.array(number.owners)
    chosen = np.isin(np.arange(len(owners)), places)
    parts = {
        owner: lengths[chosen & (owners == owner)].sum() / max(lengths[owners == owner].sum(), 1e-9)
        for owner in set(owners[chosen].tolist())
    }
    total = lengths[chosen].sum()
    weighty = [
        owner
        for owner, part in parts.items()
        if part >= LEAST_PART and lengths[chosen & (owners == owner)].sum() >= LEAST_PART * total
    ]
    if len(weighty) > 1:
        return True
    if len(parts) > 1 or not number.characters[weighty[0] if weighty else owners[places[0]]].isdigit():
        return False
    stroke = number.strokes[places[0]]
    shape = np.hypot(*(stroke[-1] - stroke[0])) / max(lengths[places[0]], 1e-9)
    part = next(iter(parts.values()))
    return bool(part < 1 - LEAST_PART and len(places) == 1 and CLOSED < shape < STRAIGHT)
