"""The first notebook runs on another model than the bundled one: grouped queries, two shards."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from helpers.notebooks import FOLDER, ROOT, cells_of, source_of
from helpers.small_models import (
    random_weights,
    small_config,
    train_sentencepiece,
    write_meta_folder,
)

pytestmark = pytest.mark.slow


def test_it_runs_on_a_grouped_query_model_that_ggjt_cannot_hold(tmp_path):
    pytest.importorskip("ipywidgets")
    config = small_config(hidden_dim=72, vocab_size=320, max_seq_len=400)
    assert config.n_kv_heads < config.n_heads
    vocabulary = tmp_path / "pieces.model"
    vocabulary.write_bytes(train_sentencepiece(config.vocab_size))
    weights = random_weights(config, np.random.default_rng(7))
    model = write_meta_folder(
        tmp_path / "grouped", config, weights, n_shards=2,
        params={"n_kv_heads": config.n_kv_heads}, tokenizer=vocabulary,
    )  # fmt: skip
    sources = [source_of(cell) for cell in cells_of(FOLDER / "00_start_here.ipynb", "code")]
    assert 'MODEL = "stories"' in sources[0]
    sources[0] = sources[0].replace('MODEL = "stories"', f"MODEL = {json.dumps(str(model))}")
    sources.append(
        "print('said:', mapped.checkpoint.format, mapped.loading.copied_bytes, n_same - len(first))"
    )
    program = tmp_path / "start.py"
    program.write_text("\n".join(sources), encoding="utf-8")
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, timeout=200, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "said: GGUF v3 0 0" in done.stdout
