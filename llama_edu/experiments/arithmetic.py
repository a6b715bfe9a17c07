"""What rounding the activations costs: nats per token with float32, 8 bits and 4 bits.

In March 2023 llama.cpp rounded what it multiplied by q4_0 weights to 4 bits as well; since April
2023 to 8 bits. Source: quantize_row_q4_0 and ggml_vec_dot_q4_0 in ggml.c at PR #613 of llama.cpp.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np

from llama_edu.errors import RequestError
from llama_edu.experiments.subjects import model_file
from llama_edu.loading import load
from llama_edu.matmul.arithmetic import ARITHMETIC
from llama_edu.reconcile.cheap_checks import nats
from llama_edu.table import lay_out
from llama_edu.text import visible


@dataclass(frozen=True)
class Cost:
    """One arithmetic.

    Attributes:
        nats_per_token: of the text. logits_error: |a - b| / |b| against float32, all logits.
        same_likeliest_fraction: of positions, whose likeliest next token is that of float32.
    """

    arithmetic: str
    nats_per_token: float
    logits_error: float
    same_likeliest_fraction: float


@dataclass(frozen=True)
class ArithmeticCosts:
    """The same weights with each arithmetic that is defined for them."""

    subject: str
    n_tokens: int
    costs: tuple[Cost, ...]
    left_out: tuple[str, ...]

    def __str__(self) -> str:
        base = self.costs[0].nats_per_token
        rows = [
            (c.arithmetic, f"{c.nats_per_token:.4f}", f"{c.nats_per_token - base:+.4f}",
             f"{c.logits_error:.1e}", f"{c.same_likeliest_fraction:.1%}")
            for c in self.costs
        ]  # fmt: skip
        heads = ("activations", "nats per token", "more than float32", "logits differ by",
                 "same likeliest")  # fmt: skip
        name = visible(self.subject)
        head = f"{name}: a text of {self.n_tokens} tokens that the model wrote in float32"
        return "\n".join([head, lay_out(heads, rows, "<>", "  "), *self.left_out])


def arithmetic(path: str | Path | None = None, *, n_tokens: int = 200) -> ArithmeticCosts:
    """Score one text with every arithmetic.

    Args:
        path: the reader's checkpoint, or None for the bundled one with q4_0 weights.
        n_tokens: of the text, which the model writes itself at temperature 1.
    """
    costs: list[Cost] = []
    left_out: list[str] = []
    with model_file(path, "gguf", "q4_0") as file:
        with load(file) as llama:
            tokens = llama.generate_tokens("", n_tokens, seed=1)
            for _ in tokens:
                pass
            ids = tokens.tokens
            exact = llama.logits(ids)
        for name in ARITHMETIC:
            kind = cast(Literal["float32", "int8", "int4"], name)
            try:
                with load(file, arithmetic=kind) as llama:
                    found = llama.logits(ids)
            except RequestError as error:
                left_out.append(f"  left out: {error}")
                continue
            costs.append(
                Cost(
                    name, nats(found.astype(np.float64), ids),
                    float(np.linalg.norm(found - exact) / np.linalg.norm(exact)),
                    float(np.mean(found.argmax(axis=1) == exact.argmax(axis=1))),
                )
            )  # fmt: skip
        return ArithmeticCosts(file.name, len(ids), tuple(costs), tuple(left_out))
