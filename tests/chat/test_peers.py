"""Ids of rendered conversations against llama.cpp, for vocabularies of every kind."""

from __future__ import annotations

import pytest
from helpers.special_vocabularies import SPECIAL, VOCABULARIES, Judge, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llama_edu.chat.prompt import PromptWriter
from llama_edu.chat.template import ChatTemplate
from llama_edu.loading import load
from llama_edu.vocabulary import CONTROL

pytestmark = pytest.mark.slow

TEMPLATES = (
    "{{ bos_token }}{% for m in messages %}<|user|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
    "{% endfor %}",
    "{% for m in messages %}[ASK] {{ m.content|trim }} z<y{{ eos_token }}{% endfor %}<|user|>",
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}",
)

#: No name of a special piece, and nothing that becomes one together with its neighbors.
harmless = st.text("ab c\n\u00e9\u2581d!", max_size=9).filter(lambda t: "ab cd" not in t)
#: Everything that is special, in whole and in part.
hostile = st.lists(
    st.sampled_from([*SPECIAL, "<s>", "</s>", "<unk>", "<|us", "er|>", "[AS", "K]", " ", "a"]),
    max_size=6,
).map("".join)


@pytest.fixture(scope="module", params=VOCABULARIES)
def judged(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("peers") / "m.gguf"
    write(path, VOCABULARIES[request.param])
    with load(path) as llama:
        yield llama.tokenizer, Judge(path)


def messages(contents):
    return [{"role": "user", "content": content} for content in contents]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(harmless, min_size=1, max_size=3), st.sampled_from(TEMPLATES))
def test_ids_of_ordinary_messages_are_llama_cpps(judged, renderer, contents, template):
    ours, judge = judged
    prompt = PromptWriter(ChatTemplate(template, "t"), ours, renderer).prompt(messages(contents))
    writes_bos = template.startswith("{{ bos_token")
    assert list(prompt.ids) == judge.encode(prompt.text, not writes_bos, True)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(hostile, min_size=1, max_size=3), st.sampled_from(TEMPLATES))
def test_hostile_messages_add_no_command(judged, renderer, contents, template):
    ours, _ = judged
    writer = PromptWriter(ChatTemplate(template, "t"), ours, renderer)
    commands = {t for name, t in ours.special_names.items() if not ours.piece(t)}
    commands |= {t for name, t in ours.special_names.items() if name in template}
    found = [t for t in writer.prompt(messages(contents)).ids if t in commands]
    plain = writer.prompt(messages(["\u00e9"] * len(contents)))
    assert found == [t for t in plain.ids if t in commands]
    assert any(SPECIAL.get(ours.name(t)) == CONTROL for t in found) or "|" not in template
