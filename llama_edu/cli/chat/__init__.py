"""llama-edu chat: a conversation in the terminal."""

from __future__ import annotations

import argparse

HELP = "talk to a model"
DESCRIPTION = (
    "Talk to a model. Answers appear as they are written; Ctrl+C stops one and keeps the "
    "conversation. Without a terminal, each line of standard input is a message, and the answers "
    "alone are printed."
)
EXAMPLE = 'llama-edu chat smollm2 --system "Answer in one sentence."'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """FILE, what the model is told, and how it chooses its words."""
    from llama_edu.chat.conversation import N_TOKENS
    from llama_edu.chat.named import TEMPLATES
    from llama_edu.cli.arguments import add_model, add_sampling, add_speed, add_stated

    add_model(parser)
    parser.add_argument("--system", metavar="S", help="what the model is told beforehand")
    parser.add_argument(
        "--template",
        metavar="T",
        help="a template in place of the file's own: the name of another one in the file, "
        f"{', '.join(TEMPLATES)}, or a file in jinja2's language",
    )
    parser.add_argument(
        "--n-tokens",
        type=int,
        default=N_TOKENS,
        metavar="N",
        help=f"the largest number of tokens of an answer (default {N_TOKENS})",
    )
    parser.add_argument(
        "--stop",
        action="append",
        default=[],
        metavar="S",
        help="a text at which an answer ends; may be given several times",
    )
    add_sampling(parser)
    add_speed(parser)
    parser.add_argument(
        "--history",
        metavar="FILE",
        help="keep what is typed in this file for the next time (default: only in memory)",
    )
    add_stated(parser)


def run(args: argparse.Namespace) -> None:
    """Talk until the input ends."""
    from llama_edu.cli.arguments import sampling_settings, say_if_rounded, speed, stated
    from llama_edu.cli.chat.lines import is_terminal
    from llama_edu.cli.chat.talk import talk
    from llama_edu.loading import load
    from llama_edu.transformer.sampling import GREEDY

    settings = sampling_settings(args)
    with (
        load(
            args.file,
            tokenizer=args.tokenizer,
            **speed(args),
            **vars(stated(args)),
        ) as llama,
        llama.chat(
            args.system,
            template=args.template,
            n_tokens=args.n_tokens,
            settings=settings,
            stop=args.stop,
            seed=args.seed,
        ) as conversation,
    ):
        say_if_rounded(llama, args.arithmetic)
        if is_terminal():
            # kernels that are compiled or loaded now say so here, and not inside the first answer
            for _ in llama.generate_tokens("", 2, GREEDY):
                pass
        talk(conversation, args.history)
