"""The files whose speed is measured, in the order in which they are shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.models import LARGE, SMALL, bundled_model, k_quants, random_model, smollm2


@dataclass(frozen=True)
class Subject:
    """A file: its title in tables, its label in the figure, and how it is found or made.

    `find` raises Missing where it cannot be had. `is_large`: it is made only when asked for.
    """

    title: str
    label: str
    find: Callable[[], Path]
    is_large: bool = False


SUBJECTS: dict[str, Subject] = {
    "bundled": Subject("Bundled model, F16", "bundled", bundled_model),
    **{
        name.lower(): Subject(
            f"Random model of 134M, {name}", name, partial(random_model, SMALL, name.lower())
        )
        for name in ("F32", "F16", "BF16", "Q8_0", "Q4_0")
    },
    "q4_k_m": Subject("Random model of 134M, Q4_K_M", "Q4_K_M", k_quants),
    "smollm2": Subject("SmolLM2-135M-Instruct, Q4_1", "SmolLM2 Q4_1", smollm2),
    "1.1b": Subject(
        "Random model of 1.1B, Q4_0", "1.1B Q4_0", partial(random_model, LARGE, "q4_0"), True
    ),
}  # fmt: skip
