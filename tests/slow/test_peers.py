"""Our files in llama.cpp, gguf-py and safetensors: they open, and say and score the same.

The bundled model is written once in every type. llama.cpp runs through llama-cpp-python (the extra
`peers`, which compiles it).
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers.small_models import random_weights, small_config

from llama_edu.bundled import bundled_checkpoint
from llama_edu.config import RopeScaling
from llama_edu.convert import convert
from llama_edu.convert.planning import TYPES
from llama_edu.files.detect import read_checkpoint
from llama_edu.files.gguf.writer import write_gguf
from llama_edu.files.layout import PlannedTensor
from llama_edu.files.mapped import MappedFile
from llama_edu.files.names import from_ours
from llama_edu.files.vocabularies.byte_level import PRE_TOKENIZERS
from llama_edu.files.vocabularies.detect import read_vocabulary
from llama_edu.loading import load
from llama_edu.quality.losses import token_nats
from llama_edu.quality.windows import windows_of
from llama_edu.quants.blocks import dequantize
from llama_edu.transformer.sampling import GREEDY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

STORED_TYPES = [name for name in TYPES if name != "keep"]

#: Positions of a window, BOS included.
CONTEXT = 128

PROMPTS = ["Once upon a time", "The owl said", "Tom and Mia went down to the sea, and there"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Type -> a GGUF file of the bundled model with matrices of this type."""
    folder = tmp_path_factory.mktemp("types")
    paths = {name: folder / f"{name}.gguf" for name in STORED_TYPES}
    for name, path in paths.items():
        convert(bundled_checkpoint(), path, to="gguf", type=name)
    yield paths
    for path in paths.values():
        path.unlink()


@pytest.fixture(scope="module")
def text():
    """About 600 tokens of text that the model writes itself, drawn with fixed seeds."""
    with load(bundled_checkpoint()) as llama:
        return "\n".join(
            "".join(llama.generate(prompt, 150, temperature=1.0, seed=seed))
            for seed, prompt in enumerate(["", *PROMPTS])
        )


def in_llama_cpp(path):
    """The file in llama.cpp, without its own shortcuts: exact caches, every position scored."""
    llama_cpp = pytest.importorskip("llama_cpp")
    return llama_cpp.Llama(
        str(path), n_ctx=512, n_batch=512, n_threads=1, n_threads_batch=1, n_gpu_layers=0,
        logits_all=True, verbose=False, type_k=0, type_v=0, flash_attn=False,
    )  # fmt: skip


def scores_of(peer, tokens: list[int]) -> np.ndarray:
    """(T, vocab_size) float64 logits of a text from its beginning."""
    peer.reset()
    peer.eval(tokens)
    return np.array(peer.scores[: len(tokens)], np.float64)


@pytest.mark.parametrize("name", STORED_TYPES)
def test_llama_cpp_opens_every_type_and_cuts_text_alike(files, name):
    peer = in_llama_cpp(files[name])
    with load(files[name]) as llama:
        assert (peer.n_vocab(), peer.n_embd()) == (llama.config.vocab_size, llama.config.dim)
        assert int(peer.metadata["llama.context_length"]) == llama.config.max_seq_len
        assert (peer.token_bos(), peer.token_eos()) == (1, 2)
        for text in [*PROMPTS, "", " two  spaces\n\tM\u00f6we \U0001f999 3.14"]:
            assert peer.tokenize(text.encode()) == llama.tokenizer.encode(text)
    peer.close()


@pytest.mark.parametrize("name", ["f32", "f16"])
def test_greedy_text_of_64_tokens_is_that_of_llama_cpp(files, name):
    peer = in_llama_cpp(files[name])
    with load(files[name]) as llama:
        for prompt in PROMPTS:
            tokens = llama.tokenizer.encode(prompt)
            generation = llama.generate_tokens(tokens, 64, GREEDY)
            ours = [token.id for token in generation]
            peer.reset()
            peer.eval(tokens)
            theirs: list[int] = []
            while len(theirs) < 64:
                theirs.append(int(np.argmax(peer.scores[peer.n_tokens - 1])))
                if theirs[-1] in (llama.tokenizer.bos_id, llama.tokenizer.eos_id):
                    theirs.pop()
                    break
                peer.eval(theirs[-1:])
            assert ours == theirs and len(ours) > 10
    peer.close()


