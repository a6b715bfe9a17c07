"""Machine code on disk: where it lies, who may write there; nothing about it is an error."""

from __future__ import annotations

import ast
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import llama_edu

pytest.importorskip("numba")

PACKAGE = Path(llama_edu.__file__).parent

PROGRAM = """
import warnings
import numpy as np
from llama_edu.matmul import matmul_for

w = np.ones((8, 32), np.float16)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    multiply = [matmul_for("jit", [w], 2) for _ in range(2)][0]
    multiply(np.ones((20, 32), np.float32), w, 1)  # the loop for prompts
print(multiply(np.ones((1, 32), np.float32), w, 1)[0, 0])
from llama_edu.matmul.jit import loops, machine_code
print("from disk" if all(c.cache_hits for c in machine_code._kept) else "compiled")
print(loops.f16.stats.cache_path)
print(len(caught), *(str(c.message) for c in caught))
"""

#: Bytes that are left of each file of a kind; the slow tests try them too.
_OTHER_DAMAGE = ((0, "nbi"), (0, "nbc"), (40, "nbi"))

as_user = pytest.mark.skipif(
    os.name != "posix" or os.getuid() == 0, reason="needs permissions that root ignores"
)
posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")


def run(program: str = PROGRAM, *, of: Path = PACKAGE, **environment: str | None) -> list[str]:
    """The program's lines; of: the package that it imports; None takes a variable away."""
    changed = {"PYTHONPATH": str(of.parent), **environment}
    env = {k: v for k, v in (os.environ | changed).items() if v is not None}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, env=env,
        cwd=of.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def installed(tmp_path) -> Path:
    """A copy of the package, without machine code, in a folder with a space in its name."""
    copy = tmp_path / "a place" / PACKAGE.name
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def not_writable(package: Path) -> None:
    """Let nobody, root included, write machine code beside these sources."""
    (package / "matmul" / "jit" / "__pycache__").write_text("a file stands where the folder was\n")


def folders_in(place: Path) -> list[Path]:
    """Those of the loops for single positions; other folders of the package have their own."""
    return sorted({index.parent for index in place.rglob("loops.f16*.nbi")})


def test_code_lies_beside_the_package_and_is_found_there(installed, tmp_path):
    clean = {"NUMBA_CACHE_DIR": None, "XDG_CACHE_HOME": str(tmp_path / "caches")}
    assert run(of=installed, **clean)[:2] == ["32.0", "compiled"]
    assert folders_in(tmp_path) == [installed / "matmul" / "jit" / "__pycache__"]
    assert run(of=installed, **clean) == [
        "32.0", "from disk", str(installed / "matmul" / "jit" / "__pycache__"), "0",
    ]  # fmt: skip


def test_a_package_that_cannot_be_written_uses_a_private_folder_of_the_user(installed, tmp_path):
    not_writable(installed)
    caches = tmp_path / "caches"
    clean = {"NUMBA_CACHE_DIR": None, "XDG_CACHE_HOME": str(caches), "HOME": str(tmp_path)}
    if sys.platform == "darwin":
        caches = tmp_path / "Library" / "Caches"
    elif sys.platform == "win32":
        clean["LOCALAPPDATA"] = str(caches)
    assert run(of=installed, **clean)[1::2] == ["compiled", "0"]
    (folder,) = folders_in(tmp_path)
    assert folder.parent == caches / "llama_edu" / "machine_code"
    if os.name == "posix":
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert run(of=installed, **clean)[1:] == ["from disk", str(folder), "0"]


def test_the_users_choice_of_a_folder_is_taken(tmp_path):
    assert run(NUMBA_CACHE_DIR=str(tmp_path / "mine"))[1] == "compiled"
    (folder,) = folders_in(tmp_path)
    assert folder.parent == tmp_path / "mine"
    assert run(NUMBA_CACHE_DIR=str(tmp_path / "mine"))[1:] == ["from disk", str(folder), "0"]


def test_without_a_folder_code_is_compiled_in_memory_and_that_is_said_once(installed, tmp_path):
    not_writable(installed)
    (tmp_path / "file").touch()
    nowhere = {name: str(tmp_path / "file") for name in ("XDG_CACHE_HOME", "LOCALAPPDATA", "HOME")}
    for _ in range(2):
        number, how, where, said = run(of=installed, NUMBA_CACHE_DIR=None, **nowhere)
        assert (number, how, where) == ("32.0", "compiled", "None")
        assert said.startswith("1 kernels 'jit': machine code cannot be kept on disk (")
        assert "__pycache__: " in said and "llama_edu" in said and "set NUMBA_CACHE_DIR" in said


@posix
def test_a_user_without_a_home_has_no_folder_named_tilde(installed, tmp_path):
    not_writable(installed)
    homeless = (
        "import pathlib\n"
        "def home():\n    raise RuntimeError('Could not determine home directory.')\n"
        "pathlib.Path.home = home\n"
    )
    lines = run(homeless + PROGRAM, of=installed, NUMBA_CACHE_DIR=None, XDG_CACHE_HOME="relative")
    assert lines[1] == "compiled" and lines[3].startswith("1 kernels 'jit': machine code")
    assert not folders_in(tmp_path) and not list(installed.parent.glob("[~r]*"))


