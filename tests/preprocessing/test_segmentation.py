"""Tiles, thresholds and threads around the network that finds ink; what it finds is tested by what is read."""

import numpy as np
import pytest

from digit_utils.preprocessing import segmentation
from digit_utils.preprocessing.segmentation import CANVAS, ink_of_photo, ink_probability, standardize


@pytest.mark.parametrize("shape", [(5, 7), (100, 384), (384, 384), (385, 200), (640, 480), (1000, 1500), (290, 2000)])
def test_tiles_join_without_a_seam(shape, monkeypatch):
    """With a network that returns what it is given, the image comes back."""
    monkeypatch.setattr(segmentation, "_segmenter", lambda: lambda tile: tile)
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_array_equal(ink_probability(image), standardize(image))


def test_no_tile_is_larger_than_what_the_network_reads(monkeypatch):
    seen = []
    monkeypatch.setattr(segmentation, "_segmenter", lambda: lambda tile: seen.append(tile.shape) or tile)
    ink_probability(np.zeros((900, 1200), np.uint8))
    assert set(seen) == {(CANVAS, CANVAS)}


def test_ink_is_what_is_connected_to_what_is_surely_ink(monkeypatch):
    probability = np.zeros((200, 200), np.float32)
    probability[20:180, 50:56], probability[60:100, 50:56] = 0.4, 0.9  # faint in parts, but one stroke
    probability[20:180, 150:156] = 0.4  # faint throughout
    monkeypatch.setattr(segmentation, "ink_probability", lambda image: probability)
    ink = ink_of_photo(np.zeros((200, 200), np.uint8))
    assert (ink[20:180, 50:56] > 0.3).all()
    assert not ink[:, 140:].any()
    probability[60:100, 50:56] = 0.4
    assert ink_of_photo(np.zeros((200, 200), np.uint8)) is None
