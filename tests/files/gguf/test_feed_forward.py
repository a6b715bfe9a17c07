"""Layouts of our own in GGUF files: what is read, and what is refused in words."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.gguf_by_hand import Gguf
from helpers.layouts_by_hand import LAYOUT, ORDER, TYPES, gguf_weights, layout_gguf
from helpers.opened import read_gguf

import llama_edu
from llama_edu.convert import convert
from llama_edu.errors import FormatError
from llama_edu.files.gguf.feed_forward import order_of
from llama_edu.files.gguf.header import read_header
from llama_edu.files.layout import LAYOUTS

G = Gguf()
TOKENS = [1, 5, 3, 6, 4, 0]


def key(name: str) -> str:
    return name.replace(".", "__")


def written(folder, layout, name="model.gguf", **changes):
    path = folder / name
    path.write_bytes(layout_gguf(layout, **changes))
    return path


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_in_any_layout_is_the_same_model(tmp_path, layout, mmap):
    plain, path = written(tmp_path, "rows", "plain.gguf"), written(tmp_path, layout)
    with llama_edu.load(plain) as a, llama_edu.load(path, mmap) as b:
        assert (a.checkpoint.layout, b.checkpoint.layout) == ("rows", layout)
        assert set(a.weights) == set(b.weights)
        for name, stored in gguf_weights().items():
            if "ffn_down" in name:
                ours = f"layers.{name[4]}.w_down"
                assert np.array_equal(np.asarray(b.weights[ours]), stored)
        assert np.array_equal(a.logits(TOKENS), b.logits(TOKENS))
        assert a.checkpoint.n_parameters == b.checkpoint.n_parameters


def test_bytes_of_a_tensor_are_its_own_where_others_lie_between(tmp_path):
    checkpoint = read_gguf(written(tmp_path, "side-by-side"))
    up, down = checkpoint.tensors["layers.1.w_up"], checkpoint.tensors["layers.1.w_down"]
    assert (up.own_bytes, down.own_bytes) == (20 * 12 * 2, 20 * 12 * 4)
    assert up.n_bytes == 19 * (48 + 24 + 48) + 24
    assert up.stored_name == down.stored_name == "blk.1.ffn_neurons.weight"


@pytest.mark.parametrize("layout", LAYOUTS[1:])
def test_what_is_written_is_what_was_written_by_hand(tmp_path, layout):
    types = ("f32",) * 3
    by_hand = written(tmp_path, layout, types=types)
    made = tmp_path / "made.gguf"
    convert(written(tmp_path, "rows", "plain.gguf"), made, to="gguf", layout=layout)
    a, b = (
        {i.name: path.read_bytes()[h.data_offset + i.offset :][: i.n_bytes] for i in h.infos}
        for path in (by_hand, made)
        for h in [read_header(path.read_bytes(), path)]
    )
    assert a == b


@pytest.mark.parametrize("kind", ["u16", "i32", "u64"])
def test_an_order_is_read_whatever_whole_numbers_it_is_stored_as(tmp_path, kind):
    numbers = [*range(19, -1, -1), *range(20)]
    path = written(tmp_path, "rows", **{key(ORDER): G.array(ORDER, kind, numbers)})
    checkpoint = read_gguf(path)
    order = order_of(checkpoint.metadata, checkpoint.config)
    assert order.shape == (2, 20) and order.reshape(-1).tolist() == numbers


def test_a_file_without_an_order_states_none(tmp_path):
    checkpoint = read_gguf(written(tmp_path, "rows"))
    assert order_of(checkpoint.metadata, checkpoint.config) is None


GOOD = [*range(20), *range(20)]


@pytest.mark.parametrize(
    ("kind", "numbers", "says"),
    [
        ("u16", [*GOOD[:-1], 18], "has 18 twice in layer 1, expected each of 0 to 19 once"),
        ("u16", [20, *GOOD[1:]], "has 20 in layer 0, expected each of 0 to 19 once"),
        ("i32", [-1, *GOOD[1:]], "has -1 in layer 0, expected each of 0 to 19 once"),
        ("u64", [2**63 + 5, *GOOD[1:]], "has 9,223,372,036,854,775,813 in layer 0"),
        ("u16", GOOD[:-1], "has 39 entries, expected 2 layers of 20 hidden neurons"),
        ("u16", [], "has 0 entries, expected 2 layers"),
        ("f32", [float(n) for n in GOOD], "is of type array of f32, expected an array of u8 or"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_order_that_is_none_is_refused(tmp_path, layout, kind, numbers, says):
    path = written(tmp_path, layout, **{key(ORDER): G.array(ORDER, kind, numbers)})
    with pytest.raises(FormatError, match=f"{ORDER} {says}"):
        read_gguf(path)


def kv(name, value):
    return {key(name): G.kv(name, "string", value)}


def types(*names):
    return {key(TYPES): G.array(TYPES, "string", names)}


PLAIN = kv("general.architecture", "llama")


@pytest.mark.parametrize(
    ("layout", "changes", "says"),
    [
        ("side-by-side", PLAIN, f"{LAYOUT} is 'side-by-side', expected rows in a file of this"),
        ("rows", kv(LAYOUT, "rows-up"), f"{LAYOUT} is 'rows-up', expected rows in"),
        ("down-transposed", kv(LAYOUT, "diagonal"), "expected rows or down-transposed or side-by"),
        ("down-transposed", {key(LAYOUT): None}, r"a tensor blk\.0\.ffn_down_t\.weight, which no"),
        ("down-transposed", kv(LAYOUT, "side-by-side") | types(*["f32"] * 6), "ffn_down_t"),
        ("side-by-side", kv(LAYOUT, "down-transposed"), r"blk\.0\.ffn_neurons\.weight, which no"),
        ("side-by-side", {key(TYPES): None}, f"{TYPES} is missing, expected three types"),
        ("side-by-side", {key(TYPES): G.kv(TYPES, "string", "f32")}, "expected an array of string"),
        ("side-by-side", types("f32", "f16", "f32"), "has 3 types, expected 6: three for each"),
        ("side-by-side", types(*["f32", "f16", "f99"] * 2), "has 'f99', expected types such as"),
        ("side-by-side", types(*["f32"] * 6), r"has 120 bytes for a neuron, expected 144 for thr"),
        ("side-by-side", types(*["q8_0"] * 6), "rows of 12 numbers, expected a multiple of 32"),
    ],
)  # fmt: skip
def test_a_layout_that_contradicts_itself_is_refused(tmp_path, layout, changes, says):
    with pytest.raises(FormatError, match=says):
        read_gguf(written(tmp_path, layout, **changes))


def test_a_matrix_that_is_there_twice_is_refused(tmp_path):
    gate = G.info("blk.0.ffn_gate.weight", (12, 20), 0, 0)
    path = written(tmp_path, "side-by-side", infos_extra=[gate])
    says = r"has layers\.0\.w_gate twice, as blk\.0\.ffn_neurons\.weight and as blk\.0\.ffn_gate"
    with pytest.raises(FormatError, match=says):
        read_gguf(path)


def test_neurons_of_a_layer_that_is_not_there_are_refused(tmp_path):
    extra = G.info("blk.7.ffn_neurons.weight", (120, 20), 24, 0)
    with pytest.raises(FormatError, match=r"is i8 \(20, 120\) with the types none in"):
        read_gguf(written(tmp_path, "side-by-side", infos_extra=[extra]))
