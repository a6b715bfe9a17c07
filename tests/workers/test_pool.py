"""Real processes: a worker that is killed, Ctrl+C, and a parent that is no more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from helpers.work import squared, told, until

from llama_edu.errors import RequestError
from llama_edu.matmul.cores import cores
from llama_edu.workers.pieces import EngineError, collected
from llama_edu.workers.pool import process_map, threads_of_each

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no signals on Windows")

#: A program that prints what it kept of pieces that told() describes.
PROGRAM = """
import sys
from functools import partial
from helpers.work import told
from llama_edu.workers.pieces import collected
from llama_edu.workers.pool import process_map

if __name__ == "__main__":
    with process_map(2) as shared:
        done = collected(partial(told, sys.argv[1]), [0, 1, 4, 3], shared)
    print(done.results, done.cut_short)
"""


def is_alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.fixture
def program(tmp_path):
    """Start the program in a group of its own; gives it and its workers once piece 3 is done."""
    (tmp_path / "program.py").write_text(PROGRAM)
    paths = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
    started = subprocess.Popen(
        [sys.executable, "program.py", tmp_path], cwd=tmp_path, start_new_session=True, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    until(lambda: all((tmp_path / name).exists() for name in "0143"))
    until(lambda: all((tmp_path / name).read_text() for name in "43"))
    yield started, {int((tmp_path / name).read_text()) for name in "0143"}
    started.kill()
    started.communicate()


def test_pieces_are_shared_by_several_processes_and_come_in_order():
    with process_map(2) as shared:
        assert collected(squared, [3, 1, 2], shared).results == [9, 1, 4]
        assert list(shared(squared, [5, 7])) == [25, 49]


def test_nothing_that_was_done_is_lost_where_a_worker_is_killed(tmp_path):
    with process_map(2) as shared:
        done = collected(partial(told, str(tmp_path)), [0, 1, 2, 3, 4, 5], shared)
    assert [number for number, _ in done.results] == [0, 1, 3], "3 is after the one that died"
    with pytest.raises(EngineError, match=r"BrokenProcessPool.*memory is short"):
        done.raise_with(None)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_ctrl_c_ends_the_workers_and_keeps_what_was_done(program):
    started, workers = program
    os.killpg(started.pid, signal.SIGINT)  # as a terminal does: to all of them
    out, err = started.communicate(timeout=60)
    assert out.startswith("[(0, ") and out.endswith("True\n") and "(1, " in out
    assert err == "" and started.returncode == 0
    until(lambda: not any(map(is_alive, workers)))


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_workers_end_with_the_process_that_started_them(program):
    started, workers = program
    started.kill()
    started.communicate()
    until(lambda: not any(map(is_alive, workers)))


@pytest.mark.parametrize("workers", [0, -1, 10_000])
def test_an_impossible_number_is_said_with_the_limit(workers):
    most = max(61, cores().usable)
    with (
        pytest.raises(RequestError, match=f"workers is {workers:,}, expected 1 to {most}: each"),
        process_map(workers),
    ):
        pass


def test_each_has_its_share_of_the_cores():
    assert threads_of_each(1) == cores().usable
    assert threads_of_each(61) == max(1, cores().usable // 61)