@pytest.mark.parametrize("name", STORED_TYPES)
def test_perplexity_of_every_type_is_within_a_percent_of_llama_cpps(files, text, name):
    peer = in_llama_cpp(files[name])
    with load(files[name], arithmetic="float32") as llama:
        tokens = llama.tokenizer.encode(text, bos=False)
        assert len(tokens) > 3 * CONTEXT
        windows = windows_of(tokens, llama.tokenizer.bos_id, CONTEXT)
        ours = token_nats(llama.model, [window.ids for window in windows])
    nats = n_scored = 0
    for start in range(0, len(tokens), CONTEXT - 1):
        window = [peer.token_bos(), *tokens[start : start + CONTEXT - 1]]
        scores = scores_of(peer, window)[:-1]
        scores -= scores.max(axis=1, keepdims=True)
        chosen = scores[np.arange(len(scores)), window[1:]]
        nats += float((np.log(np.exp(scores).sum(axis=1)) - chosen).sum())
        n_scored += len(scores)
    peer.close()
    theirs = math.exp(nats / n_scored)
    print(f"{name}: perplexity {math.exp(ours.mean()):.4f}, llama.cpp {theirs:.4f}, "
          f"ratio {math.exp(ours.mean()) / theirs:.5f}")  # fmt: skip
    assert n_scored == len(ours)
    assert abs(math.exp(ours.mean()) / theirs - 1) < 0.01


def test_float32_logits_are_those_of_llama_cpp(files, text):
    peer = in_llama_cpp(files["f32"])
    with load(files["f32"]) as llama:
        tokens = llama.tokenizer.encode(text)[:CONTEXT]
        ours = llama.logits(tokens)
    theirs = scores_of(peer, tokens)
    peer.close()
    difference = float(np.abs(ours - theirs).max())
    print(f"largest difference {difference:.2e}, largest logit {np.abs(theirs).max():.2f}")
    assert np.abs(theirs).max() > 1 and difference < 1e-3


@pytest.mark.parametrize("name", STORED_TYPES)
def test_gguf_py_reads_every_type_as_we_do(files, name):
    gguf = pytest.importorskip("gguf")
    reader = gguf.GGUFReader(files[name])
    found = {tensor.name: tensor for tensor in reader.tensors}
    checkpoint = read_checkpoint(files[name])
    with MappedFile(files[name]) as file:
        for tensor, spec in checkpoint.tensors.items():
            theirs = found.pop(from_ours(tensor, "gguf"))
            assert theirs.tensor_type.name.lower() == spec.type
            assert theirs.shape.tolist() == list(reversed(spec.shape))
            assert theirs.data_offset == spec.offset and theirs.n_bytes == spec.n_bytes
            numbers = gguf.quants.dequantize(theirs.data, theirs.tensor_type).reshape(spec.shape)
            np.testing.assert_array_equal(dequantize(file.view(spec)), numbers)
    assert found == {}
    file_type = reader.fields["general.file_type"].contents()
    # q3_k, q4_k and q5_k have no number of their own; llama.cpp, too, takes that of the mixture
    allowed = ("ALL_{}", "MOSTLY_{}", "MOSTLY_{}_M")
    assert gguf.LlamaFileType(file_type).name in {s.format(name.upper()) for s in allowed}
    assert reader.fields["general.architecture"].contents() == "llama"
    assert reader.fields["tokenizer.ggml.tokens"].contents()[:3] == ["<unk>", "<s>", "</s>"]


