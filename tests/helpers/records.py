"""Records made by hand, and an independent reading of a PNG."""

from __future__ import annotations

import io

import numpy as np
import pytest

from llama_edu.files.layout import TensorSpec
from llama_edu.pages.faults import FaultCounts
from llama_edu.pages.record import Record
from llama_edu.pages.touches import Step
from llama_edu.pages.verdict import Verdict

PAGE = 4096


def record_of(pages, *, tensors=None, label="step", kind="exact", name="model.bin"):
    """A finished record with these pages touched, made by no instrument."""
    pages = np.array(pages, bool)
    specs = tensors or {"output": TensorSpec("output", "f32", (len(pages), 1024), 0,
                                             len(pages) * PAGE)}  # fmt: skip
    record = Record(label, name, len(pages) * PAGE, specs, PAGE, "by hand", "none")
    record.finish(pages, None, FaultCounts(1, 0), 0.5, Verdict(kind))
    return record


def random_steps(n_pages, n_steps, rng, **kwargs):
    return [Step(f" t{i}", record_of(rng.random(n_pages) < 0.3, **kwargs)) for i in range(n_steps)]


def decoded(png):
    """An independent reading of a PNG: (height, width, 4) uint8."""
    image = pytest.importorskip("PIL.Image").open(io.BytesIO(png))
    return np.asarray(image.convert("RGBA"))
