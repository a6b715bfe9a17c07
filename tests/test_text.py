"""Text from a file in a terminal: what is there shows, and nothing in it is obeyed."""

from __future__ import annotations

import ast
import re
import unicodedata
from pathlib import Path

import pytest

import llama_edu
from llama_edu.text import one_line, quoted, visible, visible_lines

#: Each must become its escape in every function; a line end only where there is one line.
HOSTILE = {
    "\x00": r"\x00", "\x07": r"\x07", "\t": r"\t", "\r": r"\r", "\x1b": r"\x1b", "\x7f": r"\x7f",
    "\x9b": r"\x9b", "\u061c": r"\u061c", "\u200e": r"\u200e", "\u200f": r"\u200f",
    "\u2028": r"\u2028", "\u2029": r"\u2029", "\u202a": r"\u202a", "\u202b": r"\u202b",
    "\u202c": r"\u202c", "\u202d": r"\u202d", "\u202e": r"\u202e", "\u2066": r"\u2066",
    "\u2067": r"\u2067", "\u2068": r"\u2068", "\u2069": r"\u2069", "\ufeff": r"\ufeff",
    "\ud800": r"\ud800", "\U000e0041": r"\U000e0041",
}  # fmt: skip
FUNCTIONS = (visible, visible_lines, one_line, quoted)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("character", HOSTILE)
def test_what_commands_hides_or_turns_round_becomes_its_escape(function, character):
    shown = function(f"a{character}[2Jb")
    assert HOSTILE[character] in shown and character not in shown
    assert shown.strip("'") == f"a{HOSTILE[character]}[2Jb"


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_character_of_unicode_comes_through_that_a_terminal_could_obey(function):
    forbidden = {"Cc", "Cs", "Co", "Cn", "Zl", "Zp"}
    for start in range(0, 0x110000, 0x1000):
        text = "".join(map(chr, range(start, start + 0x1000)))
        shown = "".join(function(text[i : i + 64]) for i in range(0, len(text), 64))
        kept = set(shown) - ({"\n"} if function is visible_lines else set())
        assert not {c for c in kept if unicodedata.category(c) in forbidden}
        assert {c for c in kept if unicodedata.category(c) == "Cf"} <= set("\u00ad\u200c\u200d")
        shown.encode("utf-8")


def test_each_function_does_with_other_text_what_its_table_says():
    text = "B\u00e4r \u4f60\n\u00a0\u200d" + r"\x"
    assert visible(text) == "B\u00e4r \u4f60" + r"\n\xa0\u200d\x"
    assert visible_lines(text) == text
    assert one_line(text) == visible(text)
    assert quoted(text) == ascii(text)
    assert quoted(5) == "5" and quoted(["\x1b"]) == r"['\x1b']"
    assert quoted(b"\xff\x1b'") == '''b"\\xff\\x1b'"'''


@pytest.mark.parametrize("function", [one_line, quoted])
def test_long_text_is_cut_to_the_length_asked_for_whatever_it_is_made_of(function):
    for text in ("x" * 10**6, "\x1b" * 10**6, "\u4f60" * 10**6, "\U000e0041" * 10**6):
        for at_most in (10, 80, 200):
            assert len(function(text, at_most)) <= at_most
            assert function(text, at_most).endswith("...")
    assert function("x" * 70) in ("x" * 70, ascii("x" * 70))


def test_no_other_module_makes_text_safe_in_its_own_way():
    package = Path(llama_edu.__file__).parent
    found = []
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        if name in ("text.py", "html.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            called = node.func if isinstance(node, ast.Call) else None
            if isinstance(called, ast.Name) and called.id in ("ascii", "escape"):
                found.append(f"{name}:{node.lineno}")
            if isinstance(node, ast.ImportFrom | ast.Import):
                names = [alias.name for alias in node.names]
                modules = {node.module} if isinstance(node, ast.ImportFrom) else set(names)
                if modules & {"html", "unicodedata"} and not re.match(r"tokenizer/", name):
                    found.append(f"{name}:{node.lineno}")
    assert found == []


def test_no_message_cuts_a_value_by_hand():
    """A value that ends without "..." is taken for the whole; `quoted` says that it was cut."""
    package = Path(llama_edu.__file__).parent
    by_hand = re.compile(r"\[:\d+\]!a|(ascii|repr)\([^()]*\)\[:")
    found = [p.name for p in package.rglob("*.py") if by_hand.search(p.read_text("utf-8"))]
    assert found == []
