"""The command lines of README and docs: they run, in order, in one folder for each page."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

import pytest
from helpers.shell import in_shell

from llama_edu.cli import COMMANDS, build_parser
from llama_edu.experiments import EXPERIMENTS
from llama_edu.models.known import known_model

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

#: Beginnings of lines that are not run here, and why.
NOT_RUN = {
    "make ": "sets up a clone; continuous integration runs it",
    "hf download ": "asks the network",
    "llama-edu inspect HuggingFaceTB/": "asks the network",
    "llama-edu models TheBloke/": "asks the network",
    "llama-edu generate smollm ": "needs what hf has downloaded",
    "llama-edu experiment arithmetic --file smollm2 --text-file alice.txt": "needs a novel",
}

#: Beginnings of lines that take long: the slow tests run them as they stand.
LONG = ("llama-edu bench ", "llama-edu experiment arithmetic ")

#: So do the lines of these pages, which build upon each other.
LONG_PAGES = ("databases.md", "layouts.md", "quality.md")

#: Lines that end with 1, because two models differ.
DIFFER = ("llama-edu compare stories rounded.gguf --steps",)


def command_lines(page: Path) -> list[str]:
    """The lines of all blocks of a page that show commands, without prompt signs."""
    fenced = r"^```(\w*)\n(.*?)^```$"
    found = re.findall(fenced, page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    blocks = [block for language, block in found if not language]
    shows = re.compile(r"^(\$ )?(llama-edu|make|hf) ", re.MULTILINE)
    lines = [line for block in blocks if shows.search(block) for line in block.splitlines()]
    return [line.removeprefix("$ ") for line in lines if line]


def runs_here(line: str) -> bool:
    missing = "smollm2" in line and known_model("smollm2").find() is None
    return not missing and not line.startswith(tuple(NOT_RUN))


@pytest.mark.skipif(not hasattr(os, "uname") or os.uname().sysname != "Linux", reason="needs Linux")
@pytest.mark.timeout(900)  # a long line takes minutes where other programs run
@pytest.mark.parametrize("long", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_command_lines_of_a_page_run_one_after_the_other(page, long, tmp_path):
    here = tmp_path / "a folder"
    here.mkdir()
    (here / "data").symlink_to(ROOT / "data")  # README is read in a clone
    for line in command_lines(page):
        is_long = page.name in LONG_PAGES or line.startswith(LONG)
        if runs_here(line) and is_long == long:
            done = in_shell(line, here)
            assert done.returncode == (line in DIFFER), f"{line}\n{done.stdout}{done.stderr}"


def test_the_lines_that_are_not_run_are_lines_of_a_page():
    lines = [line for page in PAGES for line in command_lines(page)]
    assert len(lines) > 15
    for start in (*NOT_RUN, *LONG, *DIFFER):
        assert any(line.startswith(start) for line in lines), start


def options_of(command: str) -> set[str]:
    parser = build_parser([command])
    (subparsers,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return set(subparsers.choices[command]._option_string_actions)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_a_sentence_exist_with_their_options(page):
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for said in re.findall(r"`llama-edu ([^`]+)`", text):
        command, *words = said.split()
        if command != "COMMAND":
            assert command in COMMANDS, said
            used = {word.split("=")[0] for word in words if word.startswith("-") and len(word) > 1}
            assert used <= options_of(command), said


def test_the_table_of_commands_names_every_command_option_and_experiment():
    table = (ROOT / "README.md").read_text("utf-8").partition("| command | does |")[2]
    rows = re.findall(r"^\| (`llama-edu .*?) \| (.*) \|$", table.partition("\n\n")[0], re.MULTILINE)
    named = [name for row, _ in rows for name in re.findall(r"`llama-edu (\w+)", row)]
    assert sorted(named) == sorted(COMMANDS)
    for row, does in rows:
        names = re.findall(r"`llama-edu (\w+)", row)
        known = set().union(*map(options_of, names))
        assert set(re.findall(r"(?<![\w-])(--?[a-z][\w-]*)", row + does)) <= known, row
    (experiments,) = (does for row, does in rows if "experiment" in row)
    assert set(EXPERIMENTS) <= set(re.findall(r"`([a-z-]+)`", experiments))
