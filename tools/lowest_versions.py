"""The lowest versions that pyproject.toml declares, as pip's constraints.

    python tools/lowest_versions.py [--extra NAME ...] > lowest.txt
    pip install -e '.[test]' --constraint lowest.txt

A lower bound that is never installed is a guess: `make test-lowest` runs the unit tests with these
versions. Only `==` and `>=` give a lowest version; a requirement with neither is an error.
"""

from __future__ import annotations

import argparse
import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_EXTRAS = re.compile(r"\[([^\]]*)\]")
_LOWEST = re.compile(r"(?:==|>=)\s*([0-9][0-9a-z.]*)")


def lowest_versions(pyproject: str, extras: Iterable[str]) -> dict[str, str]:
    """Name -> lowest version, of the dependencies and of these extras with those that they include.

    Args:
        pyproject: the text of a pyproject.toml.
        extras: names under project.optional-dependencies.

    Raises ValueError for a requirement without a lowest version, or with two different ones;
    KeyError for an unknown extra.
    """
    project = tomllib.loads(pyproject)["project"]
    found: dict[str, str] = {}
    for requirement in _requirements(project, list(extras)):
        name, version = _pinned(requirement)
        if found.setdefault(name, version) != version:
            raise ValueError(f"{name}: {found[name]} and {version}, expected one lowest version")
    return found


def _requirements(project: dict, extras: list[str]) -> Iterator[str]:
    """The dependencies, then each extra once; a project's own name stands for its extras."""
    yield from project["dependencies"]
    seen = set()
    while extras:
        extra = extras.pop()
        if extra in seen:
            continue
        seen.add(extra)
        for requirement in project["optional-dependencies"][extra]:
            if _NAME.match(requirement)[0] == project["name"]:
                extras += _EXTRAS.search(requirement)[1].replace(" ", "").split(",")
            else:
                yield requirement


def _pinned(requirement: str) -> tuple[str, str]:
    """A requirement's name and its lowest version; what follows `;` is a marker."""
    name = _NAME.match(requirement)[0]
    version = _LOWEST.search(requirement.partition(";")[0])
    if version is None:
        raise ValueError(f"{requirement}: no lowest version, expected {name}>=VERSION")
    return name, version[1]


def main() -> None:
    """Print the constraints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--extra", action="append", default=[], help="also the needs of this extra")
    parser.add_argument("--pyproject", type=Path, default=ROOT / "pyproject.toml")
    args = parser.parse_args()
    for name, version in sorted(
        lowest_versions(args.pyproject.read_text("utf-8"), args.extra).items()
    ):
        print(f"{name}=={version}")


if __name__ == "__main__":
    main()
