"""Every text that a stranger can choose, on everything that people look at: shown, never obeyed."""

from __future__ import annotations

import json
import re
import sys
import traceback
import unicodedata
from pathlib import Path

import pytest
from helpers.hostile_text import EVIL, SOURCES, TOKENS

import llama_edu
from llama_edu.errors import LlamaEduError
from llama_edu.files.detect import open_checkpoint
from llama_edu.files.layout import TensorSpec
from llama_edu.show.figures.formats.alignment import alignment_figure
from llama_edu.show.figures.needs import needs_figure
from llama_edu.show.panels.steps import StepsPanel
from llama_edu.show.text.museum import museum

#: Sources whose text no command shows: it is carried as it is, or only counted.
NOT_SHOWN = ("storage name of legacy pth", "magic of ggml", "tokenizer config json",
             "added tokens json")  # fmt: skip

#: How the text looks where it may be looked at: its first escape, whoever wrote it.
SHOWN = re.compile(r"\\x1b|\\u001b|\\u202e|\\x9b|\\r|\\udc9b")


#: For llama-edu bench.
_QUICK = ("--kernels", "numpy", "-p", "2", "-n", "0", "-r", "1")


def obeyed(text: str, kept: str = "\n") -> list[str]:
    """The characters of a text that a terminal could obey, or that turn its direction."""
    forbidden = {"Cc", "Cs", "Co", "Cn", "Zl", "Zp"}
    found = {c for c in set(text) - set(kept) if unicodedata.category(c) in forbidden}
    marks = {c for c in set(text) if unicodedata.category(c) == "Cf"} - set("\u00ad\u200c\u200d")
    return sorted(map(ascii, found | marks))


def commands(model) -> dict[str, list[object]]:
    """The command lines that show something of a model."""
    own = ["--tokenizer", model.tokenizer] if model.tokenizer else []
    fast = ["--kernels", "numpy", "--temperature", "1.5", "--seed", "4", "--n-tokens", "5"]
    path, out = model.path, Path(model.path).parent / model.name
    found = {
        "inspect": ["inspect", path, "--tensors", "--metadata"],
        "inspect --hex": ["inspect", path, "--hex", "4000"],
        "inspect --json": ["inspect", path, "--json"],
        "tokenize": ["tokenize", path, model.prompt, *own],
        "generate": ["generate", path, "--prompt", model.prompt, *own, *fast],
        "generate --no-mmap": ["generate", path, "--no-mmap", *own, *fast],
        "generate --ids": ["generate", path, "--ids", *own, *fast],
        "logits": ["logits", path, "--tokens", TOKENS, "--out", f"{out}.npy"],
        "logits --text": ["logits", path, "--text", model.prompt, "--out", f"{out}.npy", *own],
        "perplexity": ["perplexity", path, "--text-file", f"{out}.txt", "--context", "5", *own],
        "perplexity of nothing": ["perplexity", path, "--text-file", f"{out}-none", *own],
        "bench": ["bench", path, *_QUICK],
        "bench --json": ["bench", path, "--json", *_QUICK],
        "compare": ["compare", path, path],
        "compare on a text": [
            "compare",
            path,
            path,
            "--text-file",
            f"{out}.txt",
            "--context",
            "5",
            *own,
        ],
        "compare --steps": ["compare", path, path, "--steps"],
        "trace": ["trace", path, "--text", model.prompt, "--out", f"{out}.npz", *own],
        "trace of nothing": ["trace", path, "--text", "a", "--names", model.name, *own],
        "experiment reconcile": ["experiment", "reconcile", "--file", path],
        "experiment --json": ["experiment", "reconcile", "--file", path, "--json"],
        "convert to gguf": ["convert", path, f"{out}.gguf", "--to", "gguf", *own, *model.options],
        "convert to ggjt": ["convert", path, f"{out}.ggjt", "--type", "f16", *own],
        "convert to a folder": ["convert", path, f"{out}-folder", "--to", "safetensors", *own],
        "a wrong command": ["inspect", path, "--metadata", str(path)],
        "a wrong choice": ["convert", path, out, "--to", str(path)],
    }
    if sys.platform == "linux":
        watched = ["--backend", "mincore", "--n-tokens", "2", "--prompt", model.prompt, *own]
        found |= {
            "pages": ["pages", path, "--per-token", "--map", *watched],
            "pages --json": ["pages", path, "--json", *watched],
            "residency": ["residency", path],
            "experiment": ["experiment", "sparse-parts", "--file", path],
        }
    return found


@pytest.mark.parametrize("source", SOURCES)
def test_no_command_hands_on_what_a_terminal_obeys(tmp_path, run_cli, monkeypatch, source):
    model = SOURCES[source](tmp_path)
    Path(f"{tmp_path / model.name}.txt").write_bytes(model.story.encode())
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    seen = False
    for name, arguments in commands(model).items():
        try:
            code, out, err = run_cli(*arguments)
        except SystemExit as ended:  # argparse
            code, out, err = ended.code, "", ""
        said = out + err
        assert code in (0, 1, 2), (name, said)
        assert not obeyed(said), (name, obeyed(said), said)
        assert "Traceback" not in said
        if "json" in name and code == 0:
            json.loads(out)
        seen = seen or bool(SHOWN.search(said))
    assert seen or source in NOT_SHOWN, "the text of the source was shown nowhere"


