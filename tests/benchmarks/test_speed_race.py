"""The race of tokens: its numbers, tables and figure, and that the loop in torch runs our race."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from helpers.small_models import small_config

from benchmarks import figure, speed
from benchmarks.models import Missing
from benchmarks.speed import results
from benchmarks.speed.bars import speed_figure
from benchmarks.speed.contenders import (
    DOT,
    DOT_BYTES,
    FLASH,
    JIT,
    JIT_INT8,
    LLAMA_CPP,
    NUMPY,
    ways,
)
from benchmarks.speed.race import is_rounded, token_bytes
from benchmarks.speed.results import DECODE, N_DECODE, PREFILL, Measured
from benchmarks.speed.subjects import Subject
from benchmarks.speed.tables import file_table, ratio_table, share_table
from benchmarks.timing import Timing, interleave, show_ratio
from llama_edu import load
from llama_edu.bench.stopwatch import Spent
from llama_edu.files.detect import read_checkpoint
from tools.make_random_model import write_random_model


def measured(token_bytes: int = DOT_BYTES // 64, **seconds: float) -> Measured:
    """Two rounds each; in the second everybody but the memory is twice as slow; CPU is 3 times."""
    names = {"numpy": NUMPY, "jit": JIT, "int8": JIT_INT8, "theirs": LLAMA_CPP, "flash": FLASH}
    timings = {names[name]: Timing((s, 2 * s), (3 * s, 6 * s)) for name, s in seconds.items()}
    dot = {DOT: Timing((0.5, 0.5), (1.0, 1.0))}
    return Measured({PREFILL: timings, DECODE: timings | dot}, token_bytes, "made up.")


def cells(text: str) -> list[list[str]]:
    """The rows of a Markdown table below its head."""
    return [[c.strip() for c in line[1:-1].split("|")] for line in text.splitlines()[2:]]


def test_a_ratio_is_taken_within_a_round():
    ratio = Timing((1.0, 2.0, 4.0)).ratio_to(Timing((2.0, 2.0, 20.0)))
    assert ratio == (2.0, 1.0, 5.0) and show_ratio(ratio) == "2.00 (1.00 to 5.00)"


def test_contenders_take_turns_and_the_first_round_does_not_count():
    turns = []
    own_seconds = iter(range(100))

    def timed() -> Spent:
        turns.append("timed")
        own_s = float(next(own_seconds))
        return Spent(own_s, 10 * own_s)

    times = interleave(
        {"timed": timed, "other": lambda: turns.append("other")}, rounds=3, pause_s=0
    )
    assert turns == ["timed", "other"] * 4
    assert times["timed"] == Timing((1.0, 2.0, 3.0), (10.0, 20.0, 30.0))
    assert times["timed"].median_cpu_s == 20
    assert len(times["other"].seconds) == len(times["other"].cpu_seconds) == 3


def test_the_table_gives_all_of_our_ratios_to_every_other_contender():
    rows = cells(file_table(measured(numpy=0.4, jit=0.1, int8=0.05, theirs=0.2)))
    assert rows[3][:5] == [PREFILL, LLAMA_CPP, f"{128 / 0.3:.1f}", f"{900 / 128:.2f}", ""]
    assert rows[3][5:] == ["0.50 (0.50 to 0.50)", "2.00 (2.00 to 2.00)", "4.00 (4.00 to 4.00)"]
    assert rows[4][:4] == ["decode", NUMPY, f"{N_DECODE / 0.6:.1f}", f"{1800 / N_DECODE:.2f}"]
    assert rows[4][5:] == ["", "", ""]
    assert rows[-1][:5] == ["decode", DOT, f"{DOT_BYTES / 0.5 / 1e9:.1f} GB/s", "", "1"]


def test_without_numba_there_is_no_column_for_it():
    head = file_table(measured(numpy=0.4, theirs=0.2)).splitlines()[0]
    assert head.endswith("| numpy / this |")


def test_a_share_compares_bytes_per_second_with_the_memorys_in_the_same_round():
    """16 tokens of 1/64 of what numpy.dot reads in 0.5 s: a quarter of it."""
    found = measured(numpy=0.25)
    assert N_DECODE == 16
    assert found.share(NUMPY) == pytest.approx((0.375, 0.25, 0.5))
    assert found.share(LLAMA_CPP) is None
    assert cells(share_table({"q4_0": found}))[0][:3] == ["Q4_0", "0.38 (0.25 to 0.50)", ""]


def test_ratios_to_llama_cpp_leave_out_files_that_it_did_not_run():
    found = {"bundled": measured(numpy=0.1), "f32": measured(numpy=0.4, theirs=0.2, flash=0.1)}
    rows = cells(ratio_table(found))
    assert [row[:2] for row in rows] == [[DECODE, "F32"], [PREFILL, "F32"]]
    assert rows[0][2:] == ["0.50 (0.50 to 0.50)", "", "", "2.00 (2.00 to 2.00)"]
    assert ratio_table({"bundled": measured(numpy=0.1)}) == ""


def test_the_figure_says_its_numbers_in_words_and_leaves_out_what_did_not_run(
    tmp_path, monkeypatch
):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(figure, "FOLDER", tmp_path)
    text = speed_figure({
        "bundled": measured(numpy=0.1),
        "f32": measured(numpy=0.4, jit=0.1, theirs=0.2),
        "q8_0": measured(numpy=0.2, jit=0.16, int8=0.1, theirs=0.2),
    })  # fmt: skip
    assert text.startswith("![Bars: how many times as fast as llama.cpp. decode, ")
    assert "decode, llama_edu, jit float32: F32 2.00, Q8_0 1.25." in text
    assert "prefill 128, llama_edu, jit int8: Q8_0 2.00." in text and "bundled" not in text
    assert "](speed.png)" in text and "the most of 2 rounds" in text
    assert (tmp_path / "speed.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_numbers_that_were_kept_come_back_in_their_order(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS", tmp_path / "speed.json")
    assert results.read_results() == {}
    found = {"q4_0": measured(numpy=0.25), "f32": measured(jit=0.5, theirs=0.125)}
    results.write_results(found)
    assert list(found) == ["f32", "q4_0"]
    assert results.read_results() == found


@pytest.fixture
def race(tmp_path, monkeypatch):
    """The chapter on two small files and one that is missing, without peers."""
    for name in ("llama_cpp_or_why", "torch_or_why"):
        monkeypatch.setattr(f"benchmarks.speed.race.{name}", lambda: (None, "not here"))
    monkeypatch.setattr(results, "RESULTS", tmp_path / "speed.json")
    monkeypatch.setattr(figure, "FOLDER", tmp_path)
    config = small_config(max_seq_len=256, vocab_size=1031)

    def make(type_name):
        path = tmp_path / f"{type_name}.gguf"
        write_random_model(path, config, type_name)
        return path

    def missing():
        raise Missing("It is not installed.")

    made = {
        "f32": Subject("Small, F32", "F32", lambda: make("f32")),
        "f16": Subject("Small, F16", "F16", lambda: make("f16")),
        "smollm2": Subject("SmolLM2", "SmolLM2", missing),
        "1.1b": Subject("Large", "Large", lambda: pytest.fail("not asked for"), True),
    }
    for module in ("", ".results", ".tables", ".bars"):
        monkeypatch.setattr(f"benchmarks.speed{module}.SUBJECTS", made)
    return lambda *only: speed.run(only, rounds=2)


@pytest.mark.slow
def test_a_part_can_be_repeated_and_the_other_numbers_stay(race):
    text = race()
    assert "### Small, F32" in text and "### Small, F16" in text and "Large" not in text
    assert "SmolLM2: left out of the last run. It is not installed." in text
    assert "Compared with llama.cpp" not in text
    before = results.read_results()
    assert list(before) == ["f32", "f16"]
    assert before["f16"].about.startswith("f16.gguf, ")
    assert NUMPY in before["f16"].jobs[DECODE] and DOT in before["f16"].jobs[DECODE]
    assert "### Small, F32" in race("f16")
    after = results.read_results()
    assert after["f32"] == before["f32"] and after["f16"] != before["f16"]


def test_a_token_reads_all_weights_but_of_the_embedding_its_own_row(tmp_path):
    config = small_config()
    write_random_model(tmp_path / "m.gguf", config, "f32")
    checkpoint = read_checkpoint(tmp_path / "m.gguf")
    unread = 4 * config.dim * (config.vocab_size - 1)
    assert not checkpoint.tied_output
    assert token_bytes(checkpoint) == 4 * checkpoint.n_parameters - unread


def test_int8_runs_where_weights_are_quantized(tmp_path):
    config = small_config(dim=96, hidden_dim=160, n_heads=6, n_kv_heads=2)
    for name, expected in (("f16", False), ("q4_0", True)):
        write_random_model(tmp_path / name, config, name)
        assert is_rounded(read_checkpoint(tmp_path / name)) is expected
    assert ways(rounded=False).keys() <= {NUMPY, JIT}
    assert ways(rounded=True)[NUMPY] == ("numpy", "float32")
    pytest.importorskip("numba")
    assert ways(rounded=True)[JIT_INT8] == ("jit", "int8")


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
    assert loop.decode(2).wall_s > 0
    found = loop.logits([tokens[4]]).numpy()
    np.testing.assert_allclose(found[0], expected[4], rtol=1e-4, atol=1e-6)
