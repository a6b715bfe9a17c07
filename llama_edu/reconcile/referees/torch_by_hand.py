"""The model in PyTorch, by hand: the same mathematics with the functions of another library."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from llama_edu.config import output_name
from llama_edu.errors import RequestError
from llama_edu.quants.blocks import dequantize
from llama_edu.transformer.model import Model


def import_torch() -> Any:
    """The library. RequestError where it is not installed."""
    try:
        import torch
    except ImportError:
        raise RequestError("PyTorch is not installed; run: pip install torch") from None
    return torch


def steps(
    model: Model, tokens: Sequence[int], dtype: str = "float64"
) -> Iterator[tuple[str, np.ndarray]]:
    """Every step by name, as in transformer/tap.py, computed by PyTorch in this dtype.

    Raises:
        RequestError: PyTorch is not installed.
    """
    torch = import_torch()
    with torch.inference_mode():
        for name, x in _steps(torch, model, tokens, getattr(torch, dtype)):
            yield name, x.numpy()


def _steps(
    torch: Any, model: Model, tokens: Sequence[int], dtype: Any
) -> Iterator[tuple[str, Any]]:
    F = torch.nn.functional
    c = model.config
    T = len(tokens)

    def weight(name: str) -> Any:
        return torch.from_numpy(dequantize(model.weights[name])).to(dtype)

    def norm(x: Any, name: str) -> Any:
        return F.rms_norm(x, (x.shape[-1],), weight(name), c.norm_eps)

    angles = torch.outer(torch.arange(T).double(), torch.from_numpy(model.frequencies))
    turns = torch.polar(torch.ones_like(angles), angles)[:, None, :]
    turns = turns.to(torch.complex128 if dtype == torch.float64 else torch.complex64)

    def rope(x: Any) -> Any:
        if c.rope_pairing == "interleaved":
            paired = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
            return torch.view_as_real(paired * turns).flatten(-2)
        real, imaginary = x.chunk(2, dim=-1)
        turned = torch.complex(real, imaginary) * turns
        return torch.cat((turned.real, turned.imag), dim=-1)

    def heads(x: Any, n: int) -> Any:
        return x.unflatten(-1, (n, c.head_dim))

    future = torch.ones(T, T, dtype=torch.bool).triu(1)
    ids = np.asarray(tokens)
    x = torch.from_numpy(dequantize(model.weights["token_embedding"][ids])).to(dtype)
    yield "embedding", x
    for i in range(c.n_layers):
        at = f"layers.{i}."
        h = norm(x, at + "attention_norm")
        yield at + "attention_norm", h
        q = heads(F.linear(h, weight(at + "wq")), c.n_heads)
        k = heads(F.linear(h, weight(at + "wk")), c.n_kv_heads)
        v = heads(F.linear(h, weight(at + "wv")), c.n_kv_heads)
        yield at + "q", q
        yield at + "k", k
        yield at + "v", v
        q, k = rope(q), rope(k)
        yield at + "q_rope", q
        yield at + "k_rope", k
        keys = k.repeat_interleave(c.n_groups, dim=1).transpose(0, 1)
        values = v.repeat_interleave(c.n_groups, dim=1).transpose(0, 1)
        scores = q.transpose(0, 1) @ keys.transpose(1, 2) * c.head_dim**-0.5
        scores = scores.masked_fill(future, -torch.inf)
        yield at + "scores", scores
        weights = scores.softmax(dim=-1)
        yield at + "weights", weights
        mixed = (weights @ values).transpose(0, 1).flatten(1)
        yield at + "mixed", mixed
        out = F.linear(mixed, weight(at + "wo"))
        yield at + "wo", out
        x = x + out
        yield at + "attended", x
        h = norm(x, at + "ffn_norm")
        yield at + "ffn_norm", h
        gate, up = F.linear(h, weight(at + "w_gate")), F.linear(h, weight(at + "w_up"))
        yield at + "gate", gate
        yield at + "up", up
        activated = (F.relu if c.activation == "relu" else F.silu)(gate) * up
        yield at + "activated", activated
        out = F.linear(activated, weight(at + "w_down"))
        yield at + "down", out
        x = x + out
        yield at + "out", x
    x = norm(x, "final_norm")
    yield "final_norm", x
    yield "logits", F.linear(x, weight(output_name(model.weights)))
