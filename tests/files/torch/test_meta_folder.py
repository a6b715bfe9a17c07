"""Meta's layout: one shard or several; contradictions between shards, sizes and tensors."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.small_models import (
    OLD_MULTIPLE_OF,
    meta_name,
    old_config,
    pth_file,
    random_weights,
    shard_of,
    small_config,
    write_meta_folder,
)

from llama_edu.errors import FormatError
from llama_edu.files.detect import read_checkpoint
from llama_edu.files.layout import ShardedTensor
from llama_edu.files.mapped import MappedFile
from llama_edu.files.parts.shards import cut_axis, join, join_rows


@pytest.fixture
def folder(tmp_path, config, weights):
    return write_meta_folder(tmp_path / "model", config, weights, n_shards=2)


def change_params(folder, **changes):
    path = folder / "params.json"
    params = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in params.items() if v is not ...}))


def rewrite_shard(folder, shard, arrays):
    (folder / f"consolidated.{shard:02d}.pth").write_bytes(pth_file(arrays))


def shard_arrays(weights, shard, n_shards=2, dtype="<f2"):
    return {
        meta_name(n): shard_of(meta_name(n), a, shard, n_shards).astype(dtype)
        for n, a in weights.items()
    }


@pytest.mark.parametrize("n_shards", [1, 2, 4])
def test_the_whole_is_found_in_one_shard_or_several(tmp_path, config, weights, n_shards):
    folder = write_meta_folder(tmp_path / "model", config, weights, n_shards=n_shards)
    checkpoint = read_checkpoint(folder)
    assert checkpoint.config == config
    assert checkpoint.format == f"Meta .pth, {n_shards} shard{'s' if n_shards > 1 else ''}"
    assert checkpoint.ignored == ("rope.freqs",) and checkpoint.is_sharded == (n_shards > 1)
    assert checkpoint.n_bytes == 2 * sum(array.size for array in weights.values())
    files = [MappedFile(path) for path in checkpoint.paths]
    for name, expected in weights.items():
        tensor = checkpoint.tensors[name]
        if isinstance(tensor, ShardedTensor):
            assert tensor.shape == expected.shape
            whole = join(tensor, lambda spec: files[spec.file].view(spec))
            assert whole.flags.owndata == (tensor.axis is not None)
        else:
            whole = files[0].view(tensor)
        np.testing.assert_array_equal(whole, expected)


def test_a_matrix_is_cut_by_columns_where_outputs_are_summed():
    by_columns = {n for n in old_config().tensor_shapes() if "norm" not in n and cut_axis(n)}
    assert {n.rpartition(".")[2] for n in by_columns} == {"wo", "w_down", "token_embedding"}


@pytest.mark.parametrize("axis", [0, 1])
def test_rows_of_a_join_equal_rows_of_the_whole(rng, axis):
    whole = rng.standard_normal((12, 8)).astype(np.float16)
    pieces = np.split(whole, 4, axis=axis)
    for start in range(12):
        for stop in range(start + 1, 13):
            np.testing.assert_array_equal(join_rows(pieces, axis, start, stop), whole[start:stop])


def test_grouped_heads_and_a_multiplier_are_read(tmp_path, rng):
    """Llama 2 70B and Llama 3 have n_kv_heads and ffn_dim_multiplier in params.json."""
    # 2 * (4 * 24) // 3 = 64; times 1.3 is 83.2, cut to 83; rounded up to a multiple of 12: 84
    config = small_config(hidden_dim=84)
    folder = write_meta_folder(
        tmp_path / "model", config, random_weights(config, rng), multiple_of=12,
        params={"n_kv_heads": 2, "ffn_dim_multiplier": 1.3, "rope_theta": 500000.0},
    )  # fmt: skip
    found = read_checkpoint(folder).config
    assert (found.hidden_dim, found.n_kv_heads, found.rope_theta) == (84, 2, 500000.0)


def test_an_embedding_cut_by_rows_is_joined_by_rows(tmp_path, config, weights):
    """Llama 3 cuts the vocabulary, not the columns."""
    folder = write_meta_folder(tmp_path / "model", config, weights, n_shards=2)
    for shard in range(2):
        arrays = shard_arrays(weights, shard)
        rows = np.split(weights["token_embedding"], 2)[shard]
        rewrite_shard(folder, shard, arrays | {"tok_embeddings.weight": rows.astype("<f2")})
    checkpoint = read_checkpoint(folder)
    assert checkpoint.tensors["token_embedding"].axis == 0
    assert checkpoint.tensors["token_embedding"].shape == (300, 32)


def test_the_tokenizer_is_found_in_the_folder_then_in_its_parent(folder, tmp_path):
    assert read_checkpoint(folder).tokenizer_path is None
    (tmp_path / "tokenizer.model").touch()
    assert read_checkpoint(folder).tokenizer_path == tmp_path / "tokenizer.model"
    (folder / "tokenizer.model").touch()
    assert read_checkpoint(folder).tokenizer_path == folder / "tokenizer.model"


def test_the_parent_is_found_also_from_inside_the_folder(folder, tmp_path, monkeypatch):
    (tmp_path / "tokenizer.model").touch()
    monkeypatch.chdir(folder)
    assert read_checkpoint(".").tokenizer_path == tmp_path / "tokenizer.model"


# --- what is missing or contradicts ------------------------------------------------------------


def test_missing_params_are_named(folder):
    (folder / "params.json").unlink()
    with pytest.raises(FormatError, match=r"params.json: is missing; the sizes of the model are"):
        read_checkpoint(folder)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is not readable JSON"),
        ("{'dim': 32}", "is not readable JSON"),
        ("\udcff", "is not readable JSON"),
        ("[" * 100_000, "is not readable JSON"),
        ("[1]", "holds no object, expected the sizes of a model"),
        ("{}", "dim is None, expected a whole number"),
        ('{"dim": 32.0}', "dim is 32.0, expected a whole number"),
        ('{"dim": true}', "dim is True, expected a whole number"),
        ('{"dim": "32"}', "dim is '32', expected a whole number"),
    ],
)
def test_params_that_hold_no_sizes_are_named(folder, text, sentence):
    (folder / "params.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(FormatError, match=sentence):
        read_checkpoint(folder)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"dim": 0}, "dim 0 and multiple_of 24, expected both > 0"),
        ({"dim": -32}, "dim -32 and multiple_of 24, expected both > 0"),
        ({"dim": 16}, r"token_embedding has shape \(300, 32\), expected \(300, 16\)"),
        ({"dim": 10**400}, "dim is 10{36}[.]{3}, expected a whole number"),
        ({"n_heads": 0}, "n_heads is 0, expected 1 to"),
        ({"n_heads": 5}, "dim 32 is not a multiple of n_heads 5"),
        ({"n_heads": 32}, "head_dim 1 is not even"),
        ({"n_layers": 0}, "n_layers is 0"),
        ({"n_layers": 1}, "has layers.1.* which a model of 1 layers does not have"),
        ({"n_layers": 3}, "none for layer 2, expected 29 for 3 layers"),
        ({"n_layers": 2**31 - 1}, "none for layer 2, expected"),
        ({"n_layers": 2**31}, "n_layers is 2147483648, expected a whole number"),
        ({"multiple_of": 0}, "dim 32 and multiple_of 0, expected both > 0"),
        ({"multiple_of": 256}, r"w_gate has shape \(96, 32\), expected \(256, 32\)"),
        ({"multiple_of": ...}, r"w_gate has shape \(96, 32\), expected \(256, 32\)"),
        ({"n_kv_heads": 2}, r"layers.0.wk has shape \(32, 32\), expected \(16, 32\)"),
        ({"n_kv_heads": 3}, "n_heads 4 is not a multiple of n_kv_heads 3"),
        ({"vocab_size": 299}, "vocab_size is 299, the tensors have 300 pieces"),
        ({"norm_eps": 0}, "norm_eps is 0, expected a positive number"),
        ({"norm_eps": float("nan")}, "norm_eps is nan, expected a positive number"),
        ({"norm_eps": "1e-6"}, "params.json"),
        ({"norm_eps": 10**400}, "params.json"),
        ({"rope_theta": -1.0}, "rope_theta is -1.0, expected a positive number"),
        ({"max_seq_len": 0}, "max_seq_len is 0"),
        ({"ffn_dim_multiplier": "2"}, "ffn_dim_multiplier is '2', expected a number"),
        ({"ffn_dim_multiplier": float("nan")}, "params.json"),
        ({"ffn_dim_multiplier": float("inf")}, "params.json"),
        ({"ffn_dim_multiplier": -1.0}, "hidden_dim"),
        ({"ffn_dim_multiplier": 2.0}, r"expected \(192, 32\)"),
    ],
)  # fmt: skip
def test_sizes_that_contradict_the_tensors_are_named(folder, changes, sentence):
    change_params(folder, **changes)
    with pytest.raises(FormatError, match=sentence):
        read_checkpoint(folder)


def test_a_missing_last_shard_is_named(folder):
    (folder / "consolidated.01.pth").unlink()
    expected = r"1 shard found, expected 2: .*consolidated.01.pth is missing"
    with pytest.raises(FormatError, match=expected):
        read_checkpoint(folder)


def test_a_missing_first_shard_is_named(folder):
    (folder / "consolidated.00.pth").unlink()
    with pytest.raises(FormatError, match=r"consolidated.00.pth: is missing, but consolidated.01"):
        read_checkpoint(folder)


def test_a_shard_too_many_is_not_called_missing(folder):
    data = (folder / "consolidated.01.pth").read_bytes()
    for shard in (2, 3):
        (folder / f"consolidated.{shard:02d}.pth").write_bytes(data)
    with pytest.raises(FormatError) as caught:
        read_checkpoint(folder)
    assert "missing" not in str(caught.value) and "token_embedding" in str(caught.value)


def test_shards_of_two_models_are_refused(folder, weights):
    arrays = shard_arrays(weights, 1)
    del arrays["layers.1.attention.wv.weight"]
    rewrite_shard(folder, 1, arrays)
    with pytest.raises(FormatError, match=r"01.pth: has no layers.1.wv, which consolidated.00.pth"):
        read_checkpoint(folder)
    rewrite_shard(
        folder, 1, shard_arrays(weights, 1) | {"output.weight": np.ones((151, 32), "<f2")}
    )
    with pytest.raises(FormatError, match=r"output is f16 \(151, 32\), in consolidated.00.pth it "):
        read_checkpoint(folder)
    rewrite_shard(folder, 1, shard_arrays(weights, 1, dtype="<f4"))
    with pytest.raises(FormatError, match=r"01.pth: token_embedding is f32 .* these shards"):
        read_checkpoint(folder)


def test_a_shard_with_more_than_the_first_is_refused(folder, weights):
    arrays = shard_arrays(weights, 0)
    del arrays["layers.1.attention.wv.weight"]
    rewrite_shard(folder, 0, arrays)
    with pytest.raises(
        FormatError, match=r"01.pth: has layers.1.wv, which consolidated.00.pth does not have"
    ):
        read_checkpoint(folder)


def test_a_tensor_of_another_kind_of_model_is_named(folder, weights):
    arrays = shard_arrays(weights, 0) | {"layers.0.conv\x1b[2J.weight": np.ones(3, "<f2")}
    rewrite_shard(folder, 0, arrays)
    with pytest.raises(FormatError, match=r"a tensor layers.0.conv\\x1b\[2J.weight, which no LLa"):
        read_checkpoint(folder)


def test_a_checkpoint_without_its_embedding_is_refused(folder, weights):
    for shard in range(2):
        arrays = shard_arrays(weights, shard)
        del arrays["tok_embeddings.weight"]
        rewrite_shard(folder, shard, arrays)
    with pytest.raises(FormatError, match="has no matrix token_embedding; the checkpoint is incom"):
        read_checkpoint(folder)


def test_a_truncated_shard_names_its_file(folder):
    path = folder / "consolidated.01.pth"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(FormatError, match=r"consolidated.01.pth: its zip directory cannot be read"):
        read_checkpoint(folder)


def test_an_lfs_pointer_in_place_of_a_shard_names_its_file(folder):
    (folder / "consolidated.01.pth").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(FormatError, match=r"consolidated.01.pth: "):
        read_checkpoint(folder)


def test_the_sizes_used_here_follow_the_published_rule():
    assert 2 * (4 * 32) // 3 == 85 and -(-85 // OLD_MULTIPLE_OF) * OLD_MULTIPLE_OF == 96
