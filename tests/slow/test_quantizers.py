"""K-quants and ternary types are those of llama.cpp, byte for byte, and compute there as here.

llama.cpp's quantizers are called in its library (through llama-cpp-python, the extra `peers`). Its
build for x86-64 does every sum in the order of the source, so that equal bytes can be asked for.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import llama_edu
from llama_edu.bundled import bundled_checkpoint
from llama_edu.convert import convert
from llama_edu.experiments.reconcile import text_tokens
from llama_edu.files.detect import read_checkpoint
from llama_edu.files.gguf.writer import FILE_TYPES
from llama_edu.files.mapped import MappedFile
from llama_edu.quants.blocks import BLOCK_TYPES, GGML_TYPE_IDS
from llama_edu.quants.quantize import quantize
from llama_edu.reconcile.detective import local_errors
from llama_edu.reconcile.reference import WholeReference

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TYPES = ["q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "tq1_0", "tq2_0"]
TYPE_IDS = {name: number for number, name in GGML_TYPE_IDS.items()}


@pytest.fixture(scope="module")
def theirs():
    """(numbers (rows, n) float32, type) -> blocks, by ggml_quantize_chunk."""
    llama_cpp = pytest.importorskip("llama_cpp")
    folder = Path(llama_cpp.__file__).parent / "lib"
    found = sorted(folder.glob("*ggml-base.*"))
    if not found:
        pytest.skip("llama_cpp has no library ggml-base of its own")
    chunk = ctypes.CDLL(str(found[0])).ggml_quantize_chunk
    chunk.restype = ctypes.c_size_t
    pointer, count = ctypes.c_void_p, ctypes.c_int64
    chunk.argtypes = [ctypes.c_int, pointer, pointer, count, count, count, pointer]

    def quantized(x: np.ndarray, name: str) -> np.ndarray:
        out = np.zeros((len(x), x.shape[1] // 256), BLOCK_TYPES[name].dtype)
        sizes = (0, len(x), x.shape[1])
        n_bytes = chunk(TYPE_IDS[name], x.ctypes.data, out.ctypes.data, *sizes, None)
        assert n_bytes == out.nbytes
        return out

    return quantized


def of_every_kind(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """(rows, 768) float32 of kinds that take different ways through the searches."""
    shape, groups = (301, 768), (301, 48, 16)

    def powers(low, high, shape):
        return 10.0 ** rng.integers(low, high, shape)

    normal = rng.standard_normal(shape)
    kinds = {
        "normal": normal * 0.02,
        "outliers": rng.standard_t(2, shape).clip(-6e4, 6e4),
        "many equal": np.round(normal * 4) / 4,
        "nine in ten zero": np.where(rng.random(shape) < 0.9, 0, normal),
        "constant blocks": rng.standard_normal((301, 3, 1)).repeat(256, 2),
        "constant groups": rng.standard_normal((301, 48, 1)).repeat(16, 2),
        "all sizes in a group": normal * powers(-40, 4, shape),
        "all sizes of rows": normal * powers(-45, 4, (301, 1)),
        "all sizes of groups": rng.standard_normal(groups) * powers(-30, 4, (301, 48, 1)),
        "above zero": np.abs(normal),
        "below zero": -np.abs(normal),
        "far from zero": normal - 3,
        "tiny beside huge minimums": rng.standard_normal(groups) * powers(-9, 2, (301, 48, 1))
        - powers(-3, 4, (301, 48, 1)),
        "zeros of both signs": np.where(rng.random(shape) < 0.5, 0.0, -0.0),
        "near the smallest numbers": normal * 1e-44,
        "as large as float16 scales allow": normal.clip(-4, 4) * 1.6e4,
    }
    return {name: x.astype(np.float32).reshape(shape) for name, x in kinds.items()}


@pytest.mark.parametrize("name", TYPES)
def test_every_block_is_that_of_llama_cpp(theirs, rng, name):
    different = {}
    for kind, x in of_every_kind(rng).items():
        ours = quantize(x, name)
        if (found := ours != theirs(x, name)).any():
            different[kind] = f"{found.sum()} of {ours.size} blocks"
    assert different == {}


NUMBERS = st.floats(-60000, 60000, width=32) | st.sampled_from(
    [0.0, -0.0, 1.0, -1.0, 0.5, 1e-38, -3e-41, 1e-15, 2.0**-50]
)


@settings(max_examples=500, deadline=None)
@given(groups=st.lists(st.lists(NUMBERS, min_size=1, max_size=32), min_size=1, max_size=16))
def test_every_block_of_strange_numbers_is_that_of_llama_cpp(theirs, groups):
    x = np.concatenate([np.resize(np.array(group, np.float32), 16) for group in groups])
    x = np.resize(x, (1, 256))
    for name in TYPES:
        assert quantize(x, name).tobytes() == theirs(x, name).tobytes(), name


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Type -> the bundled model as `convert` writes it; "f32" for llama.cpp to start from."""
    folder = tmp_path_factory.mktemp("types")
    paths = {name: folder / f"{name}.gguf" for name in ("f32", *TYPES)}
    for name, path in paths.items():
        convert(bundled_checkpoint(), path, to="gguf", type=name)
    return paths


@pytest.mark.parametrize("name", TYPES)
def test_a_whole_file_holds_the_tensors_that_llama_quantize_writes(files, tmp_path, name):
    pytest.importorskip("llama_cpp")
    from llama_cpp import llama_cpp as library

    from llama_edu.reconcile.referees.llama_cpp import import_llama_cpp

    import_llama_cpp()
    made = tmp_path / "theirs.gguf"
    options = library.llama_model_quantize_default_params()
    options.ftype, options.nthread, options.pure = FILE_TYPES[name], 1, True
    source = bytes(files["f32"])
    assert library.llama_model_quantize(source, bytes(made), ctypes.byref(options)) == 0
    ours, other = read_checkpoint(files[name]), read_checkpoint(made)
    assert ours.metadata["general.file_type"] == other.metadata["general.file_type"]
    assert set(ours.tensors) == set(other.tensors)
    with MappedFile(files[name]) as a, MappedFile(made) as b:
        for tensor, spec in ours.tensors.items():
            assert other.tensors[tensor].type == spec.type
            assert a.view(spec).tobytes() == b.view(other.tensors[tensor]).tobytes(), tensor


@pytest.mark.parametrize("n_tokens", [1, 23])
@pytest.mark.parametrize("name", TYPES)
def test_llama_cpp_computes_each_step_as_we_do_with_activations_rounded(files, name, n_tokens):
    pytest.importorskip("llama_cpp")
    from llama_edu.reconcile.referees import llama_cpp as referee

    with llama_edu.load(files[name], kernels="numpy", arithmetic="int8") as llama:
        tokens = tuple(text_tokens(llama, n_tokens=n_tokens))
        steps = referee.steps(files[name], llama.config, tokens)
        rounding = dict.fromkeys(steps, np.full(len(tokens), 1e-7))
        reference = WholeReference("llama.cpp", tokens, steps, rounding)
        rounded = local_errors(llama.model, reference)
        logits = llama.logits(tokens)
    largest = max(float(step.errors.max()) for step in rounded.steps)
    apart = float(np.abs(logits - steps["logits"]).max() / np.abs(steps["logits"]).max())
    print(f"{name}, {n_tokens} tokens: largest local error {largest:.1e}, logits {apart:.1e}")
    assert len(rounded.steps) == 105 and rounded.agrees and largest < 2e-6
    # a level more or less of 127 moves the logits further where -1, 0 and 1 left only noise of them
    assert apart < (0.1 if name.startswith("tq") else 0.03)
