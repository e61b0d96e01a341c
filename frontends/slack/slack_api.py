"""What the bot asks of Slack's Web API, within its rate limits, with errors that say what to do."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any

from consilience.core.errors import SlackError, import_extra
from consilience.core.storage.yaml_file import read_yaml_mapping

if TYPE_CHECKING:
    from slack_sdk.web.async_client import AsyncWebClient

API_URL = "https://slack.com/api/"

METADATA = "consilience_request"
"""The kind of metadata that the bot's messages carry, which nobody sees."""

MAX_RETRIES = 20
"""How often a request that came too soon is sent again, each time when Slack says."""

BAD_TOKEN = frozenset(
    {"invalid_auth", "not_authed", "token_revoked", "token_expired", "account_inactive", "no_permission"}
)
PASSING = frozenset({"ratelimited", "internal_error", "fatal_error", "service_unavailable", "request_timeout"})


class PassingTrouble(SlackError):
    """Slack cannot be reached or has a problem: what was asked may succeed later."""


class LostAccess(SlackError):
    """The token is not, or no longer, one that Slack accepts: the bot cannot go on."""


@cache
def scopes() -> tuple[str, ...]:
    """Return what the app must be allowed to do, by its manifest."""
    with as_file(files("consilience.frontends.slack") / "manifest.yaml") as path:
        return tuple(read_yaml_mapping(path)["oauth_config"]["scopes"]["bot"])


@dataclass(frozen=True)
class Identity:
    """Who the bot is: its user id and name, its workspace's name and id."""

    user: str
    name: str
    team: str
    team_id: str


