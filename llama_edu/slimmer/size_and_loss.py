"""What a number type saves and what it costs: bytes of the file against nats of a text."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import numpy as np

from llama_edu.convert import convert
from llama_edu.convert.planning import TypeName
from llama_edu.errors import RequestError
from llama_edu.loading import load
from llama_edu.quality.losses import Loss, paired_loss, token_nats
from llama_edu.slimmer.texts import texts_for
from llama_edu.table import Rows, lay_out


@dataclass(frozen=True)
class StoredAs(Rows):
    """One model with its matrices stored as one type.

    Attributes:
        type: of the matrices; vectors stay f32.
        n_bytes: size of the GGUF file.
        nats: mean of -log p per token of the text.
        more: what it loses more than the first type on the same tokens; None for the first.
    """

    type: str
    n_bytes: int
    nats: float
    more: Loss | None

    @property
    def perplexity(self) -> float:
        """Among how many equally likely tokens a guess would be as hard: e to the nats."""
        return math.exp(self.nats)


@dataclass(frozen=True)
class SizeAndLoss(Rows):
    """A model stored as several types, each scored on the same text."""

    rows: tuple[StoredAs, ...]
    n_tokens: int
    text: str

    def __str__(self) -> str:
        first = self.rows[0]
        head = ["type", "bytes", "of the first", "nats per token", f"more than {first.type}"]
        body = [
            [row.type, f"{row.n_bytes:,}", f"{row.n_bytes / first.n_bytes:.2f}", f"{row.nats:.3f}",
             _more(row)]
            for row in self.rows
        ]  # fmt: skip
        table = lay_out(head, body)
        text = textwrap.fill(f"{self.n_tokens:,} tokens: {self.text}", 80)
        return f"{text}\n\n{table}"


def _more(row: StoredAs) -> str:
    if row.more is None:
        return ""
    # so few digits that another processor's rounding does not change them
    return f"{row.more.nats + 0.0:+.3f} ± {row.more.standard_error:.3f}".replace("-0.000", "+0.000")


def size_and_loss(
    source: str | Path, types: Sequence[str], text_file: str | Path | None = None
) -> SizeAndLoss:
    """Store a model as each type, in a temporary folder, and score the same text with each.

    Computed in float32, whatever the type, so that the difference is the stored numbers' alone.

    Args:
        source: as for convert(). types: as for convert(); the first is what others are compared to.
        text_file: a text in UTF-8; by default six stories that were held out from the training of
            the bundled model, and that suit no other one.
    Raises:
        RequestError: no type is given, or the text is too short.
        LlamaEduError: the model cannot be opened, or cannot be stored as one of the types.
    """
    if not types:
        raise RequestError("size and loss: no type is given, expected at least one")
    rows: list[StoredAs] = []
    first: np.ndarray | None = None
    with TemporaryDirectory(prefix="llama-edu-") as folder:
        for type_name in types:
            path = Path(folder) / f"{type_name}.gguf"
            convert(source, path, to="gguf", type=cast(TypeName, type_name))
            with load(path, arithmetic="float32") as llama:
                texts = texts_for(llama, text_file)
                nats = token_nats(llama.model, texts.scored)
            n_bytes = path.stat().st_size
            path.unlink()
            more = None if first is None else paired_loss(first, nats)
            first = nats if first is None else first
            rows.append(StoredAs(type_name, n_bytes, float(nats.mean()), more))
    return SizeAndLoss(tuple(rows), texts.n_scored, texts.source)
