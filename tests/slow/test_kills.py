"""Processes that are killed at random moments: a conversion, and a model whose file is cut off.

LLAMA_EDU_KILLS says how often; the moments are drawn from a seed, so that a run can be repeated.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from helpers.small_models import (
    ggml_file,
    llama2c_v0,
    names_in,
    old_config,
    random_weights,
    small_config,
    small_vocabulary,
    tokenizer_bin,
)

from llama_edu.convert import convert
from llama_edu.errors import LlamaEduError
from llama_edu.files.detect import read_checkpoint
from llama_edu.loading import load

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(os.name != "posix", reason="needs signals"),
]

N_KILLS = int(os.environ.get("LLAMA_EDU_KILLS", "12"))
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
TARGETS = {"one file": ["--to", "gguf"], "two shards": ["--to", "ggmf", "--shards", "2"]}
COMMAND = [sys.executable, "-m", "llama_edu"]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A model that takes some tenths of a second to convert."""
    folder = tmp_path_factory.mktemp("source")
    config = old_config(dim=256, hidden_dim=696, n_layers=18, n_heads=8, n_kv_heads=8)
    weights = random_weights(config, np.random.default_rng(3))
    (folder / "m.bin").write_bytes(ggml_file(config, weights, small_vocabulary(300)))
    return folder


def converting(source: Path, destination: Path, target: str, type_name: str) -> list[str]:
    words = ["convert", str(source / "m.bin"), str(destination)]
    return [*COMMAND, *words, *TARGETS[target], "--type", type_name]


def files_of(destination: Path) -> list[bytes]:
    """What is in place: the file and its shards."""
    names = [destination, destination.with_name(f"{destination.name}.1")]
    return [path.read_bytes() for path in names if path.exists()]


def run(command: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def is_refused(destination: Path) -> bool:
    try:
        read_checkpoint(destination)
    except LlamaEduError:
        return True
    return False


def test_conversions_that_are_killed(source, tmp_path_factory, capsys):
    """The destination is old, new, absent or refused as a whole; what is left is said."""
    whole: dict[tuple[str, str], list[bytes]] = {}
    elapsed_s = {}
    for target in TARGETS:
        for type_name in ("f32", "f16"):
            made = tmp_path_factory.mktemp("whole") / "out.bin"
            start = time.perf_counter()
            assert run(converting(source, made, target, type_name)).returncode == 0
            elapsed_s[target] = time.perf_counter() - start
            whole[target, type_name] = files_of(made)
    draw = random.Random(11)
    outcomes: Counter[str] = Counter()
    for i in range(N_KILLS):
        target, number = list(TARGETS)[i % 2], SIGNALS[i // 2 % 3]
        folder = tmp_path_factory.mktemp("killed")
        destination = folder / "out.bin"
        had_old = draw.random() < 0.7
        if had_old:
            convert(
                source / "m.bin", destination, to=TARGETS[target][1], type="f32",
                shards=len(whole[target, "f32"]),
            )  # fmt: skip
        visible_before = names_in(folder)
        old = whole[target, "f32"] if had_old else []
        process = subprocess.Popen(
            converting(source, destination, target, "f16"),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        time.sleep(draw.uniform(0.3, 1.05) * elapsed_s[target])
        process.send_signal(number)
        _, error = process.communicate()
        found, new = files_of(destination), whole[target, "f16"]
        state = "old" if found == old else "new" if found == new else "refused"
        assert state != "refused" or is_refused(destination), (i, target, number)
        hidden = [name for name in names_in(folder) if name.startswith(".")]
        if number != signal.SIGKILL:
            in_python_itself = "Traceback" in error and "llama_edu/cli" not in error  # at its start
            codes = (0, 128 + number, -number)
            assert process.returncode in codes or in_python_itself, (process.returncode, error)
            assert "Traceback" not in error or in_python_itself, error
            assert state in ("old", "new") and not hidden, (i, target, number, hidden)
        assert set(names_in(folder)) - set(hidden) <= {*visible_before, "out.bin", "out.bin.1"}
        again = run(converting(source, destination, target, "f16"))
        said = re.search("an earlier run was killed while it wrote here", again.stderr)
        assert again.returncode == 0 and bool(said) == bool(hidden), (i, hidden, again.stderr)
        assert files_of(destination) == new
        assert [name for name in names_in(folder) if name.startswith(".")] == []
        outcomes[f"{target}, {number.name}: {state}{', leftovers said' * bool(hidden)}"] += 1
    with capsys.disabled():
        print(f"\n{N_KILLS} conversions killed")
        print("\n".join(f"  {n:4d}  {outcome}" for outcome, n in sorted(outcomes.items())))


@pytest.mark.parametrize("kernels", ["numpy", "jit"])
def test_models_whose_file_is_cut_off(tmp_path, capsys, kernels):
    """At any moment, by another process: a sentence and exit code 2, or the whole text."""
    if kernels == "jit":
        pytest.importorskip("numba")
    config = small_config(dim=384, hidden_dim=1056, n_layers=3, n_heads=6, vocab_size=300)
    weights = random_weights(config, np.random.default_rng(5))
    weights["output"][1:3] = 0  # the text ends when the context is full
    whole, path, pieces = (tmp_path / name for name in ("whole.bin", "m.bin", "t.bin"))
    pieces.write_bytes(tokenizer_bin(small_vocabulary(300)))
    (tmp_path / "f32.bin").write_bytes(llama2c_v0(config, weights))
    convert(tmp_path / "f32.bin", whole, to="gguf", type="f16", tokenizer=pieces)
    command = [*COMMAND, "generate", str(path), "--kernels", kernels, "--temperature", "0"]
    with load(whole) as llama:
        n_bytes = llama.checkpoint.paths[0].stat().st_size
    path.write_bytes(whole.read_bytes())
    start = time.perf_counter()
    assert run(command).returncode == 0
    elapsed_s = time.perf_counter() - start
    draw = random.Random(7)
    outcomes: Counter[str] = Counter()
    for i in range(N_KILLS):
        path.write_bytes(whole.read_bytes())
        process = subprocess.Popen(
            [*command, "--threads", str(1 + i % 2)],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        time.sleep(draw.uniform(0.3, 1.1) * elapsed_s)
        os.truncate(path, draw.randrange(1, n_bytes))
        _, error = process.communicate()
        ended_well = process.returncode == 0
        assert ended_well or process.returncode == 2, (i, process.returncode, error)
        if not ended_well:
            assert error.startswith("llama-edu: ") and "m.bin" in error, error
        kinds = {"a mapped page": "explained within a step", "was changed": "said between steps"}
        found = (kind for words, kind in kinds.items() if words in error)
        outcomes["ended before" if ended_well else next(found, "refused when opened")] += 1
    with capsys.disabled():
        print(f"\n{N_KILLS} files cut off under a model ({kernels} kernels)")
        print("\n".join(f"  {n:4d}  {outcome}" for outcome, n in sorted(outcomes.items())))
