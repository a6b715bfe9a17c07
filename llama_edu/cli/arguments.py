"""Arguments that several commands share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llama_edu.transformer.sampling import SamplingSettings


def add_model(parser: argparse.ArgumentParser) -> None:
    """FILE and --tokenizer."""
    parser.add_argument("file", metavar="FILE", help="a weight file, or a folder in Meta's layout")
    parser.add_argument(
        "--tokenizer",
        metavar="FILE",
        help="tokenizer.model or tokenizer.bin, for weights without a vocabulary",
    )


def add_speed(parser: argparse.ArgumentParser) -> None:
    """--threads and --kernels."""
    from llama_edu.matmul import KERNELS

    parser.add_argument("--threads", type=int, metavar="N", help="cores to use (default: all)")
    parser.add_argument(
        "--kernels",
        choices=KERNELS,
        default="auto",
        help="jit needs numba; auto uses it if it is installed (default auto)",
    )


#: Field of SamplingSettings -> letter that stands for its value, and its meaning.
_SAMPLING = {
    "temperature": ("T", "0 always takes the likeliest token"),
    "top_k": ("K", "keep the K likeliest tokens; 0 keeps all"),
    "top_p": ("P", "keep the fewest tokens that reach probability P; 1 keeps all"),
    "min_p": ("M", "drop tokens below M times the likeliest; 0 drops none"),
    "repeat_penalty": ("R", "make the last 64 tokens less likely; 1 is off"),
}


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """Options for how the next token is chosen; the defaults are those of SamplingSettings."""
    from llama_edu.transformer.sampling import SamplingSettings

    for name, (letter, meaning) in _SAMPLING.items():
        default = getattr(SamplingSettings, name)
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=type(default),
            default=default,
            metavar=letter,
            help=f"{meaning} (default {default:g})",
        )
    parser.add_argument("--seed", type=int, metavar="S", help="same seed, same text")


def sampling_settings(args: argparse.Namespace) -> SamplingSettings:
    """SamplingSettings from the arguments of add_sampling."""
    from llama_edu.transformer.sampling import SamplingSettings

    return SamplingSettings(**{name: getattr(args, name) for name in _SAMPLING})
