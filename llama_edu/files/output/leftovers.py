"""What a run that was killed left beside its destinations: the next one puts it back or removes it.

The hidden files of a run say that they are ours, which run they belong to, and their place in its
set: ".NAME.llama-edu-RUN.PLACE.tmp" for a new file that is not in place yet, ".old" for the file
that it replaces, while a set is moved. The run holds a lock on each. The system releases the locks
of a process that is gone, however it ended; where a file system knows no locks, nothing is removed.
"""

from __future__ import annotations

import os
import re
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from llama_edu.errors import LlamaEduWarning
from llama_edu.text import visible

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

#: Names have at most 255 bytes. Longer ones are cut, and then not recognized again.
_LONGEST_NAME_BYTES, _CUT_CHARACTERS = 200, 40

_HIDDEN = re.compile(r"\.(.+)\.llama-edu-([0-9a-f]{12})\.([0-9]+)\.(tmp|old)", re.DOTALL)


def hidden_path(path: Path, run: str, place: int, ending: str) -> Path:
    """The name beside a destination for its new file ("tmp") or its old one ("old").

    Args:
        run: 12 hexadecimal digits, the same for all files of a set.
        place: of the destination in its set; 0 is the file without which the others are no model.
    """
    name = path.name
    if len(os.fsencode(name)) > _LONGEST_NAME_BYTES:
        name = name[:_CUT_CHARACTERS]
    return path.with_name(f".{name}.llama-edu-{run}.{place}.{ending}")


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Mark a hidden file, or one that becomes one, as that of a run that lives."""
    descriptor = _locked(path)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _locked(path: Path) -> int | None:
    """The file, opened and locked; None where another process holds it or it cannot be locked."""
    if fcntl is None:
        return None
    descriptor = None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        if descriptor is not None:
            os.close(descriptor)
        return None
    return descriptor


@dataclass(frozen=True)
class _Leftover:
    """A hidden file and where it belongs."""

    hidden: Path
    destination: Path
    place: int
    is_old: bool


def recover(paths: Sequence[Path]) -> None:
    """Put back or remove what runs that were killed left beside these destinations, and warn of it.

    A run that was killed while it moved a set left no file of place 0: its old files are put back.
    """
    for run, leftovers in _by_run(paths).items():
        with ExitStack() as stack:
            descriptors = [_locked(leftover.hidden) for leftover in leftovers]
            for descriptor in descriptors:
                if descriptor is not None:
                    stack.callback(os.close, descriptor)
            if None not in descriptors:
                with suppress(OSError):
                    _recover_run(run, leftovers, paths[0])


def _by_run(paths: Sequence[Path]) -> dict[str, list[_Leftover]]:
    """The hidden files of each run that wrote to one of these destinations."""
    runs: dict[str, list[_Leftover]] = defaultdict(list)
    for folder in dict.fromkeys(path.parent for path in paths):
        with suppress(OSError, ValueError):
            for hidden in folder.iterdir():
                found = _HIDDEN.fullmatch(hidden.name)
                if found is not None:
                    name, run, place, ending = found.groups()
                    destination = folder / name
                    runs[run].append(_Leftover(hidden, destination, int(place), ending == "old"))
    ours = set(paths)
    return {
        run: leftovers
        for run, leftovers in runs.items()
        if any(leftover.destination in ours for leftover in leftovers)
    }


def _recover_run(run: str, leftovers: Sequence[_Leftover], where: Path) -> None:
    old = [leftover for leftover in leftovers if leftover.is_old]
    is_put_back = any(one.place == 0 and not one.destination.exists() for one in old)
    if is_put_back:
        for leftover in sorted(old, key=lambda one: -one.place):  # the first one last
            leftover.hidden.replace(leftover.destination)
    for leftover in leftovers:
        leftover.hidden.unlink(missing_ok=True)
    removed = len(leftovers) - (len(old) if is_put_back else 0)
    done = []
    if is_put_back:
        done.append(f"the old file{'s' * (len(old) > 1)}, {len(old)} moved aside, put back")
    if removed:
        done.append(f"{removed} hidden file{'s' * (removed > 1)} removed")
    warnings.warn(
        f"{visible(str(where))}: an earlier run was killed while it wrote here: {', '.join(done)}",
        LlamaEduWarning,
        stacklevel=2,
    )
