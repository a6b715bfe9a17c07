"""Figures of loading: every length and height is a measured number, and the text says them."""

from __future__ import annotations

import pytest

from llama_edu.errors import RequestError
from llama_edu.experiments.load_race import Lap, LoadRace
from llama_edu.experiments.memory_cap import MemoryCap, Pass
from llama_edu.experiments.observe.capped_tokens import Writing
from llama_edu.experiments.random_reads import RandomReads, Scan
from llama_edu.experiments.sharing import Group, Sharing
from llama_edu.experiments.sharing.workers import Worker

pytest.importorskip("matplotlib")
from llama_edu.show.figures.loading.memory_cap import memory_cap_figure
from llama_edu.show.figures.loading.race import race_figure
from llama_edu.show.figures.loading.random_reads import random_reads_figure
from llama_edu.show.figures.loading.sharing import sharing_figure
from llama_edu.show.figures.loading.workers import workers_figure

MIB = 2**20


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_each_lap_is_a_bar_of_three_lengths_in_milliseconds_on_one_scale():
    laps = (
        Lap("mmap", "cold", 0.001, 0.050, 0.020, 0.030, 0, 64),
        Lap("read()", "cold", 0.090, 0.030, 0.010, 0.030, 64, 64),
        Lap("mmap", "warm", 0.002, 0.007, 0.005, 0.030, None, None),
    )
    drawn = race_figure(LoadRace(64, laps, 5))
    cold, warm = drawn.figure.axes
    assert [label.get_text() for label in cold.get_yticklabels()] == ["read()", "mmap"]
    widths = [[round(bar.get_width(), 6) for bar in part] for part in cold.containers]
    assert widths == [[90, 1], [30, 50], [10, 20]]
    starts = [[round(bar.get_x(), 6) for bar in part] for part in cold.containers]
    assert starts == [[0, 0], [90, 1], [120, 51]]
    assert texts(cold) == ["120", "51"] and texts(warm) == ["9"]
    assert cold.get_xlim() == warm.get_xlim()
    assert "mmap, read()" in drawn.alt and "cold and warm" in drawn.alt and "best of 5" in drawn.alt


def test_a_race_without_a_cold_file_has_one_panel():
    drawn = race_figure(LoadRace(64, (Lap("mmap", "warm", 0.1, 0.2, 0.3, 0.3, 0, 64),), 1))
    assert len(drawn.figure.axes) == 1 and "warm" in drawn.alt and "cold" not in drawn.alt


def shared(*groups):
    return Sharing(32 * MIB, tuple(Group(*group) for group in groups))


def test_a_copy_is_as_high_as_the_memory_that_it_takes():
    drawn = sharing_figure(shared(
        ("mmap", 1, 1, 1, 1, 1), ("mmap", 2, 33 * MIB, 17 * MIB, 0, 32 * MIB),
        ("read()", 3, 34 * MIB, 31 * MIB, 16 * MIB, 8 * MIB),
    ))  # fmt: skip
    mapped, read = drawn.figure.axes
    heights = {round(patch.get_height(), 3) for patch in read.patches}
    assert 0.75 in heights and 0.375 in heights  # half and a quarter of a file's 1.5
    assert 0.75 not in {round(patch.get_height(), 3) for patch in mapped.patches}
    assert texts(mapped).count("0 MiB private") == 2 and texts(read).count("16 MiB private") == 2
    assert "3 processes, memory in all: 56 MiB" in read.get_xlabel()
    assert "Rss says 33 MiB each, Pss 17 MiB" in mapped.get_xlabel()
    assert "private copy of 16 MiB" in drawn.alt


def test_one_process_shares_nothing_and_is_refused():
    with pytest.raises(RequestError, match=r"no group of 2 or more processes by read\(\)"):
        sharing_figure(shared(("mmap", 2, 1, 1, 0, 1), ("read()", 1, 1, 1, 1, 1)))


