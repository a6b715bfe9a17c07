r"""Write a training checkpoint as Meta released its models: params.json, shards, tokenizer.

    python tools/export_stories.py --checkpoint run/checkpoint.pt \
        --tokenizer data/stories/tokenizer.model --out data/stories

The same checkpoint gives the same bytes.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path

import torch
from story_model import PARAMS, rope_freqs

# How fairscale split a matrix over the shards; vectors are whole in every shard.
SPLIT_BY_ROWS = ("wq", "wk", "wv", "w1", "w3", "output")
SPLIT_BY_COLUMNS = ("tok_embeddings", "wo", "w2")


def tensor_names(n_layers):
    """Every tensor name in the order of Meta's files."""
    names = ["tok_embeddings.weight", "norm.weight", "output.weight"]
    for layer in range(n_layers):
        for inner in (
            "attention.wq",
            "attention.wk",
            "attention.wv",
            "attention.wo",
            "feed_forward.w1",
            "feed_forward.w2",
            "feed_forward.w3",
            "attention_norm",
            "ffn_norm",
        ):
            names.append(f"layers.{layer}.{inner}.weight")
        names.append(f"layers.{layer}.attention.inner_attention.rope.freqs")
    return [*names, "rope.freqs"]


def slice_for_part(name, tensor, part, n_parts):
    """The slice of a tensor that goes into one shard, a contiguous float16 copy."""
    kind = name.split(".")[-2]
    if kind in SPLIT_BY_ROWS:
        tensor = tensor.chunk(n_parts, dim=0)[part]
    elif kind in SPLIT_BY_COLUMNS:
        tensor = tensor.chunk(n_parts, dim=1)[part]
    # clone: torch.save writes the whole storage behind a view.
    return tensor.to(torch.float16).contiguous().clone()


def write_parts(model_state, folder, n_parts):
    """Write params.json and consolidated.00.pth, consolidated.01.pth, ... into folder."""
    freqs = rope_freqs(PARAMS["dim"] // PARAMS["n_heads"])
    (folder / "params.json").write_text(json.dumps(PARAMS), encoding="utf-8")
    for part in range(n_parts):
        tensors = {}
        for name in tensor_names(PARAMS["n_layers"]):
            whole = freqs if name.endswith("freqs") else model_state[name]
            tensors[name] = slice_for_part(name, whole, part, n_parts)
        torch.save(tensors, folder / f"consolidated.{part:02d}.pth")


def main():
    parser = argparse.ArgumentParser(description="Write a trained model in Meta's layout.")
    parser.add_argument("--checkpoint", type=Path, required=True, help="from train_stories.py")
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--n-parts", type=int, choices=(1, 2, 4), default=2)
    args = parser.parse_args()
    model_state = torch.load(args.checkpoint, weights_only=True)["model"]
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.out) as name:
        folder = Path(name)
        write_parts(model_state, folder, args.n_parts)
        shutil.copyfile(args.tokenizer, folder / "tokenizer.model")
        written = sorted(folder.iterdir())
        for old in args.out.glob("consolidated.*.pth"):
            if not (folder / old.name).exists():
                old.unlink()
        for path in written:
            path.replace(args.out / path.name)
    n_bytes = sum((args.out / path.name).stat().st_size for path in written)
    print(f"{args.out}: {len(written)} files, {n_bytes:,} bytes")


if __name__ == "__main__":
    main()
