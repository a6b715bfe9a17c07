"""llama-edu convert: any readable checkpoint into one file that can be mapped."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

HELP = "write a checkpoint as one file that can be mapped"
DESCRIPTION = (
    "Write a checkpoint in another format, tensor by tensor; DST appears when it is complete."
)
EXAMPLE = "llama-edu convert stories stories.ggjt --to ggjt-v1 --type f16"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """SRC, DST, the format, the type, the layout and what may be lost."""
    from llama_edu.cli.arguments import add_stated
    from llama_edu.convert.output_formats import OUTPUT_FORMATS
    from llama_edu.convert.planning import TYPES

    parser.add_argument("source", metavar="SRC", help="a weight file, a folder, or a name")
    parser.add_argument(
        "destination", metavar="DST", help="the file to write (safetensors: a folder)"
    )
    parser.add_argument("--to", default="ggjt-v1", choices=OUTPUT_FORMATS, help="(default ggjt-v1)")
    parser.add_argument(
        "--type",
        default="keep",
        choices=TYPES,
        help="type of the matrices (default keep); from q2_k on, rows of a multiple of 256 numbers",
    )
    parser.add_argument(
        "--shards",
        type=int,
        default=1,
        metavar="N",
        help="split into N files, as for N GPUs (ggml and ggmf only)",
    )
    parser.add_argument("--tokenizer", metavar="FILE", help="for a source without a vocabulary")
    parser.add_argument(
        "--allow-requantize",
        action="store_true",
        help="allow one quantized type to become another; the loss is reported",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="give a key of a GGUF file this value; may be repeated",
    )
    parser.add_argument(
        "--drop",
        action="append",
        default=[],
        metavar="KEY",
        help="do not carry this key of the source; may be repeated",
    )
    _add_exceptions(parser)
    add_stated(parser)


def _add_exceptions(parser: argparse.ArgumentParser) -> None:
    """What lies in another way, or has another type, than the rest."""
    from llama_edu.convert.planning import TYPES
    from llama_edu.files.layout import LAYOUTS

    parser.add_argument(
        "--layout",
        default="rows",
        choices=LAYOUTS,
        help="how the feed-forward lies; others than rows are read by this program alone (gguf "
        "only)",
    )
    parser.add_argument(
        "--hot-first",
        metavar="TEXT",
        help="put the hidden neurons first that most tokens of this UTF-8 text need (gguf only)",
    )
    parser.add_argument(
        "--down-type",
        default="keep",
        choices=TYPES,
        help="type of w_down alone, which other layouts and orders quantize again (default keep)",
    )
    parser.add_argument(
        "--embedding-type",
        default="keep",
        choices=TYPES,
        help="type of the token embedding alone (default keep: as the other matrices)",
    )


def run(args: argparse.Namespace) -> None:
    """Convert and print what was done."""
    from llama_edu.cli.arguments import stated
    from llama_edu.cli.streams.progress import progress_bar
    from llama_edu.convert import convert
    from llama_edu.convert.keys import assigned

    order = None if args.hot_first is None else _hot_first(args)
    with progress_bar("converting", "B") as progress:
        done = convert(
            args.source,
            args.destination,
            to=args.to,
            type=args.type,
            shards=args.shards,
            tokenizer=args.tokenizer,
            allow_requantize=args.allow_requantize,
            set_keys=assigned(args.set),
            drop_keys=args.drop,
            progress=progress,
            stated=stated(args),
            layout=args.layout,
            order=order,
            down_type=args.down_type,
            embedding_type=args.embedding_type,
        )
    print(done)


def _hot_first(args: argparse.Namespace) -> np.ndarray:
    """(n_layers, hidden_dim) int64: the order that the text asks for, computed with the source."""
    import numpy as np

    from llama_edu.cli.arguments import stated
    from llama_edu.cli.streams.progress import progress_bar
    from llama_edu.loading import load
    from llama_edu.slimmer.hot_cold import hot_and_cold
    from llama_edu.slimmer.texts import texts_for

    with load(
        args.source,
        tokenizer=args.tokenizer,
        kernels="numpy",
        arithmetic="float32",
        **vars(stated(args)),
    ) as llama:
        texts = texts_for(llama, args.hot_first)
        pieces = [*texts.scored, *texts.calibration]
        n_tokens = sum(map(len, pieces))
        with progress_bar("asking each token", "token") as show:
            found = hot_and_cold(llama.model, pieces, progress=lambda n: show(n, n_tokens))
    return np.stack(found.hot_first())
