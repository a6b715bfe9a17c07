"""Our safetensors and those of the safetensors library say the same; malformed ones are named."""

import io
import json
import struct

import numpy as np
import pytest
from helpers.hostile import check_case, check_opens_safely
from helpers.hostile_safetensors import SAFETENSORS_CASES, safetensors_bytes
from helpers.huggingface_by_hand import halves_row_by_row, hugging_config, to_huggingface
from helpers.opened import read_safetensors, safetensors_fields
from helpers.small_models import random_weights, small_config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llama_edu.config import RopeScaling
from llama_edu.errors import FormatError, RequestError
from llama_edu.files.huggingface.safetensors_writer import write_safetensors
from llama_edu.files.layout import PlannedTensor
from llama_edu.files.mapped import MappedFile
from llama_edu.files.names import from_ours
from llama_edu.files.row_order import permute_rows_to_halves, permute_rows_to_interleaved
from llama_edu.quants.blocks import BLOCK_TYPES, dequantize


def written(config, weights, type_name="f32") -> bytes:
    out = io.BytesIO()
    planned = [PlannedTensor(name, type_name, w.shape) for name, w in weights.items()]
    dtype = BLOCK_TYPES[type_name].dtype
    write_safetensors(out, config, planned, lambda t: weights[t.name].astype(dtype))
    return out.getvalue()


@pytest.mark.parametrize("n_heads", [2, 3])
@pytest.mark.parametrize("type_name", ["f32", "q4_0"])
def test_rows_move_whole_and_come_back(rng, n_heads, type_name):
    raw = rng.bytes(12 * 5 * BLOCK_TYPES[type_name].dtype.itemsize)
    stored = np.frombuffer(raw, BLOCK_TYPES[type_name].dtype).reshape(12, 5)
    halves = permute_rows_to_halves(stored, n_heads)
    assert halves.tobytes() == halves_row_by_row(stored, n_heads).tobytes() != stored.tobytes()
    back = permute_rows_to_interleaved(halves, n_heads)
    assert back.dtype == stored.dtype and back.tobytes() == stored.tobytes()


