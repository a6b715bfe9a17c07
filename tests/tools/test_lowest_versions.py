"""The constraints that the weekly run installs are what pyproject.toml declares."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from lowest_versions import lowest_versions

TOOL = Path(__file__).resolve().parents[2] / "tools" / "lowest_versions.py"

PYPROJECT = """
[project]
name = "example"
dependencies = ["numpy>=1.26", "tqdm >= 4.66 ; python_version >= '3.99'"]
[project.optional-dependencies]
draw = ["matplotlib>=3.8,!=3.9.1,<4", "ipython[nbformat]==8.1.dev2"]
test = ["example[draw, jit]", "pytest>=8"]
jit = ["numba>=0.60"]
loose = ["colorama", "numpy<3"]
twice = ["numpy>=2"]
"""


def test_an_extra_brings_the_dependencies_and_the_extras_it_names():
    assert lowest_versions(PYPROJECT, ["test"]) == {
        "numpy": "1.26", "tqdm": "4.66", "matplotlib": "3.8", "ipython": "8.1.dev2",
        "pytest": "8", "numba": "0.60",
    }  # fmt: skip


def test_without_an_extra_there_are_the_dependencies_alone():
    assert lowest_versions(PYPROJECT, []) == {"numpy": "1.26", "tqdm": "4.66"}


def test_what_has_no_lowest_version_is_an_error_not_the_newest():
    with pytest.raises(ValueError, match=r"colorama: no lowest version, expected colorama>="):
        lowest_versions(PYPROJECT, ["loose"])


def test_two_lowest_versions_of_one_package_are_an_error():
    with pytest.raises(ValueError, match=r"numpy: 1\.26 and 2, expected one"):
        lowest_versions(PYPROJECT, ["twice"])


def test_the_projects_own_file_gives_constraints_that_pip_can_read():
    done = subprocess.run(
        [sys.executable, TOOL, "--extra", "test"], capture_output=True, text=True, check=True
    )
    lines = done.stdout.split()
    names, versions = zip(*(line.split("==") for line in lines), strict=True)
    assert {"numpy", "pytest", "numba", "matplotlib"} <= set(names) and all(versions)
