"""Arguments that several commands share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from llama_edu.llama import Llama
    from llama_edu.matmul.arithmetic import ArithmeticChoice
    from llama_edu.stated import Stated
    from llama_edu.transformer.sampling import SamplingSettings


def add_file(parser: argparse.ArgumentParser, nargs: Literal["?"] | None = None) -> None:
    """FILE, which is a path or a name; with nargs "?", it may be left out."""
    parser.add_argument(
        "file",
        metavar="FILE",
        nargs=nargs,
        help="a weight file, a folder with weights, or a name (see: llama-edu models)",
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """FILE and --tokenizer."""
    add_file(parser)
    parser.add_argument(
        "--tokenizer",
        metavar="FILE",
        help="tokenizer.model or tokenizer.bin, for weights without a vocabulary",
    )


def add_no_mmap(parser: argparse.ArgumentParser) -> None:
    """--no-mmap, which becomes `mmap`: whether the weights are mapped."""
    parser.add_argument(
        "--no-mmap",
        action="store_false",
        dest="mmap",
        help="read the weights into memory and map nothing: for files that cannot be mapped, or "
        "that may change meanwhile",
    )


#: Field of Stated -> letter of its value, its type, and its meaning.
_STATED = {
    "context": ("N", int, "positions that the model can hold"),
    "rope_theta": ("T", float, "base of RoPE's wavelengths"),
    "rope_factor": ("F", float, "by how much RoPE's rotations are stretched; 1 is not at all"),
    "norm_eps": ("E", float, "what RMSNorm adds to the mean square"),
}


def add_stated(parser: argparse.ArgumentParser, *, without: tuple[str, ...] = ()) -> None:
    """--context, --rope-theta, --rope-factor and --norm-eps, for what a file cannot say.

    `without` names those for which a command has another use.
    """
    group = parser.add_argument_group("instead of what the file says, or where it says nothing")
    for name, (letter, kind, meaning) in _STATED.items():
        if name not in without:
            option = f"--{name.replace('_', '-')}"
            group.add_argument(
                option, dest=f"stated_{name}", type=kind, metavar=letter, help=meaning
            )


def stated(args: argparse.Namespace) -> Stated:
    """What the arguments of add_stated say."""
    from llama_edu.stated import Stated

    return Stated(**{name: getattr(args, f"stated_{name}", None) for name in _STATED})


def add_speed(parser: argparse.ArgumentParser, *, arithmetic: ArithmeticChoice = "auto") -> None:
    """--threads, --kernels and --arithmetic, which `speed` gives to load().

    `arithmetic` is the default; what measures has "float32".
    """
    from llama_edu.matmul import KERNELS
    from llama_edu.matmul.arithmetic import ARITHMETIC_CHOICES

    parser.add_argument(
        "--threads", type=int, metavar="N", help="cores to use (default: all that are allowed)"
    )
    parser.add_argument(
        "--kernels",
        choices=KERNELS,
        default="auto",
        help="jit needs numba; auto uses it if it is installed (default auto)",
    )
    parser.add_argument(
        "--arithmetic",
        choices=ARITHMETIC_CHOICES,
        default=arithmetic,
        help="int8 rounds what quantized weights are multiplied by, as llama.cpp does; with jit it "
        "is faster if the processor has instructions for it, and auto takes it then (see: "
        "llama-edu inspect --machine). Logits change by a hundredth or more, so that texts part; "
        "over 1,000 tokens of two models it cost less than 0.01 nats per token (measure yours: "
        "llama-edu experiment arithmetic --file FILE --text-file F). float32 is the exact product, "
        "with or without jit. int4 rounds to 4 bits as in March 2023, and is no faster "
        f"(default {arithmetic})",
    )


def speed(args: argparse.Namespace) -> dict[str, Any]:
    """What the arguments of add_speed say, as load() takes it."""
    return {"threads": args.threads, "kernels": args.kernels, "arithmetic": args.arithmetic}


def say_if_rounded(llama: Llama, asked: ArithmeticChoice) -> None:
    """Say on stderr, in a line, that "auto" became something else than the exact product."""
    import sys

    if asked == "auto" and llama.arithmetic != "float32":
        print(
            f"llama-edu: {llama.arithmetic} arithmetic, which rounds as llama.cpp does; "
            f"--arithmetic float32 for the exact product",
            file=sys.stderr,
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


def read_text(name: str) -> str:
    """The UTF-8 text of a file, or of standard input for "-". A mark at its beginning is dropped.

    Raises:
        RequestError: it cannot be read, or it is not UTF-8.
    """
    import sys

    from llama_edu.errors import RequestError
    from llama_edu.tokenizer.text_file import decoded, read_text_file

    if name != "-":
        return read_text_file(name)
    if sys.stdin is None:
        raise RequestError("standard input: is closed, expected a text")
    if sys.stdin.isatty():
        print("llama-edu: type the text, and Ctrl+D at its end", file=sys.stderr)
    try:
        data = sys.stdin.buffer.read()
    except OSError as error:
        raise RequestError(f"standard input: cannot be read ({error.strerror})") from None
    return decoded(data, "standard input")
