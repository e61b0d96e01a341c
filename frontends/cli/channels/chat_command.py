"""`consilience chat`: the conversation in the terminal, or line by line through a pipe."""

from __future__ import annotations

import getpass
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from consilience.core.errors import ConsilienceError, ImageError
from consilience.frontends.cli.asked_addresses import ask_about_addresses
from consilience.frontends.cli.channels.line_editing import edit_lines
from consilience.frontends.cli.named_images import dropped_name
from consilience.frontends.cli.options import PATH, collected, json_option, panel_option, settings_options
from consilience.frontends.cli.outcome import complain, finish

if TYPE_CHECKING:
    from rich.console import Console

    from consilience.frontends.chat.chat import Chat
    from consilience.frontends.chat.reply import Reply

TYPED = ("/right", "/wrong", "/none", "/refer", "/help", "/quit")
COMMANDS = "/right, /wrong LABEL, /none, /refer, /help and /quit"


@click.command()
@panel_option
@click.option("--pictures", type=PATH, metavar="DIR", help="Folder for the pictures; default: a temporary one.")
@click.option("--refer-to", type=PATH, metavar="DIR", help="Folder to which /refer hands images for a person.")
@json_option
@settings_options
def chat(
    panel: Path,
    pictures: Path | None,
    refer_to: Path | None,
    as_json: bool,
    settings_file: Path | None,
    assignments: tuple[str, ...],
) -> None:
    """Ask about images in the terminal.

    Type a file name or an http(s) address to get a diagnosis, then ask about it, for instance 'why?'. /right or /wrong
    LABEL says whether it is right, /none that it shows none of the labels, /refer hands it to a person, /quit ends.
    Tab completes commands, labels, agents and files. Lines from a pipe are answered one by one.
    """
    import asyncio

    from consilience.frontends.chat.opening import open_chat
    from consilience.frontends.cli.terminal import console

    out, is_watched = console(), sys.stdin.isatty() and not as_json
    used, failed = 0, 0
    settings = collected(settings_file, assignments)
    ask_about_addresses(panel, settings)
    with open_chat(panel, settings) as opened, asyncio.Runner() as runner:
        if refer_to is not None:
            opened.refer = ImageFolder(refer_to)
        talk = Talk(opened, getpass.getuser())
        shown_in = ImageFolder(
            pictures if pictures is not None else Path(tempfile.gettempdir()) / f"consilience-{talk.person}"
        )
        if is_watched:
            diagnoser = opened.diagnoser
            edit_lines(TYPED, lambda: diagnoser.panel.task.names, lambda: diagnoser.panel.agents)
            out.print(f"Type the name or address of an image, then ask about it. Commands: {COMMANDS}.")
        for line in _lines(is_watched):
            is_image = _is_image(line)
            try:
                reply = runner.run(talk.answer(line))
                paths = [
                    shown_in.write(f"{reply.diagnosis}-{picture.name}", picture.draw()) for picture in reply.pictures
                ]
            except ConsilienceError as error:
                complain("error", str(error))
                failed += is_image
                continue
            used += is_image
            _print(out, reply, paths, as_json)
    finish(used, failed)


class Talk:
    """The conversation of one person: remembers the diagnosis that it is about."""

    def __init__(self, chat: Chat, person: str) -> None:
        self.person = person
        self._chat, self._about, self._image, self._last = chat, "", "", ""

    async def answer(self, line: str) -> Reply:
        """Return the reply to a line: an image, a command or a question. Raises ConsilienceError: there is none."""
        from consilience.frontends.chat.reply import Reply
        from consilience.frontends.chat.suggestions import HELP

        if _is_image(line):
            image = dropped_name(line)
            reply = await self._chat.look(image, person=self.person, channel="chat")
            self._last, self._about, self._image = self._about, reply.diagnosis, image
            return reply
        command, _, value = line.partition(" ")
        if command == "/help" or not self._about:
            return Reply(HELP, closing=f"Commands: {COMMANDS}.")
        if command in ("/right", "/wrong", "/none", "/refer"):
            return await self._chat.press(self._about, command[1:], value.strip(), person=self.person)
        if command.startswith("/"):
            raise ConsilienceError(f"there is no command '{command}'; the commands are {COMMANDS}")
        reply = await self._chat.ask(
            self._about, line, person=self.person, channel="chat", image=self._again, before=self._before
        )
        self._about = reply.diagnosis
        return reply

    async def _again(self) -> str:
        return self._image

    async def _before(self) -> str:
        return self._last


class ImageFolder:
    """A folder of pictures, created when the first is written; called with a reply, it hands the image to a person."""

    def __init__(self, path: Path) -> None:
        self.path = path

    async def __call__(self, reply: Reply, person: str) -> str:
        """Put the picture of a diagnosis there; return who will look at it. Raises ImageError: there is no picture."""
        if not reply.pictures:
            raise ImageError(
                "no picture of it was saved (setting history.thumbnails): show the image itself to a person"
            )
        path = self.write(f"{reply.diagnosis}.png", reply.pictures[0].draw())
        return f"a person, by the file '{path}'"

    def write(self, name: str, png: bytes) -> Path:
        """Write a PNG and return its path. Raises ConsilienceError: it cannot be written."""
        path = self.path / name
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png)
        except OSError as cause:
            raise ConsilienceError(
                f"'{path}' cannot be written ({cause.strerror}); choose another folder with --pictures or --refer-to"
            ) from cause
        return path


def _lines(is_watched: bool) -> Iterator[str]:
    """Yield the lines that are typed or piped in, until they end or one quits."""
    while True:
        try:
            line = (input("> ") if is_watched else _next_line()).strip()
        except EOFError:
            return
        if line in ("/quit", "/exit"):
            return
        if line:
            yield line


def _next_line() -> str:
    line = sys.stdin.buffer.readline()
    if not line:
        raise EOFError
    return line.decode("utf-8", "surrogateescape")


def _is_image(line: str) -> bool:
    """Return whether a line names an image: an address, a file that exists, or a name that ends as images do."""
    from consilience.core.dataset import SUFFIXES

    name = dropped_name(line)
    if "://" in name.split(" ")[0]:
        return True
    try:
        return Path(name).is_file() or Path(name).suffix.lower() in SUFFIXES
    except (OSError, ValueError):  # too long, or with a NUL: no path
        return False


def _print(out: Console, reply: Reply, paths: list[Path], as_json: bool) -> None:
    from consilience.frontends.cli.terminal import print_json, table

    if as_json:
        print_json(out, json.dumps(_plain(reply, paths), ensure_ascii=False))
        return
    out.print(reply.text, soft_wrap=True)
    if reply.table is not None:
        shown = table(*reply.table.columns)
        for row in reply.table.rows:
            shown.add_row(*row)
        out.print("", shown, "", sep="\n")
    if reply.closing:
        out.print(reply.closing)
    for path in paths:
        out.print(f"Picture: {path}", soft_wrap=True)
    out.print()


def _plain(reply: Reply, paths: list[Path]) -> dict[str, Any]:
    table = reply.table and [dict(zip(reply.table.columns, row, strict=True)) for row in reply.table.rows]
    return {
        "text": reply.text,
        "table": table,
        "closing": reply.closing,
        "pictures": [str(path) for path in paths],
        "buttons": [button.action for button in reply.buttons],
        "diagnosis": reply.diagnosis,
        "settled": reply.settled,
    }