@pytest.mark.parametrize("tied", [False, True])
def test_what_the_library_writes_we_read(tmp_path, config, rng, tied):
    library = pytest.importorskip("safetensors.numpy")
    weights = random_weights(config, rng, tied=tied)
    stored = to_huggingface(config, weights)
    stored["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(2, np.float32)
    path = tmp_path / "model.safetensors"
    library.save_file({k: v.astype(np.float16) for k, v in stored.items()}, path)
    (tmp_path / "config.json").write_text(json.dumps(hugging_config(config, tied=tied)))
    checkpoint = read_safetensors(path)
    assert checkpoint.config.rope_pairing == "halves"
    assert checkpoint.config.n_kv_heads == config.n_kv_heads
    assert checkpoint.tied_output == tied
    assert checkpoint.ignored == ("model.layers.0.self_attn.rotary_emb.inv_freq",)
    with MappedFile(path) as mapped:
        for name, spec in checkpoint.tensors.items():
            assert spec.type == "f16"
            numbers = dequantize(mapped.view(spec))
            np.testing.assert_array_equal(numbers, stored[from_ours(name, "huggingface")])


@pytest.mark.parametrize(("type_name", "dtype"), [("f32", np.float32), ("f16", np.float16)])
def test_what_we_write_the_library_reads(config, rng, type_name, dtype):
    library = pytest.importorskip("safetensors.numpy")
    weights = random_weights(config, rng)
    found = library.load(written(config, weights, type_name))
    expected = to_huggingface(config, weights)
    assert list(found) == sorted(found) or set(found) == set(expected)
    for name, array in expected.items():
        assert found[name].dtype == dtype
        np.testing.assert_array_equal(found[name], array)


def test_what_we_write_stands_alone_and_its_data_are_aligned(tmp_path, rng):
    config = small_config(rope_scaling=RopeScaling("llama3", 8.0), rope_theta=5e5)
    weights = random_weights(config, rng)
    path = tmp_path / "model.safetensors"
    path.write_bytes(written(config, weights))
    checkpoint = read_safetensors(path)
    expected = {**vars(config), "rope_pairing": "halves"}
    assert vars(checkpoint.config) == expected
    assert all(t.offset % 8 == 0 for t in checkpoint.tensors.values())
    assert [f.offset for f in safetensors_fields(path)][1:] == sorted(
        [8, *(t.offset for t in checkpoint.tensors.values())]
    )
    (header, table) = checkpoint.sections
    assert table.offset + table.n_bytes == min(t.offset for t in checkpoint.tensors.values())
    assert header.n_bytes == 8


def test_metas_names_keep_pairs_side_by_side(tmp_path, config, weights):
    library = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "model.safetensors"
    library.save_file({from_ours(name, "meta"): w for name, w in weights.items()}, path)
    (tmp_path / "config.json").write_text(json.dumps(hugging_config(config)))
    checkpoint = read_safetensors(path)
    assert checkpoint.config == config
    assert checkpoint.config.rope_pairing == "interleaved"


def test_missing_sizes_are_named(tmp_path, config, weights):
    library = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "model.safetensors"
    library.save_file(to_huggingface(config, weights), path)
    with pytest.raises(FormatError, match=r"vocab_size 271 and dim 24, but not n_heads, norm_eps"):
        read_safetensors(path)


def test_a_shard_alone_is_told_to_bring_its_folder(tmp_path, config, weights):
    path = tmp_path / "model-00001-of-00002.safetensors"
    path.write_bytes(written(config, weights))
    index = {"weight_map": {"a": path.name, "b": "model-00002-of-00002.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(FormatError, match="is one of 2 files of a model; give its folder"):
        read_safetensors(path)


def test_a_weight_of_float8_is_refused_by_name(tmp_path):
    entry = {"dtype": "F8_E4M3", "shape": [2, 3], "data_offsets": [0, 6]}
    good = {"dtype": "F32", "shape": [1, 1], "data_offsets": [6, 10]}
    table = {"model.norm.weight": entry, "model.embed_tokens.weight": good}
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors_bytes(table, bytes(10)))
    (tmp_path / "config.json").write_text(json.dumps(hugging_config(small_config())))
    with pytest.raises(FormatError, match=r"model.norm.weight has a type that this package cannot"):
        read_safetensors(path)


def test_quantized_types_are_refused_when_writing(config):
    with pytest.raises(RequestError, match="type q4_0 does not exist in safetensors"):
        write_safetensors(io.BytesIO(), config, [PlannedTensor("output", "q4_0", (7, 32))], None)


@pytest.mark.parametrize("case", SAFETENSORS_CASES, ids=lambda case: case.name)
def test_a_malformed_safetensors_gets_its_sentence(case, tmp_path):
    check_case(case, tmp_path, read_safetensors)


# --- fuzzing ----------------------------------------------------------------------------------

CONFIG = small_config(vocab_size=5, n_layers=1)
VALID = written(CONFIG, random_weights(CONFIG, np.random.default_rng(3)))
N_TABLE = struct.unpack("<Q", VALID[:8])[0]

edits = st.lists(
    st.tuples(
        st.integers(0, N_TABLE + 40),
        st.one_of(
            st.sampled_from([b"\xff", b"\0", b'"', b"{", b"]", b"9", b"-", b" ", b"1e9"]),
            st.binary(min_size=1, max_size=4),
        ),
    ),
    min_size=1,
    max_size=4,
)


def check_opens_safely_or_says_why(path, edits, cut: int) -> None:
    data = bytearray(VALID)
    for place, value in edits:
        data[place : place + len(value)] = value
    path.write_bytes(data[: len(data) - cut])
    check_opens_safely(path, read_safetensors)


@settings(max_examples=150)
@given(edits=edits, cut=st.sampled_from([0, 0, 0, 1, 500]))
def test_a_mutated_safetensors_opens_safely_or_is_a_format_error(tmp_path_factory, edits, cut):
    path = tmp_path_factory.getbasetemp() / "mutated.safetensors"
    check_opens_safely_or_says_why(path, edits, cut)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(max_examples=20_000, suppress_health_check=list(HealthCheck))
@given(edits=edits, cut=st.sampled_from([0, 0, 0, 1, 500]))
def test_20000_mutated_safetensors_open_safely_or_are_format_errors(tmp_path_factory, edits, cut):
    path = tmp_path_factory.getbasetemp() / "mutated.safetensors"
    check_opens_safely_or_says_why(path, edits, cut)


def test_a_further_key_in_a_row_is_passed_over_as_the_library_does(tmp_path, config, weights):
    library = pytest.importorskip("safetensors.numpy")
    data = written(config, weights)
    (n_bytes,) = struct.unpack_from("<Q", data)
    table = json.loads(data[8 : 8 + n_bytes])
    for name, row in table.items():
        if name != "__metadata__":
            row["comment"] = "of a newer writer"
    text = json.dumps(table).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + n_bytes :])
    assert len(read_safetensors(path).tensors) == len(library.load_file(path)) == len(weights)
