"""A few well-known templates, for files that bring none along; and how each of them is recognized.

They are written from their authors' descriptions of the formats. What `needs` names are pieces that
a vocabulary must have for the format to mean anything to a model; where it lacks one, the marker
reaches the model spelled out, and its text is used as a stop string as well.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NamedTemplate:
    """A template of ours.

    Attributes:
        text: jinja2. about: which models use it.
        needs: special pieces that it writes, except BOS and EOS.
        stop: strings at which an answer ends, where no special piece ends it.
    """

    text: str
    about: str
    needs: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()


_CHATML = """\
{%- for message in messages %}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}"""

_LLAMA3 = """\
{{- bos_token }}
{%- for message in messages %}
{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
{{- message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}"""

# the system message stands inside the first instruction
_LLAMA2 = """\
{%- set ns = namespace(system='') %}
{%- for message in messages %}
{%- if message['role'] == 'system' %}
{%- set ns.system = '<<SYS>>\\n' + message['content'] | trim + '\\n<</SYS>>\\n\\n' %}
{%- elif message['role'] == 'user' %}
{{- bos_token + '[INST] ' + ns.system + message['content'] | trim + ' [/INST]' }}
{%- set ns.system = '' %}
{%- else %}
{{- ' ' + message['content'] | trim + ' ' + eos_token }}
{%- endif %}
{%- endfor %}"""

_ZEPHYR = """\
{%- for message in messages %}
{{- '<|' + message['role'] + '|>\\n' + message['content'] + eos_token + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|assistant|>\\n' }}
{%- endif %}"""

_PLAIN = """\
{%- for message in messages %}
{%- if message['role'] == 'system' %}
{{- message['content'] | trim + '\\n\\n' }}
{%- else %}
{{- message['role'] | capitalize + ': ' + message['content'] | trim + '\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- 'Assistant:' }}
{%- endif %}"""

TEMPLATES = {
    "chatml": NamedTemplate(
        _CHATML, "SmolLM2, Qwen and many others", ("<|im_start|>", "<|im_end|>"), ("<|im_end|>",)
    ),
    "llama2": NamedTemplate(_LLAMA2, "Llama 2 Chat, and Mistral's first", (), ("[INST]",)),
    "llama3": NamedTemplate(
        _LLAMA3,
        "Llama 3 Instruct",
        ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        ("<|eot_id|>",),
    ),
    "zephyr": NamedTemplate(_ZEPHYR, "Zephyr, TinyLlama Chat", (), ("<|user|>",)),
    "plain": NamedTemplate(
        _PLAIN, "models that never saw a conversation in a format", (), ("\nUser:", "\nAssistant:")
    ),
}
