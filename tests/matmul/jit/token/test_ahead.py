"""What a token needs is compiled by a second process; without it, by this one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import llama_edu

pytest.importorskip("numba")

PACKAGE = Path(llama_edu.__file__).parent

#: Counts what this process takes from disk, and what it compiles; `BEFORE` may change things first.
PROGRAM = """
import sys
from pathlib import Path
from numba.core.ccallback import CFunc
from llama_edu.matmul.jit import machine_code
from llama_edu.matmul.jit.token import ahead, team
started = []
begin = ahead.subprocess.Popen
def noted(*arguments, **options):
    started.append(begin(*arguments, **options))
    return started[-1]
ahead.subprocess.Popen = noted
BEFORE
team.compile_ahead(False)
team.compile_ahead(False)  # not twice
addresses = team.functions_of_a_token(False)
hits = [bool(c.cache_hits) for c in machine_code._kept]
print(len(started), [p.returncode for p in started], all(addresses), sum(hits), len(hits))
print(ahead._running)
"""


def run(cache: Path, before: str = "") -> list[str]:
    environment = {
        **os.environ, "NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(PACKAGE.parent),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("BEFORE", before)], capture_output=True, text=True,
        timeout=240, env=environment, cwd=cache.parent,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


TWO_CORES = "ahead.cores = lambda: type('Cores', (), {'usable': 2})"


def test_the_second_process_compiles_everything_once(tmp_path):
    cache = tmp_path / "machine code"
    assert run(cache, TWO_CORES) == ["1 [0] True 8 8", "{}"]
    assert run(cache, TWO_CORES) == ["0 [] True 8 8", "{}"], "the second time, all is on disk"


@pytest.mark.parametrize(
    "before",
    [
        "ahead.cores = lambda: type('Cores', (), {'usable': 1})",
        pytest.param(TWO_CORES + "; sys.executable = ''", marks=pytest.mark.slow),
        TWO_CORES + "; sys.executable = '/no/such/python'",
    ],
)
def test_without_a_second_process_this_one_compiles(tmp_path, before):
    lines = run(tmp_path / "cache", before + "; team._order = lambda e: (team.steps.norm_at,)")
    assert lines == ["0 [] True 0 1", "{}"]


@pytest.mark.slow
def test_a_second_process_that_fails_or_hangs_is_no_error(tmp_path):
    few = "; team._order = lambda e: (team.steps.norm_at,)"
    fails = TWO_CORES + "; ahead._PROGRAM = 'raise SystemExit(3)'" + few
    assert run(tmp_path / "a", fails) == ["1 [3] True 0 1", "{}"]
    hangs = TWO_CORES + "; ahead._PROGRAM = 'import time; time.sleep(600)'; ahead._PATIENCE_S = .1"
    assert run(tmp_path / "b", hangs + few) == ["1 [-9] True 0 1", "{}"]


def test_nothing_stays_when_the_first_process_ends_early(tmp_path):
    program = PROGRAM.split("addresses =")[0].replace("BEFORE", TWO_CORES) + (
        "print(started[0].pid, flush=True)"
    )
    environment = {
        **os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "c"), "PYTHONPATH": str(PACKAGE.parent),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, env=environment
    )
    assert (done.returncode, done.stderr) == (0, "")
    with pytest.raises(ProcessLookupError):
        os.kill(int(done.stdout), 0)
