"""A memory control group for child processes, where this user may make one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from llama_edu.errors import MeasurementError


@contextmanager
def control_group(limit_bytes: int) -> Iterator[Path]:
    """A new control group (version 1 or 2) whose processes together may use `limit_bytes`.

    Yields its folder: a process that writes "0" into `cgroup.procs` there becomes a member. All
    members must have ended before the block does. Raises MeasurementError where this is not
    permitted.
    Source: Documentation/admin-guide/cgroup-v1/memory.rst and cgroup-v2.rst in the Linux tree.
    """
    try:
        groups = Path("/proc/self/cgroup").read_text()
    except OSError:
        raise MeasurementError("control groups: this system has none") from None
    found = re.search(r"^\d+:(?:[^:]*,)?memory(?:,[^:]*)?:(.*)$", groups, re.MULTILINE)
    if found:
        parent, limit = Path("/sys/fs/cgroup/memory") / found[1].lstrip("/"), "limit_in_bytes"
    else:
        parent, limit = Path("/sys/fs/cgroup"), "max"
    folder = parent / f"llama_edu_{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        raise MeasurementError(
            f"control groups: this user may not make one ({error.strerror})"
        ) from None
    try:
        try:
            (folder / f"memory.{limit}").write_text(str(limit_bytes))
        except OSError as error:
            raise MeasurementError(
                f"control groups: memory cannot be limited here ({error.strerror})"
            ) from None
        yield folder
    finally:
        folder.rmdir()


def run_limited(
    limit_bytes: int | None, function: str, arguments: Sequence[str]
) -> subprocess.CompletedProcess[str]:
    """Run a function of the package in a process that may use `limit_bytes`; its output as text.

    Args:
        limit_bytes: None for no limit, and no group.
        function: "module:name". It is called with a function that makes its process a member of
            the group, then with the arguments: what it allocates before joining stays charged to
            the group of this process.
    Raises:
        MeasurementError: no group can be made.
    """
    module, _, name = function.partition(":")
    code = (
        f"import sys; from pathlib import Path; from {module} import {name}; "
        f"group, *rest = sys.argv[1:]; "
        f"{name}(lambda: group and Path(group, 'cgroup.procs').write_text('0'), *rest)"
    )
    package = str(Path(__file__).parents[3])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    with nullcontext() if limit_bytes is None else control_group(limit_bytes) as group:
        return subprocess.run(
            [sys.executable, "-c", code, str(group or ""), *arguments],
            capture_output=True, text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        )  # fmt: skip
