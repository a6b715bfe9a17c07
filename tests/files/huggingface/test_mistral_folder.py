"""Mistral's own layout: Meta's names and sizes, in safetensors."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.huggingface_by_hand import hugging_config, to_huggingface
from helpers.small_models import meta_name, random_weights, small_config, write_meta_folder
from safetensors.numpy import save_file

from llama_edu import load
from llama_edu.convert import convert
from llama_edu.errors import FormatError
from llama_edu.files.detect import read_checkpoint
from llama_edu.show.text.report import checkpoint_report

CONFIG = small_config(vocab_size=300, max_seq_len=50, head_dim=6, rope_theta=1e6)
TOKENS = [1, 270, 5, 33, 299]


def params(**changes) -> dict:
    stated = {
        "dim": 24, "n_layers": 3, "head_dim": 6, "hidden_dim": 40, "n_heads": 6, "n_kv_heads": 2,
        "norm_eps": 1e-5, "vocab_size": 300, "rope_theta": 1e6, "max_seq_len": 50,
    }  # fmt: skip
    return {key: value for key, value in (stated | changes).items() if value is not None}


@pytest.fixture
def weights(rng):
    return random_weights(CONFIG, rng)


def write(folder, weights, *, n_files=1, index=False, **changes):
    """The folder; with several files, tensors go to them by turns."""
    folder.mkdir(exist_ok=True)
    arrays = {meta_name(name): array for name, array in weights.items()}
    placed = {}
    for i in range(n_files):
        part = dict(list(arrays.items())[i::n_files])
        name = f"consolidated-{i + 1:05d}-of-{n_files:05d}.safetensors"
        name = "consolidated.safetensors" if n_files == 1 else name
        save_file(part, folder / name)
        placed |= dict.fromkeys(part, name)
    if index:
        text = json.dumps({"weight_map": placed})
        (folder / "consolidated.safetensors.index.json").write_text(text)
    (folder / "params.json").write_text(json.dumps(params(**changes)))
    return folder


def as_pth(folder, weights):
    """The same weights as Meta's .pth."""
    stated = params() | {"multiple_of": None}
    return write_meta_folder(folder, CONFIG, weights, dtype="<f4", params=stated)


@pytest.mark.parametrize(("n_files", "index"), [(1, False), (2, False), (3, True)])
def test_it_computes_what_the_same_weights_compute_as_pth(tmp_path, weights, n_files, index):
    folder = write(tmp_path / "m", weights, n_files=n_files, index=index)
    with load(folder) as given, load(as_pth(tmp_path / "pth", weights)) as reference:
        assert given.config == reference.config == CONFIG
        np.testing.assert_array_equal(given.logits(TOKENS), reference.logits(TOKENS))
        assert given.checkpoint.format.startswith("Mistral's layout, safetensors, ")
        assert len(given.checkpoint.paths) == n_files
        assert given.loading.copied_bytes == 0


def test_a_tied_output_is_the_embedding(tmp_path, rng):
    tied = random_weights(CONFIG, rng, tied=True)
    folder = write(tmp_path / "m", tied, tied_embeddings=True)
    assert read_checkpoint(folder).tied_output
    with load(folder) as given, load(as_pth(tmp_path / "pth", tied)) as reference:
        np.testing.assert_array_equal(given.logits(TOKENS), reference.logits(TOKENS))


@pytest.mark.parametrize("to", ["gguf", "safetensors"])
def test_it_converts(tmp_path, weights, sentencepiece_model, to):
    folder = write(tmp_path / "m", weights)
    (folder / "tokenizer.model.v3").write_bytes(sentencepiece_model.read_bytes())
    convert(folder, tmp_path / "out", to=to)
    with load(folder) as given, load(tmp_path / "out") as converted:
        np.testing.assert_allclose(converted.logits(TOKENS), given.logits(TOKENS), atol=1e-5)
        assert given.tokenizer.encode("The fox") == converted.tokenizer.encode("The fox")


def test_what_params_json_leaves_out_is_said(tmp_path, weights):
    folder = write(tmp_path / "m", weights, max_seq_len=None, norm_eps=None)
    checkpoint = read_checkpoint(folder)
    assert checkpoint.config.max_seq_len == 32768
    report = checkpoint_report(checkpoint)
    assert "max_seq_len 32,768: params.json does not state it; Mistral's, by hidden_dim" in report
    assert "norm_eps 1e-05: params.json does not state norm_eps" in report


def test_a_tekken_is_named_when_text_is_asked_for(tmp_path, weights):
    folder = write(tmp_path / "m", weights)
    (folder / "tekken.json").write_text("{}")
    with load(folder) as given:
        assert given.logits(TOKENS).shape == (5, 300)
        with pytest.raises(FormatError, match=r"tekken.json: is a tokenizer of Mistral's own kind"):
            given.generate("The")


def test_hugging_faces_layout_beside_it_is_the_one_that_is_read(tmp_path, weights):
    folder = write(tmp_path / "m", weights)
    other = {name: array * 2 for name, array in to_huggingface(CONFIG, weights).items()}
    save_file(other, folder / "model.safetensors")
    stated = hugging_config(CONFIG, head_dim=6, rope_theta=1e6)
    (folder / "config.json").write_text(json.dumps(stated))
    checkpoint = read_checkpoint(folder)
    assert checkpoint.format.startswith("Hugging Face folder")
    said = "config.json and model.safetensors; consolidated.safetensors beside them, in Mistral's"
    assert said in checkpoint_report(checkpoint)


def damaged(folder, kind):
    if kind == "no params.json":
        (folder / "params.json").unlink()
    elif kind == "half of the files":
        (folder / "consolidated-00002-of-00002.safetensors").unlink()
    elif kind == "a tensor twice":
        first = folder / "consolidated-00001-of-00002.safetensors"
        (folder / "consolidated-00002-of-00002.safetensors").write_bytes(first.read_bytes())


DAMAGED = {
    "no params.json": "params.json: is missing; the sizes of the model are in it",
    "half of the files": "00002-of-00002.safetensors: is missing, one of 2 files",
    "a tensor twice": "which consolidated-00001-of-00002.safetensors also has",
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_what_is_missing_or_double_is_named(tmp_path, weights, kind):
    folder = write(tmp_path / "m", weights, n_files=2)
    damaged(folder, kind)
    with pytest.raises(FormatError, match=DAMAGED[kind]):
        read_checkpoint(folder)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"n_kv_heads": 3}, "wk has shape"),
        ({"vocab_size": 299}, "vocab_size is 299, the tensors have 300"),
        ({"moe": {"num_experts": 8}}, "states moe, expected a plain LLaMA"),
    ],
)
def test_sizes_that_contradict_the_tensors_are_named(tmp_path, weights, changes, sentence):
    with pytest.raises(FormatError, match=sentence):
        read_checkpoint(write(tmp_path / "m", weights, **changes))


def test_a_mixture_of_experts_is_refused_before_its_names_are(tmp_path, weights):
    folder = write(tmp_path / "m", weights, moe={"num_experts": 8, "num_experts_per_tok": 2})
    path = folder / "consolidated.safetensors"
    assert b"feed_forward.w1.weight" in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(b"feed_forward.w1.weight", b"feed_forward.0.weight"))
    with pytest.raises(FormatError, match=r"states moe, .* from GGUF and from a Hugging Face fol"):
        read_checkpoint(folder)
