"""How well numbers are read: synthetic numbers by pendigits' test writers, unseen by network and number head.

    python -m benchmarks.quality.numbers                  # the bundled model: about a minute
    python -m benchmarks.quality.numbers --model runs/x   # another export

Digits, marks, numbers with a line about them and single digits are reported apart. What is lost to segmentation is a
number whose strokes are grouped wrongly; what is lost to reading has the right groups and a wrong text. These
numbers are harder than most of what people write: they crowd, overlap and slant on purpose.
"""

import argparse
import time
from collections.abc import Callable, Sequence

import numpy as np

from digit_utils.augmentation.numbers import MARKS, Hand, SyntheticNumber, hands_of, random_text, write_number
from digit_utils.datasets.loading import load_dataset
from digit_utils.evaluation.numbers import MOST_WRONG, number_figures
from digit_utils.recognition.numbers import NumberReader
from digit_utils.recognition.recognizer import Recognizer

SEED, TEN_DIGITS = 20261129, 200
KINDS: dict[str, tuple[Callable[[str], bool], float]] = {
    "digits": (lambda text: text.isdigit() and len(text) > 1, 0.0),
    "one digit": (lambda text: text.isdigit() and len(text) == 1, 0.0),
    "with marks": (lambda text: not set(text).isdisjoint(MARKS), 0.0),
    "with a line about them": (str.isdigit, 1.0),
}  # which texts, and how many of them have a line under, over or around them


def main() -> None:
    """Print exact matches, digit errors, calibration and times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a model file or the folder of a run; left out: the bundled model")
    parser.add_argument("--numbers", type=int, default=400, help="numbers of each kind (default: %(default)s)")
    options = parser.parse_args()
    recognizer, rng = Recognizer.load(options.model), np.random.default_rng(SEED)
    test = load_dataset("pendigits").test
    hands = hands_of(test.strokes, test.labels, test.writers)
    for kind, (suits, lines) in KINDS.items():
        report(kind, recognizer, numbers_of(options.numbers, hands, rng, suits=suits, lines=lines))
    report_times(recognizer, hands, rng)


def numbers_of(
    count: int, hands: Sequence[Hand], rng: np.random.Generator, *, suits: Callable[[str], bool], lines: float
) -> list[SyntheticNumber]:
    """Return numbers whose text suits, without letters beside them."""
    numbers = []
    while len(numbers) < count:
        text = random_text(rng)
        if suits(text):
            numbers.append(write_number(text, hands[rng.integers(len(hands))], rng, lines=lines, neighbours=0))
    return numbers


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