@posix
def test_a_folder_that_others_can_write_is_not_trusted(tmp_path):
    assert run(NUMBA_CACHE_DIR=str(tmp_path))[1] == "compiled"
    (folder,) = folders_in(tmp_path)
    folder.chmod(0o777)
    number, how, where, said = run(NUMBA_CACHE_DIR=str(tmp_path))
    assert (number, how, where) == ("32.0", "compiled", "None")
    assert "others can write to it" in said and f"chmod 700 {folder}" in said
    folder.chmod(0o700)
    assert run(NUMBA_CACHE_DIR=str(tmp_path))[1] == "from disk"


@as_user
def test_a_package_without_permission_to_write(installed, tmp_path):
    jit = installed / "matmul" / "jit"
    jit.chmod(0o500)
    try:
        lines = run(of=installed, NUMBA_CACHE_DIR=None, XDG_CACHE_HOME=str(tmp_path / "caches"))
    finally:
        jit.chmod(0o700)
    assert lines[1::2] == ["compiled", "0"] and str(tmp_path / "caches") in lines[2]


def test_a_disk_that_is_full_is_said_once(tmp_path):
    full = """
import errno, numba.core.caching as caching
def full(*arguments):
    raise OSError(errno.ENOSPC, "No space left on device")
caching.IndexDataCacheFile._open_for_write = full
"""
    number, how, _, said = run(full + PROGRAM, NUMBA_CACHE_DIR=str(tmp_path))
    assert (number, how) == ("32.0", "compiled")
    assert said.startswith("1 ") and "No space left on device" in said
    assert run(NUMBA_CACHE_DIR=str(tmp_path))[1::2] == ["compiled", "0"]  # nothing half-written


@pytest.mark.parametrize(
    ("left", "ending"),
    [(40, "nbc"), *(pytest.param(*case, marks=pytest.mark.slow) for case in _OTHER_DAMAGE)],
)
def test_damaged_code_is_compiled_again(tmp_path, left, ending):
    assert run(NUMBA_CACHE_DIR=str(tmp_path))[1] == "compiled"
    damaged = list(tmp_path.rglob(f"*.{ending}"))
    assert damaged
    for file in damaged:
        file.write_bytes(file.read_bytes()[:left])
    assert run(NUMBA_CACHE_DIR=str(tmp_path))[1::2] == ["compiled", "0"]
    assert run(NUMBA_CACHE_DIR=str(tmp_path))[1::2] == ["from disk", "0"]


@pytest.mark.slow
def test_an_index_whose_code_is_gone_is_no_error(tmp_path):
    assert run(NUMBA_CACHE_DIR=str(tmp_path))[1] == "compiled"
    for file in tmp_path.rglob("*.nbc"):
        file.unlink()
    assert run(NUMBA_CACHE_DIR=str(tmp_path))[1::2] == ["compiled", "0"]


@pytest.mark.slow
def test_code_older_than_its_sources_is_removed_and_compiled_again(tmp_path):
    assert run(NUMBA_CACHE_DIR=str(tmp_path))[1] == "compiled"
    files = list(tmp_path.rglob("*.nb[ic]"))
    for file in files:
        os.utime(file, (1, 1))
    (left_over := files[0].with_name("loops.gone-1.py399.0123.nbc")).touch()
    os.utime(left_over, (1, 1))
    assert run(NUMBA_CACHE_DIR=str(tmp_path))[1::2] == ["compiled", "0"]
    assert all(file.stat().st_mtime > 1 for file in tmp_path.rglob("*.nb[ic]"))
    assert not left_over.exists()


@pytest.mark.slow
def test_processes_that_compile_at_once_leave_code_that_works(tmp_path):
    env = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(PACKAGE.parent)}
    processes = [
        subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, env=env)
        for _ in range(3)
    ]
    outs = [process.communicate(timeout=120)[0].decode().splitlines() for process in processes]
    assert [(out[0], out[3]) for out in outs] == [("32.0", "0")] * 3
    assert run(NUMBA_CACHE_DIR=str(tmp_path))[1::2] == ["from disk", "0"]
    assert not list(tmp_path.rglob("*.tmp.*"))


def test_two_forms_of_a_function_never_share_a_file(tmp_path, monkeypatch):
    """numba's own cache, asked by two processes at once, names both of them number 1."""
    from llama_edu.matmul.jit import disk_cache

    one, two = (disk_cache._Files(str(tmp_path), "loops.f16-1.py3", "stamp") for _ in range(2))
    monkeypatch.setattr(two, "_load_index", dict)  # read before the first had written
    one.save("key A", "code A")
    two.save("key B", "code B")
    assert one.load("key B") == "code B" and one.load("key A") is None
    one.save("key A", "code A")
    assert (one.load("key A"), one.load("key B")) == ("code A", "code B")


def test_every_compiled_function_is_kept_this_way():
    """njit and cfunc of numba itself would raise where their cache cannot be written."""
    for path in (PACKAGE / "matmul" / "jit").rglob("*.py"):
        if path.name == "machine_code.py":
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "numba":
                names = {alias.name for alias in node.names}
                assert not names & {"njit", "jit", "cfunc"}, f"{path}: use machine_code.njit"
