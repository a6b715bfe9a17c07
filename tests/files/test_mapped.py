"""The mapping: views that copy nothing, a close that names who still holds one."""

from __future__ import annotations

import gc
import os

import numpy as np
import pytest

from llama_edu.errors import FormatError
from llama_edu.files.layout import TensorSpec
from llama_edu.files.mapped import MappedFile, open_weights


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "numbers.bin"
    path.write_bytes(b"head" + np.arange(24, dtype="<f4").tobytes() + b"\1\2\3")
    return path


GRID = TensorSpec("grid", "f32", (4, 6), 4, 96)
HALF = TensorSpec("odd", "f16", (3, 2), 7, 12)


def test_a_view_shows_the_file_and_owns_nothing(file):
    with MappedFile(file) as mapped:
        view = mapped.view(GRID)
        np.testing.assert_array_equal(view, np.arange(24, dtype=np.float32).reshape(4, 6))
        assert not view.flags.owndata and not view.flags.writeable
        assert view.ctypes.data == mapped.address + 4
        with pytest.raises(ValueError, match="read-only"):
            view[0, 0] = 1
        with pytest.raises(ValueError, match="cannot set WRITEABLE"):
            view.flags.writeable = True
        del view


def test_a_view_shows_a_change_of_the_file_and_a_copy_does_not(file):
    """That is what it means to be mapped."""
    with MappedFile(file) as mapped:
        view, copy = mapped.view(GRID), mapped.read(GRID)
        with file.open("r+b") as writer:
            writer.seek(4)
            writer.write(np.float32(99).tobytes())
        assert view[0, 0] == 99 and copy[0, 0] == 0
        del view


def test_a_tensor_at_an_odd_byte_is_read_right(file):
    with MappedFile(file) as mapped:
        expected = np.frombuffer(file.read_bytes()[7:19], "<f2").reshape(3, 2)
        np.testing.assert_array_equal(mapped.view(HALF), expected)


@pytest.mark.parametrize("private", [False, True])
def test_a_private_mapping_shows_the_same_bytes_and_is_read_only(file, private):
    with MappedFile(file, private=private) as mapped:
        assert mapped.view(GRID).sum() == sum(range(24))
        assert not mapped.view(GRID).flags.writeable


def test_strides_of_a_transposed_tensor_are_honored(file):
    spec = TensorSpec("transposed", "f32", (6, 4), 4, 96, strides=(1, 6))
    with MappedFile(file) as mapped:
        expected = np.arange(24, dtype=np.float32).reshape(4, 6).T
        np.testing.assert_array_equal(mapped.view(spec), expected)
        copy = mapped.read(spec)
        np.testing.assert_array_equal(copy, expected)
        assert not copy.flags.writeable and not np.shares_memory(copy, mapped.view(spec))


def test_read_gives_a_read_only_copy_of_its_own(file):
    with MappedFile(file) as mapped:
        copy = mapped.read(GRID)
        assert copy.flags.owndata and not copy.flags.writeable
        np.testing.assert_array_equal(copy, mapped.view(GRID))


def test_closing_while_a_view_is_held_names_it_and_leaves_it_alive(file):
    mapped = MappedFile(file)
    view, other = mapped.view(GRID), mapped.view(HALF)
    assert set(mapped.held_views) == {"grid", "odd"}
    with pytest.raises(BufferError, match=r"2 views are still held \(grid, odd\); delete them"):
        mapped.close()
    assert view[3, 5] == 23 and not mapped.closed
    del view, other
    mapped.close()
    assert mapped.closed and mapped.held_views == ()


def test_a_slice_of_a_view_holds_the_view(file):
    mapped = MappedFile(file)
    part = mapped.view(GRID)[1:, ::2]
    with pytest.raises(BufferError, match="grid"):
        mapped.close()
    assert part[0, 0] == 6
    del part
    mapped.close()


def test_an_error_inside_with_is_not_hidden_by_the_views_its_traceback_holds(file):
    def fail(mapped):
        view = mapped.view(GRID)
        raise KeyboardInterrupt(str(view.shape))

    with pytest.raises(KeyboardInterrupt), MappedFile(file) as mapped:
        fail(mapped)
    gc.collect()
    mapped.close()


def test_leaving_with_while_a_view_is_held_says_so(file):
    with pytest.raises(BufferError, match="1 views are still held"), MappedFile(file) as mapped:
        view = mapped.view(GRID)
    del view


@pytest.mark.parametrize(
    "spec",
    [
        TensorSpec("late", "f32", (4, 6), 8, 96),
        TensorSpec("early", "f32", (1,), -4, 4),
        TensorSpec("beyond", "f32", (1,), 2**62, 4),
        TensorSpec("huge", "f32", (2**40, 2**40), 4, 2**82),
    ],
    ids=lambda spec: spec.name,
)
def test_a_tensor_beyond_the_file_is_refused_before_a_view_is_made(file, spec):
    with MappedFile(file) as mapped:
        for make in (mapped.view, mapped.read):
            with pytest.raises(FormatError, match=f"{spec.name} is at bytes .*, the file has 103"):
                make(spec)
        assert mapped.held_views == ()


def test_an_empty_file_and_a_missing_one_are_named(tmp_path):
    (tmp_path / "empty.bin").touch()
    with pytest.raises(FormatError, match=r"empty.bin: is empty, expected a weight file"):
        MappedFile(tmp_path / "empty.bin")
    with pytest.raises(FormatError, match=r"none.bin: no such file; check the path"):
        MappedFile(tmp_path / "none.bin")
    with pytest.raises(FormatError, match="is a folder, expected one weight file"):
        MappedFile(tmp_path)


def test_a_path_that_no_system_accepts_is_named(tmp_path):
    for path in (tmp_path / ("x" * 300), tmp_path / "a\0b"):
        with pytest.raises(FormatError, match="cannot be opened"):
            open_weights(path)


def test_a_file_that_was_changed_after_opening_is_noticed(file):
    with MappedFile(file) as mapped:
        mapped.check_unchanged()
        os.utime(file, ns=(1, 1))
        with pytest.raises(FormatError, match="was changed after it was opened"):
            mapped.check_unchanged()


def test_a_file_that_shrank_is_noticed_by_read_and_by_check(file):
    with MappedFile(file) as mapped:
        os.truncate(file, 50)
        with pytest.raises(FormatError, match="103 bytes then, 50 now"):
            mapped.check_unchanged()
        with pytest.raises(FormatError, match="grid ends after 46 of 96 bytes; the file shrank"):
            mapped.read(GRID)


def test_a_file_that_was_replaced_is_noticed_and_the_old_bytes_stay(file, tmp_path):
    with MappedFile(file) as mapped:
        (tmp_path / "new").write_bytes(bytes(103))
        (tmp_path / "new").replace(file)
        with pytest.raises(FormatError, match="was replaced after it was opened"):
            mapped.check_unchanged()
        assert mapped.view(GRID)[3, 5] == 23


def test_a_file_that_is_gone_is_noticed(file):
    with MappedFile(file) as mapped:
        file.unlink()
        with pytest.raises(FormatError, match="can no longer be found"):
            mapped.check_unchanged()


def test_the_identity_is_that_of_the_file(file):
    with MappedFile(file) as mapped:
        stat = file.stat()
        identity = mapped.identity
        assert (identity.device, identity.inode) == (stat.st_dev, stat.st_ino)
        assert (identity.n_bytes, identity.mtime_ns) == (103, stat.st_mtime_ns)
        assert repr(mapped) == "MappedFile('numbers.bin', 103 bytes)"
    assert repr(mapped) == "MappedFile('numbers.bin', closed)"
