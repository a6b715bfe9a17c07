"""params.json of every generation: what each leaves out, and what `load` is told instead."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.small_models import (
    old_config,
    random_weights,
    train_sentencepiece,
    write_meta_folder,
)

from llama_edu.config import RopeScaling
from llama_edu.errors import FormatError, RequestError
from llama_edu.files.detect import read_checkpoint
from llama_edu.files.torch.generations import generation_of
from llama_edu.loading import load
from llama_edu.stated import Stated

#: The params.json that Meta and Mistral published, (context, factor of RoPE).
PUBLISHED = {
    "LLaMA 7B": ({"dim": 4096, "multiple_of": 256, "n_heads": 32, "n_layers": 32,
                  "norm_eps": 1e-06, "vocab_size": -1}, 2048, 1),
    "LLaMA 65B": ({"dim": 8192, "multiple_of": 256, "n_heads": 64, "n_layers": 80,
                   "norm_eps": 1e-05, "vocab_size": -1}, 2048, 1),
    "Llama 2 7B": ({"dim": 4096, "multiple_of": 256, "n_heads": 32, "n_layers": 32,
                    "norm_eps": 1e-05, "vocab_size": -1}, 4096, 1),
    "Llama 2 70B": ({"dim": 8192, "multiple_of": 4096, "ffn_dim_multiplier": 1.3, "n_heads": 64,
                     "n_kv_heads": 8, "n_layers": 80, "norm_eps": 1e-05, "vocab_size": -1},
                    4096, 1),
    "Code Llama 7B": ({"dim": 4096, "n_layers": 32, "n_heads": 32, "multiple_of": 256,
                       "ffn_dim_multiplier": 1.0, "norm_eps": 1e-5, "rope_theta": 1000000},
                      16384, 1),
    "Llama 3 8B": ({"dim": 4096, "n_layers": 32, "n_heads": 32, "n_kv_heads": 8,
                    "vocab_size": 128256, "multiple_of": 1024, "ffn_dim_multiplier": 1.3,
                    "norm_eps": 1e-05, "rope_theta": 500000.0}, 8192, 1),
    "Llama 3.1 8B": ({"dim": 4096, "n_layers": 32, "n_heads": 32, "n_kv_heads": 8,
                      "vocab_size": 128256, "ffn_dim_multiplier": 1.3, "multiple_of": 1024,
                      "norm_eps": 1e-05, "rope_theta": 500000.0, "use_scaled_rope": True},
                     131072, 8),
    "Llama 3.2 1B": ({"dim": 2048, "ffn_dim_multiplier": 1.5, "multiple_of": 256, "n_heads": 32,
                      "n_kv_heads": 8, "n_layers": 16, "norm_eps": 1e-05, "rope_theta": 500000.0,
                      "use_scaled_rope": True, "vocab_size": 128256}, 131072, 32),
    "Llama 3.2 3B": ({"dim": 3072, "ffn_dim_multiplier": 1.0, "multiple_of": 256, "n_heads": 24,
                      "n_kv_heads": 8, "n_layers": 28, "norm_eps": 1e-05, "rope_theta": 500000.0,
                      "use_scaled_rope": True, "vocab_size": 128256}, 131072, 32),
    "Mistral 7B v0.1": ({"dim": 4096, "n_layers": 32, "head_dim": 128, "hidden_dim": 14336,
                         "n_heads": 32, "n_kv_heads": 8, "norm_eps": 1e-05,
                         "sliding_window": 4096, "vocab_size": 32000}, 4096, 1),
    "Mistral 7B v0.3": ({"dim": 4096, "n_layers": 32, "head_dim": 128, "hidden_dim": 14336,
                         "n_heads": 32, "n_kv_heads": 8, "norm_eps": 1e-05,
                         "vocab_size": 32768, "rope_theta": 1000000.0}, 32768, 1),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_params_json_tells_its_generation(name):
    params, context, factor = PUBLISHED[name]
    found = generation_of(params)
    assert (found.context, found.rope_factor) == (context, factor)


def folder_of(tmp_path, config, rng, **params):
    """A folder whose params.json has these values; ... takes a key out."""
    folder = write_meta_folder(tmp_path / "model", config, random_weights(config, rng))
    path = folder / "params.json"
    stated = json.loads(path.read_text()) | {"max_seq_len": ...} | params
    path.write_text(json.dumps({k: v for k, v in stated.items() if v is not ...}))
    return folder


def test_what_params_json_does_not_state_is_assumed_and_named(tmp_path, config, rng):
    found = read_checkpoint(folder_of(tmp_path, config, rng, norm_eps=1e-5))
    assert (found.config.max_seq_len, found.config.rope_theta) == (4096, 10000.0)
    assert found.assumed.keys() == {"max_seq_len", "rope_theta"}
    assert found.assumed["max_seq_len"].endswith("Llama 2's, by norm_eps 1e-05")
    stated = folder_of(tmp_path, config, rng, max_seq_len=77, rope_theta=5.0)
    assert not read_checkpoint(stated).assumed


def test_the_factor_of_scaled_rope_is_the_generations_or_stated(tmp_path, config, rng):
    found = read_checkpoint(folder_of(tmp_path, config, rng, use_scaled_rope=True))
    assert found.config.rope_scaling == RopeScaling("llama3", 8.0)
    assert found.config.max_seq_len == 131072
    assert "Llama 3.1's factor" in found.assumed["rope_scaling"]
    folder = folder_of(tmp_path, config, rng, use_scaled_rope=True, rope_scaling_factor=32)
    assert read_checkpoint(folder).config.rope_scaling == RopeScaling("llama3", 32.0)
    folder = folder_of(tmp_path, config, rng, use_scaled_rope=True, rope_scaling_factor="8")
    with pytest.raises(FormatError, match=r"params.json: "):
        read_checkpoint(folder)


def test_null_and_missing_sizes_are_metas_defaults(tmp_path, config, rng):
    found = read_checkpoint(folder_of(tmp_path, config, rng, n_kv_heads=None, norm_eps=...))
    assert (found.config.n_kv_heads, found.config.norm_eps) == (config.n_heads, 1e-5)
    assert "norm_eps" in found.assumed
    by_default = old_config(hidden_dim=256)  # 85 rounded up to a multiple of 256
    found = read_checkpoint(folder_of(tmp_path / "b", by_default, rng, multiple_of=...))
    assert found.config.hidden_dim == 256 and "256" in found.assumed["hidden_dim"]


def test_mistrals_sizes_are_read_as_stated(tmp_path, rng):
    config = old_config(hidden_dim=80, n_kv_heads=2, head_dim=16)
    params = {"hidden_dim": 80, "head_dim": 16, "n_kv_heads": 2, "multiple_of": ...}
    found = read_checkpoint(folder_of(tmp_path, config, rng, **params)).config
    assert (found.hidden_dim, found.head_dim, found.n_kv_heads) == (80, 16, 2)
    assert found.max_seq_len == 32768


def test_a_sliding_window_bounds_the_context(tmp_path, config, rng):
    """Beyond its window Mistral attends to less than this program would."""
    folder = folder_of(tmp_path, config, rng, sliding_window=40, max_seq_len=300)
    found = read_checkpoint(folder)
    assert found.config.max_seq_len == 40 and "sliding window" in found.assumed["max_seq_len"]
    with pytest.raises(RequestError, match="--context is 41, expected at most 40, the sliding"):
        load(folder, context=41)
    with load(folder, context=30) as llama:
        assert llama.config.max_seq_len == 30


@pytest.mark.parametrize("key", ["moe", "yarn"])
def test_another_kind_of_model_is_refused(tmp_path, config, rng, key):
    folder = folder_of(tmp_path, config, rng, **{key: {"factor": 4}})
    with pytest.raises(FormatError, match=f"states {key}, expected a plain LLaMA"):
        read_checkpoint(folder)


def test_a_byte_order_mark_is_no_damage(tmp_path, config, rng):
    path = folder_of(tmp_path, config, rng) / "params.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_checkpoint(path.parent).config.dim == 32


# --- what a user states --------------------------------------------------------------------------


def test_stated_values_replace_and_are_named(tmp_path, config, rng):
    folder = folder_of(tmp_path, config, rng)
    with load(folder, context=99, rope_theta=777.0, rope_factor=2.0, norm_eps=1e-3) as llama:
        found = llama.config
        assert (found.max_seq_len, found.rope_theta, found.norm_eps) == (99, 777.0, 1e-3)
        assert found.rope_scaling == RopeScaling("linear", 2.0)
        assert llama.checkpoint.assumed["norm_eps"] == "stated with --norm-eps"
        changed = llama.logits([1, 5, 3])
    with load(folder) as llama:
        assert not np.allclose(changed, llama.logits([1, 5, 3]))


def test_a_stated_factor_keeps_the_files_rule(tmp_path, config, rng):
    folder = folder_of(tmp_path, config, rng, use_scaled_rope=True)
    with load(folder, rope_factor=32) as llama:
        assert llama.config.rope_scaling == RopeScaling("llama3", 32.0)
    with load(folder, rope_factor=1) as llama:
        assert llama.config.rope_scaling is None


def test_a_stated_factor_replaces_the_divisors_that_a_file_carries(tmp_path, config, rng, run_cli):
    folder = folder_of(tmp_path, config, rng, use_scaled_rope=True, rope_theta=500000.0)
    small = write_meta_folder(tmp_path / "t", config, random_weights(config, rng))
    tokenizer = small / "tokenizer.model"
    tokenizer.write_bytes(train_sentencepiece(300))
    path = tmp_path / "m.gguf"
    arguments = ("--to", "gguf", "--tokenizer", tokenizer)
    assert run_cli("convert", folder, path, *arguments)[0] == 0
    with load(path) as llama, load(folder) as source, load(path, rope_factor=32) as stated:
        np.testing.assert_allclose(llama.model.frequencies, source.model.frequencies, rtol=1e-6)
        assert llama.model.frequencies[-1] == pytest.approx(4 * stated.model.frequencies[-1])
    assert run_cli("convert", folder, path, *arguments, "--rope-factor", 32)[0] == 0
    with load(path) as llama, load(folder, rope_factor=32) as stated:
        np.testing.assert_allclose(llama.model.frequencies, stated.model.frequencies, rtol=1e-6)


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["context", "rope_theta", "rope_factor", "norm_eps"])
def test_impossible_values_are_refused(name, value):
    option = f"--{name.replace('_', '-')} is {value}, expected a positive number"
    with pytest.raises(RequestError, match=option):
        Stated(**{name: value})


def test_the_command_line_states_them_too(tmp_path, config, rng, run_cli):
    folder = folder_of(tmp_path, config, rng)
    options = ("--context", 99, "--rope-theta", 777, "--rope-factor", 2, "--norm-eps", 0.001)
    code, out, _ = run_cli("inspect", folder, *options)
    assert code == 0
    assert "context     99 positions; norm_eps 0.001" in out and "theta 777" in out
    assert "rope_scaling linear 2: stated with --rope-factor" in out
    code, *_ = run_cli("logits", folder, "--tokens", "1,5,3", "--out", tmp_path / "a.npy", *options)
    same = {"rope_theta": 777.0, "rope_factor": 2.0, "norm_eps": 1e-3, "kernels": "numpy"}
    with load(folder, context=99, **same) as llama:
        np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), llama.logits([1, 5, 3]))


def test_inspect_says_what_was_read_and_what_was_assumed(tmp_path, config, rng, run_cli):
    folder = folder_of(tmp_path, config, rng)
    _, out, _ = run_cli("inspect", folder)
    assert "  assumed     max_seq_len 2,048: params.json does not state it; LLaMA 1's" in out
    _, out, _ = run_cli("inspect", folder, "--json")
    assert json.loads(out)["assumed"].keys() == {"max_seq_len", "rope_theta"}
    folder = folder_of(tmp_path, config, rng, max_seq_len=9, rope_theta=5.0)
    _, out, _ = run_cli("inspect", folder)
    assert "  assumed     nothing: the file states every size" in out
