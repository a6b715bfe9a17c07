"""The text around the page map, as HTML. Everything that comes from a file is escaped here."""

from __future__ import annotations

from llama_edu.html import MUTED, escaped, escaped_lines
from llama_edu.pages.by_tensor import n_experts_of
from llama_edu.pages.touches import Mode, Summary, Touches
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
#: What the colors mean, for each of touches.MODES, with the noun of the steps.
_MODE_WORDS: dict[Mode, str] = {
    "first": "the {} that needed the page first",
    "last": "the {} that needed it last",
    "count": "how many {}s needed it",
    "now": "what this {} needed",
}
#: Which of its pages gives a cell its color.
_HIGHEST: dict[Mode, str] = {
    "first": "latest",
    "last": "latest",
    "count": "most needed",
    "now": "needed one",
}


def mode_words(mode: Mode, noun: str) -> str:
    """What the colors mean where a step is a token, or a part of one."""
    of_experts = " (of experts, those that it chose)" if (mode, noun) == ("now", "token") else ""
    return _MODE_WORDS[mode].format(noun) + of_experts


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


def parts_html(within: Touches, n_parts: int) -> str:
    """The parts of a token's computation in a row, with a mark on the last of those shown."""
    names = []
    for i, step in enumerate(within.steps):
        color = scale_color(i, len(within))
        name = escaped(one_line(step.text))
        if i == n_parts - 1:
            style = f"background: {color}; color: {ink_on(color)}; padding: 0 5px"
            names.append(f'<mark style="{style}">{name}</mark>')
        else:
            fade = "" if i < n_parts else "; opacity: 0.45"
            names.append(f'<span style="border-bottom: 3px solid {color}{fade}">{name}</span>')
    return (
        f'<div style="{_TEXT}; display: flex; flex-wrap: wrap; gap: 2px 10px; margin: 4px 0">'
        f"{''.join(names)}</div>"
    )


def summary_html(
    summary: Summary, newest: tuple[float, str] | None = None, noun: str = "token"
) -> str:
    """Two bars: the pages that were touched, and what the 2023 reading would have reported.

    Args:
        newest: the fraction that one step alone touched, and a sentence on it: a bar above.
        noun: what a step is.
    """
    rows = [] if newest is None else [(f"this {noun}", *newest)]
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


def legend_html(mode: Mode, n_values: int, grid: PageGrid, touches: Touches) -> str:
    """What each color stands for."""
    parts = [_swatch("rgba(128, 128, 128, 0.27)", touches.untouched_word(mode))]
    for value in legend_values(n_values):
        parts.append(_swatch(scale_color(value, n_values), touches.value_word(mode, value)))
    parts.append(
        f'<span style="white-space: nowrap"><span style="display: inline-block; width: 8px; '
        f'height: 8px; border: 2px solid {picked_color()}"></span> picked</span>'
    )
    of_several = "" if grid.pages_per_cell == 1 else f"; of its pages, the {_HIGHEST[mode]} counts"
    return (
        f'<div style="{MUTED}; line-height: 1.6; display: flex; flex-wrap: wrap; gap: 0 14px">'
        f"<span>one cell: {grid.cell_words}, {grid.order_words}; color: "
        f"{mode_words(mode, touches.noun)}{of_several}</span>"
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
    lines.append(visits_line(touches, page, n_steps))
    return f'<div style="{_TEXT}">{"<br>".join(map(escaped, lines))}</div>'


def visits_line(touches: Touches, page: int, n_steps: int) -> str:
    """A sentence on the steps that touched a page."""
    visits = touches.visits(page, n_steps)
    what = "step" if touches.noun == "token" else touches.noun
    if not visits:
        return f"never touched in {n_steps} {what}{'s' if n_steps > 1 else ''}"
    first, last = (touches.step_word(i).replace("prompt", "the prompt") for i in
                   (visits[0], visits[-1]))  # fmt: skip
    return f"touched first by {first}, last by {last}, by {len(visits)} of {n_steps} {what}s"


def _swatch(color: str, word: str) -> str:
    return (
        f'<span style="white-space: nowrap"><span style="display: inline-block; width: 11px; '
        f'height: 11px; background: {color}"></span> {escaped(word)}</span>'
    )
