"""The files that are measured, made once in benchmarks/models/, which git ignores."""

from __future__ import annotations

import math
import sys
from pathlib import Path

from benchmarks.peers import llama_cpp_or_why, quantize_with_llama_cpp
from llama_edu import bundled_checkpoint
from llama_edu.config import ModelConfig
from llama_edu.convert import convert
from llama_edu.models.known import known_model
from tools.make_random_model import write_random_model

FOLDER = Path(__file__).parent / "models"

#: 134 million numbers, 110 million without the embedding: the size of a small GPT.
SMALL = ModelConfig(
    dim=768,
    hidden_dim=2048,
    n_layers=12,
    n_heads=12,
    n_kv_heads=12,
    vocab_size=32000,
    max_seq_len=2048,
)

#: 1.1 billion numbers, the sizes of TinyLlama.
LARGE = ModelConfig(
    dim=2048,
    hidden_dim=5632,
    n_layers=22,
    n_heads=32,
    n_kv_heads=4,
    vocab_size=32000,
    max_seq_len=2048,
)


class Missing(Exception):
    """A model that cannot be had on this machine; the text is a sentence that says why."""


def random_model(config: ModelConfig, type_name: str) -> Path:
    """A GGUF file with random weights of these sizes and this type."""
    n_parameters = sum(math.prod(shape) for shape in config.tensor_shapes().values())
    path = FOLDER / f"random-{n_parameters // 10**6}M-{type_name}.gguf"
    if not path.exists():
        print(f"making {path.name} ...", file=sys.stderr)
        FOLDER.mkdir(exist_ok=True)
        write_random_model(path, config, type_name)
    return path


def bundled_model() -> Path:
    """The bundled checkpoint as one ggjt file."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / "stories-f16.ggjt"
    convert(bundled_checkpoint(), path, to="ggjt-v1")
    return path


def smollm2() -> Path:
    """SmolLM2-135M-Instruct as Q4_1; Missing where its package is not installed."""
    known = known_model("smollm2")
    path = known.find()
    if path is None:
        raise Missing(f"SmolLM2 is not installed; get it with: {known.how_to_get}")
    return path


def k_quants() -> Path:
    """The small random model as Q4_K_M, which llama.cpp quantizes; Missing where there is none."""
    path = FOLDER / "random-134M-q4_k_m.gguf"
    if not path.exists():
        if llama_cpp_or_why()[0] is None:
            raise Missing("Q4_K_M needs llama.cpp, which quantizes it.")
        quantize_with_llama_cpp(random_model(SMALL, "f16"), path)
    return path
