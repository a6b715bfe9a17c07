"""The direction of imports, read from the source itself, and what a bare import loads."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import llama_edu

PACKAGE = Path(llama_edu.__file__).parent
MODULES = {
    "llama_edu." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def imports_of(path: Path, *, at_import: bool = False) -> set[str]:
    """Every module that a file imports; with at_import only those outside functions."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and at_import:
                continue
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                continue
            if isinstance(child, ast.Import):
                found.update(alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{path}: a relative import"
                found.add(child.module or "")
                for alias in child.names:
                    if f"{child.module}.{alias.name}" in MODULES:
                        found.add(f"{child.module}.{alias.name}")
            visit(child)

    visit(ast.parse(path.read_text("utf-8")))
    return found


def ours(path: Path) -> set[str]:
    """Modules of this package that a file imports, packages themselves left out."""
    return {name for name in imports_of(path) if name in MODULES}


def rooms(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imports_of(path) if name.startswith("llama_edu.")}


ABOVE = {
    "files": {"transformer", "pages", "show", "cli", "experiments", "llama", "compare", "bundled"},
    "transformer": {"pages", "show", "cli", "experiments", "llama", "compare", "bundled"},
    "pages": {"transformer", "show", "cli", "experiments", "llama", "compare", "bundled"},
    "errors": {"*"},
    "config": {
        "files", "transformer", "pages", "show", "cli", "experiments", "llama", "compare", "bundled"
    },
    "llama": {"pages", "show", "cli", "experiments"},
    "experiments": {"cli"},
    "show": {"cli"},
}  # fmt: skip


#: PageLab.plot hands its records to `show`, which it imports when it is called and not before.
CONVENIENCES = {"llama_edu.pages.lab": {"show"}}


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_downward(module):
    room = module.split(".")[1]
    forbidden = ABOVE.get(room, set()) - CONVENIENCES.get(module, set())
    found = rooms(MODULES[module]) - {room}
    assert not (found & forbidden) and not (forbidden == {"*"} and found), (
        f"{module} imports {sorted(found & forbidden or found)}"
    )


def test_a_convenience_is_not_imported_before_it_is_called():
    for module, above in CONVENIENCES.items():
        assert not {f"llama_edu.{room}" for room in above} & {
            ".".join(name.split(".")[:2]) for name in imports_of(MODULES[module], at_import=True)
        }


@pytest.mark.parametrize("module", ["llama_edu.transformer.kernels", "llama_edu.pages.arithmetic"])
def test_the_bottom_imports_nothing_of_ours_but_errors(module):
    assert ours(MODULES[module]) <= {"llama_edu.errors"}


@pytest.mark.parametrize("module", [m for m in MODULES if not m.startswith("llama_edu.show")])
def test_only_show_imports_what_draws(module):
    drawing = {"matplotlib", "ipywidgets", "IPython", "mpl_toolkits"}
    assert not {name.split(".")[0] for name in imports_of(MODULES[module])} & drawing


def test_no_module_imports_itself_round_in_a_circle():
    graph = {
        name: imports_of(path, at_import=True) & set(MODULES) for name, path in MODULES.items()
    }
    done: set[str] = set()

    def walk(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above, name))
        if name not in done:
            for other in graph[name]:
                walk(other, (*above, name))
            done.add(name)

    for name in graph:
        walk(name, ())


def loaded_after(program: str) -> set[str]:
    """Every module in a fresh Python after this program."""
    program += "; import sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


#: What a reader would wait for at import, and may never need.
HEAVY = {
    "sentencepiece", "tokenizers", "numba", "llvmlite", "torch", "gguf", "safetensors",
    "matplotlib", "IPython", "ipywidgets", "tqdm", "threadpoolctl",
    "argparse", "concurrent.futures", "html", "importlib.metadata", "multiprocessing",
    "numpy.random",
}  # fmt: skip


def test_a_bare_import_loads_none_of_the_rooms():
    loaded = loaded_after("import llama_edu")
    assert not loaded & (HEAVY | {"dataclasses", "pathlib"})
    assert {m for m in loaded if m.startswith("llama_edu")} == {"llama_edu"}


def test_the_front_door_loads_nothing_heavy_and_no_reader():
    """Not even of the vocabularies: each format's reader is imported when such a file is opened."""
    loaded = loaded_after("from llama_edu import load")
    assert not loaded & HEAVY
    readers = {f"llama_edu.files.{n}" for n in ("gguf", "ggml", "pth", "safetensors", "llama2c")}
    assert not loaded & readers
    assert "llama_edu.transformer.matmul_jit" not in loaded


def test_every_public_name_is_there_at_its_first_use():
    for name in llama_edu.__all__:
        assert name in dir(llama_edu)
        program = f"from llama_edu import {name} as found; import llama_edu; "
        loaded_after(program + f"assert found is llama_edu.{name} is vars(llama_edu)[{name!r}]")
    assert loaded_after("from llama_edu import *; load, Llama, bundled_checkpoint")
    with pytest.raises(AttributeError, match="module 'llama_edu' has no attribute 'lode'"):
        _ = llama_edu.lode


def test_the_names_for_type_checkers_are_the_names_at_run_time():
    source = ast.parse((PACKAGE / "__init__.py").read_text("utf-8"))
    (block,) = (node for node in source.body if isinstance(node, ast.If))
    homes = {alias.name: node.module for node in block.body for alias in node.names}
    assert homes == llama_edu._HOMES and sorted(homes) == llama_edu.__all__


def test_nothing_of_pages_is_loaded_by_generating():
    program = (
        "import llama_edu, llama_edu.cli, sys; "
        "print([m for m in sys.modules if m.startswith(('llama_edu.pages', 'llama_edu.show'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_no_module_is_longer_than_a_sitting():
    lengths = {m: len(p.read_text("utf-8").splitlines()) for m, p in MODULES.items()}
    assert {m: n for m, n in lengths.items() if n > 420} == {}
