"""Other layouts and orders of the feed-forward: the same model, or a loss that is said."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.layout_files import plain_gguf, some_order
from helpers.small_models import names_in

import llama_edu
from llama_edu.compare import compare
from llama_edu.convert import convert
from llama_edu.errors import FormatError, RequestError
from llama_edu.files.detect import read_checkpoint
from llama_edu.files.gguf.feed_forward import order_of
from llama_edu.files.gguf.header import read_header
from llama_edu.files.layout import LAYOUTS
from llama_edu.quants.blocks import dequantize

TOKENS = [1, 5, 3, 11, 7, 200, 31, 64]
ORDER = "llama_edu.feed_forward_order"


def logits(path, **options):
    with llama_edu.load(path, arithmetic="float32", **options) as llama:
        return llama.logits(TOKENS)


@pytest.mark.parametrize("kernels", ["numpy", "auto"])
@pytest.mark.parametrize("kind", ["f32", "f16", "bf16"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_plain_numbers_move_exactly(tmp_path, layout, kind, kernels):
    plain, made = plain_gguf(tmp_path, kind), tmp_path / "made.gguf"
    done = convert(plain, made, to="gguf", layout=layout)
    assert done.losses == ()
    assert read_checkpoint(made).layout == layout
    found = compare(plain, made)
    assert all(tensor.largest == 0 for tensor in found.tensors)
    assert np.abs(logits(plain, kernels=kernels) - logits(made, kernels=kernels)).max() < 1e-5


@pytest.mark.parametrize("kind", ["f32", "f16"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_order_of_neurons_is_the_same_function(tmp_path, layout, kind):
    plain, made = plain_gguf(tmp_path, kind), tmp_path / "made.gguf"
    order = some_order()
    assert convert(plain, made, to="gguf", layout=layout, order=order).losses == ()
    assert np.abs(logits(plain) - logits(made)).max() < 1e-5
    with llama_edu.load(plain) as a, llama_edu.load(made) as b:
        for name in ("w_gate", "w_up"):
            stored = a.weights[f"layers.1.{name}"][order[1]]
            assert np.array_equal(stored, b.weights[f"layers.1.{name}"])
        down = a.weights["layers.1.w_down"][:, order[1]]
        assert np.array_equal(down, b.weights["layers.1.w_down"])
        del stored, down
    checkpoint = read_checkpoint(made)
    assert np.array_equal(order_of(checkpoint.metadata, checkpoint.config), order)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_way_back_gives_the_same_bytes(tmp_path, layout):
    plain, made, back = plain_gguf(tmp_path), tmp_path / "made.gguf", tmp_path / "back.gguf"
    convert(plain, made, to="gguf", layout=layout)
    convert(made, back, to="gguf")
    assert tensors_of(back) == tensors_of(plain)


def tensors_of(path):
    """Name in the file -> the tensor's bytes."""
    data = path.read_bytes()
    header = read_header(data, path)
    starts = {info.name: header.data_offset + info.offset for info in header.infos}
    return {i.name: data[starts[i.name] : starts[i.name] + i.n_bytes] for i in header.infos}


def test_an_order_stays_with_its_tensors_and_is_counted_from_the_first_model(tmp_path):
    plain, paths = plain_gguf(tmp_path), [tmp_path / f"{i}.gguf" for i in range(3)]
    first, second = some_order(seed=1), some_order(seed=2)
    convert(plain, paths[0], to="gguf", layout="side-by-side", order=first)
    convert(paths[0], paths[1], to="gguf")  # carried
    convert(paths[1], paths[2], to="gguf", layout="down-transposed", order=second)
    found = [read_checkpoint(path) for path in paths]
    orders = [order_of(c.metadata, c.config) for c in found]
    assert np.array_equal(orders[0], first) and np.array_equal(orders[1], first)
    both = np.take_along_axis(first, second, axis=1)
    assert np.array_equal(orders[2], both)
    undone = tmp_path / "undone.gguf"
    convert(paths[2], undone, to="gguf", order=np.argsort(both, axis=1))
    assert all(tensor.largest == 0 for tensor in compare(plain, undone).tensors)


