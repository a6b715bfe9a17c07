"""Which tensors a token needs whole, and which in part."""

import platform

import pytest

from llama_edu.experiments.sparse_parts import sparse_parts

pytestmark = pytest.mark.skipif(platform.system() != "Linux", reason="measures Linux")


@pytest.mark.parametrize("backend", ["auto", "faults"])
def test_only_the_embedding_table_is_sparse(backend):
    result = sparse_parts(n_tokens=5, backend=backend)
    if backend == "faults":
        assert result.verdict == "computed, not measured"
    parts = {part.name: part for part in result.parts}
    embedding = parts.pop("token_embedding")
    assert embedding.one_token_pages < embedding.n_pages / 10
    assert embedding.one_token_pages <= embedding.all_tokens_pages
    assert all(p.n_pages == p.one_token_pages == p.all_tokens_pages for p in parts.values())
    assert result.unneeded == 0
    assert f"Verdict: {result.verdict}" in str(result)
