"""Fixtures for all tests: real files where they are at hand, small checkpoints, a tokenizer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers.small_models import random_weights, small_config, train_sentencepiece
from hypothesis import HealthCheck, settings

# no test asks the public hub for a model, or finds one in the reader's own cache
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HOME": os.devnull}

settings.register_profile(
    "llama_edu",
    deadline=None,  # a busy machine is not an error
    max_examples=60,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("llama_edu")


@pytest.fixture(scope="session")
def real() -> Path:
    """A folder with published files: `models/`, `vectors/` and `text/`; skips where it is unset."""
    folder = os.environ.get("LLAMA_EDU_REAL")
    if not folder:
        pytest.skip("LLAMA_EDU_REAL is not set: no published models on this machine")
    return Path(folder)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20230331)


@pytest.fixture
def config():
    """Sizes that all differ, two key/value heads for six query heads."""
    return small_config()


@pytest.fixture
def weights(config, rng):
    return random_weights(config, rng)


@pytest.fixture(scope="session")
def sentencepiece_model(tmp_path_factory) -> Path:
    """A tokenizer.model of 300 pieces with byte fallback, trained once for all tests."""
    path = tmp_path_factory.mktemp("sentencepiece") / "tokenizer.model"
    path.write_bytes(train_sentencepiece(300))
    return path


@pytest.fixture
def run_cli(capsys):
    """Run the command line in this process; gives (exit code, stdout, stderr)."""
    from llama_edu.cli import main

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def in_folder(tmp_path, monkeypatch) -> Iterator[Path]:
    """An empty folder that is also the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def maker():
    """A function that turns a panel class into a function that makes panels with defaults.

    The panels are closed after the test.
    """
    made = []

    def with_defaults(panel, **defaults):
        def make(*args, **kwargs):
            made.append(panel(*args, **(defaults | kwargs)))
            return made[-1]

        return make

    yield with_defaults
    for panel in made:
        panel.close()
