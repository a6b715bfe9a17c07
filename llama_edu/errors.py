"""The errors that this package raises on purpose; each message is a sentence for the reader.

Every message has the form *where: what was found, what was expected; what to do next*. The command
line prints the sentence and exits with code 2; in Python all of them are `LlamaEduError`.
"""


class LlamaEduError(Exception):
    """Base class of every error that this package raises on purpose."""


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
