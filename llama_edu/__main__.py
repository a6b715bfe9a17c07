"""`python -m llama_edu` is the same program as `llama-edu`."""

from __future__ import annotations

import sys


def run() -> int:
    """Run the command line; Ctrl+C ends it without a traceback, from its first import on."""
    try:
        from llama_edu.cli import main

        return main()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(run())
