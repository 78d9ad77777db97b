"""The bundled model keeps what the README says of it: recomputed on the real digits, through the public face."""

import os
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from digit_utils import Recognizer
from digit_utils.augmentation import non_digits
from digit_utils.augmentation.allographs import ALLOGRAPHS, Allograph, draw_allograph
from digit_utils.augmentation.images import ImageAugmentation, augment_images
from digit_utils.augmentation.strokes import augment_strokes
from digit_utils.datasets.base import DatasetUnavailable, DigitDataset, Digits
from digit_utils.datasets.external import load_fashion_mnist, load_semeion
from digit_utils.datasets.ink import LabelledInk, ink_of
from digit_utils.datasets.loading import load_dataset
from digit_utils.datasets.samples import sample_digits
from digit_utils.evaluation.intervals import error_interval
from digit_utils.evaluation.metrics import Score, score
from digit_utils.evaluation.predictions import predict
from digit_utils.evaluation.rejection import accepted_by_kind, digit_auroc
from digit_utils.evaluation.robustness import resampled, rotated, slanted
from digit_utils.preprocessing.images import ink_from_image
from digit_utils.preprocessing.strokes import ink_from_strokes
from digit_utils.recognition.recognizer import BUNDLED_MODEL
from tests.support.skipping import skip_without

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
NEW_FORMS = ("hook_at_the_foot", "long_hook_at_the_foot")


@pytest.fixture(scope="module")
def scans(request: pytest.FixtureRequest) -> DigitDataset:
    """MNIST where it can be had; elsewhere, but never in CI, scikit-learn's digits, saying so."""
    try:
        return load_dataset("mnist")
    except DatasetUnavailable as reason:
        if os.environ.get("CI"):
            pytest.fail(f"CI needs the real data: {reason}")
        warnings.warn(f"digits8x8 stands in for MNIST: {reason}", stacklevel=1)
        return request.getfixturevalue("digits8x8")


@pytest.fixture(scope="module")
def mnist_score(recognizer: Recognizer, mnist_test_ink: LabelledInk) -> Score:
    return score(predict(recognizer, mnist_test_ink))


@pytest.fixture(scope="module")
def pen_score(recognizer: Recognizer, pendigits_test_ink: LabelledInk) -> Score:
    return score(predict(recognizer, pendigits_test_ink))


def assert_readme_tells(name: str, figures: Score) -> None:
    """Compare a row of the README's results table with what was measured.

    Another CPU may round a tie the other way, so two digits more or less will do.
    """
    row = next((line for line in README.splitlines() if line.startswith(f"| {name}")), "")
    assert row, f"the README's table has no row {name!r}"
    errors, digits = (int(cell.replace(",", "")) for cell in row.split("|")[2:4])
    assert digits == figures.digits
    assert abs(figures.errors - errors) <= 2
    low, high = error_interval(errors, digits)
    rate, interval, rejected, calibration_error = (cell.strip() for cell in row.split("|")[4:8])
    assert (rate, interval) == (f"{errors / digits:.2%}", f"{low:.2%} - {high:.2%}")
    assert float(rejected.rstrip("%")) / 100 == pytest.approx(figures.rejected / digits, abs=2.1 / digits)
    assert float(calibration_error.rstrip("%")) / 100 == pytest.approx(figures.calibration_error, abs=0.0005)


def test_the_readme_tells_what_is_read_of_mnist(mnist_score: Score):
    assert mnist_score.digits == 10_000
    assert_readme_tells("MNIST, test", mnist_score)


def test_the_readme_tells_what_is_read_of_pen_strokes(pen_score: Score):
    assert pen_score.digits == 3_498
    assert_readme_tells("pendigits, 14 unseen writers", pen_score)


def test_the_model_card_tells_what_the_file_holds(recognizer: Recognizer):
    from digit_utils.training.networks import large_cnn  # which the file, older than that name, calls reader

    told = " ".join((BUNDLED_MODEL.parent / "README.md").read_text(encoding="utf-8").split())
    card = recognizer.card
    assert f"The temperature ({card.temperature:.3f}), the threshold ({card.threshold:.3f}) and the weight" in told
    assert f"of the confidence in the digit score ({card.confidence_weight:.2f})" in told
    assert f"and {card.features} features" in told
    for text in (told, README):
        assert f"{large_cnn().count_params():,} parameters" in text


def test_floors(mnist_score: Score, pen_score: Score):
    """A regression below these is a defect, whatever the README says."""
    assert mnist_score.error_rate < 0.0045
    assert pen_score.error_rate < 0.0076  # 99.3 % right, and two digits that another processor may read otherwise
    for figures in (mnist_score, pen_score):
        assert figures.rejected / figures.digits <= 0.005
        assert figures.calibration_error < 0.005


