"""The example below each command's help, as it stands: it runs in an empty folder."""

from __future__ import annotations

import importlib
import os
import re

import pytest
from helpers.shell import in_shell
from story_grammar import tell

from llama_edu.cli import COMMANDS, main
from llama_edu.models.known import known_model

EXAMPLES = {name: importlib.import_module(f"llama_edu.cli.{name}").EXAMPLE for name in COMMANDS}

#: What the output of each shows.
SHOWS = {
    "demo": "One day a small fox called Poppy sat near the hollow log",
    "models": "SmolLM2-135M-Instruct",
    "inspect": "layers.5.ffn_norm",
    "convert": "stories.ggjt: ggjt-v1, 57 tensors (44 f16, 13 f32) of 11,285,504 bytes",
    "generate": "Once upon a time, there was a little boy named Otto",
    "chat": "",
    "pages": "5 prompt and 8 new tokens",
    "residency": "stories.ggjt: ",
    "experiment": "2023: 411,522 faults",
    "bench": "stories f16",
    "perplexity": "story.txt: 261 tokens scored, float32 arithmetic\n(2 windows of 256 positions",
    "compare": "same model at tolerance 0",
    "logits": "5 positions x 1024 scores",
    "trace": "Trace of 3 tokens: 6 steps",
    "tokenize": "Once",
}

#: What a run of it leaves in the folder.
LEAVES = {
    "convert": ["stories.ggjt"],
    "pages": ["stories.ggjt"],
    "residency": ["stories.ggjt"],
    "compare": ["stories.ggjt"],
    "perplexity": ["story.txt"],
    "logits": ["logits.npy"],
    "trace": ["fox.npz"],
}

#: The example of `bench` takes half a minute as it stands; so does it in the slow tests.
QUICKER = {"bench": " -p 2 -n 1 -r 1 --kernels numpy"}

#: They ask the system which pages are where.
NEEDS_LINUX = ("pages", "residency", "experiment")

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the examples are written for a shell")


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z']+", text))


def run(name: str, folder, more: str = "") -> str:
    """Run the example of a command in an empty folder; what it prints."""
    here = folder / "an empty folder"
    here.mkdir()
    if "smollm2" in EXAMPLES[name] and name != "models" and known_model("smollm2").find() is None:
        pytest.skip("smollm2 is not installed: make smollm")
    done = in_shell(EXAMPLES[name] + more, here)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in here.iterdir()) == LEAVES.get(name, [])
    return done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_the_example_of_a_command_runs_in_an_empty_folder(name, tmp_path):
    if name in NEEDS_LINUX and os.uname().sysname != "Linux":
        pytest.skip("needs Linux")
    out = run(name, tmp_path, QUICKER.get(name, ""))
    assert SHOWS[name] in out
    if name in ("demo", "generate"):  # with another seed the model wrote "hisasure."
        story = out[out.index(SHOWS[name]) :].partition("\n\n")[0]
        assert words(story) <= words(" ".join(tell(seed)[0] for seed in range(1500)))


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICKER)
def test_the_example_of_a_long_command_runs_as_it_stands(name, tmp_path):
    assert SHOWS[name] in run(name, tmp_path)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_ends_with_its_example(name, capsys):
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    lines = EXAMPLES[name].splitlines()
    assert caught.value.code == 0
    assert capsys.readouterr().out.endswith("\n\nexample:\n  " + "\n  ".join(lines) + "\n")
    assert lines[-1].startswith(f"llama-edu {name} ")
