"""Fingerprints of models, computed by PyTorch in float64: two sums of each step for eight tokens.

The package's float64 forward pass is not used: the fingerprint is to judge it, too. Run it again
when data/stories changes:

    python tools/make_fingerprints.py data/stories llama_edu/reconcile/fingerprints/stories.npz
"""

from __future__ import annotations

import argparse
from pathlib import Path

from llama_edu.loading import load
from llama_edu.reconcile.fingerprint import make_fingerprint
from llama_edu.reconcile.referees import torch_by_hand

TEXT = "Once upon a time there was a small fox"
N_TOKENS = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="a checkpoint with a vocabulary")
    parser.add_argument("out", type=Path, help="the .npz file to write")
    args = parser.parse_args()
    with load(args.file, kernels="numpy", arithmetic="float32") as llama:
        tokens = llama.tokenizer.encode(TEXT)[:N_TOKENS]
        made = make_fingerprint(
            "PyTorch in float64", llama.config, tokens,
            torch_by_hand.steps(llama.model, tokens),
            torch_by_hand.steps(llama.model, tokens, "float32"),
        )  # fmt: skip
    made.save(args.out)
    print(f"{args.out}: {args.out.stat().st_size:,} bytes, {len(made.names)} steps")


if __name__ == "__main__":
    main()
