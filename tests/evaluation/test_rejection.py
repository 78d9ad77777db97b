import numpy as np
import pytest

from digit_utils.augmentation.non_digits import STROKE_KINDS
from digit_utils.evaluation import rejection
from digit_utils.evaluation.intervals import error_interval
from digit_utils.recognition.model_file import ModelCard


def test_figures_count_what_is_accepted_and_how_well_the_scores_separate():
    digits, others = np.array([0.9, 0.8, 0.4]), np.array([0.1, 0.2, 0.5, 0.85])
    figures = rejection.rejection_figures(digits, others, threshold=0.5, rng=np.random.default_rng(0))
    assert (figures["others"], figures["accepted"]) == (4, 2)  # a score at the threshold is accepted
    assert (figures["accepted_low"], figures["accepted_high"]) == error_interval(2, 4)
    assert figures["auroc"] == pytest.approx(9 / 12)  # pairs in which the digit scores higher
    assert figures["auroc_low"] < 9 / 12 < figures["auroc_high"] <= 1


def test_scores_that_never_mix_are_told_apart_with_certainty():
    figures = rejection.rejection_figures(
        np.full(50, 0.9), np.full(50, 0.1), threshold=0.5, rng=np.random.default_rng(0)
    )
    assert (figures["auroc_low"], figures["auroc"], figures["auroc_high"], figures["accepted"]) == (1, 1, 1, 0)


class InkScorer:
    """Stands in for a recogniser: the more ink, the surer that it is a digit."""

    card = ModelCard(threshold=0.15)

    def probabilities_and_scores(self, ink: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.full((len(ink), 10), 0.1), ink.mean(axis=(1, 2))


def test_each_kind_is_counted_by_itself():
    rates = rejection.accepted_by_kind(InkScorer(), np.random.default_rng(0), count=25)
    assert len(rates) == len(STROKE_KINDS)
    assert rates["line or dots"][0] < rates["doodle"][0]  # lines are light, doodles heavy
    for middle, low, high in rates.values():
        assert low <= middle <= high
        assert middle * 25 == pytest.approx(round(middle * 25))
