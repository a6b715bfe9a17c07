"""llama-edu chat: in a terminal, and in a pipe."""

from __future__ import annotations

import contextlib
import io
import sys

import pytest
from helpers.chat_model import open_chat_model

pytest.importorskip("jinja2")

CHAT = ["-m", "llama_edu", "chat", "chat.gguf", "--temperature", "0", "--n-tokens", "6"]


@pytest.fixture
def chat_model(in_folder):
    with open_chat_model(in_folder) as model:
        yield model


@pytest.fixture
def pipe(run_cli, chat_model, monkeypatch):
    """Runs the command with lines for it; gives (exit code, stdout, stderr)."""

    def run(lines, *options):
        data = lines.encode("utf-8", "surrogateescape")
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), "utf-8"))
        return run_cli("chat", "chat.gguf", "--temperature", 0, "--n-tokens", 6, *options)

    return run


def answers(model, *texts, **values):
    conversation = model.chat(temperature=0, n_tokens=6, **values)
    found = [str(conversation.say(text)).lstrip() for text in texts]
    conversation.close()
    return found


def test_a_pipe_gets_the_answers_alone(pipe, chat_model):
    code, out, err = pipe("x y\n\nab cd\n")
    first, second = answers(chat_model, "x y", "ab cd")
    assert (code, out) == (0, f"{first}\n{second}\n")
    assert "tokens read" not in err and ">" not in out.replace(first, "").replace(second, "")


def test_the_last_line_needs_no_end(pipe, chat_model):
    assert pipe("x y")[1] == f"{answers(chat_model, 'x y')[0]}\n"


def test_system_template_and_stop_reach_the_conversation(pipe, chat_model):
    code, out, _ = pipe("x y\n/tokens\n", "--system", "be", "--template", "plain")
    assert code == 0 and "be\n\nUser: x y\nAssistant:" in out
    whole = answers(chat_model, "x y")[0]
    stop = whole[2:4]
    assert pipe("x y\n", "--stop", stop)[1] == whole[: whole.index(stop)] + "\n"


def test_an_answer_that_was_cut_is_reported_on_standard_error(pipe, chat_model):
    answer = chat_model.chat(temperature=0, n_tokens=6).say("x y")
    str(answer)
    assert answer.reason == "length"
    assert "the answer was cut after 6 tokens (--n-tokens)" in pipe("x y\n")[2]


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("/nope\n", "'/nope': is no command, expected one of /system, /regenerate"),
        ("/regenerate\n", "nothing was said yet"),
        ("/drop\n", "there is no turn to drop"),
        ("x y " * 99 + "\n", "drop_oldest() drops its oldest turn"),
    ],
)
def test_in_a_pipe_the_first_error_ends_it(pipe, lines, says):
    code, out, err = pipe(lines + "x y\n")
    assert (code, out) == (2, "") and says in err


def test_input_that_is_no_text_is_a_sentence(pipe):
    code, _, err = pipe("\udcff\udcfe\n")
    assert code == 2 and "standard input: is not utf-8" in err and "iconv" in err


def test_commands_work_in_a_pipe_too(pipe, chat_model):
    code, out, err = pipe("/help\n/system be\nx y\n/tokens\n/drop\n/reset\n/exit\nx y\n")
    assert code == 0
    assert "what the model really read" in err and "The model is told: be" in err
    assert "be\n[[<|user|>]]x y\n" in out.replace("[[<|user|>]] x", "[[<|user|>]]x")
    assert "2 messages are forgotten, 1 are left." in err and "All turns are forgotten." in err
    assert out.count("[[<s>]]") == 1


def test_a_message_may_begin_with_a_slash(pipe, chat_model):
    assert pipe("//x y\n")[1] == answers(chat_model, "/x y")[0] + "\n"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--template", "nope"], "'nope' is neither a file nor a known name"),
        (["--n-tokens", "0"], "n_tokens is 0, expected 1 or more"),
        (["--temperature", "nan"], "temperature is nan"),
        (["--stop", ""], "stop: one of the strings is ''"),
    ],
)
def test_impossible_options_are_sentences(pipe, options, says):
    code, out, err = pipe("x\n", *options)
    assert (code, out) == (2, "") and says in err


def test_a_model_without_a_template_says_what_to_give(run_cli, model, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("x\n"))
    code, _, err = run_cli("chat", *model)
    assert code == 2 and "m.bin: has no chat template; give one with --template" in err


pseudo_terminal = pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")


@pytest.fixture
def terminal(chat_model, in_folder):
    from helpers.terminal import Terminal

    opened = []

    def start(*options, **env):
        opened.append(Terminal(*CHAT, *options, cwd=in_folder, env=env))
        return opened[-1].__enter__()

    yield start
    for one in opened:
        one.__exit__(None, None, None)


