"""Memory: a conversion gets no more than the largest tensor and 100 MB, and loading takes none.

Each measurement runs in a process of its own, so that nothing of the test runner is counted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from llama_edu.files.detect import read_checkpoint

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's smaps_rollup"
    ),
]

ROOT = Path(__file__).parents[2]

MB = 10**6


def run(program: str, *arguments: object) -> dict:
    """Run a program in a process of its own, on one thread; the JSON that it prints."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment |= {"OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)],
        env=environment, capture_output=True, text=True, timeout=250,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def random_model(path: Path, *arguments: object) -> Path:
    tool = ROOT / "tools" / "make_random_model.py"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(
        [sys.executable, tool, path, *map(str, arguments)], env=environment, check=True, timeout=250
    )
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the large files lie; they are deleted as soon as the last test is done."""
    folder = tmp_path_factory.mktemp("large")
    yield folder
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


@pytest.fixture(scope="module")
def model(folder):
    """A GGUF of about 200 MB, whose largest tensor has 65 MB."""
    path = random_model(
        folder / "model.gguf", "--dim", 512, "--hidden", 1536, "--layers", 6, "--heads", 8
    )
    assert 190 * MB < path.stat().st_size < 230 * MB
    return path


#: RLIMIT_DATA bounds all private writable memory. The kernel then refuses the first allocation
#: above it, where sampling a running process could miss a peak.
CONVERT = """
    import json, re, resource, sys
    import numpy as np
    from pathlib import Path
    from llama_edu.convert import convert

    source, destination, to, type, limit, shards = sys.argv[1:]
    status = Path("/proc/self/status").read_text()
    limit = int(re.search(r"VmData:\\s+(\\d+)", status)[1]) * 1024 + int(limit)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    try:
        np.ones(limit, np.uint8)
        enforced = False
    except MemoryError:
        enforced = True
    try:
        done = convert(source, destination, to=to, type=type, shards=int(shards))
        print(json.dumps({"enforced": enforced, "n_bytes": done.n_bytes}))
    except MemoryError:
        print(json.dumps({"enforced": enforced, "n_bytes": 0}))
"""


@pytest.mark.parametrize(
    ("to", "type_name", "shards"),
    [
        ("gguf", "f32", 1),
        ("gguf", "f16", 1),
        ("gguf", "q4_0", 1),
        ("gguf", "q8_0", 1),
        ("safetensors", "bf16", 1),
        ("ggjt-v1", "q4_1", 1),
        ("ggmf", "f16", 4),
    ],
)
def test_converting_stays_below_the_largest_tensor_and_100_mb(model, folder, to, type_name, shards):
    largest = max(spec.n_bytes for spec in read_checkpoint(model).tensors.values())
    assert 60 * MB < largest < 70 * MB
    target = folder / f"{to}-{type_name}"
    result = run(CONVERT, model, target, to, type_name, largest + 100 * MB, shards)
    if not result["enforced"]:
        pytest.skip("this kernel does not enforce RLIMIT_DATA")
    assert result["n_bytes"] > 20 * MB


@pytest.fixture(scope="module")
def in_shards(model, folder):
    """The same model as two files of March 2023, which must be joined."""
    path = folder / "shards" / "model.bin"
    path.parent.mkdir()
    run(CONVERT, model, path, "ggmf", "f32", 2**40, 2)
    return path


@pytest.mark.parametrize("type_name", ["keep", "f16", "q4_0"])
def test_joining_shards_stays_below_the_largest_tensor_and_100_mb(in_shards, folder, type_name):
    largest = max(spec.n_bytes for spec in read_checkpoint(in_shards).tensors.values())
    target = folder / f"joined-{type_name}"
    result = run(CONVERT, in_shards, target, "ggjt-v1", type_name, largest + 100 * MB, 1)
    if not result["enforced"]:
        pytest.skip("this kernel does not enforce RLIMIT_DATA")
    assert result["n_bytes"] > 20 * MB


def test_rows_in_another_order_stay_below_the_largest_tensor_and_100_mb(model, folder):
    there = folder / "hugging"
    run(CONVERT, model, there, "safetensors", "f32", 2**40, 1)
    largest = max(spec.n_bytes for spec in read_checkpoint(there).tensors.values())
    program = CONVERT.replace("shards=int(shards)", f"tokenizer={str(_vocabulary(folder))!r}")
    result = run(program, there, folder / "back.gguf", "gguf", "f32", largest + 100 * MB, 1)
    if not result["enforced"]:
        pytest.skip("this kernel does not enforce RLIMIT_DATA")
    assert result["n_bytes"] > 190 * MB


def _vocabulary(folder: Path) -> Path:
    """A tokenizer.bin of 32,000 pieces, for a folder that brings none."""
    from helpers.small_models import small_vocabulary, tokenizer_bin

    pieces = small_vocabulary(259)
    pieces += [(b"piece%d" % i, -float(i)) for i in range(32000 - len(pieces))]
    path = folder / "tokenizer.bin"
    path.write_bytes(tokenizer_bin(pieces))
    return path


def test_the_limit_is_felt_by_a_program_that_reads_the_whole_tensor(model):
    """The same limit stops what converting must not do; otherwise it would prove nothing."""
    program = """
        import json, re, resource, sys
        from pathlib import Path
        from llama_edu.loading import load

        status = Path("/proc/self/status").read_text()
        limit = int(re.search(r"VmData:\\s+(\\d+)", status)[1]) * 1024 + int(sys.argv[2])
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        try:
            llama = load(sys.argv[1], mmap=False)
            print(json.dumps("enough"))
        except MemoryError:
            print(json.dumps("too little"))
    """
    assert run(program, model, 165 * MB) == "too little"
    assert run(program, model, 400 * MB) == "enough"


def test_loading_500_mb_takes_no_private_memory_but_the_vocabulary(folder):
    path = random_model(folder / "large.gguf")
    assert path.stat().st_size > 500 * MB
    with path.open("rb") as file:
        os.fsync(file.fileno())  # pages on their way to the disk would count as Private_Dirty
    program = """
        import json, re, sys
        from pathlib import Path
        from llama_edu.loading import load

        def private() -> int:
            text = Path("/proc/self/smaps_rollup").read_text()
            return sum(
                1024 * int(re.search(rf"^{name}:\\s+(\\d+)", text, re.M)[1])
                for name in ("Private_Dirty", "Anonymous")
            )

        load(sys.argv[1]).close()  # code that is run for the first time takes memory, once
        before = private()
        llama = load(sys.argv[1])
        mapped = private() - before
        copied = llama.loading.copied_bytes
        logits = llama.logits([1, 300, 400])
        computed = private() - before
        private_copy = load(sys.argv[1], mmap=False)
        print(json.dumps([mapped, copied, computed, private() - before, logits.size]))
    """
    vocabulary_bytes = sum(
        section.n_bytes for section in read_checkpoint(path).sections if section.name != "tensors"
    )
    mapped, copied, computed, private_copy, n_logits = run(program, path)
    print(f"loading: {mapped:,} bytes of private memory, vocabulary {vocabulary_bytes:,}")
    print(f"with three tokens computed: {computed:,}; loaded without mmap: {private_copy:,}")
    assert copied == 0 and n_logits == 3 * 32000
    assert mapped < 2 * MB + vocabulary_bytes < 5 * MB
    assert computed < 40 * MB  # scores, caches and tiles; BLAS brings its buffers
    assert private_copy > 2 * 500 * MB  # both counters see it: the measurement can tell
    path.unlink()
