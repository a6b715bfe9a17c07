"""A trace: the numbers of the named steps of one computation, kept to be looked at."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np

from llama_edu.config import ModelConfig
from llama_edu.errors import FormatError, RequestError
from llama_edu.files.output import atomic_output
from llama_edu.html import preformatted
from llama_edu.reconcile.npz import read_npz
from llama_edu.table import lay_out, mib
from llama_edu.text import quoted
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.model import Model, forward
from llama_edu.transformer.step import step
from llama_edu.transformer.tap import Tap, checked, step_shape, steps_of

#: A trace that would take more is refused, unless the caller raises the limit.
LIMIT_BYTES = 2**30

#: Steps that a repr lists.
_MOST_ROWS = 24


class Trace(Mapping[str, np.ndarray]):
    """Name of a step -> (its shape in tap.py) float32, in the order of the computation.

    Attributes:
        tokens: the ids that were read.
    """

    def __init__(self, tokens: Sequence[int], steps: Mapping[str, np.ndarray]) -> None:
        self.tokens = tuple(int(token) for token in tokens)
        self._steps = dict(steps)

    def __getitem__(self, name: str) -> np.ndarray:
        """The numbers of one step; a KeyError says which there are."""
        if name not in self._steps:
            raise KeyError(f"{name!r} is not in this trace, which has {_some(list(self))}")
        return self._steps[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._steps)

    def __len__(self) -> int:
        return len(self._steps)

    @property
    def n_bytes(self) -> int:
        """Bytes of all its arrays."""
        return sum(x.nbytes for x in self._steps.values())

    def select(self, names: str | Sequence[str]) -> Trace:
        """The steps whose names match, without a copy: trace.select("layers.*.out")."""
        return Trace(self.tokens, {n: self._steps[n] for n in chosen(list(self._steps), names)})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all steps and the tokens as .npz, which numpy.load and Trace.load read."""
        with atomic_output(path, self.n_bytes + 512 * (len(self) + 1)) as file:
            np.savez(file, tokens=np.array(self.tokens, np.int64), **self._steps)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Trace:
        """Read what `save` wrote. FormatError for anything else."""
        arrays = read_npz(path)
        tokens = arrays.pop("tokens", None)
        if tokens is None or tokens.ndim != 1 or tokens.dtype != np.int64:
            raise FormatError(f"{path}: has no tokens, expected a file that Trace.save wrote")
        for name, x in arrays.items():
            if x.dtype != np.float32 or len(tokens) not in x.shape[:2]:
                raise FormatError(
                    f"{path}: {quoted(name, 80)} is {x.dtype} of shape {x.shape}, expected float32 "
                    f"for {len(tokens)} positions"
                )
        return cls(tokens.tolist(), arrays)

    def __repr__(self) -> str:
        names = list(self)
        left_out = len(names) - _MOST_ROWS
        rows = [_row(name, self._steps[name]) for name in names]
        if left_out > 0:
            half = _MOST_ROWS // 2
            rows[half:-half] = [(f"... {left_out} more", "", "", "")]
        head = f"Trace of {len(self.tokens)} tokens: {len(self)} steps, {mib(self.n_bytes)} MiB"
        return head + "\n" + lay_out(("step", "shape", "rms", "largest"), rows, "<<>", "  ")

    def _repr_html_(self) -> str:
        return preformatted(repr(self))


def _row(name: str, x: np.ndarray) -> tuple[object, ...]:
    """Name, shape, root mean square and largest magnitude; the hidden future does not count."""
    size = np.abs(x[x != -np.inf], dtype=np.float64)
    rms = np.sqrt(np.mean(np.square(size))) if size.size else 0.0
    return name, str(x.shape), f"{rms:.3g}", f"{size.max(initial=0):.3g}"


def trace(
    model: Model,
    tokens: Sequence[int],
    names: str | Sequence[str] = "*",
    *,
    tap: Tap | None = None,
    limit_bytes: int = LIMIT_BYTES,
) -> Trace:
    """Compute a text from its start, all positions at once, and keep the named steps.

    Args:
        tokens: T ids, BOS included where the model should see one.
        names: a name or a pattern as for files, or several: "layers.*.out", "logits".
        tap: changes steps before they are kept and before the computation goes on.
        limit_bytes: how much memory the kept steps may take.
    Raises:
        RequestError: no step has such a name, the steps would take more than the limit (nothing is
            computed then), or the tokens are impossible.
    """
    wanted = set(chosen(steps_of(model.config), names))
    n_bytes = trace_bytes(model.config, len(tokens), names)
    if n_bytes > limit_bytes:
        raise RequestError(
            f"trace: {len(wanted):,} steps of {len(tokens):,} tokens take {n_bytes:,} bytes, "
            f"expected at most {limit_bytes:,}; name fewer steps, such as 'layers.*.out', or raise "
            f"limit_bytes"
        )
    kept: dict[str, np.ndarray] = {}
    change = checked(tap)

    def keep(name: str, x: np.ndarray) -> np.ndarray:
        x = change(name, x)
        if name in wanted:
            kept[name] = x.copy()
        return x

    run(model, tokens, keep)
    return Trace(tokens, kept)


def run(model: Model, tokens: Sequence[int], tap: Tap | None) -> np.ndarray:
    """The logits of a text from its start, all positions at once: (T, vocab_size) float32."""
    cache = KVCache(model.config, max(1, min(len(tokens), model.config.max_seq_len)))
    with step(model):
        return forward(model, tokens, cache, tap=tap)


def trace_bytes(config: ModelConfig, n_tokens: int, names: str | Sequence[str] = "*") -> int:
    """How much memory a trace takes, before it is made."""
    steps = chosen(steps_of(config), names)
    return 4 * sum(math.prod(step_shape(name, config, n_tokens)) for name in steps)


def chosen(all_names: Sequence[str], names: str | Sequence[str]) -> list[str]:
    """The names that match one of the patterns, in their own order.

    Raises:
        RequestError: a pattern matches none of them.
    """
    patterns = [names] if isinstance(names, str) else list(names)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in all_names):
            raise RequestError(
                f"steps: no step is called {quoted(pattern)}, expected one or a pattern of "
                f"{_some(all_names)}"
            )
    return [name for name in all_names if any(fnmatchcase(name, p) for p in patterns)]


def _some(names: Sequence[str]) -> str:
    """The first names and the last, as a phrase."""
    if len(names) <= 22:
        return ", ".join(names) or "no steps"
    return f"{', '.join(names[:18])} ... {', '.join(names[-2:])}"
