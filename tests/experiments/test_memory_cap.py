"""Under a cap on memory: what is read again at each pass, emulated and in a control group."""

import dataclasses
import mmap
import platform
import subprocess
from pathlib import Path

import pytest
from helpers.small_models import (
    llama2c_v0,
    random_weights,
    small_config,
    small_vocabulary,
    tokenizer_bin,
)

from llama_edu.convert import convert
from llama_edu.errors import MeasurementError
from llama_edu.experiments import memory_cap as memory_cap_module
from llama_edu.experiments.memory_cap import MemoryCap, Pass, memory_cap
from llama_edu.experiments.observe import capped_tokens
from llama_edu.experiments.observe import control_group as group_module
from llama_edu.experiments.observe.capped_tokens import Writing
from llama_edu.show.text.json_text import json_text

pytestmark = pytest.mark.skipif(platform.system() != "Linux", reason="measures Linux")

MIB = 2**20


def test_under_an_emulated_cap_nothing_is_reused_until_all_fits(tmp_path):
    try:
        result = memory_cap(
            n_bytes=16 * MIB, folder=tmp_path, caps=(0.5, 1.2), n_passes=2, emulate=True
        )
    except MeasurementError as refused:
        pytest.skip(str(refused))
    tokens = {(t.strategy, t.cap_fraction): t for t in result.passes}
    assert {t.method for t in result.passes} == {"emulated"}
    assert "Emulated with MADV_PAGEOUT: as requested." in str(result)
    plain, fits = tokens["plain mapping", 0.5], tokens["plain mapping", 1.2]
    if plain.read_bytes in (None, 0):
        pytest.skip("this system does not report what was read from the disk")
    assert fits.read_bytes == 0
    assert plain.read_bytes >= 14 * MIB
    assert tokens["keep a part", 0.5].read_bytes < plain.read_bytes
    assert tokens["MADV_RANDOM", 0.5].major_faults >= 8 * MIB / mmap.PAGESIZE


def test_a_control_group_that_is_refused_is_emulated_and_said_so(tmp_path, monkeypatch):
    monkeypatch.setattr(group_module, "control_group", refuse)
    try:
        result = memory_cap(n_bytes=8 * MIB, folder=tmp_path, caps=(1.5,), n_passes=2)
    except MeasurementError as refused:
        pytest.skip(str(refused))
    assert {t.method for t in result.passes} == {"emulated"}
    assert "this user may not make one (Permission denied)." in str(result)


def test_a_control_group_limits_what_a_child_may_keep(tmp_path):
    try:
        result = memory_cap(n_bytes=48 * MIB, folder=tmp_path, caps=(0.5,), n_passes=2)
    except MeasurementError as refused:
        pytest.skip(str(refused))
    if result.why_emulated:
        pytest.skip(result.why_emulated)
    plain = result.passes[0]
    assert plain.method == "control group"
    assert plain.read_bytes > 12 * MIB


def refuse(limit_bytes):
    raise MeasurementError("control groups: this user may not make one (Permission denied)")


def test_without_a_control_group_no_token_is_written_and_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(group_module, "control_group", refuse)
    try:
        result = memory_cap(n_bytes=8 * MIB, folder=tmp_path, caps=(1.5,), n_passes=2)
    except MeasurementError as refused:
        pytest.skip(str(refused))
    assert result.written == ()
    assert "No tokens were written: control groups: this user may not make one" in str(result)


def test_a_file_of_random_bytes_writes_nothing_and_is_called_no_model(tmp_path):
    file = tmp_path / "bytes.bin"
    file.write_bytes(bytes(range(256)) * 4096)
    assert memory_cap_module._written(file, (0.5,), 2, "") == ([], "bytes.bin is no model")
    assert memory_cap_module._written(file, (0.5,), 0, "") == ([], "none were asked for")


@pytest.mark.slow
def test_a_model_writes_under_a_limit_mapped_and_is_killed_where_it_must_be_read(tmp_path, rng):
    config = small_config(dim=512, hidden_dim=1664, n_layers=6, n_heads=8)
    (tmp_path / "tokenizer.bin").write_bytes(tokenizer_bin(small_vocabulary()))
    (tmp_path / "model.bin").write_bytes(llama2c_v0(config, random_weights(config, rng)))
    file, caps = tmp_path / "model.gguf", (0.3, 1.5)
    convert(
        tmp_path / "model.bin", file, to="gguf", type="f16", tokenizer=tmp_path / "tokenizer.bin"
    )
    rows, why_not = memory_cap_module._written(file, caps, 3, "")
    if not rows:
        pytest.skip(why_not)
    written = {(w.how, w.cap_fraction): w for w in rows}
    assert list(written) == [(how, cap) for how in ("mmap", "read()") for cap in caps]
    assert written["read()", 0.3].outcome == "killed: out of memory"
    assert written["read()", 0.3].tokens_per_s is None
    for key in (("mmap", 0.3), ("mmap", 1.5), ("read()", 1.5)):
        assert written[key].outcome == "written" and written[key].tokens_per_s > 0
    n_bytes = file.stat().st_size
    assert written["mmap", 1.5].own_bytes < 0.5 * n_bytes < written["read()", 1.5].own_bytes
    text = str(MemoryCap(n_bytes, (), "", tuple(rows), ""))
    assert "killed: out of memory" in text and "Tokens written under the same" in text


def test_what_was_stored_as_json_is_read_again(tmp_path):
    passes = (Pass(0.5, "keep a part", 0.25, None, 1.5, "emulated"),)
    written = (Writing("read()", 0.5, None, None, None, None, "killed: out of memory"),)
    result = MemoryCap(77, passes, "as requested", written, "")
    assert MemoryCap.from_json(json_text(dataclasses.asdict(result))) == result
    assert "4.0" in str(result)  # passes per second


def test_a_limited_process_that_fails_is_reported_with_its_last_words():
    failed = subprocess.CompletedProcess([], 1, "", "Traceback\nOSError: no weights")
    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(MeasurementError, match="ended with code 1: OSError: no weights"),
    ):
        patch.setattr(capped_tokens, "evict", lambda file: None)
        patch.setattr(capped_tokens, "run_limited", lambda *arguments: failed)
        capped_tokens.write_under_cap(Path("x.gguf"), None, "mmap", 2)


@pytest.mark.parametrize("wrong", [{"n_passes": 1}, {"n_tokens": 1}, {"n_tokens": -1}])
def test_one_pass_or_token_cannot_be_compared_with_a_first_one(wrong):
    with pytest.raises(MeasurementError, match="expected at least 2, or 0 tokens"):
        memory_cap(**wrong)
