"""A busy machine: the processes beside end whatever happens, and rows compare what they say."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.small_models import small_config

from benchmarks import busy
from benchmarks.speed.results import N_DECODE
from benchmarks.timing import Timing
from tools.make_random_model import write_random_model


@pytest.fixture
def started(monkeypatch):
    """Every process that was started."""
    found = []
    real = subprocess.Popen

    def popen(*args, **kwargs):
        found.append(real(*args, **kwargs))
        return found[-1]

    monkeypatch.setattr(busy.subprocess, "Popen", popen)
    return found


def test_busy_processes_run_in_the_block_and_have_ended_after_it(started):
    with busy.busy_processes(2):
        assert [process.poll() for process in started] == [None, None]
    assert [process.returncode is None for process in started] == [False, False]


def test_they_end_when_the_block_fails_and_when_the_second_cannot_be_started(started, monkeypatch):
    with pytest.raises(KeyboardInterrupt), busy.busy_processes(1):
        raise KeyboardInterrupt
    assert started[0].returncode is not None
    popen = busy.subprocess.Popen

    def once(*args, **kwargs):
        if len(started) == 2:
            raise OSError("no more processes")
        return popen(*args, **kwargs)

    monkeypatch.setattr(busy.subprocess, "Popen", once)
    with pytest.raises(OSError, match="no more processes"), busy.busy_processes(2):
        pytest.fail("the block ran")
    assert started[1].returncode is not None


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")
def test_they_end_when_the_benchmark_is_killed():
    program = (
        "import subprocess, time\nfrom benchmarks import busy\nreal = subprocess.Popen\n"
        "def popen(*a, **k):\n    made = real(*a, **k)\n    print(made.pid, flush=True)\n"
        "    return made\n"
        "busy.subprocess.Popen = popen\n"
        "with busy.busy_processes(1):\n    time.sleep(600)\n"
    )
    benchmark = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    pid = int(benchmark.stdout.readline())
    assert is_running(pid)
    benchmark.send_signal(signal.SIGKILL)
    benchmark.wait()
    benchmark.stdout.close()
    end = time.monotonic() + 60
    while is_running(pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert not is_running(pid)


def is_running(pid: int) -> bool:
    """Whether a process is there, and no zombie that nobody waits for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_rows_compare_all_cores_with_one_thread_and_everything_with_llama_cpp():
    def timing(seconds):
        return Timing((seconds, seconds), (2 * seconds, 2 * seconds))

    rows = busy.rows_of(2, {
        "jit int8, all cores": timing(0.5), "jit int8, 1 thread": timing(0.25),
        busy.LLAMA_CPP: timing(1.0), busy.LLAMA_CPP_ONE: timing(0.125),
    })  # fmt: skip
    half, two, four = (f"{n} ({n} to {n})" for n in ("0.50", "2.00", "4.00"))
    eighth = "0.12 (0.12 to 0.12)"
    assert rows == [
        ("2", "jit int8, all cores", f"{N_DECODE / 0.5:.1f}", f"{1000 / N_DECODE:.2f}", half, two),
        ("2", "jit int8, 1 thread", f"{N_DECODE / 0.25:.1f}", f"{500 / N_DECODE:.2f}", "", four),
        ("2", busy.LLAMA_CPP, f"{N_DECODE:.1f}", f"{2000 / N_DECODE:.2f}", eighth, ""),
        ("2", busy.LLAMA_CPP_ONE, f"{N_DECODE / 0.125:.1f}", f"{250 / N_DECODE:.2f}", "", ""),
    ]


def test_the_chapter_runs_every_contender_beside_every_number_of_processes(
    tmp_path, monkeypatch, started
):
    monkeypatch.setattr(busy, "llama_cpp_or_why", lambda: (None, "not here"))
    monkeypatch.setattr(busy, "BUSY", (0, 1))
    monkeypatch.setattr(busy, "_ways", lambda: {"numpy": ("numpy", "float32")})
    path = tmp_path / "m.gguf"
    write_random_model(path, small_config(max_seq_len=256, vocab_size=1031), "f16")
    rows = [line.split("|")[1:3] for line in busy._measure(path, 1).splitlines()[2:6]]
    assert [[cell.strip() for cell in row] for row in rows] == [
        [n, f"numpy, {threads}"] for n in "01" for threads in ("all cores", "1 thread")
    ]
    assert len(started) == 1 and started[0].returncode is not None
