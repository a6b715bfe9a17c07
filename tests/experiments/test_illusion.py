"""The illusion of few pages: the arithmetic of 2023, and the true column beside it."""

import mmap
import platform

import pytest

from llama_edu.experiments.illusion import illusion

pytestmark = pytest.mark.skipif(platform.system() != "Linux", reason="measures Linux")

MIB = 2**20


def test_the_arithmetic_of_2023_is_printed_and_repeated_here(tmp_path):
    result = illusion(n_bytes=8 * MIB, folder=tmp_path)
    text = str(result)
    assert "411,522 faults x 4,096 bytes = 1,685,594,112 bytes, 8.4% of a 20 GB file" in text
    assert "26,969,505,792 bytes, 135% of it" in text
    assert "at least 305,176 faults" in text
    readings = {(r.state, r.access): r for r in result.readings}
    dense = readings["warm", "every page"]
    assert dense.naive_fraction < 0.25
    if dense.true_fraction is not None:
        assert dense.true_fraction == 1.0
        sparse = readings["warm", "10 % of the rows"]
        assert 0.1 < sparse.true_fraction < 0.3
        assert sparse.rss_fraction > sparse.true_fraction
    small = readings.get(("warm, in single pages", "every page"))
    if small is not None and mmap.PAGESIZE == 4096:
        assert small.faults.total >= 8 * MIB / 65536
    assert not list(tmp_path.iterdir())


def test_without_an_instrument_the_true_column_stays_empty(tmp_path):
    result = illusion(n_bytes=MIB, folder=tmp_path, backend="faults")
    assert {r.true_fraction for r in result.readings} == {None}
    assert {r.verdict for r in result.readings} == {"counts only"}
