"""The hub's cache, read without its library."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llama_edu.models.hub_cache import cache_folder, cached, cached_repositories, is_offline
from llama_edu.models.reference import HubReference

COMMIT = "a" * 40


def put(cache: Path, name: str, files: dict[str, bytes], revision: str = "main") -> Path:
    """Write a repository as the library lays it out: blobs, and links to them."""
    storage = cache / f"models--{name.replace('/', '--')}"
    snapshot = storage / "snapshots" / COMMIT
    ref = storage / "refs" / revision
    ref.parent.mkdir(parents=True, exist_ok=True)
    ref.write_text(COMMIT)
    (storage / "blobs").mkdir(exist_ok=True)
    for i, (file, body) in enumerate(files.items()):
        link = snapshot / file
        link.parent.mkdir(parents=True, exist_ok=True)
        (storage / "blobs" / f"{i}{name[-1]}").write_bytes(body)
        link.symlink_to(storage / "blobs" / f"{i}{name[-1]}")
    return snapshot


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"HF_HUB_CACHE": "/c", "HF_HOME": "/h"}, "/c"),
        ({"HUGGINGFACE_HUB_CACHE": "/c"}, "/c"),
        ({"HF_HOME": "$OTHER/h", "OTHER": "/o"}, "/o/h/hub"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/huggingface/hub"),
        ({"HOME": "/home/ann"}, "/home/ann/.cache/huggingface/hub"),
    ],
)
def test_the_cache_lies_where_the_library_puts_it(monkeypatch, variables, expected):
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(expected)


@pytest.mark.parametrize(
    ("value", "expected"), [("1", True), ("True", True), ("0", False), ("", False)]
)
def test_offline_is_what_the_library_takes_for_it(monkeypatch, value, expected):
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert is_offline() is expected
    monkeypatch.setenv("TRANSFORMERS_OFFLINE", "yes")
    assert is_offline() is (expected or not value)


def test_a_reference_that_names_no_commit_is_not_followed(empty_cache):
    put(empty_cache, "acme/tiny", {"a.gguf": b"1"})
    ref = empty_cache / "models--acme--tiny" / "refs" / "main"
    for content in (b"../../../etc", b"", b"\xff\xfe", b"b" * 40):
        ref.write_bytes(content)
        assert cached(HubReference("acme/tiny")) is None


def test_what_the_cache_holds_is_listed_with_what_is_wrong_with_it(empty_cache, run_cli):
    put(empty_cache, "acme/one", {"a.gguf": b"x" * 2**20})
    put(empty_cache, "acme/two", {"a.gguf": b"1", "b.gguf": b"2"}, revision="v2")
    put(empty_cache, "acme/part", {"a-00001-of-00002.gguf": b"1"})
    put(empty_cache, "acme/set", {"config.json": b"{}", "model.safetensors": b"12"})
    put(empty_cache, "acme/gone", {"a.gguf": b"1"})
    for blob in (empty_cache / "models--acme--gone" / "blobs").iterdir():
        blob.unlink()
    (empty_cache / "datasets--acme--text").mkdir()
    (empty_cache / "models--..--evil" / "refs").mkdir(parents=True)
    code, out, _ = run_cli("models", "--json")
    listed = {m["name"]: m for m in json.loads(out)["hub_cache"]}
    assert code == 0 and set(listed) == {
        "acme/one", "hf://acme/two@v2/a.gguf", "hf://acme/two@v2/b.gguf", "acme/part", "acme/set"
    }  # fmt: skip
    assert listed["acme/part"]["problem"] == "parts of it are missing"
    assert listed["acme/set"]["path"].endswith(f"snapshots/{COMMIT}")
    assert listed["acme/one"]["n_bytes"] == 2**20
    _, out, _ = run_cli("models")
    assert "  acme/one" in out and "parts of it are missing" in out


def test_a_cache_that_is_no_folder_holds_nothing(empty_cache):
    empty_cache.parent.mkdir()
    empty_cache.write_text("")
    assert list(cached_repositories()) == []
