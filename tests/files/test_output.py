"""The destination is the old file, whole, or the new one, whole; nothing lies beside it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers.small_models import names_in

from llama_edu.errors import FormatError
from llama_edu.files.output import atomic_output


def test_the_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "out.bin"
    with atomic_output(path, 3) as file:
        file.write(b"abc")
        assert not path.exists()
    assert path.read_bytes() == b"abc" and names_in(tmp_path) == ["out.bin"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError(28, "No space left")])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "out.bin"
    path.write_bytes(b"old")
    expected = FormatError if isinstance(error, OSError) else error
    with pytest.raises(expected) as caught, atomic_output(path) as file:
        file.write(b"half of the new")
        raise error
    if expected is FormatError:
        assert "writing failed (No space left); nothing was changed" in str(caught.value)
    assert path.read_bytes() == b"old" and names_in(tmp_path) == ["out.bin"]


def test_whoever_has_the_old_file_open_keeps_it(tmp_path):
    path = tmp_path / "out.bin"
    path.write_bytes(b"old")
    with path.open("rb") as reader:
        with atomic_output(path) as file:
            file.write(b"new")
        assert reader.read() == b"old" and path.read_bytes() == b"new"


def test_the_mode_is_that_of_the_old_file_or_the_umask(tmp_path):
    path, fresh = tmp_path / "out.bin", tmp_path / "fresh.bin"
    path.touch()
    path.chmod(0o640)
    old_mask = os.umask(0o027)
    try:
        for target in (path, fresh):
            with atomic_output(target) as file:
                file.write(b"x")
    finally:
        os.umask(old_mask)
    assert path.stat().st_mode & 0o777 == 0o640
    assert fresh.stat().st_mode & 0o777 == 0o640


def test_what_cannot_be_written_is_named_before_anything_is_made(tmp_path):
    cases = {
        tmp_path: "is a folder, expected the name of a file to write",
        tmp_path / "none" / "out.bin": "none: no such folder; create it",
        tmp_path / ("x" * 400): "cannot be written",
    }
    for path, sentence in cases.items():
        with pytest.raises(FormatError, match=sentence), atomic_output(path):
            raise AssertionError("opened")
    assert names_in(tmp_path) == []


def test_a_device_is_refused_and_stays():
    with pytest.raises(FormatError, match="is not a regular file"), atomic_output("/dev/null"):
        raise AssertionError("opened")
    assert not Path("/dev/null").is_file()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(FormatError, match="cannot be written"), atomic_output(tmp_path / "out"):
        raise AssertionError("opened")
    tmp_path.chmod(0o700)


def test_a_disk_without_room_is_named_before_anything_is_written(tmp_path):
    expected = r"needs .* bytes, the disk has .* free; nothing was written"
    with (
        pytest.raises(FormatError, match=expected),
        atomic_output(tmp_path / "out.bin", 2**62),
    ):
        raise AssertionError("opened")
    assert names_in(tmp_path) == []
