"""Numbers: a line of ink becomes a text of digits and marks, with the ink and the prediction of each character.

Every group of neighbouring pieces is shown to the recogniser as one digit. A small network, the number head, then
weighs what the recogniser says against what normalising destroys (size, place on the line, gaps, overlaps), and scores
how well the group would do as each digit, as a mark, as a line around the number, or as a character of no number. The
likeliest path through the lattice of groups is the number. The head is fitted to synthetic numbers by
`digit_utils.training.numbers`, with any recogniser that has calibrated probabilities and a digit score.
"""

import io
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from digit_utils.files import atomic_write
from digit_utils.preprocessing.strokes import clean_strokes, ink_from_strokes
from digit_utils.recognition.formats import format_penalty
from digit_utils.recognition.lattice import Lattice, best_paths, lattice_of, log_partition
from digit_utils.recognition.recognizer import Prediction, predictions_of
from digit_utils.recognition.segmentation import GEOMETRY_FEATURES, Pieces, candidate_groups, geometry, pieces_of
from digit_utils.types import NUM_CLASSES, Strokes

LINE, OTHER = "_", "?"  # labels: a line under or around the number; a character that belongs to no number
LABELS = "0123456789.,-:/" + LINE + OTHER
EVIDENCE_FEATURES = NUM_CLASSES + 3
FEATURES = GEOMETRY_FEATURES + EVIDENCE_FEATURES
# Added to the head's scores, in nats, because synthetic numbers hold far more marks and letters than what people draw
# on a pad: chosen on development numbers of other people.
BIASES = {"/": -4.0, OTHER: -2.5, ",": -3.0, "-": 1.5}
BUNDLED_HEAD = Path(__file__).parents[1] / "models" / "numbers.npz"
MAX_PIECES = 80  # of a line; more are no number
LEAST_CONFIDENCE = 0.03  # of a number; what is read with less is none
PATHS = 8  # that are kept for alternatives and for the confidence
CHOICES = 5  # labels of a group that are kept
CACHE_SIZE = 1024  # groups whose ink and prediction are kept; each takes 4 kB
FARTHEST_INPUT = 6.0  # standard deviations; the head has seen nothing beyond


@dataclass(frozen=True, eq=False)
class Character:
    """One character of a number."""

    text: str  # a digit or one of . , - : /
    prediction: Prediction = field(repr=False)  # of its ink alone, as a digit
    strokes: tuple[int, ...]  # indices of its strokes; of its components, in an image
    box: tuple[float, float, float, float]  # x, y, width, height, in the units of the input


@dataclass(frozen=True)
class Alternative:
    """Another reading of a number."""

    text: str
    confidence: float
    digits: tuple[Character, ...] = field(default=(), repr=False, compare=False)  # as in a `Number`


@dataclass(frozen=True, eq=False)
class Number:
    """What the recogniser makes of one line of ink."""

    text: str | None  # "" without ink; None when the ink is judged to be no number
    confidence: float  # in [0, 1]: calibrated probability that the whole text is right
    digits: tuple[Character, ...] = ()  # in reading order; a character that belongs to no number has the text "?"
    alternatives: tuple[Alternative, ...] = ()  # best first

    @property
    def box(self) -> tuple[float, float, float, float] | None:
        """The box around all characters, (x, y, width, height); None without any."""
        if not self.digits:
            return None
        left, top = (min(character.box[axis] for character in self.digits) for axis in (0, 1))
        right, bottom = (
            max(character.box[axis] + character.box[axis + 2] for character in self.digits) for axis in (0, 1)
        )
        return left, top, right - left, bottom - top


@dataclass(frozen=True)
class Candidate:
    """A group of strokes that may be one character of a number."""

    text: str  # its likeliest character, one of LABELS
    probability: float  # in [0, 1]: that it is a character of the number, over all ways to group the strokes
    strokes: tuple[int, ...]  # indices, in drawing order


