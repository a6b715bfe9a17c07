"""Make a LLaMA of any size with random weights, for benchmarks and measurements.

The numbers are normal with a small deviation, so that activations stay finite. The text that such a
model writes is noise, but each token costs the same as with a trained model of this size.

    python tools/make_random_model.py random.gguf --dim 768 --layers 12 --heads 12 --hidden 2048
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from llama_edu.config import ModelConfig
from llama_edu.files.detect import read_checkpoint
from llama_edu.files.gguf.writer import write_gguf
from llama_edu.files.layout import PlannedTensor
from llama_edu.files.output import atomic_output
from llama_edu.quants.quantize import quantize
from llama_edu.vocabulary import BYTE, CONTROL, NORMAL, UNKNOWN, Vocabulary

#: Standard deviation of every matrix; small enough that 22 layers do not overflow.
DEVIATION = 0.02


def synthetic_vocabulary(vocab_size: int) -> Vocabulary:
    """Byte pieces, then made-up words: enough for any text to have ids."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = [b"<unk>", b"<s>", b"</s>", *(bytes([b]) for b in range(256))]
    number = 0
    while len(pieces) < vocab_size:
        word, rest = "", number
        while True:
            rest, letter = divmod(rest, 26)
            word += letters[letter]
            if rest == 0:
                break
        pieces.append((" " if number % 2 else "").encode() + word.encode() + b"_" * (number % 3))
        number += 1
    kinds = np.full(vocab_size, NORMAL, np.uint8)
    kinds[0], kinds[1:3], kinds[3:259] = UNKNOWN, CONTROL, BYTE
    scores = -np.arange(vocab_size, dtype=np.float32)
    return Vocabulary(tuple(pieces[:vocab_size]), scores, kinds)


def write_random_model(path: Path, config: ModelConfig, type_name: str, seed: int = 0) -> None:
    """Write a GGUF file with random weights, one tensor in memory at a time."""
    rng = np.random.default_rng(seed)
    planned = [
        PlannedTensor(name, "f32" if len(shape) == 1 else type_name, shape)
        for name, shape in config.tensor_shapes().items()
    ]

    def load(tensor: PlannedTensor) -> np.ndarray:
        if len(tensor.shape) == 1:
            return np.ones(tensor.shape, np.float32)
        numbers = rng.standard_normal(tensor.shape, np.float32)
        numbers *= DEVIATION
        return numbers if tensor.type == "f32" else quantize(numbers, tensor.type)

    with atomic_output(path, sum(tensor.n_bytes for tensor in planned)) as file:
        write_gguf(file, config, synthetic_vocabulary(config.vocab_size), planned, load)


def main() -> None:
    """Parse the sizes and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--hidden", type=int, default=2048)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--kv-heads", type=int)
    parser.add_argument("--vocab", type=int, default=32000)
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--type", default="f32")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    config = ModelConfig(
        dim=args.dim,
        hidden_dim=args.hidden,
        n_layers=args.layers,
        n_heads=args.heads,
        n_kv_heads=args.kv_heads or args.heads,
        vocab_size=args.vocab,
        max_seq_len=args.context,
    )
    write_random_model(args.path, config, args.type, args.seed)
    checkpoint = read_checkpoint(args.path)
    n_bytes = args.path.stat().st_size
    print(f"{args.path}: {checkpoint.n_parameters:,} parameters, {n_bytes:,} bytes")


if __name__ == "__main__":
    main()
