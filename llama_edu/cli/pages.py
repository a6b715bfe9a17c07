"""llama-edu pages: exactly which pages of the file did these tokens need?"""

from __future__ import annotations

import argparse

NAME = "pages"
HELP = "measure which pages of the file a text needs"
DESCRIPTION = (
    "Generate while watching the file's pages: pages touched per tensor, the verdict on that\n"
    "number, and beside it what counting page faults would have said."
)
EXAMPLE = 'llama-edu pages stories.ggjt --prompt "Once upon a time" --n-tokens 8 --per-token'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """FILE, what to generate, and which instrument."""
    from llama_edu.cli.arguments import add_sampling

    parser.add_argument("file", metavar="FILE", nargs="?", help="one weight file")
    parser.add_argument("--tokenizer", metavar="FILE", help="for weights without a vocabulary")
    parser.add_argument("--prompt", default="", metavar="P", help="the beginning (default empty)")
    parser.add_argument("--n-tokens", type=int, default=8, metavar="N",
                        help="new tokens (default 8)")  # fmt: skip
    add_sampling(parser)
    parser.add_argument("--backend", default="auto", metavar="B",
                        help="uffd, one-page, private-copy, mincore or faults "
                             "(default: the best that passes calibration)")  # fmt: skip
    parser.add_argument("--per-token", action="store_true", help="one line per token as well")
    parser.add_argument("--map", action="store_true", help="draw the pages, one line per tensor")
    parser.add_argument("--json", action="store_true", help="everything, as JSON")
    parser.add_argument("--doctor", action="store_true",
                        help="test every instrument of this machine on known pages")  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Measure and print."""
    import json

    from llama_edu.cli.arguments import sampling_settings
    from llama_edu.errors import RequestError
    from llama_edu.experiments.token_pages import observe_tokens
    from llama_edu.pages.doctor import examine
    from llama_edu.pages.textmap import text_map

    if args.doctor:
        report = examine()
        print(json.dumps(report.as_dict(), indent=2) if args.json else report)
        return
    if args.file is None:
        raise RequestError("pages: no FILE given, expected a weight file, or --doctor")
    observed = observe_tokens(
        args.file,
        args.prompt,
        args.n_tokens,
        backend=args.backend,
        tokenizer=args.tokenizer,
        per_token=args.per_token,
        settings=sampling_settings(args),
        seed=0 if args.seed is None else args.seed,
    )
    if args.json:
        print(json.dumps(observed.as_dict(), indent=2))
        return
    print(observed)
    if args.map and observed.whole.pages is not None:
        print(text_map(observed.whole))
