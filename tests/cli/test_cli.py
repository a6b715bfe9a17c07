"""The command line: what it prints, and one clear sentence with exit code 2 for bad input."""

from __future__ import annotations

import importlib
import io
import json
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from helpers.small_models import (
    names_in,
    old_config,
    op_text,
    random_weights,
    torch_zip,
    write_meta_folder,
)

import llama_edu
from llama_edu.cli import COMMANDS, main, warnings_in_one_line
from llama_edu.errors import LlamaEduWarning

MODULES = {name: importlib.import_module(f"llama_edu.cli.{name}") for name in COMMANDS}


@pytest.fixture
def folder(in_folder, rng, sentencepiece_model):
    config = old_config()
    return write_meta_folder(
        in_folder / "meta", config, random_weights(config, rng), n_shards=2,
        tokenizer=sentencepiece_model,
    )  # fmt: skip


def test_generate_prints_prompt_and_text_or_ids(run_cli, model):
    chosen = ["--prompt", "the", "--n-tokens", 9, "--temperature", 0]
    code, out, _ = run_cli("generate", *model, *chosen)
    assert code == 0 and out.startswith("the") and out.endswith("\n")
    code, ids, _ = run_cli("generate", *model, *chosen, "--ids")
    with llama_edu.load("m.bin", tokenizer="t.bin") as llama:
        text = "".join(llama.generate("the", 9, temperature=0))
        prompt = llama.tokenizer.encode("the")
    assert out == f"the{text}\n"
    tokens = [int(token) for token in ids.split()]
    assert tokens[: len(prompt)] == prompt and len(tokens) <= len(prompt) + 9


def test_a_seed_repeats_and_no_mmap_changes_nothing(run_cli, model):
    chosen = ["generate", *model, "--n-tokens", 12, "--temperature", 1.5, "--top-k", 30,
              "--top-p", 0.9, "--min-p", 0.01, "--repeat-penalty", 1.1, "--ids"]  # fmt: skip
    first = run_cli(*chosen, "--seed", 4)
    assert first == run_cli(*chosen, "--seed", 4) == run_cli(*chosen, "--seed", 4, "--no-mmap")
    assert first != run_cli(*chosen, "--seed", 5)


def test_a_prompt_from_a_file_or_from_standard_input(run_cli, model, in_folder, monkeypatch):
    chosen = ("--n-tokens", 7, "--temperature", 0)
    expected = run_cli("generate", *model, *chosen, "--prompt", "the")
    (in_folder / "prompt.txt").write_text("\ufeffthe\n", "utf-8")
    assert run_cli("generate", *model, *chosen, "--prompt-file", "prompt.txt") == expected
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"the\n")))
    assert run_cli("generate", *model, *chosen, "--prompt-file", "-") == expected


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"caf\xe9", "byte 3 is 0xe9, which is not UTF-8, expected a text file; if it is Latin-1"),
        (None, "cannot be read"),
    ],
)
def test_a_prompt_that_is_no_text_gets_a_sentence(run_cli, model, in_folder, data, says):
    if data is not None:
        (in_folder / "prompt.txt").write_bytes(data)
    code, out, err = run_cli("generate", *model, "--prompt-file", "prompt.txt")
    assert (code, out) == (2, "") and "prompt.txt: " in err and says in err


def test_stop_strings_end_the_text(run_cli, model):
    chosen = ("generate", *model, "--prompt", "the", "--n-tokens", 30, "--seed", 4)
    whole = run_cli(*chosen)[1]
    stop = whole[12:14]
    code, out, _ = run_cli(*chosen, "--stop", "never there", "--stop", stop)
    assert code == 0 and out == whole[: whole.index(stop)] + "\n"
    code, _, err = run_cli(*chosen, "--stop", "")
    assert code == 2 and "stop: one of the strings is ''" in err


