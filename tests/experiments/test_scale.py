"""What a file costs on several machines: divisions whose answers are known, and measured speeds."""

from __future__ import annotations

import itertools
import json

import pytest

from llama_edu.errors import RequestError
from llama_edu.experiments.scale import Network, hosts_cost, scale

NETWORK = Network(host=2e9, server=5e9)


def test_one_host_is_limited_by_its_own_link_and_many_by_the_server():
    alone = hosts_cost(10_000_000_000, 1, 4e9, 20e9, NETWORK)
    assert (alone.arrive_s, alone.staged_s) == (5, 5)
    assert (alone.fits_s, alone.too_large_s) == (0.5, 2.5)
    assert alone.cached_bytes == alone.network_bytes == 10_000_000_000
    many = hosts_cost(10_000_000_000, 10, 1e9, 20e9, NETWORK)
    assert (many.arrive_s, many.staged_s, many.too_large_s) == (20, 20, 10)
    assert many.cached_bytes == 100_000_000_000, "a page cache is shared by no two machines"
    slow_disk = hosts_cost(10_000_000_000, 1, 0.5e9, 20e9, NETWORK)
    assert (slow_disk.arrive_s, slow_disk.staged_s) == (5, 20)


def test_speeds_are_those_of_the_clock(tmp_path):
    ticks = itertools.count()
    found = scale(n_bytes=8192, folder=tmp_path, n_hosts=(3,), file_bytes=81920, network=NETWORK,
                  clock=lambda: next(ticks))  # fmt: skip
    assert (found.speeds.copied, found.speeds.mapped) == (8192, 8192)
    assert found.speeds.disk in (8192, None)
    assert found.hosts[0].fits_s == 10 and found.measured_bytes == 8192


def test_what_was_assumed_and_what_was_measured_is_said(run_cli, tmp_path):
    (tmp_path / "random.bin").write_bytes(bytes(1 << 20))
    code, out, err = run_cli("experiment", "scale", "--file", tmp_path / "random.bin")
    assert (code, err) == (0, "")
    assert out.startswith("Computed, not measured: a file of 39.4 GB on several hosts")
    assert "Measured here, with a file of 1,048,576 bytes" in out and "Assumed: hosts like" in out
    code, out, _ = run_cli("experiment", "scale", "--file", tmp_path / "random.bin", "--json")
    assert [cost["n_hosts"] for cost in json.loads(out)["hosts"]] == [1, 8, 64]


@pytest.mark.parametrize(
    ("given", "name"),
    [((0, 1, 1e9, 1e9, NETWORK), "file_bytes"), ((1, 0, 1e9, 1e9, NETWORK), "n_hosts"),
     ((1, 1, float("nan"), 1e9, NETWORK), "disk"), ((1, 1, 1, 1, Network(0)), "network.host")],
)  # fmt: skip
def test_nothing_can_be_divided_by_nothing(given, name):
    with pytest.raises(RequestError, match=f"scale: {name} is .*, expected more than 0"):
        hosts_cost(*given)
