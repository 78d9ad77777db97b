"""What each step of the training data is worth: the errors after each, on the same digits.

    python -m benchmarks.quality.ablation                     # two seeds: about ten minutes on two cores
    python -m benchmarks.quality.ablation --output FILE.json  # also keeps the figures

One small network (`medium_cnn`) is trained with more and more of the data mix, and evaluated on the pen strokes of
pendigits' test writers, MNIST's test scans, and Semeion where the data folder has it. The first two steps are the same
network: first the digits are cropped and stretched, as most demos do, then they are preprocessed as everywhere here.
The last step is the bundled model: a larger network, trained for longer, also on non-digits. No step was chosen by
these figures.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from digit_utils.datasets.base import DigitDataset, Digits
from digit_utils.datasets.external import load_semeion
from digit_utils.datasets.ink import LabelledInk, ink_of
from digit_utils.datasets.loading import load_dataset
from digit_utils.evaluation import ablation, naive, predictions
from digit_utils.files import write_json
from digit_utils.recognition.recognizer import Recognizer
from digit_utils.training.config import DataMix, preset
from digit_utils.training.data import TrainingData, make_training_data
from digit_utils.training.loop import TrainingResult, error_rate, train
from digit_utils.training.networks import build_network

SMALL = preset("quick", network="medium_cnn", epochs=4, learning_rate=0.01)
NAIVE_PEN = 0.05  # of the drawing's long side: the middle one of the widths that notebook 03 tries
FULL = preset("full").data_mix
SCANS = DataMix(augmentation="none")
STEPS = {
    "normalised ink": SCANS,
    "augmented scans": replace(SCANS, augmentation=FULL.augmentation),
    "pen strokes": replace(SCANS, augmentation=FULL.augmentation, pen_strokes=FULL.pen_strokes),
    "allographs, photographs, blur": replace(FULL, non_digits=0),
}
NAIVE, SHIPPED = "naive resize", "the bundled model"


def test_digits(mnist: DigitDataset, pendigits: DigitDataset, data_dir: str) -> dict[str, Digits]:
    """Return the digits that every step is evaluated on."""
    digits = {"pendigits": pendigits.test, "mnist": mnist.test}
    semeion = load_semeion(data_dir)
    return digits | ({} if semeion is None else {"semeion (development check)": semeion})


def naive_ink_of(digits: Digits) -> LabelledInk:
    """Return digits, drawn or scanned, as most demos would preprocess them."""
    if digits.images is not None:
        ink = [naive.naive_ink_of_image(image) for image in digits.images]
    else:
        ink = [naive.naive_ink(strokes, pen=NAIVE_PEN) for strokes in digits.strokes]
    return LabelledInk(np.stack(ink), digits.labels)


def train_step(data_mix: DataMix, training_data: TrainingData, *, seed: int) -> TrainingResult:
    """Train the small network on a data mix."""
    config = replace(SMALL, seed=seed, data_mix=data_mix)
    with tempfile.TemporaryDirectory() as folder:
        network = build_network(config.network, seed=seed)
        return train(network, config, training_data, folder, report=lambda _: None, show_progress=False)


def errors_of_network(trained: TrainingResult, sets: dict[str, LabelledInk]) -> dict[str, int]:
    """Return a trained network's errors on each set."""
    return {name: round(error_rate(trained.network, digits) * len(digits)) for name, digits in sets.items()}


def errors_of_recognizer(recognizer: Recognizer, sets: dict[str, LabelledInk]) -> dict[str, int]:
    """Return a recogniser's errors on each set."""
    return {name: int(predictions.predict(recognizer, digits).wrong.sum()) for name, digits in sets.items()}


def main() -> None:
    """Train all steps and print their errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2, help="how many (default: 2)")
    parser.add_argument("--data-dir", default="", help="folder with the datasets (default: found or downloaded)")
    parser.add_argument("--output", type=Path, help="file for the figures, as JSON")
    options = parser.parse_args()
    mnist, pendigits = (load_dataset(name, data_dir=options.data_dir or None) for name in ("mnist", "pendigits"))
    training_data, digits = make_training_data(mnist, pendigits), test_digits(mnist, pendigits, options.data_dir)
    sets = {name: ink_of(dataset) for name, dataset in digits.items()}
    naive_sets = {name: naive_ink_of(dataset) for name, dataset in digits.items()}
    errors: dict[str, dict[str, list[int]]] = {}
    for seed in range(options.seeds):
        for step, data_mix in STEPS.items():
            trained = train_step(data_mix, training_data, seed=seed)
            found = {NAIVE: errors_of_network(trained, naive_sets)} if data_mix == SCANS else {}
            found |= {step: errors_of_network(trained, sets)}
            for name, counts in found.items():
                print(f"seed {seed}  {name:28}", counts, flush=True)
                for dataset, count in counts.items():
                    errors.setdefault(name, {}).setdefault(dataset, []).append(count)
    errors[SHIPPED] = {name: [count] for name, count in errors_of_recognizer(Recognizer.load(), sets).items()}
    sizes = {name: len(dataset) for name, dataset in sets.items()}
    print(ablation.step_table(errors, sizes))
    if options.output:
        write_json(options.output, {"digits": sizes, "errors": errors})


if __name__ == "__main__":
    main()
