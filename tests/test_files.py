from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys

import pytest

from digit_utils.files import atomic_write, locked, sha256_of, with_home


def names_in(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_the_tilde_of_a_path_is_a_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert with_home("~/runs") == tmp_path / "runs"
    assert str(with_home("runs/~")) == os.path.join("runs", "~")  # noqa: PTH118 (what a user of this system writes)
    with pytest.raises(FileNotFoundError, match=r"^~nosuch.runs: the home folder ~nosuch is not known here"):
        with_home("~nosuch/runs")


def test_file_appears_only_when_the_block_ends(tmp_path):
    target = tmp_path / "new folder" / "result.txt"
    with atomic_write(target) as temporary:
        temporary.write_text("done")
        assert not target.exists()
        assert temporary.suffix == ".txt"
        # Only within one file system is a rename atomic.
        assert temporary.stat().st_dev == tmp_path.stat().st_dev
    assert target.read_text() == "done"
    assert names_in(target.parent) == ["result.txt"]


def test_existing_file_is_replaced(tmp_path):
    target = tmp_path / "result.txt"
    target.write_text("old")
    with atomic_write(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"


@pytest.mark.skipif(os.name == "nt", reason="Windows flushes no folders")
def test_content_is_on_the_disk_before_the_name_and_the_name_before_the_end(tmp_path, monkeypatch):
    done, flush, replace = [], os.fsync, os.replace

    def noting_flush(descriptor):
        done.append("names" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "content")
        flush(descriptor)

    def noting_replace(source, target):
        done.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noting_flush)
    monkeypatch.setattr(os, "replace", noting_replace)
    with atomic_write(tmp_path / "result.txt") as temporary:
        temporary.write_text("done")
    assert done == ["content", "replace", "names"]


HOLDER = """
import sys, time
from digit_utils.files import locked
with locked(sys.argv[1], blocking=False) as held:
    print(held, flush=True)
    time.sleep(60)
"""


def test_a_lock_ends_with_the_process_that_holds_it(tmp_path):
    path = tmp_path / "new folder" / ".lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, path], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "True\n"
        with locked(path, blocking=False) as held:
            assert not held
    finally:
        holder.kill()
        holder.communicate()
    with locked(path, blocking=True) as held:
        assert held


def test_error_in_the_block_leaves_everything_as_it_was(tmp_path):
    target = tmp_path / "result.txt"
    target.write_text("old")

    def fail_half_way():
        with atomic_write(target) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert target.read_text() == "old"
    assert names_in(tmp_path) == ["result.txt"]


def test_block_that_writes_nothing_is_an_error_and_keeps_the_old_file(tmp_path):
    target = tmp_path / "result.txt"
    target.write_text("old")
    with (
        pytest.raises(FileNotFoundError, match=r"nothing was written for .*result\.txt"),
        atomic_write(target),
    ):
        pass
    assert target.read_text() == "old"
    assert names_in(tmp_path) == ["result.txt"]


def test_new_file_has_the_rights_that_any_new_file_has(tmp_path):
    (tmp_path / "plain").write_text("")
    with atomic_write(tmp_path / "atomic") as temporary:
        temporary.write_text("")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_killed_writer_leaves_the_old_file(tmp_path):
    target = tmp_path / "result.txt"
    target.write_text("old")
    code = (
        "import sys, time\nfrom digit_utils.files import atomic_write\n"
        "with atomic_write(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half')\n    print('written', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(target)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "written\n"
        writer.send_signal(signal.SIGKILL)
    assert target.read_text() == "old"


def test_concurrent_writers_do_not_mix(tmp_path):
    target = tmp_path / "result.txt"
    with atomic_write(target) as first, atomic_write(target) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert target.read_text() == "first"  # the block that ended last


def test_sha256_of_the_published_test_vectors(tmp_path):
    # NIST FIPS 180-2, appendix B.1, and the empty message.
    (tmp_path / "abc").write_bytes(b"abc")
    (tmp_path / "empty").write_bytes(b"")
    assert sha256_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_sha256_of_a_missing_file_names_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        sha256_of(tmp_path / "absent")