def capped(*written):
    passes = tuple(
        Pass(cap, strategy, 1 / speed, 7, 3.0, "emulated")
        for cap, strategy, speed in (
            (0.5, "plain mapping", 4), (1.2, "plain mapping", 500), (0.5, "keep a part", 9),
            (0.5, "MADV_RANDOM", 0.25),
        )
    )  # fmt: skip
    return MemoryCap(64 * MIB, passes, "as requested", written, "" if written else "no model")


def test_passes_are_drawn_against_the_cap_on_a_logarithmic_scale():
    drawn = memory_cap_figure(capped())
    (axes,) = drawn.figure.axes
    plain = axes.lines[0]
    assert plain.get_xdata().tolist() == [50, 120]
    assert plain.get_ydata().tolist() == pytest.approx([4, 500])
    assert axes.get_yscale() == "log" and "emulated" in axes.get_title(loc="left")
    assert len({(line.get_marker(), line.get_linestyle()) for line in axes.lines[:3]}) == 3
    assert "4 at 50%, 500 at 120%" in drawn.alt and "tokens" not in drawn.alt


def test_a_model_that_was_killed_is_a_cross_at_its_cap():
    drawn = memory_cap_figure(capped(
        Writing("mmap", 0.5, 1.0, 2.5, 9, 5, "written"),
        Writing("read()", 0.5, None, None, None, None, "killed: out of memory"),
        Writing("read()", 1.2, 0.5, 30.0, 0, 99, "written"),
    ))  # fmt: skip
    _, axes = drawn.figure.axes
    data = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert data["mmap"] == [[50, 2.5]] and data["read()"] == [[120, 30]]
    assert data["read(): killed"] == [[50, 0]]
    assert "mmap at 50% 2.5, read() at 50% killed: out of memory" in drawn.alt


def scan(way, state, n_threads, elapsed_s, own, cached):
    return Scan(way, state, n_threads, elapsed_s, 1, 0, "none", own * MIB, 0, cached * MIB)


def test_random_pages_are_drawn_where_they_lie_and_by_threads():
    scans = (
        scan("mmap", "cold", 1, 0.08, 0, 64), scan("pread", "cold", 1, 0.14, 6, 7),
        scan("mmap", "cold", 4, 0.04, 0, 64), scan("pread", "cold", 4, 0.05, 6, 7),
        scan("mmap", "warm", 1, 0.01, 0, 64),
    )  # fmt: skip
    drawn = random_reads_figure(RandomReads(64 * MIB, 4096, 1536, scans, (), ""))
    memory, times = drawn.figure.axes
    widths = [[bar.get_width() for bar in part] for part in memory.containers]
    assert widths == [[7, 64], [6, 0]] and texts(memory) == ["13.0", "64.0"]
    widths = [[round(bar.get_width()) for bar in part] for part in times.containers]
    assert widths == [[140, 80], [50, 40]]
    assert "cold" in drawn.alt and "pread: 7.0 MiB cached, 6.0 MiB of its own" in drawn.alt
    warm = random_reads_figure(RandomReads(64 * MIB, 4096, 1536, scans[4:], (), "it is mapped"))
    assert ", warm." in warm.alt


def test_each_worker_is_a_bar_of_its_memory_in_parts():
    workers = (
        Worker("mmap", 0, 0.05, 0.2, 0, 290 * MIB, 145 * MIB, 94 * MIB, 47 * MIB, 87 * MIB),
        Worker("read()", 0, 0.15, 0.3, 0, 291 * MIB, 215 * MIB, 0, 0, 181 * MIB),
    )
    drawn = workers_figure(Sharing(94 * MIB, (), workers))
    memory, times = drawn.figure.axes
    widths = [[round(bar.get_width()) for bar in part] for part in memory.containers]
    assert widths == [[181, 87], [34, 11], [0, 47], [76, 145]], "the last one is the first at top"
    widths = [[round(bar.get_width()) for bar in part] for part in times.containers]
    assert widths == [[150, 50], [300, 200]]
    assert "mmap 1: Rss 290 MiB, Pss 145, of its own 87, opened in 50 ms" in drawn.alt
    with pytest.raises(RequestError, match="no workers in the result, expected some"):
        workers_figure(Sharing(1, ()))
