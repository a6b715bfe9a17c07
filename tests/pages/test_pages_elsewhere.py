"""On a system without Linux's interfaces the lab imports, opens and says what it cannot do."""

import re
import subprocess
import sys
from pathlib import Path

from helpers import ground_truth as gt

#: Makes this Python look like one on Windows, as far as this package can tell.
ELSEWHERE = """
import io, mmap, os, pathlib, platform, sys
for name in ("resource", "fcntl"):
    sys.modules[name] = None
for name in [n for n in dir(mmap) if n.startswith(("MADV_", "MAP_", "PROT_"))]:
    delattr(mmap, name)
for name in ("posix_fadvise", "geteuid", "pread", "O_CLOEXEC", "fork"):
    delattr(os, name)
platform.system = lambda: "Windows"
platform.machine = lambda: "AMD64"
real_open, real_io_open = os.open, io.open
def no_proc(opener):
    def wrapped(path, *args, **kwargs):
        if str(path).startswith(("/proc", "/sys")):
            raise FileNotFoundError(2, "no such file")
        return opener(path, *args, **kwargs)
    return wrapped
os.open, io.open = no_proc(os.open), no_proc(io.open)

import numpy as np
import llama_edu.pages.trace, llama_edu.pages.residency, llama_edu.pages.touches
from llama_edu.errors import MeasurementError
from llama_edu.pages.doctor import examine
from llama_edu.pages.lab import PageLab
from helpers.small_lab import TENSORS, decode

path = sys.argv[1]
with PageLab(path, TENSORS) as lab:
    print(lab.describe())
    with lab.record("decode") as record:
        decode(lab, 7)
    print(record)
print(examine(n_pages=300))
try:
    llama_edu.pages.residency.residency(path)
except MeasurementError as error:
    print(error)
"""


def test_a_system_that_lets_nobody_measure_still_gets_the_computed_pages(tmp_path):
    from helpers.small_lab import N_BYTES

    path = gt.write_file(tmp_path / "model.bin", N_BYTES)
    tests = Path(gt.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(path)],
        capture_output=True, text=True, timeout=60, env={"PYTHONPATH": f"{gt.PACKAGE}:{tests}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    for name in gt.BACKENDS:
        assert f"refused   {name}: " in done.stdout
    assert "in use    faults: fault counters only" in done.stdout
    assert "Verdict: computed, not measured" in done.stdout
    assert "faults: not counted on this system" in done.stdout
    table = done.stdout.partition("counter     ")[2].splitlines()[1:14]  # the doctor's
    assert [re.search(r" {2,}(\w+) +-  +-  ", line)[1] for line in table] == ["refused"] * 13
    assert "neither owns the file nor may write it (or this is not Unix)" in done.stdout
