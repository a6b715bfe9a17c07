"""The order in which pages are first touched, where the system lets one see it."""

import threading

import numpy as np
import pytest
from helpers import ground_truth as gt

from llama_edu.errors import MeasurementError
from llama_edu.pages import linux, trace
from llama_edu.pages.lab import PageLab


@pytest.fixture(params=["uffd", "one-page"])
def lab(tmp_path, request):
    path = gt.write_file(tmp_path / "weights.bin", 4 * 2**20 + 99)
    try:
        with PageLab(path, {}, request.param) as opened:
            with opened.record("probe", ordered=True):
                pass
            yield opened
    except MeasurementError as refused:
        pytest.skip(str(refused))


def test_pages_are_listed_in_the_order_of_their_first_touch(lab):
    data = np.frombuffer(lab.backend.mapped.mmap, np.uint8)
    order = np.random.default_rng(3).permutation(lab.n_pages)[:500]
    with lab.record("random walk", ordered=True) as record:
        for page in [*order, *order[:20]]:
            int(data[page * gt.PAGE + 5])
    del data
    assert record.n_without_order == 0
    assert record.order.tolist() == order.tolist()
    assert set(record.order.tolist()) == set(np.flatnonzero(record.pages).tolist())


def test_threads_that_wait_take_little_room_from_the_one_that_computes(lab, monkeypatch):
    monkeypatch.setattr(trace, "_BUFFER_PAGES", {False: 128, True: 128})  # a user's, for all
    over, waiting = threading.Event(), []
    for _ in range(40):
        waiting.append(threading.Thread(target=over.wait))
        waiting[-1].start()
    try:
        data = np.frombuffer(lab.backend.mapped.mmap, np.uint8)
        with lab.record("beside forty threads", ordered=True) as record:
            for page in range(lab.n_pages):
                int(data[page * gt.PAGE])
        del data
    finally:
        over.set()
        for thread in waiting:
            thread.join()
    assert (record.n_touched, record.n_without_order) == (lab.n_pages, 0)


def test_an_order_is_refused_where_faults_are_not_pages(tmp_path):
    path = gt.write_file(tmp_path / "weights.bin", 50_000)
    with PageLab(path, {}, "faults") as lab:
        with (
            pytest.raises(MeasurementError, match="backend faults there is not one fault for each"),
            lab.record("dense", ordered=True),
        ):
            pass
        with lab.record("afterwards") as record:
            pass
    assert record.order is None


def test_a_system_that_forbids_tracing_says_so(lab, monkeypatch):
    def forbid(name, *arguments):
        raise linux.refusal(name, 1)

    monkeypatch.setattr(linux, "system_call", forbid)
    with (
        pytest.raises(MeasurementError, match="perf_event_open: EPERM, forbidden to this user"),
        lab.record("denied", ordered=True),
    ):
        pass
    monkeypatch.undo()
    with lab.record("afterwards") as record:
        pass
    assert record.n_touched == 0
