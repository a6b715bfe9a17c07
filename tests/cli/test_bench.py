"""llama-edu bench: what it prints, lists of choices, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from llama_edu.bench import measure

SMALL = ["--kernels", "numpy", "-p", 3, "-n", 2, "-r", 2]


@pytest.fixture(autouse=True)
def no_settling(monkeypatch):
    monkeypatch.setattr(measure, "SETTLE_S", 0)


def test_a_table_with_a_row_for_each_test(run_cli, model):
    code, out, _ = run_cli("bench", "m.bin", *SMALL)
    lines = out.splitlines()
    assert code == 0 and lines[0].startswith("model") and "tokens/s" in lines[0]
    for line, test in zip(lines[1:4], ("load", "pp3", "tg2"), strict=True):
        assert f"  {test} " in line
    assert lines[2].count("±") == 2 and "load average" in out


def test_lists_are_separated_by_commas_and_json_is_one_document(run_cli, model):
    code, out, _ = run_cli("bench", "m.bin", *SMALL, "--threads", "1, 2", "--arithmetic",
                           "float32,int8", "--json")  # fmt: skip
    document = json.loads(out)
    assert code == 0 and document["n_prompt"] == 3 and document["repetitions"] == 2
    assert [(row["arithmetic"], row["threads"]) for row in document["rows"][::3]] == [
        ("float32", 1), ("float32", 2), ("int8", 1), ("int8", 2)
    ]  # fmt: skip


def test_weights_can_be_read_and_what_a_file_does_not_say_can_be_given(run_cli, model):
    code, out, _ = run_cli("bench", "m.bin", *SMALL, "--no-mmap", "--context", 60, "-p", 55,
                           "--json")  # fmt: skip
    assert code == 0 and json.loads(out)["model"]["context"] == 60


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["-p", 51], "n_prompt is 51, expected 0 to 50, the model's context"),
        (["--threads", "1,two"], "--threads: '1,two', expected integers separated by commas: 1,2"),
        (["--threads", "0"], "threads is 0, expected 1 or more"),
        (["--kernels", "numpy,fast"], "kernels is 'fast', expected one of auto, numpy, jit"),
        (["--kernels", ""], "kernels is '', expected one of auto, numpy, jit"),
        (["--arithmetic", "int9"], "arithmetic is 'int9', expected one of"),
        (["-r", 0], "repetitions is 0, expected 1 or more"),
    ],
)
def test_what_cannot_be_measured_is_a_sentence(run_cli, model, options, says):
    code, out, err = run_cli("bench", "m.bin", *SMALL, *options)
    assert (code, out) == (2, "") and err.startswith("llama-edu: ") and says in err


WITHOUT_NUMBA = """
import sys
sys.modules["numba"] = None
from llama_edu.cli import main
sys.exit(main(["bench", "stories", "-p", "1", "-n", "0", "-r", "1", *sys.argv[1:]]))
"""


def test_jit_without_numba_says_how_to_get_it(in_folder):
    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-c", WITHOUT_NUMBA, *arguments], capture_output=True, text=True
        )

    done = run("--kernels", "jit")
    assert done.returncode == 2 and "run: pip install numba" in done.stderr
    done = run()
    assert done.returncode == 0 and "Left out: kernels 'jit' need numba" in done.stdout
    assert " numpy " in done.stdout and done.stderr == ""


def test_ctrl_c_prints_what_is_done_and_exits_with_130(run_cli, model, monkeypatch):
    real, runs = measure._Contender.run, []

    def run(self, test, n_tokens):
        runs.append(test)
        if len(runs) == 6:
            raise KeyboardInterrupt
        return real(self, test, n_tokens)

    monkeypatch.setattr(measure._Contender, "run", run)
    code, out, err = run_cli("bench", "m.bin", *SMALL)
    assert code == 130 and "pp3" in out and "tg2" not in out and "Interrupted" in out
    assert "Traceback" not in err
