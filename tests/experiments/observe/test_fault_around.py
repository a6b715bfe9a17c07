"""What a fault maps: the page table after each touch, and the kernel's own list of faults."""

from __future__ import annotations

import mmap
import platform

import pytest

from llama_edu.errors import MeasurementError
from llama_edu.experiments.observe import fault_around as module
from llama_edu.experiments.observe.fault_around import N_PAGES, RECORDED, TOUCHED, fault_around
from llama_edu.pages.trace import FaultTrace

pytestmark = pytest.mark.skipif(platform.system() != "Linux", reason="measures Linux")


@pytest.fixture
def strips(tmp_path):
    try:
        return fault_around(folder=tmp_path)
    except MeasurementError as refused:
        pytest.skip(str(refused))


def check(strip):
    assert strip.touched == TOUCHED and set(TOUCHED) <= set(strip.mapped)
    assert strip.faulted[0] == TOUCHED[0] and set(strip.faulted) <= set(TOUCHED)
    assert strip.mapped == tuple(sorted(set(strip.mapped))) and strip.mapped[-1] < N_PAGES


def test_an_ordinary_mapping_maps_more_and_faults_less_than_was_touched(strips, tmp_path):
    for strip in strips.strips:
        check(strip)
    ordinary = strips.ordinary
    assert len(ordinary.faulted) < len(TOUCHED) < len(ordinary.mapped)
    assert not list(tmp_path.iterdir())


def test_under_the_lab_every_touched_page_faults_and_nothing_else_is_mapped(strips):
    under = [s for s in strips.strips if s.state.startswith("under the lab")]
    if not under:
        pytest.skip("no instrument makes one fault per page here")
    assert under[0].faulted == under[0].mapped == TOUCHED


def test_the_kernel_saw_faults_on_the_same_pages(strips, tmp_path, monkeypatch):
    original, seen = module._touch_and_look, []

    def traced(state, mapped):
        trace = FaultTrace(mapped.address, N_PAGES)
        try:
            trace.start()
        except MeasurementError as refused:
            pytest.skip(str(refused))
        strip = original(state, mapped)
        trace.stop()
        seen.append((strip.faulted, tuple(trace.first_touches().tolist())))
        return strip

    monkeypatch.setattr(module, "_touch_and_look", traced)
    fault_around(folder=tmp_path)
    assert len(seen) == len(strips.strips)
    for ours, kernels in seen:
        assert ours == kernels


def test_the_record_to_look_at_elsewhere_is_one_of_these():
    for strip in RECORDED.strips:
        check(strip)
    assert "not measured here: a record of Linux" in str(RECORDED)
    assert RECORDED.ordinary.state == "cached in single pages, as in 2023"
    assert [len(s.faulted) for s in RECORDED.strips] == [2, 4, 6]


def test_a_file_that_is_too_short_is_refused(tmp_path):
    short = tmp_path / "short.bin"
    short.write_bytes(bytes(3 * mmap.PAGESIZE))
    with pytest.raises(MeasurementError, match=f"expected at least {N_PAGES} pages; choose"):
        fault_around(short)
