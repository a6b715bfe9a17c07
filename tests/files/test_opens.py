"""How often each file of weights is opened: once, by every way into the package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.gguf_by_hand import Gguf, gguf_bytes, gguf_keys, gguf_shapes
from helpers.hostile_ggml import tiny_ggml
from helpers.hostile_pth import arrays, meta_files, meta_folder, training_file
from helpers.huggingface_by_hand import hugging_config
from helpers.llama2c_v2_by_hand import llama2c_v2
from helpers.small_models import llama2c_v0, pth_file, random_weights, small_config

import llama_edu
from llama_edu.convert import convert
from llama_edu.errors import FormatError
from llama_edu.files.anatomy import fields_of
from llama_edu.files.detect import open_checkpoint, read_checkpoint
from llama_edu.files.names import from_ours
from llama_edu.show.text.hexview import hex_view

#: Where the hook notes what is opened; None while nobody counts. A hook cannot be taken away.
_opened: Counter[str] | None = None


def _hook(event: str, arguments: tuple) -> None:
    if event == "open" and _opened is not None and isinstance(arguments[0], str | os.PathLike):
        _opened[os.fspath(arguments[0])] += 1


sys.addaudithook(_hook)


def opens(action: Callable[[], object]) -> Counter[str]:
    """Path -> how often it is opened while the action runs."""
    global _opened
    _opened = counted = Counter()
    try:
        action()
    finally:
        _opened = None
    return counted


def one_file(folder: Path, data: bytes, name: str = "model.bin") -> tuple[Path, list[Path]]:
    (folder / name).write_bytes(data)
    return folder / name, [folder / name]


def sizes_and_weights():
    config = small_config(dim=8, hidden_dim=10, n_layers=2, n_heads=4, n_kv_heads=2, vocab_size=7)
    return config, random_weights(config, np.random.default_rng(3))


def write_llama2c(folder: Path):
    return one_file(folder, llama2c_v0(*sizes_and_weights()))


def write_llama2c_v2(folder: Path):
    return one_file(folder, llama2c_v2(*sizes_and_weights(), 4)[0])


def write_safetensors(folder: Path):
    source, _ = write_llama2c(folder)
    convert(source, folder / "model.safetensors", to="safetensors")
    return folder / "model.safetensors", [folder / "model.safetensors"]


def write_ggmf_shards(folder: Path):
    paths = [folder / "model.bin", folder / "model.bin.1"]
    for i, path in enumerate(paths):
        path.write_bytes(tiny_ggml("ggmf", shard=i, n_shards=2))
    return paths[0], paths


def write_meta(folder: Path):
    path = meta_folder(folder, meta_files(2))
    return path, [path / f"consolidated.{i:02d}.pth" for i in range(2)]


def write_gguf_split(folder: Path):
    """The model of gguf_bytes in two files, opened by the second."""
    g = Gguf()
    paths = [folder / f"m-0000{i}-of-00002.gguf" for i in (1, 2)]
    shapes = list(gguf_shapes().items())
    for i, path in enumerate(paths):
        infos, data = [], b""
        for name, shape in shapes[i::2]:
            infos.append(g.info(name, shape[::-1], 0, len(data)))
            data += bytes(4 * int(np.prod(shape)))
            data += bytes(-len(data) % 32)
        split = [g.kv("split.no", "u16", i), g.kv("split.count", "u16", 2)]
        path.write_bytes(g.file([*gguf_keys(g), *split], infos, data))
    return paths[1], paths


def write_huggingface(folder: Path):
    """pytorch_model files with an index."""
    config, weights = sizes_and_weights()
    stored = {from_ours(name, "huggingface"): array for name, array in weights.items()}
    names = list(stored)
    paths = [folder / f"pytorch_model-0000{i}-of-00002.bin" for i in (1, 2)]
    placed = {}
    for i, path in enumerate(paths):
        path.write_bytes(pth_file({name: stored[name] for name in names[i::2]}))
        placed |= dict.fromkeys(names[i::2], path.name)
    (folder / "config.json").write_text(json.dumps(hugging_config(config)))
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": placed}))
    return folder, paths


ONE_FILE = {
    "GGUF": lambda folder: one_file(folder, gguf_bytes()),
    "ggml": lambda folder: one_file(folder, tiny_ggml("ggml")),
    "ggjt v1": lambda folder: one_file(folder, tiny_ggml("ggjt-v1")),
    "ggjt v3": lambda folder: one_file(folder, tiny_ggml("ggjt-v3")),
    "safetensors": write_safetensors,
    "training checkpoint": lambda folder: one_file(folder, training_file(arrays())),
    "legacy training checkpoint": lambda folder: one_file(
        folder, training_file(arrays(), legacy=True)
    ),
    "llama2.c v0": write_llama2c,
    "llama2.c v2": write_llama2c_v2,
}
SEVERAL_FILES = {
    "ggmf in two shards": write_ggmf_shards,
    "Meta folder": write_meta,
    "GGUF split": write_gguf_split,
    "Hugging Face folder": write_huggingface,
}
ALL = ONE_FILE | SEVERAL_FILES


def load_with_mmap(path, folder):
    llama_edu.load(path).close()


def load_without_mmap(path, folder):
    llama_edu.load(path, mmap=False).close()


def read_headers(path, folder):
    read_checkpoint(path)


def convert_to_safetensors(path, folder):
    convert(path, folder / "out.safetensors", to="safetensors", type="f32")


@pytest.mark.parametrize("fmt", ALL)
@pytest.mark.parametrize(
    "action", [load_with_mmap, load_without_mmap, read_headers, convert_to_safetensors]
)
def test_each_file_of_weights_is_opened_once(tmp_path, fmt, action):
    path, files = ALL[fmt](tmp_path)
    counted = opens(lambda: action(path, tmp_path))
    assert {file.name: counted[str(file)] for file in files} == {file.name: 1 for file in files}


def first_field(path: Path) -> None:
    try:
        next(iter(fields_of(path)))
    except FormatError as error:
        assert "torch before 1.6" in str(error)


@pytest.mark.parametrize("fmt", ONE_FILE)
def test_the_hex_view_opens_its_file_once(tmp_path, fmt):
    path, _ = ONE_FILE[fmt](tmp_path)
    assert opens(lambda: first_field(path))[str(path)] == 1
    if "legacy" not in fmt:
        assert opens(lambda: hex_view(path, 32))[str(path)] == 1


@pytest.mark.parametrize("fmt", ALL)
def test_open_files_are_those_of_the_checkpoint_and_close(tmp_path, fmt):
    path, paths = ALL[fmt](tmp_path)
    checkpoint, files = open_checkpoint(path)
    assert [file.path for file in files] == list(checkpoint.paths) == paths
    for spec in checkpoint.tensors.values():
        for shard in getattr(spec, "shards", (spec,)):
            view, copy = files[shard.file].view(shard), files[shard.file].read(shard)
            assert view.shape == copy.shape and view.dtype == copy.dtype
            del view, copy
    for file in files:
        file.close()
        assert file.closed


def test_a_file_that_is_refused_is_closed_again(tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(b"GGUF" + bytes(100))
    fds = Path("/proc/self/fd")
    if not fds.is_dir():
        pytest.skip("needs Linux's list of open files")
    with pytest.raises(FormatError):
        read_checkpoint(path)
    assert path not in [fd.readlink() for fd in fds.iterdir() if fd.is_symlink()]


def test_a_mapped_file_that_is_dropped_closes_its_file(tmp_path):
    """Python would warn of a file that was left open, and a warning fails a test."""
    path, _ = write_llama2c(tmp_path)
    checkpoint = read_checkpoint(path)
    spec = checkpoint.tensors["layers.1.wq"]
    view = open_checkpoint(path)[1][0].view(spec)
    assert view.shape == spec.shape and np.isfinite(view).all()


#: Format -> the family whose modules read it.
FAMILIES = {
    "GGUF": "gguf", "ggml": "ggml", "ggjt v1": "ggml", "ggmf in two shards": "ggml",
    "safetensors": "huggingface", "training checkpoint": "torch", "Meta folder": "torch",
    "llama2.c v0": "llama2c", "llama2.c v2": "llama2c",
}  # fmt: skip


@pytest.mark.parametrize("fmt", FAMILIES)
def test_a_file_of_one_family_is_read_without_the_readers_of_the_others(tmp_path, fmt):
    path, _ = ALL[fmt](tmp_path)
    program = (
        "import sys; from llama_edu.files.detect import read_checkpoint; "
        f"read_checkpoint({str(path)!r}); print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    families = {f for f in {*FAMILIES.values()} if f"llama_edu.files.{f}" in loaded}
    assert families == {FAMILIES[fmt]}
    assert ("zipfile" in loaded) == (FAMILIES[fmt] == "torch")
    assert not loaded & {"torch", "sentencepiece", "tokenizers"}
