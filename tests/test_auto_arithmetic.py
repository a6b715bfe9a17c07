"""arithmetic="auto" of load(): when it is decided, where it is float32, and who says so."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from llama_edu.bundled import bundled_checkpoint
from llama_edu.convert import convert
from llama_edu.loading import load
from llama_edu.pages.lab import PageLab

TOKENS = [1, 5, 3, 11, 7, 200, 31]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Type -> the bundled model as GGUF."""
    folder = tmp_path_factory.mktemp("auto")
    paths = {name: folder / f"{name}.gguf" for name in ("f16", "q4_0")}
    for name, path in paths.items():
        convert(bundled_checkpoint(), path, to="gguf", type=name)
    return paths


@pytest.fixture
def int8_is_faster(monkeypatch):
    """Whatever this processor has: a quantized file is for int8."""
    pytest.importorskip("numba")
    from llama_edu.matmul.jit.int8 import instructions

    if instructions.host_instructions() is None:
        monkeypatch.setattr("llama_edu.matmul.auto.faster_with_int8", lambda: {"q4_0"})


def logits(path, **options):
    with load(path, **options) as llama:
        return llama.logits(TOKENS), llama.arithmetic


def test_a_quantized_file_is_computed_in_int8_prompt_and_tokens_alike(files, int8_is_faster):
    found, became = logits(files["q4_0"])
    assert became == "int8"
    np.testing.assert_array_equal(found, logits(files["q4_0"], arithmetic="int8")[0])
    exact, unrounded = logits(files["q4_0"], arithmetic="float32")
    assert unrounded == "float32"
    assert 1e-4 < np.abs(found - exact).max() / np.abs(exact).max() < 0.05
    with load(files["q4_0"]) as auto, load(files["q4_0"], arithmetic="int8") as int8:
        steps = [
            [token.logits for token in llama.generate_tokens(TOKENS, 4, seed=1)]
            for llama in (auto, int8)
        ]
    np.testing.assert_array_equal(*steps)


@pytest.mark.parametrize("options", [{}, {"kernels": "jit"}, {"kernels": "numpy"}])
def test_f16_and_numpys_kernels_stay_exact(files, int8_is_faster, options):
    assert logits(files["f16"], **options)[1] == "float32"
    expected = "float32" if options.get("kernels") == "numpy" else "int8"
    found, became = logits(files["q4_0"], **options)
    assert became == expected
    if became == "float32":
        exact, _ = logits(files["q4_0"], arithmetic="float32", **options)
        np.testing.assert_array_equal(found, exact)


@pytest.mark.skipif(sys.platform != "linux", reason="labs need Linux")
def test_what_a_lab_observes_is_exact_unless_it_was_asked_for(files, int8_is_faster):
    for asked, expected in ((None, "float32"), ("auto", "float32"), ("int8", "int8")):
        options = {} if asked is None else {"arithmetic": asked}
        lab = PageLab.open(files["q4_0"])
        with lab, load(files["q4_0"], lab=lab, **options) as llama:
            assert llama.arithmetic == expected


def test_it_is_shown_once_it_is_known_and_not_float32(files, int8_is_faster):
    with load(files["q4_0"]) as llama:
        assert "arithmetic" not in repr(llama) + llama._repr_html_()
        llama.logits(TOKENS)
        assert repr(llama).endswith(" pieces, int8 arithmetic)")
        assert "int8" in llama._repr_html_()
    with load(files["q4_0"], arithmetic="int8", kernels="numpy") as llama:
        assert "int8 arithmetic" in repr(llama)
    with load(files["f16"]) as llama:
        llama.logits(TOKENS)
        assert "arithmetic" not in repr(llama) + llama._repr_html_()


def test_no_compiler_is_imported_before_something_is_computed(files):
    pytest.importorskip("numba")
    program = """
import sys, llama_edu
with llama_edu.load(sys.argv[1]) as llama:
    repr(llama), llama._repr_html_(), llama.tokenizer, llama.kernels
    print("numba" in sys.modules)
    llama.logits([1])
    print("numba" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program, files["q4_0"]], capture_output=True,
                          text=True, check=True)  # fmt: skip
    assert done.stdout.split() == ["False", "True"]


def test_without_numba_it_is_float32(files, monkeypatch):
    monkeypatch.setattr("llama_edu.matmul.choice._numba_is_installed", lambda: False)
    found, became = logits(files["q4_0"])
    exact, _ = logits(files["q4_0"], kernels="numpy", arithmetic="float32")
    assert became == "float32"
    np.testing.assert_array_equal(found, exact)


def test_commands_that_write_say_it_and_those_that_measure_are_exact(
    files, int8_is_faster, run_cli, tmp_path
):
    notice = "llama-edu: int8 arithmetic, which rounds as llama.cpp does; --arithmetic float32"
    path = files["q4_0"]
    write = ["generate", path, "--prompt", "One day", "--n-tokens", "3", "--seed", "1"]
    assert notice in run_cli(*write)[2]
    for quiet in (["--arithmetic", "float32"], ["--arithmetic", "int8"], ["--kernels", "numpy"]):
        assert run_cli(*write, *quiet)[2] == ""
    text = tmp_path / "text.txt"
    text.write_text("The fox was very happy and went home. " * 3)
    score = ["perplexity", path, "--text-file", text]
    code, found, err = run_cli(*score)
    assert code == 0 and notice not in err
    assert found == run_cli(*score, "--arithmetic", "float32")[1]
    assert found != run_cli(*score, "--arithmetic", "auto")[1]
    code, _, err = run_cli("logits", path, "--tokens", "1,5,3", "--out", tmp_path / "x.npy")
    assert code == 0 and notice not in err
    with load(path, kernels="numpy", arithmetic="float32") as llama:
        np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), llama.logits([1, 5, 3]))
