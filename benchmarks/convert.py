"""Conversion: megabytes of float32 per second into each type, and of whole files."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.models import SMALL, random_model
from benchmarks.timing import interleave, table
from llama_edu.convert import convert
from llama_edu.quants.quantize import quantize

_TYPES = ("f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "q4_0_v1")


def run() -> str:
    """All tables on conversion, as Markdown."""
    numbers = np.random.default_rng(0).standard_normal((1024, 4096), np.float32)
    times = interleave({name: (lambda name=name: quantize(numbers, name)) for name in _TYPES})
    rows = [
        (
            name,
            f"{numbers.nbytes / 1e6 / times[name].median_s:,.0f}",
            f"{7e9 * 4 / numbers.nbytes * times[name].median_s:.0f} s",
        )
        for name in _TYPES
    ]
    text = "### Quantizers, 16 MB of float32, one thread\n\n" + table(
        ("type", "MB/s of float32", "7 G weights at that rate"), rows
    )
    source = random_model(SMALL, "f32")
    with tempfile.TemporaryDirectory(dir=source.parent) as folder:
        rows = []
        for to, type_name in (("gguf", "keep"), ("gguf", "q4_0"), ("ggjt-v1", "f16")):
            done = convert(source, Path(folder) / "out", to=to, type=type_name)
            rate = source.stat().st_size / 1e6 / done.elapsed_s
            rows.append((f"{to}, {type_name}", f"{done.elapsed_s:.1f} s", f"{rate:,.0f}"))
    return (
        text
        + "\n\n### A whole file, 134M f32, one run\n\n"
        + table(("to", "time", "MB/s of the source"), rows)
    )
