"""llama-edu models: which models can be given by name?"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llama_edu.models.listing import ListedModel

HELP = "list the models that can be given by name"
DESCRIPTION = (
    "List the models that can be given by name in the place of a path: those with a short name,\n"
    "and those in the Hugging Face hub's cache. With NAME, say where one of them is, or which\n"
    "models a repository on the hub holds; nothing is downloaded."
)
EXAMPLE = "llama-edu models smollm2"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """NAME, --check, --json."""
    parser.add_argument(
        "name", metavar="NAME", nargs="?", help="a name, or org/name of a repository on the hub"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="compare every byte of the named model with its published hash",
    )
    parser.add_argument("--json", action="store_true", help="the list, as JSON")


def run(args: argparse.Namespace) -> None:
    """Print the list, or what is known of one name."""
    import dataclasses

    from llama_edu.errors import RequestError
    from llama_edu.models.known import KNOWN, known_model
    from llama_edu.models.listing import known_models, models_in_cache
    from llama_edu.show.text.json_text import json_text

    known = known_model(args.name or "")
    if args.check:
        if known is None:
            names = ", ".join(model.name for model in KNOWN)
            raise RequestError(f"--check: needs the name of a known model, one of {names}")
        path = known.check()
        how = "has no published hash to compare with" if known.sha256 is None else "is undamaged"
        print(f"{path}: {how}")
        return
    if args.name is not None and known is None:
        _print_repository(args.name, as_json=args.json)
        return
    named = [m for m in known_models() if args.name in (None, m.name)]
    in_cache = models_in_cache() if args.name is None else []
    if args.json:
        both = {"named": named, "hub_cache": in_cache}
        print(json_text({key: [dataclasses.asdict(m) for m in both[key]] for key in both}))
        return
    _print_named(named)
    if args.name is None:
        _print_cache(in_cache)


def _print_named(named: Sequence[ListedModel]) -> None:
    from llama_edu.table import lay_out, mib

    rows = [(m.name, mib(m.n_bytes), m.license, m.what) for m in named]
    print(lay_out(("name", "MiB", "license", "what it is"), rows, "<><"))
    print()
    print(lay_out(None, [(m.name, m.path or m.problem or _not_here(m)) for m in named], "<"))


def _not_here(model: ListedModel) -> str:
    return f"not here; get it with: {model.how_to_get}"


def _print_cache(in_cache: Sequence[ListedModel]) -> None:
    from llama_edu.models.hub_cache import cache_folder
    from llama_edu.table import lay_out, mib

    print(f"\nThe Hugging Face hub's cache, {cache_folder()}:")
    if not in_cache:
        print("  holds no model; load org/name or hf://org/name/file.gguf to download one")
        return
    rows = [(m.name, mib(m.n_bytes), m.problem or m.path) for m in in_cache]
    print(lay_out(("name", "MiB", "path"), rows, "<><", indent="  "))


def _print_repository(name: str, *, as_json: bool) -> None:
    """List what a repository on the hub offers."""
    import dataclasses

    from llama_edu.errors import RequestError
    from llama_edu.models.hub import files_of, offers
    from llama_edu.models.reference import is_explicit, parse, parse_name
    from llama_edu.models.weight_sets import weight_sets
    from llama_edu.show.text.json_text import json_text
    from llama_edu.text import quoted

    reference = parse(name) if is_explicit(name) else parse_name(name)
    if reference is None:
        raise RequestError(
            f"{quoted(name)}: is no known name, and no name on the hub, which has the form org/name"
        )
    sizes = files_of(reference)
    found = offers(reference, weight_sets(sizes), sizes)
    if as_json:
        models = [dataclasses.asdict(offer) for offer in found]
        print(json_text({"repository": reference.repository, "models": models, "files": sizes}))
        return
    print(f"{reference} has {len(sizes)} files; the models among them: {len(found)}")
    for offer in found:
        print(f"  {offer}")
