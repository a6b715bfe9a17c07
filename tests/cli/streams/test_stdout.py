"""A reader that has ended is not an error; output that cannot be written is one sentence.

Tested in child processes, because the interpreter makes the last flush, and with and without
PYTHONUNBUFFERED, which decides whether print() or that flush fails.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from llama_edu.cli.streams.stdout import OutputError, guarded_stdout

INSPECT = ["inspect", "m.bin", "--json"]
GENERATE = ["generate", "m.bin", "--tokenizer", "t.bin", "--n-tokens", "9", "--kernels", "numpy"]
buffered_or_not = pytest.mark.parametrize("unbuffered", [None, "1"], ids=["buffered", "unbuffered"])
commands = pytest.mark.parametrize(
    "arguments", [INSPECT, GENERATE, ["--help"], ["inspect", "--help"]], ids=" ".join
)


def start(arguments, unbuffered, before="", **streams):
    """Start the command line, after `before`, a shell command that may change standard output."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    if unbuffered:
        environment["PYTHONUNBUFFERED"] = unbuffered
    program = [sys.executable, "-m", "llama_edu", *arguments]
    if before:
        program = ["sh", "-c", f'{before}; exec "$@"', "sh", *program]
    return subprocess.Popen(program, stderr=subprocess.PIPE, text=True, env=environment, **streams)


def sentence_of(process):
    """The text on stderr: nothing, or one sentence with exit code 2."""
    _, error = process.communicate()
    if process.returncode == 0:
        return error
    assert process.returncode == 2, (process.returncode, error)
    assert error.startswith("llama-edu: ") and error.count("\n") == 1, error
    return error.removeprefix("llama-edu: ").rstrip()


@commands
@buffered_or_not
def test_a_reader_that_stops_early_is_no_error(model, arguments, unbuffered):
    """As in: llama-edu inspect m.bin --tensors | head -1."""
    reading, writing = os.pipe()
    os.close(reading)
    process = start(arguments, unbuffered, stdout=writing)
    os.close(writing)
    assert sentence_of(process) == "" and process.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@commands
@buffered_or_not
def test_a_full_disk_under_the_output_is_said(model, arguments, unbuffered):
    with open("/dev/full", "w") as full:
        process = start(arguments, unbuffered, stdout=full)
    expected = "standard output: cannot be written (No space left on device)"
    assert sentence_of(process) == expected


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
@commands
@buffered_or_not
def test_an_output_that_is_closed_from_the_start_is_said(model, arguments, unbuffered):
    process = start(arguments, unbuffered, before="exec >&-")
    expected = "standard output: is closed, expected a terminal, a file or a pipe"
    assert sentence_of(process) == expected


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
@buffered_or_not
def test_an_output_that_is_open_for_reading_only_is_said(model, unbuffered):
    process = start(INSPECT, unbuffered, before="exec 1</dev/null")
    assert sentence_of(process) == "standard output: cannot be written (Bad file descriptor)"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@buffered_or_not
def test_debug_shows_what_the_output_answered(model, unbuffered):
    with open("/dev/full", "w") as full:
        process = start(["--debug", *INSPECT], unbuffered, stdout=full)
    _, error = process.communicate()
    assert process.returncode == 1
    assert "OSError: [Errno 28]" in error and "Exception ignored" not in error
    assert error.splitlines()[-1].endswith("cannot be written (No space left on device)")


def test_an_error_of_another_file_is_left_alone(capsys):
    with pytest.raises(BrokenPipeError, match="of a child"), guarded_stdout():
        print("written before")
        raise BrokenPipeError("of a child")
    assert capsys.readouterr().out == "written before\n"


def test_standard_output_is_the_same_object_afterwards(monkeypatch):
    before = sys.stdout
    with guarded_stdout():
        assert sys.stdout is not before and sys.stdout.encoding == before.encoding
    assert sys.stdout is before
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(OutputError, match="is closed"), guarded_stdout():
        raise AssertionError("the block does not run")


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_text_commands_no_terminal_and_goes_to_a_file_as_it_is(
    run_cli, model, monkeypatch, is_terminal
):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    text = "a\tb\n\x1b[2J\u202e"
    arguments = ["--prompt", text, "--n-tokens", 1, "--kernels", "numpy", "--temperature", 0]
    code, out, _ = run_cli("generate", *model, *arguments)
    assert code == 0
    assert out.startswith("a\tb\n\\x1b[2J\\u202e" if is_terminal else text)
