"""A fingerprint: two numbers for each step and position, which stand for all of them.

Each row of numbers is added up twice with random signs. A row that differs by d changes such a sum
by about the length of d, whatever the row's width, so two sums show a difference almost surely. A
model's fingerprint for eight tokens takes a few kilobytes and spares its reader the other program.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np

from llama_edu.config import ModelConfig
from llama_edu.errors import FormatError, RequestError
from llama_edu.reconcile.npz import read_npz
from llama_edu.reconcile.reference import by_position, length, relative_errors
from llama_edu.transformer.tap import step_names

#: Fingerprints that come with the package, made by tools/make_fingerprints.py.
STORED = Path(__file__).parent / "fingerprints"

_SIZES = ("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "head_dim")


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """A Reference of which only two sums of each row are known.

    Attributes:
        source: what computed it, and from which file.
        sizes: dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, head_dim.
        sums: (n_steps, T, 2) float32. largest: (n_steps,) float32, the largest relative error that
            float32 causes in a step.
    """

    source: str
    tokens: tuple[int, ...]
    sizes: tuple[int, ...]
    sums: np.ndarray
    largest: np.ndarray

    @property
    def names(self) -> list[str]:
        """The steps, all of the model's, in the order of the computation."""
        return step_names(self.sizes[2])

    def errors(self, name: str, x: np.ndarray) -> np.ndarray:
        """The relative error of each position, about: the sums' larger difference over |x|."""
        expected = self.sums[self.names.index(name)].astype(np.float64)
        rows = _shown(name, x)
        if len(rows) != len(expected):
            return np.full(len(expected), np.inf)
        with np.errstate(invalid="ignore", over="ignore"):
            gap = np.abs(sums_of(name, x) - expected).max(axis=1)
            errors = gap / np.maximum(length(rows), np.finfo(np.float64).tiny)
        errors[~np.isfinite(errors)] = np.inf
        return errors

    def rounding(self, name: str) -> np.ndarray:
        """The relative error that float32 causes, the same for all positions."""
        return np.full(len(self.tokens), self.largest[self.names.index(name)], np.float64)

    def check_fits(self, config: ModelConfig) -> None:
        """Raise RequestError unless the model has these sizes, and no experts."""
        _refuse_experts(config)
        if self.sizes != sizes_of(config):
            raise RequestError(
                f"fingerprint: of a model with {_listed(self.sizes)}, expected "
                f"{_listed(sizes_of(config))}; they are different models"
            )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as .npz, without compression."""
        np.savez(
            path, tokens=np.array(self.tokens, np.int64), sizes=np.array(self.sizes, np.int64),
            sums=self.sums, largest=self.largest,
        )  # fmt: skip


def make_fingerprint(
    source: str,
    config: ModelConfig,
    tokens: Sequence[int],
    exact: Iterable[tuple[str, np.ndarray]],
    rounded: Iterable[tuple[str, np.ndarray]],
) -> Fingerprint:
    """The fingerprint of a computation in float64, and of the same in float32 as its measure.

    Raises:
        RequestError: the model has experts, whose steps a fingerprint does not know.
    """
    _refuse_experts(config)
    sums, largest = [], []
    for (name, x), (_, y) in zip(exact, rounded, strict=True):
        sums.append(sums_of(name, x))
        largest.append(relative_errors(name, y, x).max())
    return Fingerprint(
        source, tuple(tokens), sizes_of(config),
        np.array(sums, np.float32), np.array(largest, np.float32),
    )  # fmt: skip


def read_fingerprint(path: str | os.PathLike[str]) -> Fingerprint:
    """Read what `save` wrote. FormatError for anything else."""
    arrays = read_npz(path)
    parts = {"tokens": np.int64, "sizes": np.int64, "sums": np.float32, "largest": np.float32}
    if {name: x.dtype for name, x in arrays.items()} == parts:
        tokens, sizes, sums, largest = (arrays[name] for name in parts)
        if tokens.ndim == 1 and sizes.shape == (len(_SIZES),) and 0 < sizes[2] < 1000:
            n_steps = len(step_names(int(sizes[2])))
            if sums.shape == (n_steps, len(tokens), 2) and largest.shape == (n_steps,):
                source = f"PyTorch in float64, stored for {Path(path).stem}"
                return Fingerprint(
                    source, tuple(tokens.tolist()), tuple(sizes.tolist()), sums, largest
                )
    raise FormatError(f"{path}: is not a fingerprint, expected {', '.join(parts)} of equal sizes")


def stored_fingerprint(config: ModelConfig) -> Fingerprint:
    """The fingerprint of a model of these sizes that comes with the package.

    Raises:
        RequestError: there is none; the message names those there are.
    """
    _refuse_experts(config)
    names = []
    for path in sorted(STORED.glob("*.npz")):
        found = read_fingerprint(path)
        if found.sizes == sizes_of(config):
            return found
        names.append(path.stem)
    raise RequestError(
        f"fingerprint: none is stored for a model with {_listed(sizes_of(config))}, only for "
        f"{', '.join(names)}; compare with float64, which needs nothing"
    )


def _refuse_experts(config: ModelConfig) -> None:
    if config.n_experts:
        raise RequestError(
            f"fingerprint: only of models without experts, this one has {config.n_experts:,} in "
            f"each layer; compare with float64, which needs nothing"
        )


def sizes_of(config: ModelConfig) -> tuple[int, ...]:
    """The sizes by which a fingerprint is found."""
    return tuple(getattr(config, name) for name in _SIZES)


def sums_of(name: str, x: np.ndarray) -> np.ndarray:
    """Both sums of each position of one step: (T, 2) float64. The hidden future counts as 0."""
    rows = _shown(name, x)
    return rows @ _signs(name, rows.shape[1]).T


def _shown(name: str, x: np.ndarray) -> np.ndarray:
    rows = by_position(name, x)
    rows[np.isneginf(rows)] = 0
    return rows


def _signs(name: str, n: int) -> np.ndarray:
    """(2, n) of +1 and -1, the same everywhere and forever: numpy's generators may change.

    Source: splitmix64 of Steele, Lea and Flood, OOPSLA 2014.
    """
    z = np.arange(n, dtype=np.uint64) + (np.uint64(crc32(name.encode())) << np.uint64(32))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)  # modulo 2**64
    z ^= z >> np.uint64(31)
    bits = np.stack([z & np.uint64(1), z >> np.uint64(1) & np.uint64(1)])
    return bits.astype(np.float64) * 2 - 1


def _listed(sizes: Sequence[int]) -> str:
    return ", ".join(f"{name} {size}" for name, size in zip(_SIZES, sizes, strict=True))
