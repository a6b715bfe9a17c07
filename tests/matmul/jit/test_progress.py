"""The line that says that something is compiled: where it appears, and that it goes again."""

from __future__ import annotations

import io
import os
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("numba")

from llama_edu.matmul.jit import disk_cache, few, machine_code, product, progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def lines(self) -> list[str]:
        """What a reader sees after each write: the text after the last return to the left."""
        return [part for part in self.getvalue().split("\r") if part.strip()]

    def left(self) -> str:
        return self.getvalue().rpartition("\r")[2]


def stderr_is(monkeypatch, stream):
    """What progress.py sees; pytest has a stderr of its own for each phase of a test."""
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=stream, modules=sys.modules))
    monkeypatch.setitem(sys.modules, "IPython", None)
    return stream


@pytest.fixture
def terminal(monkeypatch):
    return stderr_is(monkeypatch, Terminal())


@pytest.fixture
def nothing_is_compiled(monkeypatch):
    """Every function of the loops is compiled again, in memory."""
    monkeypatch.setattr(machine_code, "_ready", set())
    monkeypatch.setattr(disk_cache, "_said", ["said"])
    monkeypatch.setattr(machine_code, "cache_of", lambda function: disk_cache.NoCache("a test"))
    machine_code.address_of.cache_clear()
    few._kernel.cache_clear()

    def forget(function):
        fresh = machine_code.njit(cache=False, nogil=True)(function.py_func)
        fresh._cache = disk_cache.NoCache("a test")
        return fresh

    for module in (product.loops, product.tiles):
        monkeypatch.setattr(module, "f16", forget(module.f16))


def test_a_terminal_sees_each_step_and_nothing_stays(terminal, nothing_is_compiled):
    product.check(["f16"], 1)
    lines = terminal.lines()
    assert [*dict.fromkeys(lines)] == [
        "compiling the loops for f16, once: 1 of 2 ...",
        "compiling the loops for f16, once: 2 of 2 ...",
    ]
    assert lines == sorted(lines)
    assert terminal.left() == ""
    longest = max(len(line) for line in terminal.lines())
    assert terminal.getvalue().endswith("\r" + " " * longest + "\r")


def test_nothing_is_shown_where_nothing_is_compiled(terminal):
    product.check(["f16"], 1)
    terminal.truncate(0)
    machine_code._ready.clear()
    product.check(["f16"], 1)
    assert terminal.getvalue() == ""


def test_a_pipe_sees_nothing(monkeypatch, nothing_is_compiled):
    pipe = stderr_is(monkeypatch, io.StringIO())
    product.check(["f16"], 1)
    assert pipe.getvalue() == ""


def test_a_program_without_stderr_compiles_too(monkeypatch, nothing_is_compiled):
    stderr_is(monkeypatch, None)
    product.check(["f16"], 1)


def test_a_function_called_on_its_own_is_named(terminal, nothing_is_compiled):
    product.matmul(np.ones((1, 32), np.float32), np.ones((4, 32), np.float16))
    assert [*dict.fromkeys(terminal.lines())] == [
        "compiling f16, float32, once ...", "compiling x as float32 * 2 ** 56, once ...",
    ]  # fmt: skip


def test_other_threads_show_nothing(terminal, nothing_is_compiled):
    thread = threading.Thread(target=product.check, args=(["f16"], 1))
    thread.start()
    thread.join()
    assert terminal.getvalue() == ""


def test_the_line_goes_when_compiling_fails(terminal):
    with pytest.raises(ValueError, match="on the way"), progress.steps("it", 3) as next_step:
        next_step()
        progress.compiles()
        raise ValueError("on the way")
    assert terminal.lines() == ["compiling it, once: 1 of 3 ..."] and terminal.left() == ""
    assert progress._under_way == []


class Handle:
    def __init__(self, shown: list) -> None:
        self.shown = shown

    def update(self, data: dict, raw: bool) -> None:
        assert raw
        self.shown.append(data)


@pytest.mark.parametrize("is_watched", [True, False])
def test_a_notebook_shows_it_only_to_someone_who_looks(monkeypatch, terminal, is_watched):
    shown: list[dict] = []

    def display(data: dict, raw: bool, display_id: bool) -> Handle:
        assert raw and display_id
        shown.append(data)
        return Handle(shown)

    shell = SimpleNamespace(kernel=SimpleNamespace(_allow_stdin=is_watched))
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))
    with progress.steps("it", 2) as next_step:
        next_step()
        progress.compiles()
        next_step()
    if is_watched:
        assert [data.get("text/plain") for data in shown] == [
            "", "compiling it, once: 1 of 2 ...", "compiling it, once: 2 of 2 ...", None,
        ]  # fmt: skip
        assert terminal.getvalue() == ""
    else:
        assert shown == []


@pytest.mark.parametrize("is_watched", [True, False])
def test_in_a_kernel_a_notebook_that_a_program_executes_stores_nothing_of_it(
    tmp_path, monkeypatch, is_watched
):
    """A real kernel, asked as nbclient and nbval ask it, and as JupyterLab does."""
    for name in ("HOME", "IPYTHONDIR"):  # where a kernel writes, whoever runs the tests
        monkeypatch.setenv(name, str(tmp_path))
    manager = pytest.importorskip("jupyter_client.manager")
    pytest.importorskip("ipykernel")
    kernel, client = manager.start_new_kernel(env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)})
    cell = (
        "import numpy as np; from llama_edu.matmul import matmul_for\n"
        "matmul_for('jit', [np.ones((8, 32), np.float16)])\n"
        "print('done')"
    )
    outputs = []
    try:
        client.execute_interactive(
            cell, allow_stdin=is_watched, timeout=120,
            output_hook=lambda message: outputs.append((message["msg_type"], message["content"])),
        )  # fmt: skip
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)
    kinds = [kind for kind, _ in outputs if kind not in ("status", "execute_input")]
    if is_watched:
        assert kinds[0] == "display_data" and kinds[-2:] == ["update_display_data", "stream"]
        last = [content for kind, content in outputs if kind == "update_display_data"][-1]
        assert last["data"] == {}
    else:
        assert kinds == ["stream"]
