"""ChatPanel: a conversation in a notebook, and what the model really read of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Self

from llama_edu.chat.conversation import Conversation
from llama_edu.chat.messages import Message
from llama_edu.errors import RequestError
from llama_edu.html import note_html
from llama_edu.llama import Llama
from llama_edu.show.panels.chat.controls import ChatControls
from llama_edu.show.panels.chat.talker import Talker
from llama_edu.show.panels.parts.alternatives import AlternativePicker
from llama_edu.show.panels.parts.lookahead_column import LookaheadColumn
from llama_edu.show.panels.parts.panel import Panel
from llama_edu.show.panels.parts.picture import Picture
from llama_edu.show.panels.parts.story_view import StoryView
from llama_edu.show.panels.parts.token_row import TokenRow
from llama_edu.show.runtime.optional import import_optional
from llama_edu.show.runtime.same_cell import stop_predecessors
from llama_edu.show.story.choice import instead
from llama_edu.show.story.conversation_html import conversation_html, seen_html, turns_html
from llama_edu.show.story.description import model_line, model_name, reply_line, template_line
from llama_edu.show.story.reply import Reply
from llama_edu.show.story.token_colors import legend_html
from llama_edu.show.story.written import check_pace
from llama_edu.text import visible_lines

ipywidgets: Any = import_optional("ipywidgets", "ChatPanel")


class ChatPanel(Panel):
    """Talks with a model: turns as bubbles, the tokens of the latest answer, and what was read.

    Every button is a method: `send`, `stop`, `regenerate`, `drop_oldest`, `reset`, `choose`,
    `look_ahead`, `take_instead`; `wait` waits for all that runs in the background. In the field for
    messages, Enter sends.

    Attributes:
        controls: the field for messages, buttons and settings, widgets all.
        view: the bubbles, and the alternatives to one token of the latest answer.
    """

    def __init__(
        self,
        model: Llama | str | os.PathLike[str] | None = None,
        *,
        tokenizer: str | os.PathLike[str] | None = None,
        template: str | os.PathLike[str] | None = None,
        system: str = "",
        n_tokens: int = 256,
        stop: str | Sequence[str] = (),
        seed: int | None = None,
        pace: float = 0.0,
        shaded: bool = False,
        **settings: float,
    ) -> None:
        """Open the model and build the panel; if the model cannot be opened, the status says why.

        Args:
            model: an open Llama, a path, or None for the bundled model, which writes stories and
                was trained on no conversation. What is opened here is closed by `close`.
            tokenizer: a vocabulary file, for a path to weights without one.
            template: in place of the file's own; see Llama.chat.
            system: what the model is told beforehand, at first.
            n_tokens: the largest number of tokens of an answer, at first.
            stop, seed: as Llama.chat.
            pace: the largest number of tokens per second, for readers to follow; 0 is no limit.
            shaded: whether tokens are shaded by their probability at first.
            settings: the first values of the sampling sliders, such as temperature=0.
        Raises:
            RequestError: an unknown setting, or a value out of range.
        """
        check_pace(pace)
        self._ahead = LookaheadColumn(self._show_ahead)
        self.controls = ChatControls(self, system, n_tokens, shaded, settings)
        self.talker = Talker(
            model, tokenizer, template, stop, seed, pace, self._show, self._ahead.end
        )
        self.view: StoryView[Reply] = StoryView(self._bubbles_html, self._ahead.choice_html)
        self.view.position_slider.description = "answer's token"
        self.view.position_slider.observe(self._on_move, "value")
        self.token_row = TokenRow(self._point_at)
        self.alternatives = AlternativePicker(self.take_instead, self.look_ahead)
        self.controls.shaded.observe(lambda _: self._show(), "value")
        self._title, self._status, self._seen = (ipywidgets.HTML() for _ in range(3))
        self._legend = ipywidgets.HTML()
        shading = ipywidgets.HBox(
            [self.controls.shaded, self._legend],
            layout=ipywidgets.Layout(flex_flow="row wrap", align_items="center"),
        )
        drawers = ipywidgets.Accordion(
            [self._seen, self.controls.settings_box],
            titles=("What the model really saw", "How it chooses its words, and what it is told"),
        )
        super().__init__([
            self._title, self.view.story, self.controls.message_row, self.controls.buttons,
            self._status, shading, self.view.position_row, self.token_row, self.alternatives,
            self._ahead.status, self.view.table, drawers, self.talker.presence.beacon,
        ])  # fmt: skip
        self.add_class("llama-edu-chat")
        self._show()
        stop_predecessors(self)

    @property
    def llama(self) -> Llama | None:
        """The open model, or None where it could not be opened; `reason` then says why."""
        return self.talker.llama

    @property
    def conversation(self) -> Conversation | None:
        """The conversation, or None where it could not be opened; `reason` then says why."""
        return self.talker.conversation

    @property
    def messages(self) -> list[Message]:
        """What was said so far."""
        return self.conversation.messages if self.conversation else []

    @property
    def text(self) -> str:
        """The latest answer so far; "" before the first."""
        return self.talker.reply.text if self.talker.reply else ""

    @property
    def reason(self) -> str:
        """Why the latest answer ended: eos, stop, length, context, stopped, "failed: ..."."""
        if self.talker.failure:
            return f"failed: {self.talker.failure}"
        return self.talker.reply.reason if self.talker.reply else ""

    def send(self, text: str | None = None) -> Self:
        """Say something and let the model answer in the background, as Send does.

        Args:
            text: the message; None takes it from the field. While an answer is written, or where
                there is no text, nothing happens.
        """
        message = self.controls.message.value if text is None else text
        if message.strip():
            controls = self.controls
            self.talker.say(message, controls.system.value or None, controls.values, controls.clear)
        return self

    def stop(self) -> None:
        """End the answer before its next token, and end looking ahead; what was written stays."""
        self._ahead.stop()
        self.talker.stop()

    def regenerate(self) -> Self:
        """Answer the last message again in the background, as Regenerate does."""
        self.talker.answer_again(self.controls.values)
        return self

    def drop_oldest(self) -> Self:
        """Forget the oldest turn, as its button does."""
        self.talker.change(lambda conversation: conversation.drop_oldest())
        return self

    def reset(self) -> Self:
        """Forget all turns, as New conversation does."""
        self.talker.change(lambda conversation: conversation.reset())
        return self

    def choose(self, number: int) -> Self:
        """Look at token no. `number` of the latest answer, counted from 1.

        Raises:
            RequestError: there is no such token.
        """
        self.view.choose(number)
        return self

    def look_ahead(self) -> Self:
        """Show where each alternative at the chosen place would have led, in the background."""
        choice, reply = self.view.chosen, self.talker.reply
        if choice and reply and self.llama:
            self._ahead.start(self.llama, reply, choice, self.view.show_chosen)
        return self

    def take_instead(self, token: int) -> Self:
        """Put another token at the chosen place and answer on from there, in the background.

        Raises:
            RequestError: nothing is chosen, or the token is not among the alternatives shown.
        """
        index, reply = self.view.index, self.talker.reply
        if index is None or reply is None:
            raise RequestError("no token is chosen; let the model answer first, and finish")
        self.talker.answer_again(self.controls.values, instead(reply.choices, index, token))
        return self

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for all that runs in the background; False if `timeout` seconds were too few."""
        return self.talker.wait(timeout) and self._ahead.wait(timeout)

    def close(self) -> None:
        """Stop, wait, remove the panel from the page and close what was opened here."""
        if "talker" in vars(self):  # ipywidgets also closes a panel that was never fully built
            self.stop()
            self.wait()
            self.talker.close()
        super().close()

    def _on_move(self, _change: object) -> None:
        self._ahead.stop()
        self._show_alternatives()

    def _point_at(self, index: int) -> None:
        if self.view.chosen is not None:
            self.view.position_slider.value = index + 1

    def _show(self) -> None:
        """Bring every part of the panel up to date."""
        talker = self.talker
        lines = [model_line(talker.llama)] if talker.llama else ["No model is open."]
        if talker.conversation:
            lines.append(template_line(talker.conversation, is_bundled=talker.is_bundled))
        self._title.value = "".join(map(note_html, lines))
        self.controls.show(talker)
        self.view.show(talker.reply, is_busy=talker.is_busy)
        self._show_alternatives()
        self._legend.value = legend_html() if self.controls.shaded.value else ""
        line = reply_line(talker.reply) if talker.reply else "Type a message and press Enter."
        self._status.value = note_html(talker.failure or line, is_error=bool(talker.failure))
        if not talker.is_busy and talker.conversation:
            conversation = talker.conversation
            self._seen.value = seen_html(conversation.seen(), conversation.n_typed_specials)

    def _show_alternatives(self) -> None:
        reply, index = self.talker.reply, self.view.index
        if reply is None or index is None:
            self.alternatives.show(None, None)
            self.token_row.hide()
        else:
            self.alternatives.show(reply.choices[index], reply.tokenizer)
            self.token_row.show(reply.choices, index, reply.tokenizer)

    def _show_ahead(self) -> None:
        is_possible = self.view.chosen is not None and not self._ahead.is_busy
        self.alternatives.ahead_button.disabled = not is_possible

    def _bubbles_html(self, reply: Reply | None, marked: int | None) -> str:
        return conversation_html(self.messages, reply, marked, shaded=self.controls.shaded.value)

    def picture(self) -> Picture:
        """The turns as bubbles, and what the model read of them in a fold, as HTML."""
        conversation = self.conversation
        if self.llama is None or conversation is None or not self.messages:
            return super().picture()
        seen = seen_html(conversation.seen(), conversation.n_typed_specials)
        return Picture(
            repr(self),
            f"{self._title.value}{turns_html(self.messages)}"
            f"<details><summary>What the model really saw</summary>{seen}</details>",
        )

    def __repr__(self) -> str:
        """The conversation where no widget can be shown; without times, so that it is stable."""
        if self.llama is None or self.conversation is None:
            return f"ChatPanel: {self.talker.failure or 'closed'}"
        name = model_name(self.llama)
        if not self.messages:
            return (
                f"ChatPanel on {name}, nothing was said yet.\n"
                f"It appears where a notebook is running; .send(text).wait() works without it."
            )
        turns = [f"{m['role']}: {visible_lines(m['content'].strip())}" for m in self.messages]
        return "\n".join([f"ChatPanel on {name}:", *turns])
