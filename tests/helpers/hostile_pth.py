"""Malformed torch files: zips that lie, pickles that want too much, shards that disagree."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np

from helpers.hostile import Case, file_case, sparse_case
from helpers.small_models import (
    legacy_pth_file,
    meta_name,
    old_config,
    op_int,
    op_tensor,
    op_text,
    pickle_of,
    pth_file,
    random_weights,
    shard_of,
    torch_zip,
)

#: The sizes of `arrays`, as params.json and model_args say them.
PARAMS = {"dim": 4, "multiple_of": 12, "n_heads": 2, "n_layers": 1, "norm_eps": 1e-5,
          "vocab_size": -1}  # fmt: skip


@cache
def _arrays() -> dict[str, np.ndarray]:
    config = old_config(dim=4, hidden_dim=12, n_layers=1, n_heads=2, n_kv_heads=2, vocab_size=6)
    return random_weights(config, np.random.default_rng(5))


def arrays(shard: int = 0, n_shards: int = 1, **changed) -> dict[str, np.ndarray]:
    """Meta's names and what one shard holds, of one layer that is four numbers wide."""
    cut = {
        meta_name(name): shard_of(meta_name(name), array, shard, n_shards).astype("<f2")
        for name, array in _arrays().items()
    }
    return cut | {"rope.freqs": np.ones(1, "<f2")} | changed


def model_args(sizes: Mapping[str, int] = PARAMS, *more: tuple[bytes, bytes]) -> bytes:
    """The pickled dict of the sizes that are whole numbers, and of (key, value) as pickled."""
    items = b"".join(
        op_text(key) + op_int(size) for key, size in sizes.items() if isinstance(size, int)
    )
    return b"}(" + items + b"".join(key + value for key, value in more) + b"u"


def training_file(
    stored: dict[str, np.ndarray], args: bytes | None = None, *, legacy: bool = False
) -> bytes:
    """{"model": weights, "model_args": sizes}, as a trainer saves it."""
    whole = legacy_pth_file(stored) if legacy else pth_file(stored)
    weights = pickle_of(stored)[2:-1]
    if legacy:
        weights = weights.replace(b"tQ", b"NtQ")
    wrapped = b"}(" + op_text("model") + weights
    wrapped += op_text("model_args") + (model_args() if args is None else args) + b"u"
    if legacy:
        return whole.replace(weights, wrapped)
    records = {"data.pkl": b"\x80\x02" + wrapped + b"."}
    records |= {f"data/{key}": array.tobytes() for key, array in enumerate(stored.values())}
    return torch_zip(records)


def meta_folder(folder: Path, files: Mapping[str, bytes]) -> Path:
    """A folder of these files."""
    path = folder / "model"
    path.mkdir()
    for name, data in files.items():
        (path / name).write_bytes(data)
    return path


def meta_files(n_shards: int = 1, params: object = PARAMS, **changed) -> dict[str, bytes]:
    """The files of a folder in Meta's layout; `changed` are shards."""
    files = {"params.json": params if isinstance(params, bytes) else json.dumps(params).encode()}
    for shard in range(n_shards):
        files[f"consolidated.{shard:02d}.pth"] = pth_file(arrays(shard, n_shards))
    return files | {f"consolidated.{name[1:]}.pth": data for name, data in changed.items()}


def _folder(name: str, says: str, make: Callable[[], Mapping[str, bytes]]) -> Case:
    return Case(name, lambda folder: meta_folder(folder, make()), says)


def _program(name: str, says: str, program: bytes) -> Case:
    """A zip whose pickle is this program, with a storage of 64 bytes."""
    records = {"data.pkl": b"\x80\x04" + program, "data/0": bytes(64)}
    return file_case(name, says, lambda: torch_zip(records), ".pth")


def _directory(name: str, says: str, field: int, letter: str, value: int) -> Case:
    """The zip's first entry in its directory with one field changed."""

    def make() -> bytes:
        data = bytearray(pth_file(arrays()))
        struct.pack_into("<" + letter, data, data.index(b"PK\1\2") + field, value)
        return bytes(data)

    return file_case(name, says, make, ".pth")


def _end(name: str, says: str, field: int, letter: str, value: int) -> Case:
    """The zip's last record with one field changed."""

    def make() -> bytes:
        data = bytearray(pth_file(arrays()))
        struct.pack_into("<" + letter, data, data.rindex(b"PK\5\6") + field, value)
        return bytes(data)

    return file_case(name, says, make, ".pth")


def _legacy(name: str, says: str, old: bytes, new: bytes) -> Case:
    """A legacy training file with one run of bytes in place of another."""

    def make() -> bytes:
        data = training_file(arrays(), legacy=True)
        assert old in data
        return data.replace(old, new, 1)

    return file_case(name, says, make, ".pth")


