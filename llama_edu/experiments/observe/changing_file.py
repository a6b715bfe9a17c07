"""What a reader sees of a file that another program changes: through a mapping, and by pread.

A child process reads, because one of the outcomes kills it.
"""

from __future__ import annotations

import mmap
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from llama_edu.errors import MeasurementError
from llama_edu.table import Rows

Reader = Literal["mmap", "pread"]
Damage = Literal["cut off before the page", "half of the page written over"]

#: Reads the last page, lets it be changed, looks again. It imports nothing of ours.
_CHILD = """
import mmap, os, resource, sys
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
reader, damage, path = sys.argv[1:]
page = mmap.PAGESIZE
fd = os.open(path, os.O_RDWR)
last = os.fstat(fd).st_size - page
if reader == "mmap":
    seen = memoryview(mmap.mmap(fd, 0, access=mmap.ACCESS_READ))[last:]
else:
    seen = bytearray(page)
    os.preadv(fd, [seen], last)
assert bytes(seen) == b"o" * page
if damage.startswith("cut"):
    os.ftruncate(fd, last)
    if reader == "pread":
        print(f"{len(os.pread(fd, page, last)):,} bytes at the next pread;", end=" ")
else:
    os.pwrite(fd, b"n" * (page // 2), last)
old = bytes(seen).count(b"o")
print(f"{old:,} of {page:,} bytes as they were")
"""


@dataclass(frozen=True)
class Sight(Rows):
    """What a reader that had read a page saw of it after the file was changed.

    Attributes:
        killed_by: the name of the signal that ended the reader, or "".
        outcome: in words.
    """

    reader: Reader
    damage: Damage
    killed_by: str
    outcome: str


def look_at(reader: Reader, damage: Damage, folder: str | Path | None = None) -> Sight:
    """Read the last page of a small temporary file, change the file, and look at the page again.

    Raises MeasurementError where this system has no pread, or the child ended in another way.
    Source: mmap(2), SIGBUS; pread(2).
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix="llama_edu_") as made:
        file = Path(made) / "changed.bin"
        file.write_bytes(b"o" * (3 * mmap.PAGESIZE))
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _CHILD, reader, damage, str(file)],
            capture_output=True, text=True,
        )  # fmt: skip
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        return Sight(reader, damage, name, f"killed by {name}")
    if done.returncode:
        raise MeasurementError(
            f"{reader}, {damage}: the reading process ended with code {done.returncode}, expected "
            f"an answer or a signal; is this Linux or macOS?"
        )
    return Sight(reader, damage, "", done.stdout.strip())
