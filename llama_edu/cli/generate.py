"""llama-edu generate: continue a prompt."""

from __future__ import annotations

import argparse
import sys

HELP = "continue a prompt"
DESCRIPTION = (
    "Continue a prompt, printing the text as it is generated, until --n-tokens, EOS, BOS or a full "
    "context."
)
EXAMPLE = 'llama-edu generate data/stories --prompt "Once upon a time" --seed 1'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """FILE, the prompt, how many tokens, and how to choose them."""
    from llama_edu.cli.arguments import add_model, add_no_mmap, add_sampling, add_speed, add_stated

    add_model(parser)
    parser.add_argument("--prompt", default="", metavar="P", help="the beginning (default empty)")
    parser.add_argument(
        "--n-tokens",
        type=int,
        default=256,
        metavar="N",
        help="the largest number of new tokens (default 256)",
    )
    add_sampling(parser)
    add_speed(parser)
    parser.add_argument(
        "--ids",
        action="store_true",
        help="print token ids, BOS and prompt included, instead of text",
    )
    add_no_mmap(parser)
    add_stated(parser)


def run(args: argparse.Namespace) -> None:
    """Write the text, or the ids."""
    from llama_edu.cli.arguments import sampling_settings, stated
    from llama_edu.cli.streams.stdout import for_output
    from llama_edu.llama import load

    settings = sampling_settings(args)
    with load(
        args.file,
        mmap=args.mmap,
        tokenizer=args.tokenizer,
        threads=args.threads,
        kernels=args.kernels,
        **vars(stated(args)),
    ) as llama:
        generation = llama.generate_tokens(args.prompt, args.n_tokens, settings, seed=args.seed)
        if args.ids:
            for _ in generation:
                pass
            print(*generation.tokens)
            return
        sys.stdout.write(for_output(args.prompt))
        for token in generation:
            sys.stdout.write(for_output(token.text))
            sys.stdout.flush()
        sys.stdout.write("\n")
        if generation.reason == "context":
            context = f"{llama.config.max_seq_len:,} tokens"
            print(f"llama-edu: the context of {context} is full; the text ends here",
                  file=sys.stderr)  # fmt: skip
