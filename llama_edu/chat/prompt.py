"""Messages to the ids that a model reads; what a user types never becomes a special token.

A special token is a command: `<|im_end|>` ends a turn. In a rendered conversation it looks like
text, and so does the `<|im_end|>` that a user typed, quoted, or made by ending a message with
"<|im_" where the template goes on with "end|>". Escaping cannot tell them apart, and a template may
trim, replace and join what it is given, so that positions are lost as well.

So the conversation is rendered twice (typed.py): as it is, and with a stand-in for every character
of the messages that occurs in any special token's name. Special tokens are looked for in the second
text, where they can only be the template's own: one that has a typed character in it is not found.
The parts between them get their characters back and are encoded as text. If a template's result
with stand-ins is another one than without, it looked at the messages in a way that cannot be
followed, and nothing is encoded.

Where no special token's name stands in the messages, this gives the ids that llama.cpp gives for
the rendered text with parse_special=true.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from llama_edu.chat.renderer import Renderer
from llama_edu.chat.template import ChatTemplate
from llama_edu.errors import FormatError, RequestError
from llama_edu.tokenizer.prompt import first_id
from llama_edu.tokenizer.protocol import Tokenizer

#: Code points that have no assigned meaning: the two private planes, without their last two.
_PRIVATE = (range(0xF0000, 0xFFFFE), range(0x100000, 0x10FFFE))


@dataclass(frozen=True)
class Prompt:
    """A rendered conversation.

    Attributes:
        text: what the template wrote. ids: what the model reads, BOS included where it reads one.
        specials: the special tokens that the template wrote.
        n_typed_specials: how often names of special tokens stand in it as text, because a message
            brought or completed them.
    """

    text: str
    ids: tuple[int, ...]
    specials: frozenset[int] = frozenset()
    n_typed_specials: int = 0


class PromptWriter:
    """Writes prompts for one template and one tokenizer; holds the process that renders."""

    def __init__(
        self, template: ChatTemplate, tokenizer: Tokenizer, renderer: Renderer | None = None
    ) -> None:
        self.template = template
        self._tokenizer = tokenizer
        self._renderer = renderer or Renderer()
        names = tokenizer.special_names
        self._characters = "".join(sorted(set().union(*map(set, names))))
        self._control = {token for token in names.values() if not tokenizer.piece(token)}
        self._control_names = _any_of(n for n, token in names.items() if token in self._control)

    @property
    def missing_pieces(self) -> tuple[str, ...]:
        """Special pieces that the template needs, and the vocabulary does not have."""
        names = self._tokenizer.special_names
        return tuple(name for name in self.template.needs if name not in names)

    def prompt(
        self, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = True
    ) -> Prompt:
        """Render messages and encode the result.

        Args:
            messages: each with "role" and "content"; see messages.checked.
            add_generation_prompt: whether the template opens an answer at the end.
        Raises:
            FormatError: the template cannot be used. RequestError: it refuses these messages, or a
                message has half a surrogate pair.
        """
        where, tokenizer = self.template.where, self._tokenizer
        stand_ins = self._stand_ins(messages)
        variables = {
            "bos_token": tokenizer.name(tokenizer.bos_id) if tokenizer.bos_id >= 0 else "",
            "eos_token": tokenizer.name(tokenizer.eos_id) if tokenizer.eos_id >= 0 else "",
            "add_generation_prompt": add_generation_prompt,
            "tools": None,
            "documents": None,
        }
        written = self._renderer.render(
            self.template.text, messages, variables, (self._characters, stand_ins), where=where
        )
        real = str.maketrans(stand_ins, self._characters)
        if written.marked.translate(real) != written.text:
            raise FormatError(
                f"{where}: changes the messages in a way that hides who wrote what, so that typed "
                f"text could not be told from its own special tokens; give another one with "
                f"--template, or template= in Python"
            )
        return self._encoded(written.text, tokenizer.special_parts(written.marked), real)

    def close(self) -> None:
        """End the process that renders."""
        self._renderer.close()

    def _encoded(self, text: str, marked: Sequence[str | int], real: Mapping[int, int]) -> Prompt:
        """The prompt of these parts, the texts of which still have stand-ins in them.

        A user-defined piece is found in any text, which is right for a run of spaces and wrong for
        the name of a role. So one that the template wrote itself is taken apart where it was typed.
        """
        tokenizer = self._tokenizer
        specials = frozenset(part for part in marked if isinstance(part, int))
        roles = {
            token
            for token in specials - self._control
            if len(tokenizer.name(token)) > 1 and not tokenizer.name(token).isspace()
        }
        in_typed = _any_of(map(tokenizer.name, roles))
        parts: list[str | int] = []
        n_typed = 0
        for part in marked:
            if isinstance(part, int):
                parts.append(part)
                continue
            typed = part.translate(real)
            n_typed += sum(1 for _ in self._control_names.finditer(typed))
            cuts = [match.start() + 1 for match in in_typed.finditer(typed)]
            n_typed += len(cuts)
            edges = zip([0, *cuts], [*cuts, len(typed)], strict=True)
            parts += [typed[start:end] for start, end in edges]
        # BOS comes from the template, or else from the file, but not from both
        has_bos = bool(parts) and parts[0] == tokenizer.bos_id
        ids = tokenizer.encode_parts(parts, bos=not has_bos)
        commands = [token for token in ids if token in self._control or token in roles]
        expected = [part for part in parts if part in self._control or part in roles]
        if commands not in (expected, [tokenizer.bos_id, *expected]):
            raise RequestError(
                f"{self.template.where}: typed text became a special token of this vocabulary; "
                f"leave out what looks like one"
            )
        return Prompt(text, tuple(ids or [first_id(tokenizer)]), specials, n_typed)

    def _stand_ins(self, messages: Sequence[Mapping[str, str]]) -> str:
        """As many code points as there are characters to hide, none of which occurs anywhere."""
        used = set(self.template.text).union(*(m["content"] for m in messages), self._characters)
        found: list[str] = []
        for plane in _PRIVATE:
            for code in plane:
                if len(found) == len(self._characters):
                    return "".join(found)
                if chr(code) not in used:
                    found.append(chr(code))
        raise RequestError(
            "messages: use nearly all code points of Unicode's private planes, expected text"
        )


def _any_of(names: Iterable[str]) -> re.Pattern[str]:
    """Finds every place where one of these names begins, also within another one."""
    return re.compile(f"(?={'|'.join(map(re.escape, sorted(filter(None, names)))) or '(?!)'})")
