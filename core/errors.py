"""Every error that Consilience raises on purpose.

    ConsilienceError
    +-- ImageError            an image cannot be read, or is over a limit
    |   +-- FetchError        an image address is refused, unreachable or answers wrongly
    +-- DatasetError          a labelled folder, manifest or .npz cannot be used
    +-- TaskError             a task description is wrong
    +-- SettingsError         a setting is unknown or out of range
    +-- EncoderError          an encoder is unknown, cannot be loaded or does not fit
    +-- ImageMemoryError      the image memory cannot do what was asked
    |   +-- MemoryBusyError   another process owns what is to be written
    |   +-- MemoryServerError the Chroma server cannot be reached
    +-- PanelError            a panel cannot be opened or written
    |   +-- PanelMissingError
    |   +-- PanelDamagedError half-written, or a file was changed
    |   +-- PanelTooNewError  written by a newer format
    |   +-- PanelLinkError    a link lies in it
    |   +-- PanelBusyError    another process is writing it
    |   +-- UnconfirmedAddressError  it would send images and keys, or read a file, where the user has not said
    +-- AgentError            an agent is unknown, cannot answer, or is used in the wrong order
    |   +-- AllAgentsFailedError
    |   +-- AnswerError       a model's reply is no answer
    |   |   +-- RefusedWordsError  its words are not to be shown
    |   +-- BudgetSpentError  the next answer would cost more than the run may spend
    +-- EvaluationError       an evaluation's folder holds another run, or cannot be written or compared
    +-- HeatMapError          where in an image the agents looked cannot be told
    +-- SlackError            Slack refuses, cannot be reached, or lacks what the bot needs
    +-- HistoryError          the store of diagnoses cannot be used, or does not hold what was asked for
    |   +-- DiagnosisMissingError  deleted, or never there
    +-- MissingExtraError     an optional package is not installed (also an ImportError)

A message says what is wrong, with which input, and what to do. None holds a secret.
"""

from __future__ import annotations

from types import ModuleType


class ConsilienceError(Exception):
    """Base of all errors of this library."""


class ImageError(ConsilienceError):
    """An image cannot be read, or is over a limit."""


class FetchError(ImageError):
    """An image address is refused, cannot be reached, or answers wrongly.

    Attributes:
        status: HTTP status of the answer; None if there was no answer.
        content_type: content type of the answer, where it is not an image's; else empty.
    """

    def __init__(self, message: str, *, status: int | None = None, content_type: str = "") -> None:
        super().__init__(message)
        self.status, self.content_type = status, content_type


class DatasetError(ConsilienceError):
    """A labelled folder, a manifest or an .npz cannot be used."""


class TaskError(ConsilienceError):
    """A task description is wrong."""


class SettingsError(ConsilienceError):
    """A setting is unknown or out of range."""


class EncoderError(ConsilienceError):
    """An encoder is unknown, cannot be loaded, or does not fit the panel."""


class ImageMemoryError(ConsilienceError):
    """The image memory cannot do what was asked."""


class MemoryBusyError(ImageMemoryError):
    """Another process owns the embedded store that is to be written."""


class MemoryServerError(ImageMemoryError):
    """The Chroma server cannot be reached, or answers with an error."""


class PanelError(ConsilienceError):
    """A panel cannot be opened or written."""


class PanelMissingError(PanelError):
    """There is no panel at this path."""


class PanelDamagedError(PanelError):
    """The panel is half-written, or one of its files was changed or lost."""


class PanelLinkError(PanelError):
    """A link lies in the panel, or something else that is neither a file nor a folder."""


class PanelTooNewError(PanelError):
    """The panel was written in a format that this version does not know."""


class PanelBusyError(PanelError):
    """Another process is writing the panel."""


class UnconfirmedAddressError(PanelError):
    """The panel names addresses of models, or files of answers, that the user neither set nor confirmed."""


class AgentError(ConsilienceError):
    """An agent is unknown, cannot answer, or was used before it was fitted."""


class AllAgentsFailedError(AgentError):
    """No agent could look at the image; the message names each cause."""


class AnswerError(AgentError):
    """A reply is no answer to the question; the message says why, in words that the model can be shown."""


class RefusedWordsError(AnswerError):
    """A reply holds words that are not to be shown to people, not even where the error is told."""


class BudgetSpentError(AgentError):
    """The next answer would cost more than the run may spend; the run ends, and the answers paid for are kept."""


class EvaluationError(ConsilienceError):
    """An evaluation's folder holds another run, is in use, was damaged, cannot be written or cannot be compared."""


class HeatMapError(ConsilienceError):
    """Where in an image the agents looked cannot be told; the message says why, in words that people can be shown."""


class SlackError(ConsilienceError):
    """Slack refuses or cannot be reached, or its app lacks a permission or setting that the bot needs."""


class HistoryError(ConsilienceError):
    """The store of diagnoses and feedback cannot be used, or does not hold what was asked for."""


class DiagnosisMissingError(HistoryError):
    """There is no diagnosis of this id: it was deleted, or never there."""


class MissingExtraError(ConsilienceError, ImportError):
    """An optional package is not installed."""


def first_line(error: BaseException) -> str:
    """Return the first line of another library's error, at most 300 characters, to be quoted in a message.

    Torch's advice to run the code in a file is left out.
    """
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].partition(" In PyTorch 2.6")[0][:300].rstrip(".: ")


def import_extra(module: str, extra: str) -> ModuleType:
    """Return `module`, which the optional `extra` installs, imported.

    Raises:
        MissingExtraError: it cannot be imported; the message names the command that installs it.
    """
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as cause:
        raise MissingExtraError(
            f"'{module}' is needed here and cannot be imported ({cause}). "
            f"Install it with: pip install 'consilience[{extra}]'"
        ) from cause