@dataclass(frozen=True, eq=False)
class NumberHead:
    """A network with one hidden layer, from the features of a group to a score for each of LABELS."""

    mean: np.ndarray  # (FEATURES,) float: of the training data
    deviation: np.ndarray  # (FEATURES,)
    weights: tuple[np.ndarray, ...]  # (FEATURES, hidden), (hidden,), (hidden, labels), (labels,)
    calibration: tuple[float, float] = (1.0, 0.0)  # slope and offset of the confidence's log-odds (Platt, 1999)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Return the score (n, labels) of groups with features (n, FEATURES), before the digits' probabilities."""
        inputs = ((features - self.mean) / self.deviation).clip(-FARTHEST_INPUT, FARTHEST_INPUT)
        hidden, hidden_bias, out, out_bias = self.weights
        return np.maximum(inputs @ hidden + hidden_bias, 0) @ out + out_bias

    def calibrated(self, probability: float) -> float:
        """Return the probability that a text is right whose paths have this probability in the lattice."""
        slope, offset = self.calibration
        clipped = min(max(probability, 1e-6), 1 - 1e-6)
        return float(1 / (1 + np.exp(-slope * np.log(clipped / (1 - clipped)) - offset)))

    def save(self, path: str | Path) -> None:
        """Write the head as an `.npz` file, atomically."""
        buffer = io.BytesIO()
        names = ("hidden", "hidden_bias", "out", "out_bias")
        arrays = dict(zip(names, self.weights, strict=True)) | {"mean": self.mean, "deviation": self.deviation}
        small = {name: array.astype(np.float32) for name, array in arrays.items()}
        np.savez_compressed(buffer, labels=LABELS, calibration=np.array(self.calibration), **small)
        with atomic_write(path) as temporary:
            Path(temporary).write_bytes(buffer.getvalue())

    @classmethod
    def load(cls, path: str | Path = BUNDLED_HEAD) -> "NumberHead":
        """Read a head. Raises ValueError, which names the file, when it was fitted to other features or labels."""
        with np.load(path, allow_pickle=False) as data:
            if str(data["labels"]) != LABELS or data["mean"].shape != (FEATURES,):
                raise ValueError(
                    f"{path} is of another version; fit it again with `python -m digit_utils.training.numbers`"
                )
            weights = tuple(data[name].astype(np.float64) for name in ("hidden", "hidden_bias", "out", "out_bias"))
            slope, offset = data["calibration"].tolist()
            return cls(data["mean"].astype(np.float64), data["deviation"].astype(np.float64), weights, (slope, offset))


