"""What arithmetic="auto" becomes, by the types of the matrices and what the processor has."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")

from helpers.random_blocks import random_blocks

from llama_edu.matmul import auto, choice
from llama_edu.matmul.jit.int8 import instructions, product
from llama_edu.quants.blocks import BLOCK_TYPES
from llama_edu.quants.transposed import TransposedBlocks


@pytest.fixture
def processor(monkeypatch):
    """Makes this processor one that has these instructions."""

    def has(dot, bf16=False):
        monkeypatch.setattr(instructions, "host_instructions", lambda: dot)
        monkeypatch.setattr(instructions, "multiplies_bf16", lambda: bf16)

    has("avx_vnni")
    return has


@pytest.mark.parametrize("name", product.TYPES)
def test_every_type_with_loops_is_multiplied_in_8_bits_if_there_is_an_instruction(processor, name):
    w = random_blocks(name, 5, 512)
    assert auto.fastest([w]) == "int8"
    processor(None)
    assert auto.fastest([w]) == "float32"


def test_other_types_are_not_and_bf16_only_with_its_own_instruction(processor):
    f32, f16 = np.ones((3, 64), np.float32), np.ones((3, 64), np.float16)
    bf16 = np.ones((3, 64), np.uint16).view(BLOCK_TYPES["bf16"].dtype)
    others = [random_blocks(name, 3, 256) for name in ("q4_2", "q4_3", "mxfp4", "tq1_0", "tq2_0")]
    for bf16_too in (False, True):
        processor("arm_dot", bf16_too)
        assert [auto.fastest([w]) for w in (f32, f16, *others)] == ["float32"] * 7
        assert auto.fastest([bf16]) == ("int8" if bf16_too else "float32")
    processor(None, True)
    assert auto.faster_with_int8() == {"bf16"}


def test_most_numbers_decide_and_vectors_do_not_count(processor):
    q8, f16 = random_blocks("q8_0", 7, 96), np.ones((7, 96), np.float16)
    norms = np.ones(4096, np.float32)
    assert auto.fastest([norms, q8, f16, q8]) == "int8"
    assert auto.fastest([q8, f16]) == "float32"  # the half is not most
    # numbers, not bytes: a matrix of 8 bits beside one of 16 that is 1.5 times as large
    assert auto.fastest([random_blocks("q8_0", 6, 96), np.ones((9, 96), np.float16)]) == "float32"
    assert auto.fastest([random_blocks("q8_0", 10, 96), np.ones((9, 96), np.float16)]) == "int8"


def test_what_the_loops_cannot_read_does_not_count(processor):
    q4 = random_blocks("q4_0", 6, 64)
    assert auto.fastest([q4[::2]]) == "float32"
    other_order = q4.astype(q4.dtype.newbyteorder())
    assert auto.fastest([other_order]) == "float32"


def test_one_matrix_without_a_rule_makes_all_of_them_float32(processor):
    q4 = random_blocks("q4_0", 64, 64)
    assert auto.fastest([q4, random_blocks("q4_3", 2, 64)]) == "float32"
    transposed = TransposedBlocks(random_blocks("q4_0", 3, 64), 32)
    assert auto.fastest([q4, transposed]) == "float32"
    assert auto.fastest([q4, random_blocks("mxfp4", 2, 64)]) == "int8"  # it has a rule


def test_auto_needs_compiled_kernels_that_work(processor, monkeypatch):
    q4 = random_blocks("q4_0", 6, 64)
    assert choice.choose("numpy", [q4], 1, "auto").arithmetic == "float32"
    assert choice.choose("numpy", [q4], 1, "int8").arithmetic == "int8"
    with monkeypatch.context() as changed:
        changed.setattr(choice, "_refusal", ["it is broken"])
        assert choice.choose("auto", [q4], 1, "auto").arithmetic == "float32"
    with monkeypatch.context() as changed:
        changed.setattr(choice, "_numba_is_installed", lambda: False)
        assert choice.choose("auto", [q4], 1, "auto").arithmetic == "float32"
    with monkeypatch.context() as changed:
        changed.setattr(choice, "_refusal", [])

        def fails(*arguments):
            raise choice.RequestError("kernels 'jit': cannot")

        from llama_edu.matmul.jit import product as floats

        changed.setattr(floats, "check", fails)
        with pytest.warns(choice.LlamaEduWarning, match="Going on with numpy"):
            chosen = choice.choose("auto", [q4], 1, "auto")
        assert chosen.matmul is choice.matmul  # exact, not the slow way to round
        assert chosen.arithmetic == "float32"


def test_a_real_choice_multiplies_as_the_arithmetic_that_was_asked_for():
    q4 = random_blocks("q4_0", 6, 64)
    x = np.random.default_rng(5).standard_normal((3, 64)).astype(np.float32)
    chosen = choice.choose("auto", [q4], 1, "auto")
    asked = choice.choose("auto", [q4], 1, chosen.arithmetic)
    assert chosen.arithmetic == auto.fastest([q4])
    np.testing.assert_array_equal(chosen.matmul(x, q4, 1), asked.matmul(x, q4, 1))
