"""Figures: where they are drawn, and what their marks, axes and labels show."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("Agg")

import matplotlib.pyplot as plt

from digit_utils import plots
from digit_utils.evaluation.calibration import reliability
from digit_utils.evaluation.intervals import error_interval
from digit_utils.evaluation.metrics import Score
from digit_utils.evaluation.predictions import Predictions
from digit_utils.evaluation.robustness import Experiment

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 5, 4), dtype=np.uint8)
STROKES = [np.array([[0.0, 0.0], [10.0, 5.0], [20.0, 40.0]]), np.array([[5.0, 5.0]])]


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def score_of(errors: int, digits: int = 100) -> Score:
    return Score(digits, errors, *error_interval(errors, digits), rejected=0, calibration_error=0.0)


PREDICTIONS = Predictions(np.ones((3, 28, 28)), np.array([1, 2, 3]), np.eye(10)[[1, 7, 3]], np.ones(3), 0.5)
BINS = reliability(np.array([0.95, 0.95, 0.55]), np.array([True, True, False]))
DRAWINGS = {
    "digits": lambda ax: plots.show_digits(IMAGES, titles=range(7), ax=ax),
    "photos": lambda ax: plots.show_photos([IMAGES[0]], np.zeros((1, 28, 28)), titles=["3 read 8"], ax=ax),
    "histogram": lambda ax: plots.show_histogram(np.arange(5.0), bins=range(6), label="x", ax=ax),
    "strokes": lambda ax: plots.show_strokes(STROKES, title=3, sheet=50, ax=ax),
    "lattice": lambda ax: plots.show_lattice(STROKES, [(0,), (1,)], texts="1.", probabilities=[0.9, 0.9], ax=ax),
    "predictions": lambda ax: plots.show_predictions(PREDICTIONS, [1, 0], ax=ax),
    "rates": lambda ax: plots.show_rates({"a": (0.1, 0.05, 0.2)}, label="misread", usual=0.1, ax=ax),
    "confusions": lambda ax: plots.show_confusions(np.eye(10, dtype=int), title="none", ax=ax),
    "reliability": lambda ax: plots.show_reliability(BINS, title="two bins", ax=ax),
    "error curve": lambda ax: plots.show_error_curve([0, 1], [score_of(1), score_of(9)], label="x", ax=ax),
    "digit scores": lambda ax: plots.show_digit_scores({"a": np.array([0.0, 1.0])}, threshold=0.5, ax=ax),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_draws_into_given_axes_or_a_new_figure_and_leaves_the_settings_alone(name):
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
    mosaic = plots.show_digits(IMAGES, columns=3).images[0].get_array()
    gap = 1
    for index, picture in enumerate(IMAGES):
        top, left = index // 3 * (5 + gap), index % 3 * (4 + gap)
        np.testing.assert_array_equal(mosaic[top : top + 5, left : left + 4], picture)
    assert mosaic.mask.sum() == mosaic.size - IMAGES.size  # nothing else is drawn


def test_titles_are_above_their_own_images():
    ax = plots.show_digits(IMAGES, titles="abcdefg", columns=3)
    mosaic = ax.images[0].get_array()
    assert [text.get_text() for text in ax.texts] == list("abcdefg")
    for text, picture in zip(ax.texts, IMAGES, strict=True):
        x, y = text.get_position()
        below = mosaic[round(y) + 1 : round(y) + 6, round(x - 1.5) : round(x + 2.5)]
        np.testing.assert_array_equal(below, picture)


def test_wrong_shapes_and_counts_are_refused():
    with pytest.raises(ValueError, match=r"images has shape \(5, 4\); expected \(n, height, width\)"):
        plots.show_digits(IMAGES[0])
    with pytest.raises(ValueError, match="there are 7 images, but 2 titles"):
        plots.show_digits(IMAGES, titles=["a", "b"])


def test_a_photo_stands_in_full_above_its_ink():
    photos = [np.full((56, 112), 40, np.uint8), np.full((28, 14), 90, np.uint8)]
    ink = np.stack([np.eye(28), np.zeros((28, 28))])
    shown = plots.show_photos(photos, ink).images[0].get_array()
    assert shown.shape == (240, 240)
    assert (shown[:56, :112] == 40).all()
    assert (shown[:112, 120:176] == 90).all()
    assert (shown == 40).sum() == 56 * 112
    assert (shown == 90).sum() == 112 * 56
    assert (shown[120:232, :112] == 0).sum() == 28 * 16  # the ink's diagonal, dark, four times as large
    assert (shown[120:, 120:] == 255).all()


def test_the_title_of_a_photo_stands_above_it_and_touches_nothing():
    ax = plots.show_photos([np.zeros((28, 28), np.uint8)] * 3, np.zeros((3, 28, 28)), titles=["3 read 8", 5, "none"])
    ax.figure.canvas.draw()
    assert [text.get_text() for text in ax.texts] == ["3 read 8", "5", "none"]
    for column, text in enumerate(ax.texts):
        (left, bottom), (right, top) = ax.transData.inverted().transform(text.get_window_extent())
        assert 120 * column - 4 < left < right < 120 * column + 116
        assert ax.get_ylim()[1] < top < bottom < 0


@pytest.mark.parametrize(("photos", "ink"), [(0, 0), (2, 1)])
def test_photos_without_their_ink_are_refused(photos: int, ink: int):
    with pytest.raises(ValueError, match=f"{photos} photos and {ink} images"):
        plots.show_photos([IMAGES[0]] * photos, np.zeros((ink, 28, 28)))
    with pytest.raises(ValueError, match="1 photos, but 2 titles"):
        plots.show_photos([IMAGES[0]], np.zeros((1, 28, 28)), titles="ab")


def test_blank_images_stay_white():
    image = plots.show_digits(np.zeros((2, 3, 3), np.uint8)).images[0]
    assert image.cmap(image.norm(0)) == (1.0, 1.0, 1.0, 1.0)
    assert image.norm.vmax > 0


def test_histogram_is_in_per_cent():
    ax = plots.show_histogram(np.array([0.5, 0.6, 1.5, 2.5]), bins=[0, 1, 2, 3], label="x")
    assert [bar.get_height() for bar in ax.patches] == [50, 25, 25]


def test_strokes_point_down_and_stand_on_their_sheet():
    ax = plots.show_strokes(STROKES, sheet=50)
    assert ax.get_xlim() == (0, 50)
    assert ax.get_ylim() == (50, 0)
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), STROKES[0])
    assert ax.lines[0].get_color() != ax.lines[2].get_color()  # lines 1 and 3 are the rings


# -------------------------------------------------------------------------------------------- evaluation


def test_a_lattice_frames_the_likely_groups_and_shows_the_number_below_them():
    strokes = [np.array([[x, 0.0], [x + 5, 9.0]]) for x in (20, 0, 10)]  # the second is the leftmost
    groups = [(0,), (1,), (2,), (0, 2), (1, 2), (0, 1)]
    ax = plots.show_lattice(strokes, groups, texts="153472", probabilities=[0.1, 0.9, 0.1, 0.9, 0, 0])
    texts = {text.get_text(): text.get_position() for text in ax.texts}
    framed = [patch.get_x() + patch.get_width() / 2 for patch in ax.patches if patch.get_linewidth() > 1]
    assert framed == pytest.approx([0, 1.5])
    assert [texts[digit][0] for digit in "54"] == pytest.approx([0, 1.5])
    assert texts["5"][1] == texts["4"][1] > texts["4  90%"][1] > texts["5  90%"][1]
    assert "2  0%" not in texts, "a gap in an unlikely group"
    assert texts["7  0%"][0] == pytest.approx(0.5)


def test_readings_bear_label_answer_and_confidence():
    ax = DRAWINGS["predictions"](None)
    assert [text.get_text() for text in ax.texts] == ["2 → 7\n100%", "1 → 1\n100%"]


def test_rates_are_in_per_cent_and_the_first_stands_at_the_top():
    ax = plots.show_rates({"a": (0.1, 0.05, 0.2), "b": (0, 0, 0.04)}, label="misread")
    (dots,) = ax.lines
    np.testing.assert_allclose(dots.get_xydata(), [[10, 0], [0, 1]])
    bars = [path.vertices[:, 0].tolist() for path in ax.collections[0].get_paths()]
    np.testing.assert_allclose(bars, [[5, 20], [0, 4]])
    assert ax.get_ylim()[0] > ax.get_ylim()[1]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]


def test_confusions_show_errors_only_with_labels_in_rows():
    counts = 50 * np.eye(10, dtype=int)
    counts[4, 9], counts[7, 1] = 3, 12
    ax = plots.show_confusions(counts)
    assert {(text.get_text(), *text.get_position()) for text in ax.texts} == {("3", 9, 4), ("12", 1, 7)}
    shown = ax.images[0].get_array()
    assert shown.mask.diagonal().all()
    assert shown[7, 1] == 12
    assert ax.get_ylabel() == "label"


def test_reliability_leaves_empty_bins_out_and_shows_how_many_are_in_the_others():
    ax = DRAWINGS["reliability"](None)
    dots = [tuple(dots.get_offsets()[0]) for dots in ax.collections]
    assert dots == [pytest.approx((55, 0)), pytest.approx((95, 100))]
    assert [text.get_text() for text in ax.texts] == ["1", "2"]
    low, high = error_interval(2, 2)
    np.testing.assert_allclose(ax.lines[-1].get_ydata(), [100 * low, 100 * high])


def test_error_curves_are_in_per_cent_and_end_at_the_edge_of_the_axis():
    ax = plots.show_error_curve([1, 100], [score_of(0), score_of(25)], label="points")
    assert ax.lines[0].get_ydata().tolist() == [plots.LOWEST_ERROR, 25]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["1", "100"]
    assert not ax.get_xticks(minor=True).size
    assert plots.show_error_curve([-1, 100], [score_of(0)] * 2, label="degrees").get_xscale() == "linear"


@pytest.mark.parametrize(
    ("rates", "labelled"),
    [([0.0118, 0.0053], "0.6 0.7 0.8 0.9 1"), ([0.09, 0.004], "0.5 1 2 5 10")],
    ids=["short", "long"],
)
def test_learning_curves_name_whole_epochs_and_several_error_rates(rates, labelled):
    history = [{"epoch": epoch, "mnist_errors": rate} for epoch, rate in enumerate(rates, start=1)]
    ax = plots.show_learning_curves({"run": history})
    ax.figure.canvas.draw()
    low, high = ax.get_ylim()
    labels = {label.get_text() for label in ax.get_yticklabels(which="both") if low < label.get_position()[1] < high}
    assert sorted(labels - {""}, key=float) == labelled.split()
    assert all(tick == round(tick) for tick in ax.get_xticks())


def test_learning_curves_of_a_resumed_run_show_each_set_over_the_epochs_that_have_it():
    history = [{"epoch": 1, "a_errors": 0.2}, {"epoch": 2, "a_errors": 0.1, "b_errors": 0.3}]
    lines = plots.show_learning_curves({"run": history}).lines
    points = {line.get_label(): line.get_xydata().tolist() for line in lines}
    assert points == {"run, a": [[1, 20], [2, 10]], "run, b": [[2, 30]]}


def test_each_experiment_has_its_panel_with_its_usual_error_rate_dotted():
    experiments = [Experiment(name, lambda drawing, *_: drawing, (0.0, 1.0), 1.0) for name in "abc"]
    curves = {name: [score_of(40), score_of(20)] for name in "abc"}
    axes = plots.show_experiments(experiments, curves)
    assert axes.shape == (2, 2)
    assert [ax.get_xlabel() for ax in axes.flat if ax.axison] == list("abc")
    assert axes[1, 0].lines[-1].get_ydata() == [20, 20]


def test_digit_scores_are_shares_of_their_own_set_and_none_is_lost_at_the_edges():
    scores = {"digits": np.array([0.0, 0.3, 1.0, 1.0]), "others": np.array([0.001])}
    ax = plots.show_digit_scores(scores, threshold=0.5)
    assert [text.get_text() for text in ax.get_legend().get_texts()][:2] == ["digits (n = 4)", "others (n = 1)"]
    heights = [sorted({round(height) for height in shape.get_xy()[:, 1] if height > 0.1}) for shape in ax.patches]
    assert heights == [[25, 50], [100]]
    (line,) = ax.lines
    assert line.get_xdata() == [0, 0]  # a threshold of a half is the middle of a logistic axis
