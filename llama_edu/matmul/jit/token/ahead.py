"""The functions of a token, compiled by a second process while this one compiles a prompt's.

numba compiles in one thread of a process, and each of the two takes some seconds. The machine code
comes back by disk. Whatever does not come, because the other process could not start or failed, is
compiled here, as if there had been no other.
"""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
from pathlib import Path

from llama_edu.matmul.cores import cores
from llama_edu.matmul.jit.disk_cache import folder_for
from llama_edu.matmul.jit.progress import compiles, steps

#: Runs with this process's places to import from, and no others.
_PROGRAM = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from llama_edu.matmul.jit.token.team import functions_of_a_token
functions_of_a_token(bool(json.loads(sys.argv[2])))
"""

#: Many times what compiling takes.
_PATIENCE_S = 120

#: Processes that compile, by what their tokens have.
_running: dict[bool, subprocess.Popen[bytes]] = {}


def start(has_experts: bool) -> None:
    """Begin, where a second core is free to use and machine code can be kept."""
    kept, _ = folder_for(Path(__file__).parent)
    if kept is None or not sys.executable or cores().usable < 2 or has_experts in _running:
        return
    arguments = (json.dumps([p for p in sys.path if isinstance(p, str)]), json.dumps(has_experts))
    nowhere = subprocess.DEVNULL
    try:
        _running[has_experts] = subprocess.Popen(
            [sys.executable, "-I", "-c", _PROGRAM, *arguments],
            stdin=nowhere, stdout=nowhere, stderr=nowhere,
        )  # fmt: skip
    except OSError:  # this process compiles everything
        return


def wait(has_experts: bool) -> None:
    """Return when the other process has ended; at once if there is none."""
    other = _running.get(has_experts)
    if other is None:
        return
    with steps("a whole token") as next_step:
        next_step()
        if other.poll() is None:
            compiles()
        try:
            other.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            _end(other)
    _running.pop(has_experts, None)


def _end(other: subprocess.Popen[bytes]) -> None:
    if other.poll() is None:
        other.kill()
        other.wait()


@atexit.register
def _end_all() -> None:
    """A process that ends leaves none behind."""
    for other in _running.values():
        _end(other)
