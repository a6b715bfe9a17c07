"""A process that renders chat templates, with a limit on time, memory and size.

A template is a program from an untrusted file. It can loop for ever, or build a text of ten
gigabytes in one operation that no thread can interrupt; so it runs in a process of its own
(sandbox.py), which is ended when its time is over. The process starts with the first rendering
(about a tenth of a second), waits between turns, and ends with the conversation or with Python.
It gets the folders of jinja2 and nothing else of this process: no environment variables but those
of the system itself, no open files.

It is started by exec (no fork that goes on in Python), so it does not matter which threads run.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from llama_edu.errors import FormatError, LlamaEduError, RequestError
from llama_edu.text import one_line

#: Seconds that one template may take for one conversation. Real ones take a few milliseconds.
MOST_SECONDS = 5.0

#: Seconds that Python and jinja2 may take to start. A tenth is usual; a busy machine may need more.
_START_SECONDS = 60.0

#: Characters that a template may have, and those that it may write.
MOST_TEMPLATE_CHARACTERS = 2**20
MOST_CHARACTERS = 4 * 2**20

#: Variables of the environment without which Python may not start, or tells another time.
_NEEDED = ("SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TZ", "TZDIR")


@dataclass(frozen=True)
class Rendering:
    """What a template wrote.

    `text`: as it is. `marked`: the same with a stand-in for each character that came from a
    message and that has one; see typed.py.
    """

    text: str
    marked: str


class Renderer:
    """A process that renders; started when it is first needed, and again if something ended it.

    May be used by several threads, one after another; a copy in a forked process starts its own.
    """

    def __init__(self, seconds: float = MOST_SECONDS) -> None:
        self.seconds = seconds
        self._process: _Process | None = None
        self._lock = threading.Lock()

    def render(
        self,
        template: str,
        messages: Sequence[Mapping[str, str]],
        variables: Mapping[str, object],
        stand_ins: tuple[str, str] = ("", ""),
        *,
        where: str = "chat template",
    ) -> Rendering:
        """Render a template, once with the messages as they are and once with stand-ins in them.

        Args:
            variables: what the template may use besides `messages`.
            stand_ins: two texts of equal length: characters, and what stands for each of them.
            where: what the template is called in errors.
        Raises:
            FormatError: the template is wrong, forbidden, too large or too slow.
            RequestError: the template refuses these messages, they are too long, or jinja2 is not
                installed.
        """
        if len(template) > MOST_TEMPLATE_CHARACTERS:
            raise FormatError(
                f"{where}: has {len(template):,} characters, expected at most "
                f"{MOST_TEMPLATE_CHARACTERS:,}; give another one with --template, or template= in "
                f"Python"
            )
        n_characters = sum(len(message["content"]) for message in messages)
        if n_characters > MOST_CHARACTERS:
            raise RequestError(
                f"messages: have {n_characters:,} characters, expected at most "
                f"{MOST_CHARACTERS:,}; shorten them"
            )
        request = {
            "template": template,
            "messages": list(messages),
            "variables": dict(variables),
            "stand_ins": stand_ins,
            "seconds": self.seconds,
            "most_characters": MOST_CHARACTERS,
        }
        answer = self._answer(json.dumps(request).encode("ascii") + b"\n", where)
        if "error" in answer:
            raise _error(answer, where, self.seconds)
        return Rendering(str(answer["plain"]), str(answer["marked"]))

    def close(self) -> None:
        """End the process; the next rendering would start another."""
        with self._lock:
            self._drop()

    def _answer(self, request: bytes, where: str) -> dict[str, object]:
        """Ask, in a fresh process if the one at hand turns out to be gone."""
        with self._lock:
            for is_last in (False, True):
                process = self._running()
                try:
                    line = process.ask(request, self.seconds)
                except _TimeOver:
                    self._drop()
                    return {"error": "time"}
                except BaseException:  # Ctrl+C: its answer would be taken for the next one's
                    self._drop()
                    raise
                if line:
                    return dict(json.loads(line))
                self._drop()
                if is_last:
                    return {"error": "ended", "code": process.code}
        raise AssertionError

    def _running(self) -> _Process:
        if self._process is not None and self._process.owner != os.getpid():
            self._process = None  # the parent's, which goes on using it
        if self._process is None:
            self._process = _Process()
            weakref.finalize(self, self._process.end)
        return self._process

    def _drop(self) -> None:
        if self._process is not None:
            self._process.end()
            self._process = None


class _TimeOver(Exception):
    """The process was ended because it took too long."""


class _Process:
    """The process itself: one line in, one line out."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        program = Path(__file__).with_name("sandbox.py")
        folders = [_folder_of("jinja2"), _folder_of("markupsafe"), str(program.parent)]
        command = [sys.executable, "-I", "-S", "-B", str(program), *dict.fromkeys(folders)]
        self._timed_out = False
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=os.path.abspath(os.sep),  # noqa: PTH100 - keeps no folder of the user busy
                env={name: os.environ[name] for name in _NEEDED if name in os.environ},
                start_new_session=True,  # Ctrl+C in the terminal does not reach it
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except (OSError, ValueError) as error:  # no processes here (a browser), or no executable
            raise LlamaEduError(
                f"chat template: is rendered in a process of its own, and {sys.executable!r} "
                f"cannot be started ({error})"
            ) from None
        try:
            answer = json.loads(self._line(_START_SECONDS) or b'{"error": "jinja2", "says": ""}')
        except BaseException as error:
            self.end()
            if isinstance(error, _TimeOver):
                raise LlamaEduError(
                    f"chat template: the process that renders it did not start within "
                    f"{_START_SECONDS:g} seconds; try again when the machine is less busy"
                ) from None
            raise
        if "error" in answer:
            self.end()
            raise RequestError(
                f"chat template: jinja2 cannot be used here ({one_line(answer['says'], 200)}); "
                f"install it with: pip install 'jinja2>=3.1.6'"
            )

    def ask(self, request: bytes, seconds: float) -> bytes:
        """The answer to a request; b"" if the process has ended. _TimeOver after so long."""
        assert self._process.stdin is not None
        timer = self._end_after(seconds)
        try:
            self._process.stdin.write(request)
            self._process.stdin.flush()
        except OSError:  # it is gone
            return b""
        finally:
            timer.cancel()
        return self._line(seconds)

    def _line(self, seconds: float) -> bytes:
        assert self._process.stdout is not None
        timer = self._end_after(seconds)
        try:
            line = self._process.stdout.readline()
        finally:
            timer.cancel()
        if line.endswith(b"\n"):
            return line
        if self._timed_out:
            raise _TimeOver
        return b""

    def _end_after(self, seconds: float) -> threading.Timer:
        """End the process in a while, by a thread: a wait on a pipe has no limit everywhere."""

        def end() -> None:
            self._timed_out = True
            self._process.kill()

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        return timer

    @property
    def code(self) -> int | None:
        """How it ended: an exit code, or minus the number of a signal."""
        return self._process.returncode

    def end(self) -> None:
        """End it, if it is this process's own; nothing is left behind."""
        if os.getpid() != self.owner:
            return
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(OSError):  # a part of a request was still in it
                pipe.close()
        self._process.wait()


