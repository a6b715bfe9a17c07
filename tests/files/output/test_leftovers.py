"""What a run that was killed leaves, and what the next one to the same destination does with it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import pytest
from helpers.small_models import names_in

from llama_edu.errors import LlamaEduWarning
from llama_edu.files.output import atomic_output, atomic_outputs, leftovers

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL and locks")

OLD, NEW = [b"old 0", b"old 1", b"old 2"], [b"new 0", b"new 1", b"new 2"]
NAMES = ["m.bin", "m.bin.1", "m.bin.2"]


def shards(folder: Path) -> list[Path]:
    return [folder / name for name in NAMES]


def contents(folder: Path) -> list[bytes | None]:
    return [path.read_bytes() if path.exists() else None for path in shards(folder)]


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from llama_edu.files.output import atomic_outputs

    after, *paths = sys.argv[1:]
    n_moves = 0

    def killed_after(move):
        def moved(self, *target, **options):
            global n_moves
            if n_moves == int(after):
                os.kill(os.getpid(), signal.SIGKILL)
            n_moves += 1
            return move(self, *target, **options)
        return moved

    with atomic_outputs(paths) as files:
        for i, file in enumerate(files):
            file.write(b"new %d" % i)
        for name in ("rename", "replace", "unlink"):
            setattr(Path, name, killed_after(getattr(Path, name)))
"""

#: Moves of three files: aside, into place, and the removal of what was moved aside.
N_MOVES = 9


@pytest.fixture(params=range(N_MOVES))
def killed(request, tmp_path):
    """A folder in which a run was killed before its n-th move."""
    for path, data in zip(shards(tmp_path), OLD, strict=True):
        path.write_bytes(data)
    program = [sys.executable, "-c", textwrap.dedent(KILLED), str(request.param)]
    done = subprocess.run([*program, *map(str, shards(tmp_path))], check=False)
    assert done.returncode == -9
    return tmp_path


def test_a_set_is_one_or_refused_and_nothing_is_lost(killed):
    """The file without which the others are no model is absent while they are moved."""
    found = contents(killed)
    assert found in (OLD, NEW) or found[0] is None
    left = {path.read_bytes() for path in killed.iterdir()}
    assert left >= set(OLD) or left >= set(NEW)


def test_the_next_run_says_what_was_left_and_replaces_the_set(killed):
    sentence = r"m\.bin: an earlier run was killed while it wrote here: .*(put back|removed)"
    with pytest.warns(LlamaEduWarning, match=sentence), atomic_outputs(shards(killed)) as files:
        assert contents(killed) in (OLD, NEW)
        for file in files:
            file.write(b"newer")
    assert contents(killed) == [b"newer"] * 3 and names_in(killed) == NAMES


def test_a_next_run_that_fails_leaves_a_whole_set(killed):
    with (
        pytest.raises(ValueError, match="no"),
        pytest.warns(LlamaEduWarning),
        atomic_outputs(shards(killed)[:1]),
    ):
        raise ValueError("no")
    assert contents(killed) in (OLD, NEW) and names_in(killed) == NAMES


def test_what_is_done_is_counted(tmp_path):
    for path, data in zip(shards(tmp_path), OLD, strict=True):
        path.write_bytes(data)
    program = [sys.executable, "-c", textwrap.dedent(KILLED), "2", *map(str, shards(tmp_path))]
    assert subprocess.run(program, check=False).returncode == -9
    with pytest.warns(LlamaEduWarning) as caught, atomic_outputs(shards(tmp_path)):
        pass
    said = "the old files, 2 moved aside, put back, 3 hidden files removed"
    assert str(caught[0].message).endswith(f"it wrote here: {said}")


def test_a_run_that_lives_is_left_alone(tmp_path):
    path = tmp_path / "m.bin"
    path.write_bytes(b"old")
    living = """
        import sys
        from llama_edu.files.output import atomic_output

        with atomic_output(sys.argv[1]) as file:
            file.write(b"of the other")
            print("ready", flush=True)
            sys.stdin.read()
    """
    other = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(living), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert other.stdout.readline() == b"ready\n"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with atomic_output(path) as file:
            file.write(b"ours")
    assert path.read_bytes() == b"ours" and len(names_in(tmp_path)) == 2
    other.communicate()
    assert other.returncode == 0 and path.read_bytes() == b"of the other"
    assert names_in(tmp_path) == ["m.bin"]


def left_by_hand(folder: Path) -> Path:
    path = folder / ".m.bin.llama-edu-0123456789ab.0.tmp"
    path.write_bytes(b"half")
    return path


@pytest.mark.parametrize(
    "name",
    [
        ".m.bin.0123456789ab.0.tmp", ".m.bin.llama-edu-0123456789ab.tmp", "m.bin.old",
        ".m.bin.llama-edu-0123456789AB.0.tmp", ".other.llama-edu-0123456789ab.0.tmp",
        ".m.bin.llama-edu-0123456789ab.0.tmp.txt",
    ],
)  # fmt: skip
def test_files_that_are_not_certainly_ours_stay(tmp_path, name):
    (tmp_path / name).write_bytes(b"precious")
    with atomic_output(tmp_path / "m.bin") as file:
        file.write(b"new")
    assert (tmp_path / name).read_bytes() == b"precious"


@pytest.mark.parametrize("is_there", [True, False])
def test_a_file_system_without_locks_keeps_everything(tmp_path, monkeypatch, is_there):
    hidden = left_by_hand(tmp_path)
    if is_there:

        def refuse(*_):
            raise OSError(95, "Operation not supported")

        monkeypatch.setattr(leftovers.fcntl, "flock", refuse)
    else:  # Windows
        monkeypatch.setattr(leftovers, "fcntl", None)
    with atomic_output(tmp_path / "m.bin") as file:
        file.write(b"new")
    assert hidden.read_bytes() == b"half" and (tmp_path / "m.bin").read_bytes() == b"new"


def test_half_a_file_is_removed_and_commands_no_terminal(tmp_path):
    (tmp_path / "\x1b\u202e").mkdir()
    hidden = left_by_hand(tmp_path / "\x1b\u202e")
    with (
        pytest.warns(LlamaEduWarning, match=re.escape(r"\x1b\u202e")),
        atomic_output(hidden.with_name("m.bin")),
    ):
        assert not hidden.exists()
