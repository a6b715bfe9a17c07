"""llama-edu pages: exactly which pages of the file did these tokens need?"""

from __future__ import annotations

import argparse

HELP = "measure which pages of the file a text needs"
DESCRIPTION = (
    "Generate while watching the file's pages: pages touched per tensor, the verdict on that\n"
    "number, and for comparison the result of counting page faults."
)
EXAMPLE = """\
llama-edu convert stories stories.ggjt
llama-edu pages stories.ggjt --prompt "Once upon a time" --n-tokens 8 --per-token"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """FILE, what to generate, and which instrument."""
    from llama_edu.cli.arguments import add_sampling, add_stated

    parser.add_argument("file", metavar="FILE", nargs="?", help="one weight file, or a name")
    parser.add_argument("--tokenizer", metavar="FILE", help="for weights without a vocabulary")
    parser.add_argument("--prompt", default="", metavar="P", help="the beginning (default empty)")
    parser.add_argument(
        "--n-tokens", type=int, default=8, metavar="N", help="new tokens (default 8)"
    )
    add_sampling(parser)
    parser.add_argument(
        "--backend",
        default="auto",
        metavar="B",
        help="uffd, one-page, private-copy, mincore or faults "
        "(default: the best that passes calibration)",
    )
    parser.add_argument("--per-token", action="store_true", help="also print one line per token")
    parser.add_argument("--map", action="store_true", help="draw the pages, one line per tensor")
    parser.add_argument("--json", action="store_true", help="everything, as JSON")
    parser.add_argument(
        "--doctor",
        action="store_true",
        help="test every instrument of this machine with known pages",
    )
    add_stated(parser)


def run(args: argparse.Namespace) -> None:
    """Measure and print."""
    import dataclasses

    from llama_edu.cli.arguments import sampling_settings, stated
    from llama_edu.errors import RequestError
    from llama_edu.experiments.token_pages import observe_tokens
    from llama_edu.pages.doctor import examine
    from llama_edu.show.text.json_text import json_text
    from llama_edu.show.text.page_map import text_map

    if args.doctor:
        report = examine()
        print(json_text(dataclasses.asdict(report)) if args.json else report)
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
        stated=stated(args),
    )
    if args.json:
        print(json_text(_as_dict(observed)))
        return
    print(observed)
    if args.map and observed.whole.pages is not None:
        print(text_map(observed.whole))


def _as_dict(observed) -> dict[str, object]:
    """A TokenPages as plain values."""
    return {
        "text": observed.text,
        "n_prompt": observed.n_prompt,
        "n_new": observed.n_new,
        "whole": _record_as_dict(observed.whole),
        "steps": [
            {"text": step.text, "n_new_pages": n_new, **_record_as_dict(step.record)}
            for step, n_new in zip(observed.steps, observed.new_pages(), strict=True)
        ],
    }


def _record_as_dict(record) -> dict[str, object]:
    faults = record.plain_faults or record.faults
    return {
        "label": record.label,
        "backend": record.backend,
        "verdict": {"kind": record.verdict.kind, "reasons": list(record.verdict.reasons)},
        "page_size": record.page_size,
        "n_pages": record.n_pages,
        "n_touched": record.n_touched,
        "touched_bytes": record.touched_bytes,
        "file_bytes": record.file_bytes,
        "predicted_equals_measured": (
            None
            if record.predicted is None or record.pages is None
            else bool((record.predicted == record.pages).all())
        ),
        "faults": None if faults is None else {"minor": faults.minor, "major": faults.major},
        "naive_bytes": record.naive_bytes,
        "why_naive_is_wrong": record.why_naive_is_wrong,
        "elapsed_s": record.elapsed_s,
        "tensors": [
            {
                "name": row.name,
                "n_pages": row.n_pages,
                "n_touched": row.n_touched,
                "n_bytes": row.n_bytes,
                "touched_bytes": row.touched_bytes,
            }
            for row in (record.touched.by_tensor() if record.pages is not None else ())
        ],
    }