def _folder_of(module: str) -> str:
    """The folder that has to be on the path to import a module, which is not imported here."""
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        raise RequestError(
            f"chat template: rendering it needs {module}, which is not installed; run: "
            f"pip install jinja2"
        )
    return str(Path(found.origin).parent.parent)


def _error(answer: Mapping[str, object], where: str, seconds: float) -> LlamaEduError:
    """What the sandbox reports, as a sentence."""
    other = "give another one with --template, or template= in Python"
    kind, says = answer.get("kind"), one_line(str(answer.get("says", "")), 300)
    match answer["error"]:
        case "time":
            return FormatError(
                f"{where}: took more than {seconds:g} seconds to render, and was ended; {other}"
            )
        case "size":
            return FormatError(
                f"{where}: writes more than {MOST_CHARACTERS:,} characters, and was ended; {other}"
            )
        case "memory":
            return FormatError(f"{where}: needs more memory than a template may have; {other}")
        case "ended":
            return FormatError(
                f"{where}: ended the process that rendered it (code {answer['code']}), twice; "
                f"{other}"
            )
        case "depth":
            return FormatError(f"{where}: is nested too deeply, or calls itself for ever; {other}")
    line = answer.get("line")
    at = f" in line {line}" if isinstance(line, int) else ""
    if kind == "TemplateError":  # raise_exception of the template's author
        return RequestError(f"{where}: refuses these messages: {says}")
    if kind == "SecurityError":
        return FormatError(f"{where}: is refused, {says}; {other}")
    if kind == "TemplateSyntaxError":
        return FormatError(f"{where}: is not a jinja2 template{at} ({says}); {other}")
    return FormatError(f"{where}: fails{at} ({kind}: {says}); {other}")
