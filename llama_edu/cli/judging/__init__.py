"""What `perplexity` and `compare --text-file` share: a text, its windows, and who computes them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llama_edu.stated import Stated


def add_text(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """--text-file."""
    parser.add_argument(
        "--text-file",
        required=required,
        metavar="F",
        help="a UTF-8 text to score; - reads standard input",
    )


def add_windows(parser: argparse.ArgumentParser) -> None:
    """--stride, --windows, --at-most, --workers, --json."""
    from llama_edu.quality.windows import WAYS

    parser.add_argument(
        "--stride",
        type=int,
        metavar="N",
        help="tokens by which each window begins later than the one before; the tokens that both "
        "have are context in the later one (default: windows have none in common)",
    )
    parser.add_argument(
        "--windows",
        choices=WAYS,
        default="ours",
        help="llama.cpp cuts the text as llama-perplexity does: whole windows, of which the second "
        "half is scored (default ours: every token is scored once)",
    )
    parser.add_argument(
        "--at-most", type=int, metavar="N", help="score the first N windows alone (default: all)"
    )
    add_workers(parser)
    parser.add_argument("--json", action="store_true", help="the numbers, as JSON")


def add_workers(parser: argparse.ArgumentParser) -> None:
    """--workers."""
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="share the work among N processes, which map the same file, each with its share of "
        "the cores; the numbers stay the same, bit for bit (default: this process alone)",
    )


def print_judgement(
    args: argparse.Namespace, files: Sequence[str], stated: Stated | None = None
) -> int:
    """Score the text and print what was found, also where it was cut short: then 130."""
    import dataclasses
    from contextlib import nullcontext

    from llama_edu.cli.arguments import read_text, speed
    from llama_edu.cli.streams.progress import progress_bar
    from llama_edu.quality.judgement import Judgement, judge
    from llama_edu.show.text.json_text import json_text
    from llama_edu.workers.pieces import EngineError
    from llama_edu.workers.pool import check_workers, process_map, threads_of_each

    def show(found: Judgement) -> None:
        print(json_text(dataclasses.asdict(found)) if args.json else found)

    options = speed(args)
    if args.workers is not None:
        check_workers(args.workers)
        options["threads"] = options["threads"] or threads_of_each(args.workers)
    text = read_text(args.text_file)
    name = "standard input" if args.text_file == "-" else _last_part(args.text_file)
    pool = nullcontext(None) if args.workers is None else process_map(args.workers)
    try:
        with pool as shared, progress_bar("scoring", "window") as progress:
            found = judge(
                *files, text=text, name=name, context=args.context, stride=args.stride,
                windows=args.windows, at_most=args.at_most, map=shared, progress=progress,
                tokenizer=args.tokenizer, stated=stated, mmap=args.mmap, **options,
            )  # fmt: skip
    except EngineError as error:
        if isinstance(error.kept, Judgement):
            show(error.kept)
        raise
    show(found)
    return 130 if found.cut_short else 0


def _last_part(path: str) -> str:
    from pathlib import Path

    return Path(path).name
