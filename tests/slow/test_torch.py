"""Files of torch and transformers, read by us, and ours read by them: the same numbers and logits.

transformers' LlamaForCausalLM is the most used implementation of the model; it shares no line with
ours. Everything runs in float32 on sizes that all differ.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from helpers.opened import read_pth
from helpers.small_models import old_config, random_weights, small_config, write_meta_folder

from llama_edu.bundled import bundled_checkpoint
from llama_edu.config import RopeScaling
from llama_edu.convert import convert
from llama_edu.errors import FormatError
from llama_edu.files.detect import read_checkpoint
from llama_edu.files.huggingface.folder import write_huggingface
from llama_edu.files.layout import PlannedTensor
from llama_edu.files.mapped import MappedFile
from llama_edu.files.vocabularies.detect import read_vocabulary
from llama_edu.loading import load
from llama_edu.quants.blocks import dequantize
from llama_edu.tokenizer.choice import tokenizer_of

pytestmark = [
    pytest.mark.slow,
    # what torch and transformers say about their own future is not about this project
    pytest.mark.filterwarnings("ignore:::(torch|transformers)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

TOKENS = [1, 17, 3, 130, 99, 17, 64, 2, 41, 5, 77, 23]

LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.fixture
def transformers(torch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library = pytest.importorskip("transformers")
    library.logging.set_verbosity_error()
    return library


def tiny_llama(transformers, torch, **changes):
    """A LlamaForCausalLM with random weights: 6 query heads of 8 on 2 key/value heads."""
    sizes = dict(  # noqa: C408 - reads as the call that it becomes
        hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=6,
        num_key_value_heads=2, vocab_size=131, max_position_embeddings=64, rms_norm_eps=1e-5,
        tie_word_embeddings=False, initializer_range=0.3,
    )  # fmt: skip
    torch.manual_seed(5)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**(sizes | changes))).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:  # all ones as they are made, which would hide a wrong norm
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def logits_of(torch, model, tokens) -> np.ndarray:
    with torch.no_grad():
        return model(torch.tensor([list(tokens)])).logits[0].float().numpy()


def opened_by_transformers(transformers, torch, folder: Path):
    return transformers.LlamaForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()


def assert_same_logits(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert ours.shape == theirs.shape and np.abs(theirs).max() > 0.5
    difference = float(np.abs(ours - theirs).max())
    print(
        f"largest difference of a logit {difference:.2e}, largest logit {np.abs(theirs).max():.2f}"
    )
    assert difference < 1e-4


# --- folders that transformers writes -----------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tie_word_embeddings": True},
        {"head_dim": 12, "num_key_value_heads": 3},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.5}},
        {"rope_parameters": {**LLAMA3, "rope_theta": 5e5}},
    ],
    ids=["grouped heads", "tied output", "own head_dim", "theta", "linear", "llama3"],
)
def test_a_sharded_folder_of_transformers_gives_its_logits(tmp_path, torch, transformers, changes):
    model = tiny_llama(transformers, torch, **changes)
    model.save_pretrained(tmp_path, max_shard_size="60KB")
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 2 and (tmp_path / "model.safetensors.index.json").is_file()
    with load(tmp_path) as llama:
        assert len(llama.checkpoint.paths) == len(shards) and llama.loading.copied_bytes == 0
        assert_same_logits(llama.logits(TOKENS), logits_of(torch, model, TOKENS))


def test_long_wavelengths_are_really_stretched(torch, transformers):
    """The llama3 case above would prove little if its scaling changed nothing."""
    plain = tiny_llama(transformers, torch, rope_parameters={"rope_type": "default",
                                                             "rope_theta": 5e5})  # fmt: skip
    scaled = tiny_llama(transformers, torch, rope_parameters={**LLAMA3, "rope_theta": 5e5})
    difference = logits_of(torch, plain, TOKENS) - logits_of(torch, scaled, TOKENS)
    assert np.abs(difference).max() > 0.01


@pytest.mark.parametrize("n_files", [1, 3])
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "before 1.6"])
def test_pytorch_model_bin_gives_the_logits_of_transformers(
    tmp_path, torch, transformers, n_files, legacy
):
    model = tiny_llama(transformers, torch)
    model.config.save_pretrained(tmp_path)
    state = model.state_dict()
    names = sorted(state)
    weight_map = {}
    for part in range(n_files):
        chosen = {name: state[name] for name in names[part::n_files]}
        file = "pytorch_model.bin"
        if n_files > 1:
            file = f"pytorch_model-{part + 1:05d}-of-{n_files:05d}.bin"
        torch.save(chosen, tmp_path / file, _use_new_zipfile_serialization=not legacy)
        weight_map |= dict.fromkeys(chosen, file)
    if n_files > 1:
        index = {"metadata": {}, "weight_map": weight_map}
        (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    with load(tmp_path) as llama:
        assert "pytorch_model.bin" in llama.checkpoint.format
        assert_same_logits(llama.logits(TOKENS), logits_of(torch, model, TOKENS))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_folders_mean_what_transformers_reads_from_them(
    tmp_path, torch, transformers, dtype
):
    tiny_llama(transformers, torch).to(getattr(torch, dtype)).save_pretrained(tmp_path)
    model = opened_by_transformers(transformers, torch, tmp_path)
    with load(tmp_path) as llama:
        assert llama.checkpoint.tensors["layers.0.wq"].type == {"bfloat16": "bf16"}.get(
            dtype, "f16"
        )
        assert_same_logits(llama.logits(TOKENS), logits_of(torch, model, TOKENS))


def test_a_folder_of_transformers_becomes_a_gguf_with_the_same_logits(
    tmp_path, torch, transformers, sentencepiece_model
):
    model = tiny_llama(
        transformers, torch, vocab_size=300, rope_parameters={**LLAMA3, "rope_theta": 5e5}
    )
    model.save_pretrained(tmp_path / "folder")
    gguf = tmp_path / "model.gguf"
    convert(tmp_path / "folder", gguf, to="gguf", type="f32", tokenizer=sentencepiece_model)
    with load(gguf) as llama:
        assert llama.config.rope_pairing == "interleaved"
        assert_same_logits(llama.logits(TOKENS), logits_of(torch, model, TOKENS))


# --- folders that we write ----------------------------------------------------------------------


def test_the_bundled_model_gives_the_same_logits_in_transformers(tmp_path, torch, transformers):
    source = bundled_checkpoint()
    convert(source, tmp_path / "folder", to="safetensors", type="f32")
    model = opened_by_transformers(transformers, torch, tmp_path / "folder")
    with load(source) as llama:
        tokens = llama.tokenizer.encode("Once upon a time there was a small fox.")
        ours = llama.logits(tokens)
    assert_same_logits(ours, logits_of(torch, model, tokens))


@pytest.mark.parametrize("tied", [False, True], ids=["own output", "tied output"])
@pytest.mark.parametrize(
    "scaling",
    [None, RopeScaling("linear", 3.0), RopeScaling("llama3", 8.0, 1.0, 4.0, 32)],
    ids=["plain", "linear", "llama3"],
)
def test_a_folder_that_we_write_opens_in_transformers(
    tmp_path, rng, torch, transformers, scaling, tied
):
    config = small_config(rope_scaling=scaling, rope_theta=5e4)
    weights = random_weights(config, rng, tied=tied)
    planned = [PlannedTensor(name, "f32", array.shape) for name, array in weights.items()]
    write_huggingface(tmp_path / "folder", config, planned, lambda t: weights[t.name])
    model = opened_by_transformers(transformers, torch, tmp_path / "folder")
    with load(tmp_path / "folder") as llama:
        assert_same_logits(llama.logits(TOKENS), logits_of(torch, model, TOKENS))


def test_a_bf16_folder_that_we_write_opens_in_transformers(tmp_path, rng, torch, transformers):
    config = old_config(max_seq_len=77)
    meta = write_meta_folder(tmp_path / "meta", config, random_weights(config, rng))
    convert(meta, tmp_path / "folder", to="safetensors", type="bf16")
    assert (
        json.loads((tmp_path / "folder" / "config.json").read_text())["torch_dtype"] == "bfloat16"
    )
    model = opened_by_transformers(transformers, torch, tmp_path / "folder")
    with load(tmp_path / "folder") as llama:
        assert_same_logits(llama.logits(TOKENS), logits_of(torch, model, TOKENS))


# --- .pth ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "before 1.6"])
def test_every_tensor_that_torch_saved_is_what_torch_loads(tmp_path, torch, legacy):
    generator = torch.Generator().manual_seed(7)
    base = torch.randn(12, 20, generator=generator)
    saved = {
        "plain": base,
        "half": base.half(),
        "brain": base.bfloat16(),
        "double": base.double(),
        "transposed": base.T,
        "every second column": base[:, ::2],
        "rows in the middle": base[3:7],
        "vector": base[2],
        "scalar": base[0, 0],
        "empty": torch.zeros(0, 5),
        "parameter": torch.nn.Parameter(base.clone() + 1),
        "transposed brain": base.bfloat16().T,
        "of another storage": torch.arange(24.0).reshape(2, 3, 4).permute(2, 0, 1),
    }
    path = tmp_path / "tensors.pth"
    torch.save(saved, path, _use_new_zipfile_serialization=not legacy)
    loaded = torch.load(path, weights_only=True)
    found = read_pth(path).tensors
    assert list(found) == list(saved)
    with MappedFile(path) as file:
        for name, tensor in loaded.items():
            view = file.view(found[name])
            assert not view.flags.owndata and found[name].shape == tuple(tensor.shape)
            expected = np.atleast_1d(tensor.detach().float().numpy())
            np.testing.assert_array_equal(dequantize(np.atleast_1d(view)), expected)
        shared = {found[name].offset for name in ("plain", "transposed", "every second column")}
        assert len(shared) == 1  # three names, one storage
        del view


def test_a_tensor_that_repeats_its_numbers_is_refused_in_words(tmp_path, torch):
    torch.save({"same": torch.ones(1, 1).expand(4, 5)}, tmp_path / "tensors.pth")
    with pytest.raises(FormatError, match=r"same of shape \(4, 5\) repeats its 4 bytes"):
        read_pth(tmp_path / "tensors.pth")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_a_meta_checkpoint_saved_by_torch_gives_its_numbers(tmp_path, torch, dtype):
    config = old_config(max_seq_len=77)
    weights = random_weights(config, np.random.default_rng(2))
    folder = write_meta_folder(tmp_path / "meta", config, weights)
    path = folder / "consolidated.00.pth"
    with load(folder) as llama:
        expected = llama.logits(TOKENS)
    state = {name: t.to(getattr(torch, dtype)) for name, t in torch.load(path).items()}
    torch.save(state, path)
    with load(folder) as llama:
        ours = llama.logits(TOKENS)
    if dtype == "bfloat16":  # these weights fit float16 exactly, and bfloat16 not
        assert 0 < np.abs(ours - expected).max() < 0.2 * np.abs(expected).max()
    else:  # float32 goes to BLAS the other way round, and so adds up in another order
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-4)
    for name, spec in read_checkpoint(folder).tensors.items():
        with MappedFile(path) as file:
            numbers = dequantize(file.view(spec))
        assert spec.type == {"float16": "f16", "bfloat16": "bf16", "float32": "f32"}[dtype]
        theirs = torch.tensor(weights[name]).to(getattr(torch, dtype)).float().numpy()
        np.testing.assert_array_equal(numbers, theirs)


# --- vocabularies -------------------------------------------------------------------------------

TEXTS = [
    "Once upon a time", "two  spaces and   three", "", "a\nb\n\n c\t", "M\u00f6we und 3 33 333",
    "\U0001f999", "the fox asked the owl", "it's 9.5% of   it ...",
]  # fmt: skip


def test_tokenizer_json_made_by_transformers_gives_the_ids_of_its_library(
    tmp_path, transformers, sentencepiece_model
):
    (tmp_path / "tokenizer.model").write_bytes(sentencepiece_model.read_bytes())
    theirs = transformers.LlamaTokenizer.from_pretrained(tmp_path)
    theirs.save_pretrained(tmp_path / "saved")
    vocabulary = read_vocabulary(tmp_path / "saved" / "tokenizer.json")
    assert (vocabulary.model, vocabulary.bos_id, vocabulary.eos_id) == ("spm", 1, 2)
    ours = tokenizer_of(vocabulary)
    for text in TEXTS:  # none begins with a space: Metaspace would add none, sentencepiece does
        expected = theirs.encode(text, add_special_tokens=False)
        assert ours.encode(text, bos=False) == expected, text


def merges_by_score(vocabulary: dict[str, int], scores: list[float]) -> list[tuple[str, str]]:
    """Every way to put a piece together of two, the piece with the highest score first."""
    ways = [
        (-scores[token], vocabulary[text[:i]], vocabulary[text[i:]], text[:i], text[i:])
        for text, token in vocabulary.items()
        for i in range(1, len(text))
        if text[:i] in vocabulary and text[i:] in vocabulary
    ]
    return [(left, right) for *_, left, right in sorted(ways)]


def test_sentencepiece_written_as_merges_gives_the_ids_of_sentencepiece(
    tmp_path, sentencepiece_model
):
    """The form of Llama 2's own tokenizer.json: a normalizer puts the space in front."""
    library = pytest.importorskip("tokenizers")
    from sentencepiece import SentencePieceProcessor

    processor = SentencePieceProcessor(model_file=str(sentencepiece_model))
    n = processor.vocab_size()
    pieces = {processor.id_to_piece(i): i for i in range(n)}
    merges = merges_by_score(pieces, [processor.get_score(i) for i in range(n)])
    tokenizer = library.Tokenizer(
        library.models.BPE(pieces, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = library.normalizers.Sequence(
        [library.normalizers.Prepend("\u2581"), library.normalizers.Replace(" ", "\u2581")]
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    ours = tokenizer_of(read_vocabulary(path))
    for text in [*TEXTS, " the fox", "  two in front", " "]:
        expected = processor.encode(text)
        assert ours.encode(text, bos=False) == tokenizer.encode(text).ids == expected, text