def _args(name: str, says: str, *more: tuple[bytes, bytes], **sizes: int) -> Case:
    """A training file with other sizes."""
    args = model_args(PARAMS | sizes, *more)
    return file_case(name, says, lambda: training_file(arrays(), args), ".pth")


def _many_entries() -> bytes:
    """A zip directory of two megabytes, of entries that all show the same record."""
    data = pth_file(arrays())
    start = data.index(b"PK\1\2")
    name_bytes = struct.unpack_from("<H", data, start + 28)[0]
    entry = data[start : start + 46 + name_bytes]
    count = 2 * 2**20 // len(entry)
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count % 65536, count % 65536,
                      count * len(entry), start, 0)  # fmt: skip
    return data[:start] + entry * count + end


def _big_record(name: str) -> tuple[bytes, bytes]:
    """Head and tail of a zip of 3 GB in which one record has almost all bytes."""
    start = torch_zip({"data.pkl": pickle_of(arrays())})
    head = start[: start.index(b"PK\1\2")]
    directory = start[start.index(b"PK\1\2") : start.rindex(b"PK\5\6")]
    text = f"consolidated.00/{name}".encode()
    record = struct.pack("<4s5H3I2H", b"PK\3\4", 0, 0, 0, 0, 0, 0, 0, 0, len(text), 0) + text
    entry = struct.pack(
        "<4s6H3I5H2I", b"PK\1\2", 0, 0, 0, 0, 0, 0, 0, BIG_BYTES, BIG_BYTES, len(text), 0, 0, 0, 0,
        0, len(head),
    ) + text  # fmt: skip
    if name == "data.pkl":
        head, directory = b"", b""
        entry = entry[:42] + bytes(4) + text
    start = len(head) + len(record) + BIG_BYTES
    count = 1 + (name != "data.pkl")
    end = struct.pack(
        "<4s4H2IH", b"PK\5\6", 0, 0, count, count, len(directory) + len(entry), start, 0
    )
    return head + record, directory + entry + end


def _overlapping() -> bytes:
    """Two entries of the directory that show the same bytes as their record."""
    data = bytearray(pth_file(arrays()))
    entries = [i for i in range(len(data)) if data[i : i + 4] == b"PK\1\2"]
    data[entries[2] + 42 : entries[2] + 46] = data[entries[1] + 42 : entries[1] + 46]
    return bytes(data)


def _into_the_directory() -> bytes:
    """A last record that has all bytes up to the end of the file."""
    data = bytearray(pth_file(arrays()))
    last = data.rindex(b"PK\1\2")
    (start,) = struct.unpack_from("<I", data, last + 42)
    n_bytes = len(data) - start - 30 - sum(struct.unpack_from("<2H", data, start + 26))
    struct.pack_into("<2I", data, last + 20, n_bytes, n_bytes)
    return bytes(data)


BIG_BYTES = 3 * 10**9


def _big(name: str, says: str, record: str) -> Case:
    head, tail = _big_record(record)
    return sparse_case(name, says, head, ".pth", len(head) + BIG_BYTES + len(tail), tail)


def _same_in_both(**changed: np.ndarray) -> dict[str, bytes]:
    """Two shards that agree on weights that no LLaMA has so."""
    return meta_files(
        2, _00=pth_file(arrays(0, 2, **changed)), _01=pth_file(arrays(1, 2, **changed))
    )


WV = "layers.0.attention.wv.weight"
DAMAGED = "its pickle is damaged"
TENSOR = op_tensor("0", "HalfStorage", 32, 0, (4, 8), (8, 1))
ORDERED = b"ccollections\nOrderedDict\n"
PAIRS = b"(" + op_text("a") + op_int(1) + b"tq\1" + b"]q\0(" + b"h\1" * 50_000 + b"e"
STEPS = f"{DAMAGED}.*it takes more than 200,000 steps"
LONG = b"\x8b" + struct.pack("<i", 4000) + b"\x7f" * 4000  # a whole number of 9,600 digits

