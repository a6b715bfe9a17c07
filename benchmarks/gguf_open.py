"""How long until a GGUF file is open? Ours and gguf-py's reader on the same file, taking turns.

Open means: header read, vocabulary at hand, a view on every tensor. No weight is read by either.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from llama_edu.config import ModelConfig
from llama_edu.files.gguf import read_gguf
from llama_edu.files.gguf_write import write_gguf
from llama_edu.files.layout import BYTE, CONTROL, NORMAL, UNKNOWN, PlannedTensor, Vocabulary
from llama_edu.files.mapped import MappedFile


def make_vocabulary(n_pieces: int, rng: np.random.Generator) -> Vocabulary:
    """Pieces of 1 to 12 letters, with a space in front of every second; bytes at the start."""
    kinds = np.full(n_pieces, NORMAL, np.uint8)
    kinds[:3] = UNKNOWN, CONTROL, CONTROL
    kinds[3:259] = BYTE
    pieces = [b"", b"", b"", *(bytes([b]) for b in range(256))]
    lengths = rng.integers(1, 13, n_pieces)
    for token in range(259, n_pieces):
        word = rng.integers(97, 123, lengths[token], dtype=np.uint8).tobytes()
        pieces.append(b" " * (token % 2) + word)
    return Vocabulary(pieces, -np.arange(n_pieces, dtype=np.float32), kinds)


def make_file(path: Path, n_pieces: int, n_layers: int) -> None:
    """A model of 51 MB a layer and 8 KB a piece, all weights zero."""
    config = ModelConfig(
        dim=1024, hidden_dim=2816, n_layers=n_layers, n_heads=16, n_kv_heads=16, vocab_size=n_pieces
    )
    planned = [PlannedTensor(n, "f32", shape) for n, shape in config.tensor_shapes().items()]
    vocabulary = make_vocabulary(n_pieces, np.random.default_rng(0))
    with path.open("wb") as file:
        write_gguf(
            file, config, vocabulary, planned, lambda tensor: np.zeros(tensor.shape, np.float32)
        )


def open_ours(path: Path) -> int:
    checkpoint = read_gguf(path)
    assert checkpoint.vocabulary is not None
    with MappedFile(path) as mapped:
        views = [mapped.view(spec) for spec in checkpoint.tensors.values()]
        n_views = len(views)
        del views
    return n_views


def open_gguf_py(path: Path) -> int:
    from gguf import GGUFReader

    return len(GGUFReader(path).tensors)


def timed(function: Callable[[Path], int], path: Path) -> float:
    start = time.perf_counter()
    function(path)
    return 1000 * (time.perf_counter() - start)


def measure(path: Path, n_rounds: int = 5) -> dict[str, list[float]]:
    """Milliseconds of each way, in turns, so that both meet the same machine."""
    ways: dict[str, Callable[[Path], int]] = {"ours": open_ours, "gguf-py": open_gguf_py}
    for way in ways.values():
        way(path)  # imports and the page cache are not what is measured
    ms: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(n_rounds):
        for name, way in ways.items():
            ms[name].append(timed(way, path))
    return ms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pieces", type=int, nargs="+", default=[32_000, 128_000])
    parser.add_argument("--megabytes", type=int, default=500)
    arguments = parser.parse_args()
    for n_pieces in arguments.pieces:
        n_layers = max(1, round((arguments.megabytes - n_pieces * 8192e-6) / 51))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.gguf"
            make_file(path, n_pieces, n_layers)
            size_mb = path.stat().st_size / 1e6
            ms = {name: statistics.median(times) for name, times in measure(path).items()}
        print(
            f"{size_mb:.0f} MB, {n_pieces:,} pieces: ours {ms['ours']:.2f} ms, gguf-py "
            f"{ms['gguf-py']:.0f} ms, ratio {ms['gguf-py'] / ms['ours']:.0f}"
        )


if __name__ == "__main__":
    main()
