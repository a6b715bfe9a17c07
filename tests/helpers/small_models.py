"""Small checkpoints with random weights, written by hand: the second, independent writers.

Nothing here uses a writer or a name table of the package. A reader that agrees with these few lines
of struct agrees with the format, not with its own twin.
"""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path

import numpy as np

from llama_edu.config import ModelConfig

#: Our name of a weight inside a layer -> Meta's.
LAYER_NAMES = {
    "wq": "attention.wq",
    "wk": "attention.wk",
    "wv": "attention.wv",
    "wo": "attention.wo",
    "w_gate": "feed_forward.w1",
    "w_down": "feed_forward.w2",
    "w_up": "feed_forward.w3",
    "attention_norm": "attention_norm",
    "ffn_norm": "ffn_norm",
}
OUTER_NAMES = {"token_embedding": "tok_embeddings", "final_norm": "norm", "output": "output"}

#: Cut by columns when a model is split; other matrices by rows, vectors not at all.
BY_COLUMNS = ("tok_embeddings", "attention.wo", "feed_forward.w2")


def small_config(**changes) -> ModelConfig:
    """Sizes that all differ: dim 24, 6 query heads of 4 on 2 key/value heads, 3 layers."""
    sizes = {
        "dim": 24, "hidden_dim": 40, "n_layers": 3, "n_heads": 6, "n_kv_heads": 2,
        "vocab_size": 271, "max_seq_len": 50, "norm_eps": 1e-5,
    }  # fmt: skip
    return ModelConfig(**(sizes | changes))


def old_config(**changes) -> ModelConfig:
    """Sizes that the formats of 2023 can express: as many key/value heads, hidden_dim by rule."""
    sizes = {
        "dim": 32, "hidden_dim": 96, "n_layers": 2, "n_heads": 4, "n_kv_heads": 4,
        "vocab_size": 300, "max_seq_len": 64, "norm_eps": 1e-6,
    }  # fmt: skip
    return ModelConfig(**(sizes | changes))


#: From which a reader finds old_config's hidden_dim: 2 * (4 * 32) // 3 = 85, rounded up to 96.
OLD_MULTIPLE_OF = 24


def random_weights(
    config: ModelConfig, rng: np.random.Generator, *, tied: bool = False
) -> dict[str, np.ndarray]:
    """Our names -> float32 whose values fit float16 exactly, so that f16 files lose nothing."""
    D, F, V = config.dim, config.hidden_dim, config.vocab_size
    Q, KV = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    layer = {
        "wq": (Q, D), "wk": (KV, D), "wv": (KV, D), "wo": (D, Q), "attention_norm": (D,),
        "w_gate": (F, D), "w_down": (D, F), "w_up": (F, D), "ffn_norm": (D,),
    }  # fmt: skip
    if config.n_experts:
        network = {kind: layer.pop(kind) for kind in ("w_gate", "w_down", "w_up")}
        layer["router"] = (config.n_experts, D)
        for e in range(config.n_experts):
            layer |= {f"experts.{e}.{kind}": shape for kind, shape in network.items()}
    shapes: dict[str, tuple[int, ...]] = {"token_embedding": (V, D), "final_norm": (D,)}
    if not tied:
        shapes["output"] = (V, D)
    for i in range(config.n_layers):
        shapes |= {f"layers.{i}.{kind}": shape for kind, shape in layer.items()}
    return {
        name: (rng.standard_normal(shape) * 0.4 + (len(shape) == 1))
        .astype(np.float16)
        .astype(np.float32)
        for name, shape in shapes.items()
    }


def names_in(folder: Path | str = ".") -> list[str]:
    """What lies in a folder, hidden files too."""
    return sorted(path.name for path in Path(folder).iterdir())


def meta_name(name: str) -> str:
    """The name of one of our weights in Meta's files."""
    if name in OUTER_NAMES:
        return OUTER_NAMES[name] + ".weight"
    _, layer, kind = name.split(".")
    return f"layers.{layer}.{LAYER_NAMES[kind]}.weight"