def test_log_probabilities_are_printed_below_the_text(run_cli, model):
    chosen = ("generate", *model, "--prompt", "the", "--n-tokens", 4, "--top-k", 1, "--seed", 1)
    text, ids = run_cli(*chosen)[1], run_cli(*chosen, "--ids")[1].split()
    n_prompt = len(run_cli("tokenize", *model, "the", "--ids")[1].split())
    code, out, _ = run_cli(*chosen, "--logprobs", 2)
    assert code == 0 and out.startswith(text)
    heads, *rows = out.removeprefix(text).strip("\n").splitlines()
    assert heads.split() == ["position", "id", "token", "log", "p", "likeliest"]
    assert [row.split()[1] for row in rows] == ids[n_prompt:] and rows
    for row in rows:  # greedy: the token is the likeliest, and its number is repeated
        _, _, token, logprob, *others = row.split()
        assert others[0] == token and others[1] == logprob
    assert run_cli(*chosen, "--logprobs", 9999)[0] == 2


def test_names_of_control_pieces_become_them_only_with_special(run_cli, model):
    plain = run_cli("tokenize", *model, "the<s>", "--ids")[1].split()
    marked = run_cli("tokenize", *model, "the<s>", "--ids", "--special")[1].split()
    assert plain.count("1") == 1 and marked.count("1") == 2 and len(marked) < len(plain)
    shown = run_cli("tokenize", *model, "the<s>", "--special")[1].splitlines()[-1]
    assert shown.split() == ["1", "(control)", "'<s>'"]


def test_logits_are_saved_as_float32(run_cli, model, in_folder):
    code, out, _ = run_cli("logits", *model, "--tokens", "1,5,270", "--out", "x.npy")
    assert code == 0 and "x.npy: 3 positions x 271 scores, float32" in out
    saved = np.load("x.npy", allow_pickle=False)
    with llama_edu.load("m.bin", tokenizer="t.bin") as llama:
        np.testing.assert_array_equal(saved, llama.logits([1, 5, 270]))
        prompt = llama.tokenizer.encode("the")
    run_cli("logits", *model, "--text", "the", "--out", "y.npy")
    assert np.load("y.npy", allow_pickle=False).shape == (len(prompt), 271)
    assert names_in() == ["m.bin", "t.bin", "x.npy", "y.npy"]


def test_logits_of_ids_need_no_tokenizer(run_cli, model):
    assert run_cli("logits", "m.bin", "--tokens", "1", "--out", "x.npy")[0] == 0


def test_tokenize_shows_one_piece_a_line_or_the_ids(run_cli, model):
    code, out, _ = run_cli("tokenize", *model, "the \U0001f600")
    assert code == 0 and "(control)" in out.splitlines()[0]
    code, ids, _ = run_cli("tokenize", *model, "the \U0001f600", "--ids")
    assert [int(line.split()[0]) for line in out.splitlines()] == [int(n) for n in ids.split()]


def test_inspect_shows_text_and_json(run_cli, model, folder):
    code, out, _ = run_cli("inspect", "m.bin")
    assert code == 0 and "llama2.c v0" in out and "dim 24" in out
    assert "layers.2.w_up" in run_cli("inspect", "m.bin", "--tensors")[1]
    facts = json.loads(run_cli("inspect", folder, "--json")[1])
    assert facts["format"] == "Meta .pth, 2 shards" and facts["config"]["dim"] == 32


def test_convert_makes_a_file_that_generates_the_same(run_cli, folder):
    code, out, _ = run_cli("convert", folder, "m.ggjt", "--to", "ggjt-v1", "--type", "f16")
    assert code == 0 and "m.ggjt: ggjt-v1, 21 tensors" in out
    chosen = ["--prompt", "The fox", "--n-tokens", 20, "--seed", 3, "--ids"]
    assert run_cli("generate", folder, *chosen) == run_cli("generate", "m.ggjt", *chosen)


def test_convert_cuts_a_checkpoint_into_shards(run_cli, folder):
    code, out, _ = run_cli("convert", folder, "old.bin", "--to", "ggmf", "--shards", 2)
    assert code == 0 and "old.bin: ggmf, 21 tensors" in out and "joined from shards" in out
    facts = json.loads(run_cli("inspect", "old.bin", "--json")[1])
    assert facts["format"] == "ggmf v1, 2 shards"
    assert [file["name"] for file in facts["files"]] == ["old.bin", "old.bin.1"]


