"""%%pages and %%faults in a real IPython shell: they run like %%time and hide no error."""

from __future__ import annotations

import gc
import sys

import numpy as np
import pytest
from helpers.tiny import write_tiny

import llama_edu
from llama_edu.errors import MeasurementError, RequestError
from llama_edu.pages.lab import PageLab
from llama_edu.pages.record import Record

pytest.importorskip("IPython")


@pytest.fixture(scope="module")
def one_shell(tmp_path_factory):
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    config = Config()
    config.HistoryManager.enabled = False  # it would open a database in the home folder
    with pytest.MonkeyPatch.context() as patch:  # the home folder may be read-only
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        # the shell puts a module of its own there, whose reset takes away what spawning needs
        patch.setitem(sys.modules, "__main__", sys.modules["__main__"])
        shell = InteractiveShell.instance(config=config)
        gc.freeze()  # every reset of the shell collects garbage: not from all other tests' objects
        yield shell
        gc.unfreeze()
        InteractiveShell.clear_instance()


@pytest.fixture
def shell(one_shell):
    one_shell.reset(new_session=False)
    one_shell.run_cell("%load_ext llama_edu")
    yield one_shell
    one_shell.run_cell("%unload_ext llama_edu")
    one_shell.reset(new_session=False)


@pytest.fixture
def llama(shell, tmp_path, rng):
    path, tokenizer = write_tiny(tmp_path, rng)
    with PageLab.open(path) as lab:
        shell.user_ns["llama"] = llama_edu.load(path, tokenizer=tokenizer, lab=lab)
        yield shell.user_ns["llama"]
        shell.user_ns.pop("llama").close()
        shell.reset(new_session=False)


def run(shell, cell):
    """The cell's value; raises the error that the cell raised."""
    return shell.run_cell(cell).raise_error() or shell.user_ns.get("_")


def output_of(shell, capsys, cell):
    capsys.readouterr()
    shell.run_cell(cell).raise_error()
    return capsys.readouterr().out


def test_loading_the_extension_adds_the_magics_and_unloading_takes_them_away(one_shell):
    magics = one_shell.magics_manager.magics
    one_shell.run_cell("%load_ext llama_edu")
    assert all(name in magics[kind] for name in ("pages", "faults") for kind in ("line", "cell"))
    one_shell.run_cell("%unload_ext llama_edu")
    assert not any(name in magics[kind] for name in ("pages", "faults") for kind in magics)


def test_the_record_of_a_cell_holds_the_pages_that_its_code_read(shell, llama):
    shell.run_cell(
        "%%pages -q -o seen\n"
        "llama.lab.view('token_embedding')[200].sum()\n"
        "llama.lab.ledger.rows('token_embedding', [200])\n"
    ).raise_error()
    record = shell.user_ns["seen"]
    assert isinstance(record, Record) and record.label == "this cell"
    spec = llama.checkpoint.tensors["token_embedding"]
    row_bytes = spec.shape[1] * 4
    first = (spec.offset + 200 * row_bytes) // record.page_size
    last = (spec.offset + 201 * row_bytes - 1) // record.page_size
    assert np.flatnonzero(record.pages).tolist() == list(range(first, last + 1))


def test_a_cell_shows_the_table_and_the_map_with_their_verdict(shell, llama, capsys):
    out = output_of(shell, capsys, "%%pages -m llama\ntokens = list(llama.generate('the', 2))")
    assert "Verdict: " in out and "the instrument's own" in out and "token_embedding" in out
    assert "legend: " in out  # the map; in a notebook this is the text beside the figure
    assert isinstance(shell.user_ns["tokens"], list)


def test_quiet_shows_nothing_and_keeps_the_value(shell, llama, capsys):
    assert output_of(shell, capsys, "%%pages -q\nx = 1\nNone") == ""
    result = shell.run_cell("%%pages -q\nx = 20\nx + 1")
    assert result.result == 21 and shell.user_ns["x"] == 20


def test_the_line_form_takes_code_with_quotes_and_dashes(shell, llama, capsys):
    result = shell.run_cell("%pages -q -o seen 'a  b' + str(3 - 1)")
    result.raise_error()
    assert result.result == "a  b2"
    assert shell.user_ns["seen"].label == "this line"
    assert shell.run_cell("%faults -q -5").result == -5


def test_names_decorators_and_long_strings_behave_as_in_any_cell(shell, llama):
    cell = (
        "%%pages -q\ntext = '''one\n  two'''\ndef double(x):\n    return 2 * x\n%time y = double(4)"
    )
    shell.run_cell(cell).raise_error()
    assert shell.user_ns["text"] == "one\n  two" and shell.user_ns["y"] == 8