def shard_of(stored_name: str, array: np.ndarray, shard: int, n_shards: int) -> np.ndarray:
    """What one of several shards holds of a weight."""
    if array.ndim == 1 or n_shards == 1:
        return array
    axis = 1 if any(name in stored_name for name in BY_COLUMNS) else 0
    return np.ascontiguousarray(np.split(array, n_shards, axis=axis)[shard])


# --- vocabulary ---------------------------------------------------------------------------------

_CORPUS = [
    "Once upon a time there was a small fox who wanted to see the sea.",
    "The fox asked the owl. The owl said: go down the hill and follow the water.",
    "Mia and Tom were happy. They went home together and told their mother a story.",
    "Bär, Möwe und Füchsin: ein Märchen. Le garçon a vu la forêt.",
] * 5


def train_sentencepiece(n_pieces: int) -> bytes:
    """A sentencepiece BPE model with byte fallback and LLaMA's special ids."""
    from sentencepiece import SentencePieceTrainer

    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(_CORPUS), model_writer=model, vocab_size=n_pieces, model_type="bpe",
        byte_fallback=True, character_coverage=0.98, normalization_rule_name="identity",
        remove_extra_whitespaces=False, split_digits=True, minloglevel=2, num_threads=1,
    )  # fmt: skip
    return model.getvalue()


#: Merged pieces beside the 259 that every LLaMA vocabulary starts with; " a" and "a" lie apart.
_MERGED = [" t", "he", " the", "er", " a", "in", "é", " ", "e", "t", "a", "h", "r", "n", "i"]


def small_vocabulary(n_pieces: int = 271) -> list[tuple[bytes, float]]:
    """(piece as a 2023 file stores it, score): unknown, two empty controls, 256 bytes, merges."""
    pieces = [(" \u2047 ".encode(), 0.0), (b"", 0.0), (b"", 0.0)]
    pieces += [(bytes([byte]), 0.0) for byte in range(256)]
    merged = _MERGED + [f"{first}{second}" for first in "bcdfgjkl" for second in "vxyz"]
    pieces += [(text.encode(), -float(rank)) for rank, text in enumerate(merged)]
    return pieces[:n_pieces]


def sentencepiece_vocabulary(path: Path) -> list[tuple[bytes, float]]:
    """The same list from a tokenizer.model, as the converter of 2023 wrote it."""
    from sentencepiece import SentencePieceProcessor

    processor = SentencePieceProcessor(model_file=str(path))
    pieces = []
    for token in range(processor.vocab_size()):
        if processor.is_unknown(token):
            text = b" \xe2\x81\x87 "
        elif processor.is_control(token):
            text = b""
        elif processor.is_byte(token):
            text = bytes.fromhex(processor.id_to_piece(token)[3:-1])
        else:
            text = processor.id_to_piece(token).replace("\u2581", " ").encode()
        pieces.append((text, processor.get_score(token)))
    return pieces


def tokenizer_bin(pieces: list[tuple[bytes, float]]) -> bytes:
    """llama2.c's tokenizer.bin: byte pieces as <0x0A>, the special ones as text."""
    texts = [b"<unk>", b"\n<s>\n", b"\n</s>\n"]
    texts += [b"<0x%02X>" % byte for byte in range(256)]
    texts += [text for text, _ in pieces[259:]]
    packed = struct.pack("<I", max(map(len, texts)))
    for text, (_, score) in zip(texts, pieces, strict=True):
        packed += struct.pack("<fi", score, len(text)) + text
    return packed


# --- llama2.c -----------------------------------------------------------------------------------


