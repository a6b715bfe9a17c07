"""What cannot be had from a hub is said in one sentence, and nothing is asked for in vain."""

from __future__ import annotations

import errno
import os
import sys

import pytest
from helpers.hub_server import Repository

import llama_edu
from llama_edu.errors import RequestError
from llama_edu.models import locate
from llama_edu.models.hub import HubError


def said(name: str) -> str:
    with pytest.raises(HubError) as refused:
        llama_edu.load(name)
    sentence = str(refused.value)
    assert "\n" not in sentence and len(sentence) < 600
    return sentence


@pytest.fixture
def tiny(hub, tiny_files) -> Repository:
    hub.repositories["acme/tiny"] = Repository(tiny_files["gguf"])
    return hub.repositories["acme/tiny"]


def test_a_repository_that_does_not_exist(hub):
    sentence = said("hf://acme/none")
    assert sentence == (
        f"hf://acme/none: {hub.endpoint} has no such repository, or it is private; check the "
        "name, or log in with: hf auth login"
    )
    assert said("acme/none").startswith("acme/none: no such file or folder here; hf://acme/none: ")


def test_a_gated_repository(hub, tiny):
    tiny.is_gated = True
    assert f"is gated; accept its terms at {hub.endpoint}/acme/tiny" in said("acme/tiny")


@pytest.mark.parametrize("status", [401, 403, 500, 503])
def test_a_hub_that_refuses_everything(hub, tiny, status):
    hub.status = status
    assert f"{hub.endpoint} answers with HTTP status {status}" in said("acme/tiny")


def test_an_endpoint_that_is_down(tiny, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    sentence = said("acme/tiny")
    assert "the hub at http://127.0.0.1:9 cannot be reached (" in sentence
    assert "check the connection and HF_ENDPOINT" in sentence


def test_an_endpoint_that_is_no_address(tiny, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "nonsense")
    assert "the hub at nonsense cannot be reached (" in said("acme/tiny")


def test_a_revision_that_does_not_exist(tiny):
    sentence = said("acme/tiny@v9")
    assert "the repository has no revision v9; check it" in sentence


def test_a_file_that_does_not_exist(tiny):
    with pytest.raises(RequestError, match=r"tinny\.gguf: the repository has no such file; llama-"):
        locate("hf://acme/tiny/tinny.gguf")


def test_a_repository_without_weights(hub):
    hub.repositories["acme/text"] = Repository({"README.md": b"#", "config.json": b"{}"})
    with pytest.raises(RequestError, match=r"holds no weights, expected \.gguf, .* its 2 files"):
        locate("acme/text")


def test_offline_and_not_in_the_cache(hub, tiny, monkeypatch, empty_cache):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    sentence = said("acme/tiny")
    assert f"is not whole in the cache at {empty_cache}, and HF_HUB_OFFLINE forbids" in sentence
    assert hub.log == []


def test_without_the_library(empty_cache, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "to download from the hub, run: pip install huggingface_hub" in said("acme/tiny")


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.ENOSPC, "there is no room for it in .*hub .No space left on device.; make room"),
        (errno.EROFS, "cannot be written .Read-only file system.; set HF_HOME"),
    ],
)
def test_a_disk_that_takes_no_more(tiny, monkeypatch, number, sentence):
    import huggingface_hub.file_download as library

    def http_get(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(library, "http_get", http_get)
    with pytest.raises(HubError, match=sentence):
        locate("acme/tiny")


def test_a_download_that_ends_too_early_every_time_leaves_no_half_file(
    hub, tiny, monkeypatch, empty_cache
):
    import huggingface_hub.file_download as library

    whole = library.http_get

    def http_get(*args, **kwargs):
        hub.cut["tiny.gguf"] = 9
        return whole(*args, **kwargs, _nb_retries=0)

    monkeypatch.setattr(library, "http_get", http_get)
    assert "try again" in said("acme/tiny")
    assert [path for path in empty_cache.rglob("*.gguf") if path.exists()] == []
    monkeypatch.undo()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a user with limits")
def test_a_cache_that_cannot_be_written(tiny, empty_cache):
    empty_cache.parent.mkdir()
    empty_cache.parent.chmod(0o500)
    try:
        assert "cannot be written" in said("acme/tiny")
    finally:
        empty_cache.parent.chmod(0o700)


@pytest.mark.parametrize(
    "name",
    [
        "hf://acme/..", "hf://../tiny", "hf://acme/tiny/../other/x.gguf", "hf:///etc/passwd",
        "hf://acme\\tiny", "hf://acme/ti\\ny", "hf://acme/tiny/a\\b.gguf", "hf://acme/%2e%2e",
        "hf://acme/tiny/%2e%2e/x.gguf", "hf://acme/tiny@../main/x.gguf", "hf://acme/tiny@a b/x",
        "hf://acme/tiny@/x.gguf", "hf://acme/tiny@ma\nin", "hf://acme/ti\x1b[2Jny", "hf://acme",
        "hf://", "hf://acme/tiny//x.gguf", "hf://acme/tiny/./x.gguf", "hf://acme/ti--ny",
        "hf://acme/tiny.git", "hf://acme/" + "x" * 97, "hf://acme/tiny/" + "x" * 501,
        "hf://acme/tiny@refs/heads/main/x.gguf", "hf://user:secret@host/tiny", "hf://acme/tiny?x=1",
    ],
)  # fmt: skip
def test_names_that_the_hub_does_not_allow_are_refused_before_it_is_asked(hub, name):
    with pytest.raises(RequestError) as refused:
        llama_edu.load(name)
    sentence = str(refused.value)
    assert "expected hf://ORG/NAME" in sentence and sentence.isprintable()
    assert hub.log == []


def test_a_hub_that_lists_files_outside_the_repository_is_not_followed(hub, empty_cache):
    hub.repositories["acme/evil"] = Repository({"../../../evil.gguf": b"GGUF"})
    with pytest.raises(RequestError, match=r"'\.\.' cannot be part of a file's path"):
        locate("acme/evil")
    assert not any("/resolve/" in path for _, path, _ in hub.log)
