"""A program in a pseudo-terminal: what it shows, and keys for it."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time


class Terminal:
    """Runs this Python with arguments; everything that it shows is in `shown`."""

    def __init__(self, *arguments, cwd=None, env=None):
        self.shown = ""
        self._master, slave = pty.openpty()
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", **(env or {})}
        self.process = subprocess.Popen(
            [sys.executable, *arguments], stdin=slave, stdout=slave, stderr=slave, cwd=cwd,
            env=environment, start_new_session=True, preexec_fn=lambda: _take_terminal(slave),
        )  # fmt: skip
        os.close(slave)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        os.close(self._master)

    def type(self, text):
        os.write(self._master, text.encode())

    def wait_for(self, text, since=0, timeout_s=60):
        """Read until a text was shown after position `since`; returns the position after it."""
        deadline = time.monotonic() + timeout_s
        while text not in self.shown[since:]:
            assert time.monotonic() < deadline, f"no {text!r} in {self.shown[since:]!r}"
            assert self._read(), f"ended without {text!r}: {self.shown[since:]!r}"
        return self.shown.index(text, since) + len(text)

    def wait_for_more(self, since, n_characters):
        """Read until so much was shown after position `since`."""
        while len(self.shown) < since + n_characters:
            assert self._read(), "ended"

    def end(self, key="", timeout_s=60):
        """Read until the program ends; its exit code.

        `key` is typed again where nothing happens for a second: a signal between the prompt and the
        wait for a key is noticed at the next one, and Ctrl+D before the wait is not kept.
        """
        deadline = time.monotonic() + timeout_s
        self.type(key)
        n_shown = len(self.shown)
        while self._read():
            assert time.monotonic() < deadline, f"does not end: {self.shown[-500:]!r}"
            if len(self.shown) == n_shown and self.process.poll() is None:
                self.type(key)
            n_shown = len(self.shown)
        return self.process.wait(60)

    def _read(self):
        if not select.select([self._master], [], [], 1)[0]:
            return True
        try:
            data = os.read(self._master, 65536)
        except OSError:  # Linux reports the end so
            return False
        self.shown += data.decode("utf-8", "replace").replace("\r\n", "\n")
        return bool(data)


def _take_terminal(slave):
    """Make it the controlling terminal, so that Ctrl+C becomes a signal."""
    import fcntl
    import termios

    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
