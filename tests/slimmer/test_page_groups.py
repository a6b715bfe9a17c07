"""Whole pages of neurons: which are a group, how large it is, and what a tap leaves out."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.layout_files import plain_gguf, some_order
from helpers.random_models import random_model, random_text

from llama_edu.convert import convert
from llama_edu.errors import RequestError
from llama_edu.files.detect import read_checkpoint
from llama_edu.slimmer.page_groups import GroupTap, PageGroups, group_thresholds, page_groups
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.model import forward

STARTS = (np.array([0, 7, 8, 25]), np.array([0, 20, 39]), np.array([0]))


def some_groups():
    return PageGroups(STARTS, some_order(3, 40))


@pytest.mark.parametrize(("layout", "record"), [("down-transposed", 128), ("side-by-side", 384)])
def test_neurons_that_begin_in_one_page_are_a_group(tmp_path, layout, record):
    made = tmp_path / "made.gguf"
    convert(plain_gguf(tmp_path), made, to="gguf", layout=layout)
    checkpoint = read_checkpoint(made)
    groups = page_groups(checkpoint.tensors, checkpoint.config, 512)
    for layer, starts in enumerate(groups.starts):
        offset = checkpoint.tensors[f"layers.{layer}.w_gate"].offset
        pages = [(offset + record * neuron) // 512 for neuron in range(160)]
        expected = [n for n in range(160) if n == 0 or pages[n] != pages[n - 1]]
        assert starts.tolist() == expected
    assert groups.mean_neurons == pytest.approx(512 / record, rel=0.1)


def test_the_size_of_a_group_is_that_of_all_its_neurons():
    groups = some_groups()
    x = np.random.default_rng(3).standard_normal((5, 40)).astype(np.float32)
    for layer, starts in enumerate(STARTS):
        ends = [*starts[1:].tolist(), 40]
        for g, (start, end) in enumerate(zip(starts.tolist(), ends, strict=True)):
            neurons = groups.order[layer][start:end]
            expected = np.linalg.norm(x[:, neurons], axis=1)
            np.testing.assert_allclose(groups.sizes(layer, x)[:, g], expected, rtol=1e-5)


def test_a_tap_leaves_out_whole_groups_and_says_where_they_stand():
    model, text, groups = random_model(1), random_text(2, 9), some_groups()
    thresholds = group_thresholds(model, [random_text(7)], groups, [0.5])[0.5]
    places, left, sizes = {}, {}, {}

    def spy(name, x):
        if name.endswith(".activated"):
            layer = int(name.split(".")[1])
            sizes[layer] = groups.sizes(layer, x)
            x = tap(name, x)
            left[layer] = x != 0
            return x
        return x

    tap = GroupTap(groups, thresholds, lambda layer, mask: places.update({layer: mask}))
    forward(model, text, KVCache(model.config), tap=spy)
    for layer, starts in enumerate(STARTS):
        assert np.array_equal(places[layer], left[layer][:, groups.order[layer]])
        assert np.array_equal(places[layer][:, starts], sizes[layer] > thresholds[layer])
    n_left_out = sum(int((~mask).sum()) for mask in places.values())
    assert (tap.n_left_out, tap.n_neurons) == (n_left_out, 3 * 9 * 40)
    assert 0.2 < tap.left_out_fraction < 0.8


def only_told(tap):
    """The tap sees every step and changes none."""

    def see(name, x):
        tap(name, x.copy())
        return x

    return see


def test_thresholds_leave_out_the_share_of_the_groups_that_was_asked_for():
    model, texts = random_model(1), [random_text(7), random_text(8, 11)]
    groups = PageGroups((np.arange(0, 40, 4),) * 3, some_order(3, 40))
    for share, threshold in group_thresholds(model, texts, groups, [0.3, 0.8]).items():
        tap = GroupTap(groups, threshold)
        for text in texts:
            forward(model, text, KVCache(model.config), tap=only_told(tap))
        assert tap.left_out_fraction == pytest.approx(share, abs=0.01)


def test_a_share_outside_of_0_to_1_is_refused():
    with pytest.raises(RequestError, match=r"a share of 1.2 is to be left out, expected a number"):
        group_thresholds(random_model(1), [[1, 5]], some_groups(), [0.5, 1.2])
