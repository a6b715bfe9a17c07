"""A memory control group for one child process, where this user may make one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
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
