"""`consilience web`: the page and its API, for as long as the command runs."""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from pathlib import Path

import click

from consilience.core.errors import import_extra
from consilience.frontends.cli.asked_addresses import ask_about_addresses
from consilience.frontends.cli.options import collected, panel_option, settings_options
from consilience.frontends.cli.outcome import Failure

TOKEN_VARIABLE = "CONSILIENCE_WEB_TOKEN"  # noqa: S105  its name, not the token
LEAST_TOKEN = 16
"""Characters: a shorter one could be guessed."""

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")

SWITCH_SECONDS = 0.001
"""How long a thread may keep Python's lock from others: those that embed need it shortly and often, and cores idle
while they wait for it."""


@click.command()
@panel_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="Port to listen on; 0: any free one."
)
@click.option(
    "--name",
    "names",
    multiple=True,
    metavar="NAME",
    help="Host name by which a proxy makes it public; may be given many times.",
)
@click.option("--open", "is_open", is_flag=True, help="Let everybody in, without a token.")
@settings_options
def web(
    panel: Path,
    host: str,
    port: int,
    names: tuple[str, ...],
    is_open: bool,
    settings_file: Path | None,
    assignments: tuple[str, ...],
) -> None:
    """Serve a web page and a JSON API.

    By default only this machine can reach it. With another --host, visitors must know the token that the environment
    variable CONSILIENCE_WEB_TOKEN holds, or --open lets everybody in. The API is described at /v1/openapi.json.
    """
    for module in ("fastapi", "uvicorn", "prometheus_client"):
        import_extra(module, "web")

    from consilience.frontends.chat.opening import open_chat
    from consilience.frontends.cli.terminal import console
    from consilience.frontends.web.app import create_app
    from consilience.frontends.web.batching import Batching
    from consilience.frontends.web.serving import run

    settings = collected(settings_file, assignments)
    token = _token()
    is_local = _is_loopback(host)
    if token is None and not is_open and not (is_local and not names):
        raise Failure(
            f"others could reach this page: set a token of at least {LEAST_TOKEN} characters in {TOKEN_VARIABLE}, or "
            "let everybody in with --open"
        )
    ask_about_addresses(panel, settings)
    listener = _listener(host, port)
    with listener, open_chat(panel, settings, Batching) as chat:
        hosts = {*LOOPBACK_NAMES, *(name.lower() for name in names)} if is_local else None
        app = create_app(chat, settings.web, token=token, hosts=hosts)
        batching = chat.diagnoser
        if isinstance(batching, Batching):
            batching.on_run = app.state.site.metrics.batch.observe
        shown = f"[{host}]" if ":" in host else host
        console(stderr=True).print(f"Serving '{panel}' at http://{shown}:{listener.getsockname()[1]}/  Ctrl-C stops.")
        if names and not settings.web.trusted_proxies:
            console(stderr=True).print(
                "Whoever comes through a proxy counts as one address: name it, --set web.trusted_proxies=127.0.0.1"
            )
        sys.setswitchinterval(SWITCH_SECONDS)
        run(app, listener, settings.web)


def _token() -> str | None:
    token = os.environ.get(TOKEN_VARIABLE) or None
    if token is not None and len(token) < LEAST_TOKEN:
        raise Failure(f"the token in {TOKEN_VARIABLE} could be guessed: make it at least {LEAST_TOKEN} characters long")
    return token


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listener(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as cause:
        raise Failure(f"port {port} of {host} cannot be used ({cause.strerror}); choose another with --port") from cause
