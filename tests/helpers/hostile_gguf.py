"""Malformed GGUF files: the CVEs of its readers, and the cases of llama.cpp's test-gguf.cpp."""

from __future__ import annotations

import struct
from collections.abc import Callable

from helpers.gguf_by_hand import TOKENS, TYPE, Gguf, gguf_bytes, gguf_shapes
from helpers.hostile import Case, file_case, sparse_case


def _gguf(name: str, says: str, make: Callable[[], bytes]) -> Case:
    return file_case(name, says, make, ".gguf")


G = Gguf()
BIG = 2**63
A_KEY = G.kv("a", "u8", 1)


def _one(info: bytes, data: bytes = bytes(64), keys=()) -> bytes:
    return G.file([*keys], [info], data)


def _string_count(count: int) -> bytes:
    return (
        G.string("t")
        + G.number("u32", 9)
        + G.number("u32", TYPE["string"])
        + G.number("u64", count)
    )


GGUF_CASES = [
    _gguf("magic alone", "version at byte 4 needs 4 bytes", lambda: b"GGUF"),
    _gguf("bad magic", "expected b'GGUF'", lambda: b"GGUG" + bytes(60)),
    _gguf("version 0", "GGUF version 0, expected 1, 2 or 3", lambda: Gguf(version=0).file([])),
    _gguf("version 4", "GGUF version 4, expected 1, 2 or 3", lambda: Gguf(version=4).file([])),
    _gguf(
        "version 1 with the counts of version 3",
        "n_kv|n_tensors|general.architecture",
        lambda: b"GGUF" + struct.pack("<IQQ", 1, 0, 0),
    ),
    _gguf("n_tensors -1", "n_tensors is 18,446,744,073", lambda: G.file([], n_tensors=2**64 - 1)),
    _gguf("n_kv -1", "n_kv is 18,446,744,073", lambda: G.file([], n_kv=2**64 - 1)),
    _gguf("n_kv above what fits", "n_kv is 7", lambda: G.file([A_KEY], n_kv=7)),
    _gguf("no keys", "key general.architecture is missing", lambda: G.file([])),
    _gguf(
        "key length beyond the file",
        "needs 9,223,372,036,854,775,808 bytes",
        lambda: G.file([G.number("u64", BIG) + bytes(32)]),
    ),
    _gguf(
        "key of 70,000 bytes",
        "has 70,000 bytes, expected at most 65,535",
        lambda: G.file([G.kv("k" * 70_000, "u8", 1)]),
    ),
    _gguf("empty key", "key '' is empty", lambda: G.file([G.kv("", "u8", 1) + bytes(9)])),
    _gguf("key twice", "key 'a' occurs twice", lambda: G.file([A_KEY, A_KEY + bytes(9)])),
    _gguf(
        "value type 13",
        "value type 13",
        lambda: G.file([G.string("a") + G.number("u32", 13) + bytes(9)]),
    ),
    _gguf(
        "bool of 2",
        "is 2, expected 0 or 1",
        lambda: G.file([G.string("a") + G.number("u32", 7) + b"\x02" + bytes(9)]),
    ),
    _gguf(
        "string longer than the file",
        "needs 4,611,686,018,427,387,904 bytes",
        lambda: G.file([G.string("a") + G.number("u32", 8) + G.number("u64", 2**62) + b"xy"]),
    ),
    _gguf(
        "43 bytes, array of 2**63 numbers",
        "count is 9,223,372,036,854,775,808",
        lambda: G.file(
            [G.string("ab") + G.number("u32", 9) + G.number("u32", 0) + G.number("u64", BIG)]
        ),
    ),
    _gguf(
        "array whose bytes wrap to 0",
        "count is 4,611,686,018,427,387,904",
        lambda: G.file(
            [G.string("a") + G.number("u32", 9) + G.number("u32", 4) + G.number("u64", 2**62)]
        ),
    ),
    _gguf(
        "array of 2**63 strings", "string count is 9,223,372", lambda: G.file([_string_count(BIG)])
    ),
    _gguf(
        "string in an array beyond the file",
        "string 1 has a length of 1,000 bytes",
        lambda: G.file([_string_count(2) + G.string("x") + G.number("u64", 1000) + b"xyz"]),
    ),
    _gguf(
        "array of arrays",
        "array of arrays",
        lambda: G.file(
            [G.string("a") + G.number("u32", 9) + (G.number("u32", 9) + G.number("u64", 1)) * 5]
        ),
    ),
    _gguf(
        "alignment 0",
        "general.alignment is 0",
        lambda: G.file([G.kv("general.alignment", "u32", 0)]),
    ),
    _gguf(
        "alignment 13",
        "general.alignment is 13",
        lambda: G.file([G.kv("general.alignment", "u32", 13)]),
    ),
    _gguf(
        "alignment 2 MiB",
        "general.alignment is 2,097,152",
        lambda: G.file([G.kv("general.alignment", "u32", 2**21)]),
    ),
    _gguf(
        "alignment as u64",
        "general.alignment is of type u64, expected u32",
        lambda: G.file([G.kv("general.alignment", "u64", 32)]),
    ),
    _gguf(
        "alignment as text",
        "general.alignment is of type string",
        lambda: G.file([G.kv("general.alignment", "string", "32")]),
    ),
    _gguf(
        "tensor name of 64",
        "has 64 bytes, expected at most 63",
        lambda: _one(G.info("n" * 64, (4,))),
    ),
    _gguf(
        "terminal escapes in a tensor name",
        r"the name 't\\x1b\[2J' has characters that cannot be printed",
        lambda: _one(G.info("t\x1b[2J", (4,))),
    ),
    _gguf(
        "a line break in a key",
        r"the name 'a\\nb' has characters that cannot be printed",
        lambda: G.file([G.kv("a\nb", "u8", 1) + bytes(9)]),
    ),
    _gguf("empty tensor name", "empty name", lambda: _one(G.info("", (4,)))),
    _gguf("0 dimensions", "has 0 dimensions", lambda: _one(G.info("t", ()))),
    _gguf("5 dimensions", "has 5 dimensions", lambda: _one(G.info("t", (1, 1, 1, 1, 1)))),
    _gguf(
        "2**31 dimensions",
        "has 2,147,483,648 dimensions",
        lambda: _one(G.info("t", (4,), n_dims=2**31)),
    ),
    _gguf("type 4 (removed)", "type number 4", lambda: _one(G.info("t", (4,), 4))),
    _gguf("type 2**32 - 1", "type number 4294967295", lambda: _one(G.info("t", (4,), 2**32 - 1))),
    _gguf(
        "row no whole number of blocks", "rows of 33 numbers", lambda: _one(G.info("t", (33, 2), 2))
    ),
    _gguf(
        "elements wrap to 4",
        "tensor t ends at byte",
        lambda: _one(G.info("t", (4194305, 4194305, 211106198978564))),
    ),
    _gguf("bytes wrap to 0", "tensor t ends at byte", lambda: _one(G.info("t", (2**62, 4)))),
    _gguf("2**64 - 1 numbers", "tensor t ends at byte", lambda: _one(G.info("t", (2**64 - 1,), 1))),
    _gguf(
        "offset 1", "has offset 1, expected a multiple of 32", lambda: _one(G.info("t", (4,), 0, 1))
    ),
    _gguf(
        "offset near 2**64",
        "has offset 18,446,744,073,709,551,584",
        lambda: _one(G.info("t", (4,), 0, 2**64 - 32)),
    ),
    _gguf("tensor beyond the end", "tensor t ends at byte", lambda: _one(G.info("t", (17,)))),
    _gguf(
        "name twice",
        "tensor t occurs twice",
        lambda: G.file([], [G.info("t", (4,)), G.info("t", (4,), 0, 32)], bytes(64)),
    ),
    _gguf(
        "truncated in the table",
        r"tensor 1: dims\[0\] at byte 148 needs 8 bytes, 2 are left",
        lambda: G.file([], [G.info("t" * 40, (4,)), G.info("u" * 40, (4,), 0, 32)])[:150],
    ),
    _gguf("last byte missing", "tensor blk.1.ffn_norm.weight ends", lambda: gguf_bytes()[:-17]),
    _gguf(
        "overlap",
        "overlap by 48 bytes",
        lambda: gguf_bytes(
            infos=[G.info(name, shape[::-1]) for name, shape in gguf_shapes().items()]
        ),
    ),
    _gguf(
        "another architecture",
        "is 'qwen2', expected 'llama'",
        lambda: gguf_bytes(general__architecture=G.kv("general.architecture", "string", "qwen2")),
    ),
    _gguf(
        "architecture as number",
        "general.architecture is of type u32, expected a string",
        lambda: gguf_bytes(general__architecture=G.kv("general.architecture", "u32", 1)),
    ),
    _gguf(
        "terminal escapes in the architecture",
        r"is '\\x1b\[31m<b>', expected",
        lambda: gguf_bytes(
            general__architecture=G.kv("general.architecture", "string", "\x1b[31m<b>")
        ),
    ),
    _gguf(
        "experts that are stated and not there, nor how many a token needs",
        "key llama.expert_used_count is missing, expected a whole number",
        lambda: gguf_bytes(llama__expert_count=G.kv("llama.expert_count", "u32", 8)),
    ),
    _gguf(
        "2**32 - 1 layers",
        "n_layers is 4,294,967,295",
        lambda: gguf_bytes(llama__block_count=G.kv("llama.block_count", "u32", 2**32 - 1)),
    ),
    _gguf(
        "2**31 - 1 layers",
        "none for layer 2",
        lambda: gguf_bytes(llama__block_count=G.kv("llama.block_count", "u32", 2**31 - 1)),
    ),
    _gguf(
        "0 heads",
        "n_heads is 0",
        lambda: gguf_bytes(
            llama__attention__head_count=G.kv("llama.attention.head_count", "u32", 0)
        ),
    ),
    _gguf(
        "heads that differ by layer",
        "expected one whole number for all layers",
        lambda: gguf_bytes(
            llama__attention__head_count=G.array("llama.attention.head_count", "u32", [3, 1])
        ),
    ),
    _gguf(
        "no context length",
        "key llama.context_length is missing, expected a whole number",
        lambda: gguf_bytes(llama__context_length=None),
    ),
    _gguf(
        "epsilon of 0",
        "norm_eps is 0",
        lambda: gguf_bytes(
            llama__attention__layer_norm_rms_epsilon=G.kv(
                "llama.attention.layer_norm_rms_epsilon", "f32", 0
            )
        ),
    ),
    _gguf(
        "rope over part of a head",
        "llama.rope.dimension_count is 2, expected the head's width 4",
        lambda: gguf_bytes(
            llama__rope__dimension_count=G.kv("llama.rope.dimension_count", "u32", 2)
        ),
    ),
    _gguf(
        "yarn",
        "is 'yarn', expected none or linear",
        lambda: gguf_bytes(
            llama__rope__scaling__type=G.kv("llama.rope.scaling.type", "string", "yarn")
        ),
    ),
    _gguf(
        "shape against the keys",
        "w_gate has shape",
        lambda: gguf_bytes(llama__feed_forward_length=G.kv("llama.feed_forward_length", "u32", 24)),
    ),
    _gguf(
        "a tensor that no LLaMA has",
        "blk.0.attn_q.bias, which no LLaMA has",
        lambda: gguf_bytes(extra_infos=[G.info("blk.0.attn_q.bias", (12,))]),
    ),
    _gguf(
        "a name that walks out of the folder",
        r"\.\./\.\./etc/passwd, which no LLaMA has",
        lambda: gguf_bytes(extra_infos=[G.info("../../etc/passwd", (12,))]),
    ),
    _gguf(
        "zero numbers in a tensor",
        "has shape",
        lambda: gguf_bytes(
            infos=[G.info(name, (0, *shape[1:])) for name, shape in gguf_shapes().items()]
        ),
    ),
    _gguf(
        "rope_freqs of the wrong length",
        "rope_freqs.weight is f32",
        lambda: gguf_bytes(extra_infos=[G.info("rope_freqs.weight", (3,))]),
    ),
    _gguf(
        "scores as i8",
        "scores is of type array of i8, expected an array of f32",
        lambda: gguf_bytes(tokenizer__ggml__scores=G.array("tokenizer.ggml.scores", "i8", [0] * 7)),
    ),
    _gguf(
        "6 scores for 7 tokens",
        "scores has 6 entries, tokens 7",
        lambda: gguf_bytes(
            tokenizer__ggml__scores=G.array("tokenizer.ggml.scores", "f32", [0] * 6)
        ),
    ),
    _gguf(
        "a score that is not a number",
        "score of token 5 is not a number",
        lambda: gguf_bytes(
            tokenizer__ggml__scores=G.array(
                "tokenizer.ggml.scores", "f32", [0] * 5 + [float("nan"), 0]
            )
        ),
    ),
    _gguf(
        "8 types for 7 tokens",
        "token_type has 8 entries, tokens 7",
        lambda: gguf_bytes(
            tokenizer__ggml__token_type=G.array("tokenizer.ggml.token_type", "i32", [1] * 8)
        ),
    ),
    _gguf(
        "token type 99",
        "values from 1 to 99",
        lambda: gguf_bytes(
            tokenizer__ggml__token_type=G.array("tokenizer.ggml.token_type", "i32", [1] * 6 + [99])
        ),
    ),
    _gguf(
        "byte piece <0x-1>",
        "byte piece 3 is b'<0x-1>', expected",
        lambda: gguf_bytes(
            tokenizer__ggml__tokens=G.array(
                "tokenizer.ggml.tokens", "string", [*TOKENS[:3], "<0x-1>", *TOKENS[4:]]
            )
        ),
    ),
    _gguf(
        "300 byte pieces",
        "300 byte pieces, expected at most 256",
        lambda: gguf_bytes(
            tokenizer__ggml__tokens=G.array("tokenizer.ggml.tokens", "string", ["<0x41>"] * 300),
            tokenizer__ggml__scores=None,
            tokenizer__ggml__token_type=G.array("tokenizer.ggml.token_type", "i32", [6] * 300),
        ),
    ),
    _gguf(
        "tokens as numbers",
        "tokens is of type array of u32, expected an array of string",
        lambda: gguf_bytes(tokenizer__ggml__tokens=G.array("tokenizer.ggml.tokens", "u32", [1])),
    ),
    _gguf(
        "8 tokens for 7 rows",
        "tokenizer.ggml.tokens has 8; expected no more",
        lambda: gguf_bytes(
            tokenizer__ggml__tokens=G.array("tokenizer.ggml.tokens", "string", [*TOKENS, "x"]),
            tokenizer__ggml__scores=None,
            tokenizer__ggml__token_type=None,
        ),
    ),
    _gguf(
        "bos before the vocabulary",
        "bos_token_id is -7, expected 0 to 6",
        lambda: gguf_bytes(
            tokenizer__ggml__bos_token_id=G.kv("tokenizer.ggml.bos_token_id", "i32", -7)
        ),
    ),
    _gguf(
        "one of a split, renamed",
        "expected a name that ends in -00001-of-00003.gguf",
        lambda: gguf_bytes(split__count=G.kv("split.count", "u16", 3)),
    ),
    sparse_case(
        "10 GB of nothing as an array of strings",
        "string count is 1,000,000,000, expected at most",
        G.file([_string_count(10**9)]),
        ".gguf",
    ),
    sparse_case(
        "10 GB of nothing as an array of bytes",
        "takes 9,000,000,000 bytes, expected at most",
        G.file(
            [G.string("a") + G.number("u32", 9) + G.number("u32", 0) + G.number("u64", 9 * 10**9)]
        ),
        ".gguf",
    ),
    sparse_case(
        "10 GB of nothing as one string",
        "has 9,000,000,000 bytes, expected at most",
        G.file([G.string("a") + G.number("u32", 8) + G.number("u64", 9 * 10**9)]),
        ".gguf",
    ),
    sparse_case(
        "10 GB of nothing as keys",
        "n_kv is 100,000,000, expected at most",
        G.file([], n_kv=10**8),
        ".gguf",
    ),
    sparse_case(
        "half a million empty strings",
        "key general.architecture is missing",
        G.file([_string_count(2**19)]),
        ".gguf",
        2**25,
    ),
]
