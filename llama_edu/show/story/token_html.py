"""A text and its tokens as HTML. Everything that comes from a model is escaped here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llama_edu.html import MUTED, escaped, escaped_lines
from llama_edu.show.story.characters import character_runs
from llama_edu.show.story.choice import Candidate, Choice
from llama_edu.show.story.writing import Writing
from llama_edu.text import one_line
from llama_edu.tokenizer.protocol import Tokenizer

#: Characters of a piece that a label shows; a hostile vocabulary may have pieces of megabytes.
_LONGEST_LABEL = 60

# JupyterLab's color variables follow its light and dark themes; the second value is for pages
# that do not define them.
_BORDER = "1px solid var(--jp-border-color2, #bbb)"
MARK = (
    "background: var(--jp-brand-color1, #1976d2); color: var(--jp-ui-inverse-font-color0, #fff); "
    "border-radius: 2px; outline: 1px solid var(--jp-content-font-color1, #333)"
)
DIFFERENT = (
    "background: transparent; color: inherit; font-weight: bold; text-decoration: underline; "
    "text-decoration-thickness: 3px; text-underline-offset: 3px; "
    "text-decoration-color: var(--jp-warn-color1, #e65100)"
)
# The box is filled from the bottom, so that a long text stays scrolled to its end.
_STORY = (
    f"border: {_BORDER}; border-radius: 3px; padding: 8px 12px; min-height: 6em; max-height: 26em; "
    "overflow-y: auto; display: flex; flex-direction: column-reverse; box-sizing: border-box"
)
PROSE = (
    "white-space: pre-wrap; overflow-wrap: anywhere; word-break: normal; line-height: 1.6; "
    "font-family: var(--jp-content-font-family, sans-serif); font-size: 15px; "
    "color: var(--jp-content-font-color1, inherit)"
)


def story_html(writing: Writing | None, marked: int | None = None) -> str:
    """The text so far, the prompt in bold, one new token marked.

    Args:
        marked: index into writing.choices, or None. A part of a character marks all of it.
    """
    if writing is None:
        body = f'<span style="{MUTED}">The text will appear here.</span>'
    else:
        body = f"<b>{escaped_lines(writing.prompt)}</b>"
        choices = list(writing.choices)
        if marked is None:
            body += escaped_lines("".join([choice.text for choice in choices]))
        else:
            texts = [choice.text for choice in choices]
            run = character_runs(choices, writing.tokenizer)[marked]
            now = escaped_lines("".join(texts[run.start : run.stop]))
            body += escaped_lines("".join(texts[: run.start]))
            body += f'<mark style="{MARK}">{now}</mark>'
            body += escaped_lines("".join(texts[run.stop :]))
    return story_box(body)


def story_box(body: str) -> str:
    """The box around a text. `body` is HTML, in which text from a model is already escaped."""
    return (
        f'<div style="{_STORY}">'
        f'<pre role="log" aria-live="polite" style="{PROSE}; margin: 0 0 auto 0">{body}</pre></div>'
    )


def choice_html(
    choice: Choice, tokenizer: Tokenizer, followed: Mapping[int, str] | None = None
) -> str:
    """The likeliest tokens at one position as a table, which always includes the chosen one.

    Positions are counted from 0, which is BOS where texts begin with it, as everywhere in the
    package. Where the file asks for none, a chat template may still have written one.

    Args:
        followed: id -> the text that it would have led to, for one more column; ids whose text is
            not known yet may be missing.
    """
    candidates = list(choice.likeliest)
    if all(candidate.id != choice.chosen.id for candidate in candidates):
        candidates.append(choice.chosen)
    rows = "".join(
        _row(rank, candidate, candidate.id == choice.chosen.id, tokenizer, followed)
        for rank, candidate in zip(
            [*range(1, len(choice.likeliest) + 1), choice.rank], candidates, strict=False
        )
    )
    chosen = escaped(token_label(tokenizer, choice.chosen.id))
    counted = "where BOS is 0" if tokenizer.adds_bos else "counted from 0"
    head = "".join(
        f'<th scope="col" style="text-align: {align}; padding: 0 8px; font-weight: normal; '
        f'{MUTED}">{title}</th>'
        for title, align in (
            ("rank", "right"),
            ("token", "left"),
            ("the model says", "left"),
            ("with your settings", "right"),
            *((("and then, greedily", "left"),) if followed is not None else ()),
        )
    )
    return (
        f'<div style="line-height: 1.5; overflow-x: auto">'
        f"<code>{chosen}</code> was chosen at position {choice.position}, {counted}. The "
        f"likeliest tokens there:"
        f'<table style="border-collapse: collapse; font-variant-numeric: tabular-nums">'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _row(
    rank: int,
    candidate: Candidate,
    is_chosen: bool,
    tokenizer: Tokenizer,
    followed: Mapping[int, str] | None,
) -> str:
    cell = "padding: 0 8px; white-space: nowrap; vertical-align: top; text-align: left"
    bar = (
        f'<span style="display: inline-block; width: {80 * candidate.probability:.0f}px; '
        f'height: 0.8em; background: var(--jp-brand-color1, #1976d2)"></span>'
    )
    label = f"<code>{escaped(token_label(tokenizer, candidate.id))}</code>"
    if is_chosen:
        label = f"<b>{label}</b> ◀"
    chance = escaped(percent(candidate.chance)) if candidate.chance else "ruled out"
    led_to = ""
    if followed is not None:
        start = escaped(token_label(tokenizer, candidate.id).replace("␣", " "))
        text = escaped(followed.get(candidate.id, " …").replace("\n", "↵"))
        led_to = (
            f'<td style="{cell}; white-space: pre-wrap; min-width: 150px">'
            f'<span style="{MUTED}">{start}</span>{text}</td>'
        )
    return (
        f'<tr><td style="{cell}; text-align: right">{rank}</td><td style="{cell}">{label}</td>'
        f'<td style="{cell}; min-width: 136px">{bar} {escaped(percent(candidate.probability))}</td>'
        f'<td style="{cell}; text-align: right">{chance}</td>{led_to}</tr>'
    )


def token_label(tokenizer: Tokenizer, token: int) -> str:
    """A token's piece on one line, with visible spaces and line ends; text, not HTML.

    Pieces that add no text have their names; BOS and EOS are called what they do.
    """
    if token == tokenizer.bos_id:
        return "(begin)"
    if token == tokenizer.eos_id:
        return "(end)"
    piece = tokenizer.piece(token) or tokenizer.name(token).encode()
    try:
        text = piece.decode("utf-8")
    except UnicodeDecodeError:  # a byte piece, or one that ends inside a character
        return "".join(f"<0x{byte:02X}>" for byte in piece)
    return one_line(text.replace(" ", "␣").replace("\n", "↵"), _LONGEST_LABEL) or "(nothing)"


def choice_label(choices: Sequence[Choice], index: int, tokenizer: Tokenizer) -> str:
    """The label of a token in its text; one that is a part of a character says which; not HTML."""
    run = character_runs(choices, tokenizer)[index]
    if len(run) == 1:
        return token_label(tokenizer, choices[index].chosen.id)
    whole = "".join([choices[i].text for i in run]).replace(" ", "␣").replace("\n", "↵")
    return f"{one_line(whole, 12) or '…'} {index - run.start + 1}/{len(run)}"


def percent(probability: float) -> str:
    """A probability in percent, three digits at most: 100 %, 42.1 %, 0.3 %, < 0.1 %; not HTML."""
    if probability < 0.0005:
        return "< 0.1 %"
    return "100 %" if probability >= 0.9995 else f"{100 * probability:.1f} %"
