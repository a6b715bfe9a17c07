"""llama-edu logits: the scores of every next token, as a numpy file."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "save the scores of every next token"
DESCRIPTION = "Save logits (T, vocab_size) float32; row t scores what follows token t."
EXAMPLE = 'llama-edu logits stories --text "Once upon a time" --out logits.npy'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """FILE, the tokens or the text, and where to save."""
    from llama_edu.cli.arguments import add_model, add_no_mmap, add_stated

    add_model(parser)
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--tokens", metavar="1,2,3", help="token ids; BOS is not added")
    group.add_argument("--text", metavar="T", help="a text; BOS is added if the model expects it")
    parser.add_argument("--out", required=True, metavar="X.npy", help="the file to write")
    add_no_mmap(parser)
    add_stated(parser)


def run(args: argparse.Namespace) -> None:
    """Compute and save."""
    import numpy as np

    from llama_edu.cli.arguments import stated
    from llama_edu.errors import RequestError
    from llama_edu.files.output import atomic_output
    from llama_edu.loading import load
    from llama_edu.text import visible

    with load(
        args.file,
        args.mmap,
        tokenizer=args.tokenizer,
        kernels="numpy",
        arithmetic="float32",
        **vars(stated(args)),
    ) as llama:
        if args.tokens is not None:
            try:
                tokens = [int(token) for token in args.tokens.split(",")]
            except ValueError:
                raise RequestError(
                    f"--tokens: {args.tokens!r}, expected integers separated by commas: 1,2,3"
                ) from None
        else:
            tokens = llama.tokenizer.encode(args.text)
        logits = llama.logits(tokens)
    with atomic_output(Path(args.out), logits.nbytes + 128) as file:
        np.save(file, logits)
    print(f"{visible(args.out)}: {logits.shape[0]} positions x {logits.shape[1]} scores, float32")
