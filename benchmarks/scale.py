"""How cost grows: with the number of weights, and with the length of the context.

A line that bends is a finding: decoding should cost a fixed time per weight, plus a fixed time per
position of the context.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

import llama_edu
from benchmarks.models import LARGE, SMALL, bundled_model, random_model
from benchmarks.timing import ROUNDS, table
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.model import forward

FIGURE = Path(__file__).parent / "scale.png"
CONTEXTS = (16, 64, 256, 512, 1024, 2047)


def run() -> str:
    """Both tables and the figure, as Markdown."""
    files = [
        ("5.6M, f16", bundled_model()),
        ("134M, f16", random_model(SMALL, "f16")),
        ("1.1B, f16", random_model(LARGE, "f16")),
        ("134M, q4_0", random_model(SMALL, "q4_0")),
        ("1.1B, q4_0", random_model(LARGE, "q4_0")),
    ]
    sizes = [(label, *_one_model(path)) for label, path in files]
    rows = [
        (
            label,
            f"{n_weights / 1e6:,.1f}",
            f"{load_s * 1e3:.1f} ms",
            f"{128 / prefill_s:.1f}",
            f"{1 / decode_s:.1f}",
            f"{1e9 * decode_s / n_weights:.3f}",
        )
        for label, n_weights, load_s, prefill_s, decode_s in sizes
    ]
    head = (
        "model",
        "million weights per token",
        "load",
        "prefill 128, tokens/s",
        "decode 16, tokens/s",
        "ns per weight",
    )
    contexts = _contexts(random_model(SMALL, "f32"))
    _draw(sizes, contexts)
    slope = np.polyfit(list(contexts), list(contexts.values()), 1)
    rows_of_context = [
        (f"{n:,}", f"{1e3 * seconds:.1f} ms", f"{seconds / np.polyval(slope, n):.2f}")
        for n, seconds in contexts.items()
    ]
    return "\n\n".join(
        [
            table(head, rows),
            "### One token of the 134M f32 model after so many positions",
            table(("positions", "time", "time / straight line"), rows_of_context),
            f"![Left: time per token against weights, right: against context.]({FIGURE.name})",
        ]
    )


def _one_model(path: Path) -> tuple[int, float, float, float]:
    """Weights read per token, and seconds to load, to prefill 128 and for one of 16 tokens."""
    load_s = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        llama_edu.load(path).close()
        load_s.append(time.perf_counter() - start)
    with llama_edu.load(path) as llama:
        config = llama.config
        n_weights = config.n_parameters - config.vocab_size * config.dim
        cache = KVCache(config, 256)
        prompt = [1, *range(3, 130)]
        forward(llama.decode_model, [1], cache, last_only=True)  # compile, and fetch the pages
        prefill_s, decode_s = [], []
        for _ in range(3):
            cache.truncate(0)
            start = time.perf_counter()
            forward(llama.model, prompt, cache, last_only=True)
            middle = time.perf_counter()
            for token in range(3, 19):
                forward(llama.decode_model, [token], cache, last_only=True)
            prefill_s.append(middle - start)
            decode_s.append((time.perf_counter() - middle) / 16)
    middle_of = np.median
    return n_weights, middle_of(load_s), middle_of(prefill_s), middle_of(decode_s)


def _contexts(path: Path) -> dict[int, float]:
    """Positions in the cache -> median seconds for one more token."""
    with llama_edu.load(path) as llama:
        cache = KVCache(llama.config)
        seconds = {}
        for n in CONTEXTS:
            while cache.length < n:
                chunk = min(256, n - cache.length)
                forward(llama.model, [5] * chunk, cache, last_only=True)
            times = []
            for _ in range(2 * ROUNDS + 1):
                cache.truncate(n)
                start = time.perf_counter()
                forward(llama.decode_model, [7], cache, last_only=True)
                times.append(time.perf_counter() - start)
            cache.truncate(n)
            seconds[n] = float(np.median(times))
    return seconds


def _draw(sizes: list[tuple], contexts: dict[int, float]) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("matplotlib is not installed: no figure was drawn")
        return
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for kind, marker in (("f16", "o"), ("q4_0", "s")):
        points = [(n / 1e6, 1e3 * s) for label, n, _, _, s in sizes if label.endswith(kind)]
        left.plot(*zip(*points, strict=True), marker=marker, label=kind)
    left.set(xscale="log", yscale="log", xlabel="million weights per token", ylabel="ms per token")
    left.legend()
    right.plot(list(contexts), [1e3 * s for s in contexts.values()], "o-", color="C2")
    right.set(xlabel="positions in the cache", ylabel="ms per token, 134M f32", ylim=(0, None))
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(FIGURE, dpi=100)
