"""The lattice, against every grouping of a few pieces written out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from digit_utils.recognition.lattice import best_paths, lattice_of, log_partition


def every_cover(groups: np.ndarray) -> list[tuple[int, ...]]:
    """All sets of groups that hold each piece exactly once, by brute force."""
    covers = []
    for chosen in range(1 << len(groups)):
        rows = [row for row in range(len(groups)) if chosen >> row & 1]
        if rows and (groups[rows].sum(axis=0) == 1).all():
            covers.append(tuple(rows))
    return covers


@pytest.fixture(params=range(5))
def case(request) -> tuple[np.ndarray, np.ndarray]:
    """Groups of five pieces, each piece alone among them, and a score for each group."""
    rng = np.random.default_rng(request.param)
    groups = np.unique(np.concatenate([np.eye(5, dtype=bool), rng.random((6, 5)) < 0.4]), axis=0)
    groups = groups[groups.any(axis=1)]
    return groups, rng.normal(0, 2, len(groups))


def test_the_sum_over_all_paths_is_the_sum_over_all_groupings(case):
    groups, scores = case
    weights = {cover: math.exp(scores[list(cover)].sum()) for cover in every_cover(groups)}
    total, chances = log_partition(lattice_of(groups), scores)
    assert total == pytest.approx(math.log(sum(weights.values())))
    for row, chance in enumerate(chances):
        with_it = sum(weight for cover, weight in weights.items() if row in cover)
        assert chance == pytest.approx(with_it / sum(weights.values()))


def test_the_best_paths_are_the_likeliest_groupings_in_order(case):
    groups, scores = case
    choices = [[(score, 0), (score - 0.5, 1)] for score in scores]
    found = best_paths(lattice_of(groups), choices, count=6)
    expected = sorted(
        (
            scores[list(cover)].sum() - 0.5 * labels.bit_count()
            for cover in every_cover(groups)
            for labels in range(1 << len(cover))
        ),
        reverse=True,
    )
    assert [score for score, _ in found] == pytest.approx(expected[:6])
    for score, path in found:
        assert groups[[row for row, _ in path]].sum(axis=0).tolist() == [1] * 5
        firsts = [groups[row].argmax() for row, _ in path]
        assert firsts == sorted(firsts)  # in reading order
        assert score == pytest.approx(sum(choices[row][label][0] for row, label in path))


def test_a_lattice_that_grows_out_of_hand_keeps_only_neighbouring_pieces():
    n = 16
    pairs = [[place in (a, b) for place in range(n)] for a in range(n) for b in range(a, n)]
    lattice = lattice_of(np.array(pairs))
    assert lattice.states == n + 1
    assert len(lattice.sources) == 2 * n - 1