@pytest.mark.parametrize("name", ["pages", "faults"])
def test_an_error_in_the_cell_is_the_cell_s_error(shell, llama, name):
    result = shell.run_cell(f"%%{name}\nbefore = 1\n1 / 0")
    assert isinstance(result.error_in_exec, ZeroDivisionError)
    assert shell.user_ns["before"] == 1
    result = shell.run_cell(f"%%{name}\nthis is no python")
    assert isinstance(result.error_in_exec or result.error_before_exec, SyntaxError)
    # nothing is left open: the next cell is recorded
    shell.run_cell(f"%%{name} -q\n1").raise_error()


def test_a_traceback_shows_the_line_of_the_cell(shell, llama, capsys):
    shell.run_cell("%%pages\nnumber = 0\n1 / number  # here")
    assert "1 / number  # here" in capsys.readouterr().out


def test_without_a_lab_the_message_says_how_to_get_one(shell):
    with pytest.raises(RequestError, match=r"0 labs among your names, expected one; say which"):
        shell.run_cell("%%pages\n1").raise_error()
    shell.user_ns["plain"] = 5
    with pytest.raises(RequestError, match=r"-m plain: is a int without a lab, expected a Llama"):
        shell.run_cell("%%pages -m plain\n1").raise_error()
    with pytest.raises(RequestError, match=r"-m nobody: no such name, expected a Llama"):
        shell.run_cell("%%pages -m nobody\n1").raise_error()


def test_code_in_the_wrong_place_is_named(shell, llama):
    with pytest.raises(RequestError, match=r"%pages: no code, expected some after the options"):
        shell.run_cell("%pages -q").raise_error()
    with pytest.raises(RequestError, match=r"%%faults: 'x = 1' is on the line of the options"):
        shell.run_cell("%%faults x = 1\n2").raise_error()


def test_of_two_labs_one_must_be_named(shell, llama, tmp_path, rng):
    folder = tmp_path / "second"
    folder.mkdir()
    path, _ = write_tiny(folder, rng)
    with PageLab.open(path) as lab:
        shell.user_ns["other"] = lab
        with pytest.raises(RequestError, match="2 labs among your names"):
            shell.run_cell("%%pages\n1").raise_error()
        shell.run_cell("%%pages -q -m other -o seen\n1").raise_error()
        assert shell.user_ns["seen"].n_touched == 0
        del shell.user_ns["other"]
        del lab


def test_a_record_within_a_record_is_refused_in_words(shell, llama):
    with pytest.raises(MeasurementError, match=r"expected one record\s+at a time"):
        shell.run_cell("%%pages -q\n%pages -q 1").raise_error()


def test_cold_says_whether_the_file_really_was(shell, llama, capsys):
    out = output_of(shell, capsys, "%%pages --cold\n_ = llama.lab.view('output').sum()")
    assert out.startswith(("cold: none of the file's pages", "not quite cold: "))
    out = output_of(shell, capsys, "%%faults --cold\n1")
    assert "cold" in out and "faults: " in out


def test_faults_are_counted_and_said_to_be_no_pages(shell, capsys):
    # a mapping of its own: an array could lie in memory that was used and freed before
    cell = "%%faults -o counts\nimport mmap\nwith mmap.mmap(-1, 2**25) as new:\n    new[::4096]"
    out = output_of(shell, capsys, cell)
    assert "not an amount of memory" in out
    # 32 MiB that were never used before cannot be had without a single fault
    assert shell.user_ns["counts"].total > 0


def test_an_expected_failure_is_displayed_and_debug_stops_where_it_was_raised(shell, monkeypatch):
    shown, places = [], []
    monkeypatch.setattr(shell.display_pub, "publish", lambda data, **_: shown.append(data))

    class Debugger:
        botframe = None

        def reset(self):
            pass

        def interaction(self, frame, error):
            traceback = getattr(error, "__traceback__", error)
            while traceback.tb_next:
                traceback = traceback.tb_next
            places.append(traceback.tb_frame.f_code.co_name)

    monkeypatch.setattr(shell.InteractiveTB, "pdb", Debugger())
    for name in ("last_type", "last_value", "last_traceback", "last_exc"):
        monkeypatch.setattr(sys, name, None, raising=False)
    shell.run_cell("from llama_edu.errors import FormatError\nfrom llama_edu.show import fails")
    shell.run_cell("def broken():\n    raise FormatError('cut.ggjt: 7 bytes are left')")
    with monkeypatch.context() as patch:
        patch.setattr(shell, "_showtraceback", lambda *_: None)
        shell.run_cell("1 / 0")  # IPython keeps the traceback of what it has shown
    assert shell.run_cell("with fails():\n    broken()\nwent_on = 7").success
    assert shell.user_ns["went_on"] == 7
    assert [data["text/plain"] for data in shown] == ["FormatError: cut.ggjt: 7 bytes are left"]
    assert 'role="alert"' in shown[0]["text/html"]
    shell.run_line_magic("debug", "")
    assert places == ["broken"]
