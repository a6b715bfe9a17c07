"""The destination is the old file, whole, or the new one, whole; nothing lies beside it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers.small_models import names_in

from llama_edu.errors import FormatError
from llama_edu.files.output import atomic_output, atomic_outputs


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


def test_a_file_system_without_modes_loses_no_file(tmp_path, monkeypatch):
    """chmod answers EPERM on CIFS, exFAT and /mnt/c."""
    path = tmp_path / "out.bin"
    path.touch()
    path.chmod(0o666)  # more than the umask leaves

    def refuse(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    monkeypatch.setattr(os, "chmod", refuse)
    with atomic_output(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new" and names_in(tmp_path) == ["out.bin"]


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path):
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "out.bin", tmp_path / "link.bin"
    link.symlink_to(Path("there") / "out.bin")
    for data in (b"made", b"replaced"):  # the first time the link leads to nothing
        with atomic_output(link) as file:
            file.write(data)
        assert link.is_symlink() and target.read_bytes() == data
        assert names_in(target.parent) == ["out.bin"]
    link.unlink()
    link.symlink_to(Path("nowhere") / "out.bin")
    with pytest.raises(FormatError, match="nowhere: no such folder"), atomic_output(link):
        raise AssertionError("opened")


def test_the_longest_name_that_a_folder_takes_can_be_written(tmp_path):
    path = tmp_path / ("x" * 255)
    with atomic_output(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"


def test_a_check_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "out.bin"
    path.write_bytes(b"old")

    def check():
        assert len(names_in(tmp_path)) == 2  # all was written
        raise FormatError("the source was changed")

    with pytest.raises(FormatError, match="source"), atomic_output(path, check=check) as file:
        file.write(b"new")
    assert path.read_bytes() == b"old" and names_in(tmp_path) == ["out.bin"]


def test_a_disk_that_fills_up_at_the_last_byte_is_named(tmp_path):
    """What is still in Python's buffer meets the error when the file is closed."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    with pytest.raises(FormatError, match="writing failed"), atomic_output(tmp_path / "a") as file:
        with open("/dev/full", "wb") as full:
            os.dup2(full.fileno(), file.fileno())
        file.write(b"small")
    assert names_in(tmp_path) == []


OLD, NEW = [b"old 0", b"old 1", b"old 2"], [b"new 0", b"new 1", b"new 2"]


def shards(folder: Path) -> list[Path]:
    return [folder / name for name in ("m.bin", "m.bin.1", "m.bin.2")]


def contents(folder: Path) -> list[bytes | None]:
    return [path.read_bytes() if path.exists() else None for path in shards(folder)]


def test_files_that_belong_together_are_replaced_together(tmp_path):
    for expected in (OLD, NEW):
        with atomic_outputs(shards(tmp_path)) as files:
            for file, data in zip(files, expected, strict=True):
                file.write(data)
        assert contents(tmp_path) == expected
        assert names_in(tmp_path) == ["m.bin", "m.bin.1", "m.bin.2"]


@pytest.mark.parametrize("had_old", [True, False])
@pytest.mark.parametrize("failing", range(7))
def test_a_move_that_fails_puts_all_old_files_back(tmp_path, monkeypatch, had_old, failing):
    """Whichever of the moves it is: three aside, three into place."""
    if had_old:
        for path, data in zip(shards(tmp_path), OLD, strict=True):
            path.write_bytes(data)
    n_moves, is_broken = 0, True

    def fail_once(move):
        def moved(self, target):
            nonlocal n_moves, is_broken
            n_moves += 1
            if is_broken and n_moves == failing + 1:
                is_broken = False
                raise OSError(5, "Input/output error")
            return move(self, target)

        return moved

    for name in ("rename", "replace"):
        monkeypatch.setattr(Path, name, fail_once(getattr(Path, name)))
    try:
        with atomic_outputs(shards(tmp_path)) as files:
            for file, data in zip(files, NEW, strict=True):
                file.write(data)
    except FormatError as error:
        assert "writing failed (Input/output error); nothing was changed" in str(error)
        assert contents(tmp_path) == (OLD if had_old else [None] * 3)
        assert len(names_in(tmp_path)) == (3 if had_old else 0)
    else:
        assert contents(tmp_path) == NEW and n_moves <= failing


@pytest.mark.parametrize("is_temporary", [True, False])
def test_a_full_temporary_folder_says_how_to_choose_another(tmp_path, monkeypatch, is_temporary):
    """Its files are none that the user has named."""
    import tempfile

    place = tmp_path if is_temporary else tmp_path / "elsewhere"
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    hint = "; set TMPDIR to a folder with more room"
    with pytest.raises(FormatError) as early, atomic_output(tmp_path / "out.bin", 2**62):
        raise AssertionError("opened")
    with pytest.raises(FormatError) as late, atomic_output(tmp_path / "out.bin"):
        raise OSError(28, "No space left on device")
    for caught in (early, late):
        assert str(caught.value).endswith(hint) == is_temporary
