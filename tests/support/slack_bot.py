"""The bot in a thread of its own, over real sockets."""

from __future__ import annotations

import asyncio
import io
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from consilience.core.settings.settings import load_settings
from consilience.frontends.chat.chat import Chat
from consilience.frontends.chat.opening import open_chat
from consilience.frontends.slack.slack_server import PATH, SlackConnection, serve
from tests.support.fake_slack import APP_TOKEN, BOT_TOKEN, SECRET, FakeSlack
from tests.support.shapes import draw


@dataclass
class Running:
    """Attributes: chat. resumed: requests that it took up again. error: why it ended."""

    chat: Chat
    resumed: int = 0
    error: BaseException | None = None
    ended: threading.Event = field(default_factory=threading.Event)


def png(label: str, number: int = 1000) -> bytes:
    """Return a drawn shape that no panel has seen, as a PNG file."""
    file = io.BytesIO()
    draw(label, number).save(file, "PNG")
    return file.getvalue()


Start = Callable[..., AbstractContextManager[Running]]
"""Starts the bot with options of `running`."""


@contextmanager
def running(
    slack: FakeSlack,
    panel: Path,
    *,
    http: bool = False,
    refer_to: str | None = None,
    drift_to: str | None = None,
    max_bytes: int = 2**26,
) -> Iterator[Running]:
    settings = load_settings(images__allow_private_urls=True, images__max_bytes=max_bytes)
    address = ("127.0.0.1", free_port()) if http else None
    slack.events_url = f"http://127.0.0.1:{address[1]}{PATH}" if address else None
    connection = SlackConnection(BOT_TOKEN, APP_TOKEN, SECRET, address, slack.url)
    with open_chat(panel, settings) as chat:
        bot, begun, loop, stop = Running(chat), threading.Event(), asyncio.new_event_loop(), asyncio.Event()

        def ready(identity: object, resumed: int) -> None:
            bot.resumed = resumed
            begun.set()

        def run() -> None:
            try:
                with asyncio.Runner(loop_factory=lambda: loop) as runner:
                    runner.run(serve(connection, chat, panel / "slack.sqlite", refer_to, drift_to, ready, stop))
            except Exception as error:
                bot.error = error
            finally:
                bot.ended.set()
                begun.set()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        assert begun.wait(60)
        if bot.error is not None:
            raise bot.error
        try:
            yield bot
        finally:
            if not bot.ended.is_set():
                loop.call_soon_threadsafe(stop.set)
            thread.join(60)
            assert not thread.is_alive()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
