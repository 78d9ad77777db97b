"""The file of drawings: nothing that was saved is lost, and a broken line costs only itself."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import textwrap
import time
import warnings

import numpy as np
import pytest

from digit_utils.datasets import drawings as datasets_drawings
from digit_utils.datasets.base import DatasetCorrupt
from digit_utils.datasets.drawings import (
    DrawingsFileError,
    DrawingsFileFull,
    LabelledDrawing,
    append_drawing,
    check_drawings_file,
    read_drawings,
)
from digit_utils.datasets.loading import load_dataset
from digit_utils.datasets.samples import sample_digits

SAMPLES = sample_digits(side=800)
SEVEN = {"digit": 7, "strokes": [[[10, 10], [60, 10], [30, 90]], [[20, 50], [50, 50]]]}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "drawings.jsonl"


def write_lines(path, *lines):
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines))


# ------------------------------------------------------------------------------------------------------------
# What is written is read


def test_drawings_come_back_as_they_were_drawn(path):
    for sample in SAMPLES:
        append_drawing(path, LabelledDrawing(sample.strokes, sample.digit, read=3))
    drawings, problems = read_drawings(path)
    assert problems == []
    assert [drawing.digit for drawing in drawings] == [sample.digit for sample in SAMPLES]
    assert {drawing.read for drawing in drawings} == {3}
    assert len({drawing.id for drawing in drawings}) == len(SAMPLES)
    for drawing, sample in zip(drawings, SAMPLES, strict=True):
        for written, drawn in zip(drawing.strokes, sample.strokes, strict=True):
            np.testing.assert_allclose(written, drawn, atol=0.005)


def test_each_line_is_plain_json_that_any_program_can_read(path):
    append_drawing(path, LabelledDrawing([[(1.239, 2), (3, 4)]], 5, read=None, time="2026-11-24T09:30:00Z"))
    text = path.read_text(encoding="utf-8")
    assert text.endswith("}\n")
    content = json.loads(text)
    assert list(content) == ["digit", "strokes", "read", "id", "time"]
    assert content["strokes"] == [[[1.24, 2.0], [3.0, 4.0]]]
    assert content["read"] is None


def test_a_drawing_that_cannot_be_a_line_is_refused_and_the_file_stays(path):
    append_drawing(path, LabelledDrawing(SAMPLES[0].strokes, 0))
    before = path.read_bytes()
    far = [SAMPLES[0].strokes[0] * 1e6]
    bad = [([], 3), ([[(np.nan, 1)]], 3), (far, 3), *((SAMPLES[0].strokes, digit) for digit in (10, "3", 7.0, True))]
    for strokes, digit in bad:
        with pytest.raises(ValueError, match=r"without a single point|digit is|a coordinate is"):
            append_drawing(path, LabelledDrawing(strokes, digit))
    assert path.read_bytes() == before


def test_a_digit_may_have_any_integer_type(path):
    append_drawing(path, LabelledDrawing(SAMPLES[0].strokes, np.int64(7), read=np.uint8(1)))
    ((found,), problems) = read_drawings(path)
    assert (found.digit, found.read, problems) == (7, 1, [])


def test_a_later_line_with_the_same_id_replaces_or_deletes(path):
    first, second = LabelledDrawing(SAMPLES[1].strokes, 1), LabelledDrawing(SAMPLES[2].strokes, 2)
    for drawing in (
        first,
        second,
        LabelledDrawing(SAMPLES[1].strokes, 7, id=first.id),
        LabelledDrawing([], None, id=second.id),
        LabelledDrawing([], None, id="never seen"),
    ):
        append_drawing(path, drawing)
    drawings, problems = read_drawings(path)
    assert problems == []
    assert [(drawing.id, drawing.digit) for drawing in drawings] == [(first.id, 7)]
    assert path.read_bytes().count(b"\n") == 5  # nothing that the user owns is rewritten


def test_a_last_line_without_a_newline_is_not_joined_to_the_next(path):
    write_lines(path, SEVEN, SEVEN)
    append_drawing(path, LabelledDrawing(SAMPLES[0].strokes, 0))
    drawings, problems = read_drawings(path)
    assert problems == []
    assert [drawing.digit for drawing in drawings] == [7, 7, 0]


@pytest.mark.parametrize("length", [1, 30, 200])
def test_an_incomplete_last_line_of_a_killed_writer_costs_no_other_drawing(path, length):
    append_drawing(path, LabelledDrawing(SAMPLES[1].strokes, 1))
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:length])
    append_drawing(path, LabelledDrawing(SAMPLES[2].strokes, 2))
    drawings, problems = read_drawings(path)
    assert [drawing.digit for drawing in drawings] == [1, 2]
    assert len(problems) == 1
    assert "line 2 is left out: it is not JSON" in problems[0]


def test_permissions_and_links_are_kept(path, tmp_path):
    write_lines(path, SEVEN)
    path.chmod(0o640)
    link = tmp_path / "link.jsonl"
    link.symlink_to(path)
    append_drawing(link, LabelledDrawing(SAMPLES[0].strokes, 0))
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert len(read_drawings(path)[0]) == 2


def test_a_path_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DrawingsFileError, match=r"was not saved: .*file.drawings\.jsonl cannot be written"):
        append_drawing(tmp_path / "file" / "drawings.jsonl", LabelledDrawing(SAMPLES[0].strokes, 0))


def test_a_file_without_write_permission_is_reported_before_anybody_draws(path, monkeypatch):
    append_drawing(path, LabelledDrawing(SAMPLES[0].strokes, 0))
    check_drawings_file(path)
    monkeypatch.setattr(os, "access", lambda place, mode: not (mode & os.W_OK))  # rights do not bind who tests as root
    with pytest.raises(DrawingsFileError, match=rf"cannot be saved in {re.escape(str(path))}: no permission to read"):
        check_drawings_file(path)


def test_a_failed_flush_leaves_the_file_as_it_was(path, monkeypatch):
    append_drawing(path, LabelledDrawing(SAMPLES[0].strokes, 0))
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DrawingsFileError, match="No space left"):
        append_drawing(path, LabelledDrawing(SAMPLES[1].strokes, 1))
    assert path.read_bytes() == before
    monkeypatch.undo()
    append_drawing(path, LabelledDrawing(SAMPLES[1].strokes, 1))
    assert len(read_drawings(path)[0]) == 2


@pytest.mark.skipif(os.name != "posix", reason="limits on the size of a file are POSIX's")
def test_a_line_that_fits_on_the_disk_only_in_part_leaves_the_file_as_it_was(path):
    """The limit on the size of a file makes the system write a part of the line, as a full disk does."""
    append_drawing(path, LabelledDrawing(SAMPLES[0].strokes, 0))
    before = path.read_bytes()
    code = textwrap.dedent(
        f"""
        import resource, signal
        from digit_utils.datasets.drawings import DrawingsFileError, LabelledDrawing, append_drawing
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) + 50}, {len(before) + 50}))
        try:
            append_drawing({str(path)!r}, LabelledDrawing([[(1, 2)] * 1000], 1))
        except DrawingsFileError as error:
            print(error)
        """
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout
    assert "was not saved" in said
    assert path.read_bytes() == before


def test_no_drawing_is_added_beyond_the_largest_file_but_one_can_be_deleted(path, monkeypatch):
    first = LabelledDrawing(SAMPLES[0].strokes, 0)
    size = append_drawing(path, first)
    assert size == path.stat().st_size
    monkeypatch.setattr(datasets_drawings, "LARGEST_FILE", 2 * size - 1)
    check_drawings_file(path)
    with pytest.raises(DrawingsFileFull, match=rf"no room for another drawing: {re.escape(str(path))} has .*move it"):
        append_drawing(path, LabelledDrawing(SAMPLES[0].strokes, 7, id=first.id))
    assert path.stat().st_size == size
    monkeypatch.setattr(datasets_drawings, "LARGEST_FILE", size)
    with pytest.raises(DrawingsFileFull, match="move it"):  # reported before anybody draws
        check_drawings_file(path)
    append_drawing(path, LabelledDrawing([], None, id=first.id))
    assert read_drawings(path) == ([], [])
    assert {entry.name for entry in path.parent.iterdir()} <= {path.name, f".{path.name}.lock"}


def test_waiting_too_long_for_the_lock_is_reported(path, monkeypatch):
    monkeypatch.setattr(datasets_drawings, "LOCK_TIMEOUT", 0.2)
    with (
        datasets_drawings.FileLock(path.with_name(".drawings.jsonl.lock")),
        pytest.raises(DrawingsFileError, match="locked for 0 s; try again"),
    ):
        append_drawing(path, LabelledDrawing(SAMPLES[0].strokes, 0))


# ------------------------------------------------------------------------------------------------------------
# Many writers, and writers that die

WRITER = textwrap.dedent(
    """
    import sys
    import numpy as np
    from digit_utils.datasets.drawings import LabelledDrawing, append_drawing
    path, name, count, points = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    stroke = np.random.default_rng(0).uniform(0, 800, (points, 2))
    print("ready", flush=True)
    sys.stdin.readline()
    for index in range(count):
        append_drawing(path, LabelledDrawing([stroke], index % 10, id=f"{name}-{index}"))
        print(index, flush=True)  # said to be saved
    """
)


def start_writer(path, name, *, count, points):
    command = [sys.executable, "-c", WRITER, str(path), name, str(count), str(points)]
    writer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert writer.stdout.readline() == "ready\n"
    return writer


def go(writer):
    writer.stdin.write("\n")
    writer.stdin.flush()


def test_four_processes_at_once_lose_no_line(path):
    writers = [start_writer(path, name, count=25, points=300) for name in "abcd"]
    for writer in writers:
        go(writer)
    for writer in writers:
        writer.communicate(timeout=120)
        assert writer.returncode == 0
    drawings, problems = read_drawings(path)
    assert problems == []
    for name in "abcd":  # each writer's lines in its order, the writers' mixed
        assert [each.id for each in drawings if each.id[0] == name] == [f"{name}-{index}" for index in range(25)]
    assert {entry.name for entry in path.parent.iterdir()} <= {path.name, f".{path.name}.lock"}


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
def test_a_writer_killed_at_any_moment_loses_nothing_that_it_said_to_have_saved(path):
    rng, said = np.random.default_rng(5), {}
    for attempt in range(5):
        writer = start_writer(path, f"w{attempt}", count=10_000, points=15_000)  # 300 kB a line
        go(writer)
        assert writer.stdout.readline() == "0\n"
        time.sleep(rng.uniform(0, 0.25))
        writer.send_signal(signal.SIGKILL)
        output, _ = writer.communicate(timeout=60)
        said[f"w{attempt}"] = 1 + output.count("\n")
    append_drawing(path, LabelledDrawing(SAMPLES[0].strokes, 0, id="afterwards"))  # the dead hold no lock
    drawings, problems = read_drawings(path)
    assert len(problems) <= len(said)  # each writer may have left one incomplete line
    assert all("is not JSON" in problem for problem in problems)
    assert drawings[-1].id == "afterwards"
    for name, count in said.items():
        saved = sum(drawing.id.startswith(name) for drawing in drawings)
        assert count <= saved <= count + 1  # one may have been saved, and the writer killed before it said so
    assert {entry.name for entry in path.parent.iterdir()} <= {path.name, f".{path.name}.lock"}


# ------------------------------------------------------------------------------------------------------------
# Broken lines

BROKEN = {
    b'{"digit": 7, "strokes": [[[1, 2': "it is not JSON",
    b"hello": "it is not JSON: Expecting value at character 1",
    b"\xff\xfe\x00": "it is not UTF-8 text at byte 1",
    b"[" * 100_000: "nested too deeply",
    b"[1, 2]": "it is not a JSON object",
    b'{"strokes": [[[1, 2]]]}': "it has no digit",
    b'{"digit": 12, "strokes": [[[1, 2]]]}': "digit is 12; expected a whole number from 0 to 9",
    b'{"digit": true, "strokes": [[[1, 2]]]}': "digit is true",
    b'{"digit": 7.0, "strokes": [[[1, 2]]]}': "digit is 7.0",
    b'{"digit": null, "strokes": [[[1, 2]]]}': "digit is null",
    b'{"digit": 7}': "it has no strokes",
    b'{"digit": 7, "strokes": {}}': "it has no strokes",
    b'{"digit": 7, "strokes": []}': "do not hold a single point",
    b'{"digit": 7, "strokes": [[[NaN, 2]]]}': "do not hold a single point",
    b'{"digit": 7, "strokes": [[1, 2]]}': r"stroke 0 has shape \(2,\)",
    b'{"digit": 7, "strokes": [[[1, 2, 3]]]}': r"stroke 0 has shape \(1, 3\)",
    b'{"digit": 7, "strokes": [[["a", "b"]]]}': "stroke 0 is no",
    b'{"digit": 7, "strokes": [[[1, 2], [3]]]}': "stroke 0 is no",
    b'{"digit": 7, "strokes": [[[1e300, 2]]]}': r"a coordinate is 1e\+300; expected at most 1e\+06",
    b'{"digit": 7, "strokes": [[[1, 2]]], "id": 5}': "id is 5; expected a string",
    b'{"digit": ' + b"9" * 5000 + b"}": "limit",
}


@pytest.mark.parametrize(("line", "reason"), BROKEN.items(), ids=range(len(BROKEN)))
def test_a_broken_line_is_reported_with_its_number_and_reason_and_the_rest_is_used(path, line, reason):
    write_lines(path, SEVEN, b"", line, SEVEN | {"digit": 1}, b"")
    with pytest.warns(UserWarning, match=rf"drawings\.jsonl, line 3 is left out: .*{reason}"):
        dataset = load_dataset(str(path))
    assert dataset.train.labels.tolist() == [7, 1]
    assert np.array_equal(dataset.train.strokes[0][0], np.array(SEVEN["strokes"][0], np.float32))


def test_many_broken_lines_are_counted_not_listed(path):
    write_lines(path, SEVEN, *[b"?"] * 30)
    with pytest.warns(UserWarning, match="line 11 is left out") as told:
        load_dataset(str(path))
    assert len(told) == 1
    assert str(told[0].message).endswith("... and 20 more")


def test_an_empty_or_missing_file_is_reported_with_the_remedy(path):
    with pytest.raises(FileNotFoundError, match=r"there is no .*drawings\.jsonl; .*digits draw --drawings"):
        load_dataset(str(path))
    path.touch()
    with pytest.raises(DatasetCorrupt, match=r"drawings\.jsonl holds no labelled drawing yet"):
        load_dataset(str(path))
    write_lines(path, b"?", b"{}")
    with pytest.raises(DatasetCorrupt, match=r"(?s)no labelled drawing.*line 1 is left out.*line 2"):
        load_dataset(str(path))


def test_files_of_other_editors_are_read(path):
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(SEVEN).encode() + b"\r\n\r\n" + json.dumps(SEVEN).encode() + b"\r\n")
    drawings, problems = read_drawings(path)
    assert (len(drawings), problems) == (2, [])


# ------------------------------------------------------------------------------------------------------------
# As a dataset


def test_real_handwriting_gives_the_same_ink_after_a_round_trip(path, pendigits):
    from digit_utils.preprocessing.strokes import ink_from_strokes

    some = pendigits.validation.take(slice(60))
    for label, strokes in zip(some.labels, some.strokes, strict=True):
        append_drawing(path, LabelledDrawing(strokes, int(label)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = load_dataset(str(path))
    assert dataset.name == "drawings.jsonl"
    assert len(dataset.train) + len(dataset.validation) == 60
    assert len(dataset.test) == 0
    back = iter(dataset.train.strokes), iter(dataset.validation.strokes)
    seen = np.zeros(10, int)
    for label, strokes in zip(some.labels, some.strokes, strict=True):
        seen[label] += 1
        stored = next(back[int(seen[label] % 5 == 0)])  # each fifth of a digit is held out
        assert np.abs(ink_from_strokes(stored) - ink_from_strokes(strokes)).max() < 0.02


def test_what_is_held_out_stays_so_however_the_file_grows(path):
    rng = np.random.default_rng(3)
    held_out: dict[str, bool] = {}
    for _ in range(120):
        known = list(held_out)
        name = str(rng.choice(known)) if known and rng.random() < 0.4 else f"new {len(known)}"
        digit = None if name in held_out and rng.random() < 0.4 else int(rng.integers(10))
        append_drawing(path, LabelledDrawing([] if digit is None else SAMPLES[0].strokes, digit, id=name))
        now = {drawing.id: drawing.is_held_out for drawing in read_drawings(path)[0]}
        assert all(held_out.get(each, value) == value for each, value in now.items())
        held_out = {name: False} | held_out | now
    assert 3 <= sum(held_out.values()) <= 24


def test_the_content_has_its_hash_and_a_path_is_given_once(path):
    write_lines(path, SEVEN)
    first = load_dataset(str(path)).sha256
    write_lines(path, SEVEN | {"note": "another program's"})
    assert load_dataset(str(path)).sha256 == first
    write_lines(path, SEVEN | {"digit": 1})
    assert load_dataset(str(path)).sha256 != first
    with pytest.raises(ValueError, match="is a path itself"):
        load_dataset(str(path), path="elsewhere")
