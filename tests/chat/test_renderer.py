"""The process that renders: set up as transformers does it, started once, never left over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from llama_edu.chat import renderer as renderer_module
from llama_edu.chat.renderer import MOST_CHARACTERS
from llama_edu.errors import LlamaEduError, RequestError

MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": ' "Grüß <b>Gott</b>" \U0001f600\n'},
    {"role": "assistant", "content": "x</think>y"},
]
VARIABLES = {
    "bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": True, "tools": None,
    "documents": None,
}  # fmt: skip

#: One for each thing in which the set-up can differ from that of transformers.
TEMPLATES = (
    "{% for m in messages %}\n  {% if m.role == 'user' %}\n{{ m.content|trim }}\n  {% endif %}\n"
    "{% endfor %}",
    "{{ messages|tojson }}",
    "{{ messages|tojson(indent=2) }}",
    "{{ messages|tojson(ensure_ascii=true, sort_keys=true) }}",
    "{{ messages|tojson(separators=(',', ':')) }}",
    "{% for m in messages %}{% if loop.index0 == 1 %}{% continue %}{% endif %}"
    "{% if loop.last %}{% break %}{% endif %}{{ m['content'] }}{% endfor %}",
    "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
    "{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}",
    "{{ bos_token }}{{ messages[0].nothing }}{{ eos_token }}{{ tools is none }}{{ undefined }}",
    "{{ messages[2].content.split('</think>')[-1] }}{{ messages[2]['content'][:1] }}",
    "{% set ns = namespace(found=false) %}{% for m in messages %}{% if m.role == 'user' %}"
    "{% set ns.found = true %}{% endif %}{% endfor %}{{ ns.found }}",
    "{% macro turn(m) -%}\n<{{ m.role }}>{{ m.content|upper }}\n{%- endmacro %}"
    "{{ turn(messages[1]) }}",
    "{{ '<b>' | e }}{{ messages[1].content|length }}{{ ['a', 'b']|join(', ') }}",
    "{{ dict(a=1)|tojson }}{{ strftime_now('%Y')|length }}{{ range(3)|list }}",
    "{{- 'a' -}}  \n  {{- 'b' }}\n\n",
    "{% for m in messages %}{{ m.content.strip().startswith('x') }}{{ 'Be' in m.content }}"
    "{{ m.content == 'Be brief.' }}{{ m.content is string }}{% endfor %}",
)


@pytest.mark.parametrize("template", TEMPLATES)
def test_it_writes_what_transformers_writes(renderer, template):
    utils = pytest.importorskip("transformers.utils.chat_template_utils")
    compiled = utils._compile_jinja_template(template)
    expected = compiled.render(messages=MESSAGES, **VARIABLES)
    assert renderer.render(template, MESSAGES, VARIABLES).text == expected


@pytest.mark.parametrize("template", TEMPLATES)
def test_stand_ins_change_nothing_but_themselves(renderer, template):
    hidden = "<>/abeiknthx|"
    stand_ins = "".join(chr(0xF0000 + i) for i in range(len(hidden)))
    found = renderer.render(template, MESSAGES, VARIABLES, (hidden, stand_ins))
    assert found.marked.translate(str.maketrans(stand_ins, hidden)) == found.text


def test_one_process_serves_a_whole_conversation(own_renderer):
    own_renderer.render("{{ 1 }}", MESSAGES, {})
    first = own_renderer._process
    for number in range(5):
        assert own_renderer.render("{{ n }}", MESSAGES, {"n": number}).text == str(number)
    assert own_renderer._process is first


def test_a_process_that_was_killed_between_two_turns_is_replaced(own_renderer):
    own_renderer.render("{{ 1 }}", MESSAGES, {})
    process = own_renderer._process._process
    process.kill()
    process.wait()
    assert own_renderer.render("{{ 2 }}", MESSAGES, {}).text == "2"


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_process_that_dies_of_a_template_is_started_twice_and_no_more(own_renderer, monkeypatch):
    started = []
    original = renderer_module._Process

    class Dying(original):
        def ask(self, request, seconds):
            started.append(self)
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            return super().ask(request, seconds)

    monkeypatch.setattr(renderer_module, "_Process", Dying)
    with pytest.raises(LlamaEduError, match=r"ended the process that rendered it \(code -9\)"):
        own_renderer.render("{{ 1 }}", MESSAGES, {})
    assert len(started) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_is_not_for_the_process(own_renderer):
    own_renderer.render("{{ 1 }}", MESSAGES, {})
    process = own_renderer._process._process
    process.send_signal(signal.SIGINT)
    assert os.getsid(process.pid) != os.getsid(0)
    assert own_renderer.render("{{ 2 }}", MESSAGES, {}).text == "2"
    assert own_renderer._process._process is process


def test_an_interrupted_wait_does_not_mix_up_answers(own_renderer, monkeypatch):
    own_renderer.render("{{ 1 }}", MESSAGES, {})
    process = own_renderer._process
    with monkeypatch.context() as patch:

        def interrupted(seconds):
            raise KeyboardInterrupt

        patch.setattr(process, "_line", interrupted)
        with pytest.raises(KeyboardInterrupt):
            own_renderer.render("{{ 'late' }}", MESSAGES, {})
    assert own_renderer.render("{{ 2 }}", MESSAGES, {}).text == "2"
    assert process.code is not None


def test_many_threads_get_their_own_answers(own_renderer):
    found: dict[int, str] = {}

    def ask(number: int) -> None:
        found[number] = own_renderer.render("{{ n }}", MESSAGES, {"n": number}).text

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: str(n) for n in range(12)}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_process_starts_its_own_and_leaves_the_first_alone():
    """In a fresh Python: this one may have threads, which a fork would leave behind."""
    program = """
