"""The direction of imports, read from the source itself, and what a bare import loads."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import import_picture
import pytest

import llama_edu

PACKAGE = Path(llama_edu.__file__).parent
MODULES = import_picture.modules_of(PACKAGE.parent)
ARROWS = import_picture.arrows_of(MODULES)

#: Files in one folder beyond which it holds more than one idea.
MOST_FILES = 15


def test_imports_point_downward():
    """Between the parts of the package, and between the floors of each; in functions as well."""
    assert import_picture.upward(ARROWS) == []


def test_every_part_of_the_package_has_its_place_in_the_table():
    assert {import_picture.room_of(m) for m in MODULES} == set(import_picture.MAY_IMPORT)


def test_no_module_imports_itself_round_in_a_circle():
    assert import_picture.circles(ARROWS) == []


@pytest.mark.parametrize(
    ("arrow", "forbidden"),
    [
        ("pages.lab", "transformer.model"),
        ("pages.record", "show.figures.page_map"),
        ("experiments.illusion", "show.text.report"),
        ("transformer.model", "files.layout"),
        ("files.ggml.reader", "files.torch.pth"),
        ("files.layout", "files.detect"),
        ("show.figures.grid", "show.panels.studio"),
        ("config", "files.layout"),
    ],
)
def test_an_arrow_upward_would_be_noticed(arrow, forbidden):
    arrows = {f"llama_edu.{arrow}": {f"llama_edu.{forbidden}"}}
    assert import_picture.upward(arrows) == [f"llama_edu.{arrow} imports llama_edu.{forbidden}"]


def test_an_import_inside_a_function_counts_and_closes_a_circle(tmp_path):
    package = tmp_path / "llama_edu"
    package.mkdir()
    (package / "one.py").write_text("def f():\n    from llama_edu import two\n")
    (package / "two.py").write_text("if True:\n    from llama_edu.one import f\n")
    modules = import_picture.modules_of(tmp_path)
    rings = import_picture.circles(import_picture.arrows_of(modules))
    assert rings == [["llama_edu.one", "llama_edu.two"]]


def test_no_folder_holds_more_than_one_idea():
    counts = import_picture.files_per_folder(MODULES)
    assert {folder: n for folder, n in counts.items() if n > MOST_FILES} == {}


@pytest.mark.parametrize("module", ["llama_edu.transformer.kernels", "llama_edu.pages.arithmetic"])
def test_the_bottom_imports_nothing_of_ours_but_errors(module):
    assert ARROWS[module] <= {"llama_edu.errors"}


@pytest.mark.parametrize("module", [m for m in MODULES if not m.startswith("llama_edu.show")])
def test_only_show_imports_what_draws(module):
    drawing = {"matplotlib", "ipywidgets", "IPython", "mpl_toolkits"}
    found = import_picture.imports_of(MODULES[module])
    assert not {name.split(".")[0] for name in found} & drawing


def loaded_after(program: str) -> set[str]:
    """Every module in a fresh Python after this program."""
    program += "; import sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


#: numpy before 2 loads more of itself, and of the standard library.
OF_NUMPY = loaded_after("import numpy")

#: What a reader would wait for at import, and may never need.
HEAVY = {
    "sentencepiece", "tokenizers", "numba", "llvmlite", "torch", "gguf", "safetensors",
    "matplotlib", "IPython", "ipywidgets", "tqdm", "threadpoolctl",
    "argparse", "concurrent.futures", "html", "importlib.metadata", "multiprocessing",
    "numpy.random",
} - OF_NUMPY  # fmt: skip


def test_a_bare_import_loads_none_of_the_rooms():
    loaded = loaded_after("import llama_edu")
    assert not loaded & (HEAVY | {"dataclasses", "pathlib"})
    assert {m for m in loaded if m.startswith("llama_edu")} == {"llama_edu"}


def test_the_front_door_loads_nothing_heavy_and_no_reader():
    """Not even of the vocabularies: each format's reader is imported when such a file is opened."""
    loaded = loaded_after("from llama_edu import load")
    assert not loaded & HEAVY
    readers = {f"llama_edu.files.{n}" for n in ("gguf", "ggml", "torch", "huggingface", "llama2c")}
    assert not loaded & readers
    assert "llama_edu.matmul.jit.product" not in loaded


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


#: The definition of the model, step after step: to be read beside the formulas, from top to bottom.
WHOLE = {"llama_edu.reconcile.float64.steps", "llama_edu.reconcile.referees.torch_by_hand._steps"}


def test_no_function_holds_more_than_one_idea():
    """At most 60 lines without the docstring."""
    lengths = {}
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef):
                first = node.body[1 if ast.get_docstring(node) and len(node.body) > 1 else 0]
                signature = node.body[0].lineno - node.lineno
                lengths[f"{module}.{node.name}"] = node.end_lineno - first.lineno + 1 + signature
    assert lengths.keys() >= WHOLE
    assert {name: n for name, n in lengths.items() if n > 60 and name not in WHOLE} == {}
