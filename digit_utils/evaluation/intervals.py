"""Confidence intervals of error rates and other figures."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import binomtest

RESAMPLES = 2000  # of the writers, of which an interval is the middle 95 %


def error_interval(errors: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of an error rate, as a fraction (Wilson, 1927, "Probable inference")."""
    interval = binomtest(errors, count).proportion_ci(confidence_level=0.95, method="wilson")
    return float(interval.low), float(interval.high)


def format_interval(low: float, high: float) -> str:
    """Return an interval of rates as text, in per cent."""
    return f"[{low:.2%}, {high:.2%}]"


def rate(count: int, of: int) -> tuple[float, float, float]:
    """Return count / of and both ends of its 95 % interval, as fractions."""
    return count / of, *error_interval(count, of)


def writer_interval(wrong: np.ndarray, writers: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """Return the 95 % interval of an error rate if the writers were sampled at random, rather than the digits.

    Digits of one writer resemble each other, so n digits of a few writers tell less than n digits of n writers. Whole
    writers are resampled with replacement (the bootstrap: Efron, 1979). `wrong` is (n,) bool, `writers` (n,) int64.
    """
    _, group = np.unique(writers, return_inverse=True)
    errors, counts = np.bincount(group, weights=wrong), np.bincount(group)
    drawn = rng.integers(len(counts), size=(RESAMPLES, len(counts)))
    rates = errors[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return tuple(map(float, np.quantile(rates, [0.025, 0.975])))


def bootstrap_interval(
    figure: Callable[..., float], samples: Sequence[np.ndarray], rng: np.random.Generator, *, resamples: int = 200
) -> tuple[float, float]:
    """Return a 95 % interval in [0, 1] for a statistic of one or several samples, each resampled with replacement.

    The basic bootstrap (Davison and Hinkley, 1997): resampling pushes a calibration error upwards, and this corrects
    for it as far as the interval goes.

    Args:
        figure: takes as many arrays as there are samples and returns a number in [0, 1].
        samples: arrays whose rows are resampled.
        rng: where the randomness comes from.
        resamples: their number.
    """
    values = [
        figure(*(sample[rng.integers(len(sample), size=len(sample))] for sample in samples)) for _ in range(resamples)
    ]
    high, low = 2 * figure(*samples) - np.quantile(values, [0.025, 0.975])
    return float(np.clip(low, 0, 1)), float(np.clip(high, 0, 1))
