"""Two files of one model beside each other: where does a quantized one part from its source?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llama_edu.config import ModelConfig
from llama_edu.files.row_order import permute_rows_to_interleaved
from llama_edu.reconcile.detective import Reconciliation, reconcile
from llama_edu.reconcile.reference import WholeReference
from llama_edu.reconcile.trace import Trace, trace
from llama_edu.table import lay_out
from llama_edu.transformer.model import Model

#: What float32 is taken to cause in any step; measured for one model, it is about this.
_ROUNDING = 1e-6


def compare_steps(
    a: Model, b: Model, tokens: Sequence[int], names: tuple[str, str] = ("A", "B")
) -> Reconciliation:
    """Every step of B beside that of A; sizes must agree, row orders of wq and wk need not.

    Raises:
        RequestError: the traces would take more memory than one trace may.
    """
    ours = side_by_side(trace(b, tokens), b.config)
    theirs = side_by_side(trace(a, tokens), a.config)
    rounding = dict.fromkeys(theirs, np.full(len(tokens), _ROUNDING))
    reference = WholeReference(names[0], tuple(tokens), theirs, rounding)
    return reconcile(ours, tuple(tokens), reference, names[1])


def side_by_side(steps: Trace, config: ModelConfig) -> dict[str, np.ndarray]:
    """The steps with RoPE's pairs of queries and keys side by side, whatever the file's order."""
    found = dict(steps)
    if config.rope_pairing == "halves":
        for name, x in steps.items():
            if name.rpartition(".")[2] in ("q", "k", "q_rope", "k_rope"):
                columns = x.reshape(len(x), -1)  # one for each row of the matrix that made them
                sorted_rows = permute_rows_to_interleaved(columns.T, x.shape[1])
                found[name] = sorted_rows.T.reshape(x.shape)
    return found


def growth(report: Reconciliation) -> str:
    """The median error, over positions, of x after attention and after each layer, as text."""
    median = {step.name: float(np.median(step.errors)) for step in report.steps}
    layers = [name.split(".")[1] for name in median if name.endswith(".out")]
    rows = [
        (n, f"{median[f'layers.{n}.attended']:.1e}", f"{median[f'layers.{n}.out']:.1e}")
        for n in layers
    ]
    return lay_out(("layer", "x after attention", "x after the layer"), rows, ">", "  ")
