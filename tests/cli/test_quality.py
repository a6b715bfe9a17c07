"""perplexity and compare --text-file: tables, JSON, workers, and one sentence for bad input."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from functools import partial

import pytest
from helpers.two_files import write_two_files
from helpers.work import killed_at

from llama_edu.workers import pool


@pytest.fixture
def files(in_folder, rng):
    """a.gguf, b.gguf and text.txt in the current folder."""
    return write_two_files(in_folder, rng)


OWN = ("--text-file", "text.txt", "--context", 9, "--kernels", "numpy")


def test_a_text_is_scored_with_an_error(run_cli, files):
    code, out, err = run_cli("perplexity", "a.gguf", *OWN)
    assert (code, err) == (0, "")
    assert " nats per token, perplexity " in out and "± is the standard error over windows" in out
    assert "of 9 positions: each begins with BOS" in out
    code, out, _ = run_cli("perplexity", "a.gguf", *OWN, "--json")
    found = json.loads(out)
    assert code == 0 and found["files"][0]["nats"]["error"] > 0 and found["n_windows"] > 5
    code, out, _ = run_cli("perplexity", "a.gguf", *OWN, "--json", "--windows", "llama.cpp")
    theirs = json.loads(out)
    assert theirs["n_tokens"] == theirs["n_windows"] * (9 - 4 - 1)
    out = run_cli("perplexity", "a.gguf", *OWN, "--stride", 3)[1]
    assert "that overlap" in out
    out = run_cli("perplexity", "a.gguf", *OWN, "--at-most", 1)[1]
    assert "One window alone has no standard error" in out


def test_files_beside_each_other(run_cli, files):
    code, out, err = run_cli("compare", "a.gguf", "b.gguf", "a.gguf", *OWN)
    assert (code, err) == (0, "") and "same first choice" in out and "b.gguf" in out
    code, out, _ = run_cli("compare", "a.gguf", "b.gguf", *OWN, "--json")
    difference = json.loads(out)["files"][1]["difference"]
    assert code == 0 and difference["kl"]["mean"] > 0 and 0 < difference["same_first"]["mean"] < 1


def test_json_of_the_other_comparisons(run_cli, files):
    code, out, _ = run_cli("compare", "a.gguf", "b.gguf", "--json")
    assert code == 1 and json.loads(out)["tensors"][0]["largest"] >= 0
    code, out, _ = run_cli("compare", "a.gguf", "a.gguf", "--steps", "--json")
    assert code == 0 and json.loads(out)[0]["name"] == "embedding"


def test_the_same_bits_with_no_worker_and_with_1_2_and_3(run_cli, files):
    alone = run_cli("compare", "a.gguf", "b.gguf", *OWN, "--json")
    for workers in (1, 2, 3):
        assert run_cli("compare", "a.gguf", "b.gguf", *OWN, "--json", "--workers", workers) == alone


@pytest.fixture
def changed_pool(monkeypatch):
    """A function that puts something in front of the map of every pool."""

    def change(around):
        original = pool.process_map

        @contextmanager
        def changed(workers):
            with original(workers) as shared:
                yield partial(around, shared)

        monkeypatch.setattr(pool, "process_map", changed)

    return change


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
def test_a_killed_worker_is_said_and_what_was_done_is_printed(run_cli, files, changed_pool):
    changed_pool(lambda shared, f, pieces: shared(partial(killed_at, 4, f), pieces))
    code, out, err = run_cli("compare", "a.gguf", "b.gguf", *OWN, "--workers", 1)
    assert code == 2
    assert "Cut short: 4 of " in out and "b.gguf" in out
    assert "ended after 4 of " in err and "which are kept (BrokenProcessPool: " in err
    assert "memory is short" in err


def test_ctrl_c_prints_what_was_done(run_cli, files, changed_pool):
    def interrupted(shared, function, pieces):
        for number, result in enumerate(shared(function, pieces)):
            if number == 3:
                raise KeyboardInterrupt
            yield result

    changed_pool(interrupted)
    code, out, _ = run_cli("perplexity", "a.gguf", *OWN, "--workers", 1)
    assert code == 130 and "Cut short: 3 of " in out


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (["perplexity", "a.gguf", *OWN, "--workers", 0], "workers is 0, expected 1 to"),
        (["perplexity", "a.gguf", *OWN, "--workers", 10_000], "workers is 10,000, expected 1 to"),
        (["perplexity", "a.gguf", "--text-file", "empty.txt"], "the text has 0 tokens"),
        (["perplexity", "a.gguf", "--text-file", "latin.txt"], "byte 1 is 0xe9, which is not"),
        (["perplexity", "a.gguf", "--text-file", "text.txt", "--windows", "llama.cpp", "--context",
          "50", "--stride", "3"], "no stride with them"),
        (["compare", "a.gguf", "b.gguf", "a.gguf"], "3 files, expected two"),
        (["compare", "a.gguf", "b.gguf", "--workers", 2], "--workers: needs a text to score"),
        (["compare", "a.gguf", "b.gguf", "--at-most", 2], "--at-most: needs a text to score"),
        (["compare", "a.gguf", "b.gguf", *OWN, "--steps"], "--steps: compares without a text"),
        (["compare", "a.gguf", "b.gguf", *OWN, "--tolerance", 0], "--tolerance: compares without"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence(run_cli, files, command, sentence):
    (files / "empty.txt").write_bytes(b"")
    (files / "latin.txt").write_bytes(b"caf\xe9"[2:])
    code, out, err = run_cli(*command)
    assert code == 2 and out == "" and sentence in err and err.count("\n") == 1
