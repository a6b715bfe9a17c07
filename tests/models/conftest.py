"""Fixtures for models by name: a hub of our own, with an empty cache."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers import every_source
from helpers.hub_server import Hub, running_hub


@pytest.fixture
def empty_cache(tmp_path, monkeypatch) -> Path:
    """HF_HOME in a folder of the test; the hub's library, if it is there, is online."""
    home = tmp_path / "hf home"
    monkeypatch.setenv("HF_HOME", str(home))
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    return home / "hub"


@pytest.fixture
def hub(empty_cache, monkeypatch) -> Iterator[Hub]:
    """A hub on loopback, and the library made to use it; skipped where there is no library."""
    # the library reads the environment once, when it is imported
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    with running_hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.endpoint)
        yield running


@pytest.fixture(scope="session")
def tiny_files(tmp_path_factory) -> dict[str, dict[str, bytes]]:
    """The files of a small model as "gguf" and as "huggingface", by name."""
    rng = np.random.default_rng(2024)
    folder = tmp_path_factory.mktemp("tiny")

    def first(options):
        return options[0]

    made = every_source.gguf(folder, rng, first)
    hf = every_source.huggingface(folder, rng, first)
    return {
        "gguf": {"tiny.gguf": made.read_bytes()},
        "huggingface": {p.name: p.read_bytes() for p in hf.iterdir()},
    }
