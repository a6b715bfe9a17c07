"""How cost grows: with the number of weights, and with the length of the context.

A line that bends is a finding: decoding should cost a fixed time per weight, plus a fixed time per
position of the context.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

import llama_edu
from benchmarks.figure import BLACK, BLUE, GREEN, ORANGE, save_figure
from benchmarks.models import LARGE, SMALL, bundled_model, random_model
from benchmarks.timing import ROUNDS, interleave, table
from llama_edu.bench.stopwatch import Spent, Stopwatch
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.generate import score_next

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CONTEXTS = (16, 64, 128, 256, 512, 768, 1024, 1280, 1536, 2047)
N_PREFILL, N_DECODE, N_DECODE_IN_CONTEXT = 128, 16, 4


@dataclass(frozen=True)
class Size:
    """One model: how many weights a token reads, and seconds; decode_s is for one token."""

    label: str
    n_weights: int
    load_s: float
    prefill_s: float
    decode_s: float


def run() -> str:
    """Both tables and the figure, as Markdown."""
    sizes = [
        _one_model("5.6M, f16", bundled_model()),
        _one_model("134M, f16", random_model(SMALL, "f16")),
        _one_model("1.1B, f16", random_model(LARGE, "f16")),
        _one_model("134M, q4_0", random_model(SMALL, "q4_0")),
        _one_model("1.1B, q4_0", random_model(LARGE, "q4_0")),
    ]
    rows = [
        (
            size.label,
            f"{size.n_weights / 1e6:,.1f}",
            f"{1e3 * size.load_s:.1f} ms",
            f"{N_PREFILL / size.prefill_s:.1f}",
            f"{1 / size.decode_s:.1f}",
            f"{1e9 * size.decode_s / size.n_weights:.3f}",
        )
        for size in sizes
    ]
    head = (
        "model",
        "million weights per token",
        "load",
        f"prefill {N_PREFILL}, tokens/s",
        f"decode {N_DECODE}, tokens/s",
        "ns per weight",
    )
    contexts = _contexts(random_model(SMALL, "f32"))
    line = np.polyfit(list(contexts), list(contexts.values()), 1)
    off_line = {n: float(seconds / np.polyval(line, n)) for n, seconds in contexts.items()}
    rows_of_context = [
        (f"{n:,}", f"{1e3 * seconds:.1f} ms", f"{off_line[n]:.2f}")
        for n, seconds in contexts.items()
    ]
    return "\n\n".join(
        [
            "Kernels as `auto` chooses them, arithmetic float32.",
            table(head, rows),
            "### One token of the 134M f32 model, by positions before it",
            table(("positions", "time", "time / straight line"), rows_of_context),
            save_figure(
                "scale.png",
                _in_words(sizes, contexts),
                _caption(sizes, line, off_line),
                (9.5, 3.6),
                partial(_draw, sizes=sizes, contexts=contexts, line=line),
            ),
        ]
    )


def _one_model(label: str, path: Path) -> Size:
    load_s = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        llama_edu.load(path, arithmetic="float32").close()
        load_s.append(time.perf_counter() - start)
    with llama_edu.load(path, arithmetic="float32") as llama:
        config = llama.config
        checkpoint = llama.checkpoint
        n_not_read = 0 if checkpoint.tied_output else config.vocab_size * config.dim
        n_weights = checkpoint.n_parameters - n_not_read
        cache = KVCache(config, 256)
        prompt = [1, *range(3, N_PREFILL + 2)]
        score_next(llama.model, [1], cache)  # compile, and fetch the pages
        prefill_s, decode_s = [], []
        for _ in range(ROUNDS):
            cache.truncate(0)
            start = time.perf_counter()
            score_next(llama.model, prompt, cache)
            middle = time.perf_counter()
            for token in range(3, N_DECODE + 3):
                score_next(llama.model, [token], cache)
            prefill_s.append(middle - start)
            decode_s.append((time.perf_counter() - middle) / N_DECODE)
    return Size(label, n_weights, median(load_s), median(prefill_s), median(decode_s))


def _contexts(path: Path) -> dict[int, float]:
    """Positions in the cache -> median seconds for one more token, all lengths in turn."""
    with llama_edu.load(path, arithmetic="float32") as llama:
        cache = KVCache(llama.config)
        while cache.length < max(CONTEXTS):
            chunk = min(256, max(CONTEXTS) - cache.length)
            score_next(llama.model, [5] * chunk, cache)

        def some_tokens(n: int) -> Spent:
            stopwatch = Stopwatch()
            for _ in range(N_DECODE_IN_CONTEXT):
                cache.length = n  # the positions from there on stay filled, and are not read
                score_next(llama.model, [7], cache)
            spent = stopwatch.spent()
            return Spent(spent.wall_s / N_DECODE_IN_CONTEXT, spent.cpu_s / N_DECODE_IN_CONTEXT)

        contenders = {f"{n}": partial(some_tokens, n) for n in CONTEXTS}
        times = interleave(contenders, 2 * ROUNDS + 1, pause_s=0)
    return {n: times[f"{n}"].median_s for n in CONTEXTS}


def _in_words(sizes: list[Size], contexts: Mapping[int, float]) -> str:
    """The alternative text of the figure."""
    left = "; ".join(f"{size.label}: {1e3 * size.decode_s:.1f}" for size in sizes)
    right = "; ".join(f"{n:,}: {1e3 * seconds:.1f}" for n, seconds in contexts.items())
    return (
        f"Left, milliseconds per token by model: {left}. Right, by positions in the cache: {right}."
    )


def _caption(sizes: list[Size], line: np.ndarray, off_line: Mapping[int, float]) -> str:
    """How far the measurements are from straight lines."""
    small, *_, large = (size for size in sizes if size.label.endswith("f16"))
    small_name, large_name = (size.label.partition(",")[0] for size in (small, large))
    of_weights_s = small.n_weights * large.decode_s / large.n_weights
    farthest = max(off_line, key=lambda n: abs(off_line[n] - 1))
    return (
        f"Left: at the pace of the {large_name} model the f16 weights of the {small_name} one take "
        f"{1e3 * of_weights_s:.2f} ms of its {1e3 * small.decode_s:.2f}; the rest is what a token "
        f"costs in addition to the weights. Right: the line is {1e3 * line[1]:.1f} ms and "
        f"{1e6 * line[0]:.1f} us per position; the point farthest from it, at {farthest:,} "
        f"positions, is off by {100 * (off_line[farthest] - 1):+.0f} %."
    )


def _draw(
    figure: Figure, sizes: list[Size], contexts: Mapping[int, float], line: np.ndarray
) -> None:
    left, right = figure.subplots(1, 2)
    for kind, marker, color in (("f16", "o", BLUE), ("q4_0", "s", ORANGE)):
        points = [(z.n_weights / 1e6, 1e3 * z.decode_s) for z in sizes if z.label.endswith(kind)]
        left.plot(*zip(*points, strict=True), marker=marker, color=color, label=kind)
    left.set(xscale="log", yscale="log", xlabel="million weights per token", ylabel="ms per token")
    at = np.array(list(contexts))
    right.plot(at, 1e3 * np.polyval(line, at), color=BLACK, linewidth=1, label="straight line")
    right.plot(at, 1e3 * np.array(list(contexts.values())), "o", color=GREEN, label="measured")
    right.set(xlabel="positions in the cache", ylabel="ms per token, 134M f32", ylim=(0, None))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, loc="lower right")
