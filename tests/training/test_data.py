"""Training data: what an epoch holds, and that everything in it passes through the one ink function."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from digit_utils.augmentation import non_digits
from digit_utils.datasets import ink
from digit_utils.datasets.base import Digits
from digit_utils.datasets.ink import LabelledInk, ink_of
from digit_utils.evaluation import predictions
from digit_utils.pad import widget
from digit_utils.preprocessing import images
from digit_utils.preprocessing import strokes as preprocessing_strokes
from digit_utils.preprocessing.images import ink_from_image
from digit_utils.preprocessing.strokes import ink_from_strokes
from digit_utils.recognition import recognizer
from digit_utils.recognition.recognizer import Recognizer
from digit_utils.training import data
from digit_utils.training.config import DataMix
from digit_utils.training.data import TrainingData, make_epoch, make_training_data, targets_of

DRAWINGS = (
    [np.array([[10, 10], [110, 14], [70, 100], [40, 190]]), np.array([[30, 100], [105, 92]])],
    [np.array([[80, 20], [80, 210]])],
    [np.array([[60, 60], [150, 40], [160, 110], [60, 120], [150, 60], [140, 200]])],
)

NOTHING = LabelledInk(np.zeros((0, 28, 28), np.float32), np.zeros(0, np.int64))


def drawn() -> Digits:
    return Digits(labels=np.array([7, 1, 9]), strokes=DRAWINGS)


@pytest.fixture(scope="module")
def stock(digits8x8) -> TrainingData:
    """A little of everything: 60 scans and three drawings."""
    return TrainingData(
        scans=ink_of(digits8x8.train.take(slice(60))),
        strokes=DRAWINGS,
        stroke_labels=np.array([7, 1, 9]),
        validation={"digits8x8": ink_of(digits8x8.validation)},
    )


MIXED = DataMix(
    augmentation="strong", pen_strokes=30, allographs=40, non_digits=25, photographed=0.3, label_smoothing=0.1
)


def rows(pictures: np.ndarray) -> set[str]:
    return {hashlib.sha256(np.ascontiguousarray(picture, np.float32)).hexdigest() for picture in pictures}


# ------------------------------------------------------------------------------------------------------------
# One ink function for training, evaluation and the pad


def test_there_is_one_ink_function():
    for module in (ink, data, recognizer, non_digits):
        assert module.ink_from_strokes is preprocessing_strokes.ink_from_strokes
        assert module.ink_from_image is images.ink_from_image
    assert predictions.ink_of is ink.ink_of


def test_training_evaluation_recogniser_and_pad_see_exactly_the_same_strokes(exports):
    reader = Recognizer.load(exports["large_cnn"])
    trained_on = ink_of(drawn()).ink
    evaluated = predictions.predict(reader, drawn())
    assert np.array_equal(evaluated.ink, trained_on)
    for index, strokes in enumerate(DRAWINGS):
        recognised = reader.recognize(strokes)
        on_pad = draw_on_pad(reader, strokes)
        for seen in (recognised.image, on_pad.image, ink_from_strokes(strokes)):
            assert np.array_equal(seen, trained_on[index])
        for prediction in (recognised, on_pad):
            assert prediction.probabilities == pytest.approx(evaluated.probabilities[index], abs=1e-5)
            assert prediction.digit_score == pytest.approx(evaluated.scores[index], abs=1e-5)


def draw_on_pad(reader: Recognizer, strokes: list[np.ndarray]) -> recognizer.Prediction:
    """Feed pointer events to a pad, as a browser sends them, and read what was drawn."""
    drawing_pad = widget.DigitPad(reader, size=280)
    for stroke in strokes:
        names = ["mouse_down"] + ["mouse_move"] * (len(stroke) - 1)
        for name, (x, y) in zip(names, stroke.tolist(), strict=True):
            drawing_pad._canvas._handle_frontend_event(None, {"event": name, "x": x, "y": y}, [])
        drawing_pad._canvas._handle_frontend_event(None, {"event": "mouse_up", "x": x, "y": y}, [])
    return drawing_pad.predict()


def test_training_evaluation_and_recogniser_see_exactly_the_same_pictures(exports, digits8x8):
    reader = Recognizer.load(exports["large_cnn"])
    digits = digits8x8.test.take(slice(20))
    trained_on = ink_of(digits).ink
    assert np.array_equal(predictions.predict(reader, digits).ink, trained_on)
    for image, expected in zip(digits.images, trained_on, strict=True):
        assert np.array_equal(reader.recognize_image(image).image, expected)
        assert np.array_equal(ink_from_image(image), expected)


def test_drawings_in_an_epoch_pass_through_the_ink_function(stock, monkeypatch):
    # Were there another way into the network, its ink would not be the one that this puts in place.
    mark = np.zeros((28, 28), np.float32)
    mark[10:18, 10:18] = 0.5
    calls = []
    for module in (data, non_digits):
        for name in ("ink_from_strokes", "ink_from_image"):
            monkeypatch.setattr(module, name, lambda *args, **options: calls.append(options) or mark.copy())
    no_scans = TrainingData(NOTHING, strokes=DRAWINGS, stroke_labels=np.array([7, 1, 9]))
    pictures, _ = make_epoch(no_scans, DataMix(pen_strokes=20, allographs=20, non_digits=20), np.random.default_rng(0))
    assert len(calls) == len(pictures) == 60
    shifted = pictures.sum(axis=(1, 2, 3)) / mark.sum()  # half are jittered: moved and scaled by less than 6 %
    assert shifted == pytest.approx(np.ones(60), abs=0.15)


def test_the_validation_digits_are_read_without_augmentation(digits8x8):
    made = make_training_data(digits8x8)
    expected = np.stack([ink_from_image(image) for image in digits8x8.validation.images])
    assert np.array_equal(made.validation["digits8x8"].ink, expected)
    assert np.array_equal(made.validation["digits8x8"].labels, digits8x8.validation.labels)


# ------------------------------------------------------------------------------------------------------------
# Epochs


def test_an_epoch_holds_what_the_data_mix_asks_for(stock):
    pictures, targets = make_epoch(stock, MIXED, np.random.default_rng(0))
    assert (pictures.shape, pictures.dtype) == ((155, 28, 28, 1), np.float32)
    assert (targets.shape, targets.dtype) == ((155, 11), np.float32)
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    assert (pictures.sum(axis=(1, 2, 3)) > 1).mean() > 0.97
    assert (targets[:, 10] == 0).sum() == 25
    assert stock.images_per_epoch(MIXED) == 155


def test_targets_are_probabilities_of_digits_and_zero_for_the_rest(stock):
    _, targets = make_epoch(stock, MIXED, np.random.default_rng(0))
    digits, others = targets[targets[:, 10] == 1], targets[targets[:, 10] == 0]
    assert len(digits) + len(others) == len(targets)
    assert not others.any()
    assert digits[:, :10].sum(axis=1) == pytest.approx(np.ones(len(digits)))
    assert np.sort(digits[:, :10], axis=1) == pytest.approx(np.tile([0.01] * 9 + [0.91], (len(digits), 1)))


def test_targets_of_a_few_labels():
    found = targets_of(np.array([3, -1, 0]), smoothing=0.2)
    expected = np.zeros((3, 11))
    expected[0, :10], expected[2, :10] = 0.02, 0.02
    expected[0, 3] = expected[2, 0] = 0.82
    expected[0, 10] = expected[2, 10] = 1
    assert found == pytest.approx(expected)
    assert targets_of(np.zeros(0, np.int64)).shape == (0, 11)


def test_pictures_and_labels_stay_together(stock):
    pictures, targets = make_epoch(stock, DataMix(augmentation="none"), np.random.default_rng(0))
    label_of = dict(zip(map(bytes, stock.scans.ink), stock.scans.labels, strict=True))
    labels = [label_of[bytes(picture)] for picture in pictures[..., 0]]
    assert targets[:, :10].argmax(axis=1).tolist() == labels
    assert labels != stock.scans.labels.tolist()  # the order is another
    assert sorted(labels) == sorted(stock.scans.labels.tolist())


def test_drawings_keep_their_digits(stock):
    # Three writers' drawings; nearest to their own clean ink, in spite of all that was changed.
    clean = np.stack([ink_from_strokes(strokes) for strokes in DRAWINGS]).reshape(3, -1)
    no_scans = TrainingData(NOTHING, strokes=DRAWINGS, stroke_labels=stock.stroke_labels)
    pictures, targets = make_epoch(no_scans, DataMix(pen_strokes=300), np.random.default_rng(0))
    nearest = np.corrcoef(pictures.reshape(300, -1), clean)[:300, 300:].argmax(axis=1)
    assert (np.array([7, 1, 9])[nearest] == targets[:, :10].argmax(axis=1)).mean() > 0.75  # a third by chance


def test_photographed_drawings_differ_from_clean_ones(stock):
    def part(photographed: float) -> np.ndarray:
        data_mix = DataMix(augmentation="none", pen_strokes=200, photographed=photographed)
        pictures, _ = make_epoch(stock, data_mix, np.random.default_rng(0))
        assert (pictures.sum(axis=(1, 2, 3)) > 1).all()  # none fades away
        return pictures[..., 0]

    # Clean ink is full almost everywhere along the middle of the pen; a worn picture is often softer.
    clean, worn = (float((ink > 0.98).sum() / (ink > 0.1).sum()) for ink in (part(0.0), part(0.99)))
    assert clean > worn + 0.05


def test_the_generator_decides_everything(stock):
    epochs = [make_epoch(stock, MIXED, np.random.default_rng(seed)) for seed in ([4, 1], [4, 1], [4, 2], [5, 1])]
    assert all(np.array_equal(a, b) for a, b in zip(epochs[0], epochs[1], strict=True))
    assert not np.array_equal(epochs[0][0], epochs[2][0])  # another epoch
    assert not np.array_equal(epochs[0][0], epochs[3][0])  # another seed


def test_the_training_data_is_not_changed_by_an_epoch(stock):
    before = rows(stock.scans.ink), [stroke.tolist() for strokes in stock.strokes for stroke in strokes]
    for data_mix in (MIXED, DataMix(augmentation="none")):
        pictures, _ = make_epoch(stock, data_mix, np.random.default_rng(0))
        pictures[:] = -1
    assert before == (rows(stock.scans.ink), [stroke.tolist() for strokes in stock.strokes for stroke in strokes])


# ------------------------------------------------------------------------------------------------------------
# Validation digits are never trained on


def test_validation_scans_are_never_among_the_training_scans(mnist):
    train, validation, test = (rows(split.images) for split in (mnist.train, mnist.validation, mnist.test))
    assert len(train) == 55_000  # no picture twice
    assert train.isdisjoint(validation)
    assert train.isdisjoint(test)


def test_validation_writers_are_never_among_the_training_writers(pendigits):
    train, validation, test = (
        {b"".join(np.ascontiguousarray(stroke).tobytes() for stroke in strokes) for strokes in split.strokes}
        for split in (pendigits.train, pendigits.validation, pendigits.test)
    )
    assert train.isdisjoint(validation)
    assert train.isdisjoint(test)
    assert set(pendigits.train.writers).isdisjoint(pendigits.validation.writers)


def test_training_data_is_the_training_split_and_its_validation_split(digits8x8):
    made = make_training_data(digits8x8)
    assert np.array_equal(made.scans.labels, digits8x8.train.labels)
    assert rows(made.scans.ink) == rows(ink_of(digits8x8.train).ink)
    assert list(made.validation) == ["digits8x8"]
    assert made.hashes == {"digits8x8": digits8x8.sha256}
    assert len(made.strokes) == len(made.stroke_labels) == 0


def test_its_pen_strokes_are_those_of_the_training_writers(digits8x8, pendigits):
    made = make_training_data(digits8x8, pendigits)
    assert len(made.strokes) == len(pendigits.train)
    assert np.array_equal(made.stroke_labels, pendigits.train.labels)
    assert all(np.array_equal(a, b) for a, b in zip(made.strokes[17], pendigits.train.strokes[17], strict=True))
    assert np.array_equal(made.validation["pendigits"].labels, pendigits.validation.labels)
    assert made.hashes["pendigits"] == pendigits.sha256


# ------------------------------------------------------------------------------------------------------------
# Errors


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("augmentation", "wild"),
        ("pen_strokes", -1),
        ("allographs", -5),
        ("non_digits", -1),
        ("photographed", 1.0),
        ("photographed", -0.1),
        ("label_smoothing", 1.5),
        ("label_smoothing", float("nan")),
    ],
)
def test_a_data_mix_that_makes_no_sense_is_refused_by_name_and_value(name, value):
    with pytest.raises(ValueError, match=f"{name} is .?{value}"):
        DataMix(**{name: value})


def test_pen_strokes_that_are_not_there_are_missed(stock):
    with pytest.raises(ValueError, match="the training data holds none"):
        make_epoch(TrainingData(stock.scans), DataMix(pen_strokes=5), np.random.default_rng(0))


def test_ink_of_nothing_is_empty():
    empty = ink_of(Digits(labels=np.zeros(0, np.int64), strokes=()))
    assert empty.ink.shape == (0, 28, 28)
    assert len(empty) == 0
