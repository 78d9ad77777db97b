"""Letters and signs that the network was never shown: those of 51 handwriting models that schools teach.

    npm install $(python benchmarks/school_letters.py --packages)   # in any folder: the fonts, 7 MB
    python benchmarks/school_letters.py FOLDER                      # the bundled model: a minute
    python benchmarks/school_letters.py FOLDER --model runs/x       # another export

The fonts are Playwrite (TypeTogether, 2024; Open Font License), one for each way in which schools of some forty
countries teach to write. None is trained on: what the network learns to refuse is written with Hershey's fonts. They
are told from the validation digits of MNIST and pendigits. Their own digits, which hardly differ between the fonts but
for their slant, are read as well. A development check: it may guide, and led to more letters and signs in
`digit_utils.non_digits`.
"""

import argparse
import string
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from digit_utils.data import load_dataset
from digit_utils.evaluation import digit_auroc, rate
from digit_utils.ink import ink_from_image
from digit_utils.material import ink_of
from digit_utils.recognizer import Recognizer

MODELS = (
    "ar", "at", "au-nsw", "au-qld", "au-sa", "au-tas", "au-vic", "be-vlg", "be-wal", "br", "ca", "cl", "co", "cu",
    "cz", "de-grund", "de-la", "de-sas", "de-va", "dk-loopet", "dk-uloopet", "es", "es-deco", "fr-moderne", "fr-trad",
    "gb-j", "gb-s", "hr", "hr-lijeva", "hu", "id", "ie", "in", "is", "it-moderna", "it-trad", "mx", "ng-modern", "nl",
    "no", "nz", "pe", "pl", "pt", "ro", "sk", "tz", "us-modern", "us-trad", "vn", "za",
)  # fmt: skip
PACKAGES = [f"@fontsource-variable/playwrite-{model}" for model in MODELS]
WEIGHTS = (100, 250, 400)  # of the fonts' axis: a fine pen, a usual one, a broad one
HEIGHT, MARGIN = 120, 30  # pixels
DIGIT_SHAPES = "OoIlSsZz"  # whoever writes one of these may well mean a digit: left out
GROUPS = {
    "letters": [letter for letter in string.ascii_letters if letter not in DIGIT_SHAPES],
    "signs": list("+-=?!&%@#*<>$€~{}[]"),
}


def main() -> None:
    """Print how well letters and signs of the fonts are told from digits, and how the fonts' own digits are read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="where the fonts lie, at any depth")
    parser.add_argument("--model", help="a model file or the folder of a run; left out: the bundled model")
    parser.add_argument("--packages", action="store_true", help="print the names of the fonts' npm packages")
    options = parser.parse_args()
    if options.packages:
        print(*PACKAGES)
        return
    if options.folder is None:
        parser.error("name the folder where the fonts lie; --help tells how to get them")
    fonts = sorted(options.folder.rglob("playwrite-*-fallback-wght-normal.woff2"))
    if not fonts:
        parser.error(f"there are no Playwrite fonts in {options.folder}; --help tells how to get them")
    print(f"{len(fonts)} of {len(MODELS)} handwriting models, each with {len(WEIGHTS)} pens")
    recognizer = Recognizer.load(options.model) if options.model else Recognizer.load()
    report_digits(recognizer, fonts)
    ink = np.concatenate([ink_of(load_dataset(name).validation).ink for name in ("mnist", "pendigits")])
    digits = recognizer.probabilities_and_scores(ink)[1]
    for name, group in GROUPS.items():
        report_group(recognizer, fonts, name, group, digits)


def report_digits(recognizer: Recognizer, fonts: Sequence[Path]) -> None:
    """Print how many of the fonts' digits are misread or rejected."""
    ink = [ink_of_character(fonts, digit) for digit in string.digits]
    probabilities, scores = recognizer.probabilities_and_scores(np.concatenate(ink))
    wrong = probabilities.argmax(axis=1) != np.repeat(np.arange(10), [len(pages) for pages in ink])
    rejected = scores < recognizer.card.threshold
    print(f"digits: {wrong.sum()} misread, {rejected.sum()} rejected of {len(wrong):,}")


def report_group(
    recognizer: Recognizer, fonts: Sequence[Path], name: str, group: Sequence[str], digits: np.ndarray
) -> None:
    """Print how well the characters of a group are told from digits by their scores, and which pass most often."""
    scores = {c: recognizer.probabilities_and_scores(ink_of_character(fonts, c))[1] for c in group}
    others, threshold = np.concatenate(list(scores.values())), recognizer.card.threshold
    passing, low, high = rate(int((others >= threshold).sum()), len(others))
    print(f"{name}: AUROC {digit_auroc(digits, others):.4f}, against {len(digits):,} digits; ", end="")
    print(f"{passing:.0%} of {len(others):,} pass for digits [{low:.0%}, {high:.0%}]")
    rates = {character: float((found >= threshold).mean()) for character, found in scores.items()}
    most = sorted(rates, key=rates.get, reverse=True)[:16]
    print("    most often:", ", ".join(f"{character} {rates[character]:.0%}" for character in most))


def ink_of_character(fonts: Sequence[Path], character: str) -> np.ndarray:
    """Return a character in all fonts, with all pens, as the recogniser sees it: (n, 28, 28) float32."""
    return np.stack([ink_from_image(picture) for font in fonts for picture in pictures(font, character)])


def pictures(font: Path, character: str) -> Iterator[np.ndarray]:
    """Yield a character as a font writes it, once with each pen: dark on light, (height, width) uint8."""
    writer = ImageFont.truetype(font, HEIGHT)
    for weight in WEIGHTS:
        writer.set_variation_by_axes([weight])
        left, top, right, bottom = writer.getbbox(character)
        page = Image.new("L", (right - left + 2 * MARGIN, bottom - top + 2 * MARGIN), 255)
        ImageDraw.Draw(page).text((MARGIN - left, MARGIN - top), character, font=writer, fill=0)
        yield np.asarray(page)


if __name__ == "__main__":
    main()
