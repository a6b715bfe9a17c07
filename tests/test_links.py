"""Links between texts, notebooks and sources lead to a file, and to a heading in it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TEXTS = [
    *sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "benchmarks").glob("*.md")), *sorted((ROOT / "data").glob("*/README.md")),
]  # fmt: skip

#: Files of the project that a sentence names in backticks.
NAMED = re.compile(r"`((?:benchmarks|data|docs|llama_edu|notebooks|tests|tools)/[\w./-]*\w)`")

each_page = pytest.mark.parametrize(
    "path", [*TEXTS, *NOTEBOOKS], ids=lambda path: path.relative_to(ROOT).as_posix()
)


def prose(path: Path) -> str:
    """The Markdown of a text or a notebook, without fenced blocks."""
    text = path.read_text("utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def targets(path: Path) -> list[str]:
    """Every target of a link or an image that is not on another server."""
    found = re.findall(r"\]\(\s*<?([^)\s>]+)", prose(path))
    found += re.findall(r"""(?:href|src)=["']([^"']+)""", prose(path))
    return [unquote(target) for target in found if not re.match(r"[a-z]+:", target)]


def anchors(path: Path) -> set[str]:
    """The anchors of headings: as GitHub makes them, in a notebook as JupyterLab does."""
    headings = re.findall(r"^#+ +(.+?) *$", prose(path), re.MULTILINE)
    titles = [re.sub(r"\[([^]]*)\]\([^)]*\)|[`*]", r"\1", heading) for heading in headings]
    if path.suffix == ".ipynb":
        return {title.replace(" ", "-") for title in titles}
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@each_page
def test_every_link_leads_to_a_file_and_a_heading(path):
    for target in targets(path):
        name, _, anchor = target.partition("#")
        found = (path.parent / name).resolve() if name else path
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_jupyterlab_can_open_what_a_notebook_links_to(path):
    """Its root is the project: what lies above, a folder, or a hidden file would not open."""
    for target in filter(None, (target.partition("#")[0] for target in targets(path))):
        found = (path.parent / target).resolve()
        inside = found.relative_to(ROOT).parts  # ValueError: above the root
        assert found.is_file() and not any(part.startswith(".") for part in inside), target


@each_page
def test_every_file_that_a_sentence_names_is_there(path):
    for name in NAMED.findall(prose(path)):
        assert (ROOT / name).exists() or "my_" in name, name  # a reader's own


def test_there_are_links_of_each_kind():
    """So that none of the tests above passes because it found nothing."""
    readme = targets(ROOT / "README.md")
    assert "docs/conversion.md#types" in readme and any(t.endswith(".png") for t in readme)
    assert "../README.md#how-fast-it-is" in targets(ROOT / "docs" / "steps.md")
    assert "../llama_edu/reconcile/float64.py" in targets(NOTEBOOKS[5])
    assert "rounded-activations" in anchors(ROOT / "docs" / "steps.md")
    assert "llama_edu/quants/k_quants.py" in NAMED.findall(prose(NOTEBOOKS[1]))
