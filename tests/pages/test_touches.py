"""Which step touched which page first, last and how often."""

from __future__ import annotations

import pytest
from helpers.records import PAGE, random_steps, record_of

from llama_edu.errors import MeasurementError
from llama_edu.pages import touches as touches_module
from llama_edu.pages.faults import FaultCounts
from llama_edu.pages.record import Record
from llama_edu.pages.touches import Step, Touches, combined
from llama_edu.pages.verdict import Verdict


@pytest.mark.parametrize("mode", touches_module.MODES)
def test_values_agree_with_a_slow_count_whatever_was_asked_before(mode, rng):
    steps = random_steps(40, 7, rng)
    touches = Touches(steps)
    for n_steps in (3, 7, 2, 5, 5):
        expected = []
        for page in range(40):
            by = [i for i in range(n_steps) if steps[i].record.pages[page]]
            now = n_steps - 1 if n_steps - 1 in by else -1
            answer = {"first": min(by, default=-1), "last": max(by, default=-1), "now": now}
            expected.append(answer.get(mode, len(by) - 1))
            assert touches.visits(page, n_steps) == by
        assert touches.values(mode, n_steps).tolist() == expected


def test_the_summary_counts_each_page_once_and_names_the_naive_reading():
    touches = Touches(
        [Step("a", record_of([1, 1, 0, 0, 0])), Step("b", record_of([0, 1, 1, 0, 0]))]
    )
    summary = touches.summary()
    assert (summary.n_touched, summary.n_pages, summary.touched_bytes) == (3, 5, 3 * PAGE)
    assert summary.true_line == "3 of 5 pages touched (60.0%), 12,288 bytes. Verdict: exact"
    assert summary.naive_line == "faults of a plain mapping: not counted so far"
    touches.plain_faults[2] = FaultCounts(2, 0)
    line = touches.summary().naive_line
    assert "faults: 2 minor + 0 major; times 4,096 bytes" in line and "40.0% of the file" in line
    assert "wrong as an amount of memory" in line
    assert touches.summary(1).faults is None and touches.summary(1).n_touched == 2


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["exact", "exact"], "exact"),
        (["exact", "lower bound"], "lower bound"),
        (["exact", "upper bound"], "upper bound"),
        (["upper bound", "lower bound"], "counts only"),
        (["exact", "computed, not measured"], "computed, not measured"),
    ],
)
def test_a_union_is_trusted_no_more_than_its_worst_part(kinds, expected):
    assert combined([Verdict(kind) for kind in kinds]).kind == expected


def test_records_that_do_not_belong_together_are_refused():
    touches = Touches([Step("a", record_of([1, 0]))])
    with pytest.raises(MeasurementError, match=r"records of model.bin and b.bin, expected all of"):
        touches.add(Step("b", record_of([1, 0], name="b.bin")))
    blind = Record("x", "model.bin", 2 * PAGE, {}, PAGE, "faults", "none")
    blind.finish(None, None, None, 0.1, Verdict("counts only"))
    with pytest.raises(MeasurementError, match="there are no pages to show"):
        touches.add(Step("b", blind))


def test_parts_of_a_token_are_called_by_their_names():
    steps = [Step("embedding", record_of([1, 0, 0])), Step("layer 0", record_of([0, 1, 0]))]
    parts, tokens = Touches(steps, noun="part"), Touches(steps)
    assert [parts.step_word(i) for i in (0, 1)] == ["embedding", "layer 0"]
    assert [tokens.step_word(i) for i in (0, 1)] == ["prompt", "token 1"]
    assert parts.value_word("first", 1) == "layer 0" and parts.value_word("count", 1) == "2 times"
    assert parts.untouched_word("now") == "not by this part"
    assert tokens.untouched_word("now") == "not by this token"
    assert parts.untouched_word("first") == "never"
    assert parts.newest_line(2).startswith("layer 0: 1 of 3 pages touched")
