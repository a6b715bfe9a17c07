"""A folder in which one model lies, whatever it is called."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.gguf_by_hand import Gguf, gguf_bytes, gguf_keys, gguf_shapes
from helpers.huggingface_by_hand import hugging_config, to_huggingface
from helpers.small_models import random_weights, small_config
from safetensors.numpy import save_file

from llama_edu import load
from llama_edu.errors import FormatError
from llama_edu.files.detect import read_checkpoint
from llama_edu.show.runtime.found_models import found_models


def write_one(folder):
    path = folder / "m.GGUF"
    path.write_bytes(gguf_bytes())
    return path, [path]


def write_split(folder):
    """The same model in two files."""
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


def write_any_name(folder):
    """Safetensors whose name no tool of Hugging Face knows, beside a config.json."""
    config = small_config()
    weights = to_huggingface(config, random_weights(config, np.random.default_rng(3)))
    (folder / "config.json").write_text(json.dumps(hugging_config(config)))
    path = folder / "weights.safetensors"
    save_file(weights, path)
    return path, [path]


@pytest.mark.parametrize("write", [write_one, write_split, write_any_name])
def test_a_folder_with_one_model_in_it_is_that_model(tmp_path, write):
    path, files = write(tmp_path)
    (tmp_path / ".hidden.gguf").write_bytes(b"half")
    (tmp_path / "README.md").write_text("a model")
    (tmp_path / "folder.gguf").mkdir()
    checkpoint = read_checkpoint(tmp_path)
    assert list(checkpoint.paths) == files
    assert checkpoint.tensors == read_checkpoint(path).tensors
    with load(tmp_path) as given, load(path) as itself:
        np.testing.assert_array_equal(given.logits([1, 5]), itself.logits([1, 5]))


def test_half_of_a_split_model_alone_in_a_folder_names_the_other_half(tmp_path):
    _, (first, _) = write_split(tmp_path)
    first.unlink()
    with pytest.raises(FormatError, match=f"{first.name}: is missing, one of 2 files"):
        read_checkpoint(tmp_path)


def test_a_list_of_models_names_the_only_file_of_a_folder_once(tmp_path):
    path, _ = write_one(tmp_path)
    (tmp_path / "inner").mkdir()
    write_one(tmp_path / "inner")
    assert [found.path for found in found_models(tmp_path)] == [tmp_path / "inner", path]
