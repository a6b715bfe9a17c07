"""Was it a bug? Every step of a model beside that of an independent program.

The author of llama.cpp's PR #613 compared the text before and after it, suspected a bug, and asked
for the output to be reconciled with PyTorch. Two texts can be the same while a step is wrong, and
different while no step is. So here each step is compared, and the first that differs by more than
rounding is named. Source: https://github.com/ggml-org/llama.cpp/pull/613
"""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from llama_edu.bundled import bundled_checkpoint
from llama_edu.convert import convert
from llama_edu.errors import LlamaEduError, RequestError
from llama_edu.files.gguf.feed_forward import order_of
from llama_edu.llama import Llama
from llama_edu.loading import load
from llama_edu.reconcile.detective import Reconciliation
from llama_edu.reconcile.detective import reconcile as reconcile_steps
from llama_edu.reconcile.fingerprint import stored_fingerprint
from llama_edu.reconcile.referees import llama_cpp, torch_by_hand, transformers_hooks
from llama_edu.reconcile.reference import Reference, WholeReference, float64_reference
from llama_edu.reconcile.two_models import side_by_side
from llama_edu.table import Rows

#: Whose steps ours are compared with.
Against = Literal["stored", "float64", "torch", "transformers", "llama.cpp"]
AGAINST: tuple[str, ...] = get_args(Against)

TEXT = "Once upon a time there was a small fox who wanted to see the sea. The owl said: go down."
N_TOKENS = 24


@dataclass(frozen=True)
class StepRow(Rows):
    """One step.

    Attributes:
        error: the largest relative error of any position. rounding: what float32 causes there.
        ratio: the largest ratio of the two; see reconcile/detective.py.
    """

    name: str
    error: float
    rounding: float
    ratio: float


@dataclass(frozen=True)
class Reconciled(Rows):
    """The result.

    Attributes:
        agrees: whether no step differs by more than rounding. first: the first that does, or None.
        logits_error: |a - b| / |b| over all logits; None where only a fingerprint is known.
        note: what the reader should know about the referee. report: the whole comparison.
    """

    rows_of = ("steps",)

    subject: str
    referee: str
    tokens: tuple[int, ...]
    agrees: bool
    first: str | None
    logits_error: float | None
    steps: tuple[StepRow, ...]
    note: str
    report: str

    def __str__(self) -> str:
        lines = [self.report]
        if self.logits_error is not None:
            lines.append(f"  all logits together: error {self.logits_error:.1e}")
        return "\n".join([*lines, f"  {self.note}"] if self.note else lines)


def reconcile(path: str | Path | None = None, against: Against | None = None) -> Reconciled:
    """Compare every step of our forward pass with a referee's.

    Args:
        path: the reader's checkpoint, or None for the bundled one.
        against: the referee; None takes the stored fingerprint where there is one of a model of
            these sizes, and the hidden neurons are in its order, and float64 otherwise.
    Raises:
        RequestError: the referee is unknown, is not installed, or cannot compute this model; or
            the fingerprint has the hidden neurons in another order.
    """
    if against is not None and against not in AGAINST:
        raise RequestError(f"against is {against!r}, expected one of {', '.join(AGAINST)}")
    file = Path(path) if path is not None else bundled_checkpoint()
    with load(file, kernels="numpy", arithmetic="float32") as llama:
        reordered = order_of(llama.checkpoint.metadata, llama.config) is not None
        if against is None:
            against = "float64"
            with contextlib.suppress(RequestError):
                if not reordered:
                    stored_fingerprint(llama.config)
                    against = "stored"
        elif against == "stored" and reordered:
            raise RequestError(
                f"{file}: its hidden neurons are in another order than those of the fingerprint, "
                f"expected the same; compare with float64, or with the file it was made of"
            )
        reference, note = _referee(llama, file, against)
        steps = llama.trace(reference.tokens)
        theirs = reference.steps if isinstance(reference, WholeReference) else {}
        ours = side_by_side(steps, llama.config) if against == "llama.cpp" else dict(steps)
        found = reconcile_steps(ours, steps.tokens, reference, file.name)
        logits_error = _whole(steps["logits"], theirs["logits"]) if "logits" in theirs else None
    return _result(found, note, logits_error)


def _result(found: Reconciliation, note: str, logits_error: float | None) -> Reconciled:
    return Reconciled(
        found.subject, found.source, found.tokens, found.agrees,
        None if found.first is None else found.first.name, logits_error,
        tuple(StepRow(s.name, float(s.errors.max()), float(s.rounding.max()),
                      float(s.ratios.max())) for s in found.steps),
        note, str(found),
    )  # fmt: skip


def text_tokens(llama: Llama, text: str = TEXT, n_tokens: int = N_TOKENS) -> list[int]:
    """The text as ids, at most n_tokens; for a model without a vocabulary, ids that differ."""
    n_tokens = min(n_tokens, llama.config.max_seq_len)
    try:
        return llama.tokenizer.encode(text)[:n_tokens]
    except LlamaEduError:
        return [(1 + 37 * i * i) % llama.config.vocab_size for i in range(n_tokens)]


def _referee(llama: Llama, file: Path, against: Against) -> tuple[Reference, str]:
    if against == "stored":
        note = "a fingerprint of eight tokens: a difference is seen, its size is an estimate"
        return stored_fingerprint(llama.config), note
    tokens = text_tokens(llama)
    truth = float64_reference(llama.model, tokens)
    if against == "float64":
        return truth, ""
    note = ""
    if against == "torch":
        source, theirs = (
            "PyTorch by hand in float64",
            dict(torch_by_hand.steps(llama.model, tokens)),
        )
    elif against == "transformers":
        source, theirs = "transformers in float32", transformers_hooks.steps(llama.model, tokens)
    else:
        source, (theirs, note) = "llama.cpp", _in_llama_cpp(llama, file, tokens)
    measure = {name: truth.float32_errors[name] for name in theirs}
    return WholeReference(source, tuple(tokens), theirs, measure), note


def _in_llama_cpp(llama: Llama, file: Path, tokens: list[int]) -> tuple[dict[str, np.ndarray], str]:
    """llama.cpp's steps of this file, or of an f32 GGUF made of it where it is no GGUF."""
    llama_cpp.import_llama_cpp()
    if llama.checkpoint.format.startswith("GGUF") and llama.checkpoint.layout == "rows":
        types = {t.type for t in llama.checkpoint.tensors.values() if len(t.shape) == 2}
        rounds = sorted(types - {"f32"})
        note = (
            f"llama.cpp rounds what it multiplies by {', '.join(rounds)} weights: not a bug, and "
            f"load(arithmetic='int8') rounds as well"
            if rounds
            else ""
        )
        return llama_cpp.steps(llama.checkpoint.paths[0], llama.config, tokens), note
    with tempfile.TemporaryDirectory(prefix="llama_edu_") as folder:
        made = Path(folder) / "f32.gguf"
        convert(file, made, to="gguf", type="f32")
        return llama_cpp.steps(made, llama.config, tokens), "llama.cpp read it as GGUF, in f32"


def _whole(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b.astype(np.float64)) / np.linalg.norm(b))
