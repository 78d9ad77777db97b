"""How well numbers are read: synthetic numbers by pendigits' test writers, unseen by network and number head.

    python -m benchmarks.quality.numbers                  # the bundled model: about a minute
    python -m benchmarks.quality.numbers --model runs/x   # another export

Digits, marks, numbers with a line about them and single digits are reported apart. What is lost to segmentation is a
number whose strokes are grouped wrongly; what is lost to reading has the right groups and a wrong text. These
numbers are harder than most of what people write: they crowd, overlap and slant on purpose.
"""

import argparse
import time
from collections.abc import Sequence

import numpy as np

from digit_utils.augmentation.numbers import Hand, SyntheticNumber, hands_of, write_number
from digit_utils.datasets.loading import load_dataset
from digit_utils.evaluation.numbers import MOST_WRONG, number_figures, numbers_by_kind
from digit_utils.recognition.numbers import NumberReader
from digit_utils.recognition.recognizer import Recognizer

SEED, TEN_DIGITS = 20261129, 200


def main() -> None:
    """Print exact matches, digit errors, calibration and times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a model file or the folder of a run; left out: the bundled model")
    parser.add_argument("--numbers", type=int, default=400, help="numbers of each kind (default: %(default)s)")
    options = parser.parse_args()
    recognizer, rng = Recognizer.load(options.model), np.random.default_rng(SEED)
    test = load_dataset("pendigits").test
    hands = hands_of(test.strokes, test.labels, test.writers)
    for kind, numbers in numbers_by_kind(options.numbers, hands, rng).items():
        report(kind, recognizer, numbers)
    report_times(recognizer, hands, rng)


def report(kind: str, recognizer: Recognizer, numbers: Sequence[SyntheticNumber]) -> None:
    """Print what becomes of some numbers."""
    read = [recognizer.recognize_number(number.strokes) for number in numbers]
    figures = number_figures(read, numbers)
    print(f"{kind}: {figures['exact']:.1%} of {len(numbers):,} exact "
          f"[{figures['exact_low']:.1%}, {figures['exact_high']:.1%}], "
          f"lost to segmentation {figures['segmentation']:.1%}, to reading {figures['reading']:.1%}, "
          f"characters in error {figures['characters']:.1%}, refused {figures['refused']:.1%}, "
          f"accepted at {MOST_WRONG:.1%} wrong {figures['accepted']:.1%}, "
          f"calibration error {figures['calibration']:.3f}")  # fmt: skip


def report_times(recognizer: Recognizer, hands: Sequence[Hand], rng: np.random.Generator) -> None:
    """Print how long ten digits take from scratch, and one further stroke."""
    whole, further = [], []
    for _ in range(TEN_DIGITS):
        text = "".join(map(str, rng.integers(0, 10, 10)))
        strokes = write_number(text, hands[rng.integers(len(hands))], rng, lines=0, neighbours=0).strokes
        reader = NumberReader(recognizer)
        whole.append(_milliseconds(reader, strokes))
        reader = NumberReader(recognizer)
        reader.read_strokes(strokes[:-1])
        further.append(_milliseconds(reader, strokes))
    for what, times in (("ten digits from scratch", whole), ("one further stroke", further)):
        print(
            f"{what}: median {np.median(times):.1f} ms of one core, 95th percentile {np.quantile(times, 0.95):.1f} ms"
        )


def _milliseconds(reader: NumberReader, strokes: Sequence[np.ndarray]) -> float:
    start = time.process_time()  # one thread does the work; other programs' time does not count
    reader.read_strokes(strokes)
    return 1e3 * (time.process_time() - start)


if __name__ == "__main__":
    main()