def test_an_order_is_named_as_lost_where_a_format_cannot_say_it(tmp_path):
    plain, made = plain_gguf(tmp_path), tmp_path / "made.gguf"
    convert(plain, made, to="gguf", order=some_order())
    done = convert(made, tmp_path / "folder", to="safetensors")
    assert f"{ORDER}: safetensors has no place for it" in done.losses


@pytest.mark.parametrize("layout", LAYOUTS[1:])
def test_a_file_of_ours_becomes_a_file_of_others(tmp_path, layout):
    plain, made, folder = plain_gguf(tmp_path), tmp_path / "made.gguf", tmp_path / "folder"
    convert(plain, made, to="gguf", layout=layout)
    convert(made, folder, to="safetensors")
    assert np.abs(logits(plain) - logits(folder)).max() < 1e-5


@pytest.mark.parametrize("layout", LAYOUTS)
def test_blocks_are_quantized_again_only_where_it_is_allowed(tmp_path, layout):
    plain, made = plain_gguf(tmp_path, "q4_1"), tmp_path / "made.gguf"
    order = some_order() if layout == "rows" else None
    says = "q4_1 to q8_0: w_down is cut into blocks in another way, and so rounded a second time"
    options = {"to": "gguf", "layout": layout, "order": order, "down_type": "q8_0"}
    with pytest.raises(RequestError, match=f"{says}; .*--allow-requantize"):
        convert(plain, made, **options)
    assert not made.exists()
    assert convert(plain, made, **options, allow_requantize=True).losses == (says,)
    with llama_edu.load(plain) as a, llama_edu.load(made) as b:
        for name in ("w_gate", "w_up"):
            stored = a.weights[f"layers.0.{name}"]
            expected = stored if order is None else stored[order[0]]
            assert np.array_equal(b.weights[f"layers.0.{name}"], expected)  # blocks move whole
        down = dequantize(a.weights["layers.0.w_down"])
        down = down if order is None else down[:, order[0]]
        assert 0 < np.abs(dequantize(b.weights["layers.0.w_down"]) - down).max() < 0.01
        assert b.checkpoint.tensors["layers.0.w_down"].type == "q8_0"
        del stored, expected
    assert 0 < np.abs(logits(plain) - logits(made)).max() < 0.1


def test_blocks_by_neuron_move_exactly_to_another_such_layout(tmp_path):
    plain, paths = plain_gguf(tmp_path, "q8_0"), [tmp_path / f"{i}.gguf" for i in range(3)]
    convert(plain, paths[0], to="gguf", layout="side-by-side", allow_requantize=True)
    order = some_order()
    assert convert(paths[0], paths[1], to="gguf", layout="down-transposed").losses == ()
    assert convert(paths[1], paths[2], to="gguf", layout="side-by-side", order=order).losses == ()
    assert np.array_equal(logits(paths[0]), logits(paths[1]))
    assert np.abs(logits(paths[0]) - logits(paths[2])).max() < 1e-5
    says = "q8_0 to q8_0: w_down is cut into blocks in another way"
    with pytest.raises(RequestError, match=says):
        convert(paths[1], tmp_path / "back.gguf", to="gguf")


