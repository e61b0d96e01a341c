"""`consilience slack`: answers in Slack until it is stopped."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from consilience.core.errors import SlackError
from consilience.frontends.cli.asked_addresses import ask_about_addresses
from consilience.frontends.cli.options import PATH, collected, panel_option, settings_options

if TYPE_CHECKING:
    from consilience.frontends.chat.chat import Chat
    from consilience.frontends.slack.slack_api import Identity


def _print_manifest(ctx: click.Context, param: click.Parameter, is_wanted: bool) -> None:
    from importlib.resources import files

    if is_wanted:
        click.echo((files("consilience.frontends.slack") / "manifest.yaml").read_text(encoding="utf-8"), nl=False)
        ctx.exit()


@click.command()
@panel_option
@click.option("--http", "over_http", is_flag=True, help="Receive events over HTTP instead of Socket Mode.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address for --http, behind a TLS proxy.")
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Port for --http.")
@click.option("--refer-to", metavar="CHANNEL", help="Channel (id or #name) to which images are referred.")
@click.option("--drift-to", metavar="CHANNEL", help="Channel that is told when an agent has become worse.")
@click.option("--inbox", type=PATH, metavar="FILE", help="Received messages; default: slack.sqlite in the panel.")
@click.option(
    "--api-url",
    default="https://slack.com/api/",
    show_default=True,
    help="Slack's Web API; GovSlack has another.",
)
@click.option(
    "--manifest",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_manifest,
    help="Print the manifest for creating the Slack app, and stop.",
)
@settings_options
def slack(
    panel: Path,
    over_http: bool,
    host: str,
    port: int,
    refer_to: str | None,
    drift_to: str | None,
    inbox: Path | None,
    api_url: str,
    settings_file: Path | None,
    assignments: tuple[str, ...],
) -> None:
    """Answer in Slack.

    An image gets a diagnosis in its thread, and one can ask about it there. The tokens come from the environment:
    SLACK_BOT_TOKEN, and SLACK_APP_TOKEN for Socket Mode or SLACK_SIGNING_SECRET for --http. Messages that were not yet
    answered when it stops are answered when it starts again.
    """
    import asyncio
    import signal

    from consilience.frontends.chat.opening import open_chat
    from consilience.frontends.slack.slack_server import SlackConnection, serve

    connection = SlackConnection(
        _secret("SLACK_BOT_TOKEN", "xoxb-", "OAuth & Permissions"),
        "" if over_http else _secret("SLACK_APP_TOKEN", "xapp-", "Basic Information, App-Level Tokens"),
        _secret("SLACK_SIGNING_SECRET", "", "Basic Information, App Credentials") if over_http else "",
        (host, port) if over_http else None,
        api_url,
    )

    async def until_terminated(chat: Chat) -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        await serve(connection, chat, inbox or panel / "slack.sqlite", refer_to, drift_to, _ready, stop)

    settings = collected(settings_file, assignments)
    ask_about_addresses(panel, settings)
    with open_chat(panel, settings) as chat:
        asyncio.run(until_terminated(chat))


def _ready(identity: Identity, waiting: int) -> None:
    from consilience.core.render.phrases import one_line
    from consilience.frontends.cli.terminal import console

    took_up = f"; {waiting} earlier messages are answered first" if waiting else ""
    out = console(stderr=True)
    out.print(f"Answering as {one_line(identity.name)} in {one_line(identity.team)}{took_up}. Ctrl-C stops.")


def _secret(variable: str, start: str, where: str) -> str:
    """Return a token from the environment. Raises SlackError, without the token: it is missing or of another kind."""
    token = os.environ.get(variable, "").strip()
    if not token:
        raise SlackError(f"the variable {variable} is not set: copy it from the Slack app's settings ({where})")
    if not token.startswith(start):
        raise SlackError(
            f"the token in {variable} does not begin with {start}: copy the right one from the app's settings ({where})"
        )
    return token
