"""How the command line ends: by a signal, for want of memory, room or threads, or by an answer."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import textwrap

import pytest
from helpers.small_models import (
    ggml_file,
    names_in,
    old_config,
    random_weights,
    small_vocabulary,
)

from llama_edu import cli
from llama_edu.cli import main

CONVERTING = """
    import sys, time
    from llama_edu.convert import conversion
    from llama_edu.cli import main

    load_arranged, n_loaded = conversion.load_arranged, 0

    def slow(*arguments):
        global n_loaded
        n_loaded += 1
        if n_loaded == 3:
            print("ready", file=sys.stderr, flush=True)
            time.sleep(600)
        return load_arranged(*arguments)

    conversion.load_arranged = slow
    sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize(
    "options", [["--to", "gguf"], ["--to", "ggmf", "--shards", "2"]], ids=["one file", "two shards"]
)
def test_a_signal_in_the_middle_of_a_conversion_leaves_nothing(in_folder, rng, name, options):
    config = old_config()
    source = ggml_file(config, random_weights(config, rng), small_vocabulary(300))
    (in_folder / "m.bin").write_bytes(source)
    before = names_in(in_folder)
    arguments = ["convert", "m.bin", "out.bin", *options]
    program = [sys.executable, "-c", textwrap.dedent(CONVERTING), *arguments]
    number = getattr(signal, name)
    process = subprocess.Popen(
        program, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # nohup ignores SIGHUP
    )  # fmt: skip
    assert process.stderr.readline() == "ready\n"
    assert len(names_in(in_folder)) > len(before)
    process.send_signal(number)
    _, error = process.communicate()
    assert process.returncode == 128 + number
    assert "Traceback" not in error and names_in(in_folder) == before


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_a_signal_that_is_ignored_stays_ignored(model, in_folder):
    """nohup llama-edu convert ..."""
    program = [sys.executable, "-c", textwrap.dedent(CONVERTING).replace("600", "1")]
    process = subprocess.Popen(
        [*program, "convert", *model, "out.bin", "--to", "gguf"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    process.stderr.readline()
    process.send_signal(signal.SIGHUP)
    process.communicate()
    assert process.returncode == 0 and "out.bin" in names_in(in_folder)


def test_the_handlers_of_signals_are_put_back(run_cli, model):
    before = signal.getsignal(signal.SIGTERM)
    assert run_cli("inspect", "m.bin")[0] == 0
    assert signal.getsignal(signal.SIGTERM) is before


SYSTEM = {
    "memory": (MemoryError(), "there is not enough memory for this; choose a smaller model"),
    "a disk": (OSError(errno.EIO, "Input/output error", "m.bin"), "m.bin: the system answers: Inp"),
    "room": (OSError(errno.ENOSPC, "No space left on device"), "No space left.*; set TMPDIR to a"),
    "address space": (OSError(errno.ENOMEM, "Cannot allocate memory"), "answers: Cannot allocate"),
    "threads": (RuntimeError("can't start new thread"), "the system allows no more threads"),
    "a long name": (OSError(errno.ENAMETOOLONG, "File name too long", "x" * 999), "too long"),
}


@pytest.mark.parametrize(("error", "sentence"), SYSTEM.values(), ids=SYSTEM.keys())
def test_what_the_system_cannot_give_is_one_sentence(run_cli, model, monkeypatch, error, sentence):
    from llama_edu.files import detect

    def refuse(path):
        raise error

    monkeypatch.setattr(detect, "read_checkpoint", refuse)
    code, _, said = run_cli("inspect", "m.bin")
    assert code == 2 and said.startswith("llama-edu: ") and said.count("\n") == 1
    assert len(said) < 500
    assert re.search(sentence, said), said
    with pytest.raises(type(error)):
        main(["--debug", "inspect", "m.bin"])


def test_a_fault_of_ours_keeps_its_traceback(run_cli, model, monkeypatch):
    from llama_edu.files import detect

    monkeypatch.setattr(detect, "read_checkpoint", lambda path: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        run_cli("inspect", "m.bin")


def test_an_error_commands_no_terminal(run_cli, in_folder):
    code, _, said = run_cli("inspect", "none\x1b[2J\u202e")
    assert code == 2 and said == "llama-edu: none\\x1b[2J\\u202e: no such file; check the path\n"


def test_an_error_output_that_is_closed_changes_no_exit_code(in_folder, monkeypatch, capsys):
    monkeypatch.setattr(cli.sys, "stderr", None)
    assert main(["inspect", "none"]) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_a_letter_that_the_output_does_not_have_is_an_escape(model, encoding):
    """An old Windows console: no traceback, and nothing of the text is lost."""
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    text = "\u0394 x"  # a Greek letter
    program = [sys.executable, "-m", "llama_edu", "generate", *model, "--prompt", text]
    done = subprocess.run(
        [*program, "--n-tokens", "1", "--kernels", "numpy"],
        capture_output=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"\\u0394 x")


def test_a_path_in_quotes_may_begin_with_the_home_folder(run_cli, model, in_folder, monkeypatch):
    monkeypatch.setenv("HOME", str(in_folder))
    monkeypatch.setenv("USERPROFILE", str(in_folder))
    code, _, said = run_cli("logits", "~/m.bin", "--tokens", "1", "--out", "~/out.npy")
    assert code == 0, said
    assert "out.npy" in names_in(in_folder)


def test_a_folder_for_temporary_files_without_room_is_a_sentence(run_cli, monkeypatch):
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", "/nowhere/at/all")
    code, _, said = run_cli("demo", "--n-tokens", "1")
    assert code == 2 and "/nowhere/at/all" in said and "No such file" in said
