"""The ink of many scans is kept, and made anew whenever what is kept may be something else."""

from pathlib import Path

import numpy as np
import pytest

from digit_utils.datasets import ink
from digit_utils.datasets.base import Digits

SCANS = Digits(np.arange(10), np.random.default_rng(0).integers(0, 256, (10, 28, 28)).astype(np.uint8))


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which the ink of SCANS is."""
    monkeypatch.setenv("DIGITS_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(ink, "WORTH_KEEPING", 10)
    ink.load_ink(SCANS, name="../my scans")
    (file,) = tmp_path.iterdir()
    return file


def is_made_anew(digits: Digits, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Load ink, check it, and tell whether it was made for this call."""
    made, expected = [], ink.ink_of(digits)
    with monkeypatch.context() as patch:
        patch.setattr(ink, "ink_of", lambda digits: made.append(digits) or expected)
        found = ink.load_ink(digits, name="../my scans")
    np.testing.assert_array_equal(found.ink, expected.ink)
    np.testing.assert_array_equal(found.labels, digits.labels)
    assert found.ink.dtype == np.float32
    return bool(made)


@pytest.mark.usefixtures("kept")
def test_ink_is_kept_for_the_next_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert not is_made_anew(SCANS, monkeypatch)
    relabelled = Digits(SCANS.labels[::-1].copy(), SCANS.images)
    assert not is_made_anew(relabelled, monkeypatch), "labels come from the dataset"
    assert is_made_anew(Digits(SCANS.labels, 255 - SCANS.images), monkeypatch), "other scans of the same name"
    assert len(list(tmp_path.iterdir())) == 1, "in place of the first ones: the cache does not grow with every change"


@pytest.mark.parametrize("content", [b"", b"PK no archive", None])
def test_a_damaged_file_is_replaced(kept: Path, content: bytes | None, monkeypatch: pytest.MonkeyPatch):
    kept.write_bytes(kept.read_bytes()[:-200] if content is None else content)
    assert is_made_anew(SCANS, monkeypatch)
    assert not is_made_anew(SCANS, monkeypatch)


@pytest.mark.usefixtures("kept")
def test_ink_of_other_code_or_libraries_is_made_anew(monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setattr(ink, "_version", lambda: "of another release")
        assert is_made_anew(SCANS, patch)
        assert not is_made_anew(SCANS, patch)
    assert is_made_anew(SCANS, monkeypatch)


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DIGITS_CACHE_DIR", str(tmp_path / "file"))
    monkeypatch.setattr(ink, "WORTH_KEEPING", 10)
    for _ in range(2):
        assert is_made_anew(SCANS, monkeypatch)


def test_few_scans_are_not_worth_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DIGITS_CACHE_DIR", str(tmp_path))
    assert is_made_anew(SCANS, monkeypatch)
    assert not list(tmp_path.iterdir())
