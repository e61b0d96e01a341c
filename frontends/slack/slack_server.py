"""Connects the bot to Slack: by Socket Mode, which needs no public address, or by Slack's events over HTTP."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consilience.core.errors import SlackError
from consilience.frontends.chat.chat import Chat
from consilience.frontends.slack.bot import Bot, Referral
from consilience.frontends.slack.drift_watch import watch
from consilience.frontends.slack.files import bearer_of
from consilience.frontends.slack.inbox import Inbox
from consilience.frontends.slack.request import from_message, from_press, has_images, is_of_team
from consilience.frontends.slack.slack_api import API_URL, Api, Identity

if TYPE_CHECKING:
    from slack_bolt.app.async_app import AsyncApp
    from slack_bolt.response import BoltResponse

log = logging.getLogger(__name__)

PATH = "/slack/events"
"""Where Slack sends events and buttons to, over HTTP."""


@dataclass(frozen=True)
class SlackConnection:
    """How Slack is reached, and reaches the bot.

    Attributes:
        bot_token: xoxb-...
        app_token: xapp-..., for Socket Mode.
        signing_secret: for HTTP.
        address: host and port to listen on for HTTP; None: Socket Mode.
        api_url: of the Web API.
    """

    bot_token: str = field(repr=False)
    app_token: str = field(default="", repr=False)
    signing_secret: str = field(default="", repr=False)
    address: tuple[str, int] | None = None
    api_url: str = API_URL


async def serve(
    connection: SlackConnection,
    chat: Chat,
    inbox_path: Path,
    refer_to: str | None,
    drift_to: str | None,
    ready: Callable[[Identity, int], None],
    stop: asyncio.Event,
) -> None:
    """Answer until `stop` is set.

    Args:
        inbox_path: file of the inbox.
        refer_to: the channel that images are referred to, by name or id.
        drift_to: the channel that is told when an agent has become worse.
        ready: is told who the bot is, and how many earlier requests it goes on with.
        stop: ends it.

    Raises:
        SlackError: it cannot start, or Slack accepts it no more.
    """
    api = Api(connection.bot_token, connection.api_url)
    identity = await api.identity()
    if connection.address is None:
        await api.check_app_token(connection.app_token)
    async with AsyncExitStack() as stack:
        inbox = stack.enter_context(Inbox(inbox_path))
        chat.refer = Referral(api, inbox, refer_to) if refer_to else None
        bot = Bot(chat, api, inbox, bearer_of(connection.bot_token, connection.api_url))
        stack.push_async_callback(bot.close)
        app = _app(connection, bot, inbox, identity)
        taken_up = bot.resume()  # before anything new comes, which would be taken up as well
        connected = (
            _over_http(app, *connection.address) if connection.address else _by_socket(app, connection.app_token)
        )
        await stack.enter_async_context(connected)
        ready(identity, taken_up)
        if drift_to:
            stack.callback(asyncio.create_task(watch(chat, api, inbox, drift_to)).cancel)
        stopped = asyncio.ensure_future(stop.wait())
        await asyncio.wait((stopped, bot.lost), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if bot.lost.done():
            bot.lost.result()


def _app(connection: SlackConnection, bot: Bot, inbox: Inbox, identity: Identity) -> AsyncApp:
    """Return Bolt's app, which checks signatures, and acknowledges only what has been written down."""
    from slack_bolt.app.async_app import AsyncApp
    from slack_bolt.authorization import AuthorizeResult
    from slack_bolt.response import BoltResponse
    from slack_sdk.web.async_client import AsyncWebClient

    async def known() -> AuthorizeResult:
        """Return who the bot is: Bolt would ask Slack, and drop an event that comes while Slack does not answer."""
        return AuthorizeResult(
            enterprise_id=None,
            team_id=identity.team_id,
            bot_user_id=identity.user,
            bot_token=connection.bot_token,
        )

    app = AsyncApp(
        client=AsyncWebClient(base_url=connection.api_url),
        authorize=known,
        signing_secret=connection.signing_secret or "not used by Socket Mode",
        process_before_response=True,
        raise_error_for_unhandled_request=False,
    )

    async def only_own_team(body: dict[str, Any], next: Callable[[], Awaitable[None]]) -> BoltResponse | None:
        """Refuse what happened in another team, which may have installed the same app."""
        if not is_of_team(body, identity.team_id):
            log.warning("an event of another team than %s was refused", identity.team_id)
            return BoltResponse(status=403, body="this bot is another team's")
        await next()
        return None

    app.middleware(only_own_team)

    async def on_message(event: dict[str, Any]) -> None:
        if event.get("type") == "app_mention" and not has_images(event):  # it may come before its files do
            with suppress(SlackError):
                now = await bot.api.message(str(event.get("channel")), str(event.get("ts")))
                event = {**event, **{key: now[key] for key in ("files", "attachments", "blocks") if key in now}}
        thread = event.get("thread_ts")
        is_known = bool(thread) and inbox.is_known(str(event.get("channel")), str(thread))
        await bot.receive(from_message(event, identity.user, is_known))

    async def on_button(ack: Any, body: dict[str, Any]) -> None:
        await bot.receive([from_press(body)])
        await ack()

    app.event("message")(on_message)
    app.event("app_mention")(on_message)
    app.action(re.compile(r"^(right|wrong|label:\d+|none|unsure|refer|where)$"))(on_button)
    return app


@asynccontextmanager
async def _by_socket(app: AsyncApp, app_token: str) -> AsyncIterator[None]:
    from slack_bolt.adapter.socket_mode.async_handler import AsyncSocketModeHandler

    handler: Any = AsyncSocketModeHandler(app, app_token)
    await handler.connect_async()
    try:
        yield
    finally:
        await handler.close_async()


@asynccontextmanager
async def _over_http(app: AsyncApp, host: str, port: int) -> AsyncIterator[None]:
    from aiohttp import web

    @web.middleware
    async def with_time(request: web.Request, handler: Any) -> web.StreamResponse:
        """Refuse a request whose time is no number, over which the check of its signature would fall."""
        if re.fullmatch(r"[0-9]{1,12}", request.headers.get("X-Slack-Request-Timestamp", "")) is None:
            return web.Response(status=401)
        answer: web.StreamResponse = await handler(request)
        return answer

    served = app.web_app(path=PATH, port=port)
    served.middlewares.append(with_time)
    runner = web.AppRunner(served, access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as cause:
            raise SlackError(f"cannot listen on port {port} of {host} ({cause}): choose another --port") from cause
        yield
    finally:
        await runner.cleanup()