def python_surfaces(model):
    """Everything that a notebook or a traceback shows of a model: (name, text, is HTML)."""
    try:
        checkpoint, files = open_checkpoint(model.path)
    except LlamaEduError as error:
        yield "error", str(error), False
        yield "traceback", "".join(traceback.format_exception(error)), False
        return
    for one in (checkpoint, *checkpoint.tensors.values()):
        yield f"repr of {type(one).__name__}", repr(one), False
        if hasattr(one, "_repr_html_"):
            yield f"HTML of {type(one).__name__}", one._repr_html_(), True
    for file in files:
        yield "repr of MappedFile", repr(file), False
        spec = TensorSpec(EVIL, "f32", (4,), 0, 16, stored_name=EVIL)
        yield "HTML of a tensor", spec._repr_html_(), True
        view = file.view(spec)
        with pytest.raises(BufferError) as held:
            file.close()
        yield "a view that is held", str(held.value), False
        del view, held
        file.close()
    yield from _of_a_loaded_model(model)
    for name, draw in {
        "alignment": lambda: alignment_figure([model.path]).alt,
        "museum": lambda: museum([model.path], [1, 4]),
    }.items():
        yield name, _said(draw), False


def _said(make) -> str:
    try:
        return str(make())
    except LlamaEduError as error:
        return str(error)


def _of_a_loaded_model(model):
    with llama_edu.load(model.path, kernels="numpy") as llama:
        yield "repr of Llama", repr(llama), False
        yield "HTML of Llama", llama._repr_html_(), True
        yield "needs", needs_figure(llama).alt, False
        yield "repr of Trace", _said(lambda: repr(llama.trace([1, 4]))), False
        yield "steps panel", _said(lambda: repr(StepsPanel(llama, model.prompt))), False
        yield "tokenizer", _said(lambda: repr(llama.tokenizer)), False
        yield "text", _said(lambda: repr(list(llama.generate(model.prompt, 3, seed=1)))), False


@pytest.mark.parametrize("source", SOURCES)
def test_no_object_says_what_a_terminal_obeys_or_a_page_runs(tmp_path, source):
    for name, text, is_html in python_surfaces(SOURCES[source](tmp_path)):
        assert not obeyed(text), (name, obeyed(text), text)
        assert not (is_html and "<img" in text), (name, text)


def html_of(widget) -> list[tuple[str, str, bool]]:
    """Every text in a tree of widgets: (what it is, the text, whether it is HTML)."""
    import ipywidgets

    found = []
    for child in getattr(widget, "children", ()):
        found += html_of(child)
    kind = type(widget).__name__
    typed_by_the_reader = isinstance(widget, ipywidgets.Text | ipywidgets.Textarea)
    for name in ("value", "description", "placeholder", "tooltip", "_options_labels"):
        value = getattr(widget, name, None)
        for text in value if isinstance(value, tuple) else (value,):
            is_a_default = name == "placeholder" and text == "\u200b"  # of ipywidgets
            if is_a_default or (typed_by_the_reader and name == "value"):
                continue
            if isinstance(text, str):
                is_html = isinstance(widget, ipywidgets.HTML) and name == "value"
                found.append((f"{kind}.{name}", text, is_html))
    return found


PANELS = ["generation", "studio", "comparison", "page map"]


@pytest.mark.parametrize("panel", PANELS)
@pytest.mark.parametrize("source", SOURCES)
def test_no_panel_runs_what_a_stranger_wrote(tmp_path, source, panel, maker):
    show = pytest.importorskip("llama_edu.show")
    if panel == "page map" and sys.platform != "linux":
        pytest.skip("pages are measured on Linux only")
    model = SOURCES[source](tmp_path)
    own = {"tokenizer": model.tokenizer, "prompt": model.prompt, "n_tokens": 3}
    if panel == "page map":
        made = maker(show.PageMapWidget)(model.path, backend="mincore", temperature=1.5, **own)
    elif panel == "comparison":
        made = maker(show.ComparisonWidget)(model.path, left={"seed": 1}, right={"seed": 2}, **own)
    else:
        kind = {"generation": show.GenerationWidget, "studio": show.GenerationStudio}[panel]
        made = maker(kind)(model.path, temperature=1.5, seed=4, **own)
    made.start()
    assert made.wait(60)
    texts = [*html_of(made), ("repr", repr(made), False)]
    for name, text, is_html in texts:
        assert not obeyed(text), (name, obeyed(text), text)
        assert not (is_html and "<img src=x" in text), (name, text)


def test_a_file_that_is_not_there_is_no_folder_in_the_hex_view(run_cli, in_folder):
    assert run_cli("inspect", "nosuch.bin", "--hex", "9") == (
        2, "", "llama-edu: nosuch.bin: no such file; check the path\n"
    )  # fmt: skip
    (in_folder / "there").mkdir()
    code, _, said = run_cli("inspect", "there", "--hex", "9")
    assert code == 2 and said == "llama-edu: there: is a folder, expected one weight file\n"