def test_the_demo_runs_outside_the_clone(run_cli, in_folder):
    try:
        llama_edu.bundled_checkpoint()
    except llama_edu.LlamaEduError:
        pytest.skip("the bundled checkpoint is not there")
    code, out, _ = run_cli("demo", "--n-tokens", 20)
    assert code == 0 and "Once upon a time" in out and "0 copied" in out
    assert "11,300,448 bytes mapped, 11,285,504 of them weights; 0 copied" in out  # file, tensors
    assert names_in() == []


@pytest.mark.parametrize("arguments", [["--help"], ["-h", "generate"], ["--debug", "--help"]])
def test_help_without_a_command_lists_every_command(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert all(f"{name} {module.HELP}" in shown for name, module in MODULES.items())


def test_a_word_that_is_no_command_is_answered_with_all_commands(capsys):
    with pytest.raises(SystemExit):
        main(["fly", "generate", "m.bin"])
    err = capsys.readouterr().err
    assert "invalid choice: 'fly'" in err and all(name in err for name in COMMANDS)


def test_a_command_imports_no_other_command(model):
    """Nor the sentencepiece library, if the vocabulary is not in its format."""
    program = (
        "import sys; from llama_edu.cli import main; "
        "main(['generate', 'm.bin', '--tokenizer', 't.bin', '--n-tokens', '1', '--kernels', "
        "'numpy']); print([m for m in sys.modules if m.startswith(('llama_edu.cli.', "
        "'llama_edu.pages', 'llama_edu.show', 'sentencepiece', 'tokenizers', 'numba', 'tqdm'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    imported = ["endings", "endings.bus_error", "endings.signals", "streams", "streams.stdout",
                "generate", "arguments"]  # fmt: skip
    assert done.stdout.splitlines()[-1] == str([f"llama_edu.cli.{name}" for name in imported])


def test_python_m_is_the_same_program(model):
    done = subprocess.run(
        [sys.executable, "-m", "llama_edu", "tokenize", *model, "the", "--ids"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split()[0] == "1" and done.stderr == ""


# --- bad input ----------------------------------------------------------------------------------

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
BAD = {
    "no such file": (["generate", "none.bin"], "none.bin: no such file; check the path"),
    "empty file": (["inspect", "empty"], "empty: is empty, expected a weight file"),
    "LFS pointer": (["generate", "lfs"], "this is a Git LFS pointer, not the file; run: git lfs"),
    "truncated": (["inspect", "cut.bin"], "header implies .* bytes, file has .* missing"),
    "no tokenizer": (["generate", "m.bin"], "has no tokenizer, .* give one with --tokenizer"),
    "missing tokenizer": (["generate", "m.bin", "--tokenizer", "none"], "none: no such file"),
    "wrong tokenizer": (["generate", "m.bin", "--tokenizer", "lfs"], "expected a sentencepiece"),
    "NaN temperature": (["generate", "M", "--temperature", "nan"], "temperature is nan, expected"),
    "negative temperature": (["generate", "M", "--temperature", "-1"], "temperature is -1.0"),
    "top-p of 0": (["generate", "M", "--top-p", "0"], "top_p is 0.0, expected more than 0"),
    "negative top-k": (["generate", "M", "--top-k", "-1"], "top_k is -1, expected 0"),
    "negative length": (["generate", "M", "--n-tokens", "-1"], "n_tokens is -1, expected 0 or"),
    "negative seed": (["generate", "M", "--seed", "-1"], "seed is -1, expected 0 or more"),
    "long prompt": (["generate", "M", "--prompt", "x" * 99], "prompt: has 10. tokens, the model's"),
    "surrogate": (["tokenize", "M", "a\udcff"], "text: character 1 is the byte 0xff, which is n"),
    "unknown id": (["logits", "m.bin", "--tokens", "1,271", "--out", "x"], "id 271 at position 1"),
    "negative id": (["logits", "m.bin", "--tokens=-5", "--out", "x"], "id -5 at position 0"),
    "no id": (["logits", "m.bin", "--tokens", "", "--out", "x"], "expected integers separated by"),
    "id that is text": (["logits", "m.bin", "--tokens", "1,a", "--out", "x"], "'1,a', expected in"),
    "no output folder": (["logits", "m.bin", "--tokens", "1", "--out", "no/x"], "no: no such fold"),
    "folder as output": (["logits", "m.bin", "--tokens", "1", "--out", "."], "is a folder, expec"),
    "device as output": (
        ["logits", "m.bin", "--tokens", "1", "--out", "/dev/null"], "is not a regular file"
    ),
    "long name": (["inspect", "x" * 300], "cannot be opened"),
    "convert what it cannot": (["convert", "M", "out"], "grouped-query heads .* convert to gguf"),
    "convert onto itself": (["convert", "m.bin", "m.bin"], "is the source itself; choose another"),
    "folder without weights": (["generate", "."], "this folder has neither"),
    "hostile pickle": (["inspect", "evil"], "its pickle asks for os.system, expected only names"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "sentence"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_sentence_and_exit_code_2(run_cli, model, in_folder, arguments, sentence):
    (in_folder / "empty").touch()
    (in_folder / "lfs").write_bytes(LFS)
    (in_folder / "cut.bin").write_bytes((in_folder / "m.bin").read_bytes()[:-300])
    (in_folder / "evil").mkdir()
    (in_folder / "evil" / "params.json").write_text("{}")
    (in_folder / "evil" / "consolidated.00.pth").write_bytes(hostile_pth())
    before = names_in()
    filled = [part for a in arguments for part in (model if a == "M" else [a])]
    code, _, err = run_cli(*filled)
    assert code == 2
    assert re.search(sentence, err), err
    assert err.startswith("llama-edu: ") and err.count("\n") == 1 and "Traceback" not in err
    assert names_in() == before and Path("/dev/null").exists()


def hostile_pth() -> bytes:
    program = b"\x80\x02cos\nsystem\n" + op_text("touch was_run") + b"\x85R."
    return torch_zip({"data.pkl": program})


@pytest.mark.parametrize(
    "arguments",
    [["--debug", "generate", "none.bin"], ["generate", "--debug", "none.bin"],
     ["generate", "none.bin", "--debug"]],
)  # fmt: skip
def test_debug_shows_the_traceback_wherever_it_stands(model, arguments):
    with pytest.raises(llama_edu.LlamaEduError):
        main(arguments)


@pytest.mark.parametrize(
    "arguments",
    [[], ["fly"], ["generate"], ["generate", "m.bin", "--temperature", "hot"],
     ["logits", "m.bin", "--out", "x"], ["convert", "a", "b", "--to", "zip"]],
)  # fmt: skip
def test_a_wrong_command_line_shows_its_usage_and_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: llama-edu" in capsys.readouterr().err


def test_an_interrupt_ends_quietly_with_130(run_cli, model, monkeypatch):
    def interrupted(model, tokens, cache, **kwargs):
        view = model.weights["output"]
        raise KeyboardInterrupt(view.shape)

    monkeypatch.setattr("llama_edu.transformer.generate.score_next", interrupted)
    code, _, err = run_cli("generate", *model, "--n-tokens", 5)
    assert code == 130 and err.strip() == ""


def test_a_warning_of_ours_is_one_line_and_others_stay_as_they_are(capsys):
    with warnings.catch_warnings(record=True) as others:
        warnings.simplefilter("always")
        with warnings_in_one_line():
            warnings.warn("Going on with numpy.", LlamaEduWarning, stacklevel=1)
            warnings.warn("something else", UserWarning, stacklevel=1)
    assert capsys.readouterr().err == "llama-edu: Going on with numpy.\n"
    assert [str(other.message) for other in others] == ["something else"]
