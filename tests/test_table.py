"""Tables as text: columns in line, what was not measured, and names from files."""

from __future__ import annotations

from llama_edu.table import lay_out


def test_a_table_lines_its_columns_up():
    table = lay_out(("what", "n"), [("a", 1234), ("longer", None)])
    assert table.splitlines() == ["what        n", "a       1,234", "longer      -"]


def test_each_column_has_its_side_and_the_last_one_stands_for_the_rest():
    rows = [("a", 1, "b", "c"), ("aaa", 22, "bbb", "ccc")]
    assert lay_out(("", "n", "x", "y"), rows, "<><", "  ").splitlines() == [
        "        n  x    y",
        "  a     1  b    c",
        "  aaa  22  bbb  ccc",
    ]


def test_a_table_may_have_no_heads_and_no_rows():
    assert lay_out(None, [("a", 1), ("bb", 22)]) == "a    1\nbb  22"
    assert lay_out(None, []) == "" and lay_out(("a", "b"), []) == "a  b"


def test_a_name_from_a_file_keeps_its_line_and_commands_nothing():
    table = lay_out(("name", "n"), [("a\x1b[2J\nb", 1), ("c", 2)])
    assert table.splitlines()[1:] == [r"a\x1b[2J\nb  1", "c            2"]