def llama2c_v0(config: ModelConfig, weights: dict[str, np.ndarray]) -> bytes:
    """A version 0 file, with rotation tables of junk that nobody may read."""
    tied = "output" not in weights
    data = struct.pack(
        "<7i", config.dim, config.hidden_dim, config.n_layers, config.n_heads, config.n_kv_heads,
        config.vocab_size if tied else -config.vocab_size, config.max_seq_len,
    )  # fmt: skip
    data += weights["token_embedding"].tobytes()
    for kind in ("attention_norm", "wq", "wk", "wv", "wo", "ffn_norm", "w_gate", "w_down", "w_up"):
        for i in range(config.n_layers):
            data += weights[f"layers.{i}.{kind}"].tobytes()
    data += weights["final_norm"].tobytes()
    data += np.full(config.max_seq_len * config.head_dim, np.nan, "<f4").tobytes()
    return data if tied else data + weights["output"].tobytes()


# --- ggml, ggmf, ggjt ---------------------------------------------------------------------------


def ggml_file(
    config: ModelConfig,
    weights: dict[str, np.ndarray],
    pieces: list[tuple[bytes, float]],
    *,
    magic: bytes = b"tjgg",
    version: int = 1,
    dtype: str = "f16",
    multiple_of: int = OLD_MULTIPLE_OF,
    shard: int = 0,
    n_shards: int = 1,
) -> bytes:
    """One shard of a checkpoint in a format of 2023."""
    ftype = {"f32": 0, "f16": 1}[dtype]
    out = magic + (b"" if magic == b"lmgg" else struct.pack("<I", version))
    out += struct.pack(
        "<7i", config.vocab_size, config.dim, multiple_of, config.n_heads, config.n_layers,
        config.dim // config.n_heads, ftype,
    )  # fmt: skip
    for text, score in pieces:
        out += struct.pack("<I", len(text)) + text
        out += b"" if magic == b"lmgg" else struct.pack("<f", score)
    for name, array in weights.items():
        stored_name = meta_name(name)
        piece = shard_of(stored_name, array, shard, n_shards)
        is_f16 = dtype == "f16" and piece.ndim == 2
        out += struct.pack("<3i", piece.ndim, len(stored_name), int(is_f16))
        out += b"".join(struct.pack("<i", n) for n in piece.shape[::-1]) + stored_name.encode()
        if magic == b"tjgg":
            out += b"\0" * ((32 - len(out) % 32) % 32)
        out += piece.astype("<f2" if is_f16 else "<f4").tobytes()
    return out


def write_ggml_shards(path: Path, n_shards: int, *args, **kwargs) -> Path:
    """All shards: path, path.1, path.2 ..."""
    for shard in range(n_shards):
        target = path if shard == 0 else path.with_name(f"{path.name}.{shard}")
        target.write_bytes(ggml_file(*args, shard=shard, n_shards=n_shards, **kwargs))
    return path


# --- .pth ---------------------------------------------------------------------------------------

STORAGES = {"<f4": "FloatStorage", "<f2": "HalfStorage", "<f8": "DoubleStorage",
            "<i8": "LongStorage"}  # fmt: skip


def op_text(text: str) -> bytes:
    """BINUNICODE."""
    return b"X" + struct.pack("<I", len(text.encode())) + text.encode()


def op_int(number: int) -> bytes:
    """BININT."""
    return b"J" + struct.pack("<i", number)


