"""bench(): which rows there are, what is counted, what is refused, and what is said."""

from __future__ import annotations

import re

import pytest
from helpers.small_models import llama2c_v0

import llama_edu
from llama_edu.bench import measure
from llama_edu.bench.measure import bench
from llama_edu.bench.other_programs import OtherPrograms
from llama_edu.bench.stopwatch import Spent
from llama_edu.errors import RequestError


@pytest.fixture(autouse=True)
def no_settling(monkeypatch):
    monkeypatch.setattr(measure, "SETTLE_S", 0)


@pytest.fixture
def file(tmp_path, config, weights):
    """A model whose context is 50 positions."""
    path = tmp_path / "small.bin"
    path.write_bytes(llama2c_v0(config, weights))
    return path


def test_every_combination_has_a_row_for_each_test_in_the_order_asked_for(file):
    found = bench(
        file, kernels=["numpy", "auto"], arithmetic=["int8", "float32"], threads=[2, 1, 2],
        n_prompt=5, n_tokens=3, repetitions=2,
    )  # fmt: skip
    assert [(r.kernels, r.arithmetic, r.threads, r.test, r.n_tokens) for r in found.rows] == [
        (kernels, arithmetic, threads, test, n)
        for kernels in ("numpy", "auto")
        for arithmetic in ("int8", "float32")
        for threads in (2, 1)
        for test, n in (("load", 0), ("pp5", 5), ("tg3", 3))
    ]
    assert all(len(row.spent) == 2 for row in found.rows) and not found.cut_short
    assert all(spent.wall_s > 0 for row in found.rows for spent in row.spent)
    assert found.subject.name == "small.bin" and found.subject.types == ("f32",)


def test_by_itself_it_compares_numpy_with_jit_and_says_where_there_is_none(file, monkeypatch):
    if_any = [row.kernels for row in bench(file, n_prompt=1, n_tokens=0, repetitions=1).rows]
    assert set(if_any) >= {"numpy"}

    def refused(path, *, kernels, **options):
        if kernels == "jit":
            raise RequestError("kernels 'jit' need numba; run: pip install numba")
        return llama_edu.load(path, kernels=kernels, **options)

    monkeypatch.setattr(measure, "load", refused)
    found = bench(file, n_prompt=1, n_tokens=0, repetitions=1)
    assert {row.kernels for row in found.rows} == {"numpy"}
    assert found.notes == ("Left out: kernels 'jit' need numba; run: pip install numba.",)
    assert found.notes[0] in str(found) and not found.cut_short
    with pytest.raises(RequestError, match="pip install numba"):
        bench(file, kernels=["numpy", "jit"], n_prompt=1, n_tokens=0, repetitions=1)


def test_a_run_computes_as_many_tokens_as_it_says_from_an_empty_context(file, monkeypatch):
    computed = []
    monkeypatch.setattr(
        measure,
        "prefill",
        lambda model, tokens, cache: computed.append((len(tokens), cache.length)),
    )
    real = measure.score_next

    def score_next(model, tokens, cache):
        computed.append((len(tokens), cache.length))
        return real(model, tokens, cache)

    monkeypatch.setattr(measure, "score_next", score_next)
    told = []
    bench(file, kernels=["numpy"], n_prompt=7, n_tokens=4, repetitions=2,
          progress=lambda *n: told.append(n))  # fmt: skip
    runs = [(7, 0), (1, 0), (1, 1), (1, 2), (1, 3)]
    assert computed == runs * 3  # the first is not counted
    assert told == [(n, 9) for n in range(1, 10)]


def test_single_tokens_are_computed_for_a_while_before_each_counted_run(file, monkeypatch):
    settled = []
    monkeypatch.setattr(measure._Contender, "settle", lambda self: settled.append(self))
    bench(file, kernels=["numpy"], n_prompt=2, n_tokens=1, repetitions=3)
    assert len(settled) == 3 * 3


def test_settling_stays_within_the_cache(file, monkeypatch):
    monkeypatch.setattr(measure, "SETTLE_S", 0.05)
    found = bench(file, kernels=["numpy"], n_prompt=2, n_tokens=0, repetitions=1)
    assert [row.test for row in found.rows] == ["load", "pp2"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"n_prompt": 51}, "n_prompt is 51, expected 0 to 50, the model's context"),
        ({"n_tokens": 1000}, "n_tokens is 1,000, expected 0 to 50, the model's context"),
        ({"n_prompt": -1}, "n_prompt is -1, expected 0 to 50"),
        ({"repetitions": 0}, "repetitions is 0, expected 1 or more"),
        ({"kernels": ["numpy", "fast"]}, "kernels is 'fast', expected one of auto, numpy, jit"),
        ({"arithmetic": ["int9"]}, "arithmetic is 'int9', expected one of "),
        ({"threads": [1, 0]}, "threads is 0, expected 1 or more"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is(file, options, says):
    small = {"kernels": ["numpy"], "n_prompt": 1, "n_tokens": 1, "progress": pytest.fail}
    with pytest.raises(RequestError, match=re.escape(says)):
        bench(file, **small | options)


def test_a_context_of_ones_own_makes_room(file):
    found = bench(file, kernels=["numpy"], n_prompt=60, n_tokens=0, repetitions=1, context=64)
    assert found.subject.context == 64


def test_an_interruption_gives_what_is_done_and_says_so(file):
    def interrupt(done, total):
        if done == 4:  # three runs that are not counted, and a load
            raise KeyboardInterrupt

    asked = {"kernels": ["numpy"], "n_prompt": 2, "n_tokens": 1, "repetitions": 5}
    found = bench(file, **asked, progress=interrupt)
    assert [(row.test, len(row.spent)) for row in found.rows] == [("load", 1)]
    assert found.cut_short and "Interrupted: at least 1 of 5 repetitions" in str(found)

    def at_once(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench(file, **asked, progress=at_once)


def test_the_record_knows_what_it_means_to_be_busy():
    assert OtherPrograms(4, 3.9, 0.3).are_busy is False  # the load may be this program's own
    assert OtherPrograms(4, 0.0, 0.5).are_busy is True
    assert OtherPrograms(4, 2.5, None).are_busy is True
    assert OtherPrograms(4, 1.5, None).are_busy is False
    assert OtherPrograms(4, None, None).are_busy is False
    assert "load average unknown before the start" in str(OtherPrograms(4, None, None))


def test_loading_is_timed_without_closing(file, monkeypatch):
    spent = []
    real = measure.Stopwatch.spent

    def noted(self):
        found = real(self)
        spent.append(found)
        return found

    monkeypatch.setattr(measure.Stopwatch, "spent", noted)
    found = bench(file, kernels=["numpy"], n_prompt=0, n_tokens=0, repetitions=2)
    assert found.rows[0].spent == tuple(spent[1:3]) and isinstance(spent[0], Spent)
