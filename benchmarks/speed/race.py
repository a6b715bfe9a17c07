"""Every contender with one file: all prefills in turn, then all decodes."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.peers import Peer, llama_cpp_or_why, torch_or_why
from benchmarks.speed.contenders import DOT, FLASH, LLAMA_CPP, TORCH, Ours, dot, ways
from benchmarks.speed.results import DECODE, N_DECODE, N_PREFILL, PREFILL, Measured
from benchmarks.timing import interleave
from llama_edu.bench.other_programs import OtherProgramsWatch
from llama_edu.files.detect import read_checkpoint
from llama_edu.files.layout import Checkpoint
from llama_edu.matmul.cores import cores
from llama_edu.quants.blocks import BLOCK_TYPES

N_POSITIONS = N_PREFILL + N_DECODE + 1
PROMPT = [1, *np.random.default_rng(0).integers(3, 1000, N_PREFILL - 1).tolist()]


def measure(path: Path, *, with_torch: bool, rounds: int) -> Measured:
    """What each contender that can open this file takes for a prompt and for single tokens."""
    checkpoint = read_checkpoint(path)
    watch = OtherProgramsWatch()
    with ExitStack() as opened:
        contenders = _open(path, checkpoint, opened, with_torch=with_torch)
        prefills = {name: partial(one.prefill, PROMPT) for name, one in contenders.items()}
        decodes = {name: partial(one.decode, N_DECODE) for name, one in contenders.items()}
        return Measured(
            jobs={
                PREFILL: interleave(prefills, rounds, warm_up=True),
                DECODE: interleave({**decodes, DOT: dot}, rounds, warm_up=True),
            },
            token_bytes=token_bytes(checkpoint),
            about=f"{path.name}, {cores().usable} threads, {rounds} rounds; {watch.seen()}.",
        )


def _open(
    path: Path, checkpoint: Checkpoint, opened: ExitStack, *, with_torch: bool
) -> dict[str, Peer]:
    threads, contenders = cores().usable, {}
    for name, (kernels, arithmetic) in ways(rounded=is_rounded(checkpoint)).items():
        one = Ours(path, N_POSITIONS, threads, kernels=kernels, arithmetic=arithmetic)
        opened.callback(one.close)
        contenders[name] = one
    llama_cpp, _ = llama_cpp_or_why()
    if llama_cpp is not None and checkpoint.format.startswith("GGUF"):
        for name, flash_attn in ((LLAMA_CPP, False), (FLASH, True)):
            peer = llama_cpp(path, N_POSITIONS, threads, flash_attn=flash_attn)
            opened.callback(peer.close)
            contenders[name] = peer
    torch_loop, _ = torch_or_why()
    if with_torch and torch_loop is not None:
        contenders[TORCH] = torch_loop(path, N_POSITIONS, threads)
    return contenders


def is_rounded(checkpoint: Checkpoint) -> bool:
    """Whether int8 arithmetic is a default for some matrix: stored in blocks, or bf16."""
    types = {t.type for t in checkpoint.tensors.values()}
    return "bf16" in types or any(BLOCK_TYPES[name].is_quantized for name in types)


def token_bytes(checkpoint: Checkpoint) -> int:
    """Bytes of the weights of a dense model that one token reads: of the embedding, its own row.

    A tied output is the embedding, read whole.
    """
    embedding = checkpoint.tensors["token_embedding"].own_bytes
    row = embedding // checkpoint.config.vocab_size
    unread = 0 if checkpoint.tied_output else embedding - row
    return checkpoint.n_bytes - unread
