"""Choice: the token at one position of a text, and the tokens that could have stood there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from llama_edu.errors import RequestError
from llama_edu.transformer.generate import GeneratedToken
from llama_edu.transformer.kernels import softmax
from llama_edu.transformer.sampling import SamplingSettings, chances

#: How many of the likeliest tokens are remembered for each position.
N_LIKELIEST = 10


@dataclass(frozen=True)
class Candidate:
    """One possible token at a position.

    Attributes:
        probability: by the model alone. chance: of being drawn with the sampling settings; 0 where
            they rule the token out.
    """

    id: int
    probability: float
    chance: float


@dataclass(frozen=True)
class Choice:
    """The token that was chosen at one position, and the likeliest ones there.

    Attributes:
        text: what the token adds to the text; "" while a character's bytes are incomplete.
        chosen: the token itself. rank: 1 if the model found no other token likelier.
        likeliest: the N_LIKELIEST tokens by the model's own probability, likeliest first.
    """

    position: int
    text: str
    chosen: Candidate
    rank: int
    likeliest: tuple[Candidate, ...]


def instead(choices: Sequence[Choice], index: int, token: int) -> list[Choice]:
    """The choices before number `index`, then one of its alternatives in place of that choice.

    Raises:
        RequestError: there is no such choice, or the token is not among its likeliest.
    """
    if not 0 <= index < len(choices):
        raise RequestError(
            f"choice {index}: this text has {len(choices)} new tokens, counted from 0"
        )
    choice = choices[index]
    for rank, candidate in enumerate(choice.likeliest, 1):
        if candidate.id == token:
            other = replace(choice, chosen=candidate, rank=rank)
            return [*choices[:index], other]
    raise RequestError(
        f"token {token}: is not among the {len(choice.likeliest)} likeliest at position "
        f"{choice.position}; choose one that the table lists"
    )


def choice_of(token: GeneratedToken, settings: SamplingSettings, seen: list[int]) -> Choice:
    """The choice of a token, with the likeliest tokens at its position.

    Args:
        seen: the ids before it, BOS included, for the repeat penalty.
    """
    probabilities = softmax(token.logits.astype(np.float64))
    # of a large vocabulary, only what is as likely as the last one shown is sorted
    n_shown = min(N_LIKELIEST, len(probabilities))
    least = np.partition(probabilities, -n_shown)[-n_shown]
    likely = np.flatnonzero(probabilities >= least)
    order = likely[np.argsort(-probabilities[likely], kind="stable")]
    chance_of = chances(token.logits, settings, seen)

    def candidate(id: int) -> Candidate:
        return Candidate(id, float(probabilities[id]), float(chance_of[id]))

    return Choice(
        position=token.position,
        text=token.text,
        chosen=candidate(token.id),
        rank=1 + int(np.sum(probabilities > probabilities[token.id])),
        likeliest=tuple(candidate(int(id)) for id in order[:N_LIKELIEST]),
    )
