"""Every malformed GGUF file gets its sentence, quickly and in little memory."""

import pytest
from helpers.gguf_by_hand import Gguf, gguf_bytes
from helpers.hostile import check_case, check_opens_safely
from helpers.hostile_gguf import GGUF_CASES
from helpers.opened import gguf_fields, read_gguf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llama_edu.errors import FormatError


@pytest.mark.parametrize("case", GGUF_CASES, ids=lambda case: case.name)
def test_a_malformed_gguf_gets_its_sentence(case, tmp_path):
    check_case(case, tmp_path, read_gguf)


@pytest.mark.parametrize("case", GGUF_CASES, ids=lambda case: case.name)
def test_the_hex_view_of_a_malformed_gguf_names_bytes_in_order_until_the_error(case, tmp_path):
    path, end = case.make(tmp_path), 0
    try:
        for i, field in enumerate(gguf_fields(path)):
            assert field.offset >= end and field.n_bytes > 0
            assert field.value.isprintable()
            end = field.end
            if i > 1000:
                break
    except FormatError:
        pass
    assert end <= path.stat().st_size


VALID = [
    gguf_bytes(Gguf(order, version), alignment=alignment)
    for order, version, alignment in (("<", 3, 32), ("<", 1, 8), (">", 3, 32), ("<", 2, 1))
]


def mutated(base: bytes, edits, cut: int) -> bytes:
    data = bytearray(base)
    for place, value in edits:
        place %= len(data)
        data[place : place + len(value)] = value
    return bytes(data[: len(data) - cut % len(data)] if cut else data)


interesting = st.sampled_from(
    [b"\0" * 8, b"\xff" * 8, b"\xff" * 4, b"\x01", b"\0", b"\x80", b"\0\0\0\0\0\0\0\x80",
     b"\xff\xff\xff\x7f", b"\0\0\0\x10"]
)  # fmt: skip
edits = st.lists(
    # most of the file is data, where nothing can go wrong: aim at the header
    st.tuples(st.integers(0, 2400), st.one_of(interesting, st.binary(min_size=1, max_size=8))),
    min_size=1, max_size=4,
)  # fmt: skip


def check_opens_safely_or_says_why(path, data: bytes) -> None:
    path.write_bytes(data)
    checkpoint = check_opens_safely(path, read_gguf)
    if checkpoint is None:
        return
    vocabulary = checkpoint.vocabulary
    if vocabulary is not None:
        assert all(isinstance(piece, bytes) for piece in vocabulary.pieces)
        assert len(vocabulary.scores) == len(vocabulary.kinds) == len(vocabulary)
    list(gguf_fields(path))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    base=st.integers(0, len(VALID) - 1),
    edits=edits,
    cut=st.one_of(st.just(0), st.integers(0, 9000)),
)
def test_a_mutated_gguf_opens_safely_or_is_a_format_error(tmp_path_factory, base, edits, cut):
    path = tmp_path_factory.getbasetemp() / "mutated.gguf"
    check_opens_safely_or_says_why(path, mutated(VALID[base], edits, cut))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(max_examples=20_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    base=st.integers(0, len(VALID) - 1),
    edits=edits,
    cut=st.one_of(st.just(0), st.integers(0, 9000)),
)
def test_20000_mutated_ggufs_open_safely_or_are_format_errors(tmp_path_factory, base, edits, cut):
    path = tmp_path_factory.getbasetemp() / "mutated.gguf"
    check_opens_safely_or_says_why(path, mutated(VALID[base], edits, cut))
