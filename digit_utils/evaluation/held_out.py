"""Drawings on which a model may be evaluated: those held out from training."""

import numpy as np

from digit_utils.augmentation.allographs import random_allographs
from digit_utils.datasets.base import Digits, joined
from digit_utils.datasets.drawings import DRAWINGS_SUFFIX, format_problems, load_own_drawings
from digit_utils.datasets.loading import SOURCES, load_with_fallback
from digit_utils.datasets.own_data import load_own_data
from digit_utils.recognition.recognizer import Recognizer


def load_drawings(data_dir: str, rng: np.random.Generator, *, count: int = 1000) -> tuple[str, Digits]:
    """Return the drawings of pendigits' test writers, who are not in the training split, and the dataset's name.

    If they are unavailable, print why and return `count` drawings by `digit_utils.augmentation.allographs` instead.
    """
    drawn = load_with_fallback("pendigits", fallback=None, data_dir=data_dir)
    if drawn is not None:
        return drawn.name, drawn.test
    print(
        "Using drawings made by digit_utils.augmentation.allographs in their place. "
        "Training uses such drawings, too, so results on them are too optimistic."
    )
    drawings, labels = random_allographs(count, rng)
    return "allographs", Digits(labels, strokes=tuple(drawings))


def own_drawings_for(recognizer: Recognizer, path: str) -> tuple[Digits, str]:
    """Return digits of one's own on which a model may be evaluated, and a sentence that describes them.

    `path` is a .jsonl file of drawings, or whatever else `digit_utils.datasets.own_data` reads. A test set is used if
    there is one. Otherwise, a model that was trained with these digits, according to its card by their name or content,
    is evaluated on those that training holds out: every fifth drawing of each digit, which stay the same when the file
    grows, or a fifth of the images of each class. Any other model is evaluated on all. Broken lines are printed.

    Raises FileNotFoundError or DatasetCorrupt when there is no readable digit.
    """
    if path.endswith(DRAWINGS_SUFFIX):
        own, problems = load_own_drawings(path)
        if problems:
            print(format_problems(problems))
        kind, held_out = "drawings", "every fifth of each digit, which training holds out"
    else:
        own = load_own_data(path)
        kind, held_out = "digits", "a fifth of each class, which training holds out"
    if len(own.test) and own.test is not own.validation:
        return own.test, f"the {len(own.test)} test digits of {own.name}"
    data = recognizer.card.provenance.get("data", {})
    trained_with = {name: content for name, content in data.items() if name not in SOURCES}
    if own.name in trained_with or own.sha256 in trained_with.values():
        return own.validation, f"{len(own.validation)} {kind} of {own.name}, {held_out}"
    sentence = f"all {len(own.train) + len(own.validation)} {kind} of {own.name}"
    if trained_with:
        sentence += f"; the model was trained with {', '.join(trained_with)}: a drawing in both was not new to it"
    return joined(own.train, own.validation), sentence