import os, threading, time
from llama_edu.chat.renderer import Renderer
M = [{"role": "user", "content": ""}]
renderer = Renderer()
renderer.render("{{ 1 }}", M, {})
while threading.active_count() > 1:  # the clock of the rendering
    time.sleep(0.01)
child = os.fork()
if child == 0:
    ok = renderer.render("{{ 2 }}", M, {}).text == "2"
    renderer.close()
    os._exit(0 if ok else 1)
status = os.waitpid(child, 0)[1]
print(status, renderer.render("{{ 3 }}", M, {}).text)
"""
    assert run(program) == "0 3"


def run(program: str, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", *options, "-c", program],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout.strip()


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_nothing_is_left_when_python_ends():
    program = """
from llama_edu.chat.renderer import Renderer
renderer = Renderer()
renderer.render("{{ 1 }}", [{"role": "user", "content": ""}], {})
print(renderer._process._process.pid)
"""
    pid = int(run(program))
    assert not is_alive(pid)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_nothing_is_left_when_python_is_killed():
    """Nobody cleans up then: the process sees the end of its input."""
    program = """
import os, signal
from llama_edu.chat.renderer import Renderer
renderer = Renderer()
renderer.render("{{ 1 }}", [{"role": "user", "content": ""}], {})
print(renderer._process._process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    pid = int(done.stdout)
    for _ in range(600):
        if not is_alive(pid):
            return
        time.sleep(0.05)
    pytest.fail("it still runs")


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_jinja2_is_found_where_only_this_python_finds_it(tmp_path):
    """A folder that was put on the path by hand, with a space in its name."""
    jinja2, markupsafe = pytest.importorskip("jinja2"), pytest.importorskip("markupsafe")
    folder = tmp_path / "of mine"
    folder.mkdir()
    for module in (jinja2, markupsafe):
        source = Path(module.__file__).parent
        (folder / source.name).symlink_to(source)
    package = str(Path(renderer_module.__file__).parents[2])
    program = f"""
import sys
sys.path = [p for p in sys.path if "site-packages" not in p]
sys.path += [{package!r}, {str(folder)!r}]
from llama_edu.chat.renderer import Renderer
print(Renderer().render("{{{{ 1 }}}}", [dict(role="user", content="")], {{}}).text)
"""
    assert run(program, "-S", "-I") == "1"


@pytest.mark.parametrize("missing", ["jinja2", "markupsafe"])
def test_a_missing_library_is_a_sentence(own_renderer, monkeypatch, missing):
    found = renderer_module.importlib.util.find_spec
    monkeypatch.setattr(
        renderer_module.importlib.util, "find_spec",
        lambda name: None if name == missing else found(name),
    )  # fmt: skip
    with pytest.raises(RequestError, match=rf"needs {missing}, .*pip install jinja2"):
        own_renderer.render("", MESSAGES, {})


def test_a_jinja2_with_a_known_hole_is_refused(own_renderer, tmp_path, monkeypatch):
    """Before 3.1.6, the filter attr gave the real str.format."""
    jinja2 = pytest.importorskip("jinja2")
    old = tmp_path / "jinja2"
    old.mkdir()
    for path in Path(jinja2.__file__).parent.glob("*.py"):
        text = path.read_text("utf-8")
        if path.name == "sandbox.py":
            text = text.replace("if self.is_safe_attribute(obj, attribute, value):", "if 1:")
            text = text.replace('value.__name__ not in ("format", "format_map")', "True")
        (old / path.name).write_text(text, "utf-8")
    found = renderer_module._folder_of
    monkeypatch.setattr(
        renderer_module, "_folder_of", lambda n: str(tmp_path) if n == "jinja2" else found(n)
    )
    with pytest.raises(RequestError, match=r"known hole; version 3\.1\.6 closed it.*pip install"):
        own_renderer.render("", MESSAGES, {})


def test_where_no_process_can_be_started_it_says_so(own_renderer, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(LlamaEduError, match=r"'/nowhere/python' cannot be started"):
        own_renderer.render("", MESSAGES, {})


def test_messages_beyond_measure_are_refused(own_renderer):
    message = {"role": "user", "content": "x" * (MOST_CHARACTERS + 1)}
    with pytest.raises(RequestError, match=r"have 4,194,305 characters, expected at most"):
        own_renderer.render("", [message], {})


def test_half_a_surrogate_pair_comes_back_as_it_is(own_renderer):
    message = {"role": "user", "content": "\ud83d"}
    assert own_renderer.render("{{ messages[0].content }}", [message], {}).text == "\ud83d"
