"""Lines of a shell as a reader types them, in a folder of their own and without a network."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import llama_edu

#: Where nobody listens: what asks the network fails at once.
_NOBODY = "http://127.0.0.1:9"


def in_shell(lines: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run lines in /bin/sh in a folder, with `llama-edu` on the path, up to the first error."""
    programs = folder.parent / f"{folder.name} programs"
    programs.mkdir(exist_ok=True)
    command = programs / "llama-edu"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m llama_edu "$@"\n')
    command.chmod(0o755)
    environment = {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(Path(llama_edu.__file__).parents[1]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "http_proxy": _NOBODY, "https_proxy": _NOBODY,
    }  # fmt: skip
    return subprocess.run(
        ["/bin/sh", "-ec", lines], stdin=subprocess.DEVNULL, capture_output=True, text=True,
        cwd=folder, env=os.environ | environment, timeout=900,
    )  # fmt: skip
