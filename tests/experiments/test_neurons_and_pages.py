"""Layout by share skipped: measured and predicted pages are one set, and the losses are said."""

from __future__ import annotations

import json
import sys
from itertools import pairwise

import numpy as np
import pytest
from helpers.layout_files import plain_gguf

from llama_edu.errors import RequestError
from llama_edu.experiments.neurons_and_pages import neurons_and_pages
from llama_edu.pages.lab import PageLab

TEXT = "a b c abc ab ca, cab bac a b. " * 30
SIZES = {"dim": 96, "hidden_dim": 416, "n_heads": 6, "n_kv_heads": 2}


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


def test_every_layout_and_share_is_measured_as_predicted(tmp_path, text):
    seen = []
    found = neurons_and_pages(plain_gguf(tmp_path, **SIZES), text_file=text, shares=(0.9, 0.5, 0.5),
                              progress=lambda *n: seen.append(n))  # fmt: skip
    assert found.shares == (0.5, 0.9) and not found.cut_short
    names = [(of.layout, of.hot_first, of.down_type, of.rounding) for of in found.layouts]
    assert names == [
        ("rows", False, "f16", None), ("down-transposed", False, "f16", None),
        ("down-transposed", True, "f16", None), ("side-by-side", True, "f16", None),
    ]  # fmt: skip
    rows, transposed, _, side_by_side = (of.fractions for of in found.layouts)
    assert rows[1] > transposed[1] > side_by_side[1]
    for of in found.layouts:
        assert 1 > of.fractions[0] > of.fractions[1] > of.floor_fraction > 0
        assert of.agreement.n_tokens == 6
        if sys.platform == "linux" and of.agreement.verdict == "exact":
            assert of.agreement.n_equal == 6
        assert of.unions[1][1] == of.fractions[1] < of.unions[1][8]
    assert [(p.layout, p.share) for p in found.page_wise] == [
        ("down-transposed", 0.5), ("down-transposed", 0.9),
        ("side-by-side", 0.5), ("side-by-side", 0.9),
    ]  # fmt: skip
    assert found.skipped[0].left_out_fraction == pytest.approx(0.5, abs=0.1)
    assert seen[-1][0] == seen[-1][1]
    assert all(a[0] <= b[0] for a, b in pairwise(seen))
    table = str(found)
    assert "told by an oracle" in table and "by arithmetic, nothing measured" in table
    assert "One twelfth would be 0.083" in table


def test_what_rounding_w_down_again_loses_is_measured(tmp_path, text):
    found = neurons_and_pages(plain_gguf(tmp_path, "q4_1", **SIZES), text_file=text, shares=(0.5,),
                              n_measured=1)  # fmt: skip
    types = [(of.down_type, of.rounding is not None) for of in found.layouts]
    assert types == [("q4_1", False), *[("q4_1", True)] * 3, ("q8_0", True)]
    rounding = [of.rounding for of in found.layouts]
    assert rounding[1] is rounding[2] is rounding[3]
    assert abs(rounding[4].nats) < abs(rounding[1].nats) + 2 * rounding[1].standard_error
    assert found.layouts[4].n_pages > found.layouts[3].n_pages
    assert "w_down as q8_0" in str(found)


def test_interrupted_it_gives_what_is_done(tmp_path, text, monkeypatch):
    n_opened = 0
    original = PageLab.open

    def opened(*args):
        nonlocal n_opened
        n_opened += 1
        if n_opened == 3:
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(PageLab, "open", opened)
    found = neurons_and_pages(plain_gguf(tmp_path, **SIZES), text_file=text, shares=(0.5,))
    assert found.cut_short and len(found.layouts) == 2
    assert "Interrupted: what is missing above was not measured." in str(found)


@pytest.mark.parametrize("shares", [(1.5,), (-0.1,), (float("nan"),), ()])
def test_a_share_that_is_none_is_refused(tmp_path, text, shares):
    with pytest.raises(RequestError, match=r"expected (a number from 0 to 1|one or more)"):
        neurons_and_pages(plain_gguf(tmp_path), text_file=text, shares=shares)


def test_the_command_prints_a_table_or_json(tmp_path, text, run_cli):
    path = plain_gguf(tmp_path, **SIZES)
    arguments = ("experiment", "neurons-and-pages", "--file", path, "--text-file", text)
    code, out, err = run_cli(*arguments)
    assert code == 0, err
    assert "gate, up and down of a neuron side by side, hot neurons first" in out
    code, out, err = run_cli(*arguments, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["layouts"][0]["layout"] == "rows"
    assert np.shape([of["fractions"] for of in found["layouts"]]) == (4, 3)
    assert found["sizes"][0]["fractions"]["rows"]