@pytest.mark.parametrize("name", ["f32", "f16"])
def test_the_safetensors_library_reads_what_we_write(tmp_path, name):
    library = pytest.importorskip("safetensors")
    path = tmp_path / "model.safetensors"
    convert(bundled_checkpoint(), path, to="safetensors", type=name)
    checkpoint = read_checkpoint(path)
    with library.safe_open(path, framework="numpy") as theirs, MappedFile(path) as file:
        assert len(theirs.keys()) == len(checkpoint.tensors)
        for tensor, spec in checkpoint.tensors.items():
            array = theirs.get_tensor(from_ours(tensor, "huggingface"))
            assert array.dtype == {"f32": np.float32, "f16": np.float16}[spec.type]
            np.testing.assert_array_equal(array, file.view(spec))


@pytest.mark.parametrize("tied", [False, True], ids=["own output", "tied output"])
@pytest.mark.parametrize(
    "scaling",
    [None, RopeScaling("linear", 3.0), RopeScaling("llama3", 8.0, 1.0, 4.0, 32)],
    ids=["plain", "linear", "llama3"],
)
def test_grouped_heads_and_stretched_rotations_are_understood_by_llama_cpp(
    tmp_path, rng, sentencepiece_model, scaling, tied
):
    config = small_config(
        dim=96, hidden_dim=160, vocab_size=300, rope_scaling=scaling, rope_theta=5e4
    )
    weights = random_weights(config, rng, tied=tied)
    planned = [PlannedTensor(name, "f32", array.shape) for name, array in weights.items()]
    path = tmp_path / "model.gguf"
    with path.open("wb") as file:
        vocabulary = read_vocabulary(sentencepiece_model)
        write_gguf(file, config, vocabulary, planned, lambda tensor: weights[tensor.name])
    tokens = [1, *rng.integers(3, 300, 40).tolist()]
    peer = in_llama_cpp(path)
    theirs = scores_of(peer, tokens)
    peer.close()
    with load(path) as llama:
        ours = llama.logits(tokens)
    scale = np.abs(theirs).max()
    print(f"largest difference {np.abs(ours - theirs).max():.2e}, largest logit {scale:.2f}")
    assert scale > 1 and np.abs(ours - theirs).max() < 1e-3


@pytest.mark.parametrize("name", ["llama-bpe", "gpt-2", "qwen2", "smollm"])
def test_byte_level_vocabularies_are_cut_alike_by_llama_cpp(tmp_path, rng, name):
    library = pytest.importorskip("tokenizers")
    tokenizer = library.Tokenizer(library.models.BPE())
    pre = library.pre_tokenizers
    cuts = [pre.Split(library.Regex(p), behavior="isolated") for p in PRE_TOKENIZERS[name]]
    to_bytes = pre.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre.Sequence([*cuts, to_bytes])
    trainer = library.trainers.BpeTrainer(
        vocab_size=340, special_tokens=["<|begin|>", "<|end|>"], show_progress=False,
        initial_alphabet=pre.ByteLevel.alphabet(),
    )  # fmt: skip
    texts = [
        *PROMPTS,
        "It's 12345 and 3.14;  it'LL do\n\n\tnext: \u65e5\u672c M\u00f6we \U0001f999",
    ]
    tokenizer.train_from_iterator(texts * 3, trainer)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    ends = '{"bos_token_id": 0, "eos_token_id": 1}'
    (tmp_path / "config.json").write_text(ends)
    vocabulary = read_vocabulary(tmp_path / "tokenizer.json")
    assert vocabulary.pre_tokenizer == name
    config = small_config(dim=96, hidden_dim=160, vocab_size=len(vocabulary))
    weights = random_weights(config, rng)
    planned = [PlannedTensor(n, "f32", array.shape) for n, array in weights.items()]
    path = tmp_path / "model.gguf"
    with path.open("wb") as file:
        write_gguf(file, config, vocabulary, planned, lambda tensor: weights[tensor.name])
    peer = in_llama_cpp(path)
    with load(path) as llama:
        for text in [*texts, " a  b", "1 22 333 4444", "we'Ll\r\n \n"]:
            ours = llama.tokenizer.encode(text, bos=False)
            assert ours == tokenizer.encode(text, add_special_tokens=False).ids, text
            assert ours == peer.tokenize(text.encode(), add_bos=False), text
    peer.close()
