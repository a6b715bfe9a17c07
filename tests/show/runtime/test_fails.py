"""fails(): the sentence instead of a traceback, and a debugger still finds the place."""

from __future__ import annotations

import sys

import pytest

from llama_edu.errors import FormatError, RequestError
from llama_edu.show import fails
from llama_edu.show.runtime.fails import Failure

EVIL = "cut.ggjt: has <img src=x> and \x1b[2J"


@pytest.fixture
def last(monkeypatch):
    """Where Python keeps its last error; put back after the test."""
    for name in ("last_type", "last_value", "last_traceback", "last_exc"):
        monkeypatch.setattr(sys, name, None, raising=False)
    return sys


def broken():
    n_bytes = 7
    raise FormatError(f"cut.ggjt: {n_bytes} bytes are left")


def test_an_expected_error_is_one_sentence_and_the_cell_runs_on(last, capsys):
    with fails() as block:
        broken()
        raise AssertionError("the block went on")
    assert capsys.readouterr().out == "FormatError: cut.ggjt: 7 bytes are left\n"
    assert isinstance(block.error, FormatError)


def test_a_debugger_finds_the_frame_that_raised(last):
    with fails():
        broken()
    assert last.last_type is FormatError and isinstance(last.last_value, FormatError)
    frames = [last.last_traceback]
    while frames[-1].tb_next:
        frames.append(frames[-1].tb_next)
    names = [frame.tb_frame.f_code.co_name for frame in frames]
    assert names == ["test_a_debugger_finds_the_frame_that_raised", "broken"]
    assert frames[-1].tb_frame.f_locals == {"n_bytes": 7}


def test_another_error_and_none_at_all_go_on(last):
    with pytest.raises(NameError), fails():
        not_a_name  # noqa: B018, F821
    with pytest.raises(RequestError, match="without an error, expected one of kind L"), fails():
        pass
    with pytest.raises(FormatError), fails(KeyError):
        broken()
    with fails(KeyError):
        raise KeyError("scale")
    with pytest.raises(KeyboardInterrupt), fails(Exception):
        raise KeyboardInterrupt
    assert last.last_type is KeyError


def test_a_message_is_shown_and_not_obeyed():
    shown = Failure(FormatError(EVIL))
    assert "<img" not in shown._repr_html_() and "&lt;img src=x&gt;" in shown._repr_html_()
    assert 'role="alert"' in shown._repr_html_()
    assert "\x1b" not in shown._repr_html_() + repr(shown)
