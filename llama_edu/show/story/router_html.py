"""The routers' choices as an HTML strip: a row for each layer, a column for each token."""

from __future__ import annotations

from collections.abc import Sequence

from llama_edu.html import MUTED, escaped
from llama_edu.show.story.routed import RoutedToken, expert_color, shared_line, shown_layers

#: Columns of the strip, and its rows; a page of a thousand cells is drawn again with each token.
_MOST_TOKENS, _MOST_LAYERS = 24, 8

_CHIP = "display: block; text-align: center; font-size: 10px; line-height: 12px; min-width: 18px"
_CELL = "padding: 0 1px 3px 0; border: 0; background: none; text-align: center"
_NAME = f"{_CELL}; {MUTED}; font-size: 10px; font-weight: normal; white-space: nowrap"


def router_html(tokens: Sequence[RoutedToken], n_experts: int, current: int | None = None) -> str:
    """The strip; empty for a model without experts.

    Args:
        tokens: of the text so far, the prompt as one of them.
        current: the token to mark; the strip shows it and those before it.
    """
    if not tokens:
        return ""
    end = len(tokens) if current is None else current + 1
    first = max(0, end - _MOST_TOKENS)
    shown = tokens[first:end]
    n_layers = len(tokens[0].experts)
    layers = shown_layers(n_layers, _MOST_LAYERS)
    rows = [
        f'<tr><th scope="row" style="{_NAME}; text-align: right; padding-right: 4px">layer {layer}'
        f"</th>{''.join(_cell(token, layer, n_experts) for token in shown)}</tr>"
        for layer in layers
    ]
    texts = "".join(_text(token, first + i == current) for i, token in enumerate(shown))
    said = shared_line(tokens[:end], n_experts, layers)
    left_out = f"; {len(layers)} of {n_layers} layers are shown" if len(layers) < n_layers else ""
    earlier = f"; the last {len(shown)} of {end} steps" if first else ""
    return (
        f'<div style="{MUTED}; line-height: 1.5">experts that computed each token: {escaped(said)}'
        f"{left_out}{earlier}</div>"
        f'<div style="overflow-x: auto"><table class="llama-edu-routers" style="border-collapse: '
        f'collapse; margin: 2px 0">{"".join(rows)}<tr><th style="{_CELL}"></th>{texts}</tr></table>'
        f"</div>"
    )


def _cell(token: RoutedToken, layer: int, n_experts: int) -> str:
    """One chip for each expert; of a prompt, how many there are."""
    chosen = token.experts[layer] if layer < len(token.experts) else ()
    if token.is_prompt:
        numbers = ", ".join(map(str, chosen))
        return (
            f'<td style="{_CELL}" title="experts {numbers}"><span style="{_CHIP}; {MUTED}">'
            f'{len(chosen)} of</span><span style="{_CHIP}; {MUTED}">{n_experts}</span></td>'
        )
    chips = []
    for expert in chosen:
        color, ink = expert_color(expert)
        chips.append(f'<span style="{_CHIP}; background: {color}; color: {ink}">{expert}</span>')
    return f'<td style="{_CELL}">{"".join(chips)}</td>'


def _text(token: RoutedToken, is_current: bool) -> str:
    bold = "; font-weight: bold; text-decoration: underline" if is_current else ""
    return (
        f'<td style="{_CELL}; {MUTED}; font-size: 10px{bold}; writing-mode: vertical-rl; '
        f'white-space: nowrap; vertical-align: top">{escaped(token.text)}</td>'
    )
