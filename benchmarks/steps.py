"""What each step of this project is worth: the error rate after each, on the same digits.

    python benchmarks/steps.py                     # two seeds: about ten minutes on two cores
    python benchmarks/steps.py --output FILE.json  # also keeps the figures

One small network (`sprint`) is trained with more and more of the recipe, and reads the pen strokes of pendigits' test
writers, MNIST's test scans, and Semeion where the data folder has it. The last step is the bundled model: a larger
network, trained for longer, that also learnt what is no digit. No step was chosen by these figures.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from digit_utils import evaluation, training
from digit_utils.data import DigitDataset, load_dataset
from digit_utils.development_data import load_semeion
from digit_utils.files import write_json
from digit_utils.material import LabelledInk, Material, Recipe, ink_of, make_material
from digit_utils.recognizer import Recognizer

EPOCHS = 4
NAIVE_PEN = 0.05  # of the drawing's long side, for the tempting way: the middle of what notebook 03 tries
FULL = training.preset("full").recipe
SCANS = Recipe(augmentation="none")
RECIPES = {
    "normalised ink": SCANS,
    "augmented scans": replace(SCANS, augmentation=FULL.augmentation),
    "pen strokes": replace(SCANS, augmentation=FULL.augmentation, pen_strokes=FULL.pen_strokes),
    "allographs and photographs": replace(FULL, non_digits=0),
}
NAIVE, SHIPPED = "naive resize", "the bundled model"


def test_sets(mnist: DigitDataset, pendigits: DigitDataset, data_dir: str) -> dict[str, LabelledInk]:
    """Return the digits that every step reads, by the ink function."""
    sets = {"pendigits": ink_of(pendigits.test), "mnist": ink_of(mnist.test)}
    semeion = load_semeion(data_dir)
    return sets | ({} if semeion is None else {"semeion (development check)": ink_of(semeion)})


def errors_of_network(recipe: Recipe, material: Material, sets: dict[str, LabelledInk], *, seed: int) -> dict[str, int]:
    """Train the small network by a recipe and return its errors on each set."""
    config = replace(training.preset("quick"), epochs=EPOCHS, seed=seed, recipe=recipe)
    with tempfile.TemporaryDirectory() as folder:
        network = training.train(config, material, folder, report=lambda _: None, show_progress=False).network
    return {name: round(training.error_rate(network, digits) * len(digits)) for name, digits in sets.items()}


def errors_of_recognizer(recognizer: Recognizer, sets: dict[str, LabelledInk]) -> dict[str, int]:
    """Return a recogniser's errors on each set."""
    return {name: int(evaluation.read(recognizer, digits).wrong.sum()) for name, digits in sets.items()}


def main() -> None:
    """Train all steps and print their errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2, help="how many (default: 2)")
    parser.add_argument("--data-dir", default="", help="folder with the datasets (default: found or downloaded)")
    parser.add_argument("--output", type=Path, help="file for the figures, as JSON")
    options = parser.parse_args()
    mnist, pendigits = (load_dataset(name, data_dir=options.data_dir or None) for name in ("mnist", "pendigits"))
    material, sets = make_material(mnist, pendigits), test_sets(mnist, pendigits, options.data_dir)
    naive = np.stack([evaluation.naive_ink(strokes, pen=NAIVE_PEN) for strokes in pendigits.test.strokes])
    naive_set = LabelledInk(naive, pendigits.test.labels)
    errors: dict[str, dict[str, list[int]]] = {}
    for seed in range(options.seeds):
        for step, recipe in RECIPES.items():
            shown = sets | ({NAIVE: naive_set} if recipe == SCANS else {})
            found = errors_of_network(recipe, material, shown, seed=seed)
            if NAIVE in found:
                errors.setdefault(NAIVE, {}).setdefault("pendigits", []).append(found.pop(NAIVE))
            for name, count in found.items():
                errors.setdefault(step, {}).setdefault(name, []).append(count)
            print(f"seed {seed}  {step:28}", found, flush=True)
    errors[SHIPPED] = {name: [count] for name, count in errors_of_recognizer(Recognizer.load(), sets).items()}
    digits = {name: len(of_set) for name, of_set in sets.items()}
    print(evaluation.step_table(errors, digits))
    if options.output:
        write_json(options.output, {"digits": digits, "errors": errors})


if __name__ == "__main__":
    main()
