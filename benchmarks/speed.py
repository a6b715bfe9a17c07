"""Tokens per second: ours, llama.cpp on the same file with the same threads, and numpy.dot alone.

`numpy.dot` on the same matrices, with no other work between, is the limit of what numpy can reach.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import llama_edu
from benchmarks.figure import BLACK, BLUE, ORANGE, save_figure
from benchmarks.models import SMALL, bundled_model, random_model
from benchmarks.peers import MakePeer, Peer, llama_cpp_or_why, quantize_with_llama_cpp, torch_or_why
from benchmarks.timing import ROUNDS, Ratio, Timing, interleave, show_ratio, table
from llama_edu.matmul.cores import cores
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.generate import score_next

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_PREFILL, N_DECODE = 128, 16
N_POSITIONS = N_PREFILL + N_DECODE + 1
PREFILL, DECODE = f"prefill {N_PREFILL}", "decode"
TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0")

NUMPY, JIT = "llama_edu, numpy", "llama_edu, jit"
LLAMA_CPP, TORCH, DOTS = "llama.cpp", "torch loop, float32", "numpy.dot alone"

#: Job -> contender -> its seconds with one file.
Measured = dict[str, dict[str, Timing]]


class Ours:
    """One way of multiplying, with the interface of a peer."""

    def __init__(self, path: Path, kernels: str) -> None:
        self.llama = llama_edu.load(path, kernels=kernels, arithmetic="float32")
        self._cache = KVCache(self.llama.config, N_POSITIONS)

    def prefill(self, tokens: Sequence[int]) -> None:
        """Read all tokens from an empty context."""
        self._cache.truncate(0)
        score_next(self.llama.model, tokens, self._cache)

    def decode(self, n_tokens: int) -> float:
        """Seconds for n_tokens single tokens after the last prefill."""
        model, length = self.llama.model, self._cache.length
        start = time.perf_counter()
        for token in range(5, 5 + n_tokens):
            score_next(model, [token], self._cache)
        elapsed = time.perf_counter() - start
        self._cache.truncate(length)
        return elapsed


def run() -> str:
    """All tables on speed and their figure, as Markdown."""
    llama_cpp, about_llama_cpp = llama_cpp_or_why()
    torch_loop, about_torch = torch_or_why()
    with_llama_cpp = {} if llama_cpp is None else {LLAMA_CPP: llama_cpp}
    with_torch = {} if torch_loop is None else {TORCH: torch_loop}
    parts = [f"{cores().usable} threads. {about_llama_cpp} {about_torch}"]
    parts.append(f"### Bundled model, f16\n\n{_table(_measure(bundled_model(), {}))}")
    ratios: dict[str, Measured] = {}
    for type_name in TYPES:
        path = random_model(SMALL, type_name)
        peers = with_llama_cpp | (with_torch if type_name == "f32" else {})
        ratios[type_name.upper()] = _measure(path, peers, limit=type_name == "f32")
    if llama_cpp is not None:
        path = random_model(SMALL, "f16").with_name("random-134M-q4_k_m.gguf")
        if not path.exists():
            quantize_with_llama_cpp(random_model(SMALL, "f16"), path)
        ratios["Q4_K_M"] = _measure(path, with_llama_cpp)
    parts += [f"### Random model of 134M, {name}\n\n{_table(m)}" for name, m in ratios.items()]
    if llama_cpp is not None:
        parts.append(f"### Compared with llama.cpp\n\n{_figure(ratios)}")
    return "\n\n".join(parts)


def _measure(path: Path, peers: Mapping[str, MakePeer], *, limit: bool = False) -> Measured:
    """Time every contender with one file: first all prefills in turn, then all decodes."""
    tokens = np.random.default_rng(0).integers(3, 1000, N_PREFILL - 1)
    prompt = [1, *tokens.tolist()]
    ours = {NUMPY: Ours(path, "numpy")}
    if find_spec("numba") is not None:
        ours[JIT] = Ours(path, "jit")
    contenders: dict[str, Peer] = {**ours}
    for name, make in peers.items():
        contenders[name] = make(path, N_POSITIONS, cores().usable)
    prefills = {name: partial(one.prefill, prompt) for name, one in contenders.items()}
    decodes = {name: partial(one.decode, N_DECODE) for name, one in contenders.items()}
    if limit:
        decodes[DOTS] = partial(_dots, ours[NUMPY].llama)
    measured = {
        PREFILL: interleave(prefills, warm_up=True),
        DECODE: interleave(decodes, warm_up=True),
    }
    for one in ours.values():
        one.llama.close()
    return measured


def _dots(llama: llama_edu.Llama) -> float:
    """Seconds for every matrix that a token needs, times a vector, and nothing else."""
    matrices = [w for name, w in llama.weights.items() if w.ndim == 2 and name != "token_embedding"]
    vectors = {width: np.ones(width, np.float32) for width in {w.shape[1] for w in matrices}}
    start = time.perf_counter()
    for _ in range(N_DECODE):
        for matrix in matrices:
            np.dot(matrix, vectors[matrix.shape[1]])
    return time.perf_counter() - start


def _table(measured: Measured) -> str:
    """One row per contender, with our ratios to it; a ratio above 1 means that ours is faster."""
    rows = []
    for job, n_tokens in ((PREFILL, N_PREFILL), (DECODE, N_DECODE)):
        for name, timing in measured[job].items():
            ratios = ["", ""]
            if name not in (NUMPY, JIT):
                found = (_ratio(measured, job, ours, name) for ours in (NUMPY, JIT))
                ratios = ["" if ratio is None else show_ratio(ratio) for ratio in found]
            rows.append((job, name, f"{n_tokens / timing.median_s:.1f}", *ratios))
    return table(("", "", "tokens/s", "numpy / this", "jit / this"), rows)


def _ratio(measured: Measured, job: str, ours: str, theirs: str) -> Ratio | None:
    """How many times as fast ours is, with the spread; None where one of the two did not run."""
    times = measured[job]
    return times[ours].ratio_to(times[theirs]) if ours in times and theirs in times else None


def _figure(measured: Mapping[str, Measured]) -> str:
    """Our ratios to llama.cpp as bars, decode next to prefill, types side by side."""
    ratios = {
        (job, ours): [_ratio(of_file, job, ours, LLAMA_CPP) for of_file in measured.values()]
        for job in (DECODE, PREFILL)
        for ours in (NUMPY, JIT)
        if all(ours in of_file[job] for of_file in measured.values())
    }

    def draw(figure: Figure) -> None:
        for axes, job in zip(figure.subplots(1, 2), (DECODE, PREFILL), strict=True):
            for ours, color, hatch, shift in ((NUMPY, BLUE, "", -0.2), (JIT, ORANGE, "//", 0.2)):
                if (job, ours) not in ratios:
                    continue
                middles, leasts, mosts = np.array(ratios[job, ours]).T
                at = np.arange(len(middles)) + shift
                axes.bar(
                    at, middles, 0.4, yerr=(middles - leasts, mosts - middles), label=ours,
                    color=color, hatch=hatch, edgecolor="white", ecolor="#555555",
                )  # fmt: skip
                for x, middle, most in zip(at, middles, mosts, strict=True):
                    axes.annotate(
                        f"{middle:.2f}", (x, most), (0, 2), textcoords="offset points",
                        ha="center", fontsize=7,
                    )  # fmt: skip
            axes.axhline(1, color=BLACK, linewidth=1, label=LLAMA_CPP)
            axes.set_xticks(range(len(measured)), list(measured), fontsize=8)
            axes.set(title=job, ylabel="times as fast as llama.cpp")
            axes.spines[["top", "right"]].set_visible(False)
        figure.legend(
            *axes.get_legend_handles_labels(), loc="outside lower center", ncols=3,
            frameon=False, fontsize=8,
        )  # fmt: skip

    alt = "Bars: how many times as fast as llama.cpp. " + " ".join(
        f"{job}, {ours}: "
        + ", ".join(f"{name} {r[0]:.2f}" for name, r in zip(measured, found, strict=True) if r)
        + "."
        for (job, ours), found in ratios.items()
    )
    caption = (
        "The same file of 134M random weights, the same threads, the same run. The line at 1 is "
        f"llama.cpp; bars are medians, whiskers the least and the most of {ROUNDS} rounds."
    )
    return save_figure("speed.png", alt, caption, (9.5, 3.6), draw)
