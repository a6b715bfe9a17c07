"""The text around the page map, as HTML. Everything that comes from a file is escaped here."""

from __future__ import annotations

from collections.abc import Sequence

from llama_edu.html import MUTED, escaped, escaped_lines
from llama_edu.pages.by_tensor import n_experts_of
from llama_edu.pages.touches import Mode, Summary, Touches, untouched_word, value_word
from llama_edu.show.figures.grid import (
    PageGrid,
    ink_on,
    legend_values,
    picked_color,
    scale_color,
    tensors_at,
)
from llama_edu.show.figures.page_layout import LABEL_PX_SHRUNK
from llama_edu.show.story.routed import routed_steps
from llama_edu.show.story.router_html import router_html
from llama_edu.text import one_line

_TEXT = "color: var(--jp-content-font-color1, inherit); line-height: 1.5"
_STORY = (
    f"{_TEXT}; white-space: pre-wrap; overflow-wrap: anywhere; max-height: 8em; overflow-y: auto; "
    "font-family: var(--jp-content-font-family, sans-serif); margin: 4px 0; display: flex; "
    "flex-direction: column-reverse"
)
#: What the colors mean, for each of touches.MODES.
MODE_WORDS: dict[Mode, str] = {
    "first": "the token that needed the page first",
    "last": "the token that needed it last",
    "count": "how many tokens needed it",
    "now": "what this token needed (of experts, those that it chose)",
}
#: Which of its pages gives a cell its color.
_HIGHEST: dict[Mode, str] = {
    "first": "latest",
    "last": "latest",
    "count": "most needed",
    "now": "needed one",
}


def labels_html(grid: PageGrid) -> str:
    """Names of the bands, to the left of the map, placed at fractions of its height."""
    shown = grid.labels(LABEL_PX_SHRUNK)
    tops_and_names = [(top, escaped(one_line(name))) for top, name in shown]
    labels = "".join(
        f'<div title="{name}" style="position: absolute; right: 0; max-width: 100%; '
        f"top: {100 * top:.2f}%; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; "
        f'font-size: 11px; line-height: 12px; {MUTED}">{name}</div>'
        for top, name in tops_and_names
    )
    return f'<div style="position: relative; width: 100%; height: 100%">{labels}</div>'


def routers_html(touches: Touches, n_steps: int) -> str:
    """Of a mixture of experts, a strip of those that computed each token; else nothing."""
    steps = touches.steps[:n_steps]
    n_experts = n_experts_of(steps[0].record.tensors)
    tokens = routed_steps(steps) if n_experts else []
    return router_html(tokens, n_experts, len(tokens) - 1)


def story_html(touches: Touches, n_steps: int, text: str, mode: Mode = "first") -> str:
    """The text, with a mark on what the last of these steps read.

    At the newest step there is none, unless the colors are those of one step.
    """
    if n_steps == len(touches) and mode != "now":
        body = escaped_lines(text)
    else:
        before = escaped_lines("".join(step.text for step in touches.steps[: n_steps - 1]))
        now = escaped_lines(touches.steps[n_steps - 1].text) or "(begin)"
        after = escaped_lines("".join(step.text for step in touches.steps[n_steps:]))
        color = scale_color(n_steps - 1, len(touches))
        mark = f"background: {color}; color: {ink_on(color)}"
        body = (
            f'{before}<mark style="{mark}">{now}</mark><span style="opacity: 0.45">{after}</span>'
        )
    return f'<div style="{_STORY}"><div role="log" aria-live="off">{body}</div></div>'


def summary_html(summary: Summary, newest: tuple[float, str] | None = None) -> str:
    """Two bars: the pages that were touched, and what the 2023 reading would have reported.

    Args:
        newest: the fraction that one step alone touched, and a sentence on it: a bar above.
    """
    rows = [] if newest is None else [("this token", *newest)]
    rows.append(("touched", summary.touched_fraction, summary.true_line))
    rows.append(("2023 reading", summary.naive_fraction or 0.0, summary.naive_line))
    colors = ("#1f5fbf", "#1f5fbf", "#8a8a8a")[-len(rows) :]
    return "".join(
        f'<div style="{_TEXT}; display: flex; flex-wrap: wrap; align-items: baseline; gap: 0 10px; '
        f'margin-bottom: 4px"><span style="flex: 0 0 92px">{name}</span>'
        f'<span style="flex: 0 1 240px; min-width: 80px; height: 10px; '
        f'background: rgba(128, 128, 128, 0.27)" aria-hidden="true">'
        f'<span style="display: block; height: 10px; width: {100 * min(1.0, share):.1f}%; '
        f'background: {color}"></span></span>'
        f'<span style="flex: 1 1 320px">{escaped(line)}</span></div>'
        for (name, share, line), color in zip(rows, colors, strict=True)
    )


def legend_html(mode: Mode, n_values: int, grid: PageGrid) -> str:
    """What each color stands for."""
    parts = [_swatch("rgba(128, 128, 128, 0.27)", untouched_word(mode))]
    for value in legend_values(n_values):
        parts.append(_swatch(scale_color(value, n_values), value_word(mode, value)))
    parts.append(
        f'<span style="white-space: nowrap"><span style="display: inline-block; width: 8px; '
        f'height: 8px; border: 2px solid {picked_color()}"></span> picked</span>'
    )
    of_several = "" if grid.pages_per_cell == 1 else f"; of its pages, the {_HIGHEST[mode]} counts"
    return (
        f'<div style="{MUTED}; line-height: 1.6; display: flex; flex-wrap: wrap; gap: 0 14px">'
        f"<span>one cell: {grid.cell_words}, {grid.order_words}; color: {MODE_WORDS[mode]}"
        f"{of_several}</span>"
        f"{''.join(parts)}</div>"
    )


def page_html(touches: Touches, page: int, n_steps: int) -> str:
    """Everything known about one page: its bytes, its contents, the steps that touched it."""
    record = touches.steps[0].record
    begin = page * record.page_size
    end = min(begin + record.page_size, record.file_bytes) - 1
    what = list(tensors_at(record, page)) or ["no tensor: header, vocabulary or padding"]
    lines = [f"page {page:,}: bytes {begin:,} to {end:,}", *map(one_line, what[:6])]
    if len(what) > 6:
        lines.append(f"and {len(what) - 6} more tensors")
    lines.append(visits_line(touches.visits(page, n_steps), n_steps))
    return f'<div style="{_TEXT}">{"<br>".join(map(escaped, lines))}</div>'


def visits_line(visits: Sequence[int], n_steps: int) -> str:
    """A sentence on the steps that touched a page."""
    if not visits:
        return f"never touched in {n_steps} step{'s' if n_steps > 1 else ''}"
    first = "the prompt" if visits[0] == 0 else f"token {visits[0]}"
    last = "the prompt" if visits[-1] == 0 else f"token {visits[-1]}"
    return f"touched first by {first}, last by {last}, by {len(visits)} of {n_steps} steps"


def _swatch(color: str, word: str) -> str:
    return (
        f'<span style="white-space: nowrap"><span style="display: inline-block; width: 11px; '
        f'height: 11px; background: {color}"></span> {escaped(word)}</span>'
    )
