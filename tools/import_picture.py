"""The structure of the package, read from its source: folders, files, and who imports whom.

    python tools/import_picture.py            # this clone
    python tools/import_picture.py OTHER      # another clone, to compare with

Imports inside functions and under TYPE_CHECKING count like all others. Only the public names that
`llama_edu/__init__` re-exports are left out. tests/test_imports.py checks the rules defined here.
"""

from __future__ import annotations

import argparse
import ast
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

PACKAGE = "llama_edu"

#: The lowest modules, which every module above them may import.
_GROUND = {"errors", "text", "html", "table", "config", "vocabulary", "rope"}

#: Module or folder directly under the package -> what it may import besides itself.
MAY_IMPORT: dict[str, set[str]] = {
    "text": set(),
    "errors": {"text"},
    "html": {"text"},
    "table": {"text"},
    "config": {"errors", "text"},
    "vocabulary": set(),
    "rope": {"errors", "config"},
    "bundled": {"errors"},
    "unsendable": {"errors"},
    "models": {"errors", "text", "table", "bundled"},
    "quants": {"errors"},
    "files": _GROUND | {"quants", "models"},
    "stated": {"errors", "config", "files"},
    "tokenizer": _GROUND | {"files", "unsendable"},
    "convert": _GROUND | {"quants", "models", "files", "stated"},
    "matmul": {"errors", "quants"},
    "transformer": _GROUND | {"quants", "matmul", "tokenizer", "unsendable"},
    "reconcile": _GROUND | {"quants", "files", "matmul", "transformer"},
    "pages": _GROUND | {"files"},
    "chat": _GROUND | {"files", "tokenizer", "transformer", "unsendable"},
    "llama": _GROUND
    | {"files", "stated", "tokenizer", "matmul", "transformer", "chat", "unsendable", "reconcile"},
    "loading": _GROUND
    | {"models", "files", "stated", "tokenizer", "matmul", "transformer", "llama"},
    "workers": _GROUND | {"models", "files", "stated", "matmul", "llama", "loading"},
    "quality": _GROUND
    | {"files", "stated", "tokenizer", "matmul", "transformer", "llama", "loading", "workers"},
    "slimmer": _GROUND
    | {"quants", "models", "files", "stated", "convert", "tokenizer", "matmul", "transformer",
       "pages", "llama", "loading", "workers", "quality"},
    "bench": _GROUND | {"files", "matmul", "transformer", "llama", "loading"},
    "compare": _GROUND | {"quants", "files", "stated", "llama", "loading", "reconcile"},
}  # fmt: skip
MAY_IMPORT["experiments"] = set(MAY_IMPORT)
MAY_IMPORT["show"] = set(MAY_IMPORT)
MAY_IMPORT["cli"] = {*MAY_IMPORT, "__init__"}  # the version
MAY_IMPORT["__main__"] = {"cli"}
MAY_IMPORT["__init__"] = {"show"}  # the magics, when %load_ext asks for them

#: Inside these folders: their layers from the bottom up. What is not listed lies below all of them,
#: and modules of one layer do not import each other.
FLOORS: dict[str, tuple[tuple[str, ...], ...]] = {
    "files": (
        ("vocabularies",), ("ggml", "gguf", "torch", "llama2c"), ("huggingface",),
        ("detect",), ("anatomy",),
    ),
    "show": (("text",), ("runtime",), ("story",), ("figures",), ("panels",), ("magics",)),
    "matmul": (
        ("product",), ("jit",), ("arithmetic",), ("auto",), ("choice",), ("__init__",),
    ),
    "pages": (("backends",), ("calibrate",), ("lab",), ("doctor",)),
}  # fmt: skip


def modules_of(root: Path) -> dict[str, Path]:
    """Dotted name -> file, of every module of the package in a clone; packages end in __init__."""
    package = root / PACKAGE
    return {
        ".".join((PACKAGE, *path.relative_to(package).with_suffix("").parts)): path
        for path in sorted(package.rglob("*.py"))
    }


def imports_of(path: Path) -> set[str]:
    """Every dotted name that a file imports, anywhere in it, with the modules of "from" imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found.add(node.module or "")
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def arrows_of(modules: Mapping[str, Path]) -> dict[str, set[str]]:
    """Module -> the modules of the package that it imports."""
    arrows: dict[str, set[str]] = {}
    for name, path in modules.items():
        found = imports_of(path)
        if name == f"{PACKAGE}.__init__":
            public = _under_type_checking(path)
            found = {f for f in found if f not in public}
        found |= {f"{f}.__init__" for f in found if _hands_on(f, found, modules)}
        arrows[name] = {f for f in found if f in modules} - {name}
    return arrows


def _hands_on(package: str, found: set[str], modules: Mapping[str, Path]) -> bool:
    """Whether a name is imported from a folder's own __init__, not from a module in it."""
    if f"{package}.__init__" not in modules:
        return False
    names = [f for f in found if f.rpartition(".")[0] == package]
    return any(f not in modules and f"{f}.__init__" not in modules for f in names)


