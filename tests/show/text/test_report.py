"""What `inspect` reports: every byte is accounted for, and text from the file is escaped."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.gguf_by_hand import Gguf, gguf_bytes, gguf_keys
from helpers.small_models import (
    ggml_file,
    llama2c_v0,
    meta_name,
    old_config,
    op_tensor,
    op_text,
    random_weights,
    small_vocabulary,
    torch_zip,
    write_ggml_shards,
    write_meta_folder,
)

from llama_edu.files.detect import read_checkpoint
from llama_edu.show.text.json_text import json_text
from llama_edu.show.text.report import (
    byte_budget,
    checkpoint_as_dict,
    checkpoint_report,
    type_counts,
)


@pytest.fixture
def checkpoints(tmp_path, rng, config, weights):
    old = old_config()
    old_weights = random_weights(old, rng)
    (tmp_path / "c.bin").write_bytes(llama2c_v0(config, weights))
    (tmp_path / "j.bin").write_bytes(ggml_file(old, old_weights, small_vocabulary(300)))
    shards = write_ggml_shards(
        tmp_path / "p.bin", 2, old, old_weights, small_vocabulary(300), magic=b"fmgg"
    )
    folder = write_meta_folder(tmp_path / "meta", old, old_weights, n_shards=2)
    paths = (tmp_path / "c.bin", tmp_path / "j.bin", shards, folder)
    return [read_checkpoint(path) for path in paths]


def test_the_budget_of_bytes_sums_to_the_files(checkpoints):
    for checkpoint in checkpoints:
        budget = byte_budget(checkpoint)
        assert sum(budget.values()) == sum(path.stat().st_size for path in checkpoint.paths)
        assert min(budget.values()) >= 0


def test_only_padding_is_left_over_in_ggjt(checkpoints):
    checkpoint = checkpoints[1]
    records = sum(
        12 + 4 * len(spec.shape) + len(spec.stored_name) for spec in checkpoint.tensors.values()
    )
    budget = byte_budget(checkpoint)
    unexplained = budget["padding and other"] - checkpoint.metadata["padding_bytes"] - records
    assert unexplained in (0, -records)  # the headers of the records may have their own line


def test_weights_that_share_their_bytes_are_counted_once(tmp_path, config, rng):
    """A tied output in a .pth file is one storage under two names."""
    old = old_config()
    weights = random_weights(old, rng, tied=True)
    folder = write_meta_folder(tmp_path / "meta", old, weights)
    items, records = b"", {}
    for key, (name, array) in enumerate([*weights.items(), ("output", weights["token_embedding"])]):
        storage = "0" if name == "output" else str(key)
        records[f"data/{storage}"] = array.astype("<f2").tobytes()
        strides = [int(np.prod(array.shape[i + 1 :])) for i in range(array.ndim)]
        items += op_text(meta_name(name))
        items += op_tensor(storage, "HalfStorage", array.size, 0, array.shape, strides)
    program = b"\x80\x02}(" + items + b"u."
    (folder / "consolidated.00.pth").write_bytes(torch_zip({"data.pkl": program} | records))
    budget = byte_budget(read_checkpoint(folder))
    assert budget["padding and other"] > 0


def test_types_are_counted(checkpoints):
    counts = type_counts(checkpoints[1])
    matrices = 2 * (2 * 300 * 32 + 2 * (4 * 32 * 32 + 3 * 96 * 32))
    assert counts == {"f16": (16, matrices), "f32": (5, 5 * 32 * 4)}


def test_the_report_names_format_sizes_and_places(checkpoints):
    text = checkpoint_report(checkpoints[1], tensors=True)
    for part in (
        "j.bin: ggjt v1", "dim 32", "hidden_dim 96", "4 heads of 8", "300 pieces", "layers.1.w_up",
        f"{checkpoints[1].tensors['layers.1.w_up'].offset:,}", "96 x 32",
    ):  # fmt: skip
        assert part in text
    assert "in shards" in checkpoint_report(checkpoints[3], tensors=True)
    assert "in a separate file" in checkpoint_report(checkpoints[0])


def test_the_same_facts_survive_json(checkpoints):
    for checkpoint in checkpoints:
        facts = json.loads(json.dumps(checkpoint_as_dict(checkpoint)))
        assert facts["config"]["dim"] == checkpoint.config.dim
        assert len(facts["tensors"]) == len(checkpoint.tensors)
        assert facts["n_parameters"] == checkpoint.n_parameters
        assert [file["n_bytes"] for file in facts["files"]] == [
            path.stat().st_size for path in checkpoint.paths
        ]


def test_strange_settings_in_params_are_only_shown(tmp_path, rng):
    old = old_config()
    folder = write_meta_folder(
        tmp_path / "meta", old, random_weights(old, rng),
        params={"note": "\x1b[2J<script>", "\x1b]0;": 1, "nested": [{}] * 500},
    )  # fmt: skip
    checkpoint = read_checkpoint(folder)
    for text in (checkpoint_report(checkpoint), json.dumps(checkpoint_as_dict(checkpoint))):
        assert "\x1b" not in text


def test_a_list_of_texts_is_shown_and_no_object(tmp_path):
    g = Gguf()
    languages = g.array("general.languages", "string", ["en", "fr"])
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf_bytes(keys=[*gguf_keys(g), languages]))
    checkpoint = read_checkpoint(path)
    assert "general.languages" in checkpoint_report(checkpoint, metadata=True)
    assert "['en', 'fr']" in checkpoint_report(checkpoint, metadata=True)
    assert "['en', 'fr']" in json.dumps(checkpoint_as_dict(checkpoint))
    assert "object at" not in json.dumps(checkpoint_as_dict(checkpoint))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_json_has_no_number_that_json_does_not_have(tmp_path, value):
    def refuse(word):
        raise AssertionError(word)

    g = Gguf()
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf_bytes(keys=[*gguf_keys(g), g.kv("general.score", "f64", value)]))
    facts = checkpoint_as_dict(read_checkpoint(path))
    found = json.loads(json_text(facts), parse_constant=refuse)
    assert found["metadata"]["general.score"] == str(value)
    nested = {"a": [1, value, (2.5, {"b": value})], "c": True, "d": None}
    found = json.loads(json_text(nested), parse_constant=refuse)
    assert found == {"a": [1, None, [2.5, {"b": None}]], "c": True, "d": None}
