"""Rendered pages: the ink that they come with is the ink that they show, and nothing else is ink."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from digit_utils.augmentation.allographs import random_allographs
from digit_utils.augmentation.pages import DEFAULT, PageConfig, random_page

PLAIN = PageConfig(
    **{name: 0.0 for name, value in asdict(DEFAULT).items() if isinstance(value, float)}, noise=(1e-4, 1e-3)
)
SURROUNDINGS = [
    "ruled",
    "squared",
    "margin_line",
    "frame",
    "holes",
    "creases",
    "desk",
    "object",
    "shadow",
    "reflection",
]


@pytest.fixture(scope="module")
def drawings() -> list[list[np.ndarray]]:
    return random_allographs(50, np.random.default_rng(0))[0]


def test_a_page_is_an_image_and_as_much_ink(drawings):
    for seed in range(40):
        image, ink = random_page(drawings, np.random.default_rng(seed))
        assert image.shape == ink.shape == (DEFAULT.side, DEFAULT.side)
        assert image.dtype == np.uint8
        assert ink.dtype == np.float32
        assert ink.min() >= 0
        assert ink.max() <= 1


def test_the_generator_decides_on_everything(drawings):
    first, again, other = (random_page(drawings, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("light_ink", [0.0, 1.0], ids=["dark ink", "light ink"])
@pytest.mark.parametrize("lines", [0.0, 1.0], ids=["one drawing", "lines of characters"])
def test_on_a_plain_page_the_ink_is_what_stands_out(drawings, lines, light_ink):
    for seed in range(10):
        config = replace(PLAIN, lines=lines, light_ink=light_ink)
        image, ink = random_page(drawings, np.random.default_rng(seed), config=config)
        darkness = 255.0 - image if not light_ink else image.astype(float)
        seen = darkness > (darkness.min() + darkness.max()) / 2
        known = ink > ink.max() / 2
        assert (known & seen).sum() > 0.9 * (known | seen).sum()


@pytest.mark.parametrize("what", SURROUNDINGS)
def test_what_surrounds_ink_is_seen_and_is_no_ink(drawings, what):
    config = replace(PLAIN, blank=1.0, **{what: 1.0})
    pages = [random_page(drawings, np.random.default_rng(seed), config=config) for seed in range(20)]
    assert not any(ink.any() for _, ink in pages)
    assert np.median([np.ptp(image) for image, _ in pages]) > 12


def test_what_is_beside_the_paper_hides_ink(drawings):
    def amount_of_ink(**changes: float) -> float:
        config = replace(PLAIN, lines=1.0, **changes)
        return sum(random_page(drawings, np.random.default_rng(seed), config=config)[1].sum() for seed in range(30))

    assert amount_of_ink(desk=1.0) < 0.95 * amount_of_ink()
