"""LLaMA as a loop of torch operations in float32, with a cache of keys and values.

The obvious first version in PyTorch: no compiler, no quantized product. It computes the same as
llama_edu (a slow test compares the logits), so that the times of the two can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F

import llama_edu
from llama_edu.bench.stopwatch import Spent, Stopwatch
from llama_edu.quants.blocks import dequantize


class TorchLoop:
    """A checkpoint of interleaved pairs, its weights copied into torch's memory as float32."""

    def __init__(self, path: Path, n_positions: int, threads: int) -> None:
        torch.set_num_threads(threads)
        with llama_edu.load(path, arithmetic="float32") as llama:
            c = self._config = llama.config
            self._w = {name: torch.tensor(dequantize(w)) for name, w in llama.weights.items()}
            angles = torch.outer(
                torch.arange(n_positions, dtype=torch.float64),
                torch.tensor(llama.model.frequencies, dtype=torch.float64),
            )
        self._rotations = torch.polar(torch.ones_like(angles), angles).to(torch.complex64)
        shape = (c.n_layers, 1, c.n_kv_heads, n_positions, c.head_dim)
        self._keys, self._values = torch.zeros(shape), torch.zeros(shape)
        self._length = 0

    def prefill(self, tokens: Sequence[int]) -> None:
        """Read all tokens from an empty context."""
        self._length = 0
        self.logits(tokens)

    def decode(self, n_tokens: int) -> Spent:
        """What n_tokens single tokens after the last prefill take."""
        length = self._length
        stopwatch = Stopwatch()
        for token in range(5, 5 + n_tokens):
            self.logits([token])
        spent = stopwatch.spent()
        self._length = length
        return spent

    @torch.inference_mode()
    def logits(self, tokens: Sequence[int]) -> torch.Tensor:
        """(1, vocab_size): the scores of what may follow the last token.

        Several tokens at once must be the first of the context; a single one may be anywhere. The
        mask that torch makes by itself is right only in these cases.
        """
        c, w = self._config, self._w
        T, start = len(tokens), self._length
        end = self._length = start + T
        rotations = self._rotations[start:end, None]  # (T, 1, head_dim / 2)
        x = w["token_embedding"][torch.tensor(tokens)]  # (T, dim)
        for i in range(c.n_layers):
            layer = f"layers.{i}."
            h = F.rms_norm(x, (c.dim,), w[layer + "attention_norm"], c.norm_eps)
            q = F.linear(h, w[layer + "wq"]).view(T, c.n_heads, c.head_dim)
            k = F.linear(h, w[layer + "wk"]).view(T, c.n_kv_heads, c.head_dim)
            v = F.linear(h, w[layer + "wv"]).view(T, c.n_kv_heads, c.head_dim)
            self._keys[i, 0, :, start:end] = _rotate(k, rotations).transpose(0, 1)
            self._values[i, 0, :, start:end] = v.transpose(0, 1)
            mixed = F.scaled_dot_product_attention(
                _rotate(q, rotations).transpose(0, 1)[None],
                self._keys[i, :, :, :end],
                self._values[i, :, :, :end],
                is_causal=T > 1,
                enable_gqa=c.n_kv_heads < c.n_heads,
            )  # (1, n_heads, T, head_dim)
            x = x + F.linear(mixed[0].transpose(0, 1).reshape(T, -1), w[layer + "wo"])
            h = F.rms_norm(x, (c.dim,), w[layer + "ffn_norm"], c.norm_eps)
            gate, up = F.linear(h, w[layer + "w_gate"]), F.linear(h, w[layer + "w_up"])
            x = x + F.linear(F.silu(gate) * up, w[layer + "w_down"])
        x = F.rms_norm(x[-1:], (c.dim,), w["final_norm"], c.norm_eps)
        return F.linear(x, w.get("output", w["token_embedding"]))


def _rotate(x: torch.Tensor, rotations: torch.Tensor) -> torch.Tensor:
    """RoPE on neighbors (2i, 2i + 1) of x (T, n_heads, head_dim)."""
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * rotations).flatten(-2)
