"""Templates that must not run longer than their limit, nor reach anything; each is a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from llama_edu.chat.renderer import MOST_TEMPLATE_CHARACTERS, Renderer
from llama_edu.errors import FormatError

MESSAGES = [{"role": "user", "content": "Hi"}]

#: Asks for what only Python itself may see.
ATTRIBUTES = (
    "{{ ''.__class__ }}",
    "{{ ''['__class__'] }}",
    "{{ ''|attr('__class__') }}",
    "{{ ''|attr('__' ~ 'class__') }}",
    "{{ messages|map(attribute='__class__')|list }}",
    "{{ (1).__class__.__base__.__subclasses__() }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ joiner.__init__.__globals__ }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ namespace.mro() }}",
    "{{ dict.__base__ }}",
    "{{ dict.mro() }}",
    "{{ range.__self__ }}",
    "{{ raise_exception.__globals__ }}",
    "{{ strftime_now.__self__ }}",
    "{{ strftime_now.__func__.__globals__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ self.__init__ }}",
    "{{ ''.join.__self__ }}",
    "{{ 'a'.format.__wrapped__ }}",
    "{{ '{0.__class__}'.format(1) }}",
    "{{ '{0.__class__.__mro__}'.format(messages) }}",
    "{{ '{a.__class__}'.format_map({'a': 1}) }}",
    "{{ ('{0.__class__}'|attr('format'))(1) }}",
    "{{ ('{a.__class__}'|attr('format_map'))({'a': 1}) }}",
    "{{ messages[0].content._real }}",
    "{{ messages[0].content.__class__ }}",
    "{{ messages[0].content._among._out }}",
    "{% set n = namespace(__class__=1) %}",
    "{% set n = namespace() %}{% set n.__class__ = 1 %}",
    "{{ messages.append(1) }}",
    "{{ messages[0].update(role='x') }}",
    "{{ {}|attr('clear') }}",
    "{% macro m() %}{% endmacro %}{{ m.__globals__ }}",
    "{{ m is defined }}{{ messages.__len__() }}",
)


@pytest.mark.parametrize("template", ATTRIBUTES)
def test_no_attribute_of_python_is_reached(renderer, template):
    with pytest.raises(FormatError, match=r"chat template: (is refused|fails)") as caught:
        renderer.render(template, MESSAGES, {})
    assert "forbidden" in str(caught.value) or "has no attribute" in str(caught.value)
    assert "--template" in str(caught.value)


#: Never end by themselves, or not in this life.
ENDLESS = (
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% macro m(n) %}{% for i in range(99999) %}{{ m(n) if n > 9 }}{% endfor %}{% endmacro %}"
    "{% for i in range(99999) %}{{ m(1) }}{% endfor %}",
    "{{ 7 ** (10 ** 10) }}",
    "{{ (7 ** (10 ** 7))|string|length }}" * 9999,
    "{% for a in range(99999) %}{{ range(99999)|sum if a < 0 }}{{ range(99999)|sort|length }}"
    "{% endfor %}",
)


@pytest.mark.parametrize("template", ENDLESS)
def test_an_endless_template_is_ended(template):
    renderer = Renderer(seconds=0.3)
    try:
        with pytest.raises(FormatError, match=r"more than 0\.3 seconds|integer string|memory"):
            renderer.render(template, MESSAGES, {})
        assert renderer.render("{{ 1 }}", MESSAGES, {}).text == "1"
    finally:
        renderer.close()


#: Ask for more memory than there is, in one operation or in many.
BOMBS = (
    "{{ 'a' * 10 ** 9 }}",
    "{{ 10 ** 9 * 'a' }}",
    "{{ messages[0].content * 10 ** 9 }}",
    "{{ 'a'|center(10 ** 9) }}",
    "{{ 'a'.ljust(10 ** 10) }}",
    "{{ 'a'.zfill(10 ** 10) }}",
    "{{ '\t'.expandtabs(10 ** 9) }}",
    "{{ '%1000000000d'|format(1) }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '{:1000000000}'.format(1) }}",
    "{{ ('a' * 10 ** 5).replace('a', 'a' * 10 ** 5) }}",
    "{{ [0] * 10 ** 9 }}",
    "{% set n = namespace(a='x' * 10 ** 6) %}{% for i in range(99) %}{% set n.a = n.a ~ n.a %}"
    "{% endfor %}{{ n.a }}",
)


@pytest.mark.parametrize("template", BOMBS)
def test_a_template_that_asks_for_all_memory_gets_none(renderer, template):
    pytest.importorskip("resource")
    with pytest.raises(FormatError, match=r"memory|more than|OverflowError"):
        renderer.render(template, MESSAGES, {})
    assert renderer.render("{{ 1 }}", MESSAGES, {}).text == "1"


def test_a_template_may_not_write_without_end(renderer):
    template = "{% for a in range(99999) %}{% for b in range(99999) %}xxxx{% endfor %}{% endfor %}"
    with pytest.raises(FormatError, match=r"writes more than 4,194,304 characters, and was ended"):
        renderer.render(template, MESSAGES, {})


@pytest.mark.parametrize(
    "template",
    [
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% macro m() %}{{ m() ~ m() }}{% endmacro %}{{ m() }}",
        "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
        "{% if 1 %}" * 3000,
        "{{ " + "[" * 5000 + "]" * 5000 + " }}",
        "{{ " + "not " * 50000 + "1 }}",
    ],
)
def test_a_template_may_not_be_nested_without_end(renderer, template):
    with pytest.raises(FormatError, match=r"nested|ended the process|not a jinja2 template|fails"):
        renderer.render(template, MESSAGES, {})
    assert renderer.render("{{ 1 }}", MESSAGES, {}).text == "1"


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{% import 'os' as os %}", "no loader"),
        ("{% from 'os' import path %}", "no loader"),
        ("{% include '/etc/passwd' %}", "no loader"),
        ("{% extends 'base.html' %}", "no loader"),
        ("{{ lipsum(n=10 ** 7) }}", "'lipsum' is undefined"),
        ("{{ range(10 ** 9) }}", "Range too big"),
        ("{{ nothing.at.all }}", "'nothing' is undefined"),
        ("{{ messages[9].content }}", "UndefinedError"),
        ("{{ messages[0].content + 1 }}", "TypeError"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{% for", "not a jinja2 template in line 1"),
        ("\n\n{% endfor %}", "not a jinja2 template in line 3"),
        ("{% do messages.append(1) %}", "unknown tag 'do'"),
        ("{% debug %}", "unknown tag 'debug'"),
        ("{% trans %}a{% endtrans %}", "unknown tag 'trans'"),
        ("{{ 'x'|nofilter }}", "No filter named 'nofilter'"),
        ("{{ ''.join(1, 2) }}", "TypeError"),
    ],
)
def test_a_template_that_cannot_be_used_says_why(renderer, template, says):
    with pytest.raises(FormatError) as caught:
        renderer.render(template, MESSAGES, {}, where="m.gguf: its chat template")
    assert str(caught.value).startswith("m.gguf: its chat template: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_a_template_says_reaches_no_terminal_as_a_command(renderer):
    template = "{{ raise_exception('\\x1b[2J\\n' ~ 'so' * 9999) }}"
    with pytest.raises(ValueError, match="refuses these messages") as caught:
        renderer.render(template, MESSAGES, {})
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


def test_a_template_of_megabytes_is_not_even_sent(renderer):
    with pytest.raises(FormatError, match=r"has 1,048,577 characters, expected at most 1,048,576"):
        renderer.render("a" * (MOST_TEMPLATE_CHARACTERS + 1), MESSAGES, {})
    assert renderer.render("a" * MOST_TEMPLATE_CHARACTERS, MESSAGES, {}).text.endswith("a")


def test_the_process_has_no_files_no_children_and_no_secrets(renderer, monkeypatch):
    """What a template would find that left the sandbox: asked from inside the process."""
    resource = pytest.importorskip("resource")
    monkeypatch.setenv("A_SECRET", "told to nobody")
    renderer.render("{{ 1 }}", MESSAGES, {})
    process = renderer._process._process
    status = Path(f"/proc/{process.pid}")
    try:
        environment = (status / "environ").read_bytes()
        limits = (status / "limits").read_text()
    except OSError:
        pytest.skip("this system has no /proc")
    assert b"A_SECRET" not in environment and b"HOME" not in environment
    rows = {row[:25].strip(): row[25:].split() for row in limits.splitlines()}
    assert rows["Max open files"][:2] == rows["Max processes"][:2] == ["0", "0"]
    assert rows["Max file size"][0] == "0"
    assert 0 < int(rows["Max address space"][0]) <= 2**30
    assert rows["Max cpu time"][0] != "unlimited"
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 0  # this process keeps its own
