"""Processes that map a file share it, processes that read it do not."""

import json
import platform
from concurrent.futures import ThreadPoolExecutor

import pytest

from llama_edu.errors import MeasurementError, RequestError
from llama_edu.experiments.sharing import Sharing, sharing
from llama_edu.experiments.sharing import workers as workers_module
from llama_edu.experiments.sharing.workers import Worker, measure_workers

pytestmark = pytest.mark.skipif(platform.system() != "Linux", reason="measures Linux")

MIB = 2**20


def test_mapped_memory_is_shared_and_read_memory_is_not(tmp_path):
    result = sharing(n_bytes=16 * MIB, folder=tmp_path, n_processes=(1, 2))
    groups = {(g.how, g.n_processes): g for g in result.groups}
    assert groups["mmap", 2].rss_bytes >= 16 * MIB
    assert 8 * MIB <= groups["mmap", 2].pss_bytes < 9 * MIB
    assert groups["mmap", 2].private_bytes < MIB
    assert groups["read()", 2].pss_bytes >= 16 * MIB
    assert groups["read()", 2].private_bytes >= 16 * MIB
    assert {g.cached_bytes for g in result.groups} <= {16 * MIB, None}
    assert "private MiB in all" in str(result)


def test_a_process_that_dies_while_sharing_is_reported(tmp_path):
    missing = tmp_path / "gone.bin"
    with pytest.raises(
        MeasurementError, match=r"a process that loaded gone\.bin ended with code 1"
    ):
        sharing(missing, n_processes=(1,))


def test_workers_of_an_engine_share_what_is_mapped(run_cli):
    code, out, err = run_cli("experiment", "sharing", "--workers", 2, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    n_bytes = found["file_bytes"]
    workers = {(w["how"], w["number"]): w for w in found["workers"]}
    assert list(workers) == [("mmap", 0), ("mmap", 1), ("read()", 0), ("read()", 1)]
    for number in (0, 1):
        mapped, read = workers["mmap", number], workers["read()", number]
        assert mapped["file_rss_bytes"] > 0.9 * n_bytes and read["file_rss_bytes"] == 0
        assert 0 < mapped["file_pss_bytes"] <= 0.51 * mapped["file_rss_bytes"], "two share it"
        assert read["private_bytes"] - mapped["private_bytes"] > 0.8 * n_bytes
        assert mapped["rss_bytes"] > mapped["pss_bytes"] > mapped["file_pss_bytes"]
        assert mapped["open_s"] > 0 and mapped["first_s"] > 0
    second = workers["mmap", 1]["cached_bytes"]
    assert second is None or second > 0.9 * n_bytes, "the first one has brought it in"


def test_workers_that_are_no_processes_and_too_few_are_said():
    with ThreadPoolExecutor(2) as pool, pytest.raises(MeasurementError, match="found 1 of 2 proc"):
        sharing(workers=2, map=pool.map)
    with pytest.raises(MeasurementError, match=r"1 of 3 workers took part and waited 0 s"):
        measure_workers(None, 3, map, patience_s=0.1)
    with pytest.raises(RequestError, match=r"map without workers, expected how many processes"):
        sharing(map=map)
    with pytest.raises(RequestError, match=r"workers is 0, expected 1 to"):
        sharing(workers=0)


def test_a_worker_that_fails_is_not_waited_for_and_its_error_is_what_is_said(monkeypatch):
    def failing(seat, mmap):
        if seat.number == 1:
            raise MemoryError("no room")
        return load(seat, mmap=mmap)

    load = workers_module._load
    monkeypatch.setattr(workers_module, "_load", failing)
    with (
        ThreadPoolExecutor(2) as pool,
        pytest.raises(MeasurementError, match=r"another worker failed \(MemoryError: no room\)"),
    ):
        sharing(workers=2, map=pool.map)


def test_the_table_of_workers_sums_what_they_share():
    workers = tuple(
        Worker(how, number, 0.05, 0.2, number * 9 * MIB, 40 * MIB, pss * MIB, 9 * MIB, 3 * MIB,
               11 * MIB)
        for how, number, pss in (("mmap", 0, 20), ("mmap", 1, 21), ("read()", 0, 30))
    )  # fmt: skip
    found = Sharing(9 * MIB, (), workers)
    assert "(sum of Pss): 41.0 MiB by mmap, 30.0 MiB by read()." in str(found)
    assert [row["number"] for row in found.to_rows()] == [0, 1, 0]
