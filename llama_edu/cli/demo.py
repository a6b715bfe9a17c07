"""llama-edu demo: convert, map and generate once, with the bundled checkpoint."""

from __future__ import annotations

import argparse
import sys

HELP = "convert the bundled checkpoint, map it, write a story"
DESCRIPTION = (
    "Convert the bundled checkpoint of two shards into one file, map the file, write a story from "
    "it, and report what was mapped, what was copied and how long it took."
)
EXAMPLE = 'llama-edu demo --prompt "One day a small fox" --seed 3'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The prompt and how to choose tokens."""
    from llama_edu.cli.arguments import add_sampling

    parser.add_argument("--prompt", default="Once upon a time", metavar="P", help="the beginning")
    parser.add_argument(
        "--n-tokens",
        type=int,
        default=400,
        metavar="N",
        help="the largest number of new tokens (default 400)",
    )
    add_sampling(parser)
    parser.set_defaults(seed=1)


def run(args: argparse.Namespace) -> None:
    """Convert, map, write, count."""
    import tempfile
    from pathlib import Path

    from llama_edu.bundled import bundled_checkpoint
    from llama_edu.cli.arguments import sampling_settings
    from llama_edu.cli.streams.stdout import for_output
    from llama_edu.convert import convert
    from llama_edu.loading import load

    settings = sampling_settings(args)
    source = bundled_checkpoint()
    with tempfile.TemporaryDirectory(prefix="llama-edu-") as folder:
        destination = Path(folder) / "stories.ggjt"
        print(
            "1. convert: two .pth shards in Meta's layout of 2023 into one file that can be mapped"
        )
        done = convert(source, destination, to="ggjt-v1", type="keep")
        print(
            f"   {done.n_tensors} tensors of {done.n_bytes:,} bytes, "
            f"{done.elapsed_s * 1e3:.0f} ms; {done.joined_bytes:,} bytes joined from both shards\n"
        )
        with load(source) as before:
            copied = before.loading
        with load(destination) as llama:
            mapped = llama.loading
            print("2. load, both ways")
            print(
                f"   the two shards: {copied.copied_bytes:,} bytes copied to join them, "
                f"{copied.elapsed_s * 1e3:.1f} ms"
            )
            print(
                f"   the one file:   {destination.stat().st_size:,} bytes mapped, "
                f"{mapped.mapped_bytes:,} of them weights; {mapped.copied_bytes:,} copied, "
                f"{mapped.elapsed_s * 1e3:.1f} ms\n"
            )
            print("3. write, straight from the file's pages\n")
            generation = llama.generate_tokens(args.prompt, args.n_tokens, settings, seed=args.seed)
            sys.stdout.write(for_output(args.prompt))
            for token in generation:
                sys.stdout.write(for_output(token.text))
                sys.stdout.flush()
            print(
                f"\n\n   {generation.n_new} tokens, {generation.tokens_per_s:.0f} tokens/s; "
                f"the prompt's {generation.n_prompt} tokens took "
                f"{generation.prefill_s * 1e3:.0f} ms"
            )
    print(
        "\nNext: make lab opens the notebooks; llama-edu generate --help writes your own stories."
    )