def _under_type_checking(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for child in node.body:
                assert isinstance(child, ast.ImportFrom)
                found.add(child.module or "")
                found.update(f"{child.module}.{alias.name}" for alias in child.names)
    return found


def room_of(module: str) -> str:
    """The module or folder directly under the package in which a module lies."""
    return module.split(".")[1]


def upward(arrows: Mapping[str, set[str]]) -> list[str]:
    """The arrows that MAY_IMPORT or FLOORS forbid, as sentences."""
    wrong = []
    for module, others in arrows.items():
        for other in sorted(others):
            room, target = room_of(module), room_of(other)
            if room != target:
                allowed = target in MAY_IMPORT.get(room, set())
            else:
                allowed = not _climbs(room, module, other)
            if not allowed:
                wrong.append(f"{module} imports {other}")
    return wrong


def _climbs(room: str, module: str, other: str) -> bool:
    """Whether an arrow inside one folder goes up, or sideways, between its layers."""
    floors = FLOORS.get(room, ())

    def place(name: str) -> tuple[int, str]:
        part = name.split(".")[2]
        return next((i for i, floor in enumerate(floors) if part in floor), -1), part

    (a, part), (b, other_part) = place(module), place(other)
    return b > a or (a == b >= 0 and part != other_part)


def circles(arrows: Mapping[str, set[str]]) -> list[list[str]]:
    """Every group of two or more modules that import each other in a circle, directly or not."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in arrows.get(name, ()):
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            group = []
            while not group or group[-1] != name:
                group.append(stack.pop())
            if len(group) > 1:
                found.append(sorted(group))

    for name in arrows:
        if name not in index:
            visit(name)
    return found


def folder_arrows(arrows: Mapping[str, set[str]]) -> dict[str, Counter[str]]:
    """Folder (or single module under the package) -> how many arrows lead to which other."""
    between: dict[str, Counter[str]] = defaultdict(Counter)
    for module, others in arrows.items():
        for other in others:
            a, b = folder_of(module), folder_of(other)
            if a != b:
                between[a][b] += 1
    return dict(between)


def folder_of(module: str) -> str:
    """The folder in which a module lies; a module directly under the package is its own."""
    parts = module.split(".")[1:]
    return ".".join(parts[:-1]) if len(parts) > 1 else parts[0]


def files_per_folder(modules: Iterable[str]) -> Counter[str]:
    """Folder -> files in it; the package's own folder is "."."""
    return Counter(".".join(name.split(".")[1:-1]) or "." for name in modules)


def main() -> None:
    """Print the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    here = Path(__file__).resolve().parents[1]
    parser.add_argument("root", nargs="?", type=Path, default=here, help="a clone (default: this)")
    root = parser.parse_args().root
    modules = modules_of(root)
    arrows = arrows_of(modules)
    between = folder_arrows(arrows)
    counts = files_per_folder(modules)
    lines = {name: len(path.read_text("utf-8").splitlines()) for name, path in modules.items()}
    print(f"{'folder':22s}{'files':>6s}{'lines':>8s}  imports (arrows)")
    for folder in sorted(counts):
        inside = [n for n in modules if (".".join(n.split(".")[1:-1]) or ".") == folder]
        to = between.get(folder, Counter())
        if folder == ".":
            to = sum((between.get(folder_of(n), Counter()) for n in inside), Counter())
        shown = ", ".join(f"{name} {n}" for name, n in sorted(to.items()))
        print(f"{folder:22s}{counts[folder]:6d}{sum(lines[n] for n in inside):8,d}  {shown}")
    wrong, rings = upward(arrows), circles(arrows)
    folder, n = counts.most_common(1)[0]
    longest = max(lines, key=lambda name: lines[name])
    print(f"\n{len(modules)} files, {sum(map(len, arrows.values()))} arrows")
    print(
        f"circles between files: {len(rings)}", *(" <-> ".join(ring) for ring in rings), sep="\n  "
    )
    print(f"upward arrows: {len(wrong)}", *wrong, sep="\n  ")
    print(f"largest folder: {folder}, {n} files; longest file: {longest}, {lines[longest]} lines")


if __name__ == "__main__":
    main()