def op_tensor(key: str, storage: str, numel: int, offset: int, shape, strides) -> bytes:
    """torch._utils._rebuild_tensor_v2(persistent storage, offset, shape, strides, False, {})."""
    ints = lambda numbers: b"(" + b"".join(map(op_int, numbers)) + b"t"  # noqa: E731
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(("
        + op_text("storage") + b"ctorch\n" + storage.encode() + b"\n" + op_text(key)
        + op_text("cpu") + op_int(numel) + b"tQ" + op_int(offset) + ints(shape) + ints(strides)
        + b"\x89ccollections\nOrderedDict\n)RtR"
    )  # fmt: skip


def pickle_of(arrays: dict[str, np.ndarray]) -> bytes:
    """The data.pkl of a dict of contiguous tensors, each with a storage of its own."""
    items = b""
    for key, (name, array) in enumerate(arrays.items()):
        strides = [int(np.prod(array.shape[i + 1 :])) for i in range(array.ndim)]
        storage = STORAGES[array.dtype.str]
        items += op_text(name) + op_tensor(str(key), storage, array.size, 0, array.shape, strides)
    return b"\x80\x02}(" + items + b"u."


def torch_zip(records: dict[str, bytes], *, top: str = "consolidated.00") -> bytes:
    """An uncompressed zip as torch writes it: every record's data at a multiple of 64 bytes."""
    out, directory = b"", b""
    for short_name, data in records.items():
        name = f"{top}/{short_name}".encode()
        start = len(out)
        n_padding = -(start + 30 + len(name) + 4) % 64
        extra = b"FB" + struct.pack("<H", n_padding) + b"Z" * n_padding
        # signature, version, flags, method, time, date, crc, two sizes (0 here), two lengths
        out += struct.pack(
            "<4s5H3I2H", b"PK\3\4", 0, 0x0808, 0, 0, 0, 0, 0, 0, len(name), len(extra)
        )
        out += name + extra + data
        directory += struct.pack(
            "<4s6H3I5H2I", b"PK\1\2", 0, 0, 0x0808, 0, 0, 0, 0, len(data), len(data), len(name),
            0, 0, 0, 0, 0, start,
        ) + name  # fmt: skip
    end = struct.pack(
        "<4s4H2IH", b"PK\5\6", 0, 0, len(records), len(records), len(directory), len(out), 0
    )
    return out + directory + end


def pth_file(arrays: dict[str, np.ndarray], *, top: str = "consolidated.00") -> bytes:
    """A .pth file as torch.save makes it."""
    records = {"data.pkl": pickle_of(arrays), "byteorder": b"little"}
    records |= {f"data/{key}": array.tobytes() for key, array in enumerate(arrays.values())}
    return torch_zip(records | {"version": b"3\n"}, top=top)


def legacy_pth_file(arrays: dict[str, np.ndarray]) -> bytes:
    """A .pth file as torch made it before 1.6: five pickles, then counts and numbers."""
    import pickle

    program = pickle_of(arrays).replace(b"tQ", b"NtQ")  # a sixth item: no view of another storage
    out = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
    out += pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2) + program
    out += pickle.dumps([str(key) for key in range(len(arrays))], 2)
    for array in arrays.values():
        out += struct.pack("<q", array.size) + array.tobytes()
    return out


def write_meta_folder(
    folder: Path,
    config: ModelConfig,
    weights: dict[str, np.ndarray],
    *,
    n_shards: int = 1,
    dtype: str = "<f2",
    multiple_of: int = OLD_MULTIPLE_OF,
    params: dict | None = None,
    tokenizer: Path | None = None,
) -> Path:
    """params.json, consolidated.00.pth ... and a copy of the tokenizer."""
    folder.mkdir(exist_ok=True, parents=True)
    stated = {
        "dim": config.dim, "multiple_of": multiple_of, "n_heads": config.n_heads,
        "n_layers": config.n_layers, "norm_eps": config.norm_eps, "vocab_size": -1,
        "max_seq_len": config.max_seq_len,
    }  # fmt: skip
    (folder / "params.json").write_text(json.dumps(stated | (params or {})))
    for shard in range(n_shards):
        arrays = {
            meta_name(name): shard_of(meta_name(name), array, shard, n_shards).astype(dtype)
            for name, array in weights.items()
        }
        arrays["rope.freqs"] = np.ones(config.head_dim // 2, dtype)
        (folder / f"consolidated.{shard:02d}.pth").write_bytes(
            pth_file(arrays, top=f"consolidated.{shard:02d}")
        )
    if tokenizer is not None:
        (folder / "tokenizer.model").write_bytes(tokenizer.read_bytes())
    return folder
