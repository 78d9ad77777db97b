"""The lattice: every way to group the pieces of a line into characters, and which of them are likeliest.

A path covers every piece exactly once. The leftmost piece that is not covered yet is covered next, so each grouping is
one path, in reading order. A state is the set of covered pieces; since candidates are local there are few of them.
Scores are log-weights: the probability of a path is the exponential of its candidates' scores, divided by the sum
over all paths (a semi-Markov conditional random field: Sarawagi and Cohen, 2004).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MOST_STATES = 2000  # beyond, only runs of neighbouring pieces are candidates: a scribble, not a number


@dataclass(frozen=True, eq=False)
class Lattice:
    """The states of a lattice, from no piece covered to all, and the arcs between them in topological order."""

    states: int
    sources: list[int]  # of each arc: a state; the first is 0, the last states - 1
    targets: list[int]
    candidates: list[int]  # of each arc: the row of `groups` that it takes


def lattice_of(groups: np.ndarray, *, always: Sequence[int] = ()) -> Lattice:
    """Return the lattice of candidate groups (candidates, n) bool.

    Every piece must be among them alone, but for those of the rows `always`, which stay however many states there are.
    """
    lattice = _lattice(groups, most=MOST_STATES)
    if lattice is None:
        keep = _runs(groups)
        keep[list(always)] = True
        lattice = _lattice(groups, most=None, keep=keep)
    return lattice


def _runs(groups: np.ndarray) -> np.ndarray:
    """Return which groups have no gap between their first and last piece."""
    first, last = groups.argmax(axis=1), groups.shape[1] - 1 - groups[:, ::-1].argmax(axis=1)
    return last - first + 1 == groups.sum(axis=1)


def _lattice(groups: np.ndarray, *, most: int | None, keep: np.ndarray | None = None) -> Lattice | None:
    n = groups.shape[1]
    starting: list[list[tuple[int, int]]] = [[] for _ in range(n)]  # by first piece: the group's bits, and its row
    for row, group in enumerate(groups):
        if keep is None or keep[row]:
            places = np.flatnonzero(group).tolist()
            starting[places[0]].append((sum(1 << place for place in places), row))
    full, arcs = (1 << n) - 1, []
    by_count: list[dict[int, None]] = [{} for _ in range(n + 1)]
    by_count[0][0] = None
    known = 1
    for covered in range(n):
        for state in by_count[covered]:
            lowest = (~state & (state + 1)).bit_length() - 1
            for bits, row in starting[lowest]:
                if not bits & state:
                    target = state | bits
                    arcs.append((state, target, row))
                    level = by_count[target.bit_count()]
                    if target not in level:
                        level[target] = None
                        known += 1
        if most is not None and known > most:
            return None
    numbers = {state: number for number, state in enumerate(state for level in by_count for state in level)}
    assert full in numbers or n == 0
    sources, targets, candidates = zip(*((numbers[a], numbers[b], row) for a, b, row in arcs), strict=True)
    return Lattice(len(numbers), list(sources), list(targets), list(candidates))


def best_paths(lattice: Lattice, scores: list[list[tuple[float, int]]], *, count: int) -> list[tuple[float, list]]:
    """Return the `count` likeliest paths: their score and the (candidate, label) pairs in reading order.

    scores: for each candidate the (score, label) choices it may be read as, best first.
    """
    best: list[list[tuple[float, tuple | None]]] = [[] for _ in range(lattice.states)]
    best[0] = [(0.0, None)]
    done = 0
    for source, target, candidate in zip(lattice.sources, lattice.targets, lattice.candidates, strict=True):
        while done <= source:  # all arcs into a state come before the first arc out of it
            best[done] = sorted(best[done], key=_score, reverse=True)[:count]
            done += 1
        for score, path in best[source]:
            for gain, label in scores[candidate]:
                best[target].append((score + gain, (path, candidate, label)))
    final = sorted(best[-1], key=_score, reverse=True)[:count]
    return [(score, _unwound(path)) for score, path in final]


def _score(entry: tuple) -> float:
    return entry[0]


def _unwound(path: tuple | None) -> list[tuple[int, int]]:
    steps = []
    while path is not None:
        path, candidate, label = path
        steps.append((candidate, label))
    return steps[::-1]


def log_partition(lattice: Lattice, scores: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the log of the sum over all paths, and each candidate's probability of being on the path.

    scores: (candidates,) float64, the log-weight of each candidate, summed over its labels.
    """
    forward, backward = [-math.inf] * lattice.states, [-math.inf] * lattice.states
    forward[0], backward[-1] = 0.0, 0.0
    values = scores.tolist()
    arcs = list(zip(lattice.sources, lattice.targets, lattice.candidates, strict=True))
    for source, target, candidate in arcs:
        forward[target] = _log_sum(forward[target], forward[source] + values[candidate])
    for source, target, candidate in reversed(arcs):
        backward[source] = _log_sum(backward[source], backward[target] + values[candidate])
    total, chances = forward[-1], [0.0] * len(values)
    for source, target, candidate in arcs:
        chances[candidate] += math.exp(forward[source] + values[candidate] + backward[target] - total)
    return total, np.array(chances)


def _log_sum(a: float, b: float) -> float:
    """Return log(exp(a) + exp(b)); NumPy's is ten times slower for single numbers."""
    low, high = (a, b) if a < b else (b, a)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))
