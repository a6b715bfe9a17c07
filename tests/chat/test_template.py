"""Which template a checkpoint has: its own, a named one of its own, one of ours, or a file's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from llama_edu.chat.named import TEMPLATES
from llama_edu.chat.template import template_of
from llama_edu.errors import FormatError, RequestError
from llama_edu.files.huggingface.companions import carried_from_companions, companions_of
from llama_edu.files.layout import Checkpoint, TypedValue


@pytest.fixture
def checkpoint(config) -> Checkpoint:
    return Checkpoint("GGUF v3", "magic", (Path("m.gguf"),), config, {})


def with_keys(checkpoint: Checkpoint, **values: object) -> Checkpoint:
    carried = {
        f"tokenizer.chat_template{'.' + name if name else ''}": TypedValue("string", value)
        for name, value in values.items()
    }
    return replace(checkpoint, carried=carried)


def test_the_files_own_template_is_the_default(checkpoint):
    found = template_of(with_keys(checkpoint, **{"": "own", "tool_use": "tools"}))
    assert (found.text, found.name, found.stop) == ("own", "default", ())
    assert found.where == "m.gguf: its chat template"


def test_a_named_template_of_the_file_is_given_by_its_name(checkpoint):
    file = with_keys(checkpoint, **{"": "own", "tool_use": "tools", "chatml": "theirs"})
    assert template_of(file, "tool_use").text == "tools"
    assert template_of(file, "tool_use").where == "m.gguf: its chat template 'tool_use'"
    assert template_of(file, "chatml").text == "theirs"  # before ours of the same name


def test_a_file_without_a_template_is_told_what_to_give(checkpoint):
    with pytest.raises(RequestError) as caught:
        template_of(checkpoint)
    assert str(caught.value) == (
        "m.gguf: has no chat template; give one with --template, or template= in Python: chatml, "
        "llama2, llama3, zephyr, plain, or a file"
    )
    with pytest.raises(RequestError, match=r"no chat template but these for special uses: 'rag'"):
        template_of(with_keys(checkpoint, rag="x"))


def test_ours_and_a_file_are_taken_in_place_of_the_files_own(checkpoint, tmp_path):
    file = with_keys(checkpoint, **{"": "own"})
    assert template_of(file, "llama2").text == TEMPLATES["llama2"].text
    assert template_of(file, "chatml").stop == ("<|im_end|>",)
    path = tmp_path / "my own.jinja"
    path.write_bytes(b"\xef\xbb\xbf{{ messages }}\n")
    assert template_of(file, path).text == "{{ messages }}\n"
    assert template_of(file, str(path)).name == "my own"


def test_an_unknown_name_is_answered_with_the_known_ones(checkpoint):
    with pytest.raises(
        RequestError, match=r"'nope' is neither a file nor a known name.*'rag', cha"
    ):
        template_of(with_keys(checkpoint, rag="x"), "nope")


@pytest.mark.parametrize("value", [5, None, True, ["a"], {"a": "b"}, b"bytes"])
def test_a_template_that_is_no_text_is_a_sentence(checkpoint, value):
    with pytest.raises(
        FormatError, match=r"m\.gguf: its chat template: is .*, expected text; give"
    ):
        template_of(with_keys(checkpoint, **{"": value}))


def test_a_template_of_ten_megabytes_is_a_sentence(checkpoint, tmp_path):
    text = "x" * 10 * 2**20
    with pytest.raises(FormatError, match=r"has more than 1,048,576 characters; give another one"):
        template_of(with_keys(checkpoint, **{"": text}))
    path = tmp_path / "big.jinja"
    path.write_text(text)
    with pytest.raises(FormatError, match=r"big\.jinja: has more than 1,048,576 characters"):
        template_of(checkpoint, path)


def folder_checkpoint(checkpoint: Checkpoint, folder: Path) -> Checkpoint:
    return replace(checkpoint, carried=carried_from_companions(companions_of(folder)))


def write(folder: Path, **files: object) -> None:
    for name, value in files.items():
        text = value if isinstance(value, str) else json.dumps(value)
        (folder / name.replace("__", ".")).write_text(text)


def test_a_folder_may_have_it_in_three_places_and_the_newest_wins(checkpoint, tmp_path):
    write(tmp_path, tokenizer_config__json={"chat_template": "config"})
    assert template_of(folder_checkpoint(checkpoint, tmp_path)).text == "config"
    write(tmp_path, chat_template__json={"chat_template": "json"})
    assert template_of(folder_checkpoint(checkpoint, tmp_path)).text == "json"
    write(tmp_path, chat_template__jinja="jinja")
    assert template_of(folder_checkpoint(checkpoint, tmp_path)).text == "jinja"


def test_a_folder_may_list_several_by_name(checkpoint, tmp_path):
    listed = [{"name": "default", "template": "d"}, {"name": "rag", "template": "r"}]
    write(tmp_path, tokenizer_config__json={"chat_template": listed})
    file = folder_checkpoint(checkpoint, tmp_path)
    assert (template_of(file).text, template_of(file, "rag").text) == ("d", "r")


@pytest.mark.parametrize("value", [7, {"default": "x"}, True])
@pytest.mark.parametrize("name", ["tokenizer_config__json", "chat_template__json"])
def test_a_folder_with_something_else_in_its_place_is_a_sentence(checkpoint, tmp_path, value, name):
    write(tmp_path, **{name: {"chat_template": value}})
    with pytest.raises(FormatError, match=r"its chat template: is .*, expected text"):
        template_of(folder_checkpoint(checkpoint, tmp_path))


def test_null_is_no_template(checkpoint, tmp_path):
    write(tmp_path, tokenizer_config__json={"chat_template": None})
    with pytest.raises(RequestError, match="has no chat template"):
        template_of(folder_checkpoint(checkpoint, tmp_path))


MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": "Bye"},
]

#: What the authors of these formats show in their documentation.
EXPECTED = {
    "chatml": "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
    "<|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
    "<|im_start|>assistant\n",
    "llama2": "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello. </s>"
    "<s>[INST] Bye [/INST]",
    "llama3": "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nHello.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "zephyr": "<|system|>\nBe brief.</s>\n<|user|>\nHi</s>\n<|assistant|>\nHello.</s>\n"
    "<|user|>\nBye</s>\n<|assistant|>\n",
    "plain": "Be brief.\n\nUser: Hi\nAssistant: Hello.\nUser: Bye\nAssistant:",
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_ours_write_what_their_authors_describe(renderer, name):
    variables = {"bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": True}
    assert renderer.render(TEMPLATES[name].text, MESSAGES, variables).text == EXPECTED[name]
