"""GGUF written by the letter, in any version and byte order, whatever it is told to say."""

from __future__ import annotations

import struct
from dataclasses import dataclass

TYPE = {
    "u8": 0, "i8": 1, "u16": 2, "i16": 3, "u32": 4, "i32": 5, "f32": 6, "bool": 7, "string": 8,
    "array": 9, "u64": 10, "i64": 11, "f64": 12,
}  # fmt: skip
LETTER = {
    "u8": "B", "i8": "b", "u16": "H", "i16": "h", "u32": "I", "i32": "i", "f32": "f", "bool": "?",
    "u64": "Q", "i64": "q", "f64": "d",
}  # fmt: skip


@dataclass(frozen=True)
class Gguf:
    """Packs the parts of a file in one byte order and version."""

    order: str = "<"
    version: int = 3

    def number(self, kind: str, value) -> bytes:
        return struct.pack(self.order + LETTER[kind], value)

    def count(self, value: int) -> bytes:
        return self.number("u32" if self.version == 1 else "u64", value)

    def string(self, text: str | bytes) -> bytes:
        raw = text.encode() if isinstance(text, str) else text
        return self.count(len(raw)) + raw

    def kv(self, key: str | bytes, kind: str, value) -> bytes:
        head = self.string(key) + self.number("u32", TYPE[kind])
        return head + (self.string(value) if kind == "string" else self.number(kind, value))

    def array(self, key: str, kind: str, values) -> bytes:
        head = self.string(key) + self.number("u32", TYPE["array"]) + self.number("u32", TYPE[kind])
        write = self.string if kind == "string" else lambda v: self.number(kind, v)
        return head + self.count(len(values)) + b"".join(map(write, values))

    def info(self, name: str, dims, type_id: int = 0, offset: int = 0, n_dims=None) -> bytes:
        head = self.string(name) + self.number("u32", len(dims) if n_dims is None else n_dims)
        return (
            head
            + b"".join(map(self.count, dims))
            + self.number("u32", type_id)
            + self.number("u64", offset)
        )

    def file(self, kvs, infos=(), data=b"", *, alignment=32, n_kv=None, n_tensors=None) -> bytes:
        counts = (
            self.number("u32", self.version)
            + self.count(len(infos) if n_tensors is None else n_tensors)
            + self.count(len(kvs) if n_kv is None else n_kv)
        )
        head = b"GGUF" + counts + b"".join(kvs) + b"".join(infos)
        if infos:
            head += bytes(-len(head) % alignment)
        return head + data


# a LLaMA whose sizes all differ: dim 12, hidden 20, 2 layers, 3 query heads of 4, 1 key/value head
SIZES = {
    "dim": 12, "hidden_dim": 20, "n_layers": 2, "n_heads": 3, "n_kv_heads": 1, "vocab_size": 7,
    "max_seq_len": 9,
}  # fmt: skip
TOKENS = ["<unk>", "<s>", "</s>", "<0x0A>", "\u2581a", "b", "\u2581ab"]
SCORES = [0.0, 0.0, 0.0, 0.0, -1.0, -2.0, -3.0]
KINDS = [2, 3, 3, 6, 1, 1, 1]


def gguf_shapes(*, tied: bool = False) -> dict[str, tuple[int, ...]]:
    """GGUF names and shapes (outermost first) of that model, written out by hand."""
    shapes: dict[str, tuple[int, ...]] = {"token_embd": (7, 12), "output_norm": (12,)}
    if not tied:
        shapes["output"] = (7, 12)
    for i in range(2):
        shapes |= {
            f"blk.{i}.attn_q": (12, 12), f"blk.{i}.attn_k": (4, 12), f"blk.{i}.attn_v": (4, 12),
            f"blk.{i}.attn_output": (12, 12), f"blk.{i}.ffn_gate": (20, 12),
            f"blk.{i}.ffn_down": (12, 20), f"blk.{i}.ffn_up": (20, 12),
            f"blk.{i}.attn_norm": (12,), f"blk.{i}.ffn_norm": (12,),
        }  # fmt: skip
    return {f"{name}.weight": shape for name, shape in shapes.items()}


def gguf_keys(g: Gguf, **changes: bytes | None) -> list[bytes]:
    """The keys of that model; a change replaces its key (dots spelled __), None drops it."""
    keys = {
        "general.architecture": g.kv("general.architecture", "string", "llama"),
        "llama.context_length": g.kv("llama.context_length", "u32", 9),
        "llama.embedding_length": g.kv("llama.embedding_length", "u32", 12),
        "llama.block_count": g.kv("llama.block_count", "u32", 2),
        "llama.feed_forward_length": g.kv("llama.feed_forward_length", "u32", 20),
        "llama.attention.head_count": g.kv("llama.attention.head_count", "u32", 3),
        "llama.attention.head_count_kv": g.kv("llama.attention.head_count_kv", "u32", 1),
        "llama.attention.layer_norm_rms_epsilon": g.kv(
            "llama.attention.layer_norm_rms_epsilon", "f32", 1e-5
        ),
        "tokenizer.ggml.model": g.kv("tokenizer.ggml.model", "string", "llama"),
        "tokenizer.ggml.tokens": g.array("tokenizer.ggml.tokens", "string", TOKENS),
        "tokenizer.ggml.scores": g.array("tokenizer.ggml.scores", "f32", SCORES),
        "tokenizer.ggml.token_type": g.array("tokenizer.ggml.token_type", "i32", KINDS),
    }
    for name, value in changes.items():
        key = name.replace("__", ".")
        keys[key] = value
    return [value for value in keys.values() if value is not None]


def gguf_bytes(
    g: Gguf | None = None, *, alignment: int = 32, tied: bool = False, infos=None, extra_infos=(),
    keys: list[bytes] | None = None, **changes: bytes | None,
) -> bytes:  # fmt: skip
    """That model as a whole GGUF file; weight number n of the file is the float n."""
    g = g or Gguf()
    if alignment != 32:
        changes["general__alignment"] = g.kv("general.alignment", "u32", alignment)
    made, data, n = [], b"", 0
    for name, shape in gguf_shapes(tied=tied).items():
        elements = shape[0] * (shape[1] if len(shape) > 1 else 1)
        made.append(g.info(name, shape[::-1], 0, len(data)))
        data += struct.pack(f"{g.order}{elements}f", *range(n, n + elements))
        data += bytes(-len(data) % alignment)
        n += elements
    if infos is not None:
        made = infos
    return g.file(
        gguf_keys(g, **changes) if keys is None else keys,
        [*made, *extra_infos], data, alignment=alignment,
    )  # fmt: skip
