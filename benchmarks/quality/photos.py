"""How well photos are read: drawings of pendigits' validation writers, each seen three times as a worn photograph.

    python -m benchmarks.quality.photos                  # the bundled model: about a minute
    python -m benchmarks.quality.photos --model runs/x   # another export

The imitation of photos is that of training, with other writers and random numbers of its own. These are validation
drawings: they may guide what `digit_utils.preprocessing.binarization` does. Blank pages and photographed non-digits
show the price.
"""

import argparse

import numpy as np

from digit_utils.augmentation.non_digits import random_non_digits
from digit_utils.augmentation.photos import photograph, photograph_of_a_blank_page
from digit_utils.datasets.loading import load_dataset
from digit_utils.preprocessing.images import ink_from_image
from digit_utils.recognition.recognizer import Recognizer

REPEATS, BLANK_PAGES, NON_DIGITS = 3, 2000, 4000
SEEDS = (20261125, 9)  # of photos and blank pages, and of what is no digit
PHOTOGRAPHED = 0.999  # as good as all


def main() -> None:
    """Print what is misread, rejected, and taken for a digit that is none."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a model file or the folder of a run; left out: the bundled model")
    options = parser.parse_args()
    recognizer = Recognizer.load(options.model) if options.model else Recognizer.load()
    digits, rng = load_dataset("pendigits").validation, np.random.default_rng(SEEDS[0])

    photos = [photograph(strokes, rng) for _ in range(REPEATS) for strokes in digits.strokes]
    ink = np.stack([ink_from_image(photo) for photo in photos])
    probabilities, scores = recognizer.probabilities_and_scores(ink)
    blank = ~ink.any(axis=(1, 2))
    wrong = blank | (probabilities.argmax(axis=1) != np.tile(digits.labels, REPEATS))
    print(f"misread or taken for blank: {wrong.sum():,} of {len(ink):,} photos ({wrong.mean():.1%})")
    print(f"digit score below the threshold: {(scores < recognizer.card.threshold).sum():,}")

    pages = np.stack([ink_from_image(photograph_of_a_blank_page(rng)) for _ in range(BLANK_PAGES)])
    found = pages.any(axis=(1, 2))
    digit = found & (recognizer.probabilities_and_scores(pages)[1] >= recognizer.card.threshold)
    print(f"ink found on {found.sum():,} of {BLANK_PAGES:,} blank pages, taken for a digit on {digit.sum():,}")

    others = random_non_digits(NON_DIGITS, np.random.default_rng(SEEDS[1]), photographed=PHOTOGRAPHED)
    passed = recognizer.probabilities_and_scores(others)[1] >= recognizer.card.threshold
    print(f"taken for digits: {passed.sum():,} of {NON_DIGITS:,} photographed letters, signs and scribbles")


if __name__ == "__main__":
    main()
