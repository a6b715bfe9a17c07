"""A conversation as bubbles, and what the model read of it. All text is escaped here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from llama_edu.chat.conversation import Seen
from llama_edu.chat.messages import Message
from llama_edu.html import MUTED, escaped, escaped_lines
from llama_edu.show.story.choice import Choice
from llama_edu.show.story.reply import Reply
from llama_edu.show.story.token_colors import token_spans
from llama_edu.text import one_line

#: Role -> who speaks; a screen reader reads it before the text.
_NAMES = {"system": "told beforehand", "user": "you", "assistant": "the model"}

_BORDER = "1px solid var(--jp-border-color2, #bbb)"
# The box is filled from the bottom, so that a long conversation stays scrolled to its end.
_BOX = (
    f"border: {_BORDER}; border-radius: 3px; padding: 8px 12px; min-height: 6em; max-height: 30em; "
    "overflow-y: auto; display: flex; flex-direction: column-reverse; box-sizing: border-box"
)
_BUBBLE = (
    f"border: {_BORDER}; border-radius: 10px; padding: 4px 12px; margin: 4px 0; max-width: 85%; "
    "width: fit-content; box-sizing: border-box"
)
_TEXT = (
    "white-space: pre-wrap; overflow-wrap: anywhere; word-break: normal; line-height: 1.6; "
    "margin: 0; "
    "min-height: 1.6em; font-family: var(--jp-content-font-family, sans-serif); font-size: 15px; "
    "background: none; "
    "color: var(--jp-content-font-color1, inherit)"
)
# The sides and the borders tell the speakers apart, not the background alone.
_SIDES = {
    "system": "margin-left: auto; margin-right: auto; border-style: dashed",
    "user": "margin-left: auto; border-width: 2px; "
    "background: var(--jp-layout-color2, transparent)",
    "assistant": "margin-right: auto",
}
_SEEN_BOX = (
    f"border: {_BORDER}; border-radius: 3px; padding: 8px 12px; max-height: 24em; "
    "overflow-y: auto; box-sizing: border-box"
)
_SPECIAL = (
    "display: inline-block; line-height: 1.3; max-width: 100%; overflow-wrap: anywhere; "
    "border: 1px solid currentColor; border-radius: 3px; padding: 0 3px; margin: 0 1px; "
    "font-weight: bold; color: var(--jp-brand-color1, #1976d2)"
)
_PLAIN_TOKEN = "border-right: 1px dotted var(--jp-border-color1, #999)"


def conversation_html(
    messages: Sequence[Message],
    reply: Reply | None = None,
    marked: int | None = None,
    *,
    shaded: bool = False,
) -> str:
    """All turns as bubbles.

    Args:
        reply: the latest answer, which is the last message, with its tokens.
        marked: index into its choices, or None. shaded: whether its tokens are shaded.
    """
    return (
        f'<div style="{_BOX}"><div role="log" aria-live="polite" style="margin: 0 0 auto 0">'
        f"{turns_html(messages, reply, marked, shaded=shaded)}</div></div>"
    )


def turns_html(
    messages: Sequence[Message],
    reply: Reply | None = None,
    marked: int | None = None,
    *,
    shaded: bool = False,
) -> str:
    """The same without the box that scrolls."""
    bubbles = []
    for i, message in enumerate(messages):
        is_latest = reply is not None and i == len(messages) - 1
        if is_latest and reply is not None and reply.choices and (shaded or marked is not None):
            choices = _without_first_space(reply.choices)
            text = token_spans(choices, reply.tokenizer, marked, shaded=shaded)
        else:
            text = escaped_lines(message["content"].lstrip())
        bubbles.append(_bubble(message["role"], text))
    if not bubbles:
        bubbles.append(f'<p style="{MUTED}; margin: 0">Nothing was said yet.</p>')
    return "".join(bubbles)


def _without_first_space(choices: Sequence[Choice]) -> list[Choice]:
    """Choices whose text begins where the first word does, as in the other bubbles."""
    kept = list(choices)
    return [replace(kept[0], text=kept[0].text.lstrip()), *kept[1:]]


def _bubble(role: str, text: str) -> str:
    """One turn; `text` is HTML, already escaped."""
    return (
        f'<div class="llama-edu-turn-{role}" style="{_BUBBLE}; {_SIDES[role]}">'
        f'<div style="font-size: 12px; {MUTED}">{_NAMES[role]}</div>'
        f'<pre style="{_TEXT}">{text}</pre></div>'
    )


def seen_html(seen: Sequence[Seen], n_typed_specials: int = 0) -> str:
    """What the model read, token by token; special tokens stand in boxes, with their ids."""
    if not seen:
        return f'<p style="{MUTED}">The model has not read anything yet.</p>'
    parts = []
    for piece in seen:
        if piece.is_special:
            label = escaped(one_line(piece.text, 60))
            parts.append(f'<b style="{_SPECIAL}" title="special token {piece.id}">{label}</b>')
        else:
            parts.append(
                f'<span style="{_PLAIN_TOKEN}" title="token {piece.id}">'
                f"{escaped_lines(piece.text)}</span>"
            )
    n_special = sum(piece.is_special for piece in seen)
    typed = (
        f" Names of special tokens that were typed, {n_typed_specials} here, are text, cut into "
        f"ordinary pieces."
        if n_typed_specials
        else ""
    )
    return (
        f'<p style="margin: 0 0 4px 0; line-height: 1.5">{len(seen):,} tokens, {n_special:,} of '
        f"them special (in boxes): written by the template or the file, or chosen by the model."
        f"{typed}</p>"
        f'<div style="{_SEEN_BOX}"><pre style="{_TEXT}">{"".join(parts)}</pre></div>'
    )
