"""llama-edu generate: continue a prompt."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llama_edu.tokenizer.protocol import Tokenizer
    from llama_edu.transformer.generate import GeneratedToken, Generation

HELP = "continue a prompt"
DESCRIPTION = (
    "Continue a prompt, printing the text as it is generated, until --n-tokens, an end token, a\n"
    "--stop string or a full context."
)
EXAMPLE = 'llama-edu generate stories --prompt "Once upon a time" --seed 1'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """FILE, the prompt, how many tokens, and how to choose them."""
    from llama_edu.cli.arguments import add_model, add_no_mmap, add_sampling, add_speed, add_stated

    add_model(parser)
    prompt = parser.add_mutually_exclusive_group()
    prompt.add_argument("--prompt", default="", metavar="P", help="the beginning (default empty)")
    prompt.add_argument(
        "--prompt-file",
        metavar="F",
        help="the beginning, in a UTF-8 file; - reads standard input; one line feed at its end is "
        "left out",
    )
    parser.add_argument(
        "--special",
        action="store_true",
        help="names of control pieces in the prompt, such as <|im_start|>, become these pieces",
    )
    parser.add_argument(
        "--n-tokens",
        type=int,
        default=256,
        metavar="N",
        help="the largest number of new tokens (default 256)",
    )
    parser.add_argument(
        "--stop",
        action="append",
        default=[],
        metavar="S",
        help="end the text before this string; can be given several times",
    )
    add_sampling(parser)
    add_speed(parser)
    parser.add_argument(
        "--logprobs",
        type=int,
        default=0,
        metavar="K",
        help="then print the log probability of each token and the K likeliest at its place",
    )
    parser.add_argument(
        "--ids",
        action="store_true",
        help="print token ids, BOS and prompt included, instead of text",
    )
    add_no_mmap(parser)
    add_stated(parser)


def run(args: argparse.Namespace) -> None:
    """Write the text, or the ids."""
    from llama_edu.cli.arguments import (
        read_text,
        sampling_settings,
        say_if_rounded,
        speed,
        stated,
    )
    from llama_edu.cli.streams.stdout import for_output
    from llama_edu.loading import load

    settings = sampling_settings(args)
    prompt = args.prompt
    if args.prompt_file is not None:
        prompt = read_text(args.prompt_file).removesuffix("\n")
    with load(
        args.file,
        mmap=args.mmap,
        tokenizer=args.tokenizer,
        **speed(args),
        **vars(stated(args)),
    ) as llama:
        generation = llama.generate_tokens(
            prompt, args.n_tokens, settings, seed=args.seed, stop=args.stop,
            special=args.special, logprobs=args.logprobs,
        )  # fmt: skip
        _say_where_it_starts(llama.tokenizer, generation)
        say_if_rounded(llama, args.arithmetic)
        steps = []
        if not args.ids:
            sys.stdout.write(for_output(prompt))
        for token in generation:
            if not args.ids:
                sys.stdout.write(for_output(token.text))
                sys.stdout.flush()
            if args.logprobs:
                steps.append(token)
        print(*generation.tokens if args.ids else ())
        if steps:
            print(_table(llama.tokenizer, steps, generation))
        if generation.reason == "context":
            context = f"{llama.config.max_seq_len:,} tokens"
            print(f"llama-edu: the context of {context} is full; the text ends here",
                  file=sys.stderr)  # fmt: skip


def _say_where_it_starts(tokenizer: Tokenizer, generation: Generation) -> None:
    """Name the piece that an empty prompt of a model without BOS in front was replaced by."""
    if generation.tokens and len(generation.tokens) == 1 and not tokenizer.adds_bos:
        from llama_edu.text import quoted
        from llama_edu.tokenizer.prompt import first_id

        token = generation.tokens[0]
        if token in (tokenizer.bos_id, tokenizer.eos_id) and token == first_id(tokenizer):
            print(
                f"llama-edu: the prompt is empty and texts of this model begin without BOS; it "
                f"starts from {quoted(tokenizer.name(token))} (id {token})",
                file=sys.stderr,
            )


def _table(tokenizer: Tokenizer, steps: list[GeneratedToken], generation: Generation) -> str:
    """A line for each new token: its log probability, and the likeliest at its place."""
    from llama_edu.table import lay_out
    from llama_edu.text import quoted

    def label(token: int) -> str:
        try:
            text = tokenizer.piece(token).decode()
        except UnicodeDecodeError:  # a part of a character
            text = ""
        return quoted(text or tokenizer.name(token), 24)

    rows = [
        (
            step.position,
            step.id,
            label(step.id),
            f"{step.logprob:.3f}",
            "  ".join(f"{label(token)} {logprob:.3f}" for token, _, logprob in step.top),
        )
        for step in steps
        if step.position < len(generation.tokens)  # no end, before which text was held back
    ]
    heads = ("position", "id", "token", "log p", "likeliest")
    return "\n" + lay_out(heads, rows, align=">><><")
