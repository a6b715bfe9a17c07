"""Models from a hub on loopback: what is downloaded, resumed, taken from the cache, refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.hub_server import Repository

import llama_edu
from llama_edu.errors import LlamaEduError, RequestError
from llama_edu.models import locate
from llama_edu.models.hub import HubError


@pytest.fixture
def gguf(tiny_files) -> bytes:
    return tiny_files["gguf"]["tiny.gguf"]


def greedy(model) -> str:
    with llama_edu.load(model) as llama:
        return "".join(llama.generate("the", 6, temperature=0))


def test_a_repository_with_one_gguf_is_downloaded_and_opened(hub, gguf, tmp_path):
    hub.repositories["acme/tiny"] = Repository({"README.md": b"#", "tiny.gguf": gguf})
    (tmp_path / "own.gguf").write_bytes(gguf)
    assert greedy("acme/tiny") == greedy(tmp_path / "own.gguf")
    assert [path for _, path, _ in hub.log if "README" in path] == []


def test_of_a_folder_only_weights_configurations_and_vocabularies_come(
    hub, tiny_files, empty_cache
):
    files = tiny_files["huggingface"]
    others = {
        "modeling_tiny.py": b"raise SystemExit", "pytorch_model.bin": b"pickle", "README.md": b"#",
        "training_args.bin": b"pickle", "model.fp16.safetensors": b"variant", "a.png": b"picture",
        "original/consolidated.00.pth": b"pickle",
    }  # fmt: skip
    hub.repositories["acme/tiny"] = Repository({**files, **others})
    with llama_edu.load("acme/tiny") as llama:
        assert llama.checkpoint.format.startswith("Hugging Face")
        assert llama.tokenizer.encode("the")
    found = {path.name for path in locate("acme/tiny").iterdir()}
    assert found == {name for name in files if name.endswith((".json", ".safetensors", ".model"))}
    asked = {path.rpartition("/")[2] for _, path, _ in hub.log if "/resolve/" in path}
    assert asked == found


def test_a_second_load_asks_nobody(hub, gguf):
    hub.repositories["acme/tiny"] = Repository({"tiny.gguf": gguf})
    first = greedy("acme/tiny")
    hub.log.clear()
    assert greedy("acme/tiny") == first and hub.log == []


@pytest.mark.parametrize("how", ["server gone", "offline"])
@pytest.mark.parametrize("name", ["acme/tiny", "hf://acme/tiny", "hf://acme/tiny/tiny.gguf"])
def test_the_cache_alone_is_enough(hub, gguf, monkeypatch, how, name):
    hub.repositories["acme/tiny"] = Repository({"tiny.gguf": gguf})
    path = locate("acme/tiny")
    if how == "offline":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    else:
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert locate(name) == path
    assert greedy(name)


def test_a_file_whose_connection_breaks_is_resumed_where_it_broke(hub, gguf, monkeypatch):
    """The library keeps whole chunks, of 10 MiB unless it is told otherwise."""
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    hub.repositories["acme/tiny"] = Repository({"tiny.gguf": gguf})
    hub.cut["tiny.gguf"] = 50_500
    assert locate("acme/tiny").read_bytes() == gguf
    assert hub.gets("tiny.gguf") in (["", "bytes=50000-"], ["", "bytes=50500-"])


def test_a_connection_that_is_reset_is_opened_again(hub, gguf, monkeypatch):
    import huggingface_hub.file_download as library

    whole, tries = library.http_get, []

    def http_get(*args, **kwargs):
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError("reset, as HTTP libraries raise it")
        return whole(*args, **kwargs)

    monkeypatch.setattr(library, "http_get", http_get)
    hub.repositories["acme/tiny"] = Repository({"tiny.gguf": gguf})
    assert locate("acme/tiny").read_bytes() == gguf and len(tries) == 3


def test_after_a_broken_set_only_what_is_missing_is_downloaded(hub, tiny_files):
    served = hub.repositories["acme/tiny"] = Repository(tiny_files["huggingface"])
    served.lost.add("model.safetensors")
    with pytest.raises(HubError, match="acme/tiny"):
        locate("acme/tiny")
    served.lost.clear()
    hub.log.clear()
    with llama_edu.load("acme/tiny") as llama:
        assert llama.tokenizer.encode("the")
    got = [path.rpartition("/")[2] for method, path, _ in hub.log if method == "GET"]
    assert [name for name in got if name != "main"] == ["model.safetensors"]


def test_one_file_of_several_is_chosen_by_its_name(hub, gguf):
    files = {"tiny-Q4_0.gguf": gguf, "tiny-Q8_0.gguf": gguf + bytes(32), "sub/tiny-F16.gguf": gguf}
    hub.repositories["acme/tiny"] = Repository(files)
    with pytest.raises(RequestError) as refused:
        llama_edu.load("acme/tiny")
    for name in files:
        assert f"hf://acme/tiny/{name} (" in str(refused.value)
    assert "holds 3 models, expected one" in str(refused.value)
    assert not any("/resolve/" in path for _, path, _ in hub.log)
    assert greedy("hf://acme/tiny/sub/tiny-F16.gguf")
    assert locate("hf://acme/tiny/sub/tiny-F16.gguf").name == "tiny-F16.gguf"


def test_safetensors_beside_ggufs_are_listed_as_well(hub, tiny_files, gguf):
    hub.repositories["acme/both"] = Repository({**tiny_files["huggingface"], "tiny.gguf": gguf})
    with pytest.raises(RequestError) as refused:
        locate("acme/both")
    assert "hf://acme/both/model.safetensors" in str(refused.value)
    assert "hf://acme/both/tiny.gguf" in str(refused.value)
    with llama_edu.load("hf://acme/both/model.safetensors") as llama:
        assert llama.tokenizer.encode("the")


def test_many_models_are_answered_with_the_first_and_the_command_that_lists_all(hub, run_cli):
    hub.repositories["acme/many"] = Repository({f"m-{i:02}.gguf": b"GGUF" for i in range(40)})
    with pytest.raises(RequestError) as refused:
        locate("acme/many")
    said = str(refused.value)
    assert "and 34 more; llama-edu models acme/many lists them all" in said and " ... " not in said
    code, out, _ = run_cli("models", "acme/many")
    assert code == 0 and all(f"hf://acme/many/m-{i:02}.gguf" in out for i in range(40))


def test_a_revision_is_a_branch_a_tag_or_a_commit(hub, gguf):
    commit = "f" * 40
    hub.repositories["acme/tiny"] = Repository({"tiny.gguf": gguf}, commit, ("main", "v1.0"))
    by_tag = locate("hf://acme/tiny@v1.0/tiny.gguf")
    assert by_tag == locate("acme/tiny@v1.0") == locate(f"hf://acme/tiny@{commit}")
    assert commit in by_tag.parts


def test_split_ggufs_come_with_all_their_parts(hub):
    names = [f"big-{i:05}-of-00003.gguf" for i in (1, 2, 3)]
    bodies = {name: f"GGUF part {name}".encode() for name in names}
    hub.repositories["acme/big"] = Repository(bodies)
    path = locate("acme/big")
    assert path.name == names[0] and all(path.with_name(n).read_bytes() == bodies[n] for n in names)
    (path.with_name(names[1])).unlink()
    hub.log.clear()
    assert locate(f"hf://acme/big/{names[0]}") == path and hub.log != []
    assert path.with_name(names[1]).is_file()


def test_a_repository_that_lacks_a_part_is_refused(hub):
    hub.repositories["acme/big"] = Repository({"big-00001-of-00002.gguf": b"GGUF"})
    with pytest.raises(RequestError, match=r"lacks parts of big-00001-of-00002\.gguf"):
        locate("acme/big")


def test_links_whose_file_is_gone_are_downloaded_again_or_reported(
    hub, gguf, empty_cache, monkeypatch
):
    hub.repositories["acme/tiny"] = Repository({"tiny.gguf": gguf})
    path = locate("acme/tiny")
    for blob in (empty_cache / "models--acme--tiny" / "blobs").iterdir():
        blob.unlink()
    assert path.is_symlink() and not path.exists()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(HubError, match=r"not whole in the cache at .*hub, and HF_HUB_OFFLINE"):
        locate("acme/tiny")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert locate("acme/tiny") == path and path.read_bytes() == gguf


def test_a_cached_model_without_its_vocabulary_opens_where_the_hub_is_gone(
    hub, tiny_files, monkeypatch
):
    """A program that wanted the weights alone has left it so; where the hub is, it is completed."""
    hub.repositories["acme/tiny"] = Repository(tiny_files["huggingface"])
    vocabulary = locate("acme/tiny") / "tokenizer.model"
    vocabulary.unlink()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with llama_edu.load("acme/tiny") as llama:
        assert llama.logits([3, 4]).shape[0] == 2
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert greedy("acme/tiny") and vocabulary.is_file()


def test_a_folder_here_wins_over_the_hub(hub, tiny_files, in_folder):
    own = in_folder / "acme" / "tiny"
    own.mkdir(parents=True)
    for name, body in tiny_files["huggingface"].items():
        (own / name).write_bytes(body)
    with llama_edu.load("acme/tiny") as llama:
        assert llama.checkpoint.paths[0].parent == Path("acme/tiny")
    assert hub.log == []
    with pytest.raises(LlamaEduError, match="acme/tinny: no such file; check the path"):
        llama_edu.load("acme/tinny")  # acme is a folder here, so this is a path
    assert hub.log == []


def test_the_command_line_reads_the_environment(hub, gguf, tmp_path):
    """A program of its own, whose library sees nothing but these variables."""
    hub.repositories["acme/tiny"] = Repository({"tiny.gguf": gguf})
    environment = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-m", "llama_edu", "generate", "acme/tiny", "--prompt", "the",
               "--n-tokens", "4", "--temperature", "0"]  # fmt: skip
    online = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert online.returncode == 0 and online.stdout.startswith("the"), online.stderr
    n_requests = len(hub.log)
    environment |= {"HF_HUB_OFFLINE": "1"}
    again = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert again.stdout == online.stdout and len(hub.log) == n_requests > 0


def test_what_a_repository_holds_is_listed_without_downloading_it(hub, gguf, run_cli):
    hub.repositories["acme/tiny"] = Repository(
        {"a.gguf": gguf, "b.gguf": bytes(2**20), "c.md": b""}
    )
    locate("hf://acme/tiny/a.gguf")
    hub.log.clear()
    code, out, _ = run_cli("models", "acme/tiny")
    assert code == 0 and out.splitlines() == [
        "hf://acme/tiny has 3 files; the models among them: 2",
        f"  hf://acme/tiny/a.gguf ({len(gguf) / 2**20:.1f} MiB, in the cache)",
        "  hf://acme/tiny/b.gguf (1.0 MiB)",
    ]
    _, out, _ = run_cli("models", "hf://acme/tiny", "--json")
    assert json.loads(out)["models"][1] == {
        "name": "hf://acme/tiny/b.gguf", "n_bytes": 2**20, "is_cached": False
    }  # fmt: skip
    assert not any("/resolve/" in path for _, path, _ in hub.log)
    code, _, err = run_cli("models", "no name")
    assert code == 2 and "'no name': is no known name, and no name on the hub" in err
