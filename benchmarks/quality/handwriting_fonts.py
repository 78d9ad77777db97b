"""Handwriting that the network was never shown: fonts drawn after many hands, and the models that schools teach.

    npm install google-font-metadata           # in any folder: the list of Google's fonts, and which are handwriting
    python -m benchmarks.quality.handwriting_fonts FOLDER --packages | xargs -n 1 npm install  # the fonts: 60 MB
    python -m benchmarks.quality.handwriting_fonts FOLDER                  # the bundled model: a minute
    python -m benchmarks.quality.handwriting_fonts FOLDER --model runs/x   # another export

Their digits are read one by one; many are calligraphy. Letters and signs are those of 51 Playwrite fonts (TypeTogether,
2024), one for each way in which schools of some forty countries teach to write, told from the validation digits of
MNIST and pendigits. All are under the Open Font or the Apache licence. None is trained on: what the network learns to
refuse is written with Hershey's fonts and with pen paths made here. A development check: it may guide, and led to more
letters and signs in `digit_utils.augmentation.non_digits`, to those of `digit_utils.augmentation.letters`, and to
forms in `digit_utils.augmentation.allographs`. So its figures flatter, those of the Playwrite fonts most.
"""

import argparse
import json
import string
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from digit_utils.datasets.ink import ink_of
from digit_utils.datasets.loading import load_dataset
from digit_utils.evaluation.intervals import rate
from digit_utils.evaluation.rejection import digit_auroc
from digit_utils.preprocessing.images import ink_from_image
from digit_utils.recognition.recognizer import Recognizer

MODELS = (
    "ar", "at", "au-nsw", "au-qld", "au-sa", "au-tas", "au-vic", "be-vlg", "be-wal", "br", "ca", "cl", "co", "cu",
    "cz", "de-grund", "de-la", "de-sas", "de-va", "dk-loopet", "dk-uloopet", "es", "es-deco", "fr-moderne", "fr-trad",
    "gb-j", "gb-s", "hr", "hr-lijeva", "hu", "id", "ie", "in", "is", "it-moderna", "it-trad", "mx", "ng-modern", "nl",
    "no", "nz", "pe", "pl", "pt", "ro", "sk", "tz", "us-modern", "us-trad", "vn", "za",
)  # fmt: skip
WEIGHTS = (100, 250, 400)  # of the fonts' axis: a fine pen, a usual one, a broad one
HEIGHT, MARGIN = 120, 30  # pixels
DIGIT_SHAPES = "OoIlSsZz"  # whoever writes one of these may well mean a digit: left out
GROUPS = {
    "letters": [letter for letter in string.ascii_letters if letter not in DIGIT_SHAPES],
    "signs": list("+-=?!&%@#*<>$€~{}[]"),
}


def main() -> None:
    """Print how the digits of fonts are read, and how well letters and signs of schools are told from digits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the npm packages lie, at any depth")
    parser.add_argument("--model", help="a model file or the folder of a run; left out: the bundled model")
    parser.add_argument("--packages", action="store_true", help="print the names of the fonts' npm packages")
    options = parser.parse_args()
    if options.packages:
        print(*packages(options.folder), sep="\n")
        return
    fonts = sorted(options.folder.rglob("*-latin-400-normal.woff2"))
    schools = sorted(options.folder.rglob("playwrite-*-fallback-wght-normal.woff2"))
    if not fonts or not schools:
        raise SystemExit(f"{options.folder} holds {len(fonts)} fonts and {len(schools)} of schools; --help tells more")
    recognizer = Recognizer.load(options.model) if options.model else Recognizer.load()
    print(f"{len(fonts)} fonts of handwriting")
    report_digits(recognizer, {font.name.removesuffix("-latin-400-normal.woff2"): font for font in fonts})
    print(f"{len(schools)} of {len(MODELS)} handwriting models that schools teach, each with {len(WEIGHTS)} pens")
    ink = np.concatenate([ink_of(load_dataset(name).validation).ink for name in ("mnist", "pendigits")])
    digits = recognizer.probabilities_and_scores(ink)[1]
    for name, group in GROUPS.items():
        report_group(recognizer, schools, name, group, digits)


def packages(folder: Path) -> list[str]:
    """Return the npm packages of Google's handwriting fonts, without those that teach with arrows and guides."""
    lists = sorted(folder.rglob("google-font-metadata/data/google-fonts-v1.json"))
    if not lists:
        raise SystemExit(f"the package google-font-metadata is not in {folder}; --help tells how to get it")
    known = json.loads(lists[0].read_text(encoding="utf-8"))
    names = [name for name, font in known.items() if font["category"] == "handwriting" and "latin" in font["subsets"]]
    plain = [f"@fontsource/{name}" for name in names if not name.endswith(("-guides", "-arrows", "-pre"))]
    return plain + [f"@fontsource-variable/playwrite-{model}" for model in MODELS]


def report_digits(recognizer: Recognizer, fonts: Mapping[str, Path]) -> None:
    """Print how many of the fonts' digits are misread or rejected, and which."""
    read = {(name, digit): recognizer.recognize_image(next(pictures(font, digit, weights=())))
            for name, font in fonts.items() for digit in string.digits}  # fmt: skip
    wrong = {at: p.probabilities.argmax() for at, p in read.items() if p.probabilities.argmax() != int(at[1])}
    rejected = sum(prediction.digit is None for prediction in read.values())
    print(f"digits: {len(wrong)} misread, {rejected} rejected of {len(read):,}")
    print("    misread:", ", ".join(f"{name} {digit} as {best}" for (name, digit), best in wrong.items()))


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


def pictures(font: Path, character: str, *, weights: Sequence[int] = WEIGHTS) -> Iterator[np.ndarray]:
    """Yield a character as a font writes it, once with each pen: dark on light, (height, width) uint8.

    Without weights, once as the font is: not all have an axis of weights.
    """
    writer = ImageFont.truetype(font, HEIGHT)
    for weight in weights or (None,):
        if weight is not None:
            writer.set_variation_by_axes([weight])
        left, top, right, bottom = writer.getbbox(character)
        page = Image.new("L", (right - left + 2 * MARGIN, bottom - top + 2 * MARGIN), 255)
        ImageDraw.Draw(page).text((MARGIN - left, MARGIN - top), character, font=writer, fill=0)
        yield np.asarray(page)


if __name__ == "__main__":
    main()
