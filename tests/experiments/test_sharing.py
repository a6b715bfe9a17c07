"""Processes that map a file share it, processes that read it do not."""

import platform

import pytest

from llama_edu.errors import MeasurementError
from llama_edu.experiments.sharing import sharing

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
