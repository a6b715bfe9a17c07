"""What somebody gets who installs the package: the wheel's files, and its types."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]

PROGRAM = '''
from pathlib import Path

import numpy as np

import llama_edu
from llama_edu.compare import compare
from llama_edu.convert import convert
from llama_edu.files.detect import read_checkpoint
from llama_edu.files.mapped import MappedFile
from llama_edu.pages.lab import PageLab
from llama_edu.pages.residency import residency
from llama_edu.quants.blocks import dequantize
from llama_edu.quants.quantize import quantize
from llama_edu.transformer.sampling import GREEDY


def story(path: Path, prompt: str) -> str:
    """What a model writes, and which pages of it that took."""
    with PageLab.open(path) as lab, llama_edu.load(path, lab=lab) as llama:
        with lab.record("story") as record:
            text = "".join(llama.generate(prompt, n_tokens=8, seed=1))
        logits: np.ndarray = llama.logits(llama.tokenizer.encode(text))
        width: int = llama.config.dim
    return f"{text} {record} {logits.shape} {width}"


reveal_type(llama_edu.load(llama_edu.bundled_checkpoint()))
story(3, "once")
'''


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel of this tree, built as pip builds it for somebody else."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, "wheel", "--no-deps", "--quiet", "--wheel-dir", folder, ROOT],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    (found,) = folder.glob("*.whl")
    return found


def test_the_wheel_has_the_package_its_model_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    info = f"{wheel.name.split('-py3')[0]}.dist-info"
    package = (ROOT / "llama_edu").rglob("*.py")
    fingerprints = (ROOT / "llama_edu" / "reconcile" / "fingerprints").glob("*.npz")
    texts = (ROOT / "llama_edu" / "slimmer").glob("*.txt")
    model = (ROOT / "data" / "stories").iterdir()
    assert names == {
        "llama_edu/py.typed",
        *(path.relative_to(ROOT).as_posix() for path in (*package, *fingerprints, *texts)),
        *(f"llama_edu/data/stories/{path.name}" for path in model),
        *(f"{info}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt")),
        f"{info}/licenses/LICENSE",
    }


def test_a_typed_program_of_a_user_is_checked_against_our_types(wheel, tmp_path):
    pytest.importorskip("mypy")
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    (site,) = venv.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (site / "ours.pth").write_text(sysconfig.get_path("purelib"))  # numpy, with its types
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", tmp_path / "cache",
         "--python-executable", venv / "bin" / "python", "program.py"],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert len(lines) == 3, done.stdout + done.stderr
    assert 'Revealed type is "llama_edu.llama.Llama"' in lines[0]
    assert 'Argument 1 to "story" has incompatible type "int"; expected "Path"' in lines[1]