def test_the_largest_numbers_of_bits_lose_least(tmp_path):
    plain, made = plain_gguf(tmp_path, "q4_1"), tmp_path / "made.gguf"
    errors = {}
    for kind in ("keep", "q8_0", "f16"):
        convert(plain, made, to="gguf", layout="side-by-side", down_type=kind,
                allow_requantize=True)  # fmt: skip
        errors[kind] = np.abs(logits(plain) - logits(made)).max()
    assert errors["keep"] > 2 * errors["q8_0"] > 4 * errors["f16"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"to": "safetensors", "order": some_order()}, "safetensors cannot say them; convert to"),
        ({"to": "safetensors", "layout": "side-by-side"}, "safetensors cannot say them"),
        ({"layout": "diagonal"}, "layout is 'diagonal', expected one of rows, down-transposed"),
        ({"order": some_order(hidden_dim=159)}, r"order: int64 \(2, 159\), expected whole numbers"),
        ({"order": some_order() * 1.0}, r"order: float64 \(2, 160\), expected whole numbers"),
        ({"order": some_order() + 1}, "order: has 160 in layer 0, expected each of 0 to 159 once"),
        ({"order": np.zeros((2, 160), int)}, "order: has 0 twice in layer 0, expected each of"),
        ({"set_keys": {ORDER: "1"}}, "key 'llama_edu.feed_forward_order': follows from the tens"),
        ({"drop_keys": [ORDER]}, "key 'llama_edu.feed_forward_order': follows from the tens"),
        ({"drop_keys": ["llama_edu.feed_forward_layout"]}, "follows from the tensors"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_words(tmp_path, options, says):
    plain = plain_gguf(tmp_path)
    before = names_in(tmp_path)
    with pytest.raises(RequestError, match=says):
        convert(plain, tmp_path / "made", **{"to": "gguf", **options})
    assert names_in(tmp_path) == before


def test_a_w_down_that_is_no_whole_blocks_in_the_new_direction_is_refused(tmp_path):
    plain = plain_gguf(tmp_path, "f16", dim=40, n_kv_heads=4)
    says = r"w_down: rows of 40 numbers in layout down-transposed cannot become q8_0, whose blocks"
    with pytest.raises(FormatError, match=says):
        convert(plain, tmp_path / "made", to="gguf", layout="down-transposed", down_type="q8_0")


def test_the_command_writes_a_layout_and_an_order(tmp_path, run_cli):
    plain, made, text = plain_gguf(tmp_path), tmp_path / "made.gguf", tmp_path / "text.txt"
    text.write_text("a b c abc ab ca " * 20)
    code, out, err = run_cli("convert", plain, made, "--to", "gguf", "--layout", "side-by-side",
                             "--hot-first", text, "--down-type", "f32")  # fmt: skip
    assert code == 0, err
    checkpoint = read_checkpoint(made)
    assert checkpoint.layout == "side-by-side"
    assert checkpoint.tensors["layers.1.w_down"].type == "f32"
    order = order_of(checkpoint.metadata, checkpoint.config)
    assert (np.sort(order, axis=1) == np.arange(160)).all()
    assert not (order == np.arange(160)).all()
    assert np.abs(logits(plain) - logits(made)).max() < 1e-5
    code, out, _ = run_cli("inspect", made)
    assert "layout      each hidden neuron's gate, up and down numbers side by side" in out
    assert "layout" not in run_cli("inspect", plain)[1]


@pytest.mark.parametrize("layout", LAYOUTS[1:])
def test_commands_work_on_a_file_in_a_layout(tmp_path, run_cli, layout):
    plain, made, text = plain_gguf(tmp_path), tmp_path / "made.gguf", tmp_path / "text.txt"
    text.write_text("a b c abc ab ca " * 5)
    convert(plain, made, to="gguf", layout=layout)
    answers = [run_cli("perplexity", path, "--text-file", text)[1] for path in (plain, made)]
    assert answers[0].startswith(f"{plain.name}: ")
    assert answers[1] == answers[0].replace(plain.name, made.name, 1)
    code, out, err = run_cli("compare", plain, made)
    assert code == 0 and "same model" in out, err
    code, out, err = run_cli("inspect", made, "--tensors", "--json")
    assert code == 0, err
    n_bytes = sum(tensor["n_bytes"] for tensor in read_json(out)["tensors"])
    assert n_bytes >= sum(read_json(out)["bytes"].values()) - made.stat().st_size
    assert sum(read_json(out)["bytes"].values()) == made.stat().st_size


def test_compare_says_that_neurons_are_in_another_order(tmp_path, run_cli):
    plain, made = plain_gguf(tmp_path), tmp_path / "made.gguf"
    convert(plain, made, to="gguf", order=some_order())
    _, out, _ = run_cli("compare", plain, made)
    assert "the hidden neurons are in another order" in out
    assert "another order" in run_cli("compare", "--steps", plain, made)[1]
    assert "another order" not in run_cli("compare", made, made)[1]


def read_json(text):
    import json

    return json.loads(text)
