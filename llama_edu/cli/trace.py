"""llama-edu trace: the numbers of every step of the computation, as a numpy file."""

from __future__ import annotations

import argparse

HELP = "save the steps of the computation: activations, attention, residuals"
DESCRIPTION = (
    "Compute a text and save its steps, float32, with the token ids. How much memory they take is "
    "said before. --list names all steps."
)
EXAMPLE = 'llama-edu trace stories --text "The fox" --names "layers.*.out" --out fox.npz'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """FILE, --text, --names, --out, --list, --no-mmap."""
    from llama_edu.cli.arguments import add_model, add_no_mmap, add_stated

    add_model(parser)
    add_no_mmap(parser)
    parser.add_argument("--text", metavar="T", help="BOS is added if the model expects it")
    parser.add_argument(
        "--names",
        nargs="+",
        default=["*"],
        metavar="NAME",
        help="steps or patterns, in quotes (default: all)",
    )
    parser.add_argument("--out", metavar="X.npz", help="the file to write (default: only a table)")
    parser.add_argument("--list", action="store_true", help="the names and shapes of all steps")
    add_stated(parser)


def run(args: argparse.Namespace) -> None:
    """Say how much, compute, save, and show what was saved."""
    from llama_edu.cli.arguments import stated
    from llama_edu.errors import RequestError
    from llama_edu.loading import load
    from llama_edu.reconcile.trace import trace_bytes
    from llama_edu.text import visible
    from llama_edu.transformer.tap import steps_table

    if args.list:
        print(steps_table())
        return
    if args.text is None:
        raise RequestError("--text: is missing, expected a text to compute; or give --list")
    with load(
        args.file,
        args.mmap,
        tokenizer=args.tokenizer,
        kernels="numpy",
        arithmetic="float32",
        **vars(stated(args)),
    ) as llama:
        tokens = llama.tokenizer.encode(args.text)
        n_bytes = trace_bytes(llama.config, len(tokens), args.names)
        print(f"{len(tokens)} tokens: the steps take {n_bytes:,} bytes of memory", flush=True)
        found = llama.trace(tokens, args.names)
    if args.out is not None:
        found.save(args.out)
        print(f"{visible(args.out)}: saved")
    print(found)
