import numpy as np
import pytest

from digit_utils.datasets.base import Digits
from digit_utils.datasets.ink import LabelledInk
from digit_utils.evaluation import robustness
from digit_utils.evaluation.robustness import Experiment
from digit_utils.preprocessing.images import ink_from_image
from digit_utils.preprocessing.strokes import centre_of_mass, ink_from_strokes
from digit_utils.recognition.model_file import ModelCard

# An L: its corner is at the lower left, so that turning and mirroring cannot be mistaken for each other.
ELL = [np.array([[0.0, 0.0], [0.0, 10.0], [6.0, 10.0]])]
BAR = [np.array([[3.0, 0.0], [3.0, 20.0]])]


class WidthReader:
    """Stands in for a recogniser: what is higher than wide is a 1, all else a 0."""

    card = ModelCard(threshold=0.5)

    def probabilities_and_scores(self, ink: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        high = (ink.max(axis=2) > 0.5).sum(axis=1) > (ink.max(axis=1) > 0.5).sum(axis=1)
        probabilities = np.zeros((len(ink), 10))
        probabilities[np.arange(len(ink)), high.astype(int)] = 1
        return probabilities, np.ones(len(ink))


BARS = Digits(np.ones(4, np.int64), strokes=(BAR,) * 4)
TURNS = Experiment("turn", lambda strokes, angle, _: robustness.rotated(strokes, degrees=angle), (0.0, 10.0, 90.0), 0.0)


def test_a_curve_has_the_error_rate_at_each_strength():
    curve = robustness.error_curve(WidthReader(), BARS, TURNS)
    assert [(score.errors, score.digits) for score in curve] == [(0, 4), (0, 4), (4, 4)]


def test_the_summary_names_harmless_strengths_and_the_worst_one():
    curves = robustness.error_curves(WidthReader(), BARS, [TURNS])
    assert robustness.summary([TURNS], curves) == "turn  within 0.5 points: 0, 10; worst 100.0% at 90"


def test_records_hold_counts_and_intervals():
    records = robustness.curve_records([TURNS], robustness.error_curves(WidthReader(), BARS, [TURNS]))
    last = records["turn"][-1]
    assert (last["strength"], last["digits"], last["errors"], last["error_high"]) == (90.0, 4, 4, 1.0)
    assert 0.5 < last["error_low"] < 0.52  # Wilson's interval of 4 in 4


def test_the_same_seed_shakes_the_same_way():
    def shake(seed: int) -> np.ndarray:
        return robustness.changed(BARS, robustness.trembled, 0.05, seed=seed).ink

    np.testing.assert_array_equal(shake(1), shake(1))
    assert not np.array_equal(shake(1), shake(2))


def test_pictures_and_strokes_both_become_ink():
    page = np.zeros((28, 28), np.uint8)
    page[4:24, 12:16] = 255
    pictures = Digits(np.array([1]), images=page[np.newaxis])
    np.testing.assert_array_equal(robustness.changed(pictures, lambda p, *_: p, 0).ink[0], ink_from_image(page))
    np.testing.assert_array_equal(robustness.changed(BARS, lambda s, *_: s, 0).ink[0], ink_from_strokes(BAR))


def test_on_the_pad_a_drawing_lies_in_the_corner_in_whole_pixels_and_keeps_its_form():
    (stroke,) = robustness.on_pad([stroke * 7.3 + 91.1 for stroke in ELL], 0.5)
    assert stroke.tolist() == [[0, 0], [0, 140], [84, 140]]


def test_tremor_is_as_strong_as_asked_for_and_relative_to_the_size():
    line = [np.column_stack([np.zeros(4000), np.linspace(0, 250, 4000)])]
    (shaken,) = robustness.trembled(line, 0.03, np.random.default_rng(0))
    assert shaken[:, 0].std() == pytest.approx(0.03, rel=0.05)
    assert shaken.mean(axis=0) == pytest.approx([0, 0], abs=0.005)


@pytest.mark.parametrize("pen", [2, 14, 40])
def test_on_the_picture_of_the_pad_the_pen_is_as_wide_as_asked_for(pen: float):
    page = robustness.pad_picture(BAR, pen=pen, size=0.6)
    assert page.dtype == np.uint8
    row = page[page.shape[0] // 2] / 255
    assert row.sum() == pytest.approx(pen, abs=1.1)
    assert (page.max(axis=1) > 127).sum() == pytest.approx(0.6 * 280 + pen, abs=2)
    assert not page[0].any()


def test_a_shift_moves_right_and_down_and_loses_nothing():
    page = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    moved = robustness.shifted(page, 5)
    assert moved.shape == (42, 42)
    np.testing.assert_array_equal(moved[12:40, 12:40], page)
    assert moved.sum() == page.sum()
    assert robustness.shifted(page[::2, ::2], 4)[6:20, 6:20].tolist() != page[::2, ::2].tolist()
    np.testing.assert_array_equal(robustness.shifted(page[::2, ::2], 4)[5:19, 5:19], page[::2, ::2])


def test_pictures_and_strokes_turn_the_same_way():
    sides = [ELL[0][:2], ELL[0][1:]]  # two strokes: the corner of one would get a little round
    page = robustness.pad_picture(sides, pen=14)
    as_strokes = ink_from_strokes(robustness.rotated(sides, degrees=90))
    as_picture = ink_from_image(robustness.turned(page, 90))
    assert np.corrcoef(as_strokes.ravel(), as_picture.ravel())[0, 1] > 0.9
    assert np.corrcoef(as_strokes.ravel(), ink_from_strokes(sides).ravel())[0, 1] < 0.5


def test_noise_and_blur_are_as_strong_as_asked_for():
    grey = np.full((200, 200), 128, np.uint8)
    assert robustness.grainy(grey, 10, np.random.default_rng(0)).std() == pytest.approx(10, rel=0.05)
    dot = np.zeros((57, 57), np.uint8)
    dot[28, 28] = 255
    assert robustness.blurred(dot, 0) is dot
    spread = robustness.blurred(dot * np.uint8(1), 1.0).astype(float)
    x = np.arange(57) - 28
    assert np.sqrt((spread.sum(axis=0) * x**2).sum() / spread.sum()) == pytest.approx(57 / 28, rel=0.15)


def test_moved_ink_is_not_centred_again_but_ink_that_went_through_the_ink_function_is():
    page = (255 * ink_from_strokes(ELL)).astype(np.uint8)
    ink = LabelledInk((page / np.float32(255))[np.newaxis], np.array([1]))
    np.testing.assert_allclose(
        centre_of_mass(robustness.shifted_ink(ink, 3).ink[0]) - centre_of_mass(ink.ink[0]), [3, 3], atol=1e-6
    )
    scans = Digits(np.array([1]), images=page[np.newaxis])
    through = robustness.changed(scans, robustness.SHIFT.change, 3).ink[0]
    np.testing.assert_allclose(through, robustness.changed(scans, robustness.SHIFT.change, 0).ink[0], atol=1e-6)


@pytest.mark.parametrize(
    "experiment", [robustness.SHIFT, *robustness.SCAN_EXPERIMENTS, *robustness.DRAWING_EXPERIMENTS]
)
def test_every_experiment_makes_ink_of_real_digits_and_its_usual_strength_changes_little(experiment, pendigits, mnist):
    drawn = experiment in robustness.DRAWING_EXPERIMENTS
    few = (pendigits if drawn else mnist).validation.take(slice(0, 12))
    assert experiment.usual in experiment.strengths
    unchanged = robustness.changed(few, lambda digit, *_: digit, 0).ink
    for strength in experiment.strengths:
        ink = robustness.changed(few, experiment.change, strength).ink
        assert ink.shape == (12, 28, 28)
        assert ink.any(axis=(1, 2)).all()
        if strength == experiment.usual:
            assert np.corrcoef(ink.ravel(), unchanged.ravel())[0, 1] > 0.8
