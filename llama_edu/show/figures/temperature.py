"""A figure of one next-token distribution at several temperatures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llama_edu.show.figures.alt_figure import AltFigure, plain_label
from llama_edu.show.figures.ink import INK, new_figure
from llama_edu.show.runtime.optional import import_optional
from llama_edu.show.story.token_html import token_label
from llama_edu.tokenizer.protocol import Tokenizer
from llama_edu.transformer.sampling import SamplingSettings, candidates


def likeliest(
    logits: np.ndarray, temperatures: Sequence[float], n: int = 8
) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest tokens and their probabilities at each temperature.

    Args:
        logits: (vocab_size,) float32. temperatures: each above 0. n: how many tokens.
    Returns:
        ids (n,) int64, likeliest first; probabilities (len(temperatures), n) float64.
    """
    best = np.argsort(-logits, kind="stable")[:n]
    rows = np.empty((len(temperatures), len(best)))
    for row, temperature in zip(rows, temperatures, strict=True):
        ids, probabilities = candidates(logits, SamplingSettings(temperature))
        by_id = np.empty(len(logits))
        by_id[ids] = probabilities
        row[:] = by_id[best]
    return best, rows


def temperature_figure(
    logits: np.ndarray, tokenizer: Tokenizer, temperatures: Sequence[float] = (0.5, 1.0, 1.5)
) -> AltFigure:
    """Bars for the likeliest tokens, one color for each temperature.

    Raises:
        LlamaEduError: matplotlib is not installed.
    """
    colors = import_optional("matplotlib", "temperature_figure").colormaps["cividis"]
    ids, rows = likeliest(logits, temperatures)
    figure = new_figure("temperature_figure", 7.5, 3.2)
    axes = figure.add_subplot()
    width = 0.8 / len(temperatures)
    for i, (temperature, row) in enumerate(zip(temperatures, rows, strict=True)):
        x = np.arange(len(ids)) + (i - (len(temperatures) - 1) / 2) * width
        color = colors(0.1 + 0.85 * i / max(1, len(temperatures) - 1))
        axes.bar(x, row, width, color=color, edgecolor=INK, linewidth=0.6,
                 label=f"temperature {temperature:g}")  # fmt: skip
    labels = [token_label(tokenizer, int(id)) for id in ids]
    axes.set_xticks(range(len(ids)), [plain_label(label) for label in labels])
    axes.set_xlabel("next token, likeliest first (␣ is a space)")
    axes.set_ylabel("probability")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    first = ", ".join(f"{row[0]:.2f} at {t:g}" for t, row in zip(temperatures, rows, strict=True))
    alt = (
        f"Bars: the probabilities of the {len(ids)} likeliest next tokens, {' '.join(labels)}, at "
        f"temperatures {', '.join(f'{t:g}' for t in temperatures)}. The likeliest, {labels[0]}, "
        f"has {first}."
    )
    return AltFigure(figure, alt)
