"""The drawings that a model may be judged by: kept aside from training."""

import numpy as np

from digit_utils.augmentation.allographs import random_allographs
from digit_utils.datasets.base import Digits, joined
from digit_utils.datasets.drawings import DRAWINGS_SUFFIX, format_problems, load_own_drawings
from digit_utils.datasets.loading import load_with_fallback
from digit_utils.recognition.recognizer import Recognizer


def load_drawings(data_dir: str, rng: np.random.Generator, *, count: int = 1000) -> tuple[str, Digits]:
    """Return pendigits' test drawings by people whom training never saw, and their name.

    Where they cannot be had, say so, and return `count` drawings made by `digit_utils.augmentation.allographs` in
    their place.
    """
    drawn = load_with_fallback("pendigits", fallback=None, data_dir=data_dir)
    if drawn is not None:
        return drawn.name, drawn.test
    print(
        "Drawings made by digit_utils.augmentation.allographs stand in. "
        "Training has seen their like: trust no figure on them."
    )
    drawings, labels = random_allographs(count, rng)
    return "allographs", Digits(labels, strokes=tuple(drawings))


def own_drawings_for(recognizer: Recognizer, path: str) -> tuple[Digits, str]:
    """Return the drawings of a .jsonl file by which a model may be judged, and what they are, in a sentence.

    A model that was trained with this file, as its card tells by the file's name or content, is judged by those that
    training holds out, every fifth of each digit: the same ones when the file has grown. Any other model is judged by
    all. Broken lines are printed.

    Raises FileNotFoundError or DatasetCorrupt when there is no drawing to be read.
    """
    own, problems = load_own_drawings(path)
    if problems:
        print(format_problems(problems))
    data = recognizer.card.provenance.get("data", {})
    trained_with = {name: content for name, content in data.items() if name.endswith(DRAWINGS_SUFFIX)}
    if own.name in trained_with or own.sha256 in trained_with.values():
        count = len(own.validation)
        return own.validation, f"{count} drawings of {own.name}, every fifth of each digit, which training holds out"
    sentence = f"all {len(own.train) + len(own.validation)} drawings of {own.name}"
    if trained_with:
        sentence += f"; the model was trained with {', '.join(trained_with)}: a drawing in both was not new to it"
    return joined(own.train, own.validation), sentence