PTH_CASES = [
    file_case("zip magic alone", "its zip directory cannot be read", lambda: b"PK\3\4", ".pth"),
    file_case("legacy magic alone", DAMAGED, lambda: legacy_pth_file({})[:14], ".pth"),
    file_case(
        "a directory of 50,000 entries",
        r"its zip directory has 2,\d+,\d+ bytes, expected at most 1,048,576",
        _many_entries,
        ".pth",
    ),
    _end("directory of 4 GB", "zip directory cannot be read", 12, "I", 2**32 - 1),
    _end("directory beyond the end", "zip directory cannot be read", 16, "I", 2**31),
    _end("no entries", r"a zip with 0 data.pkl records", 12, "I", 0),
    _directory("a compressed record", r"data.pkl is compressed and cannot be mapped", 10, "H", 8),
    _directory("an encrypted record", "data.pkl is encrypted, expected plain numbers", 8, "H", 1),
    file_case("records that overlap", "of the zip overlaps consolidated", _overlapping, ".pth"),
    file_case("a record in the directory", "overlaps the directory", _into_the_directory, ".pth"),
    _directory("sizes that differ", r"data.pkl is compressed and cannot be mapped", 20, "I", 9),
    _directory("a record elsewhere", r"the zip has no record at byte 7", 42, "I", 7),
    _directory("a record beyond the end", "the zip has no record at byte 1,000,0", 42, "I", 10**9),
    _directory("a directory without its names", "zip|record", 28, "H", 65_535),
    _big("a pickle of 3 GB", "data.pkl has 3,000,000,000 bytes, too many", "data.pkl"),
    _big("a byte order of 3 GB", "numbers are big-endian, expected little", "byteorder"),
    _program("2 million memo entries", "it takes more than 200,000 steps", b"]" + b"\x94" * 2**21),
    _program(
        "half a million tensors",
        "it takes more than 200,000 steps",
        TENSOR[:-1] + b"q\1ctorch._utils\n_rebuild_tensor_v2\nq\2" + b"h\2h\1R" * 2**19,
    ),
    _program("a long list in many dicts", STEPS, PAIRS + ORDERED + b"q\2" + b"h\2h\0\x85R" * 1500),
    _program(
        "a long list in many dicts, by OBJ", STEPS, PAIRS + ORDERED + b"q\2" + b"(h\2h\0o" * 1500
    ),
    _program(
        "a long text as arguments",
        f"{DAMAGED}.*arguments are no tuple",
        op_text("x" * 10**6) + b"q\0" + ORDERED + b"q\2" + b"h\2h\0R" * 9000,
    ),
    _program(
        "a dict made from a text",
        f"{DAMAGED}.*than a list of pairs",
        ORDERED + op_text("ab" * 10**6) + b"\x85R",
    ),
    _program(
        "tensors with 90,000 arguments",
        STEPS,
        b"(" + b"N" * 90_000 + b"tq\0ctorch._utils\n_rebuild_parameter\nq\2" + b"h\2h\0R" * 9000,
    ),
    _program(
        "storages with 90,000 arguments",
        f"{DAMAGED}.*storage record",
        b"(" + b"N" * 90_000 + b"tq\0" + b"h\0Q" * 50_000,
    ),
    _program(
        "60,000 keys of one hash",
        f"{DAMAGED}.*a number as a key",
        b"}("
        + b"".join(
            b"\x8a\x0a" + (i * (2**61 - 1)).to_bytes(10, "little") + b"N" for i in range(60_000)
        )
        + b"u",
    ),
    _program(
        "60,000 memo numbers of one hash",
        f"{DAMAGED}.*a number of the memo",
        b"N" + b"".join(b"p%d\n" % (i * (2**61 - 1)) for i in range(60_000)),
    ),
    _program("a million sets", DAMAGED, b"\x8f" * 2**20),
    _program("a gigabyte by doubling", DAMAGED, op_text("x" * 1000) + b"2\x86" * 200 + b"s."),
    _program(
        "a long number as a size",
        f"{DAMAGED}.*impossible sizes",
        b"}(" + op_text("w") + TENSOR.replace(b"tQ" + op_int(0), b"tQ" + LONG) + b"u.",
    ),
    _program(
        "a long number as a storage's size",
        f"{DAMAGED}.*storage record",
        b"}(" + op_text("w") + TENSOR.replace(op_int(32), LONG, 1) + b"u.",
    ),
    _legacy(
        "a legacy list of a number",
        "list of storages is not a list of names",
        b"X\1\0\0\0000q\1X",
        b"K\7q\1X",
    ),
    _legacy(
        "a legacy list of unknown names",
        "the type of storage 7x is not stated",
        b"]q\0(X\1\0\0\0000",
        b"]q\0(X\2\0\0\0007x",
    ),
    _legacy(
        "a legacy storage of -1 numbers",
        "storage 0 at byte .* extends beyond",
        struct.pack("<q", 24),
        struct.pack("<q", -1),
    ),
    _legacy(
        "a legacy storage of 2**63 - 1 numbers",
        "storage 0 at byte .* extends beyond",
        struct.pack("<q", 24),
        struct.pack("<q", 2**63 - 1),
    ),
    file_case(
        "a legacy file cut in its numbers",
        r"storage \d+ at byte .* extends beyond the file",
        lambda: training_file(arrays(), legacy=True)[:-3],
        ".pth",
    ),
    file_case(
        "a legacy file cut in its pickle",
        DAMAGED,
        lambda: training_file(arrays(), legacy=True)[:400],
        ".pth",
    ),
    sparse_case("10 GB of nothing after a legacy magic", DAMAGED, legacy_pth_file({})[:15], ".pth"),
    file_case("no sizes", "holds tensors but no model_args", lambda: pth_file(arrays()), ".pth"),
    file_case(
        "sizes that are a list",
        "holds tensors but no model_args",
        lambda: training_file(arrays(), b"]"),
        ".pth",
    ),
    file_case(
        "a long number as a key",
        f"{DAMAGED}.*a number as a key",
        lambda: training_file(arrays(), model_args({}, (LONG, op_int(1)))),
        ".pth",
    ),
    _args("a long number of layers", "model_args: ", (op_text("n_layers"), LONG)),
    _args(
        "a text of a megabyte as a size",
        "model_args: dim is 'x{36}[.]{3}, expected a whole number$",
        (op_text("dim"), op_text("x" * 2**20)),
    ),
    _args("True layers", "n_layers is True, expected a whole", (op_text("n_layers"), b"\x88")),
    _args("0 heads", "n_heads is 0, expected 1 to", n_heads=0),
    _args("-1 layers", "n_layers is -1", n_layers=-1),
    _args("2**31 - 1 layers", "none for layer 1, expected", n_layers=2**31 - 1),
    _args("an epsilon that is no number", "could not convert", (op_text("norm_eps"), b"N")),
    _args("an epsilon of nothing", "norm_eps is nan", (op_text("norm_eps"), op_text("nan"))),
    _args("rows against the sizes", r"has shape \(6, 4\), expected \(6, 6\)", dim=6, n_heads=1),
    file_case(
        "an embedding that is a vector",
        "has no embedding or no layer 0",
        lambda: training_file(arrays(**{"tok_embeddings.weight": np.ones(4, "<f2")})),
        ".pth",
    ),
    file_case(
        "a weight of three dimensions",
        r"layers.0.wv has shape \(1, 4, 4\)",
        lambda: training_file(arrays(**{WV: np.ones((1, 4, 4), "<f2")})),
        ".pth",
    ),
    file_case(
        "a weight without dimensions",
        r"layers.0.wv has shape \(\), expected",
        lambda: training_file(arrays(**{WV: np.ones((), "<f2")})),
        ".pth",
    ),
    file_case(
        "a weight of whole numbers",
        r"weights are missing|wv",
        lambda: training_file(arrays(**{WV: np.ones((4, 4), "<i8")})),
        ".pth",
    ),
    file_case(
        "escapes in a name",
        r"a tensor \\x1b\[2J, which no LLaMA has",
        lambda: training_file(arrays(**{"\x1b[2J": np.ones(4, "<f2")})),
        ".pth",
    ),
]