class Api:
    """Slack's Web API.

    Every method raises PassingTrouble, LostAccess or another SlackError, which says what to do.
    """

    def __init__(self, token: str, url: str = API_URL) -> None:
        """`url`: of the Web API; GovSlack has one of its own."""
        import_extra("slack_bolt", "slack")
        from slack_sdk.http_retry.builtin_async_handlers import AsyncRateLimitErrorRetryHandler
        from slack_sdk.web.async_client import AsyncWebClient

        self.client: AsyncWebClient = AsyncWebClient(token=token, base_url=url)
        self.client.retry_handlers.append(AsyncRateLimitErrorRetryHandler(max_retry_count=MAX_RETRIES))

    async def identity(self) -> Identity:
        """Return who the bot is.

        Raises:
            SlackError: it lacks scopes of the manifest; names them.
        """
        answer = await _result(self.client.auth_test(), "SLACK_BOT_TOKEN")
        granted = {name.lower(): value for name, value in answer.headers.items()}.get("x-oauth-scopes")
        if granted is not None:
            missing = [scope for scope in scopes() if scope not in str(granted).replace(",", " ").split()]
            if missing:
                raise SlackError(
                    f"the Slack app lacks the scopes {', '.join(missing)}: add them under 'OAuth & Permissions', or "
                    "create the app again from the manifest, and install it again"
                )
        return Identity(
            str(answer["user_id"]), str(answer.get("user") or ""), str(answer.get("team") or ""), str(answer["team_id"])
        )

    async def check_app_token(self, token: str) -> None:
        """Raise SlackError unless Socket Mode may be used with an app-level token."""
        await _result(self.client.apps_connections_open(app_token=token), "SLACK_APP_TOKEN")

    async def post(self, channel: str, thread: str | None, fields: Mapping[str, Any], key: str = "") -> tuple[str, str]:
        """Post a message, and return the channel's id and the message's timestamp.

        Args:
            channel: id or name.
            thread: timestamp of the message that heads the thread; None: none.
            fields: text and blocks.
            key: by which `posted` finds it again.
        """
        metadata = {"event_type": METADATA, "event_payload": {"key": key}} if key else None
        sent = await _result(
            self.client.chat_postMessage(
                channel=channel, thread_ts=thread, unfurl_links=False, metadata=metadata, **fields
            )
        )
        return str(sent["channel"]), str(sent["ts"])

    async def posted(self, channel: str, thread: str, key: str) -> str:
        """Return the timestamp of the bot's message in a thread that was posted with `key`; empty if there is none."""
        try:
            replies = await _result(
                self.client.conversations_replies(channel=channel, ts=thread, include_all_metadata=True, limit=999)
            )
        except _Refused:
            return ""
        for reply in replies.get("messages") or ():
            metadata = reply.get("metadata") or {}
            if metadata.get("event_type") == METADATA and (metadata.get("event_payload") or {}).get("key") == key:
                return str(reply["ts"])
        return ""

    async def update(self, channel: str, ts: str, fields: Mapping[str, Any]) -> None:
        """Replace text and blocks of the bot's message with the timestamp `ts`."""
        await _result(self.client.chat_update(channel=channel, ts=ts, **fields))

    async def react(self, channel: str, ts: str, *, on: str = "", off: str = "") -> None:
        """Add a reaction to a message and take another off; a message that is gone, or has it already, is no matter."""
        with suppress(_Refused):
            if off:
                await _result(self.client.reactions_remove(channel=channel, timestamp=ts, name=off))
        with suppress(_Refused):
            if on:
                await _result(self.client.reactions_add(channel=channel, timestamp=ts, name=on))

    async def show(self, channel: str, thread: str, name: str, png: bytes, alt_text: str) -> None:
        """Upload a picture into a thread."""
        upload = {"file": png, "filename": name, "title": alt_text[:200], "alt_txt": alt_text[:1000]}
        await _result(self.client.files_upload_v2(channel=channel, thread_ts=thread, file_uploads=[upload]))

    async def file_address(self, file: str) -> str:
        """Return the address of a file of which Slack has told the id alone; empty if it was deleted."""
        try:
            answer = await _result(self.client.files_info(file=file))
        except _Refused:
            return ""
        described = answer.get("file") or {}
        return str(described.get("url_private_download") or described.get("url_private") or "")

    async def message(self, channel: str, ts: str) -> Mapping[str, Any]:
        """Return a message as Slack has it now; empty if it cannot be had."""
        try:
            answer = await _result(
                self.client.conversations_replies(channel=channel, ts=ts, oldest=ts, latest=ts, inclusive=True, limit=2)
            )
        except _Refused:
            return {}
        return next((message for message in answer.get("messages") or () if message.get("ts") == ts), {})

    async def link(self, channel: str, ts: str) -> str:
        """Return the address of a message; empty if it is gone."""
        try:
            return str((await _result(self.client.chat_getPermalink(channel=channel, message_ts=ts)))["permalink"])
        except _Refused:
            return ""


class _Refused(SlackError):
    """Slack refused this one thing."""


async def _result(answer: Awaitable[Any], token: str = "SLACK_BOT_TOKEN") -> Any:  # noqa: S107  a variable's name
    """Return what Slack answered, or raise the SlackError that says what to do.

    Args:
        token: name of the variable that holds the token that was used.
    """
    import aiohttp
    from slack_sdk.errors import SlackApiError, SlackClientError

    try:
        return await answer
    except SlackApiError as error:
        response: Any = error.response
        cause = str(response.get("error") or "unknown error") if hasattr(response, "get") else "unknown error"
        if cause in BAD_TOKEN:
            raise LostAccess(
                f"Slack does not accept the token in {token} ({cause}): copy it again from the app's settings, "
                "and install the app again if it was revoked"
            ) from None
        if cause == "missing_scope":
            raise SlackError(
                f"the Slack app lacks the scope {response.get('needed') or '(Slack does not say which)'}: add it and "
                "install the app again"
            ) from None
        if cause in PASSING or getattr(response, "status_code", 200) >= 500:
            raise PassingTrouble(f"Slack has a problem ({cause}); trying again later") from None
        raise _Refused(f"Slack refused this: {cause}") from None
    except (aiohttp.ClientError, TimeoutError, OSError, SlackClientError) as error:
        raise PassingTrouble(
            f"Slack cannot be reached ({type(error).__name__}: {error}): check the network and the address"
        ) from None
