"""Logits of the bundled checkpoint from an independent forward pass, for the tests to compare with.

PyTorch reads the shards and computes in float32; nothing of the package is imported. Run it again
whenever data/stories changes:

    python tools/make_golden.py data/stories tests/golden/stories_logits.npz
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
import torch

#: Weights whose columns, not rows, are divided over the shards.
BY_COLUMNS = ("tok_embeddings.weight", "attention.wo.weight", "feed_forward.w2.weight")

N_STORY, N_RANDOM = 60, 28
BOS = 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a checkpoint in Meta's layout")
    parser.add_argument("out", type=Path, help="the .npz file to write")
    args = parser.parse_args()
    arrays = compute(args.folder)
    np.savez_compressed(args.out, **arrays)
    print(f"{args.out}: {args.out.stat().st_size:,} bytes")


def compute(folder: Path) -> dict[str, np.ndarray]:
    """Ids and logits of a greedy story and of random ids, and the checksums of the files.

    Returns:
        story_ids (60,), random_ids (28,) int64; story_logits (60, vocab), random_logits float32;
        files and sha256, two arrays of str.
    """
    params = json.loads((folder / "params.json").read_text("utf-8"))
    weights = read_weights(folder)
    story = [BOS]
    while len(story) < N_STORY:
        story.append(int(forward(weights, params, story)[-1].argmax()))
    vocab_size = len(weights["output.weight"])
    random = np.random.default_rng(1234).integers(0, vocab_size, N_RANDOM).tolist()
    names = sorted(path.name for path in folder.iterdir() if path.suffix in (".pth", ".model"))
    names.append("params.json")
    return {
        "story_ids": np.array(story),
        "random_ids": np.array(random),
        "story_logits": forward(weights, params, story).numpy(),
        "random_logits": forward(weights, params, random).numpy(),
        "files": np.array(names),
        "sha256": np.array([sha256(folder / name) for name in names]),
    }


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Meta's names -> whole float32 tensors."""
    parts = [
        torch.load(path, map_location="cpu", weights_only=True)
        for path in sorted(folder.glob("consolidated.*.pth"))
    ]
    weights = {}
    for name, first in parts[0].items():
        if first.ndim == 1:
            weights[name] = first.float()
        else:
            axis = 1 if name.endswith(BY_COLUMNS) else 0
            weights[name] = torch.cat([part[name] for part in parts], dim=axis).float()
    return weights


@torch.no_grad()
def forward(weights: dict[str, torch.Tensor], params: dict, ids: list[int]) -> torch.Tensor:
    """(T, vocab) float32 logits of a whole text at once, without a cache."""
    n_heads, eps = params["n_heads"], params["norm_eps"]
    T = len(ids)
    x = weights["tok_embeddings.weight"][torch.tensor(ids)]
    head_dim = x.shape[1] // n_heads
    frequencies = 10000.0 ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angles = torch.outer(torch.arange(T, dtype=torch.float64), frequencies)
    turns = torch.polar(torch.ones_like(angles), angles).to(torch.complex64)[:, None, :]

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return torch.nn.functional.rms_norm(x, x.shape[-1:], weights[name], eps)

    def rotate(h: torch.Tensor) -> torch.Tensor:
        pairs = torch.view_as_complex(h.reshape(T, n_heads, head_dim // 2, 2))
        return torch.view_as_real(pairs * turns).reshape(T, n_heads, head_dim)

    for layer in range(params["n_layers"]):
        part = f"layers.{layer}."
        h = norm(x, part + "attention_norm.weight")
        q, k, v = (
            (h @ weights[f"{part}attention.{w}.weight"].T).view(T, n_heads, head_dim)
            for w in ("wq", "wk", "wv")
        )
        mixed = torch.nn.functional.scaled_dot_product_attention(
            rotate(q).transpose(0, 1), rotate(k).transpose(0, 1), v.transpose(0, 1), is_causal=True
        )
        mixed = mixed.transpose(0, 1).reshape(T, -1)
        x = x + mixed @ weights[part + "attention.wo.weight"].T
        h = norm(x, part + "ffn_norm.weight")
        gate, down, up = (weights[f"{part}feed_forward.{w}.weight"].T for w in ("w1", "w2", "w3"))
        x = x + (torch.nn.functional.silu(h @ gate) * (h @ up)) @ down
    return norm(x, "norm.weight") @ weights["output.weight"].T


if __name__ == "__main__":
    main()
