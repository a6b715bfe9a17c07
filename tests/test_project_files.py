"""What several files of the project say about one thing: they say the same."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

import llama_edu

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def test_the_linters_have_one_version_everywhere():
    pinned = PROJECT["optional-dependencies"]["dev"]
    assert [re.sub("==.*", "", pin) for pin in pinned] == ["ruff", "mypy"]
    hooks = re.findall(r"\[((?:ruff|mypy)==[^,\]]+)", read(".pre-commit-config.yaml"))
    assert set(hooks) == set(pinned)


def test_every_python_that_is_claimed_is_tried():
    claimed = re.findall(r":: (3\.\d+)\b", "\n".join(PROJECT["classifiers"]))
    (tried,) = re.findall(r"^ +python: \[(.+)\]", read(".github/workflows/ci.yml"), flags=re.M)
    assert claimed == tried.replace('"', "").split(", ")
    assert PROJECT["requires-python"] == f">={claimed[0]}"


def test_the_address_and_the_version_are_the_same_everywhere():
    home = PROJECT["urls"]["Homepage"]
    assert all(home in read(name) for name in ("CITATION.cff", "SECURITY.md"))
    for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CITATION.cff", "mkdocs.yml"):
        for found in re.findall(r"https://github\.com/[\w-]*llama[_-]edu[\w-]*/[\w-]+", read(name)):
            assert found == home, name
    assert PROJECT["version"] == llama_edu.__version__
    assert f"version: {llama_edu.__version__}\n" in read("CITATION.cff")


def test_every_module_that_mypy_treats_apart_is_there():
    settings = tomllib.loads(read("pyproject.toml"))["tool"]["mypy"]["overrides"]
    for names in (override["module"] for override in settings):
        for name in [names] if isinstance(names, str) else names:
            path = ROOT / name.removesuffix(".*").replace(".", "/")
            assert path.with_suffix(".py").exists() or (path / "__init__.py").exists(), name


def test_workflows_run_nothing_but_the_one_script():
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        commands = re.findall(r"run: (.*)", path.read_text("utf-8"))
        assert commands and all(re.fullmatch(r"bash \.ci/run \w+", c) for c in commands), path


@pytest.fixture
def run_ci(tmp_path):
    """Run a copy of .ci/run, in a folder with a space, with a make that writes down what it got."""
    clone = tmp_path / "a clone"
    (clone / ".ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "run", clone / ".ci")
    make = tmp_path / "make"
    make.write_text('#!/bin/sh\necho "make $*"\nenv\n')
    make.chmod(0o755)

    def run(*arguments, **environment):
        return subprocess.run(
            ["bash", clone / ".ci" / "run", *arguments],
            capture_output=True, text=True, cwd="/",
            env={"HOME": str(tmp_path), "PATH": f"{tmp_path}:{os.environ['PATH']}"} | environment,
        )  # fmt: skip

    return run


@pytest.mark.skipif(os.name != "posix", reason="the make of this test is a shell script")
class TestTheScriptOfContinuousIntegration:
    def test_nothing_of_the_callers_environment_comes_through_but_what_is_named(self, run_ci):
        done = run_ci("unit", PIP_CERT="here.pem", PYTHONUNBUFFERED="1", MPLBACKEND="svg", LANG="C")
        lines = done.stdout.splitlines()
        assert done.returncode == 0 and lines[0] == "make test-unit"
        names = {line.partition("=")[0] for line in lines[1:]} - {"_", "PWD", "OLDPWD", "SHLVL"}
        assert names == {"CI", "DEBIAN_FRONTEND", "HOME", "LANG", "PATH", "PIP_CERT"}
        assert {"CI=true", "LANG=C.UTF-8", "PIP_CERT=here.pem"} <= set(lines)

    def test_published_models_beside_the_clone_are_found(self, run_ci, tmp_path):
        assert "LLAMA_EDU_REAL" not in run_ci("unit").stdout
        (tmp_path / "shared").mkdir()
        assert f"LLAMA_EDU_REAL={tmp_path / 'shared'}\n" in run_ci("unit").stdout

    def test_without_a_stage_it_runs_the_tests_and_then_the_browsers(self, run_ci):
        made = [line for line in run_ci().stdout.splitlines() if line.startswith("make ")]
        assert made == ["make test", "make chromium", "make test-browser"]

    def test_a_stage_that_is_not_there_is_refused(self, run_ci):
        done = run_ci("unti")
        assert done.returncode == 2 and "stage 'unti', expected all, unit" in done.stderr
