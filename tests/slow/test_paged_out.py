"""Thousands of random patterns while pages are taken back: no verdict may be broken.

LLAMA_EDU_PATTERNS sets how many for each instrument and way (default 500). With -s the counts of
each verdict are printed: (verdict, whether pages were taken back): records.
"""

from __future__ import annotations

import os

import pytest
from helpers import ground_truth as gt

from llama_edu.pages import reclaim

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]

N_PATTERNS = int(os.environ.get("LLAMA_EDU_PATTERNS", "500"))


@pytest.mark.parametrize("locked", [True, False], ids=["locked", "not locked"])
@pytest.mark.parametrize("way", ["inside", "outside"])
@pytest.mark.parametrize("backend", gt.BACKENDS)
def test_no_verdict_is_broken_by_reclaim(tmp_path, monkeypatch, backend, way, locked):
    path = gt.write_file(tmp_path / "weights.bin")
    if not locked:
        monkeypatch.setattr(reclaim.Lock, "close", lambda lock: None)
    kinds = gt.check_paged_out(path, backend, way, seeds=range(N_PATTERNS))
    print(f"\n{backend}, {way}, {'locked' if locked else 'not locked'}: {dict(kinds)}")
    assert sum(kinds.values()) == N_PATTERNS
