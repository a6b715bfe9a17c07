"""llama-edu bench: how fast is this model on this machine?"""

from __future__ import annotations

import argparse

HELP = "measure how fast a model is on this machine"
DESCRIPTION = (
    "Time loading, a prompt (ppN) and single tokens (tgN) for every combination of kernels,\n"
    "arithmetic and threads, and print tokens per second ± their standard deviation,\n"
    "milliseconds, and CPU time. Combinations take turns; a first run of each is not counted.\n"
    "Ctrl+C prints what is done. Lists are separated by commas."
)
EXAMPLE = "llama-edu bench stories --threads 1,2"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """FILE, the lists, and how much to compute."""
    from llama_edu.bench.measure import N_PROMPT, N_TOKENS, REPETITIONS
    from llama_edu.cli.arguments import add_file, add_no_mmap, add_stated
    from llama_edu.matmul import KERNELS
    from llama_edu.matmul.arithmetic import ARITHMETIC

    add_file(parser)
    parser.add_argument(
        "--kernels",
        metavar="K,K",
        help=f"of {', '.join(KERNELS)} (default: numpy, and jit where it can be used)",
    )
    parser.add_argument(
        "--arithmetic",
        metavar="A,A",
        help=f"of {', '.join(ARITHMETIC)} (default: what generate takes)",
    )
    parser.add_argument("--threads", metavar="N,N", help="numbers of threads (default: all cores)")
    for short, name, default, meaning in (
        ("-p", "prompt", N_PROMPT, "positions of the prompt; 0 leaves it out"),
        ("-n", "tokens", N_TOKENS, "single tokens; 0 leaves them out"),
    ):
        parser.add_argument(
            short, f"--{name}", type=int, default=default, metavar="N", dest=f"n_{name}",
            help=f"{meaning} (default {default})",
        )  # fmt: skip
    parser.add_argument(
        "-r", "--repetitions", type=int, default=REPETITIONS, metavar="R",
        help=f"runs of each test that are counted (default {REPETITIONS})",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="every run, as JSON")
    add_no_mmap(parser)
    add_stated(parser)


def run(args: argparse.Namespace) -> int:
    """Measure and print; 130 where Ctrl+C cut the measurement short."""
    from llama_edu.bench.measure import bench
    from llama_edu.cli.arguments import stated
    from llama_edu.cli.streams.progress import progress_bar
    from llama_edu.show.text.json_text import json_text

    with progress_bar("measuring", "run") as progress:
        report = bench(
            args.file,
            kernels=_listed(args.kernels),
            arithmetic=_listed(args.arithmetic),
            threads=_numbers(args.threads),
            n_prompt=args.n_prompt,
            n_tokens=args.n_tokens,
            repetitions=args.repetitions,
            progress=progress,
            mmap=args.mmap,
            **vars(stated(args)),
        )
    print(json_text(report.as_dict()) if args.json else report)
    return 130 if report.cut_short else 0


def _listed(text: str | None) -> list | None:
    """The words between commas."""
    return None if text is None else [word.strip() for word in text.split(",")]


def _numbers(text: str | None) -> list[int] | None:
    from llama_edu.errors import RequestError
    from llama_edu.text import quoted

    try:
        return None if text is None else [int(word) for word in text.split(",")]
    except ValueError:
        raise RequestError(
            f"--threads: {quoted(text)}, expected integers separated by commas: 1,2"
        ) from None
