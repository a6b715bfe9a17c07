"""A small weight file for the page lab: which bytes are which tensor."""

from __future__ import annotations

from llama_edu.files.layout import TensorSpec

#: Two tensors that share page 2, one of several pages' length, and a layer; a gap before the last.
TENSORS = {
    spec.name: spec
    for spec in (
        TensorSpec("token_embedding", "f32", (20, 500), 128, 40000),
        TensorSpec("layers.0.wq", "f32", (100, 30), 40128, 12000),
        TensorSpec("layers.0.w_up", "f16", (77, 50), 52128, 7700),
        TensorSpec("layers.1.wq", "f32", (100, 30), 59828, 12000),
        TensorSpec("output", "f32", (20, 500), 80000, 40000),
    )
}


def decode(lab, token):
    """A stand-in for a forward pass that tells the ledger the truth."""
    x = lab.view("token_embedding")[token].copy()
    lab.ledger.rows("token_embedding", [token])
    for name in ("layers.0.wq", "layers.1.wq"):
        x[:30] @ lab.view(name).T
        lab.ledger.whole(name)
    x @ lab.view("output").T
    lab.ledger.whole("output")


N_BYTES = 123456
