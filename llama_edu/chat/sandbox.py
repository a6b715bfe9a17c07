"""The program of the process that renders chat templates: a line of JSON in, a line of JSON out.

    python -I -S sandbox.py FOLDER...      # the folders of jinja2 and markupsafe

A template comes with a model file, so it is an untrusted program. jinja2's sandbox keeps it away
from Python's attributes; this process is what it runs in, and has nothing: no files, no further
processes, `_MEMORY_BYTES` of memory, and the processor time that renderer.py allows. Limits that
the system does not have (Windows has none of them, macOS no limit of memory) are left out.

The environment is set up as transformers does it (utils/chat_template_utils.py), except that asking
for a forbidden attribute is an error at once, even where its value is not used.

It runs as a script, and imports nothing of the package but typed.py, which lies beside it.
"""

from __future__ import annotations

import json
import random
import re
import signal
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from types import ModuleType
from typing import Any

_MEMORY_BYTES = 512 * 2**20


def main() -> None:
    """Answer one request after another until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the conversation
    sys.path += sys.argv[1:]
    out = sys.stdout
    try:
        renderer = _Renderer()
    except Exception as error:  # whatever is wrong with the installed jinja2
        _answer(out, {"error": "jinja2", "says": f"{type(error).__name__}: {error}"})
        return
    time.localtime()  # reads the time zone's file
    limits = _take_rights()
    _answer(out, {"ready": True})
    for line in sys.stdin:
        request = json.loads(line)
        if limits is not None:
            _allow_seconds(limits, request["seconds"])
        _answer(out, renderer.answer(request))


def _answer(out: Any, answer: dict[str, object]) -> None:
    out.write(json.dumps(answer) + "\n")
    out.flush()


def _take_rights() -> ModuleType | None:
    """Give up files, processes and most of the memory; the module that sets limits, if any."""
    try:
        import resource
    except ImportError:
        return None
    for name, limit in (
        ("RLIMIT_AS", _MEMORY_BYTES),
        ("RLIMIT_NOFILE", 0),
        ("RLIMIT_NPROC", 0),
        ("RLIMIT_FSIZE", 0),
        ("RLIMIT_CORE", 0),
    ):
        with suppress(AttributeError, ValueError, OSError):
            resource.setrlimit(getattr(resource, name), (limit, limit))
    return resource


def _allow_seconds(resource: ModuleType, seconds: float) -> None:
    """Let the system end this process after that much more processor time, if no one else does."""
    used = time.process_time()
    with suppress(ValueError, OSError):
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        resource.setrlimit(resource.RLIMIT_CPU, (int(used + seconds) + 2, hard))


class _TooLong(Exception):
    """A template wrote more than it may."""


class _Renderer:
    """jinja2, set up for chat templates; keeps the last template compiled."""

    def __init__(self) -> None:
        # typed.py is imported by its own name: the package is not on the path, on purpose
        import typed  # type: ignore[import-not-found]
        from jinja2.sandbox import SecurityError

        self._stand_ins_type = typed.StandIns
        self._typed_type = typed.Typed
        self._stand_ins: Any = None
        self._moment = datetime.now()
        self._environment = _environment(self)
        self._source: str | None = None
        self._template: Any = None
        try:  # by this way templates left the sandbox of jinja2 before 3.1.6
            self._environment.from_string("{{ ('{0.__class__}'|attr('format'))(1) }}").render()
        except SecurityError:
            return
        raise ImportError("its sandbox has a known hole; version 3.1.6 closed it")

    def answer(self, request: dict[str, Any]) -> dict[str, object]:
        """What a template writes with the real texts ("plain") and with stand-ins ("marked")."""
        try:
            if request["template"] != self._source:
                self._source = None
                self._template = self._environment.from_string(request["template"])
                self._source = request["template"]
            self._moment = datetime.now()
            return {
                "plain": self._written(request, None),
                "marked": self._written(request, self._stand_ins_type(*request["stand_ins"])),
            }
        except _TooLong:
            return {"error": "size"}
        except MemoryError:
            self._source = self._template = None
            return {"error": "memory"}
        except RecursionError:
            return {"error": "depth"}
        except Exception as error:
            kind = type(error).__name__
            line = getattr(error, "lineno", None)
            says = str(getattr(error, "message", None) or error)[:500]
            return {"error": "template", "kind": kind, "says": says, "line": line}

    def _written(self, request: dict[str, Any], stand_ins: Any) -> str:
        self._stand_ins = stand_ins
        random.seed(0)  # both renderings draw alike
        messages = request["messages"]
        if stand_ins is not None:
            messages = [m | {"content": stand_ins.hidden(m["content"])} for m in messages]
        pieces: list[str] = []
        room = request["most_characters"]
        for piece in self._template.generate(messages=messages, **request["variables"]):
            room -= len(piece)
            if room < 0:
                raise _TooLong
            pieces.append(piece)
        return "".join(pieces)

    # what templates call

    def join(self, pieces: Iterable[str]) -> str:
        """The text of a macro or a block; typed if a user typed a part of it."""
        text = "".join(pieces)
        if self._stand_ins is not None and self._stand_ins.are_in(text):
            return str(self._typed_type(text, self._stand_ins))
        return text

    def tojson(
        self,
        value: object,
        ensure_ascii: bool = False,
        indent: Any = None,
        separators: Any = None,
        sort_keys: bool = False,
    ) -> str:
        """A value as JSON, without the escapes for HTML that jinja2's own filter adds."""
        text = json.dumps(
            value, ensure_ascii=False, indent=indent, separators=separators, sort_keys=sort_keys
        )
        if ensure_ascii:
            text = re.sub(r"[^\x00-\x7f]", self._escape, text)
        return self.join([text])

    def _escape(self, match: re.Match[str]) -> str:
        if self._stand_ins is not None and self._stand_ins.are_in(match[0]):
            return match[0]
        return json.dumps(match[0])[1:-1]

    def strftime_now(self, layout: str) -> str:
        """The moment of this rendering, in a layout of strftime."""
        return self._moment.strftime(layout)


