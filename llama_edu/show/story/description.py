"""One line about a model, and one about a text being generated, for panels and plain text."""

from __future__ import annotations

from llama_edu.chat.conversation import Conversation
from llama_edu.llama import Llama
from llama_edu.show.story.reply import Reply
from llama_edu.show.story.writing import Writing
from llama_edu.text import one_line
from llama_edu.transformer.sampling import SamplingSettings

#: Why a text ended, for readers.
REASONS = {
    "eos": "the model ended the text",
    "stop": "a stop string ended the text",
    "length": "the requested length is reached",
    "context": "the model's context is full",
    "stopped": "stopped",
}


def model_name(llama: Llama) -> str:
    """The file's name, or the folder's where the model lies in several files."""
    paths = llama.checkpoint.paths
    return one_line(paths[0].name if len(paths) == 1 else paths[0].parent.name)


def model_line(llama: Llama) -> str:
    """Name and sizes of a model."""
    config = llama.config
    return (
        f"{model_name(llama)}: {llama.checkpoint.n_parameters:,} parameters, "
        f"{config.n_layers} layers, {config.vocab_size:,} pieces, "
        f"context {config.max_seq_len:,} tokens"
    )


def writing_line(writing: Writing) -> str:
    """How many tokens, how fast, and why it ended."""
    parts = [f"{len(writing.choices)} new tokens"]
    if writing.generation.tokens_per_s:
        parts.append(f"{writing.generation.tokens_per_s:,.0f} tokens/s")
    if writing.pace:
        parts.append(f"shown at {writing.pace:g} a second")
    if writing.first_token_s is not None:
        parts.append(f"first token after {1e3 * writing.first_token_s:.0f} ms")
    parts.append(REASONS.get(writing.reason, "writing"))
    if writing.reason and writing.choices and writing.choices[-1].text.endswith("\ufffd"):
        parts.append("its last character is incomplete")
    return " · ".join(parts)


def reply_line(reply: Reply) -> str:
    """How many tokens an answer has, how fast, how many had to be read, and why it ended."""
    generation = reply.generation
    n_read = generation.n_prompt - reply.answer.n_reused
    parts = [f"{len(reply.choices)} new tokens"]
    if generation.tokens_per_s:
        parts.append(f"{generation.tokens_per_s:,.0f} tokens/s")
    if reply.first_token_s is not None:
        parts.append(f"first token after {1e3 * reply.first_token_s:.0f} ms")
    parts.append(f"{n_read:,} tokens read, {reply.answer.n_reused:,} reused from the cache")
    parts.append(REASONS.get(reply.reason, "writing"))
    return " · ".join(parts)


def template_line(conversation: Conversation, *, is_bundled: bool = False) -> str:
    """Which template writes the conversation, and whether the model can know it."""
    line = f"Written by {conversation.template.where}."
    if is_bundled:
        line += (
            " This model was trained on stories alone and never saw a conversation: it goes on in "
            "its own manner."
        )
    missing = ", ".join(conversation.missing_pieces)
    if missing:
        line += f" The model has no {one_line(missing)}: it reads them letter by letter."
    return line


def settings_line(settings: SamplingSettings) -> str:
    """The settings in effect: "greedy", or the temperature and every setting that is not off."""
    if settings.temperature == 0 and settings.repeat_penalty == 1:
        return "greedy"
    off = SamplingSettings()
    changed = [
        f"{name.replace('_', ' ')} {getattr(settings, name):g}"
        for name in ("top_k", "top_p", "min_p", "repeat_penalty")
        if getattr(settings, name) != getattr(off, name)
    ]
    return ", ".join([f"temperature {settings.temperature:g}", *changed])
