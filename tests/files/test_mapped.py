"""The mapping: views that copy nothing, a close that names who still holds one."""

from __future__ import annotations

import errno
import gc
import mmap
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from llama_edu.errors import FormatError, RequestError
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
    spec = TensorSpec("transposed", "f32", (6, 4), 4, 96, strides=(4, 24))
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


def refusing(*flags):
    """mmap.mmap as a file system that allows no mapping with these flags."""
    true_mmap = mmap.mmap

    class Refusing(true_mmap):
        def __new__(cls, fileno, length, **options):
            if any(flag in options for flag in flags):
                raise OSError(errno.ENODEV, "No such device")
            return true_mmap(fileno, length, **options)

    return Refusing


def test_a_file_that_may_not_be_mapped_shared_is_mapped_private(file, monkeypatch):
    """FUSE with direct I/O, some network file systems."""
    monkeypatch.setattr(mmap, "mmap", refusing("access"))
    with MappedFile(file) as mapped:
        assert mapped.view(GRID)[3, 5] == 23


def test_a_mapping_that_is_refused_says_what_reads_instead(file, monkeypatch):
    monkeypatch.setattr(mmap, "mmap", refusing("access", "flags"))
    for private in (False, True):
        with pytest.raises(FormatError, match=r"cannot be mapped \(No such device\).*--no-mmap"):
            MappedFile(file, private=private)


def test_a_file_that_is_read_gives_the_same_bytes_and_is_never_mapped(file, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("mapped")

    data = file.read_bytes()
    strided = TensorSpec("transposed", "f32", (6, 4), 4, 96, strides=(4, 24))
    with MappedFile(file) as mapped:
        expected = [mapped.view(spec).copy() for spec in (GRID, HALF, strided)]
    monkeypatch.setattr(mmap, "mmap", refuse)
    with MappedFile(file, is_mapped=False) as opened:
        for spec, array in zip((GRID, HALF, strided), expected, strict=True):
            copy = opened.read(spec)
            np.testing.assert_array_equal(copy, array)
            assert not copy.flags.writeable
            np.testing.assert_array_equal(opened.view(spec), array)
        for part in (slice(4), slice(2, 9), slice(90, 200), slice(50, 20), slice(-3, None)):
            assert opened.data[part] == data[part]
        assert opened.data[0] == ord("h") and opened.data[-1] == 3
        assert len(opened.data) == opened.n_bytes == 103
        with pytest.raises(IndexError):
            opened.data[103]
        with pytest.raises(RequestError, match="was opened without mapping it"):
            opened.mmap  # noqa: B018
    assert opened.closed


def test_bytes_that_are_read_across_windows_are_those_of_the_file(tmp_path, rng):
    data = rng.bytes(200_000)
    (tmp_path / "long.bin").write_bytes(data)
    with MappedFile(tmp_path / "long.bin", is_mapped=False) as opened:
        for start in rng.integers(0, 200_000, 50).tolist():
            length = int(rng.choice([1, 8, 4096, 65_536, 150_000]))
            assert opened.data[start : start + length] == data[start : start + length]


def test_a_file_that_shrinks_while_it_is_read_is_named(tmp_path):
    (tmp_path / "long.bin").write_bytes(bytes(100_000))
    with MappedFile(tmp_path / "long.bin", is_mapped=False) as opened:
        os.truncate(opened.path, 10)
        with pytest.raises(FormatError, match="shrank while it was read; open it again"):
            opened.data[50_000:50_004]


def test_a_disk_that_cannot_be_read_is_named(file, monkeypatch):
    opened = MappedFile(file, is_mapped=False)

    class Broken:
        def seek(self, _):
            raise OSError(errno.EIO, "Input/output error")

    with opened:
        true_file = opened._file
        for owner in (opened, opened.data):
            monkeypatch.setattr(owner, "_file", Broken())
        with pytest.raises(FormatError, match=r"cannot be read at byte 4 \(Input/output error\)"):
            opened.read(GRID)
        with pytest.raises(FormatError, match=r"cannot be read at byte 7 \(Input/output error\)"):
            opened.data[7:9]
        monkeypatch.setattr(opened, "_file", true_file)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_pipe_that_nothing_writes_to_is_named_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for open_it in (MappedFile, open_weights):
        with pytest.raises(FormatError, match=r"is a pipe, which cannot be mapped; save what it"):
            open_it(tmp_path / "pipe")


UNDER_A_LIMIT = """
    import re, resource, sys
    from pathlib import Path
    from llama_edu.errors import FormatError
    from llama_edu.loading import load

    size = int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (size + 2**30,) * 2)
    try:
        load(sys.argv[1], threads=1, kernels="numpy")
        print("mapped")
    except FormatError as error:
        print(error)
    with load(sys.argv[1], mmap=False, threads=1, kernels="numpy") as llama:
        print(llama.logits([1]).shape, llama.loading.mapped_bytes)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_AS and /proc")
def test_under_an_address_limit_a_file_is_read_that_cannot_be_mapped(tmp_path, rng):
    """With a tail of 8 GiB, which no tensor has and no disk stores."""
    from helpers.gguf_by_hand import gguf_bytes

    path = tmp_path / "long.gguf"
    path.write_bytes(gguf_bytes())
    os.truncate(path, 2**33)
    program = [sys.executable, "-c", textwrap.dedent(UNDER_A_LIMIT), str(path)]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    refused, read = done.stdout.splitlines()
    assert "cannot be mapped (Cannot allocate memory); read it into memory instead" in refused
    assert read.endswith(" 0")
