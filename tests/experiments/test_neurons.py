"""What each choice of neurons loses; its table, its options, and an end before its end."""

from __future__ import annotations

import json

import numpy as np
import pytest

from llama_edu.errors import RequestError
from llama_edu.experiments import neurons as module
from llama_edu.experiments.neurons import Neurons, neurons
from llama_edu.slimmer import texts


@pytest.fixture(scope="module")
def two_stories(tmp_path_factory):
    """Two of the shipped stories, as a text of one's own."""
    path = tmp_path_factory.mktemp("text") / "two stories.txt"
    path.write_text("\n\n".join(texts._STORIES.read_text("utf-8").split("\n\n")[:2]))
    return path


@pytest.fixture
def short_text(tmp_path):
    """A few sentences, for what does not depend on the numbers."""
    path = tmp_path / "a few sentences.txt"
    path.write_text(texts._STORIES.read_text("utf-8")[:300])
    return path


@pytest.fixture(scope="module")
def found(two_stories) -> tuple[Neurons, list[tuple[int, int]]]:
    told = []
    result = neurons(
        text_file=two_stories, shares=(0.9, 0.5), progress=lambda *done: told.append(done)
    )
    return result, told


def test_an_oracle_loses_less_than_the_gate_and_the_gate_less_than_a_fixed_set(found):
    result, _ = found
    cost = {(c.way, c.share): c for c in result.costs}
    assert list(cost) == [(w, s) for w in ("oracle", "gate", "fixed") for s in (0.5, 0.9)]
    assert all(abs(c.left_out_fraction - c.share) < 0.03 for c in result.costs)
    assert abs(cost["oracle", 0.5].nats) < 0.02
    assert cost["oracle", 0.9].nats < cost["gate", 0.9].nats < cost["fixed", 0.9].nats - 1
    assert cost["fixed", 0.5].nats < cost["fixed", 0.9].nats
    assert not result.cut_short and 0 < result.base_nats < 1


def test_unions_grow_and_the_top_tenth_has_most_of_the_energy(found):
    result, _ = found
    top = result.top_tenth
    for unions in (top.unions, *(c.unions for c in result.costs)):
        assert [u.n_tokens for u in unions][:5] == [1, 2, 4, 8, 16]
        shares = [u.fraction for u in unions]
        assert (np.diff(shares) > -1e-9).all()
    assert top.unions[0].fraction == pytest.approx(0.1, abs=0.001)
    fixed = result.costs[-1]
    for union in fixed.unions:
        assert union.fraction == pytest.approx(0.1, abs=0.001)
    for cost in result.costs:
        if cost.way == "oracle":  # the last token of a text is not computed
            assert cost.unions[0].fraction == pytest.approx(1 - cost.left_out_fraction, abs=0.005)
    assert len(top.energy_fractions) == 6 and all(0.7 < e < 1 for e in top.energy_fractions)
    assert top.zero_fraction == 0


def test_own_thresholds_are_those_of_the_scored_text(found):
    own = found[0].own_threshold
    assert (own.way, own.share) == ("oracle", 0.5)
    assert own.left_out_fraction == pytest.approx(0.5, abs=0.005)
    assert own.left_out_fraction != found[0].costs[0].left_out_fraction


def test_progress_ends_where_it_said(found):
    told = found[1]
    assert told[-1][0] == told[-1][1] and len({total for _, total in told}) == 1
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_the_table_says_what_an_oracle_is_and_what_was_scored(found):
    text = str(found[0])
    assert "an oracle: it knows what it skips" in text and "two stories.txt: tokens 1 to" in text
    heads, _, gate, _ = text.splitlines()[5:9]
    assert heads.split() == ["share", "left", "out", "50%", "90%"]
    assert gate.split()[-6:][3] == f"{found[0].costs[3].nats:+.4f}" and "fixed" not in text
    assert "Interrupted" not in text and "The oracle at 50% loses" in text


def test_the_command_takes_a_text_and_prints_json(run_cli, short_text, monkeypatch):
    monkeypatch.setitem(neurons.__kwdefaults__, "shares", (0.7,))
    code, out, _ = run_cli("experiment", "neurons", "--text-file", short_text, "--json")
    read = json.loads(out)
    assert code == 0 and [c["way"] for c in read["costs"]] == ["oracle", "gate", "fixed"]
    assert read["costs"][0]["unions"][0]["n_tokens"] == 1 and read["cut_short"] is False
    assert read["source"].startswith("a few sentences.txt: tokens 1 to ")


def test_an_interruption_gives_what_is_done_so_far(run_cli, short_text, monkeypatch):
    calls, original = [], module._cost

    def cost(*arguments):
        calls.append(arguments)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(module, "_cost", cost)
    code, out, _ = run_cli("experiment", "neurons", "--text-file", short_text)
    assert code == 130 and len(calls) == 6
    assert out.rstrip().endswith("Interrupted: what is missing above was not measured.")
    (gate,) = (line for line in out.splitlines() if "CATS" in line)
    assert gate.count("±") == 1 and gate.split()[-3:] == ["-", "-", "-"]
    assert "the same set" not in out and "text itself" not in out and "nobody" not in out


def test_an_interruption_before_there_is_anything_is_one(run_cli, short_text, monkeypatch):
    def stopped(*arguments, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "token_nats", stopped)
    code, out, _ = run_cli("experiment", "neurons", "--text-file", short_text)
    assert code == 130 and out == ""


def test_options_of_other_experiments_are_refused(run_cli, short_text):
    code, _, err = run_cli("experiment", "seeded-bugs", "--text-file", short_text)
    assert code == 2 and "--text-file: experiment seeded-bugs takes no text; leave it out" in err
    code, _, err = run_cli("experiment", "neurons", "--against", "float64")
    assert code == 2 and "--against: experiment neurons makes no comparison" in err


@pytest.mark.parametrize("shares", [(), (0.5, 1.5), (float("nan"),)])
def test_shares_are_checked_before_anything_is_computed(shares, monkeypatch):
    monkeypatch.setattr(module, "load", None)
    with pytest.raises(RequestError, match="share"):
        neurons(shares=shares)


def test_a_text_of_one_token_is_refused(run_cli, tmp_path):
    path = tmp_path / "one.txt"
    path.write_text("a")
    code, _, err = run_cli("experiment", "neurons", "--text-file", path)
    assert code == 2 and "one.txt: 1 token" in err and "give a longer text" in err
