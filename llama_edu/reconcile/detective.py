"""The detective: the first step at which a computation parts from its reference, and why it may.

Rounding makes every step differ a little. A step is wrong where its error exceeds 30 times what
float32 alone does to the same step: without a bug the ratio stays near 1, and every bug that was
tried exceeds it many times over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from llama_edu.errors import RequestError
from llama_edu.html import preformatted
from llama_edu.reconcile.reference import Reference, WholeReference
from llama_edu.reconcile.trace import run
from llama_edu.table import Rows, lay_out
from llama_edu.text import visible
from llama_edu.transformer.model import Model
from llama_edu.transformer.tap import Tap, checked

#: Errors this many times larger than those of float32 are no rounding.
ALARM = 30.0

#: What usually makes a step wrong whose inputs were right, by its name inside the layer.
CAUSES = {
    "embedding": "the row of another token, another type of number (bf16 read as f16), or a scale",
    "attention_norm": "eps, the wrong norm's weights, or a norm of another kind",
    "q": "wq: a transposed, permuted or damaged matrix, or another layer's",
    "k": "wk: a transposed, permuted or damaged matrix, or another layer's",
    "v": "wv: a transposed or damaged matrix, another layer's, or heads cut in another order",
    "q_rope": "RoPE: the pairing of numbers, its base, or positions that are off",
    "k_rope": "RoPE of the keys: pairing, base or positions",
    "scores": "the scale 1/sqrt(head_dim), the key head of a query head, or what may be seen",
    "weights": "softmax over the wrong axis, or a mask that is applied too late",
    "mixed": "the value head of a query head, or heads put together in another order",
    "wo": "wo: a transposed or damaged matrix, or heads in another order",
    "attended": "the residual: added to the wrong x, or left out",
    "ffn_norm": "eps, or the weights of another norm",
    "router": "the router: a damaged matrix, or rows of experts in another order",
    "shares": "the chosen experts: not divided by their sum, or another number of them",
    "gate": "w_gate: exchanged with w_up, transposed or damaged",
    "up": "w_up: exchanged with w_gate, transposed or damaged",
    "activated": "another activation than silu, or silu of the wrong factor",
    "down": "w_down: transposed or damaged",
    "out": "the residual: added to the wrong x, or left out",
    "final_norm": "a layer too many or too few, eps, or the weights of another norm",
    "logits": "the output matrix: damaged, or tied to the embedding where it should not be",
}


@dataclass(frozen=True, eq=False)
class StepErrors(Rows):
    """How far one step is from the reference.

    Attributes:
        errors: (T,) float64, relative, one for each position.
        rounding: (T,) float64, what float32 alone causes there.
    """

    also = ("is_wrong",)

    name: str
    errors: np.ndarray
    rounding: np.ndarray

    @property
    def ratios(self) -> np.ndarray:
        """(T,) errors over the larger of this position's rounding and the median position's."""
        least = max(float(np.median(self.rounding)), float(np.finfo(np.float32).eps) / 2)
        with np.errstate(invalid="ignore"):  # where even the reference is no number
            return self.errors / np.maximum(self.rounding, least)

    @property
    def is_wrong(self) -> bool:
        """Whether some position exceeds the alarm; what is no number always does."""
        return len(self.positions) > 0

    @property
    def positions(self) -> np.ndarray:
        """The positions that exceed the alarm."""
        return np.flatnonzero(~(self.ratios <= ALARM))  # NaN is not below it

    @property
    def cause(self) -> str:
        """What usually makes this step wrong."""
        return CAUSES[self.name.rpartition(".")[2]]

    def __str__(self) -> str:
        if not self.is_wrong:
            return f"{self.name}: as rounding alone, {self.errors.max():.1e}"
        where = _ranges(self.positions)
        worst = int(self.ratios.argmax())
        return (
            f"{self.name} is wrong at {where} of {len(self.errors)}\n"
            f"  largest error {self.errors[worst]:.1e} of its size, at position {worst}, where "
            f"rounding causes {self.rounding[worst]:.1e}\n"
            f"  usual causes: {self.cause}"
        )


@dataclass(frozen=True, eq=False)
class Reconciliation(Rows):
    """A computation beside its reference, step by step.

    Attributes:
        subject, source: what was compared with what.
        steps: those that both have, in order; empty where the tokens differ.
        tokens, reference_tokens: the ids that each of them read.
        is_local: whether each step was given the reference's input.
    """

    rows_of = ("steps",)

    subject: str
    source: str
    steps: tuple[StepErrors, ...]
    tokens: tuple[int, ...]
    reference_tokens: tuple[int, ...]
    is_local: bool = False

    @property
    def first(self) -> StepErrors | None:
        """The first wrong step; None where all agree, or where the tokens already differ."""
        return next((step for step in self.steps if step.is_wrong), None)

    @property
    def wrong(self) -> list[StepErrors]:
        """All wrong steps. After the first they follow from it, unless the errors are local."""
        return [step for step in self.steps if step.is_wrong]

    @property
    def same_tokens(self) -> bool:
        """Whether both read the same text."""
        return self.tokens == self.reference_tokens

    @property
    def agrees(self) -> bool:
        """Whether nothing but rounding was found."""
        return self.same_tokens and self.first is None

    def __str__(self) -> str:
        who = f"{visible(self.subject)} against {visible(self.source)}"
        lines = [f"{who}, {len(self.tokens)} tokens"]
        if not self.same_tokens:
            return "\n".join([*lines, _different_tokens(self.tokens, self.reference_tokens)])
        if not self.steps:
            return "\n".join([*lines, "no step is in both; nothing was compared"])
        largest = _largest_ratio(self.steps)
        if self.agrees:
            last = self.steps[-1]
            lines += [
                f"all {len(self.steps)} steps agree: no error above {largest:.1f} times what "
                f"float32 causes (alarm at {ALARM:g})",
                f"  {last.name}: error {last.errors.max():.1e}, median "
                f"{np.median(last.errors):.1e}",
            ]
        elif self.is_local:
            lines += [f"{len(self.wrong)} of {len(self.steps)} steps are wrong by themselves:"]
            lines += [str(step) for step in self.wrong]
        else:
            n_before = self.steps.index(self.wrong[0])
            lines += [
                f"{n_before} steps agree, then {self.wrong[0]}",
                f"  {len(self.wrong) - 1} later steps exceed the alarm as well; they may follow "
                f"from this one",
            ]
        return "\n".join([*lines, self.table()])

    def table(self) -> str:
        """The largest error of the steps of each kind, and of the first wrong one, as text."""
        rows = []
        kinds: dict[str, list[StepErrors]] = {}
        for step in self.steps:
            kinds.setdefault(step.name.rpartition(".")[2], []).append(step)
        for kind, steps in kinds.items():
            worst = max(steps, key=lambda step: float(step.errors.max()))
            first = next((step.name for step in steps if step.is_wrong), "")
            rows.append(
                (kind, f"{worst.errors.max():.1e}", f"{worst.rounding.max():.1e}",
                 f"{_largest_ratio(steps):.1f}", first)
            )  # fmt: skip
        heads = ("step", "largest error", "of float32", "ratio", "wrong first at")
        return lay_out(heads, rows, "<>>><", "  ")

    def _repr_html_(self) -> str:
        return preformatted(str(self))


def reconcile(
    steps: Mapping[str, np.ndarray],
    tokens: tuple[int, ...],
    reference: Reference,
    subject: str = "this computation",
) -> Reconciliation:
    """Compare every step that both have; a Trace holds `steps` and `tokens`."""
    tokens = tuple(tokens)
    found: tuple[StepErrors, ...] = ()
    if tokens == reference.tokens:
        found = tuple(
            StepErrors(name, reference.errors(name, steps[name]), reference.rounding(name))
            for name in reference.names
            if name in steps
        )
    return Reconciliation(subject, reference.source, found, tokens, reference.tokens)


def first_divergence(steps: Mapping[str, np.ndarray], reference: Reference) -> StepErrors | None:
    """The first step that differs by more than rounding, or None.

    Raises:
        RequestError: the trace is of other tokens: the text was cut differently, which comes first.
    """
    tokens = tuple(getattr(steps, "tokens", reference.tokens))
    if tokens != reference.tokens:
        raise RequestError(_different_tokens(tokens, reference.tokens))
    return reconcile(steps, tokens, reference).first


def local_errors(
    model: Model,
    reference: WholeReference,
    *,
    tap: Tap | None = None,
    subject: str = "this computation",
) -> Reconciliation:
    """Give every step the reference's input, so that each is judged by itself.

    Two bugs are then both named, because the first does not spoil what the second is given.

    Args:
        tap: what the computation under suspicion does in addition, such as a planted bug.
    """
    found: list[StepErrors] = []
    change = checked(tap)

    def judge(name: str, x: np.ndarray) -> np.ndarray:
        x = change(name, x)
        if name not in reference.steps:
            return x
        found.append(StepErrors(name, reference.errors(name, x), reference.rounding(name)))
        expected = reference.steps[name]
        return expected.astype(np.float32) if expected.shape == x.shape else x

    run(model, reference.tokens, judge)
    return Reconciliation(
        subject, reference.source, tuple(found), reference.tokens, reference.tokens, is_local=True
    )


def _largest_ratio(steps: Sequence[StepErrors]) -> float:
    return float(np.max([step.ratios.max() for step in steps]))  # unlike max, it keeps NaN


def _different_tokens(tokens: tuple[int, ...], expected: tuple[int, ...]) -> str:
    at = next(
        (i for i, (a, b) in enumerate(zip(tokens, expected, strict=False)) if a != b),
        min(len(tokens), len(expected)),
    )
    found = [str(ids[at]) if at < len(ids) else "nothing" for ids in (tokens, expected)]
    return (
        f"tokens: {found[0]} at position {at}, the reference has {found[1]} there "
        f"({len(tokens)} tokens and {len(expected)}); the text is cut differently, and no step "
        f"can agree"
    )


def _ranges(positions: np.ndarray) -> str:
    """Positions as a phrase: positions 0, 3 to 7 and 9."""
    cuts = np.flatnonzero(np.diff(positions) > 1) + 1
    runs = [
        str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}"
        for run in np.split(positions, cuts)
    ]
    if len(runs) > 4:
        return f"{len(positions)} positions, the first {positions[0]},"
    head = "position " if len(positions) == 1 else "positions "
    return head + (runs[0] if len(runs) == 1 else f"{', '.join(runs[:-1])} and {runs[-1]}")
