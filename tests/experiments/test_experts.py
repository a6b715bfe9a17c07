"""What tokens need of a mixture of experts; its table, its refusals, and an end before its end."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.mixtures import write_dense, write_mixture

from llama_edu.errors import RequestError
from llama_edu.experiments import experts as module
from llama_edu.experiments.experts import experts
from llama_edu.experiments.observe import subjects
from llama_edu.pages.arithmetic import n_pages_of


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two models")
    moe = write_mixture(folder / "moe.gguf", max_seq_len=45)
    return moe, write_dense(folder / "dense.gguf", max_seq_len=45)


@pytest.fixture(scope="module")
def found(files):
    told = []
    result = experts(files[0], dense=files[1], n_measured=9, progress=lambda *n: told.append(n))
    return result, told


def test_what_is_measured_is_what_is_predicted(found):
    result, _ = found
    assert [run.n_tokens for run in result.one_by_one] == [1] * 9
    assert [run.n_tokens for run in result.together] == [1, 2, 4, 8]
    for run in (*result.one_by_one, *result.together):
        if run.verdict == "exact":
            assert run.is_predicted
    if {run.verdict for run in result.one_by_one} == {"exact"}:
        assert "in 13 of 13 the pages touched are the pages predicted, as sets" in str(result)


def test_a_token_needs_a_part_and_neighbors_more_and_more_of_it(found):
    result, _ = found
    assert [union.n_tokens for union in result.unions] == [1, 2, 4, 8, 16, 32]
    for of in ("file_fraction", "expert_fraction"):
        shares = [getattr(union, of) for union in result.unions]
        assert (np.diff(shares) >= 0).all() and shares[0] < 0.5 < shares[-1]
    assert result.chance == 2 / 7 <= result.unions[0].expert_fraction  # edges of others' pages
    assert result.floor_fraction < result.unions[0].file_fraction
    assert [sum(layer) for layer in result.use] == pytest.approx([2, 2])


def test_where_all_tokens_choose_the_same_experts_nothing_grows(tmp_path):
    file = write_mixture(tmp_path / "same.gguf", router_scale=0)
    result = experts(file, n_measured=2)
    assert result.use == ((1, 1, 0, 0, 0, 0, 0),) * 2 and result.shared == (1, 1)
    assert result.chance_by_use == 1 and result.chance == 2 / 7
    fractions = [union.expert_fraction for union in result.unions]
    assert fractions == pytest.approx([fractions[0]] * 6) and result.dense is None
    assert "compared with no dense model" in str(result)
    assert result.n_pages == n_pages_of(file.stat().st_size, result.page_size)


def test_the_difference_is_that_of_the_same_tokens(found):
    result, _ = found
    assert result.dense.subject == "dense.gguf"
    assert result.dense.difference.n_tokens == result.n_scored
    assert result.dense.difference.nats == pytest.approx(result.nats - result.dense.nats)
    assert list(result.dense.unions) == [1, 2, 4, 8, 16, 32]
    shares = list(result.dense.unions.values())
    assert shares[0] > result.unions[2].file_fraction and shares == sorted(shares)


def test_progress_ends_where_it_said(found):
    told = found[1]
    assert told[-1][0] == told[-1][1] and len({total for _, total in told}) == 1
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_the_table_names_experts_chance_and_what_is_arithmetic(found):
    text = str(found[0])
    assert "2 of 7 experts in each of 2 layers" in text
    assert "by chance 0.286 where all are used alike" in text
    assert "Mixtral 8x7B, by arithmetic, nothing measured: a token needs 0.273" in text
    assert "Interrupted" not in text


def test_of_many_experts_the_table_has_the_ends(tmp_path):
    file = write_mixture(tmp_path / "many.gguf", n_experts=17, hidden_dim=32)
    text = str(experts(file, n_measured=1))
    assert "least used" in text and "expert 0" not in text


def test_without_a_file_it_is_the_bundled_mixture_beside_the_bundled_dense_model(
    files, run_cli, monkeypatch
):
    named = {"stories-moe": files[0], "stories": files[1]}
    for place in (module, subjects):
        monkeypatch.setattr(place, "bundled_checkpoint", lambda name="stories": named[name])
    code, out, _ = run_cli("experiment", "experts", "--json")
    read = json.loads(out)
    assert (
        code == 0
        and read["subject"] == "moe.gguf"
        and read["dense"]["subject"] == "stories-q8_0.gguf"
    )
    assert read["cut_short"] is False and read["unions"][0]["n_tokens"] == 1


def test_an_interruption_gives_what_is_done_so_far(files, run_cli, monkeypatch):
    def stopped(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "together", stopped)
    code, out, _ = run_cli("experiment", "experts", "--file", files[0])
    assert code == 130 and "tokens one by one" in out
    assert out.rstrip().endswith("Interrupted: what is missing above was not measured.")
    monkeypatch.setattr(module._Run, "_unions", stopped)
    code, out, _ = run_cli("experiment", "experts", "--file", files[0])
    assert code == 130 and "Share of the pages" not in out and "Nats per token" in out


def test_dense_models_mixtures_and_other_tokens_are_refused(files, run_cli, tmp_path):
    code, _, err = run_cli("experiment", "experts", "--file", files[1])
    assert code == 2 and "the model is dense" in err and "expected a mixture of experts" in err
    with pytest.raises(RequestError, match="is a mixture of experts, expected a dense model"):
        experts(files[0], dense=files[0], n_measured=1)
    shorter = write_dense(tmp_path / "shorter.gguf", max_seq_len=44)
    with pytest.raises(RequestError, match="makes other tokens"):
        experts(files[0], dense=shorter, n_measured=1)
