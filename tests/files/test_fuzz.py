"""Mutated files of every format of 2023: each opens with every view inside it, or is refused.

Plain GGUF and safetensors have the same test beside their own tests; here are theirs with experts
and with other layouts. The valid files are a few kilobytes, nearly all made by the writers of the
tests and not by the package's.
"""

from __future__ import annotations

import gc
import json
import struct
import tempfile
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from helpers.gguf_by_hand import Gguf
from helpers.hostile import check_hex_view
from helpers.hostile_ggml import quantized_ggml, shard, tiny_ggml
from helpers.hostile_pth import arrays, meta_files, training_file
from helpers.layouts_by_hand import ORDER, layout_gguf
from helpers.llama2c_v2_by_hand import MATRICES, llama2c_v2
from helpers.mixtral_by_hand import (
    LAYOUTS as EXPERT_LAYOUTS,
)
from helpers.mixtral_by_hand import (
    gguf_of,
    gguf_tensors,
    huggingface_tensors,
    mixtral_config,
    mixtral_json,
    mixtral_weights,
)
from helpers.small_models import (
    legacy_pth_file,
    llama2c_v0,
    random_weights,
    small_config,
    small_vocabulary,
    tokenizer_bin,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from llama_edu.convert import convert
from llama_edu.errors import FormatError
from llama_edu.files.anatomy import fields_of
from llama_edu.files.detect import read_checkpoint
from llama_edu.files.layout import LAYOUTS, Checkpoint, ShardedTensor
from llama_edu.files.mapped import MappedFile
from llama_edu.files.vocabularies.detect import read_vocabulary
from llama_edu.quants.scaled import ScaledArray
from llama_edu.quants.transposed import TransposedBlocks
from llama_edu.vocabulary import Vocabulary

#: What a mutated file may cost: processor time, and memory beyond its own size.
SECONDS, EXTRA_BYTES = 1.0, 50e6


@dataclass(frozen=True)
class Sample:
    """A valid file, or several.

    Attributes:
        files: name -> bytes; the first is the one to open, unless `is_folder`.
        aim: most edits fall into the first so many bytes: the rest is data, where nothing can
            go wrong. 0 for the whole file.
    """

    files: dict[str, bytes]
    aim: int = 0
    is_folder: bool = False


def llama2c_v1(config, weights: dict[str, np.ndarray]) -> bytes:
    """A version 1 file: norms first, then matrices, all float32."""
    data = b"24ka" + struct.pack(
        "<8iB", 1, config.dim, config.hidden_dim, config.n_layers, config.n_heads,
        config.n_kv_heads, config.vocab_size, config.max_seq_len, 0,
    )  # fmt: skip
    layers = range(config.n_layers)
    kinds = ("attention_norm", "ffn_norm")
    names = [f"layers.{i}.{kind}" for kind in kinds for i in layers]
    names += ["final_norm", "token_embedding"]
    names += [f"layers.{i}.{kind}" for kind in MATRICES for i in layers]
    return (
        data + bytes(256 - len(data)) + b"".join(weights[n].tobytes() for n in [*names, "output"])
    )


EXPERTS = mixtral_config(
    dim=8, hidden_dim=60, n_layers=1, n_heads=4, n_kv_heads=2, n_experts=3, vocab_size=7
)


def gguf_with_experts(layout: str) -> Sample:
    """A file without a vocabulary, most of whose header is about experts."""
    left_out = dict.fromkeys(("model", "tokens", "scores", "types"))
    tensors = gguf_tensors(EXPERTS, mixtral_weights(EXPERTS), layout)
    return Sample({"model.bin": gguf_of(EXPERTS, tensors, **left_out)})


def safetensors_with_experts(layout: str) -> Sample:
    """A file that says its sizes itself."""
    stored = huggingface_tensors(EXPERTS, mixtral_weights(EXPERTS), layout)
    sizes = {"config.json": json.dumps(mixtral_json(EXPERTS))}
    arrays = {name: np.ascontiguousarray(x) for name, x in stored.items()}
    return Sample({"model.safetensors": save(arrays, metadata=sizes)})


def layout_samples() -> tuple[Sample, ...]:
    """Each layout of our own, with an order; blocks by the package's writer."""
    g = Gguf()
    order = g.array(ORDER, "u16", [*range(19, -1, -1), *range(20)])
    changes = {ORDER.replace(".", "__"): order}
    files = [layout_gguf(layout, **changes) for layout in LAYOUTS]
    with tempfile.TemporaryDirectory() as folder:
        plain, made = Path(folder) / "plain.bin", Path(folder) / "made.gguf"
        config = small_config(dim=32, hidden_dim=64, n_layers=2, n_heads=4, n_kv_heads=2)
        plain.write_bytes(llama2c_v0(config, random_weights(config, np.random.default_rng(3))))
        tokenizer = Path(folder) / "tokenizer.bin"
        tokenizer.write_bytes(tokenizer_bin(small_vocabulary(271)))
        for layout in LAYOUTS[1:]:
            convert(plain, made, to="gguf", type="q8_0", layout=layout, tokenizer=tokenizer)
            files.append(made.read_bytes())
    return tuple(Sample({"model.gguf": data}) for data in files)


@cache
def samples(name: str) -> tuple[Sample, ...]:
    """The valid files of a format."""
    config = small_config(dim=8, hidden_dim=10, n_layers=2, n_heads=4, n_kv_heads=2, vocab_size=7)
    weights = random_weights(config, np.random.default_rng(3))

    def one(*contents: bytes, aim: int = 0) -> tuple[Sample, ...]:
        return tuple(Sample({"model.bin": data}, aim) for data in contents)

    make: dict[str, Callable[[], tuple[Sample, ...]]] = {
        "ggml": lambda: one(tiny_ggml("ggml"), tiny_ggml("ggml", dtype="f32")),
        "ggmf": lambda: one(tiny_ggml("ggmf"), tiny_ggml("ggmf", dtype="f32")),
        "ggjt v1": lambda: one(tiny_ggml("ggjt-v1")),
        "ggjt v2": lambda: one(tiny_ggml("ggjt-v2"), quantized_ggml("q5_1", 2)),
        "ggjt v3": lambda: one(
            tiny_ggml("ggjt-v3"), quantized_ggml("q4_0"), quantized_ggml("q8_0")
        ),
        "ggmf in two shards": lambda: (
            Sample({"model.bin": shard(0), "model.bin.1": shard(1)}),
        ),
        "Meta folder": lambda: (
            Sample(meta_files(), is_folder=True),
            Sample(meta_files(2), is_folder=True),
        ),
        "legacy .pth": lambda: (
            Sample({"model.bin": training_file(arrays(), legacy=True)}),
            Sample(meta_files(_00=legacy_pth_file(arrays())), is_folder=True),
        ),
        "training checkpoint": lambda: one(training_file(arrays())),
        "llama2.c v0": lambda: one(llama2c_v0(config, weights), aim=40),
        "llama2.c v1": lambda: one(llama2c_v1(config, weights), aim=50),
        "llama2.c v2": lambda: one(
            llama2c_v2(config, weights, 4)[0], llama2c_v2(config, weights, 8)[0], aim=50
        ),
        "GGUF with experts": lambda: tuple(map(gguf_with_experts, EXPERT_LAYOUTS)),
        "safetensors with experts": lambda: tuple(map(safetensors_with_experts, EXPERT_LAYOUTS)),
        "GGUF layouts": layout_samples,
        "tokenizer.bin": lambda: one(tokenizer_bin(small_vocabulary(271))),
    }  # fmt: skip
    return make[name]()


FORMATS = (
    "ggml", "ggmf", "ggjt v1", "ggjt v2", "ggjt v3", "ggmf in two shards", "Meta folder",
    "legacy .pth", "training checkpoint", "llama2.c v0", "llama2.c v1", "llama2.c v2",
    "GGUF with experts", "safetensors with experts", "GGUF layouts", "tokenizer.bin",
)  # fmt: skip

#: Counts, sizes, types and opcodes that a reader might believe.
VALUES = st.one_of(
    st.sampled_from(
        [b"\0", b"\1", b"\x7f", b"\x80", b"\xff", bytes(4), b"\xff" * 4, b"\xff\xff\xff\x7f",
         b"\0\0\0\x80", bytes(8), b"\xff" * 8, b"\0\0\0\0\0\0\0\x80", b"1", b"{", b"]", b"-"]
    ),
    st.integers(0, 300).map(lambda n: struct.pack("<i", n)),
    st.binary(min_size=1, max_size=8),
)  # fmt: skip

#: File (modulo), place (modulo), bytes taken away beyond those replaced, bytes put there.
EDIT = st.tuples(
    st.integers(0, 3),
    st.one_of(st.integers(0, 80), st.integers(0, 9999), st.integers(0, 9999)),
    st.sampled_from([0] * 12 + [1, 4, -1, -4]),
    VALUES,
)
EDITS = st.one_of(
    st.lists(EDIT, min_size=1, max_size=1),  # or nearly every file would be refused
    st.lists(EDIT, min_size=1, max_size=4),
)
CUTS = st.sampled_from([0] * 12 + [1, 4, 64, 500])


def mutated(sample: Sample, edits, cut: int) -> dict[str, bytes]:
    """The files with runs of bytes replaced, inserted or removed, the last edited one cut."""
    files = {name: bytearray(data) for name, data in sample.files.items()}
    for index, place, extra, value in edits:
        name = list(files)[index % len(files)]
        data = files[name]
        place %= min(len(data), sample.aim or len(data)) or 1
        # extra < 0 inserts so many of the bytes, > 0 removes more than are put there
        data[place : place + max(0, len(value) + extra)] = value
        if cut and len(data) > cut:
            del data[-cut:]
    return {name: bytes(data) for name, data in files.items()}


def run_of_bytes(array: np.ndarray) -> tuple[int, int]:
    """Addresses of the first byte of an array and of the first after it."""
    start = array.ctypes.data
    if array.size == 0:
        return start, start
    reach = sum((n - 1) * stride for n, stride in zip(array.shape, array.strides, strict=True))
    assert min(array.strides, default=0) >= 0
    return start, start + reach + array.itemsize


def check_views(checkpoint: Checkpoint) -> None:
    """Every view has its tensor's size, and every byte of it is inside its file."""
    files = [MappedFile(path) for path in checkpoint.paths]
    try:
        for tensor in checkpoint.tensors.values():
            for spec in tensor.shards if isinstance(tensor, ShardedTensor) else (tensor,):
                file = files[spec.file]
                assert 0 <= spec.offset <= spec.end <= file.n_bytes
                view = file.view(spec)
                assert view.shape == (spec.shape if spec.transposed else spec.stored_shape)
                stored = [view]
                if isinstance(view, ScaledArray):
                    stored = [view.numbers, view.scales]
                elif isinstance(view, TransposedBlocks):
                    stored = [view.stored]
                for array in stored:
                    start, end = run_of_bytes(array)
                    assert file.address + spec.offset <= start
                    assert end <= file.address + spec.end
                    array.tobytes()  # a read outside of the mapping would end this process
                del view, stored, array
    finally:
        for file in files:
            file.close()


def check_vocabulary(vocabulary: Vocabulary) -> None:
    assert all(isinstance(piece, bytes) for piece in vocabulary.pieces)
    assert len(vocabulary.scores) == len(vocabulary.kinds) == len(vocabulary)


def read(path: Path, name: str) -> Checkpoint | Vocabulary | None:
    """What the reader makes of the file; None when it refuses, quickly and in words."""
    n_bytes = sum(p.stat().st_size for p in (path if path.is_dir() else path.parent).iterdir())
    gc.disable()  # what hypothesis remembers of 20,000 cases takes a second to walk through
    start = time.process_time()
    tracemalloc.start()
    try:
        return read_vocabulary(path) if name == "tokenizer.bin" else read_checkpoint(path)
    except FormatError as error:
        assert str(error).isprintable() and len(str(error)) < 1000
        return None
    finally:
        elapsed_s = time.process_time() - start
        gc.enable()
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak_bytes < n_bytes + EXTRA_BYTES
        assert elapsed_s < SECONDS


def check_opens_safely_or_is_refused(folder: Path, name: str, sample: Sample, edits, cut) -> str:
    """Write, read and look at everything; "opened" or "refused"."""
    for file, data in mutated(sample, edits, cut).items():
        (folder / file).write_bytes(data)
    path = folder if sample.is_folder else folder / next(iter(sample.files))
    found = read(path, name)
    for file in sample.files:
        if not file.endswith(".json"):
            check_hex_view(folder / file, fields_of)
    if isinstance(found, Vocabulary):
        check_vocabulary(found)
    elif found is not None:
        check_views(found)
        if found.vocabulary is not None:
            check_vocabulary(found.vocabulary)
    return "refused" if found is None else "opened"


def fuzz(folder: Path, name: str, n_cases: int) -> None:
    """Try so many mutations of the valid files of one format."""
    outcomes: Counter[str] = Counter()
    all_samples = samples(name)
    folders = [folder / str(i) for i in range(len(all_samples))]
    for place in folders:
        place.mkdir()

    @settings(max_examples=n_cases, suppress_health_check=list(HealthCheck), database=None)
    @given(index=st.integers(0, len(all_samples) - 1), edits=EDITS, cut=CUTS)
    def try_one(index, edits, cut):
        sample = all_samples[index]
        outcomes[check_opens_safely_or_is_refused(folders[index], name, sample, edits, cut)] += 1

    for place, sample in zip(folders, all_samples, strict=True):
        assert check_opens_safely_or_is_refused(place, name, sample, [], 0) == "opened"
    start = time.perf_counter()
    try_one()
    elapsed_s = time.perf_counter() - start
    print(f"{name}: {dict(outcomes)} in {elapsed_s:.0f} s")
    # with only one of them the mutations would be too tame or too wild to find anything; of a
    # hundred, all may be refused by chance
    assert outcomes["refused"] and (outcomes["opened"] or n_cases < 1000)


@pytest.mark.parametrize("name", FORMATS)
def test_the_files_that_are_mutated_are_valid(tmp_path, name):
    for i, sample in enumerate(samples(name)):
        folder = tmp_path / str(i)
        folder.mkdir()
        assert check_opens_safely_or_is_refused(folder, name, sample, [], 0) == "opened"


@pytest.mark.parametrize("name", FORMATS)
def test_a_mutated_file_opens_safely_or_is_refused(tmp_path, name):
    fuzz(tmp_path, name, 100)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", FORMATS)
def test_20000_mutated_files_open_safely_or_are_refused(tmp_path, name):
    fuzz(tmp_path, name, 20_000)
