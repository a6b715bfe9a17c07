"""Which experts computed each token of a text: from the routers, or from what a record read.

The routers' probabilities tell it for each token. A page record tells it as well: the forward pass
reports each weight that it reads, and only chosen experts are read. Pages would not do, because
neighboring experts share the pages at their edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from llama_edu.errors import RequestError
from llama_edu.pages.by_tensor import experts_read
from llama_edu.pages.touches import Step
from llama_edu.text import one_line
from llama_edu.transformer.experts import Choices

#: Colors of Okabe and Ito, which color-blind readers can tell apart; from the ninth expert on they
#: are used again, and the number tells which.
EXPERT_COLORS = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#333333",
)  # fmt: skip

#: Those on which black is easier to read than white.
_LIGHT = {"#e69f00", "#cc79a7", "#56b4e9", "#f0e442"}

#: Characters of a token's text below its column.
_TEXT_LETTERS = 12


@dataclass(frozen=True)
class RoutedToken:
    """One token, or a prompt that was read in one step.

    Attributes:
        text: what was read, on one line, commanding no terminal.
        experts: for each layer the experts that computed it, ascending.
        is_prompt: several tokens together, of which these are all experts.
    """

    text: str
    experts: tuple[tuple[int, ...], ...]
    is_prompt: bool = False


def routed_choices(choices: Choices, texts: Sequence[str]) -> list[RoutedToken]:
    """The tokens of a text from what its routers chose.

    Args:
        texts: of each token.
    Raises:
        RequestError: another number of texts than of tokens.
    """
    n_tokens = choices.experts.shape[1]
    if len(texts) != n_tokens:
        raise RequestError(
            f"router figure: {len(texts)} texts, expected one for each of {n_tokens} tokens"
        )
    chosen = choices.experts.transpose(1, 0, 2).tolist()
    return [
        RoutedToken(_label(text), tuple(map(tuple, layers)))
        for text, layers in zip(texts, chosen, strict=True)
    ]


def routed_steps(steps: Sequence[Step]) -> list[RoutedToken]:
    """The tokens of an observed text from what its records read; none where no expert was."""
    found = []
    for number, step in enumerate(steps):
        experts = experts_read(step.record.names_read)
        if experts and all(experts):
            is_prompt = len(step.tokens) > 1 or (number == 0 and not step.tokens)
            text = "prompt" if is_prompt else _label(step.text)
            found.append(RoutedToken(text, experts, is_prompt))
    return found


def _label(text: str) -> str:
    return one_line(text.replace("\n", "\u21b5").replace(" ", "\u00b7"), _TEXT_LETTERS)


def expert_color(expert: int) -> tuple[str, str]:
    """The color of an expert, and that of its number on it."""
    color = EXPERT_COLORS[expert % len(EXPERT_COLORS)]
    return color, "#000000" if color in _LIGHT else "#ffffff"


def shown_layers(n_layers: int, at_most: int) -> list[int]:
    """All layers, or at most a number of them, from the first to the last."""
    if n_layers <= at_most:
        return list(range(n_layers))
    return sorted({round(i * (n_layers - 1) / (at_most - 1)) for i in range(at_most)})


def shared_line(tokens: Sequence[RoutedToken], n_experts: int, layers: Sequence[int]) -> str:
    """How many experts are used, and how many a token has in common with the one before it."""
    single = [token for token in tokens if not token.is_prompt]
    used = [len({e for token in tokens for e in token.experts[layer]}) for layer in layers]
    most = f"{min(used)} to {max(used)}" if min(used) < max(used) else f"{used[0]}"
    line = f"of {n_experts} experts in a layer, {most} are used"
    pairs = [
        len(set(now.experts[layer]) & set(before.experts[layer])) / len(now.experts[layer])
        for before, now in pairwise(single)
        for layer in layers
    ]
    if not pairs:
        return line
    chance = len(single[0].experts[layers[0]]) / n_experts
    return (
        f"{line}; a token has {sum(pairs) / len(pairs):.0%} of its experts in common with the one "
        f"before it, by chance it would be {chance:.0%}"
    )
