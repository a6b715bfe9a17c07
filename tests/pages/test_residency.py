"""What is in the page cache, and what advice does to it."""

import errno
import os

import numpy as np
import pytest
from helpers import ground_truth as gt

from llama_edu.errors import FormatError, MeasurementError
from llama_edu.files.layout import ShardedTensor, TensorSpec
from llama_edu.pages import residency

N_BYTES = 6 * 2**20 + 77
TENSORS = {
    "output": TensorSpec("output", "f32", (512, 1024), 4 * 2**20, 2 * 2**20),
    "token_embedding": TensorSpec("token_embedding", "f32", (512, 1024), 1000, 2 * 2**20),
    "layers.0.wq": ShardedTensor(
        "layers.0.wq", "f32", (20, 50), 0,
        (TensorSpec("layers.0.wq", "f32", (10, 50), 3 * 2**20, 2000),
         TensorSpec("layers.0.wq", "f32", (10, 50), 64, 2000, file=1)),
    ),
}  # fmt: skip

pytestmark = pytest.mark.skipif(
    not hasattr(os, "posix_fadvise"), reason="no posix_fadvise on this system"
)


@pytest.fixture
def path(tmp_path):
    return gt.write_file(tmp_path / "weights.bin", N_BYTES)


def test_a_file_that_was_read_is_resident_and_an_evicted_one_is_not(path):
    path.read_bytes()
    warm = residency.residency(path, TENSORS)
    assert warm.pages.all()
    assert [row.name for row in warm.rows] == ["token_embedding", "layers.0.wq", "output"]
    assert all(row.fraction == 1.0 for row in warm.rows)
    change = residency.evict(path, TENSORS)
    if change.after.n_resident == len(change.after.pages):
        pytest.skip("this file system is in memory")
    assert change.before.n_resident == len(warm.pages)
    assert change.after.n_resident == 0
    assert "posix_fadvise(POSIX_FADV_DONTNEED) x 1: returned 0" in str(change)
    assert "1,537 pages cached before, 0 after" in str(change)


def test_prefetching_in_steps_brings_in_the_whole_file(path):
    if residency.evict(path).after.n_resident:
        pytest.skip("this file system is in memory")
    change = residency.prefetch(path, TENSORS)
    assert change.after.pages.all()
    assert change.advice[0].n_calls == 7
    assert str(change.after).endswith("1,537   1,537  100.0%  6,291,533")


def test_looking_at_residency_reads_no_page(path):
    if residency.evict(path).after.n_resident:
        pytest.skip("this file system is in memory")
    assert residency.residency(path, TENSORS).n_resident == 0
    assert residency.residency(path, TENSORS).n_resident == 0


def test_part_of_a_file_is_counted_for_the_tensors_it_holds(path, monkeypatch):
    pages = np.zeros(1537, bool)
    pages[:256] = True
    monkeypatch.setattr(residency.linux, "mincore_pages", lambda address, n_bytes: pages)
    rows = {row.name: row for row in residency.residency(path, TENSORS).rows}
    assert (rows["token_embedding"].n_pages, rows["token_embedding"].n_resident) == (513, 256)
    assert rows["output"].n_resident == 0


def test_a_user_who_would_be_lied_to_is_told_so(path, monkeypatch):
    monkeypatch.setattr(residency, "may_ask_about", lambda path: False)
    with pytest.raises(MeasurementError, match="neither owns the file nor may write it"):
        residency.residency(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FormatError, match=r"nothing\.bin: no such file"):
        residency.residency(tmp_path / "nothing.bin")


def test_advice_that_the_system_refuses_is_reported_with_its_code(path, monkeypatch):
    def refuse(*args):
        raise OSError(errno.EPERM, "no")

    monkeypatch.setattr(os, "posix_fadvise", refuse)
    assert [a.code for a in residency.evict(path).advice] == [0, errno.EPERM]
    assert "returned EPERM" in str(residency.prefetch(path))


def test_of_many_tensors_the_table_lists_the_layers(path):
    kinds = ("wq", "wk", "wv", "wo", "w_up")
    specs = [TensorSpec("token_embedding", "f32", (250,), 64, 1000)]
    for layer in range(30):
        for kind in kinds:
            name, start = f"layers.{layer}.{kind}", specs[-1].end
            specs.append(TensorSpec(name, "f32", (5000,), start, 20_000))
    seen = residency.residency(path, {spec.name: spec for spec in specs})
    assert len(seen.rows) == 151 and len(seen.layers) == 31
    lines = str(seen).splitlines()
    assert len(lines) == 2 + 31 + 1 and lines[3].startswith("layer 0 ")
    # the tensors of a layer share pages at their edges, which are counted once
    assert seen.layers[1].n_pages == -(-(1064 + 100_000) // 4096)
    few = {spec.name: spec for spec in specs[:60]}
    assert "layers.3.wv" in str(residency.residency(path, few))
