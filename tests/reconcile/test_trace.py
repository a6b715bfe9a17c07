"""Traces: chosen by name, announced in bytes, refused above a limit, saved and read back."""

from __future__ import annotations

import contextlib
import io
import zipfile

import numpy as np
import pytest
from helpers.random_models import random_model, random_text

import llama_edu
from llama_edu.errors import FormatError, RequestError
from llama_edu.reconcile.trace import Trace, trace, trace_bytes

TOKENS = random_text(3, 9)


@pytest.fixture(scope="module")
def made():
    return trace(random_model(0), TOKENS)


def test_a_trace_is_a_mapping_in_the_order_of_the_computation(made):
    assert list(made)[:2] == ["embedding", "layers.0.attention_norm"] and list(made)[-1] == "logits"
    assert made["layers.2.k_rope"].shape == (9, 2, 4) and made.tokens == tuple(TOKENS)
    assert len(made) == 3 * 17 + 3


def test_names_are_patterns_and_only_those_steps_are_kept(made):
    model = random_model(0)
    some = trace(model, TOKENS, ["layers.*.out", "logits"])
    assert list(some) == ["layers.0.out", "layers.1.out", "layers.2.out", "logits"]
    for name, x in some.items():
        np.testing.assert_array_equal(x, made[name])
    assert list(made.select("layers.1.[qk]")) == ["layers.1.q", "layers.1.k"]
    with pytest.raises(RequestError, match=r"no step is called 'layers\.9\.\*', expected one"):
        trace(model, TOKENS, ["logits", "layers.9.*"])
    with pytest.raises(KeyError, match=r"'layers\.0\.nothing' is not in this trace"):
        _ = made["layers.0.nothing"]


def test_memory_is_known_before_and_refused_above_the_limit(made):
    model = random_model(0)
    expected = trace_bytes(model.config, len(TOKENS))
    assert expected == made.n_bytes == sum(x.nbytes for x in made.values())

    class Never(dict):
        def __getitem__(self, name):
            raise AssertionError("computed")

    from dataclasses import replace

    untouchable = replace(model, weights=Never())
    with pytest.raises(RequestError, match=r"54 steps of 9 tokens take .* at most 5,000; name few"):
        trace(untouchable, TOKENS, limit_bytes=5000)
    assert trace(model, TOKENS, "logits", limit_bytes=9 * 271 * 4)["logits"].shape == (9, 271)


def test_the_front_door_traces_and_edits():
    with llama_edu.load(llama_edu.bundled_checkpoint()) as llama:
        tokens = llama.tokenizer.encode("The fox")
        found = llama.trace(tokens, "logits")
        np.testing.assert_array_equal(found["logits"], llama.logits(tokens))
        silent = llama.logits(tokens, tap=lambda n, x: x * 0 if n.endswith("wo") else x)
        assert np.abs(silent - found["logits"]).max() > 0.1
    with pytest.raises(RequestError, match="is closed; load it again"):
        llama.trace(tokens)


def test_a_tap_changes_what_is_kept():
    doubled = trace(random_model(0), TOKENS, "embedding", tap=lambda n, x: x * 2)
    np.testing.assert_array_equal(
        doubled["embedding"], 2 * trace(random_model(0), TOKENS)["embedding"]
    )


def test_a_tap_may_use_one_array_again_and_again():
    """What was kept of an earlier step is not overwritten by a later one."""
    buffer = np.empty((9, 24), np.float32)

    def tap(name, x):
        if not name.endswith(".out"):
            return x
        buffer[...] = x
        return buffer

    found = trace(random_model(0), TOKENS, "layers.*.out", tap=tap)
    assert np.abs(found["layers.0.out"] - found["layers.1.out"]).max() > 0.1


def test_its_repr_is_a_table_that_stays_short(made):
    text = repr(made)
    assert text.startswith("Trace of 9 tokens: 54 steps, 0.1 MiB\n")
    assert "layers.0.attention_norm  (9, 24)" in text and "... 30 more" in text
    assert len(text.splitlines()) == 1 + 1 + 24 + 1
    assert "&lt;" not in made._repr_html_() and made._repr_html_().startswith("<pre style=")
    assert "inf" not in text


def test_saved_and_loaded_is_the_same(tmp_path, made):
    path = tmp_path / "a trace.npz"
    made.save(path)
    again = Trace.load(path)
    assert list(again) == list(made) and again.tokens == made.tokens
    for name, x in made.items():
        np.testing.assert_array_equal(again[name], x)
    with np.load(path, allow_pickle=False) as arrays:
        assert arrays["tokens"].tolist() == TOKENS
    assert [p.name for p in tmp_path.iterdir()] == ["a trace.npz"]


def npz_of(**arrays) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def zip_of(name, data, compression=zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        archive.writestr(name, data)
    return out.getvalue()


def header(text: str) -> bytes:
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text.encode()


ONES = np.ones((2, 3), np.float32)
HUGE = header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }\n")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cannot be read as .npz"),
        (b"PK\3\4 no zip at all", "cannot be read as .npz"),
        (npz_of(x=ONES), "has no tokens"),
        (npz_of(tokens=np.zeros(2)), "has no tokens"),
        (npz_of(tokens=np.zeros(2, np.int64), x=np.ones(2)), "'x' is float64 of shape"),
        (npz_of(tokens=np.zeros(5, np.int64), x=ONES), "'x' is float32 of shape .* 5 positions"),
        (npz_of(tokens=np.array([{}], object)), "'tokens.npy' is object"),
        (npz_of(tokens=np.zeros(2, np.int64), x=np.asfortranarray(ONES)), "expected .* by rows"),
        (zip_of("tokens.npy", HUGE), r"of shape \(1000000000000,\) in 0 bytes"),
        (zip_of("tokens.npy", header("{'descr': __import__('os')}\n")), "cannot be read"),
        (zip_of("tokens.npy", bytes(10**6), zipfile.ZIP_DEFLATED), "claims 1 arrays of 1,000,000"),
        (zip_of("tokens.npy", b"\x93NUMPY\3\0"), "another version than 1.0"),
    ],
)
def test_a_damaged_or_foreign_file_is_refused_in_a_sentence(tmp_path, data, message):
    path = tmp_path / "x.npz"
    path.write_bytes(data)
    with pytest.raises(FormatError, match=message) as caught:
        Trace.load(path)
    assert "x.npz: " in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_cut_off_anywhere_or_with_a_changed_byte_is_refused_or_a_trace(tmp_path, made):
    path = tmp_path / "x.npz"
    made.select(["embedding", "layers.1.weights"]).save(path)
    whole = path.read_bytes()
    for end in range(0, len(whole), 17):
        path.write_bytes(whole[:end])
        with pytest.raises(FormatError):
            Trace.load(path)
    rng = np.random.default_rng(1)
    for at in rng.integers(0, len(whole), 300):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x5A]) + whole[at + 1 :])
        with contextlib.suppress(FormatError):
            Trace.load(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FormatError, match=r"gone\.npz: no such file"):
        Trace.load(tmp_path / "gone.npz")
