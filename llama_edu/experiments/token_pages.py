"""Which pages did each token of a text need?

Runs a generation under a PageLab: once as a whole, on request again token by token, and on a plain
mapping to count the page faults behind the reading of 2023.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import numpy as np

from llama_edu.experiments.observe.plain_faults import plain_faults
from llama_edu.experiments.observe.token_steps import TokenSteps
from llama_edu.files.detect import read_checkpoint
from llama_edu.loading import load
from llama_edu.pages.faults import FaultCounts
from llama_edu.pages.lab import PageLab
from llama_edu.pages.record import Record
from llama_edu.pages.touches import Step
from llama_edu.stated import Stated
from llama_edu.table import Rows, lay_out
from llama_edu.text import one_line
from llama_edu.transformer.generate import Generation
from llama_edu.transformer.sampling import SamplingSettings


@dataclass(frozen=True)
class TokenPages(Rows):
    """A generation under observation.

    Attributes:
        text: what was generated, without the prompt.
        whole: the pages of prompt and new tokens together.
        steps: one per token with `per_token`; else empty.
        plain_faults: number of steps -> their faults on a plain mapping; empty without steps.
        lab: which instrument was used and why the better ones were not.
    """

    text: str
    n_prompt: int
    n_new: int
    whole: Record
    steps: tuple[Step, ...]
    lab: str
    plain_faults: dict[int, FaultCounts] = field(default_factory=dict)

    def new_pages(self) -> list[int | None]:
        """For each step, how many of its pages no step before it touched; None without pages."""
        seen = np.zeros(self.whole.n_pages, bool)
        counts: list[int | None] = []
        for step in self.steps:
            pages = step.record.pages
            counts.append(None if pages is None else int((pages & ~seen).sum()))
            seen |= False if pages is None else pages
        return counts

    def to_rows(self) -> list[dict[str, object]]:
        """One row per step; where the steps were not recorded, one per tensor, of all together."""
        return [
            {"step": number, "text": step.text, "n_touched": step.record.n_touched,
             "n_new": n_new, "verdict": step.record.verdict.kind}
            for number, step, n_new in zip(count(), self.steps, self.new_pages())
        ] or self.whole.to_rows()  # fmt: skip

    def __str__(self) -> str:
        lines = [str(self.whole)]
        if self.steps:
            rows = [
                (number, step.record.n_touched, n_new, step.record.verdict.kind,
                 one_line(step.text, 40))
                for number, step, n_new in zip(count(), self.steps, self.new_pages())
            ]  # fmt: skip
            lines.append(lay_out(("step", "pages", "new", "verdict", "text"), rows, ">>><"))
        return "\n".join(lines)


def observe_tokens(
    path: str | Path,
    prompt: str = "",
    n_tokens: int = 8,
    *,
    backend: str = "auto",
    tokenizer: str | Path | None = None,
    per_token: bool = False,
    settings: SamplingSettings | None = None,
    seed: int | None = 0,
    stated: Stated | None = None,
) -> TokenPages:
    """Generate under a lab and report which pages that needed.

    Args:
        path: one weight file. backend: "auto", or the name of one instrument.
        per_token: also record each step separately.
        seed: same seed, same text in each of the runs.
        stated: what replaces sizes that the file states or leaves out.
    Raises:
        MeasurementError: weights in several files, or a named instrument that is refused here.
    """
    checkpoint = read_checkpoint(path)
    options = vars(stated or Stated())

    def start(lab: PageLab, stack: ExitStack) -> Generation:
        opened = load(path, lab=lab, tokenizer=tokenizer, arithmetic="float32", **options)
        llama = stack.enter_context(opened)
        return llama.generate_tokens(prompt, n_tokens, settings, seed=seed)

    def watch_whole(lab: PageLab) -> tuple[Record, Generation, str]:
        with ExitStack() as stack:
            generation = start(lab, stack)
            with lab.record(f"{generation.n_prompt} prompt and {n_tokens} new tokens") as record:
                text = "".join(token.text for token in generation)
            return record, generation, text

    def watch_steps(lab: PageLab) -> tuple[Step, ...]:
        with ExitStack() as stack:
            return tuple(TokenSteps(lab, start(lab, stack), prompt))

    with PageLab.of(checkpoint, backend) as lab:
        whole, generation, text = watch_whole(lab)
        steps = watch_steps(lab) if per_token else ()
        described = lab.describe()
    for _ in range(2):  # the heap grows in the first run, and its faults are not the file's
        with PageLab.of(checkpoint, "faults") as plain:
            whole.plain_faults = watch_whole(plain)[0].faults
    faults = plain_faults(
        checkpoint.paths[0], [step.tokens for step in steps], threading.Event(), stated or Stated()
    )
    return TokenPages(text, generation.n_prompt, generation.n_new, whole, steps, described, faults)
