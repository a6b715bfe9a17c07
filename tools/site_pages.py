"""The pages of the website: a hook of mkdocs, which calls the functions `on_...` here.

README, the notebooks and the other texts keep the paths that they have in the project, so that
their relative links work on the site. Every module of the package gets a page under api/.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path, PurePosixPath
from posixpath import join, normpath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "llama_edu"

#: Files of the project that are pages or images of the site, under the same paths.
TAKEN = (
    "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "docs/*.png",
    "docs/badges/*.svg",
    "docs/bench.md", "docs/chat.md", "docs/conversion.md", "docs/databases.md",
    "docs/interference.md", "docs/layouts.md", "docs/online.md", "docs/quality.md",
    "docs/scale.md", "docs/steps.md", "docs/text.md", "docs/workers.md",
    "notebooks/*.ipynb", "benchmarks/RESULTS.md", "benchmarks/*.png", "data/*/README.md",
)  # fmt: skip


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the addresses from pyproject.toml, and the list of all pages."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    config.site_url = project["urls"]["Documentation"]
    # not repo_url: with it the theme asks GitHub's server for numbers at every page view
    source = {"icon": "fontawesome/brands/github", "link": project["urls"]["Source"]}
    config.extra["social"] = [source | {"name": "the source"}]
    config.nav = [
        {"Home": "README.md"},
        {"The course": [{_words(path): _uri(path)} for path in _taken("notebooks/*.ipynb")]},
        {"Without installing": "docs/online.md"},
        {"API": _contents(ROOT / PACKAGE)},
        {"The bundled models": [{p.parent.name: _uri(p)} for p in _taken("data/*/README.md")]},
        {"Text": "docs/text.md"},
        {"Conversations": "docs/chat.md"},
        {"Every step": "docs/steps.md"},
        {"Conversion": "docs/conversion.md"},
        {"Layouts": "docs/layouts.md"},
        {"What disturbs a count": "docs/interference.md"},
        {"Databases": "docs/databases.md"},
        {"Is this file as good as that one?": "docs/quality.md"},
        {"Many processes": "docs/workers.md"},
        {"Many machines": "docs/scale.md"},
        {"Speed": [{"Here": "docs/bench.md"}, {"Beside others": "benchmarks/RESULTS.md"}]},
        {
            "The project": [
                {"Contributing": "CONTRIBUTING.md"},
                {"Changes": "CHANGELOG.md"},
                {"Security": "SECURITY.md"},
            ]
        },
    ]
    return config


@event_priority(100)  # before the plugin that turns notebooks into pages
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the project's own files and one page per module."""
    for pattern in TAKEN:
        for path in _taken(pattern):
            files.append(File(_uri(path), str(ROOT), config.site_dir, config.use_directory_urls))
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        if path.name != "__main__.py":
            page = f"# {_module(path)}\n\n::: {_module(path)}\n"
            files.append(File.generated(config, _api_uri(path), content=page))
    return files


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn the links of a notebook, which name files, into links to pages.

    Raises PluginError for a broken link: mkdocs checks links in Markdown only.
    """
    if not page.file.src_uri.endswith(".ipynb"):
        return html
    here = PurePosixPath(page.file.src_uri).parent

    def link(match: re.Match[str]) -> str:
        path, mark, anchor = match[1].partition("#")
        uri = normpath(join(here, path))
        if uri.startswith(f"{PACKAGE}/") and uri.endswith(".py"):
            uri = _api_uri(ROOT / uri)
        target = files.get_file_from_path(uri)
        if target is None:
            raise PluginError(f"{page.file.src_uri}: the link to {match[1]} leads to no page")
        return f'href="{get_relative_url(target.url, page.url)}{mark}{anchor}"'

    return re.sub(r'href="((?![a-z]+:|#|/)[^"]+)"', link, html)


def _taken(pattern: str) -> list[Path]:
    return sorted(ROOT.glob(pattern))


def _uri(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _words(path: Path) -> str:
    """notebooks/02_mmap_loading.ipynb -> 02 mmap loading."""
    return path.stem.replace("_", " ")


def _module(path: Path) -> str:
    """llama_edu/pages/__init__.py -> llama_edu.pages."""
    return _uri(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _api_uri(path: Path) -> str:
    """llama_edu/pages/lab.py -> api/llama_edu/pages/lab.md; a folder's __init__ is its index."""
    return f"api/{_uri(path.with_suffix('.md'))}".replace("__init__.md", "index.md")


def _contents(folder: Path) -> list[dict[str, Any]]:
    """The pages of a package: its own first, then its modules and packages by name."""
    pages: list[dict[str, Any]] = [{_module(folder): _api_uri(folder / "__init__.py")}]
    for path in sorted(folder.iterdir()):
        if (path / "__init__.py").exists():
            pages.append({path.name: _contents(path)})
        elif path.suffix == ".py" and not path.name.startswith("__"):
            pages.append({path.stem: _api_uri(path)})
    return pages
