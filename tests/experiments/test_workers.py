"""Experiments whose pieces are shared: the same bits for any number of workers, nothing lost."""

from __future__ import annotations

import builtins
from dataclasses import replace
from functools import partial

import pytest
from helpers.tiny import write_tiny
from helpers.work import killed_at

from llama_edu.convert import convert
from llama_edu.experiments.arithmetic import arithmetic
from llama_edu.experiments.neurons import neurons
from llama_edu.experiments.seeded_bugs import seeded_bugs
from llama_edu.experiments.slimmer import Slimmer, slimmer
from llama_edu.workers import opened
from llama_edu.workers.pieces import EngineError
from llama_edu.workers.pool import process_map

#: Experiment -> its options, as few pieces as show that there are several.
SHARED = {
    arithmetic: {"types": ("bf16", "q2_k", "f16"), "kernels": "numpy"},
    neurons: {"shares": (0.3, 0.6)},
    seeded_bugs: {},
    slimmer: {},
}
ALL = pytest.mark.parametrize("experiment", SHARED, ids=lambda experiment: experiment.__name__)


@pytest.fixture
def options(tmp_path, rng):
    """A function that gives the options of an experiment, with a small file and a text."""
    path, tokenizer = write_tiny(tmp_path, rng)
    convert(path, tmp_path / "tiny.gguf", to="gguf", tokenizer=tokenizer)
    (tmp_path / "t.txt").write_text("the fox told the fox that the sea was far away. " * 6)

    def options(experiment):
        text = {} if experiment is seeded_bugs else {"text_file": tmp_path / "t.txt"}
        return {"path": tmp_path / "tiny.gguf", **text, **SHARED[experiment]}

    return options


def timeless(found):
    return replace(found, elapsed_s=0) if isinstance(found, Slimmer) else found


@ALL
def test_the_same_bits_for_any_number_of_workers(options, experiment):
    seen = []
    alone = experiment(
        **options(experiment), map=builtins.map, progress=lambda *counts: seen.append(counts)
    )
    assert not alone.cut_short and seen == [(n, len(seen)) for n in range(1, len(seen) + 1)]
    with process_map(2) as shared:
        found = experiment(**options(experiment), map=shared)
    assert timeless(found) == timeless(alone)
    assert not opened._open, "nothing is left open"


@ALL
def test_a_killed_worker_loses_nothing_that_was_done(options, experiment):
    with process_map(1) as shared, pytest.raises(EngineError, match="after 2 of") as raised:
        experiment(
            **options(experiment), map=lambda f, pieces: shared(partial(killed_at, 2, f), pieces)
        )
    kept = raised.value.kept
    assert kept.cut_short
    if isinstance(kept, Slimmer):
        kinds = [row.kind for row in kept.rows]
        assert list(dict.fromkeys(kinds)) == ["unchanged", "stored type", "pruning"]
    else:
        rows = {arithmetic: "costs", neurons: "costs", seeded_bugs: "bugs"}[experiment]
        assert len(getattr(kept, rows)) == 2
    assert "ut short" in str(kept) or "nterrupted" in str(kept)


def test_an_experiment_without_pieces_takes_no_workers(run_cli):
    code, _, err = run_cli("experiment", "load-race", "--workers", 2)
    assert code == 2 and "has no pieces that could be computed apart" in err
    code, _, err = run_cli("experiment", "seeded-bugs", "--workers", 0)
    assert code == 2 and "workers is 0, expected 1 to" in err
