"""Arguments that several commands share."""

from __future__ import annotations

import argparse


def add_model(parser: argparse.ArgumentParser) -> None:
    """FILE and --tokenizer."""
    parser.add_argument("file", metavar="FILE", help="a weight file, or a folder in Meta's layout")
    parser.add_argument(
        "--tokenizer",
        metavar="FILE",
        help="tokenizer.model or tokenizer.bin, for weights that carry no vocabulary",
    )


def add_speed(parser: argparse.ArgumentParser) -> None:
    """--threads and --kernels."""
    parser.add_argument("--threads", type=int, metavar="N", help="cores that work (default: all)")
    parser.add_argument(
        "--kernels",
        choices=("auto", "numpy", "jit"),
        default="auto",
        help="jit needs numba; auto takes it where installed (default auto)",
    )


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """How the next token is chosen; the values that switch a rule off are the defaults."""
    parser.add_argument(
        "--temperature",
        type=float,
        default=0.8,
        metavar="T",
        help="0 always takes the likeliest token (default 0.8)",
    )
    parser.add_argument(
        "--top-k",
        type=int,
        default=0,
        metavar="K",
        help="keep the K likeliest tokens (default 0: all)",
    )
    parser.add_argument(
        "--top-p",
        type=float,
        default=1.0,
        metavar="P",
        help="keep the fewest tokens that reach probability P (default 1: all)",
    )
    parser.add_argument(
        "--min-p",
        type=float,
        default=0.0,
        metavar="M",
        help="drop tokens below M times the likeliest (default 0: none)",
    )
    parser.add_argument(
        "--repeat-penalty",
        type=float,
        default=1.0,
        metavar="R",
        help="make the last 64 tokens less likely (default 1: off)",
    )
    parser.add_argument("--seed", type=int, metavar="S", help="same seed, same text")


def sampling_settings(args: argparse.Namespace):
    """SamplingSettings from the arguments of add_sampling."""
    from llama_edu.transformer.sampling import SamplingSettings

    return SamplingSettings(
        args.temperature, args.top_k, args.top_p, args.min_p, args.repeat_penalty
    )
