"""The table of docs/scale.md is what the function computes from the speeds that stand below it."""

from __future__ import annotations

from pathlib import Path

from llama_edu.experiments.scale import Network, Scale, Speeds, hosts_cost

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "scale.md").read_text("utf-8")


def test_the_table_follows_from_its_speeds():
    network, speeds = Network(), Speeds(2.99e9, 20.14e9, 30.61e9)
    n_bytes = 70_000_000_000 // 32 * 18
    costs = tuple(hosts_cost(n_bytes, n, 2.99e9, 30.61e9, network) for n in (1, 8, 64))
    found = Scale(n_bytes, speeds, network, costs, 1 << 30, 2.99e9)
    assert f"```\n{found}\n```" in PAGE