META_CASES = [
    _folder(
        "params of a megabyte",
        "params.json: .* more than 65,536 bytes",
        lambda: meta_files(params=b" " * 2**20),
    ),
    _folder("params that end early", "is not readable JSON", lambda: meta_files(params=b'{"dim')),
    _folder(
        "params of other letters", "is not readable JSON", lambda: meta_files(params=b"\xff{}")
    ),
    _folder(
        "a number of 5,000 digits",
        "is not readable JSON",
        lambda: meta_files(params=b'{"dim": ' + b"9" * 5000 + b"}"),
    ),
    _folder(
        "a long text as a multiplier",
        r"ffn_dim_multiplier is 'x{36}[.]{3}, expected a number$",
        lambda: meta_files(params=PARAMS | {"ffn_dim_multiplier": "x" * 1000}),
    ),
    _folder("a shard of 0 bytes", "01.pth: is empty", lambda: meta_files(2, _01=b"")),
    _folder(
        "a shard that is legacy and cut",
        f"01.pth: {DAMAGED}",
        lambda: meta_files(2, _01=legacy_pth_file(arrays(1, 2))[:60]),
    ),
    _folder(
        "a shard of a whole",
        "these shards are not from one model",
        lambda: meta_files(2, _01=pth_file(arrays())),
    ),
    _folder(
        "three dimensions in two shards",
        r"layers.0.wv has shape \(1, 2, 4\), expected a matrix",
        lambda: _same_in_both(**{WV: np.ones((1, 2, 4), "<f2")}),
    ),
    _folder(
        "an output without dimensions",
        r"output has shape \(\), expected a matrix",
        lambda: _same_in_both(**{"output.weight": np.ones((), "<f2")}),
    ),
    _folder(
        "an embedding without columns",
        r"has shape|tok|embedding",
        lambda: _same_in_both(**{"tok_embeddings.weight": np.ones((6, 0), "<f2")}),
    ),
    _folder(
        "twenty shards, all the first",
        r"layers.0.wq has shape \(80, 4\)",
        lambda: (
            {f"consolidated.{i:02d}.pth": pth_file(arrays()) for i in range(20)}
            | {"params.json": json.dumps(PARAMS).encode()}
        ),
    ),
]
