"""The program itself, as the console script starts it: `llama_edu.__main__:run`."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

from llama_edu import __main__ as entry

#: Ctrl+C while a module is imported.
INTERRUPTED = """
    import runpy, sys

    interrupted = sys.argv.pop(1)

    class CtrlC:
        def find_spec(self, name, path=None, target=None):
            if name == interrupted:
                raise KeyboardInterrupt

    sys.modules.pop(interrupted, None)
    sys.meta_path.insert(0, CtrlC())
    runpy.run_module("llama_edu", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    "module",
    [
        "llama_edu.cli",
        "argparse",
        "llama_edu.cli.generate",
        "llama_edu.llama",
        "numpy",
    ],
)
def test_an_interrupt_during_the_imports_shows_no_traceback(model, module):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(INTERRUPTED), module, "generate", *model],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 130, done.stderr
    assert done.stderr.strip() == "" and "Traceback" not in done.stdout


def test_the_console_script_and_python_m_are_one_function():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
    assert project["project"]["scripts"] == {"llama-edu": "llama_edu.__main__:run"}
    assert callable(entry.run)
