import dataclasses

import numpy as np

from digit_utils.datasets.drawings import LabelledDrawing, append_drawing
from digit_utils.datasets.loading import load_dataset
from digit_utils.datasets.samples import sample_digits
from digit_utils.training.config import DataMix
from digit_utils.training.data import OWN_DRAWING_REPEATS, make_epoch, make_training_data

ONE = next(sample.strokes for sample in sample_digits(side=800) if sample.digit == 1)


def test_own_drawings_are_mixed_into_each_epoch_many_times_but_never_outweigh_the_rest(tmp_path, digits8x8):
    path = tmp_path / "drawings.jsonl"
    for _ in range(5):
        append_drawing(path, LabelledDrawing(ONE, 7, read=1))
    own = load_dataset(str(path))
    assert (len(own.train), len(own.validation)) == (4, 1)
    few = dataclasses.replace(digits8x8, train=digits8x8.train.take(slice(300)))
    plain, mixed = make_training_data(few), make_training_data(few, own=own)
    assert mixed.validation.keys() == plain.validation.keys()  # the held-out ones have no say
    assert mixed.hashes == plain.hashes | {"drawings.jsonl": own.sha256}
    assert plain.own_drawings_per_epoch == 0
    assert mixed.own_drawings_per_epoch == min(4 * OWN_DRAWING_REPEATS, len(few.train) // 10)
    without, _ = make_epoch(plain, DataMix(), np.random.default_rng(0))
    ink, targets = make_epoch(mixed, DataMix(), np.random.default_rng(0))
    assert len(ink) == len(without) + mixed.own_drawings_per_epoch
    sevens = int((few.train.labels == 7).sum())
    assert (targets[:, :10].argmax(axis=1) == 7).sum() == sevens + mixed.own_drawings_per_epoch
