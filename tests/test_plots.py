from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("Agg")

import matplotlib.pyplot as plt

from digit_utils import plots

PICTURES = np.random.default_rng(0).integers(0, 256, (7, 5, 4), dtype=np.uint8)
STROKES = [np.array([[0.0, 0.0], [10.0, 5.0], [20.0, 40.0]]), np.array([[5.0, 5.0]])]
LABELS = np.array([0, 0, 1, 9])


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


DRAWINGS = {
    "digits": lambda ax: plots.show_digits(PICTURES, titles=range(7), ax=ax),
    "values": lambda ax: plots.show_values(PICTURES[0], ax=ax),
    "balance": lambda ax: plots.show_class_balance({"training": LABELS, "test": LABELS}, ax=ax),
    "histogram": lambda ax: plots.show_histogram(np.arange(5.0), bins=range(6), label="x", expected=2, ax=ax),
    "strokes": lambda ax: plots.show_strokes(STROKES, title=3, sheet=50, ax=ax),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_draws_where_it_is_told_or_into_a_new_figure_and_leaves_the_settings_alone(name):
    before = dict(mpl.rcParams)
    own = plots.new_axes()
    assert DRAWINGS[name](own) is own
    assert len(plt.get_fignums()) == 1
    fresh = DRAWINGS[name](None)
    assert fresh is not own
    assert len(plt.get_fignums()) == 2
    fresh.figure.canvas.draw()
    assert dict(mpl.rcParams) == before


def test_each_picture_stands_at_its_place_in_the_mosaic():
    mosaic = plots.show_digits(PICTURES, columns=3).images[0].get_array()
    gap = 1
    for index, picture in enumerate(PICTURES):
        top, left = index // 3 * (5 + gap), index % 3 * (4 + gap)
        np.testing.assert_array_equal(mosaic[top : top + 5, left : left + 4], picture)
    assert mosaic.mask.sum() == mosaic.size - PICTURES.size  # nothing else is drawn


def test_titles_stand_above_their_own_pictures():
    ax = plots.show_digits(PICTURES, titles="abcdefg", columns=3)
    mosaic = ax.images[0].get_array()
    assert [text.get_text() for text in ax.texts] == list("abcdefg")
    for text, picture in zip(ax.texts, PICTURES, strict=True):
        x, y = text.get_position()
        below = mosaic[round(y) + 1 : round(y) + 6, round(x - 1.5) : round(x + 2.5)]
        np.testing.assert_array_equal(below, picture)


def test_wrong_shapes_and_counts_are_refused():
    with pytest.raises(ValueError, match=r"expected pictures as \(n, height, width\), found the shape \(5, 4\)"):
        plots.show_digits(PICTURES[0])
    with pytest.raises(ValueError, match="there are 7 pictures, but 2 titles"):
        plots.show_digits(PICTURES, titles=["a", "b"])


def test_blank_pictures_stay_white():
    image = plots.show_digits(np.zeros((2, 3, 3), np.uint8)).images[0]
    assert image.cmap(image.norm(0)) == (1.0, 1.0, 1.0, 1.0)
    assert image.norm.vmax > 0


def test_bars_are_shares_in_per_cent():
    ax = plots.show_class_balance({"training": LABELS})
    assert [bar.get_height() for bar in ax.patches] == [50, 25, 0, 0, 0, 0, 0, 0, 0, 25]


def test_histogram_is_in_per_cent():
    ax = plots.show_histogram(np.array([0.5, 0.6, 1.5, 2.5]), bins=[0, 1, 2, 3], label="x")
    assert [bar.get_height() for bar in ax.patches] == [50, 25, 25]


def test_every_pixel_bears_its_number():
    ax = plots.show_values(PICTURES[0])
    assert [text.get_text() for text in ax.texts] == [str(value) for value in PICTURES[0].ravel()]


def test_strokes_point_down_and_stand_on_their_sheet():
    ax = plots.show_strokes(STROKES, sheet=50)
    assert ax.get_xlim() == (0, 50)
    assert ax.get_ylim() == (50, 0)
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), STROKES[0])
    assert ax.lines[0].get_color() != ax.lines[2].get_color()  # lines 1 and 3 are the rings
