"""python -m benchmarks: which chapters run, which options belong to them, what is kept."""

from __future__ import annotations

import sys

import pytest

import benchmarks.__main__ as program
from benchmarks import busy, speed


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the program with these arguments; gives what RESULTS.md then holds."""
    monkeypatch.setattr(program, "RESULTS", tmp_path / "RESULTS.md")
    monkeypatch.setattr(
        speed, "run", lambda only=(), *, large=False: f"speed of {list(only)}, large {large}"
    )
    monkeypatch.setattr(busy, "run", lambda: "busy")

    def run_with(*arguments):
        monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
        program.main()
        return program.RESULTS.read_text("utf-8")

    return run_with


def test_a_chapter_is_replaced_and_the_others_stay_in_their_order(run):
    assert "\n## A busy machine\n\nbusy\n" in run("busy")
    text = run("speed", "--only", "q4_0,smollm2")
    assert text.index("## Speed\n\nspeed of ['q4_0', 'smollm2'], large False") < text.index(
        "## A busy machine"
    )
    assert "speed of [], large True" in run("speed", "--large")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--only", "q4_0"], "--only is for chapter speed alone"),
        (["busy", "--only", "q4_0"], "--only is for chapter speed alone"),
        (["speed", "--only", "q4_0,q9"], "--only: q9, expected of bundled, f32, "),
        (["spede"], "invalid choice"),
    ],
)
def test_what_does_not_exist_is_refused(run, capsys, arguments, says):
    with pytest.raises(SystemExit):
        run(*arguments)
    assert says in capsys.readouterr().err
