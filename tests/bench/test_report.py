"""The record of a measurement: its numbers, its table, its JSON, and what docs/bench.md says."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path

import pytest

from llama_edu.bench.other_programs import OtherPrograms
from llama_edu.bench.report import Report, Row, Subject
from llama_edu.bench.stopwatch import Spent
from llama_edu.show.text.json_text import json_text

DOCS = (Path(__file__).resolve().parents[2] / "docs" / "bench.md").read_text("utf-8")
LOAD = Row("numpy", "float32", 2, "load", 0, (Spent(0.5, 0.25), Spent(1.5, 0.75)))
DECODE = Row("jit", "int8", 3, "tg8", 8, (Spent(2.0, 5.0), Spent(4.0, 7.0)))


IDLE = OtherPrograms(4, 0.5, 0.1)


def report(*rows, others=IDLE, **changed):
    facts = {
        "subject": Subject("m.gguf", "GGUF v3", ("q4_k", "q6_k"), 3 * 2**20, 1_234_567_890, 99),
        "n_prompt": 0, "n_tokens": 8, "repetitions": 2, "rows": rows, "others": others,
        "notes": (), "cut_short": False, "elapsed_s": 9.0,
    }  # fmt: skip
    return Report(**facts | changed)


def test_a_row_averages_rates_and_not_times():
    assert DECODE.tokens_per_s == (8 / 2 + 8 / 4) / 2
    assert DECODE.tokens_per_s_deviation == pytest.approx(statistics.stdev([4, 2]))
    assert (DECODE.wall_s, DECODE.cpu_s) == (3 / 8, 6 / 8)
    assert DECODE.wall_s_deviation == pytest.approx(statistics.stdev([2, 4]) / 8)


def test_loading_has_a_time_and_no_rate():
    assert LOAD.tokens_per_s is None and LOAD.tokens_per_s_deviation is None
    assert (LOAD.wall_s, LOAD.cpu_s) == (1.0, 0.5)


def test_one_repetition_has_no_deviation():
    row = Row("numpy", "float32", 1, "pp4", 4, (Spent(2.0, 1.0),))
    assert row.tokens_per_s == 2 and row.tokens_per_s_deviation is None
    assert row.wall_s_deviation is None and "±" not in str(report(row))


def test_the_table_shows_every_column():
    head, load, decode = str(report(LOAD, DECODE)).splitlines()[:3]
    assert head.split() == ["model", "size", "parameters", "kernels", "arithmetic", "threads",
                            "test", "tokens/s", "ms", "CPU", "ms"]  # fmt: skip
    assert decode.split() == [
        "m.gguf", "q4_k", "q6_k", "3.0", "MiB", "1.23", "B", "jit", "int8", "3", "tg8",
        "3.00", "±", "1.41", "375.0", "±", "176.8", "750.0",
    ]  # fmt: skip
    assert load.split()[-5:] == ["-", "1000.0", "±", "707.1", "500.0"]


def test_a_busy_machine_is_named_and_an_idle_one_is_not():
    busy = str(report(LOAD, others=OtherPrograms(2, 6.0, 1.5)))
    assert "load average 6.00 before the start; other programs used 1.50 of 2 cores" in busy
    assert "The machine was busy" in busy
    assert "busy" not in str(report(LOAD))


def test_a_name_that_commands_a_terminal_does_not_reach_it():
    subject = Subject("\x1b[2J.gguf", "GGUF v3", ("f16",), 5, 6, 7)
    assert "\x1b" not in str(report(LOAD, subject=subject))


def test_the_document_is_json_and_every_name_in_it_is_explained():
    found = report(LOAD, DECODE, cut_short=True, others=OtherPrograms(4, None, None))
    document = json.loads(json_text(found.as_dict()))
    assert document["schema"] == 1 and document["cut_short"] is True
    assert document["rows"][1]["samples_cpu_s"] == [5.0, 7.0]
    assert document["rows"][0]["tokens_per_s"] is None
    assert document["machine"]["cores_used_by_others"] is None
    assert document["model"]["types"] == ["q4_k", "q6_k"]
    names = {*document, *document["model"], *document["machine"], *document["rows"][0]}
    assert names - set(re.findall(r"`(\w+)`", DOCS)) == set()
