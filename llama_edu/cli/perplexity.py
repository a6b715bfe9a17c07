"""llama-edu perplexity: how surprised is a model by a text?"""

from __future__ import annotations

import argparse

HELP = "score a text: nats per token"
DESCRIPTION = "Score a text file in windows that do not overlap: nats per token and perplexity."
EXAMPLE = """\
llama-edu generate stories --prompt "Once upon a time" --seed 1 > story.txt
llama-edu perplexity stories --text-file story.txt --context 256"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """FILE, --text-file, --context."""
    from llama_edu.cli.arguments import add_model, add_no_mmap, add_speed, add_stated

    add_model(parser)
    parser.add_argument(
        "--text-file", required=True, metavar="F", help="a UTF-8 text; - reads standard input"
    )
    parser.add_argument(
        "--context",
        type=int,
        metavar="N",
        help="positions per window (default: the model's context, at most 512)",
    )
    add_speed(parser, arithmetic="float32")
    add_no_mmap(parser)
    add_stated(parser, without=("context",))


def run(args: argparse.Namespace) -> None:
    """Score and print."""
    from llama_edu.cli.arguments import read_text, speed, stated
    from llama_edu.cli.streams.progress import progress_bar
    from llama_edu.loading import load
    from llama_edu.transformer.perplexity import perplexity

    text = read_text(args.text_file)
    with load(
        args.file, args.mmap, tokenizer=args.tokenizer, **speed(args), **vars(stated(args))
    ) as llama:
        tokenizer = llama.tokenizer
        context = args.context or min(512, llama.config.max_seq_len)
        with progress_bar("scoring", "token") as progress:
            tokens = tokenizer.encode(text, bos=False)
            bos_id = tokenizer.bos_id if tokenizer.adds_bos else None
            print(perplexity(llama.model, tokens, bos_id, context, progress))
