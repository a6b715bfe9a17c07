"""The programs that llama_edu is compared with, if they are installed."""

from __future__ import annotations

import ctypes
import importlib.metadata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from llama_edu.bench.stopwatch import Spent, Stopwatch


class Peer(Protocol):
    """What a contender in the comparison of speed can do."""

    def prefill(self, tokens: Sequence[int], /) -> None:
        """Read all tokens from an empty context."""

    def decode(self, n_tokens: int, /) -> Spent:
        """What n_tokens single tokens after the last prefill take."""


#: Opens a file; takes its path, the number of positions and the number of threads.
MakePeer = Callable[[Path, int, int], Peer]


class LlamaCpp:
    """llama.cpp through llama-cpp-python, on the same file, with the same number of threads.

    Its threads are threads of this process, so CPU time includes them. Flash attention is off
    unless it is asked for, which is the default of llama-cpp-python.
    """

    def __init__(
        self, path: Path, n_positions: int, threads: int, *, flash_attn: bool = False
    ) -> None:
        from llama_cpp import Llama

        self._llama = Llama(
            str(path),
            n_ctx=n_positions,
            n_batch=512,
            n_threads=threads,
            n_threads_batch=threads,
            verbose=False,
            logits_all=False,
            flash_attn=flash_attn,
        )

    def prefill(self, tokens: Sequence[int]) -> None:
        """Read all tokens from an empty context."""
        self._llama.reset()
        self._llama.eval(list(tokens))

    def decode(self, n_tokens: int) -> Spent:
        """What n_tokens single tokens after the last prefill take."""
        base = self._llama.n_tokens
        stopwatch = Stopwatch()
        for token in range(5, 5 + n_tokens):
            self._llama.eval([token])
        spent = stopwatch.spent()
        self._llama.n_tokens = base
        return spent

    def close(self) -> None:
        """Free its memory."""
        self._llama.close()


def quantize_with_llama_cpp(source: Path, destination: Path) -> None:
    """Write a GGUF file as Q4_K_M, a mixture of types that llama_edu reads but does not write."""
    import llama_cpp

    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M
    code = llama_cpp.llama_model_quantize(
        str(source).encode(), str(destination).encode(), ctypes.byref(params)
    )
    if code != 0:
        raise RuntimeError(f"llama_model_quantize returned {code} for {source}")


def llama_cpp_or_why() -> tuple[type[LlamaCpp] | None, str]:
    """The peer, and a sentence on which version it is or why it is missing."""
    try:
        version = importlib.metadata.version("llama-cpp-python")
    except importlib.metadata.PackageNotFoundError:
        return None, (
            "llama.cpp is missing from this run; `pip install llama-cpp-python` (built with "
            "CMAKE_ARGS=-DGGML_AMX_TILE=OFF) adds it."
        )
    return LlamaCpp, f"llama.cpp is that of llama-cpp-python {version}."


def torch_or_why() -> tuple[MakePeer | None, str]:
    """The loop in torch, and a sentence on which version it is or why it is missing."""
    try:
        from benchmarks.torch_loop import TorchLoop
    except ImportError:
        return None, "torch is missing from this run; `pip install torch` adds it."
    return TorchLoop, f"torch is {importlib.metadata.version('torch')}."
