"""The network that finds ink: its loss and its batches against plain NumPy, and the file that it becomes."""

import numpy as np
import pytest

from digit_utils.files import read_bundle
from digit_utils.preprocessing import segmentation as inference
from digit_utils.training.segmentation import (
    PageBatches,
    SegmentationConfig,
    build_network,
    evaluate,
    export,
    render_pages,
    segmentation_loss,
    train,
    training_drawings,
)

TINY = SegmentationConfig(pages=32, validation_pages=8, epochs=1, warmup_steps=1)
LARGEST_FILE = 200_000  # bytes


@pytest.fixture(scope="module")
def trained():
    return train(TINY)


def test_the_loss_is_cross_entropy_and_dice():
    rng = np.random.default_rng(0)
    ink, logits = (rng.random((2, 8, 8, 1)) > 0.7).astype(np.float32), rng.normal(0, 2, (2, 8, 8, 1)).astype(np.float32)
    share = 1 / (1 + np.exp(-logits))
    cross_entropy = -np.mean(ink * np.log(share) + (1 - ink) * np.log(1 - share))
    dice = [(2 * (p * y).sum() + 20) / ((p + y).sum() + 20) for p, y in zip(share, ink, strict=True)]
    expected = 4 * cross_entropy + 1 - np.mean(dice)
    assert float(segmentation_loss(ink, logits)) == pytest.approx(expected, rel=1e-4)


def test_batches_hold_the_same_crop_of_a_page_and_of_its_ink():
    pages = np.random.default_rng(0).integers(0, 255, (32, 256, 256), dtype=np.uint8)
    batches = PageBatches(pages, pages, TINY)
    assert len(batches) == 2
    for index in range(2):
        images, ink = batches[index]
        assert images.shape == ink.shape == (16, 192, 192, 1)
        for image, share in zip(images, ink, strict=True):  # the image is its own ink, but for the scale
            assert np.corrcoef(image.ravel(), share.ravel())[0, 1] > 0.999


def test_the_same_seed_renders_the_same_pages():
    drawings = training_drawings(0)
    for first, again in zip(render_pages(drawings, 6, 1), render_pages(drawings, 6, 1), strict=True):
        assert np.array_equal(first, again)


def test_a_perfect_network_has_perfect_figures():
    class Perfect:
        def predict(self, inputs, **_):
            return -inputs  # ink is dark

    ink = np.zeros((3, 64, 64), np.uint8)
    ink[:, 20:40, 30:34] = 255
    assert set(evaluate(Perfect(), 255 - ink, ink).values()) == {1.0}


def test_the_exported_network_answers_as_the_trained_one_and_its_file_is_small(trained, tmp_path):
    network, figures = trained
    path = tmp_path / inference.MODEL_FILE_NAME
    export(network, path, TINY, figures)
    flatbuffer, card = read_bundle(path, member=inference.CARD_NAME, remedy="")
    assert path.stat().st_size < LARGEST_FILE
    assert card["config"]["pages"] == 32
    assert card["validation"] == figures
    levels = np.random.default_rng(0).normal(0, 1, (inference.CANVAS, inference.CANVAS)).astype(np.float32)
    logits = np.asarray(network(levels[np.newaxis, ..., np.newaxis], training=False))[0, ..., 0]
    np.testing.assert_allclose(inference._Segmenter(flatbuffer)(levels), 1 / (1 + np.exp(-logits)), atol=0.02)


def test_any_side_that_is_a_multiple_of_32_will_do():
    network = build_network(SegmentationConfig())
    for side in (32, 96, 256):
        assert network(np.zeros((1, side, side, 1), np.float32)).shape == (1, side, side, 1)
