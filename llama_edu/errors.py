"""The errors that this package raises on purpose; each message is a sentence for the reader.

Every message has the form *where: what was found, what was expected; what to do next*. The command
line prints the sentence and exits with code 2; in Python all of them are `LlamaEduError`.
"""

from llama_edu.text import visible_lines

#: Characters of a sentence that are shown; a damaged file can put any number into one.
_MOST_CHARACTERS = 1000


class LlamaEduError(Exception):
    """Base class of every error that this package raises on purpose.

    Its text commands no terminal, whatever a path or a file in it is called. It has at most 1,000
    characters: of a longer one the start and the end, between dots.
    """

    def __str__(self) -> str:
        text = visible_lines(super().__str__())
        if len(text) <= _MOST_CHARACTERS:
            return text
        return f"{text[: _MOST_CHARACTERS - 305]} ... {text[-300:]}"


class FormatError(LlamaEduError):
    """A file is not what its reader needs: unknown, truncated, contradictory or hostile."""


class ShapeError(LlamaEduError):
    """An array or a set of model sizes does not fit the others."""


class RequestError(LlamaEduError, ValueError):
    """The caller asked for something impossible, such as a NaN temperature."""


class NumericalError(LlamaEduError):
    """A computation gave NaN or infinity where a number was needed."""


class MeasurementError(LlamaEduError):
    """This machine cannot measure what was asked, or the measurement cannot be trusted."""


class LlamaEduWarning(UserWarning):
    """The program continues with a second-best choice; the message says why."""
