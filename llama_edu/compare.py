"""Are two checkpoints the same model? Tensor by tensor, then by what they compute."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llama_edu.config import output_name
from llama_edu.errors import RequestError
from llama_edu.files.gguf.feed_forward import order_of
from llama_edu.files.row_order import rows_side_by_side
from llama_edu.llama import Llama
from llama_edu.loading import load
from llama_edu.quants.blocks import dequantize
from llama_edu.reconcile.detective import Reconciliation
from llama_edu.reconcile.two_models import compare_steps as steps_of_both
from llama_edu.reconcile.two_models import growth
from llama_edu.stated import Stated
from llama_edu.table import Rows, lay_out
from llama_edu.text import visible

#: Ids at which logits are compared, since no text can be encoded without a tokenizer. Ids beyond
#: the vocabulary are left out.
_FIXED_TOKENS = (1, 5, 3, 11, 7, 200, 31, 64)

#: Rows are compared in chunks of about this many float32 bytes.
_CHUNK_BYTES = 8 * 2**20


@dataclass(frozen=True)
class TensorDifference(Rows):
    """How far one tensor of A differs from B's.

    Attributes:
        largest, mean: of |a - b| over all numbers; NaN where one of the two holds NaN.
        scale: the largest |a|.
        first_nan: index of the first such place, or None.
    """

    name: str
    types: tuple[str, str]
    largest: float
    mean: float
    scale: float
    first_nan: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Comparison(Rows):
    """The differences between two checkpoints.

    `note` says why numbers were not paired as one might expect, where that is so.
    """

    rows_of = ("tensors",)

    names: tuple[str, str]
    tensors: tuple[TensorDifference, ...]
    logits_largest: float
    logits_scale: float
    same_greedy: bool
    tolerance: float
    note: str = ""

    @property
    def same(self) -> bool:
        """Whether all weights and logits agree within the tolerance; NaN never does."""
        found = (self.logits_largest, *(t.largest for t in self.tensors))
        return all(largest <= self.tolerance for largest in found)  # False for NaN

    def __str__(self) -> str:
        a, b = self.names
        lines = [f"{visible(a)}  against  {visible(b)}"]
        if self.note:
            lines.append(f"  {self.note}")
        different = [t for t in self.tensors if t.largest != 0]
        lines.append(
            f"  tensors  {len(self.tensors) - len(different)} of {len(self.tensors)} equal"
        )
        if different:
            first = different[0]
            lines.append(f"  first that differs: {visible(first.name)}")
            damaged = next((t for t in different if t.first_nan is not None), None)
            if damaged:
                index = ", ".join(map(str, damaged.first_nan or ()))
                lines.append(f"  first that is not a number: {visible(damaged.name)}[{index}]")
            worst = sorted(different, key=lambda t: (t.first_nan is None, -t.largest))[:8]
            rows = [
                (t.name, " / ".join(t.types), f"{t.largest:.3g}", f"{t.mean:.3g}") for t in worst
            ]
            lines.append(lay_out(("tensor", "types", "largest", "mean"), rows, indent=" " * 4))
            if len(different) > len(worst):
                lines.append(f"    and {len(different) - len(worst)} more that differ less")
        likeliest = "equal" if self.same_greedy else "differ"
        lines.append(
            f"  logits   largest difference {self.logits_largest:.3g} (largest logit "
            f"{self.logits_scale:.3g}); likeliest tokens {likeliest}"
        )
        verdict = "same model" if self.same else "different"
        lines.append(f"  {verdict} at tolerance {self.tolerance:g}")
        return "\n".join(lines)


def compare(
    a_path: str | Path,
    b_path: str | Path,
    tolerance: float = 0.0,
    stated: Stated | None = None,
    *,
    mmap: bool = True,
) -> Comparison:
    """Compare two checkpoints of the same sizes; needs no tokenizer.

    Args:
        tolerance: the largest difference in a weight or a logit that still counts as equal.
        stated: what replaces sizes that either file states or leaves out.
        mmap: False reads both into memory and maps nothing.
    Raises:
        RequestError: the sizes differ, so numbers cannot be paired; or a negative tolerance.
    """
    if not tolerance >= 0:
        raise RequestError(f"tolerance is {tolerance}, expected 0 or more")
    with _opened(a_path, stated, mmap) as a, _opened(b_path, stated, mmap) as b:
        _check_same_sizes(a, b)
        tensors = tuple(_tensor_difference(name, a, b) for name in _names(a, b))
        tokens = [t for t in _FIXED_TOKENS if t < a.config.vocab_size]
        with np.errstate(over="ignore", invalid="ignore"):  # damaged weights are named below
            a_logits, b_logits = a.logits(tokens), b.logits(tokens)
    return Comparison(
        names=(f"{Path(a_path).name} ({a.checkpoint.format})",
               f"{Path(b_path).name} ({b.checkpoint.format})"),
        tensors=tensors,
        logits_largest=float(_distance(a_logits, b_logits).max()),
        logits_scale=float(np.abs(a_logits).max()),
        same_greedy=bool(
            np.array_equal(a_logits.argmax(-1), b_logits.argmax(-1))
            and not (np.isnan(a_logits).any() or np.isnan(b_logits).any())
        ),
        tolerance=tolerance,
        note=_order_note(a, b),
    )  # fmt: skip


def _opened(path: str | Path, stated: Stated | None, mmap: bool) -> Llama:
    """With the kernels and products that every machine has."""
    options = vars(stated or Stated())
    return load(path, mmap, kernels="numpy", arithmetic="float32", **options)


def _order_note(a: Llama, b: Llama) -> str:
    """A sentence for two files whose hidden neurons are in different orders, by what they say."""
    orders = []
    for llama in (a, b):
        stated = order_of(llama.checkpoint.metadata, llama.config)
        plain = np.tile(np.arange(llama.config.hidden_dim), (llama.config.n_layers, 1))
        orders.append(plain if stated is None else stated)
    if np.array_equal(orders[0], orders[1]):
        return ""
    return (
        "the hidden neurons are in another order: their weights and steps are compared place by "
        "place, and differ; the logits tell whether the two compute the same"
    )


@dataclass(frozen=True)
class StepsComparison(Rows):
    """Every step of two models on the same tokens, and how their difference grows.

    `note` is that of Comparison.
    """

    report: Reconciliation
    note: str = ""

    @property
    def agrees(self) -> bool:
        """Whether no step differs by more than rounding."""
        return self.report.agrees

    def to_rows(self) -> list[dict[str, object]]:
        """One row per step."""
        return self.report.to_rows()

    def __str__(self) -> str:
        b, a, first = self.report.subject, self.report.source, self.report.first
        head = f"{visible(a)}  against  {visible(b)}, {len(self.report.tokens)} tokens"
        head += f"\n  {self.note}" if self.note else ""
        if first is None:
            return f"{head}\n  all {len(self.report.steps)} steps are equal, or differ by rounding"
        lines = [
            head,
            f"  first step that differs: {first.name}, by {first.errors.max():.1e} of its size",
            self.report.table(),
            "  median over positions:",
            growth(self.report),
        ]
        return "\n".join(lines)


def compare_steps(
    a_path: str | Path, b_path: str | Path, stated: Stated | None = None, *, mmap: bool = True
) -> StepsComparison:
    """Where two files of one model part: every step of B beside A's; needs no tokenizer.

    Args:
        stated: what replaces sizes that either file states or leaves out.
        mmap: False reads the weights into memory instead of mapping them.
    Raises:
        RequestError: the sizes differ, or the steps take too much memory.
    """
    with _opened(a_path, stated, mmap) as a, _opened(b_path, stated, mmap) as b:
        _check_same_sizes(a, b)
        tokens = [token for token in _FIXED_TOKENS if token < a.config.vocab_size]
        names = a.checkpoint.paths[0].name, b.checkpoint.paths[0].name
        found = steps_of_both(a.model, b.model, tokens, names)
        return StepsComparison(found, _order_note(a, b))


def _check_same_sizes(a: Llama, b: Llama) -> None:
    for field in ("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size"):
        values = getattr(a.config, field), getattr(b.config, field)
        if values[0] != values[1]:
            raise RequestError(
                f"{field} is {values[0]} in {a.checkpoint.paths[0].name} and {values[1]} in "
                f"{b.checkpoint.paths[0].name}; these are different models"
            )


def _names(a: Llama, b: Llama) -> list[str]:
    """The tensors to compare; an output that is the embedding in both is compared once."""
    names = list(a.config.tensor_shapes())
    if all("output" not in llama.checkpoint.tensors for llama in (a, b)):
        names.remove("output")
    return names


def _tensor_difference(name: str, a: Llama, b: Llama) -> TensorDifference:
    a_stored, b_stored = _stored(a, name), _stored(b, name)
    largest = scale = total = 0.0
    n_elements = 0
    first_nan = None
    step = max(1, _CHUNK_BYTES // (4 * max(1, a.config.dim)))
    for start in range(0, len(a_stored), step):
        a_numbers = dequantize(a_stored[start : start + step])
        difference = _distance(a_numbers, dequantize(b_stored[start : start + step]))
        if first_nan is None and np.isnan(difference).any():
            row, *column = np.argwhere(np.isnan(difference))[0].tolist()
            first_nan = (start + row, *column)
        largest = float(np.maximum(largest, difference.max()))  # unlike max, it keeps NaN
        scale = float(np.maximum(scale, np.abs(a_numbers).max()))
        total += float(difference.sum(dtype=np.float64))
        n_elements += difference.size
    types = tuple(
        checkpoint.tensors[_stored_name(checkpoint.tensors, name)].type
        for checkpoint in (a.checkpoint, b.checkpoint)
    )
    mean = total / n_elements
    return TensorDifference(name, (types[0], types[1]), largest, mean, scale, first_nan)


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|a - b|; 0 for equal infinities, NaN where either is NaN."""
    with np.errstate(invalid="ignore", over="ignore"):
        distance: np.ndarray = np.abs(a - b)
    distance[a == b] = 0
    return distance


def _stored_name(names: Container[str], name: str) -> str:
    """The weight used under this name; for a tied output, the embedding."""
    return output_name(names) if name == "output" else name


def _stored(llama: Llama, name: str) -> np.ndarray:
    """The stored tensor with RoPE's pairs side by side, regardless of the file's order."""
    name = _stored_name(llama.weights, name)
    return rows_side_by_side(llama.weights[name], name, llama.config)
