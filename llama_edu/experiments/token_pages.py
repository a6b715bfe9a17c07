"""Which pages did each token of a text need?

Runs a generation under a PageLab: once as a whole, once again on a plain mapping to count the page
faults that the 2023 reading was made of, and on request token by token.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llama_edu.files.detect import read_checkpoint
from llama_edu.llama import load
from llama_edu.pages.lab import PageLab
from llama_edu.pages.record import Record
from llama_edu.table import lay_out
from llama_edu.text import one_line
from llama_edu.transformer.generate import Generation
from llama_edu.transformer.sampling import SamplingSettings


@dataclass(frozen=True)
class TokenRecord:
    """The pages that one step needed.

    Attributes:
        text: the piece that the step read; the prompt, for the first.
        record: its pages. n_new: how many of them no earlier step had touched, or None where the
            instrument sees no pages.
    """

    text: str
    record: Record
    n_new: int | None


@dataclass(frozen=True)
class TokenPages:
    """A generation under observation.

    Attributes:
        text: what was written, without the prompt.
        whole: the pages of prompt and new tokens together.
        steps: one per token, where asked for.
        lab: which instrument was used and why the better ones were not.
    """

    text: str
    n_prompt: int
    n_new: int
    whole: Record
    steps: tuple[TokenRecord, ...]
    lab: str

    def __str__(self) -> str:
        lines = [str(self.whole)]
        if self.steps:
            rows = [
                (number, step.record.n_touched, step.n_new, step.record.verdict.kind,
                 one_line(step.text, 40))
                for number, step in enumerate(self.steps)
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
) -> TokenPages:
    """Generate under a lab and say which pages that took.

    Args:
        path: one weight file. backend: "auto", or the name of one instrument.
        per_token: also record every step by itself.
        seed: same seed, same text in each of the runs.
    Raises:
        MeasurementError: weights in several files, or a named instrument that is refused here.
    """
    checkpoint = read_checkpoint(path)

    def start(lab: PageLab, stack: ExitStack) -> Generation:
        llama = stack.enter_context(load(path, lab=lab, tokenizer=tokenizer))
        return llama.generate_tokens(prompt, n_tokens, settings, seed=seed)

    def watch_whole(lab: PageLab) -> tuple[Record, Generation, str]:
        with ExitStack() as stack:
            generation = start(lab, stack)
            with lab.record(f"{generation.n_prompt} prompt and {n_tokens} new tokens") as record:
                text = "".join(token.text for token in generation)
            return record, generation, text

    def watch_steps(lab: PageLab) -> Iterator[TokenRecord]:
        with ExitStack() as stack:
            tokens = iter(start(lab, stack))
            seen = np.zeros(lab.n_pages, bool)
            text, number = prompt, 0
            while True:
                with lab.record(f"step {number}") as record:
                    token = next(tokens, None)
                if token is None:
                    return
                n_new = None if record.pages is None else int((record.pages & ~seen).sum())
                seen |= False if record.pages is None else record.pages
                # this step read what the piece before it made necessary, and wrote the next one
                yield TokenRecord(text, record, n_new)
                text, number = token.text, number + 1

    with PageLab.of(checkpoint, backend) as lab:
        whole, generation, text = watch_whole(lab)
        steps = tuple(watch_steps(lab)) if per_token else ()
        described = lab.describe()
    for _ in range(2):  # the first run lets the heap grow, whose faults are none of the file's
        with PageLab.of(checkpoint, "faults") as plain:
            whole.plain_faults = watch_whole(plain)[0].faults
    return TokenPages(text, generation.n_prompt, generation.n_new, whole, steps, described)
