"""Malformed ggml, ggmf and ggjt files, alone and in shards."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from helpers.hostile import Case, file_case, sparse_case
from helpers.small_models import ggml_file, meta_name, old_config, random_weights

#: Name -> (magic on disk, version).
FORMATS = {
    "ggml": (b"lmgg", 0), "ggmf": (b"fmgg", 1), "ggjt-v1": (b"tjgg", 1), "ggjt-v2": (b"tjgg", 2),
    "ggjt-v3": (b"tjgg", 3),
}  # fmt: skip

#: The first piece is longer than one byte; the fourth is the byte 0, as its place says.
PIECES = [(b"ab", 0.0), (b"", 0.0), (b"", 0.0), (b"\0", 0.0), (b"xyz", -1.5), (b" a", -2.0)]

#: Type -> (number in a record, bytes of a block of 32), as ggjt v2 and v3 have them.
QUANTIZED = {"q4_0": (2, 18), "q5_1": (7, 24), "q8_0": (8, 34)}


@cache
def tiny_model(**changes):
    """Sizes and weights of one layer that is four numbers wide."""
    sizes = {"dim": 4, "hidden_dim": 12, "n_layers": 1, "n_heads": 2, "n_kv_heads": 2}
    config = old_config(vocab_size=len(PIECES), max_seq_len=2048, **(sizes | changes))
    return config, random_weights(config, np.random.default_rng(1))


def tiny_ggml(
    fmt: str = "ggjt-v1", *, dtype: str = "f16", shard: int = 0, n_shards: int = 1, **changed
) -> bytes:
    """The smallest valid file with every kind of record, or one shard; `changed` are weights."""
    magic, version = FORMATS[fmt]
    config, weights = tiny_model()
    return ggml_file(
        config, weights | changed, PIECES, magic=magic, version=version, dtype=dtype,
        multiple_of=12, shard=shard, n_shards=n_shards,
    )  # fmt: skip


def quantized_ggml(type_name: str, version: int = 3) -> bytes:
    """A ggjt file 32 numbers wide whose matrices are blocks of random bytes."""
    type_id, block_bytes = QUANTIZED[type_name]
    config, weights = tiny_model(dim=32, hidden_dim=96)
    rng = np.random.default_rng(2)
    out = ggml_file(config, {}, PIECES, version=version, multiple_of=96)
    for name, array in weights.items():
        stored_name = meta_name(name).encode()
        is_matrix = array.ndim == 2
        out += struct.pack("<3i", array.ndim, len(stored_name), type_id if is_matrix else 0)
        out += b"".join(struct.pack("<i", n) for n in array.shape[::-1]) + stored_name
        out += bytes(-len(out) % 32)
        out += rng.bytes(array.size // 32 * block_bytes) if is_matrix else array.tobytes()
    return out


def header(
    fmt: str = "ggjt-v1", *, vocab_size=6, dim=4, multiple_of=12, n_heads=2, n_layers=1
) -> bytes:
    """Magic, version and seven numbers, true or not."""
    magic, version = FORMATS[fmt]
    packed = struct.pack("<7i", vocab_size, dim, multiple_of, n_heads, n_layers, 2, 1)
    return magic + (struct.pack("<I", version) if version else b"") + packed


def pieces(fmt: str = "ggjt-v1", count: int = 6, text: bytes = b"ab") -> bytes:
    """So many equal pieces."""
    score = b"" if fmt == "ggml" else bytes(4)
    return (struct.pack("<I", len(text)) + text + score) * count


def record(name: str = "tok_embeddings.weight", dims=(4, 6), type_id=0, **lies) -> bytes:
    """One tensor of an unaligned file; `n_dims`, `name_bytes` and `data` may lie."""
    text = name.encode()
    out = struct.pack("<3i", lies.get("n_dims", len(dims)), lies.get("name_bytes", len(text)),
                      type_id)  # fmt: skip
    out += b"".join(struct.pack("<i", n) for n in dims) + text
    return out + (lies["data"] if "data" in lies else bytes(4 * math.prod(dims)))


def _ggmf(name: str, says: str, *records: bytes, **sizes) -> Case:
    """An unaligned file with these records."""
    start = header("ggmf", **sizes) + pieces("ggmf")
    return file_case(name, says, lambda: start + b"".join(records), ".bin")


def _changed(name: str, says: str, old: bytes, new: bytes, fmt: str = "ggmf") -> Case:
    """The valid file with one run of bytes in place of another."""

    def make() -> bytes:
        data = tiny_ggml(fmt)
        assert old in data
        return data.replace(old, new, 1)

    return file_case(name, says, make, ".bin")


def _shards(name: str, says: str, make: Callable[[], list[bytes | None]]) -> Case:
    """Files .bin, .bin.1 ...; None is a shard that is not there."""

    def write(folder: Path) -> Path:
        path = folder / "hostile.bin"
        for shard, data in enumerate(make()):
            if data is not None:
                (path if shard == 0 else path.with_name(f"{path.name}.{shard}")).write_bytes(data)
        return path

    return Case(name, write, says)


def shard(index: int, **changes) -> bytes:
    """One of two shards of the valid model."""
    return tiny_ggml("ggmf", **({"shard": index, "n_shards": 2} | changes))


def _long_pieces(folder: Path) -> Path:
    """100,000 pieces of 65,536 zeros; only their lengths take room on disk."""
    path = folder / "sparse.bin"
    with path.open("wb") as file:
        file.write(header("ggml", vocab_size=100_000))
        for _ in range(600):
            file.write(struct.pack("<I", 65_536))
            file.seek(65_536, 1)
        file.truncate(100_000 * 65_540)
    return path


def cut(data: bytes, n_bytes: int) -> bytes:
    return data[: len(data) - n_bytes]


GGML_CASES = [
    file_case("magic alone", "version at byte 4 needs 4 bytes, 0", lambda: b"tjgg", ".bin"),
    file_case("unversioned magic alone", "vocab_size at byte 4 needs", lambda: b"lmgg", ".bin"),
    file_case(
        "version 4", "ggjt version 4, expected 1 or 2 or 3", lambda: b"tjgg\4" + bytes(99), ".bin"
    ),
    file_case(
        "byte-swapped version",
        "ggmf version 16,777,216, expected 1$",
        lambda: b"fmgg\0\0\0\1" + bytes(99),
        ".bin",
    ),
    file_case(
        "header alone",
        "length of a vocabulary piece at byte 36 needs 4 bytes, 0 are left",
        header,
        ".bin",
    ),
    file_case(
        "more layers than any model",
        "n_layers at byte 24 is 5,000, expected 1 to 1,024",
        lambda: header("ggmf", n_layers=5000) + bytes(70_000),
        ".bin",
    ),
    file_case(
        "vocabulary that ends early",
        "length of a vocabulary piece at byte .* needs 4 bytes, 0 are left",
        lambda: header(vocab_size=8) + pieces(count=6),
        ".bin",
    ),
    file_case(
        "piece longer than the file",
        "a vocabulary piece at byte 40 needs 60,000 bytes",
        lambda: header() + struct.pack("<I", 60_000) + bytes(40),
        ".bin",
    ),
    file_case(
        "piece of 2**32 - 1 bytes",
        "vocabulary piece 0 has 4,294,967,295 bytes, expected at most 65,536",
        lambda: header() + b"\xff" * 4 + bytes(40),
        ".bin",
    ),
    file_case("no tensors", "has no token embedding", lambda: header() + pieces(), ".bin"),
    _ggmf("0 dimensions", "number of dimensions at byte .* is 0", record(n_dims=0)),
    _ggmf(
        "3 dimensions", "number of dimensions at byte .* is 3, expected 1 to 2", record(n_dims=3)
    ),
    _ggmf("-1 dimensions", "number of dimensions at byte .* is -1", record(n_dims=-1)),
    _ggmf("name of 0 bytes", "length of a tensor name .* is 0", record(name_bytes=0)),
    _ggmf("name of -1 bytes", "length of a tensor name .* is -1", record(name_bytes=-1)),
    _ggmf(
        "name of 2**31 - 1 bytes",
        "length of a tensor name .* is 2,147,483,647, expected 1 to 256",
        record(name_bytes=2**31 - 1),
    ),
    _ggmf(
        "name longer than the file",
        "tensor name at byte .* needs 200 bytes",
        record(name_bytes=200),
    ),
    _ggmf("type -1", "tok_embeddings.weight has type -1, expected one of 0", record(type_id=-1)),
    _ggmf("type of a later version", "has type 12, expected one of 0", record(type_id=12)),
    _ggmf("rows that are no blocks", "rows of 4 numbers, expected a mult", record(type_id=2)),
    _ggmf("size 0", "tensor size at byte .* is 0, expected 1 to", record(dims=(0, 6))),
    _ggmf("size -4", "tensor size at byte .* is -4", record(dims=(-4, -6), data=bytes(96))),
    _ggmf(
        "bytes that wrap around 2**64",
        "needs 18,446,744,056,529,682,436 bytes",
        record(dims=(2**31 - 1, 2**31 - 1), data=bytes(16)),
    ),
    _ggmf("two of one name", r"two tensors tok_embeddings\.weight", record(), record()),
    _ggmf("two ignored of one name", "two tensors rope.freqs", *[record("rope.freqs", (2,))] * 2),
    _ggmf(
        "more tensors than the layers have",
        "has more than 20 tensors, too many for 1 layer",
        *[record(f"{i}.freqs", (1,)) for i in range(40)],
    ),
    file_case(
        "layer beyond the count",
        "has layers.7.ffn_norm, which a model of 1 layers does not have",
        lambda: tiny_ggml("ggmf") + record("layers.7.ffn_norm.weight", (4,)),
        ".bin",
    ),
    _ggmf("a name that walks out", r"has a tensor \.\./\.\./x, which no", record("../../x", (4,))),
    _ggmf("escapes in a name", r"a tensor \\x1b\[2J<b>, which", record("\x1b[2J<b>", (4,))),
    _ggmf("embedding as a vector", "has no token embedding", record(dims=(4,))),
    _ggmf(
        "a million shards",
        "dim is 1,048,576 and the embedding has 1 columns, expected at most 64 shards",
        record(dims=(1, 6)),
        dim=2**20,
    ),
    _ggmf("a third of the columns", "is missing: .* is the first of 3", record(), dim=12),
    _changed(
        "columns that do not divide",
        r"token_embedding has shape \(6, 4\), expected \(6, 6\)",
        struct.pack("<4i", 4, 12, 2, 1),
        struct.pack("<4i", 6, 12, 1, 1),
    ),
    _changed(
        "a layer missing",
        "has 12 weights and none for layer 1, expected 20 for 2 layers",
        struct.pack("<3i", 12, 2, 1),
        struct.pack("<3i", 12, 2, 2),
    ),
    _changed(
        "heads that do not divide",
        "dim 4 is not a multiple of n_heads 3",
        struct.pack("<3i", 12, 2, 1),
        struct.pack("<3i", 12, 3, 1),
    ),
    _changed(
        "heads of one number",
        "head_dim 1 is not even",
        struct.pack("<3i", 12, 2, 1),
        struct.pack("<3i", 12, 4, 1),
    ),
    _changed(
        "another hidden_dim",
        r"w_gate has shape \(12, 4\), expected \(16, 4\)",
        struct.pack("<3i", 4, 12, 2),
        struct.pack("<3i", 4, 16, 2),
    ),
    _changed("a weight under another name", "a tensor layers.0.attention.wx", b"wq.w", b"wx.w"),
    file_case(
        "key rows for less than a head",
        "n_kv_heads is 0, expected 1 to",
        lambda: tiny_ggml("ggjt-v3", **{"layers.0.wk": np.ones((1, 4), "<f4")}),
        ".bin",
    ),
    file_case(
        "last byte missing", "data of output|data of layers", lambda: cut(tiny_ggml(), 1), ".bin"
    ),
    file_case(
        "three bytes too many",
        "number of dimensions at byte .* needs 4 bytes, 3 are left",
        lambda: tiny_ggml() + bytes(3),
        ".bin",
    ),
    file_case(
        "blocks cut short",
        r"weight at byte [\d,]+ needs [\d,]+ bytes, [\d,]+ are left",
        lambda: cut(quantized_ggml("q4_0"), 18),
        ".bin",
    ),
    _shards("second shard missing", r"bin.1: is missing", lambda: [shard(0), None]),
    _shards("second shard empty", r"bin.1: is empty", lambda: [shard(0), b""]),
    _shards("second shard cut", r"bin.1: .* are left", lambda: [shard(0), cut(shard(1), 5)]),
    _shards("second shard of a whole", r"bin.1: .* is f16", lambda: [shard(0), tiny_ggml("ggmf")]),
    _shards(
        "second shard of another format",
        "its header or vocabulary differs",
        lambda: [shard(0), tiny_ggml("ggml", shard=1, n_shards=2)],
    ),
    _shards(
        "second shard is a picture",
        r"bin.1: starts with b'.x89PNG'",
        lambda: [shard(0), b"\x89PNG" * 9],
    ),
    _shards(
        "shards of two sizes",
        r"bin.1: layers.0.wv is f16 \(2, 8\), in hostile.bin it is f16 \(2, 4\)",
        lambda: [shard(0), shard(1, **{"layers.0.wv": np.ones((4, 8), "<f4")})],
    ),
    _shards(
        "a shard with a weight more",
        "bin.1: has layers.1.ffn_norm, which hostile.bin does not have",
        lambda: [shard(0), shard(1) + record("layers.1.ffn_norm.weight", (4,))],
    ),
    sparse_case(
        "10 GB of nothing as a vocabulary",
        "vocab_size at byte 4 is 2,000,000,000, exp",
        header("ggml", vocab_size=2 * 10**9),
        ".bin",
    ),
    Case(
        "6 GB of long pieces",
        _long_pieces,
        "vocabulary takes more than 33,554,432 bytes",
    ),
    sparse_case(
        "10 GB of nothing as layers",
        "n_layers at byte 24 is 2,000,000,000, expected",
        header("ggmf", n_layers=2 * 10**9),
        ".bin",
    ),
    sparse_case(
        "10 GB of nothing, 8 of them one tensor",
        "number of dimensions at byte 8,589,934,725 is 0",
        header("ggmf") + pieces("ggmf") + record(dims=(2**31 - 1, 1), data=b""),
        ".bin",
    ),
]
