"""The loop of llama-edu chat: a line, an answer, and commands that begin with a slash."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from llama_edu.chat.answer import Answer
from llama_edu.chat.conversation import ContextFull, Conversation
from llama_edu.cli.chat.lines import is_terminal, lines_from
from llama_edu.cli.streams.stdout import for_output
from llama_edu.errors import LlamaEduError, RequestError
from llama_edu.text import one_line, quoted, visible_lines

_HELP = """\
/system TEXT  what the model is told beforehand; alone, shows it
/regenerate   another answer to the last message
/tokens       what the model really read last, special tokens marked
/drop         forget the oldest turn
/reset        forget all turns
/help         these lines
/exit         end; so does Ctrl+D
A message that begins with a slash begins with two. Ctrl+C stops an answer."""


def talk(conversation: Conversation, history: str | None = None) -> None:
    """Read lines and answer them until the input ends.

    At a terminal, errors are printed and the conversation goes on; in a pipe, the first error ends
    it.
    """
    talker = _Talker(conversation)
    with lines_from(history) as next_line:
        if talker.is_terminal:
            talker.note("Type a message; /help lists the commands.")
            talker.note_missing_pieces()
        while True:
            try:
                line = next_line("> ")
            except KeyboardInterrupt:
                if not talker.is_terminal:
                    raise
                print()
                return
            if line is None:
                if talker.is_terminal:
                    print()
                return
            if not talker.obey(line):
                return


class _Talker:
    def __init__(self, conversation: Conversation) -> None:
        self.is_terminal = is_terminal()
        self._conversation = conversation
        self._commands: dict[str, Callable[[str], None]] = {
            "/system": self._system,
            "/regenerate": lambda _: self._print(conversation.regenerate()),
            "/tokens": self._tokens,
            "/drop": self._drop,
            "/reset": self._reset,
            "/help": lambda _: self.note(_HELP),
        }

    def obey(self, line: str) -> bool:
        """Do what a line asks for; whether the conversation goes on."""
        command, _, rest = line.strip().partition(" ")
        if command == "/exit":
            return False
        try:
            if line.startswith("//"):
                self._print(self._conversation.say(line[1:]))
            elif command in self._commands:
                self._commands[command](rest.strip())
            elif command.startswith("/"):
                raise RequestError(
                    f"{quoted(command, 40)}: is no command, expected one of "
                    f"{', '.join(self._commands)}, /exit; a message that begins with a slash "
                    f"begins with two"
                )
            elif command:
                self._print(self._conversation.say(line))
        except KeyboardInterrupt:  # before the answer began
            if not self.is_terminal:
                raise
            self.note("\n(stopped)")
        except LlamaEduError as error:
            if not self.is_terminal:
                raise
            hint = "; here: /drop and /reset" if isinstance(error, ContextFull) else ""
            self.note(f"{error}{hint}")
        return True

    def note(self, text: str) -> None:
        """Say something that is not the model's; where no terminal is, on standard error."""
        stream = sys.stdout if self.is_terminal else sys.stderr
        if stream is not None:
            text = visible_lines(text)
            print(_styled(text, "2") if self.is_terminal else text, file=stream, flush=True)

    def note_missing_pieces(self) -> None:
        """Say which special tokens of a template of ours this model does not know."""
        missing = self._conversation.missing_pieces
        if missing:
            names = one_line(", ".join(missing))
            self.note(
                f"This model has no {names}: it reads them letter by letter, and was hardly "
                f"trained on such conversations."
            )

    def _print(self, answer: Answer) -> None:
        """Write an answer as it comes; Ctrl+C ends it, and what was written stays."""
        is_at_start = True
        try:
            for piece in answer:
                piece = piece.lstrip() if is_at_start else piece
                is_at_start = is_at_start and not piece
                sys.stdout.write(for_output(piece))
                sys.stdout.flush()
        except KeyboardInterrupt:
            answer.close()
            if not self.is_terminal:
                raise
        print(flush=True)
        self._report(answer)

    def _report(self, answer: Answer) -> None:
        """How it ended, where the reader may not expect it; at a terminal also what it took."""
        ends = {
            "length": f"the answer was cut after {answer.generation.n_new:,} tokens (--n-tokens)",
            "context": "the context is full, the answer was cut; /drop forgets the oldest turn",
            "closed": "stopped",
        }
        end = ends.get(answer.reason, "")
        if self.is_terminal:
            speed = answer.generation.tokens_per_s
            facts = [
                *([end] if end else []),
                f"{answer.n_prompt:,} tokens read, {answer.n_reused:,} of them from the cache",
                *([f"{speed:,.{int(speed < 10)}f} tokens/s"] if speed else []),
            ]
            self.note(f"({'; '.join(facts)})")
        elif end:
            self.note(f"llama-edu: {end}")

    def _system(self, text: str) -> None:
        if text:
            self._conversation.system = text
        self.note(f"The model is told: {self._conversation.system or '(nothing)'}")

    def _drop(self, _rest: str) -> None:
        n_messages = self._conversation.drop_oldest()
        n_left = len(self._conversation.messages)
        self.note(f"{n_messages} messages are forgotten, {n_left} are left.")

    def _reset(self, _rest: str) -> None:
        self._conversation.reset()
        self.note("All turns are forgotten.")

    def _tokens(self, _rest: str) -> None:
        """The last prompt and answer, as they are; special tokens in brackets, and in reverse."""
        seen = self._conversation.seen()
        if not seen:
            self.note("The model has not read anything yet.")
            return
        out = []
        for piece in seen:
            text = for_output(piece.text)
            out.append(_styled(f"[[{text}]]", "7", self.is_terminal) if piece.is_special else text)
        sys.stdout.write("".join(out) + "\n")
        n_special = sum(piece.is_special for piece in seen)
        n_typed = self._conversation.n_typed_specials
        stays = f" Names that were typed, {n_typed} here, are text." if n_typed else ""
        self.note(f"{len(seen):,} tokens, {n_special:,} of them special, in [[ ]].{stays}")


def _styled(text: str, code: str, is_terminal: bool = True) -> str:
    """A text in another style, where the terminal has styles and NO_COLOR is not set."""
    plain = not is_terminal or "NO_COLOR" in os.environ or os.environ.get("TERM") in (None, "dumb")
    return text if plain else f"\x1b[{code}m{text}\x1b[0m"
