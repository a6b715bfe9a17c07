"""A mapped file that is cut off within a step of a model: a sentence, and no bare SIGBUS."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from helpers.small_models import (
    llama2c_v0,
    random_weights,
    small_config,
    small_vocabulary,
    tokenizer_bin,
)

from llama_edu.convert import convert
from llama_edu.files.detect import read_checkpoint

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGBUS"), reason="needs SIGBUS")

#: Cuts the file off before the n-th product, in the middle of a step, then runs the command.
CUTTING = """
    import os, sys
    from llama_edu.cli import main
    from llama_edu.transformer.model import Model

    path, n, n_bytes, *arguments = sys.argv[1:]
    linears, done = Model.linears, 0

    def cutting(*arguments):
        global done
        done += 1
        if done == int(n):
            os.truncate(path, int(n_bytes))
        return linears(*arguments)

    def cutting_token(*arguments):
        if int(n) > 10:  # the steps of compiled tokens are not called one by one
            os.truncate(path, int(n_bytes))
        return compute(*arguments)

    Model.linears = cutting
    if "jit" in arguments:
        from llama_edu.matmul.jit.token.team import Team

        compute, Team.compute = Team.compute, cutting_token
    sys.exit(main(arguments))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model wide enough for BLAS and the loops to share its matrices among threads."""
    folder = tmp_path_factory.mktemp("cut")
    config = small_config(dim=384, hidden_dim=1056, n_layers=3, n_heads=6, vocab_size=300)
    weights = random_weights(config, np.random.default_rng(5))
    (folder / "f32.bin").write_bytes(llama2c_v0(config, weights))
    (folder / "t.bin").write_bytes(tokenizer_bin(small_vocabulary(300)))
    for name in ("f16", "q8_0"):
        convert(folder / "f32.bin", folder / f"{name}.bin", to="gguf", type=name,
                tokenizer=folder / "t.bin")  # fmt: skip
    return folder


@pytest.fixture
def own_file(folder, in_folder):
    """A function that copies a model of a type into the current folder."""

    def copy(type_name):
        (in_folder / "t.bin").write_bytes((folder / "t.bin").read_bytes())
        (in_folder / "m.bin").write_bytes((folder / f"{type_name}.bin").read_bytes())
        return in_folder / "m.bin"

    return copy


def said_by(program, path, n, n_bytes, *arguments, environment=()):
    """Exit code and stderr of a child that cuts its file off."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), path, str(n), str(n_bytes), *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        env={k: v for k, v in os.environ.items() if k != "PYTHONFAULTHANDLER"} | dict(environment),
        check=False,
    )
    return done.returncode, done.stderr


GENERATE = ["generate", "m.bin", "--tokenizer", "t.bin", "--prompt", "the " * 9, "--n-tokens", "9",
            "--temperature", "0"]  # fmt: skip


@pytest.mark.parametrize("threads", ["1", "2"])
@pytest.mark.parametrize("kernels", ["numpy", "jit"])
@pytest.mark.parametrize("type_name", ["f32", "f16", "q8_0"])
@pytest.mark.parametrize("n", [4, 15], ids=["the prompt", "a token"])
def test_a_file_cut_off_within_a_step_is_explained(own_file, type_name, kernels, threads, n):
    """By whichever thread meets the missing page: Python's, BLAS's or one in compiled code."""
    if kernels == "jit":
        pytest.importorskip("numba")
    path = own_file(type_name)
    matrix = read_checkpoint(path).tensors["layers.1.w_gate"]
    code, error = said_by(
        CUTTING, path, n, matrix.offset + matrix.n_bytes // 2,
        *GENERATE, "--kernels", kernels, "--threads", threads,
    )  # fmt: skip
    assert code == 2, (code, error)
    assert without_notice(error) == (
        "llama-edu: m.bin: a mapped page of it could not be read: the file became shorter while "
        "the program ran, or its disk failed; restore it and start again, or read it into memory "
        "with --no-mmap\n"
    )


def without_notice(error: str) -> str:
    """What is on stderr besides the line about int8, which depends on the processor."""
    lines = error.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("llama-edu: int8 arithmetic"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["logits", "m.bin", "--tokens", "1,5,9", "--out", "x.npy"],
        ["perplexity", "m.bin", "--tokenizer", "t.bin", "--text-file", "t.txt"],
        ["compare", "m.bin", "m.bin"],
        ["pages", "m.bin", "--tokenizer", "t.bin", "--backend", "mincore", "--n-tokens", "2"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_every_command_that_maps_explains_it(own_file, in_folder, arguments):
    path = own_file("f16")
    (in_folder / "t.txt").write_text("the fox and the")
    if arguments[0] == "pages" and sys.platform != "linux":
        pytest.skip("pages are measured on Linux only")
    code, error = said_by(CUTTING, path, 3, 8192, *arguments)
    assert code == 2 and error.count("\n") == 1, error
    assert error.startswith("llama-edu: m.bin") and "became shorter while the program ran" in error
    assert ("--no-mmap" in error) == (arguments[0] != "pages")
    assert not (in_folder / "x.npy").exists()


def test_what_is_read_into_memory_does_not_mind(own_file):
    code, error = said_by(CUTTING, own_file("f16"), 3, 8192, *GENERATE, "--no-mmap")
    assert (code, error) == (0, "")


def test_a_handler_that_is_there_already_stays(own_file):
    """faulthandler's, here: it shows where it happened, and the process ends as it always did."""
    code, error = said_by(
        CUTTING, own_file("f16"), 3, 8192, *GENERATE, environment={"PYTHONFAULTHANDLER": "1"}
    )
    assert code == -signal.SIGBUS and "Fatal Python error: Bus error" in error


def test_the_default_is_put_back(own_file):
    """A program that calls main() and goes on, with or without a handler of its own."""
    asking = """
        import faulthandler, os, signal, sys
        from llama_edu.cli import main
        faulthandler.disable()
        assert main(["inspect", sys.argv[1]]) == 0
        os.kill(os.getpid(), signal.SIGBUS)
    """
    code, error = said_by(asking, own_file("f16"), 0, 0)
    assert code == -signal.SIGBUS and "became shorter" not in error


def test_a_handler_of_python_stays(own_file):
    """As a program that calls main() may have; it is called when the interpreter is back."""
    handled = """
        import os, signal, sys
        from llama_edu import cli
        from llama_edu.cli import main

        signal.signal(signal.SIGBUS, lambda *_: print("theirs", file=sys.stderr))
        visible = cli.visible
        cli.visible = lambda text: os.kill(os.getpid(), signal.SIGBUS) or visible(text)
        main(["inspect", sys.argv[1]])
        os.kill(os.getpid(), signal.SIGBUS)
    """
    assert said_by(handled, own_file("f16"), 0, 0) == (0, "theirs\ntheirs\n")
