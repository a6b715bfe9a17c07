"""Ways to open the course: make lab, Binder, dev containers, Colab, and README's badges."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tomllib
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import badges
import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
FIRST = "notebooks/00_start_here.ipynb"

needs_shell = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def make_lab(tmp_path):
    """Run make lab in a folder with a space, with a jupyter that prints its arguments."""
    if shutil.which("make") is None:
        pytest.skip("needs make")
    clone = tmp_path / "a clone"
    script(clone / ".venv" / "bin" / "jupyter", "printf '%s\\n' \"$@\"")
    shutil.copy(ROOT / "Makefile", clone)
    for name in ("pyproject.toml", ".venv/.python", ".venv/.base", ".venv/.notebooks"):
        (clone / name).touch()  # each newer than the one before: nothing is installed

    def run(user_id: int, *arguments: str) -> list[str]:
        script(tmp_path / "bin" / "id", f"echo {user_id}")
        environment = {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"}
        done = subprocess.run(["make", "lab", *arguments], capture_output=True, text=True,
                              cwd=clone, env=environment)  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return clone, run


@needs_shell
def test_labs_root_is_the_project_and_it_opens_the_first_notebook(make_lab):
    clone, run = make_lab
    assert run(1000) == ["lab", f"--ServerApp.root_dir={clone}", FIRST]
    assert (ROOT / FIRST).is_file()


@needs_shell
def test_lab_starts_as_root_and_takes_further_options(make_lab):
    clone, run = make_lab
    more = "--no-browser --port=8899"
    expected = ["lab", f"--ServerApp.root_dir={clone}", "--allow-root", *more.split(), FIRST]
    assert run(0, f"LAB_ARGS={more}") == expected


def test_binder_installs_the_project_with_a_python_and_extras_that_it_has():
    python = read("binder/runtime.txt").strip().removeprefix("python-")
    assert f"Programming Language :: Python :: {python}" in PROJECT["classifiers"]
    (line,) = read("binder/requirements.txt").splitlines()
    extras = re.fullmatch(r"-e \.\[([\w,]+)\]", line)[1].split(",")
    assert set(extras) <= set(PROJECT["optional-dependencies"]) and "notebooks" in extras
    (model,) = re.findall(r"^SMOLLM2 := (\S+)", read("Makefile"), re.MULTILINE)
    assert model in read("binder/postBuild")
    assert os.access(ROOT / "binder" / "postBuild", os.X_OK) or os.name != "posix"


@needs_shell
@pytest.mark.parametrize("pip", [0, 1])
def test_binder_is_built_even_where_the_real_model_cannot_be_had(pip, tmp_path):
    script(tmp_path / "python", f"exit {pip}")
    script(tmp_path / "llama-edu", 'echo "llama-edu $*"')
    done = subprocess.run(
        ["bash", ROOT / "binder" / "postBuild"], capture_output=True, text=True,
        env={"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
    )  # fmt: skip
    assert done.returncode == 0 and "llama-edu demo" in done.stdout
    assert ("no smollm2" in done.stdout) == bool(pip)


def test_the_dev_container_makes_what_the_makefile_has_and_opens_the_first_notebook():
    container = json.loads(read(".devcontainer/devcontainer.json"))
    python = container["image"].partition("python:")[2]
    assert f"Programming Language :: Python :: {python}" in PROJECT["classifiers"]
    program, *targets = container["postCreateCommand"].split()
    assert program == "make"
    for target in targets:
        assert re.search(rf"^{target}:", read("Makefile"), re.MULTILINE), target
    custom = container["customizations"]
    assert custom["codespaces"]["openFiles"] == [FIRST]
    interpreter = custom["vscode"]["settings"]["python.defaultInterpreterPath"]
    (venv,) = re.findall(r"^VENV := (\S+)", read("Makefile"), re.MULTILINE)
    assert interpreter == f"${{containerWorkspaceFolder}}/{venv}/bin/python"


def test_readme_has_the_badges_of_this_address_and_no_others():
    readme = read("README.md")
    assert readme == badges.with_badges(readme, PROJECT["urls"]["Homepage"])
    other = badges.with_badges(readme, "https://github.com/ann/other")
    assert other.count("/ann/other") == 3 == readme.count("docs/badges/")
    assert other.splitlines()[9:] == readme.splitlines()[9:]
    assert badges.with_badges(other, badges.home()) == readme


def test_every_badge_opens_what_is_there():
    lines = badges.lines(badges.home())
    assert FIRST in lines and FIRST.replace("/", "%2F") in lines and badges.FIRST == FIRST
    for name, (left, right, _) in badges.BADGES.items():
        drawn = read(f"docs/badges/{name}.svg")
        assert drawn == badges.picture(left, right)
        image = ElementTree.fromstring(drawn)
        assert image.get("aria-label") == f"{left} {right}" and image.get("role") == "img"


def test_the_line_for_colab_asks_for_this_project_and_an_extra_that_it_has():
    (line,) = re.findall(r"^```python\n(%pip .*)\n```", read("docs/online.md"), re.MULTILINE)
    name, extra, address = re.fullmatch(
        r'%pip install --quiet "([\w-]+)\[(\w+)\] @ git\+(\S+)"', line
    ).groups()
    assert (name, address) == (PROJECT["name"], PROJECT["urls"]["Homepage"])
    assert extra in PROJECT["optional-dependencies"]
