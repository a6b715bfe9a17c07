"""The race of tokens: what becomes of its numbers, and that the loop in torch runs our race."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from helpers.small_models import small_config

from benchmarks import figure, speed
from benchmarks.timing import Timing, interleave, show_ratio
from llama_edu import load
from tools.make_random_model import write_random_model


def measured(ours: float, jit: float, theirs: float) -> speed.Measured:
    """Two rounds each; in the second everybody is twice as slow."""
    times = {speed.NUMPY: ours, speed.JIT: jit, speed.LLAMA_CPP: theirs}
    timings = {name: Timing((s, 2 * s)) for name, s in times.items()}
    return {speed.PREFILL: timings, speed.DECODE: timings | {speed.DOTS: Timing((0.5, 1.0))}}


def test_a_ratio_is_taken_within_a_round():
    ratio = Timing((1.0, 2.0, 4.0)).ratio_to(Timing((2.0, 2.0, 20.0)))
    assert ratio == (2.0, 1.0, 5.0) and show_ratio(ratio) == "2.00 (1.00 to 5.00)"


def test_contenders_take_turns_and_the_first_round_does_not_count():
    turns = []
    own_seconds = iter(range(100))

    def timed() -> float:
        turns.append("timed")
        return float(next(own_seconds))

    times = interleave(
        {"timed": timed, "other": lambda: turns.append("other")}, rounds=3, pause_s=0
    )
    assert turns == ["timed", "other"] * 4
    assert times["timed"].seconds == (1.0, 2.0, 3.0) and len(times["other"].seconds) == 3


def test_the_table_gives_both_of_our_ratios_to_every_other_contender():
    lines = speed._table(measured(ours=0.4, jit=0.1, theirs=0.2)).splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert rows[2] == ["prefill 128", "llama.cpp", f"{128 / 0.3:.1f}",
                       "0.50 (0.50 to 0.50)", "2.00 (2.00 to 2.00)"]  # fmt: skip
    assert rows[3] == ["decode", "llama_edu, numpy", f"{speed.N_DECODE / 0.6:.1f}", "", ""]
    assert rows[-1][1] == "numpy.dot alone" and rows[-1][3].startswith("1.25 ")


def test_without_numba_its_column_stays_empty():
    only = {job: {n: t for n, t in times.items() if n != speed.JIT}
            for job, times in measured(0.4, 0.1, 0.2).items()}  # fmt: skip
    assert speed._table(only).splitlines()[3].endswith("| 0.50 (0.50 to 0.50) |  |")


def test_the_figure_says_its_numbers_in_words(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(figure, "FOLDER", tmp_path)
    text = speed._figure({"F32": measured(0.4, 0.1, 0.2), "Q8_0": measured(0.2, 0.16, 0.2)})
    assert text.startswith("![Bars: how many times as fast as llama.cpp. decode, ")
    assert "decode, llama_edu, jit: F32 2.00, Q8_0 1.25." in text and "](speed.png)" in text
    assert (tmp_path / "speed.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_a_peer_that_is_not_there_is_named(monkeypatch):
    from benchmarks.peers import torch_or_why

    monkeypatch.setitem(sys.modules, "benchmarks.torch_loop", None)
    assert torch_or_why() == (None, "torch is missing from this run; `pip install torch` adds it.")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:::torch")
def test_the_loop_in_torch_computes_what_we_compute(tmp_path):
    """With grouped queries, from an empty context and after one."""
    pytest.importorskip("torch")
    from benchmarks.torch_loop import TorchLoop

    path = tmp_path / "m.gguf"
    write_random_model(path, small_config(), "f32")
    tokens = [1, 5, 9, 200, 17, 3, 44]
    with load(path, threads=1) as llama:
        expected = llama.logits(tokens)
    loop = TorchLoop(path, 10, 1)
    for n in range(1, len(tokens)):
        loop.prefill(tokens[:n])
        for position in range(n, len(tokens)):
            found = loop.logits([tokens[position]]).numpy()
            np.testing.assert_allclose(found[0], expected[position], rtol=1e-4, atol=1e-6)
    loop.prefill(tokens[:4])
    assert loop.decode(2) > 0
    found = loop.logits([tokens[4]]).numpy()
    np.testing.assert_allclose(found[0], expected[4], rtol=1e-4, atol=1e-6)
