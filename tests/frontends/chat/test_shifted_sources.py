"""Images from elsewhere in a conversation: their source is watched, and the others go on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np

from consilience.core.settings.settings import load_settings
from consilience.frontends.chat.chat import Chat
from consilience.frontends.chat.opening import open_chat
from tests.support.shapes import LABELS, draw


def elsewhere(number: int) -> np.ndarray:
    """A picture of nothing that the panel knows: coloured bars, noisy, at a place of their own."""
    rng = np.random.default_rng(number)
    bars = np.sin(np.arange(96)[:, None, None] / rng.uniform(2, 5) + rng.uniform(0, 6, 3)) * 100 + 128
    return np.asarray(np.clip(bars + rng.normal(0, 30, (96, 96, 3)), 0, 255), dtype=np.uint8)


def shown(chat: Chat, room: str, first: int, images: int, *, are_strange: bool) -> list[str]:
    """Return the first lines and doubts of what is said of so many images in a room."""

    async def look() -> list[str]:
        replies = []
        for number in range(first, first + images):
            image = elsewhere(number) if are_strange else draw(LABELS[number % 3], 7000 + number)
            reply = await chat.look(image, person="ada", channel="slack", name=f"{number}.png", source=room)
            replies.append(reply.text)
        return replies

    return asyncio.run(look())


def test_a_room_whose_images_come_from_elsewhere_is_referred_until_then_and_after_a_restart(panel: Path) -> None:
    with open_chat(panel, load_settings()) as chat:
        replies = shown(chat, "C1", 0, 25, are_strange=True)
        assert "differ from the labelled ones" not in replies[0]
        assert "differ from the labelled ones" in replies[-1]
        assert "Why a person should look: These images differ" in replies[-1]
        usual = shown(chat, "C2", 0, 5, are_strange=False)
        assert not any("differ from" in reply for reply in usual)
        shifted = asyncio.run(chat.shifted_sources())
        assert list(shifted) == ["slack, C1"]
        assert "consilience suggest" in shifted["slack, C1"]
    with open_chat(panel, load_settings()) as chat:
        assert "differ from" in shown(chat, "C1", 0, 1, are_strange=False)[0]
        kept = next(chat.history.find(channel="slack", limit=1)).diagnosis
        assert kept.verdict == "refer"
        assert "differ from" in kept.reasons[0]


def test_a_setting_only_reports_it(panel: Path) -> None:
    with open_chat(panel, load_settings(policy__on_shift="report")) as chat:
        replies = shown(chat, "C1", 0, 25, are_strange=True)
        assert not any("differ from the labelled" in reply for reply in replies)
        assert list(asyncio.run(chat.shifted_sources())) == ["slack, C1"]