@pseudo_terminal
def test_a_conversation_in_a_terminal(terminal, chat_model):
    shown = terminal("--n-tokens", "5", NO_COLOR="1")
    at = shown.wait_for("/help lists the commands.")
    shown.type("x y\n")
    at = shown.wait_for("tokens read, 0 of them from the cache", at)
    shown.type("a<|user|>\n")
    at = shown.wait_for("of them from the cache", at)
    shown.type("/tokens\n")
    at = shown.wait_for("Names that were typed, 1 here, are text.", at)
    assert "[[<|user|>]]" in shown.shown and "\x1b[7m" not in shown.shown
    shown.type("/system be kind\n")
    at = shown.wait_for("The model is told: be kind", at)
    shown.type("/regenerate\n")
    at = shown.wait_for("of them from the cache", at)
    shown.type("/drop\n")
    at = shown.wait_for("2 messages are forgotten, 3 are left.", at)
    shown.type("/nope\n")
    at = shown.wait_for("is no command", at)
    shown.type("x y " * 60 + "\n")
    at = shown.wait_for("here: /drop and /reset", at)
    shown.type("/reset\n")
    at = shown.wait_for("All turns are forgotten.", at)
    assert shown.end("\x04") == 0


@pseudo_terminal
def test_special_tokens_stand_out_in_a_terminal_with_styles(terminal):
    shown = terminal()
    shown.type("x y\n/tokens\n")
    shown.wait_for("\x1b[7m[[<|user|>]]\x1b[0m")


@pseudo_terminal
def test_ctrl_c_stops_an_answer_and_at_the_prompt_the_conversation(terminal, in_folder):
    with open_chat_model(in_folder, max_seq_len=60_000, endless=True):
        pass
    shown = terminal("--n-tokens", "59000")
    at = shown.wait_for("> ", shown.wait_for("/help lists"))
    shown.type("x y\n")
    at = shown.wait_for("x y\n", at)
    shown.wait_for_more(at, 99)  # the answer has begun, and takes minutes
    shown.type("\x03")
    at = shown.wait_for("(stopped; ", at)
    at = shown.wait_for("> ", at)
    shown.type("/system still here\n")
    at = shown.wait_for("The model is told: still here", at)
    shown.wait_for("> ", at)
    assert shown.end("\x03") == 0
    assert "Traceback" not in shown.shown


@pseudo_terminal
def test_exit_ends_it_and_a_history_is_kept_only_where_one_is_asked_for(terminal, in_folder):
    shown = terminal()
    shown.type("x y\n")
    at = shown.wait_for("tokens read")
    shown.type("/exit\n")
    assert shown.end() == 0
    assert not list(in_folder.glob("*history*"))
    pytest.importorskip("readline")
    for _ in range(2):
        shown = terminal("--history", "my history")
        at = shown.wait_for("/help lists")
        shown.type("x y\n")
        shown.wait_for("tokens read", at)
        shown.type("/exit\n")
        assert shown.end() == 0
    path = in_folder / "my history"
    assert path.read_text().split("\n").count("x y") == 2
    assert path.stat().st_mode & 0o777 == 0o600


@pseudo_terminal
def test_what_a_model_says_commands_no_terminal(terminal, chat_model, in_folder):
    """A name of a special piece, the text of a message, and an answer: all are made visible."""
    shown = terminal()
    at = shown.wait_for("/help lists")
    shown.type("/system \x16\x1b[2J\n")  # Ctrl+V lets the next key through
    shown.wait_for("The model is told", at)
    assert "\x1b[2J" not in shown.shown


def test_ctrl_c_in_the_middle_of_an_answer_keeps_what_was_said(chat_model, monkeypatch, capsys):
    """The key arrives while the second token is computed, and then before an answer began."""
    from llama_edu.cli.chat import talk
    from llama_edu.transformer import generate

    lines = iter(["x y", "ab", "cd", None])
    monkeypatch.setattr(talk, "is_terminal", lambda: True)
    monkeypatch.setattr(talk, "lines_from", lambda _: contextlib.nullcontext(lambda _: next(lines)))
    original, calls = generate.score_next, []

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    monkeypatch.setattr(generate, "score_next", interrupted)
    with chat_model.chat(temperature=0, n_tokens=6) as conversation:
        render = conversation._writer.prompt

        def not_the_second(messages):
            if messages[-1]["content"] == "ab":
                raise KeyboardInterrupt
            return render(messages)

        monkeypatch.setattr(conversation._writer, "prompt", not_the_second)
        talk.talk(conversation)
        said = [message["content"] for message in conversation.messages]
    out = capsys.readouterr().out
    assert out.count("(stopped") == 2
    assert [said[0], said[2]] == ["x y", "cd"] and len(said) == 4
    whole = answers(chat_model, "x y")[0]
    assert whole.startswith(said[1].lstrip()) and len(said[1]) < len(whole)
