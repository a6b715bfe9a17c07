"""SIGBUS: what a process gets for reading a mapped page that its file no longer has.

The file became shorter, or its disk or network failed. Read(2) would return an error; a mapping
has no other way to say it than this signal, which ends the process without a word. Python's own
handlers run when the interpreter is back between two instructions, and the instruction that failed
never ends. So a handler is set in C, which calls back into Python from where it happened.

That thread may be one of BLAS or in compiled code, without Python's lock. It gets the lock, because
numpy and the compiled loops release it before they multiply; a thread that holds it gets it at
once.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

#: More bytes than struct sigaction has on any system. It begins with the address of the handler.
_SIGACTION_BYTES = 512


@contextmanager
def bus_error_explained(path: str | None, *, can_read: bool) -> Iterator[None]:
    """Let a SIGBUS in the block end the process with a sentence on stderr and exit code 2.

    Where anything else handles the signal already (faulthandler, a notebook's kernel), it stays.

    Args:
        path: the file or folder that the command maps, made safe for a terminal; None if unknown.
        can_read: whether the command has --no-mmap.
    """
    number = getattr(signal, "SIGBUS", None)
    if number is None:  # Windows, where a file that is mapped cannot be cut off
        yield
        return
    import ctypes

    library = ctypes.CDLL(None)
    before, now = (ctypes.create_string_buffer(_SIGACTION_BYTES) for _ in range(2))
    known = library.sigaction(number, None, before) == 0
    if not known or ctypes.c_void_p.from_buffer(before).value is not None:  # SIG_DFL is 0
        yield
        return
    sentence = _sentence(path, can_read=can_read).encode(errors="backslashreplace")
    first = threading.Lock()

    def explain(number: int) -> None:
        if not first.acquire(blocking=False):  # another thread is saying it
            return
        try:
            os.write(2, sentence)
        finally:
            os._exit(2)

    kind = ctypes.CFUNCTYPE(None, ctypes.c_int)
    handler = kind(explain)
    library.signal.argtypes = (ctypes.c_int, kind)
    library.signal.restype = ctypes.c_void_p
    library.signal(number, handler)
    try:
        yield
    finally:
        library.sigaction(number, None, now)
        ours = ctypes.cast(handler, ctypes.c_void_p).value
        if ctypes.c_void_p.from_buffer(now).value == ours:
            library.sigaction(number, before, None)


def _sentence(path: str | None, *, can_read: bool) -> str:
    where = "a weight file" if path is None else path
    otherwise = ", or read it into memory with --no-mmap" if can_read else ""
    return (
        f"llama-edu: {where}: a mapped page of it could not be read: the file became shorter while "
        f"the program ran, or its disk failed; restore it and start again{otherwise}\n"
    )
