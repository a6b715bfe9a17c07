"""A text cut into windows, each of which a model reads apart from the others.

What a token costs depends on how much of the text before it the model sees, so a figure means
something only with its windows. llama.cpp's are those of `llama-perplexity`.
Source: function perplexity() in tools/perplexity/perplexity.cpp of llama.cpp.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from llama_edu.errors import RequestError

#: Ways to cut a text.
Way = Literal["ours", "llama.cpp"]
WAYS: tuple[str, ...] = get_args(Way)

#: Positions of a window, where the model can hold so many.
CONTEXT = 512


@dataclass(frozen=True)
class Window:
    """What a model reads at once.

    Attributes:
        ids: the ids, with what they begin with. start: where the first token that is scored stands
            in the text, which has no BOS there.
        first: ids from this one on are scored, 1 or more; those before are context alone.
    """

    ids: tuple[int, ...]
    first: int
    start: int

    @property
    def n_scored(self) -> int:
        """How many tokens are scored."""
        return len(self.ids) - self.first


def windows_of(
    tokens: Sequence[int],
    bos_id: int | None,
    context: int,
    stride: int | None = None,
    way: Way = "ours",
) -> list[Window]:
    """Cut a text into windows.

    Args:
        tokens: the text without BOS.
        bos_id: what each window begins with; None for a model that wants no BOS, whose windows
            begin with the token before those that are scored.
        context: positions of a window. A shorter text is one shorter window.
        stride: by how many tokens of the text each window begins later than the one before. The
            tokens that both have are context in the later one, so that each token is scored once.
            None: windows have no token in common.
        way: "ours" scores every token of the text (without BOS, all but the first). "llama.cpp"
            takes whole windows alone, with BOS in the place of their first token, and scores the
            tokens after the middle: of 512 positions 255.
    Raises:
        RequestError: a text that is too short, or a stride or a way that there is not.
    """
    if way not in WAYS:
        raise RequestError(f"windows is {way!r}, expected one of {', '.join(WAYS)}")
    if way == "llama.cpp":
        if stride is not None:
            raise RequestError(
                "stride: llama.cpp's windows have no token in common, expected no stride with them"
            )
        return _as_llama_cpp(tokens, bos_id, context)
    whole = context - 1  # tokens that a window scores where it has no other context
    stride = whole if stride is None else stride
    if not 1 <= stride <= whole:
        raise RequestError(
            f"stride is {stride}, expected 1 to {whole}, all that a window of {context} positions "
            f"scores"
        )
    if not tokens or (bos_id is None and len(tokens) < 2):
        least = "one" if bos_id is not None else "two, as the model has no BOS"
        raise RequestError(f"the text has {len(tokens)} tokens, expected at least {least}")
    head = 0 if bos_id is not None else 1  # the first token of the text that can be scored
    found, n_done = [], head
    start = head
    while n_done < len(tokens):
        part = tokens[start : start + whole]
        opening = tokens[start - 1] if bos_id is None else bos_id
        found.append(Window((opening, *part), 1 + n_done - start, n_done))
        n_done = start + len(part)
        start += stride
    return found


def _as_llama_cpp(tokens: Sequence[int], bos_id: int | None, context: int) -> list[Window]:
    if context < 4:
        raise RequestError(f"context is {context}, expected at least 4 for llama.cpp's windows")
    shift = 0 if bos_id is None else 1
    ids = [*([] if bos_id is None else [bos_id]), *tokens]
    if len(ids) < 2 * context:
        raise RequestError(
            f"the text has {len(ids):,} tokens, expected at least {2 * context:,}, two of "
            f"llama.cpp's windows; give a longer text or a smaller --context"
        )
    first = context // 2 + 1
    found = []
    for begin in range(0, len(ids) - context + 1, context):
        own = ids[begin : begin + context]
        opening = own[0] if bos_id is None else bos_id
        found.append(Window((opening, *own[1:]), first, begin + first - shift))
    return found


def described(windows: Sequence[Window], bos: bool, context: int, way: Way) -> str:
    """How the text was cut, as a sentence without its first capital."""
    n = len(windows)
    many = f"{n} window{'s' * (n != 1)} of {context} positions"
    if n == 1 and len(windows[0].ids) < context:
        many = f"one window of {len(windows[0].ids)} positions, as the text has no more"
    if way == "llama.cpp":
        start = "BOS stands in the place of the first token" if bos else "no BOS is added"
        return f"{many}, cut as llama.cpp does: {start}, tokens after the middle are scored"
    start = "each begins with BOS" if bos else "each begins with the last token of the one before"
    if any(window.first > 1 for window in windows):
        return f"{many} that overlap: {start}, and each token is scored once"
    return f"{many}: {start}, and every other token in it is scored"
