"""Image files become rows of a table, whatever lies among them."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from digit_utils import Recognizer, cli
from digit_utils.datasets.base import DigitDataset
from digit_utils.recognition.image_files import image_files, read_files


def row_of_digits(images: np.ndarray) -> np.ndarray:
    """Three digits of MNIST in a row, dark on light, (160, 380) uint8."""
    page = np.full((160, 380), 255, np.uint8)
    for index, image in enumerate(images):
        left = 40 + 100 * index
        page[40:124, left : left + 84] = 255 - cv2.resize(image, (84, 84), interpolation=cv2.INTER_CUBIC)
    return page


@pytest.fixture
def folder(tmp_path: Path, mnist: DigitDataset) -> Path:
    """A folder with a row of digits, a single digit in a sub-folder, a blank page, and files that are no images."""
    folder = tmp_path / "images"
    (folder / "more").mkdir(parents=True)
    cv2.imwrite(str(folder / "a row.png"), row_of_digits(mnist.test.images[1:4]))
    cv2.imwrite(str(folder / "blank.png"), np.full((90, 90), 200, np.uint8))
    cv2.imwrite(str(folder / "more" / "seven.png"), mnist.test.images[0])
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_bytes(b"")
    return folder


def test_every_number_is_a_row_and_a_bad_file_does_not_stop_the_others(folder: Path, tmp_path: Path, capsys):
    damaged, output = tmp_path / "damaged.png", tmp_path / "out" / "readings.csv"
    damaged.write_bytes(b"\x89PNG, or not")
    assert cli.main(["read", str(damaged), str(folder), str(tmp_path / "gone.png"), "--output", str(output)]) == 1
    with output.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    texts = {Path(row["file"]).name: (row["text"], row["note"]) for row in rows}
    assert texts == {"a row.png": ("210", ""), "blank.png": ("", "blank"), "seven.png": ("7", "")}
    box = [int(rows[0][name]) for name in ("x", "y", "width", "height")]
    assert np.abs(np.array(box) - [54, 52, 257, 61]).max() <= 15
    assert 0.8 < float(rows[0]["confidence"]) <= 1
    told = capsys.readouterr()
    assert told.err.count("\n") == 2 + told.err.count("INFO")
    assert f"digits read: {damaged} cannot be decoded as an image" in told.err
    assert f"there is no image file {tmp_path / 'gone.png'}" in told.err
    assert told.out == ""


def test_json_lines_hold_the_same_as_csv_and_single_digits_need_no_lines(folder: Path, tmp_path: Path):
    output = tmp_path / "readings.jsonl"
    assert cli.main(["read", str(folder / "more" / "seven.png"), "--one-digit", "--output", str(output)]) == 0
    row = json.loads(output.read_text())
    assert (row["text"], row["box"], row["note"]) == ("7", [0, 0, 28, 28], "")
    assert row["confidence"] > 0.9


def test_piped_readings_are_csv(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["read", str(folder)]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["text"] for row in rows] == ["210", "", "7"]


def test_boxes_are_drawn_on_copies_whose_names_do_not_collide(folder: Path, tmp_path: Path, mnist: DigitDataset):
    cv2.imwrite(str(folder / "more" / "a row.png"), row_of_digits(mnist.test.images[1:4]))
    boxes = tmp_path / "boxes"
    assert cli.main(["read", str(folder), "--boxes", str(boxes)]) == 0
    assert {path.name for path in boxes.iterdir()} == {"a row.png", "a row-2.png", "blank.png", "seven.png"}
    copy = cv2.imread(str(boxes / "a row.png"))
    coloured = np.ptp(copy.astype(int), axis=2) > 50
    assert copy.shape == (160, 380, 3)
    assert 300 < coloured.sum() < 4000


def test_what_cannot_be_written_or_holds_nothing_is_refused_before_anything_is_read(folder: Path, tmp_path, capsys):
    assert cli.main(["read", str(folder), "--output", "readings.xlsx"]) == 1
    assert "its name must end in .csv or .jsonl" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert cli.main(["read", str(tmp_path / "empty")]) == 1
    assert f"the folder {tmp_path / 'empty'} holds no image" in capsys.readouterr().err


def test_a_thousand_digits_and_a_photo_of_12_megapixels_take_seconds(
    recognizer: Recognizer, mnist: DigitDataset, tmp_path: Path
):
    for index, image in enumerate(mnist.test.images[:250]):
        cv2.imwrite(str(tmp_path / f"{index}.png"), image)
    files = image_files([tmp_path])
    list(read_files(recognizer, files[:2]))
    start = time.process_time()
    readings = list(read_files(recognizer, files))
    assert 4 * (time.process_time() - start) < 2
    right = [reading.text == str(mnist.test.labels[int(Path(reading.file).stem)]) for reading in readings]
    assert sum(right) >= 245
    photo = tmp_path / "photo.jpg"
    page = cv2.resize(row_of_digits(mnist.test.images[1:4]), (4000, 3000))
    cv2.imwrite(str(photo), np.repeat(page[..., np.newaxis], 3, axis=2))
    start = time.process_time()
    (reading,) = read_files(recognizer, [photo])
    assert time.process_time() - start < 1
    assert reading.text == "210"
