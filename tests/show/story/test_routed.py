"""Which experts computed each token: from routers, from records, and as a strip."""

from __future__ import annotations

import re

import numpy as np
import pytest
from helpers.mixtures import choices_of, write_mixture
from helpers.records import record_of

from llama_edu.errors import RequestError
from llama_edu.experiments.observe.token_steps import TokenSteps
from llama_edu.loading import load
from llama_edu.pages.lab import PageLab
from llama_edu.pages.touches import Step
from llama_edu.show.story.routed import (
    EXPERT_COLORS,
    RoutedToken,
    expert_color,
    routed_choices,
    routed_steps,
    shared_line,
    shown_layers,
)
from llama_edu.show.story.router_html import router_html
from llama_edu.transformer.experts import choices

EVIL = "<script>alert(1)</script>"


def test_records_tell_the_experts_that_the_routers_chose(tmp_path):
    path = write_mixture(tmp_path / "moe.gguf", max_seq_len=40)
    with PageLab.open(path) as lab, load(path, lab=lab) as llama:
        generation = llama.generate_tokens([1, 40, 77, 5], 6, seed=1)
        steps = list(TokenSteps(lab, generation, "abc"))
        text = generation.tokens
        routed = choices(llama.trace(text, "layers.*.router"), llama.config)
    tokens = routed_steps(steps)
    assert tokens[0].is_prompt and tokens[0].text == "prompt"
    used = routed.used(slice(0, 4))
    assert tokens[0].experts == tuple(tuple(np.flatnonzero(layer).tolist()) for layer in used)
    assert len(tokens) == len(steps) > 3
    for position, token in enumerate(tokens[1:], 4):
        chosen = routed.experts[:, position].tolist()
        assert not token.is_prompt and token.experts == tuple(map(tuple, chosen))


def test_a_dense_model_has_no_strip():
    assert routed_steps([Step("a", record_of([1, 0]))]) == [] and router_html([], 0) == ""


def test_choices_and_texts_belong_together():
    made = choices_of([[(0, 1), (1, 2)], [(0, 3), (1, 2)]], 5)
    first, second = routed_choices(made, [" a\n", EVIL * 9])
    assert first == RoutedToken("·a↵", ((0, 1), (0, 3)))
    assert len(second.text) == 12
    with pytest.raises(RequestError, match="1 texts, expected one for each of 2 tokens"):
        routed_choices(made, ["a"])


def test_what_neighbors_share_is_told_beside_chance():
    made = choices_of([[(0, 1), (1, 2), (3, 4)], [(0, 3), (0, 3), (0, 3)]], 8)
    tokens = routed_choices(made, ["a", "b", "c"])
    # layer 0: half, none; layer 1: all, all
    assert shared_line(tokens, 8, [0, 1]) == (
        "of 8 experts in a layer, 2 to 5 are used; a token has 62% of its experts in common with "
        "the one before it, by chance it would be 25%"
    )
    assert shared_line(tokens[:1], 8, [1]) == "of 8 experts in a layer, 2 are used"


def test_eight_experts_have_eight_colors_and_their_numbers_can_be_read():
    def light(color):
        parts = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        parts = np.where(parts <= 0.03928, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return parts @ [0.2126, 0.7152, 0.0722]

    assert len(set(EXPERT_COLORS)) == 8 and expert_color(9) == expert_color(1)
    for expert in range(8):
        dark, bright = sorted(map(light, expert_color(expert)))
        assert (bright + 0.05) / (dark + 0.05) > 3.4


def test_of_many_layers_some_are_shown():
    assert shown_layers(6, 8) == [0, 1, 2, 3, 4, 5]
    assert shown_layers(32, 8) == [0, 4, 9, 13, 18, 22, 27, 31]


def test_the_strip_has_a_chip_for_each_expert_and_marks_one_token():
    prompt = RoutedToken("prompt", ((0, 1, 2, 4), (0, 3)), True)
    tokens = [prompt, *(RoutedToken(f"{EVIL}{i}", ((i, 4), (3, 4))) for i in range(4))]
    html = router_html(tokens, 5, 2)
    rows = re.findall(r"<tr>.*?</tr>", html)
    assert len(rows) == 3 and [row.count("<td") for row in rows] == [3, 3, 3]
    assert re.findall(r">([^<>]+)</span>", rows[0]) == ["4 of", "5", "0", "4", "1", "4"]
    assert "<script" not in html and rows[2].count("font-weight: bold") == 1
    assert router_html(tokens, 5).count("font-weight: bold") == 0
    long = router_html(tokens[1:] * 10, 5)
    assert "the last 24 of 40 steps" in long and long.count("writing-mode") == 24
    deep = router_html([RoutedToken("a", ((0, 1),) * 32)], 5)
    assert "8 of 32 layers are shown" in deep