def evidence(probabilities: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return the recogniser's part of the features, (n, EVIDENCE_FEATURES): of probabilities (n, 10), scores (n,)."""
    logarithms = np.sort(np.log(np.maximum(probabilities, 1e-6)), axis=1)
    clipped = np.clip(scores, 1e-6, 1 - 1e-6)
    log_odds = np.log(clipped / (1 - clipped))
    return np.column_stack([log_odds, logarithms[:, -1].clip(-5), logarithms[:, -2].clip(-8), probabilities])


def label_scores(head_scores: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the log-weight (n, labels) of groups: the head's scores, with the recogniser's log-probabilities."""
    scores = head_scores.copy()
    scores[:, :NUM_CLASSES] += np.log(np.maximum(probabilities, 1e-12))
    return scores


def keep_alone(head_scores: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the head's scores (n, labels), of which those for digits are one where a group is all the ink.

    A digit alone has no line and no neighbours to be read by, so the recogniser's reading of it stands.
    """
    alone = groups.all(axis=1)
    scores = head_scores.copy()
    scores[alone, :NUM_CLASSES] = scores[alone, :NUM_CLASSES].mean(axis=1, keepdims=True)
    return scores


_BIAS = np.array([BIASES.get(label, 0.0) for label in LABELS])


KnownCharacters = Mapping[tuple[int, ...], str]  # indices of strokes: the one of LABELS that they are


class NumberReader:
    """Reads numbers with a recogniser and a number head. Safe to share between threads.

    The ink and prediction of groups are kept, so that one more stroke costs only the groups that it belongs to.
    `recognizer` is anything with a `card` and `probabilities_and_scores`.
    """

    def __init__(self, recognizer: object):
        self._recognizer = recognizer
        self._head = NumberHead.load()
        self._cache: OrderedDict[tuple[bytes, ...], tuple[np.ndarray, np.ndarray, float]] = OrderedDict()
        self._lock = threading.Lock()

    def read_strokes(self, strokes: Strokes, *, known: KnownCharacters | None = None) -> Number:
        """Read one line of characters from (n, 2) strokes, x right, y down, any unit, in any order.

        `known` are characters that somebody has said: each is read so, and keeps its strokes for itself.

        Raises ValueError when a stroke is not an (n, 2) array of numbers.
        """
        paths, names, ink_of = _cleaned(strokes)
        return self.read(paths, ink_of, keys=[path.tobytes() for path in paths], names=names, known=known)

    def candidates(self, strokes: Strokes) -> list[Candidate]:
        """Return the groups of strokes among which `read_strokes` looks for the number; none for what it cannot be."""
        paths, names, ink_of = _cleaned(strokes)
        if not 0 < len(paths) <= MAX_PIECES:
            return []
        pieces = pieces_of(paths)
        groups = candidate_groups(pieces)
        members, _, weights = self._weighed(pieces, groups, ink_of, None)
        _, chances = log_partition(lattice_of(groups), np.logaddexp.reduce(weights, axis=1))
        return [
            Candidate(LABELS[label], float(chance), tuple(names[place] for place in places))
            for label, chance, places in zip(weights.argmax(axis=1), chances, members, strict=True)
        ]

    def read(
        self,
        paths: Sequence[np.ndarray],
        ink_of: Callable[[list[int]], np.ndarray],
        *,
        keys: Sequence[bytes] | None = None,
        names: Sequence[int] | None = None,
        known: KnownCharacters | None = None,
    ) -> Number:
        """Read one line of pieces.

        Args:
            paths: (m, 2) float64 each: strokes, or outlines.
            ink_of: returns the normalised ink, (28, 28), of a list of pieces.
            keys: bytes that say which piece it is, for the cache; None when the ink is not worth keeping.
            names: the index that each piece has in `Character.strokes`.
            known: the text of characters, by these indices.
        """
        if not len(paths):
            return Number("", 1.0)
        if len(paths) > MAX_PIECES:
            return Number(None, 0.0)
        pieces = pieces_of(paths)
        names = list(range(len(paths)) if names is None else names)
        groups, labels = _with_known(candidate_groups(pieces), [names[piece] for piece in pieces.order], known or {})
        members, predicted, weights = self._weighed(pieces, groups, ink_of, keys)
        for row, label in labels.items():
            weights[row] = np.where(np.arange(len(LABELS)) == label, 0.0, -np.inf)
        lattice = lattice_of(groups, always=list(labels))
        paths_found, texts = readings(lattice, weights)
        predictions = predictions_of(*predicted, threshold=self._recognizer.card.threshold)
        return self._number(paths_found, texts, pieces, members, predictions, names, said=bool(labels))

    def _weighed(self, pieces, groups, ink_of, keys) -> tuple[list[list[int]], tuple, np.ndarray]:
        """Return the pieces of candidate groups, what the recogniser says of each, and weights (n, labels)."""
        members = [sorted(pieces.order[group].tolist()) for group in groups]
        ink, probabilities, scores = self._predicted(members, ink_of, keys)
        head = self._head(np.concatenate([geometry(pieces, groups), evidence(probabilities, scores)], axis=1))
        weights = label_scores(keep_alone(head, groups) + _BIAS, probabilities)
        return members, (ink, probabilities, scores), weights

    def _predicted(self, members, ink_of, keys) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return ink (n, 28, 28), probabilities (n, 10) and digit scores (n,) of groups, cached ones from the cache."""
        if keys is None:
            ink = np.stack([ink_of(places) for places in members])
            return ink, *self._recognizer.probabilities_and_scores(ink)
        names = [tuple(keys[place] for place in places) for places in members]
        with self._lock:
            known = {name: self._cache[name] for name in names if name in self._cache}
        missing = [row for row, name in enumerate(names) if name not in known]
        if missing:
            ink = np.stack([ink_of(members[row]) for row in missing])
            found = zip(ink, *self._recognizer.probabilities_and_scores(ink), strict=True)
            known |= dict(zip((names[row] for row in missing), found, strict=True))
        with self._lock:
            for name in names:
                self._cache[name] = known[name]
                self._cache.move_to_end(name)
            while len(self._cache) > CACHE_SIZE:
                self._cache.popitem(last=False)
        ink, probabilities, scores = zip(*(known[name] for name in names), strict=True)
        return np.stack(ink), np.stack(probabilities), np.array(scores)

    def _number(self, paths, texts, pieces, members, predictions, names, *, said: bool) -> Number:
        def characters_of(path: list[tuple[int, int]]) -> tuple[Character, ...]:
            return tuple(
                Character(
                    LABELS[label],
                    predictions[row],
                    tuple(names[place] for place in members[row]),
                    _box(pieces, members[row]),
                )
                for row, label in path
                if LABELS[label] != LINE
            )

        characters = characters_of(paths[0])
        readings_found = [
            Alternative(text, self._head.calibrated(chance), characters_of(path))
            for path, (text, chance) in zip(paths, texts, strict=True)
            if OTHER not in text and any(map(str.isdigit, text)) and chance
        ]
        text = "".join(character.text for character in characters)
        chance = next((reading.confidence for reading in readings_found if reading.text == text), 0.0)
        refused = (
            chance < LEAST_CONFIDENCE or not any(map(str.isdigit, text)) or (_is_refused_digit(characters) and not said)
        )
        if refused:
            return Number(None, 0.0, characters, tuple(readings_found))
        others = tuple(reading for reading in readings_found if reading.text != text)
        return Number(text, chance, characters, others)


def _with_known(groups: np.ndarray, names: Sequence[int], known: KnownCharacters) -> tuple[np.ndarray, dict[int, int]]:
    """Return candidate groups that leave known characters whole, and the label of each of those, by row.

    groups: (candidates, n) bool; names: of the n pieces. Passed over is what names pieces that are not there, or some
    that an earlier character has.
    """
    taken = np.zeros(groups.shape[1], dtype=bool)
    masks, labels = [], []
    for places, text in known.items():
        mask = np.isin(names, places)
        if mask.sum() == len(places) > 0 and not (mask & taken).any():
            masks.append(mask)
            labels.append(LABELS.index(text))
            taken |= mask
    if not masks:
        return groups, {}
    free = groups[~(groups & taken).any(axis=1)]
    return np.concatenate([free, np.array(masks)]), dict(enumerate(labels, start=len(free)))


def _cleaned(strokes: Strokes) -> tuple[list[np.ndarray], list[int], Callable[[list[int]], np.ndarray]]:
    """Return the strokes that hold ink, their indices, and what draws the ink of some of them."""
    names = [index for index, stroke in enumerate(strokes) if len(clean_strokes([stroke]))]
    paths = clean_strokes(strokes)
    return paths, names, lambda places: ink_from_strokes([paths[place] for place in places])


def _is_refused_digit(characters: Sequence[Character]) -> bool:
    """Return whether there is one digit alone, and the recogniser judges it to be none."""
    return len(characters) == 1 and characters[0].text.isdigit() and characters[0].prediction.digit is None


def readings(lattice: Lattice, weights: np.ndarray) -> tuple[list[list[tuple[int, int]]], list[tuple[str, float]]]:
    """Return the likeliest paths, and the texts they stand for with their probability, best first.

    weights: (candidates, labels), see `label_scores`. The first path is one of the likeliest text.
    """
    best = np.argsort(-weights, axis=1)[:, :CHOICES]
    choices = [[(float(row[label]), int(label)) for label in labels] for row, labels in zip(weights, best, strict=True)]
    highest = weights.max(axis=1)
    total, _ = log_partition(lattice, highest + np.log(np.exp(weights - highest[:, np.newaxis]).sum(axis=1)))
    chances: dict[str, float] = {}
    paths: dict[str, list[tuple[int, int]]] = {}
    for score, path in best_paths(lattice, choices, count=PATHS):
        text = "".join(LABELS[label] for _, label in path).replace(LINE, "")
        chances[text] = chances.get(text, 0.0) + float(np.exp(score - total))
        paths.setdefault(text, path)
    chances = _with_formats(chances)
    ordered = sorted(chances.items(), key=lambda entry: entry[1], reverse=True)
    return [paths[text] for text, _ in ordered], ordered


def _with_formats(chances: dict[str, float]) -> dict[str, float]:
    """Return the probabilities of texts with the prior of `formats`; what is missing to 1 keeps its share."""
    weighted = {text: chance * math.exp(-format_penalty(text)) for text, chance in chances.items()}
    total = 1 - sum(chances.values()) + sum(weighted.values())
    return {text: chance / total for text, chance in weighted.items()}


def _box(pieces: Pieces, members: Sequence[int]) -> tuple[float, float, float, float]:
    boxes = pieces.boxes[np.isin(pieces.order, members)]
    left, top, right, bottom = *boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0)
    return float(left), float(top), float(right - left), float(bottom - top)
