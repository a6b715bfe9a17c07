"""Tokens per second: ours, llama.cpp on the same file with the same threads, and numpy.dot alone.

`numpy.dot` on the same matrices, with nothing between them, is the limit of what numpy can reach.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import llama_edu
from benchmarks.models import SMALL, bundled_model, random_model
from benchmarks.peers import LlamaCpp, llama_cpp_or_why, quantize_with_llama_cpp
from benchmarks.timing import Timing, interleave, show_ratio, table
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.model import Model, forward
from llama_edu.transformer.threads import usable_cores

N_DECODE = 8
N_PREFILL = 128
TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0")


def run() -> str:
    """All tables on speed, as Markdown."""
    peer, why = llama_cpp_or_why()
    parts = [f"{usable_cores()} threads. {why}"]
    parts.append("### Bundled model, f16\n\n" + _one_file(bundled_model(), None, limit=False))
    for type_name in TYPES:
        path = random_model(SMALL, type_name)
        title = f"### Random model of 134M, {type_name}"
        parts.append(f"{title}\n\n{_one_file(path, peer, limit=type_name == 'f32')}")
    if peer is not None:
        path = random_model(SMALL, "f16").with_name("random-134M-q4_k_m.gguf")
        if not path.exists():
            quantize_with_llama_cpp(random_model(SMALL, "f16"), path)
        parts.append(f"### Random model of 134M, Q4_K_M\n\n{_one_file(path, peer, limit=False)}")
    return "\n\n".join(parts)


def _one_file(path: Path, peer: type[LlamaCpp] | None, *, limit: bool) -> str:
    prompt = [1, *(int(t) for t in np.random.default_rng(0).integers(3, 1000, N_PREFILL - 1))]
    with llama_edu.load(path) as llama:
        cache = KVCache(llama.config, N_PREFILL + N_DECODE + 1)

        def prefill() -> None:
            cache.truncate(0)
            forward(llama.model, prompt, cache, last_only=True)

        def decode_with(model: Model) -> Callable[[], float]:
            def decode() -> float:
                cache.truncate(min(cache.length, N_PREFILL))
                start = time.perf_counter()
                for token in range(5, 5 + N_DECODE):
                    forward(model, [token], cache, last_only=True)
                return time.perf_counter() - start

            return decode

        prefills: dict[str, Callable[[], object]] = {"llama_edu": prefill}
        decodes: dict[str, Callable[[], object]] = {"llama_edu": decode_with(llama.model)}
        if llama.decode_model is not llama.model:
            decodes["llama_edu, jit"] = decode_with(llama.decode_model)
        if limit:
            decodes["numpy.dot alone"] = _dots(llama)
        if peer is not None:
            other = peer(path, N_PREFILL + N_DECODE + 1, usable_cores())
            prefills["llama.cpp"] = lambda: other.prefill(prompt)
            decodes["llama.cpp"] = lambda: other.decode(N_DECODE)
        prefill_times = interleave(prefills)
        decode_times = interleave(decodes)
    rows = [
        *_rows("prefill 128", prefill_times, N_PREFILL),
        *_rows("decode", decode_times, N_DECODE),
    ]
    return table(("", "", "tokens/s", "numpy / this", "jit / this"), rows)


def _dots(llama: llama_edu.Llama) -> Callable[[], float]:
    """Every matrix that one token needs, multiplied by a vector, and nothing else."""
    names = [name for name, w in llama.weights.items() if w.ndim == 2 and name != "token_embedding"]
    widths = {llama.weights[name].shape[1] for name in names}
    vectors = {width: np.ones(width, np.float32) for width in widths}

    def dots() -> float:
        matrices = [llama.weights[name] for name in names]
        start = time.perf_counter()
        for _ in range(N_DECODE):
            for matrix in matrices:
                np.dot(matrix, vectors[matrix.shape[1]])
        return time.perf_counter() - start

    return dots


def _rows(job: str, times: dict[str, Timing], n_tokens: int) -> list[tuple[str, ...]]:
    """One row per contender, with our ratios to it; a ratio above 1 means that we are faster."""
    ours = [name for name in times if name.startswith("llama_edu")]
    return [
        (
            job,
            name,
            f"{n_tokens / timing.median_s:.1f}",
            *("" if name in ours else show_ratio(times[one].ratio_to(timing)) for one in ours),
            *("" for _ in range(2 - len(ours))),
        )
        for name, timing in times.items()
    ]