def test_floors_of_the_development_checks(recognizer: Recognizer, mnist_test_ink: LabelledInk):
    """What was never trained on: scans stretched out of proportion, and pictures of clothes."""
    stretched, clothes = load_semeion(), load_fashion_mnist()
    if stretched is None or clothes is None:
        skip_without("the data folder holds no Semeion or no Fashion-MNIST")
    figures = score(predict(recognizer, stretched))
    assert_readme_tells("Semeion", figures)
    assert figures.error_rate < 0.025
    assert figures.rejected / figures.digits <= 0.01
    digits = recognizer.probabilities_and_scores(mnist_test_ink.ink[:1000])[1]
    others = recognizer.probabilities_and_scores(np.stack([ink_from_image(picture) for picture in clothes[:1000]]))[1]
    assert digit_auroc(digits, others) > 0.998
    assert (others >= recognizer.card.threshold).mean() < 0.25


def test_what_is_no_digit_is_told_from_test_digits(recognizer: Recognizer, mnist_test_ink: LabelledInk):
    """The README says 0.9996 and 7 % of letters, signs and scribbles made as in training."""
    digits = recognizer.probabilities_and_scores(mnist_test_ink.ink[:2000])[1]
    others = recognizer.probabilities_and_scores(non_digits.random_non_digits(2000, np.random.default_rng(20261127)))[1]
    assert digit_auroc(digits, others) > 0.999
    assert (others >= recognizer.card.threshold).mean() < 0.1


def test_scans_are_read_as_well_as_they_are_as_gently_turned(recognizer: Recognizer, mnist: DigitDataset):
    """They were not, by 40 errors to 24, when training saw no scan that was not blurred by a warp."""
    scans = ink_of(mnist.validation)
    gently = ImageAugmentation(rotation=6, shift=0, scale=0, shear=0)
    turned = LabelledInk(augment_images(scans.ink, np.random.default_rng(0), config=gently), scans.labels)
    assert score(predict(recognizer, scans)).errors <= score(predict(recognizer, turned)).errors + 8


def assert_public_face_agrees(recognizer: Recognizer, digits: Digits, recognise: Callable, shown: Sequence) -> None:
    """Compare one-by-one recognition with the evaluation of the same digits, every 37th of them."""
    some = np.arange(0, len(digits), 37)
    batch = predict(recognizer, digits.take(some))
    singly = [recognise(shown[index]) for index in some]
    np.testing.assert_allclose([p.probabilities for p in singly], batch.probabilities, atol=1e-5)
    np.testing.assert_array_equal([p.best_digit for p in singly], batch.best)


def test_pictures_read_one_by_one_give_the_evaluations_answers(recognizer: Recognizer, scans: DigitDataset):
    assert_public_face_agrees(recognizer, scans.test, recognizer.recognize_image, scans.test.images)


def test_strokes_read_one_by_one_give_the_evaluations_answers(recognizer: Recognizer, pendigits: DigitDataset):
    assert_public_face_agrees(recognizer, pendigits.test, recognizer.recognize, pendigits.test.strokes)


def test_sample_digits_are_read(recognizer: Recognizer):
    wrong = [s.digit for s in sample_digits() if recognizer.recognize(list(s.strokes)).digit != s.digit]
    assert not wrong


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda s: [stroke * 1e-3 + 7 for stroke in s], id="tiny, far away"),
        pytest.param(lambda s: slanted(s, degrees=20), id="slanted right"),
        pytest.param(lambda s: slanted(s, degrees=-20), id="slanted left"),
        pytest.param(lambda s: rotated(s, degrees=8), id="rotated"),
        pytest.param(lambda s: resampled(s, points=10), id="10 points"),
        pytest.param(lambda s: resampled(s, points=1000), id="1000 points"),
    ],
)
def test_changed_pen_strokes_are_read_as_well(
    change, recognizer: Recognizer, pendigits: DigitDataset, pen_score: Score
):
    ink = np.stack([ink_from_strokes(change(strokes)) for strokes in pendigits.test.strokes])
    changed = score(predict(recognizer, LabelledInk(ink, pendigits.test.labels)))
    assert changed.errors <= pen_score.errors + 0.007 * pen_score.digits  # half a point, and ties that round otherwise


def test_dark_ink_on_light_paper_reads_the_same(recognizer: Recognizer, scans: DigitDataset):
    for image in scans.test.images[:100]:
        light, dark = recognizer.recognize_image(image), recognizer.recognize_image(255 - image)
        np.testing.assert_array_equal(light.image, dark.image)