def _environment(renderer: _Renderer) -> Any:
    """jinja2's environment as transformers sets it up."""
    from jinja2.exceptions import SecurityError, TemplateError
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Environment(ImmutableSandboxedEnvironment):
        concat: Callable[[Iterable[str]], str] = staticmethod(renderer.join)  # type: ignore[assignment]

        def getattr(self, obj: Any, attribute: str) -> Any:
            refuse(attribute)
            return super().getattr(obj, attribute)

        def getitem(self, obj: Any, argument: Any) -> Any:
            refuse(argument)
            return super().getitem(obj, argument)

        def unsafe_undefined(self, obj: Any, attribute: str) -> Any:
            raise SecurityError(f"it asks for the attribute {attribute}, which is forbidden")

    def refuse(name: object) -> None:
        if isinstance(name, str) and name.startswith("__"):  # even where there is none
            raise SecurityError(f"it asks for the attribute {name}, which is forbidden")

    def raise_exception(message: object) -> None:
        raise TemplateError(f"{message}")

    environment = Environment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_generation_tag(), loopcontrols]
    )
    environment.filters["tojson"] = renderer.tojson
    environment.globals |= {
        "raise_exception": raise_exception,
        "strftime_now": renderer.strftime_now,
        "dict": lambda *args, **kwargs: dict(*args, **kwargs),  # a function has no fromkeys, no mro
        "namespace": _plain_namespace(),
    }
    del environment.globals["lipsum"]  # reads a file, which this process cannot
    return environment


def _generation_tag() -> type:
    """{% generation %} marks what a model is trained on; here it only encloses."""
    from jinja2 import nodes
    from jinja2.ext import Extension

    class Generation(Extension):
        tags = {"generation"}  # noqa: RUF012 - jinja2 declares it so

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body, lineno=line)

    return Generation


def _plain_namespace() -> type:
    """`namespace` of templates, without attributes of Python's own."""
    from jinja2.exceptions import SecurityError
    from jinja2.utils import Namespace

    def check(name: object) -> None:
        if isinstance(name, str) and name.startswith("_"):
            raise SecurityError(f"it sets the attribute {name}, which is forbidden")

    class PlainNamespace(Namespace):
        def __init__(*args: Any, **kwargs: Any) -> None:
            self, *rest = args  # `namespace(self=1)` works as in jinja2
            values = dict(*rest, **kwargs)
            for name in values:
                check(name)
            Namespace.__init__(self, values)

        def __setitem__(self, name: str, value: Any) -> None:
            check(name)
            super().__setitem__(name, value)

    return PlainNamespace


if __name__ == "__main__":
    main()
