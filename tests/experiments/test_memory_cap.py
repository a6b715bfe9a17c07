"""Under a cap on memory: what is read again at each pass, emulated and in a control group."""

import mmap
import platform

import pytest

from llama_edu.errors import MeasurementError
from llama_edu.experiments import memory_cap as memory_cap_module
from llama_edu.experiments.memory_cap import memory_cap

pytestmark = pytest.mark.skipif(platform.system() != "Linux", reason="measures Linux")

MIB = 2**20


def test_under_an_emulated_cap_nothing_is_reused_until_all_fits(tmp_path):
    try:
        result = memory_cap(
            n_bytes=16 * MIB, folder=tmp_path, caps=(0.5, 1.2), n_passes=2, emulate=True
        )
    except MeasurementError as refused:
        pytest.skip(str(refused))
    tokens = {(t.strategy, t.cap_fraction): t for t in result.tokens}
    assert {t.method for t in result.tokens} == {"emulated"}
    assert "Emulated with MADV_PAGEOUT: as requested." in str(result)
    plain, fits = tokens["plain mapping", 0.5], tokens["plain mapping", 1.2]
    if plain.read_bytes in (None, 0):
        pytest.skip("this system does not report what was read from the disk")
    assert fits.read_bytes == 0
    assert plain.read_bytes >= 14 * MIB
    assert tokens["keep a part", 0.5].read_bytes < plain.read_bytes
    assert tokens["MADV_RANDOM", 0.5].major_faults >= 8 * MIB / mmap.PAGESIZE


def test_a_control_group_that_is_refused_is_emulated_and_said_so(tmp_path, monkeypatch):
    def refuse(limit_bytes):
        raise MeasurementError("control groups: this user may not make one (Permission denied)")

    monkeypatch.setattr(memory_cap_module, "control_group", refuse)
    try:
        result = memory_cap(n_bytes=8 * MIB, folder=tmp_path, caps=(1.5,), n_passes=2)
    except MeasurementError as refused:
        pytest.skip(str(refused))
    assert {t.method for t in result.tokens} == {"emulated"}
    assert "this user may not make one (Permission denied)." in str(result)


def test_a_control_group_limits_what_a_child_may_keep(tmp_path):
    try:
        result = memory_cap(n_bytes=48 * MIB, folder=tmp_path, caps=(0.5,), n_passes=2)
    except MeasurementError as refused:
        pytest.skip(str(refused))
    if result.why_emulated:
        pytest.skip(result.why_emulated)
    plain = result.tokens[0]
    assert plain.method == "control group"
    assert plain.read_bytes > 12 * MIB


def test_one_pass_cannot_be_compared_with_a_first_one():
    with pytest.raises(MeasurementError, match="1 passes, expected at least 2"):
        memory_cap(n_passes=1)