def test_blank_pages_and_plain_non_digits_are_no_digits(recognizer: Recognizer):
    assert recognizer.recognize([]).digit is None
    for level in (0, 128, 255):
        assert recognizer.recognize_image(np.full((50, 40), level, np.uint8)).digit is None
    dot = [np.array([[5.0, 5.0]])]
    level_line = [np.array([[0.0, 0.0], [100.0, 3.0]])]
    letter_k = [
        np.array([[0.0, 0.0], [0.0, 100.0]]),
        np.array([[60.0, 0.0], [2.0, 55.0]]),
        np.array([[12.0, 45.0], [65.0, 100.0]]),
    ]
    for name, drawing in {"dot": dot, "line": level_line, "K": letter_k}.items():
        prediction = recognizer.recognize(drawing)
        assert prediction.digit is None, f"{name} is read as {prediction.digit}"
        assert prediction.probabilities.sum() == pytest.approx(1)


def test_letters_and_signs_are_told_from_digits(recognizer: Recognizer):
    """A model that had seen no letters and signs written by hand let 23 and 31 % of these pass."""
    passing = accepted_by_kind(recognizer, np.random.default_rng(20261127), count=500)
    assert passing["letter"][0] < 0.15
    assert passing["sign"][0] < 0.18


@pytest.mark.slow
def test_printed_letters_and_signs_alone_are_told_from_digits(recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch):
    """Hershey's glyphs without those written by hand: the bounds of the model before still hold."""
    monkeypatch.setattr(non_digits, "WRITTEN", 0.0)
    passing = accepted_by_kind(recognizer, np.random.default_rng(20261127), count=500)
    assert passing["letter"][0] < 0.15
    assert passing["sign"][0] < 0.1


def check_that_it_is_read(recognizer: Recognizer, form: Allograph, rng: np.random.Generator) -> None:
    drawings = [augment_strokes(draw_allograph(form, rng), rng) for _ in range(120)]
    probabilities, scores = recognizer.probabilities_and_scores(np.stack([ink_from_strokes(d) for d in drawings]))
    assert (probabilities.argmax(axis=1) != form.digit).mean() < 0.15, form.name
    assert (scores < recognizer.card.threshold).mean() <= 0.05, form.name


@pytest.mark.parametrize("digit", range(10))
def test_every_form_of_a_digit_is_read(recognizer: Recognizer, digit: int):
    """A 7 with a short, drooping bar was read as a 1 by 29 %: a 1 with a flag looks the same, so that form is gone."""
    rng = np.random.default_rng(digit)
    for form in ALLOGRAPHS:
        if form.digit == digit and form.name not in NEW_FORMS:
            check_that_it_is_read(recognizer, form, rng)


@pytest.mark.xfail(strict=True, reason="these forms came after the bundled model was trained; the next one learns them")
@pytest.mark.parametrize("name", NEW_FORMS)
def test_new_forms_are_read(recognizer: Recognizer, name: str):
    (form,) = (form for form in ALLOGRAPHS if form.name == name)
    check_that_it_is_read(recognizer, form, np.random.default_rng(1))


def test_scikit_learns_digits_are_read_too(recognizer: Recognizer, digits8x8: DigitDataset):
    """8x8 pixels are few, and these were never trained on; they are at hand on every machine, offline too."""
    assert score(predict(recognizer, digits8x8.test)).error_rate < 0.04


def test_model_says_where_it_comes_from(recognizer: Recognizer):
    provenance = recognizer.card.provenance
    assert provenance["config"]["seed"] == 0
    assert set(provenance["data"]) == {"mnist", "pendigits"}
    assert {"keras", "numpy", "opencv-python-headless", "python"} <= set(provenance["versions"])
    assert BUNDLED_MODEL.stat().st_size < 1_000_000


@pytest.mark.serial
def test_ink_and_network_are_fast(recognizer: Recognizer):
    """A millisecond is the aim on an idle core; a busy machine gets ten before this calls it a regression."""
    strokes = list(sample_digits()[8].strokes)
    recognizer.recognize(strokes)
    start = time.perf_counter()
    for _ in range(50):
        recognizer.recognize(strokes)
    assert (time.perf_counter() - start) / 50 < 0.010


def test_ink_of_a_dataset_is_what_the_recogniser_sees(recognizer: Recognizer, pendigits: DigitDataset):
    shown = ink_of(pendigits.test.take(np.arange(20)))
    for strokes, ink in zip(pendigits.test.strokes[:20], shown.ink, strict=True):
        np.testing.assert_array_equal(recognizer.recognize(strokes).image, ink)
