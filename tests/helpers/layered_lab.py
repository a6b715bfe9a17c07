"""A lab on a file of several layers, and records of what its ledger is told."""

from __future__ import annotations

from contextlib import contextmanager

from helpers import ground_truth as gt
from llama_edu.files.layout import TensorSpec
from llama_edu.pages.lab import PageLab


@contextmanager
def layered_lab(folder):
    """A lab without an instrument: what was needed is computed."""
    tensors = {}
    offset = 300
    shapes = {"token_embedding": (50, 200)}
    shapes |= {f"layers.{i}.w{k}": (30, 40) for i in range(9) for k in "qkvo"}
    shapes["output"] = (60, 200)
    for name, shape in shapes.items():
        n_bytes = 4 * shape[0] * shape[1]
        tensors[name] = TensorSpec(name, "f32", shape, offset, n_bytes)
        offset += n_bytes
    path = gt.write_file(folder / "model.bin", offset)
    with PageLab(path, tensors, "faults") as opened:
        yield opened


def computed(lab, label, *names):
    """A record in which these tensors are read whole."""
    with lab.record(label) as record:
        for name in names:
            lab.ledger.whole(name)
    return record
