"""Other programs that meddle with the page tables while a record runs: no verdict may be broken.

docs/interference.md has the argument for each kind. Taking memory blocks offline and compaction
concern the whole machine, so these two are tried only where LLAMA_EDU_MEDDLE=1 allows it.
LLAMA_EDU_PATTERNS sets the number of records of each kind (default 60). With -s the counts are
printed.
"""

from __future__ import annotations

import ctypes
import os
from collections import Counter
from contextlib import ExitStack, closing

import numpy as np
import pytest
from helpers import ground_truth as gt
from helpers import interference

from llama_edu.errors import MeasurementError
from llama_edu.pages.lab import PageLab

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]

N_PATTERNS = int(os.environ.get("LLAMA_EDU_PATTERNS", "60"))
OF_THE_MACHINE = ("compaction", "same-page merging", "memory block offline")
_PR_SET_MEMORY_MERGE = 67


@pytest.mark.parametrize("kind", interference.KINDS)
@pytest.mark.parametrize("backend", gt.BACKENDS)
def test_no_verdict_is_broken_by_another_program(tmp_path, backend, kind):
    if kind in OF_THE_MACHINE and os.environ.get("LLAMA_EDU_MEDDLE") != "1":
        pytest.skip(f"{kind} concerns the whole machine: LLAMA_EDU_MEDDLE=1 allows it")
    path = gt.write_file(tmp_path / "weights.bin")
    kinds, n_obeyed = Counter(), 0
    merge = ctypes.CDLL(None).prctl
    with ExitStack() as stack:
        try:
            lab = stack.enter_context(PageLab(path, {}, backend))
        except MeasurementError as refused:
            pytest.skip(str(refused))
        outside = stack.enter_context(closing(interference.Outside()))
        if kind == "same-page merging":
            merge(_PR_SET_MEMORY_MERGE, 1, 0, 0, 0)
            stack.callback(merge, _PR_SET_MEMORY_MERGE, 0, 0, 0, 0)
        data = np.frombuffer(lab.backend.mapped.mmap, np.uint8)
        for seed in range(N_PATTERNS):
            rng = np.random.default_rng(seed)
            pages = gt.random_pages(rng, lab.n_pages)
            first = int(rng.integers(lab.n_pages))
            n = int(rng.integers(1, lab.n_pages - first + 1))
            if kind == "foreign reads":  # of enough pages that ours cannot hide them
                first, n = 0, lab.n_pages
            with lab.record() as record:
                data[pages * gt.PAGE].sum(dtype=np.int64)
                n_obeyed += outside.do(kind, lab.backend.mapped.address + first * gt.PAGE, n)
                if rng.random() < 0.5:
                    data[pages[::3] * gt.PAGE].sum(dtype=np.int64)
            expected = np.zeros(lab.n_pages, bool)
            expected[pages] = True
            judged = gt.judge(record, expected)
            assert judged["kept"], (seed, judged)
            kinds[judged["kind"]] += 1
        del data
    print(f"\n{backend}, {kind}: obeyed {n_obeyed} of {N_PATTERNS}; {dict(kinds)}")
