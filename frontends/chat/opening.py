"""A panel as a conversation: its diagnoser, which follows the panel on disk, and its history."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from consilience.core.errors import SettingsError
from consilience.core.settings.settings import Settings
from consilience.frontends.chat.chat import Chat
from consilience.orchestrator.feedback.feedback import Feedbacks
from consilience.orchestrator.feedback.history import History
from consilience.orchestrator.reloading import ReloadingDiagnoser


@contextmanager
def open_chat(panel: Path, settings: Settings, kind: type[ReloadingDiagnoser] = ReloadingDiagnoser) -> Iterator[Chat]:
    """Open a conversation with a panel, and close it at the end.

    Args:
        kind: the class that diagnoses.

    Raises:
        PanelError: the panel is missing, damaged or of another format.
        HistoryError: its history cannot be used.
        SettingsError: the history is switched off.
        And whatever else `Diagnoser.open` raises.
    """
    if not settings.history.keep:
        raise SettingsError("a conversation needs the history, and it is switched off: set history.keep to true")
    with kind.open(panel, settings=settings) as diagnoser, History.open(panel, settings.history) as history:
        yield Chat(diagnoser, history, Feedbacks(history, settings.learning))
