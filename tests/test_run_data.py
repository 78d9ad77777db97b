"""What data a run reads: another content makes another run, whatever the names of the files."""

from __future__ import annotations

from pathlib import Path

import pytest
from sweeping import write_tiny_notebook

from digit_utils import run_data
from digit_utils.sweep import Sweep, read_sweep


def sweep_of(folder: Path, text: str) -> Sweep:
    write_tiny_notebook(folder)
    (folder / "s.yaml").write_text(text)
    return read_sweep(folder / "s.yaml")


def hashes(sweep: Sweep) -> list[str]:
    run_data._files.cache_clear()
    return run_data.data_of_runs(sweep)


def test_files_that_parameters_name_count_by_their_content(tmp_path: Path):
    one, other = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    sweep = sweep_of(tmp_path, f"notebook: tiny.ipynb\ngrid: {{word: ['{one}', '{other}']}}\n")
    one.write_text("a")
    other.write_text("a")
    first = hashes(sweep)
    assert first[0] == first[1]
    other.write_text("b")
    second = hashes(sweep)
    assert second[0] == first[0] != second[1]


def test_folders_count_by_their_files_and_a_run_by_its_model_alone(tmp_path: Path):
    folder = tmp_path / "some"
    folder.mkdir()
    sweep = sweep_of(tmp_path, f"notebook: tiny.ipynb\nparameters: {{word: '{folder}'}}\n")
    empty = hashes(sweep)
    (folder / "a.txt").write_text("a")
    with_file = hashes(sweep)
    assert with_file != empty
    (folder / "a.txt").rename(folder / "b.txt")
    assert hashes(sweep) not in (empty, with_file)
    (folder / "model.tflite").write_bytes(b"network")
    with_model = hashes(sweep)
    (folder / "b.txt").write_text("a log that grew")
    assert hashes(sweep) == with_model


def test_scans_count_by_their_content_not_by_their_folder(tmp_path: Path):
    sweep = sweep_of(tmp_path, "notebook: 02_train\ngrid: {dataset: [digits8x8], seed: [0, 1]}\n")
    elsewhere = sweep_of(tmp_path, f"notebook: 02_train\nparameters: {{dataset: digits8x8, data_dir: '{tmp_path}'}}\n")
    one, other = hashes(sweep)
    assert one == other  # the seed is no data
    without_pen = run_data._content({"dataset": "digits8x8", "data_dir": str(tmp_path)})
    assert without_pen["pendigits"] == "absent"
    assert hashes(elsewhere) == [run_data._digest(without_pen)]


@pytest.mark.parametrize(("name", "place"), [("drawings", "mine.jsonl"), ("data_dir", ".")])
def test_a_place_is_found_from_the_folder_of_the_run(
    name: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(f"notebook: 02_train\nparameters: {{{name}: {place}}}\n")
    assert read_sweep("s.yaml").runs[0][name] == str(tmp_path / place)
