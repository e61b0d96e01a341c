"""A Slack of our own: its Web API, file hosts, Events API and Socket Mode as far as the bot uses them, on loopback.

Shapes are those of Slack's documentation: https://docs.slack.dev/reference/methods and /reference/events.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import json
import threading
import time
import urllib.error
import urllib.request
from collections import defaultdict, deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import quote, urlencode

from aiohttp import WSMsgType, web

BOT_TOKEN, APP_TOKEN, SECRET = "xoxb-bot-token", "xapp-app-token", "the signing secret"
BOT, TEAM = "UBOT", "T1"
SCOPES = (
    "app_mentions:read,channels:history,groups:history,im:history,mpim:history,chat:write,files:read,files:write,"
    "reactions:write"
)


@dataclass
class Message:
    """A message of the bot's: as it is, and the texts that it had."""

    channel: str
    ts: str
    thread: str | None
    text: str
    blocks: list[dict[str, Any]]
    texts: list[str] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def is_answer(self) -> bool:
        return bool(self.blocks)

    @property
    def words(self) -> str:
        """All that its blocks say."""

        def texts(part: Any) -> list[str]:
            if isinstance(part, list):
                return [word for part in part for word in texts(part)]
            if isinstance(part, dict):
                text = part.get("text")
                own = [text] if isinstance(text, str) else []
                return own + [word for key, part in part.items() if key != "text" or not own for word in texts(part)]
            return []

        return " ".join(texts(self.blocks)) or self.text


class FakeSlack:
    """Runs in a thread of its own.

    Attributes:
        faults: by method, answers that are given before the right ones: an error's name, or a number of seconds to
            be asked again after (429).
        scopes: that the app was granted.
        files: what people have uploaded. held: those whose download waits until they are taken out.
        public: images that anybody may fetch, by name.
        calls: the methods that were called, in order. messages, uploads, reactions: what the bot has left.
        said: messages of people that the Web API returns, by timestamp.
        events_url: where events go over HTTP; None: over the socket.
        token: the one that is accepted.
    """

    def __init__(self) -> None:
        self.faults: defaultdict[str, deque[str | int]] = defaultdict(deque)
        self.scopes, self.token = SCOPES, BOT_TOKEN
        self.calls: list[str] = []
        self.messages: dict[str, Message] = {}
        self.uploads: list[tuple[str, str, bytes]] = []  # channel, thread, bytes
        self.reactions: defaultdict[str, set[str]] = defaultdict(set)
        self.files: dict[str, tuple[bytes, str]] = {}
        self.held: set[str] = set()
        self.public: dict[str, bytes] = {}
        self.tokens_seen: list[tuple[str, str | None]] = []  # path, Authorization
        self.events_url: str | None = None
        self.said: dict[str, dict[str, Any]] = {}
        self.acks: dict[str, float] = {}
        self._waiting_uploads: dict[str, bytes] = {}
        self._sockets: list[web.WebSocketResponse] = []
        self._number = itertools.count(1)
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._serve()).result(30)
        return self

    def __exit__(self, *exception: object) -> None:
        self._run(self._runner.cleanup()).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/"

    # What a person does.

    def upload(self, data: bytes, name: str, mimetype: str = "image/png") -> dict[str, Any]:
        """A file object, as events hold it."""
        id = f"F{next(self._number)}"
        self.files[id] = (data, mimetype)
        url = f"http://127.0.0.1:{self.port}/files-pri/{TEAM}-{id}/download/{quote(name, safe='')}"
        return {"id": id, "name": name, "mimetype": mimetype, "size": len(data), "url_private_download": url}

    def say(
        self,
        text: str = "",
        *files: dict[str, Any],
        user: str = "U1",
        channel: str = "C1",
        thread: str | None = None,
        kind: str = "message",
        **more: Any,
    ) -> dict[str, Any]:
        """An event; `deliver` brings it to the bot."""
        ts = f"1700000000.{next(self._number):06}"
        event = {"type": kind, "channel": channel, "user": user, "text": text, "ts": ts, **more}
        if kind == "message":
            event["channel_type"] = "im" if channel.startswith("D") else "channel"
        if files:
            event |= {"files": list(files), "subtype": "file_share"} if kind == "message" else {"files": list(files)}
        if thread:
            event["thread_ts"] = thread
        return event

    def deliver(self, event: dict[str, Any], secret: str = SECRET, team: str = TEAM) -> int:
        """Bring an event to the bot, and wait until it has acknowledged it. Returns the status (200 on a socket)."""
        body = {
            "token": "verification",
            "team_id": team,
            "api_app_id": "A1",
            "event": event,
            "type": "event_callback",
            "event_id": f"Ev{next(self._number)}",
            "event_time": 1700000000,
            "authorizations": [{"team_id": team, "user_id": BOT, "is_bot": True}],
        }
        return self._bring("events_api", body, json.dumps(body).encode(), "application/json", secret)

    def press(
        self, message: Message, action: str, option: int | None = None, user: str = "U1", team: str = TEAM
    ) -> int:
        """Press a button of a message."""
        [actions] = [block for block in message.blocks if block["type"] == "actions"]
        pressed = {"action_id": action, "block_id": actions["block_id"], "action_ts": f"{next(self._number)}.0"}
        if option is not None:
            pressed |= {"type": "static_select", "selected_option": {"value": str(option)}}
        [element] = [element for element in actions["elements"] if element["action_id"] == action]
        if "value" in element:
            pressed |= {"type": "button", "value": element["value"]}
        body = {
            "type": "block_actions",
            "user": {"id": user},
            "team": {"id": team},
            "channel": {"id": message.channel},
            "message": {"ts": message.ts, **({"thread_ts": message.thread} if message.thread else {})},
            "actions": [pressed],
        }
        form = urlencode({"payload": json.dumps(body)}).encode()
        return self._bring("interactive", body, form, "application/x-www-form-urlencoded", SECRET)

    # What a test looks at.

    def until(self, condition: Callable[[], bool], what: str, seconds: float = 120.0) -> None:
        """Wait until the bot's doings have made it true."""
        with self._changed:
            assert self._changed.wait_for(condition, seconds), f"not within {seconds:g} s: {what}; {self.calls[-20:]}"

    def answers(self, thread: str, count: int = 1, channel: str | None = None) -> list[Message]:
        """The answers in a thread, once there are so many."""

        def answers() -> list[Message]:
            return [
                message
                for message in self.messages.values()
                if message.thread == thread and message.is_answer and channel in (None, message.channel)
            ]

        self.until(lambda: len(answers()) >= count, f"{count} answers in {thread}")
        return answers()

    def reacted(self, event: dict[str, Any], *names: str) -> None:
        """Wait until a message has just these reactions."""
        self.until(lambda: self.reactions[event["ts"]] == set(names), f"reactions {names}")

    # The servers.

    def _run(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _bring(self, kind: str, body: dict[str, Any], data: bytes, content_type: str, secret: str) -> int:
        if self.events_url is None:
            envelope = f"E{next(self._number)}"
            message = {"type": kind, "envelope_id": envelope, "payload": body, "accepts_response_payload": False}
            for _ in range(20):  # as Slack does, again where it is not acknowledged
                self.until(lambda: bool(self._sockets), "a socket")
                self._run(self._send(message)).result(30)
                with self._changed:
                    if self._changed.wait_for(lambda: envelope in self.acks, 6.0):
                        return 200
            raise AssertionError("never acknowledged")
        stamp = str(int(time.time()))
        signed = hmac.new(secret.encode(), b"v0:" + stamp.encode() + b":" + data, hashlib.sha256).hexdigest()
        headers = {
            "Content-Type": content_type,
            "X-Slack-Request-Timestamp": stamp,
            "X-Slack-Signature": f"v0={signed}",
        }
        request = urllib.request.Request(self.events_url, data, headers)  # noqa: S310  loopback
        try:
            with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
                return int(response.status)
        except urllib.error.HTTPError as error:
            return error.code

    async def _send(self, message: dict[str, Any]) -> None:
        with suppress(ConnectionError, IndexError):
            await self._sockets[-1].send_json(message)

    async def _serve(self) -> None:
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/api/{method}", self._api)
        app.router.add_get("/files-pri/{file}/download/{name}", self._download)
        app.router.add_get("/public/{name}", self._public)
        app.router.add_get("/login", self._login)
        app.router.add_post("/upload/{id}", self._take_upload)
        app.router.add_get("/link", self._socket)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _api(self, request: web.Request) -> web.Response:
        method = request.match_info["method"]
        fields: dict[str, Any] = dict(request.query)
        if request.content_type == "application/json":
            fields |= await request.json()
        else:
            fields |= dict(await request.post())
        with self._changed:
            self.calls.append(method)
            fault = self.faults[method].popleft() if self.faults[method] else None
            if isinstance(fault, int):
                answer = web.json_response({"ok": False, "error": "ratelimited"}, status=429)
                answer.headers["Retry-After"] = str(fault)
                return answer
            bearer = request.headers.get("Authorization", "")
            accepted = APP_TOKEN if method == "apps.connections.open" else self.token
            body: dict[str, Any]
            if fault is not None:
                body = {"ok": False, "error": fault, "needed": "chat:write"}
            elif bearer != f"Bearer {accepted}":
                body = {"ok": False, "error": "invalid_auth"}
            else:
                body = {"ok": True} | self._answer(method, fields)
            self._changed.notify_all()
        return web.json_response(body, headers={"X-OAuth-Scopes": self.scopes})

    def _answer(self, method: str, fields: dict[str, Any]) -> dict[str, Any]:
        ts = f"1800000000.{next(self._number):06}"
        blocks = fields.get("blocks") or []
        blocks = json.loads(blocks) if isinstance(blocks, str) else blocks
        match method:
            case "auth.test":
                return {"user_id": BOT, "user": "consilience", "team": "Test team", "team_id": TEAM, "bot_id": "B1"}
            case "apps.connections.open":
                return {"url": f"ws://127.0.0.1:{self.port}/link"}
            case "chat.postMessage":
                text = fields["text"]
                mark = fields.get("metadata") or {}
                mark = json.loads(mark) if isinstance(mark, str) else mark
                message = Message(fields["channel"], ts, fields.get("thread_ts"), text, blocks, [text], mark)
                self.messages[ts] = message
                return {"channel": message.channel, "ts": ts}
            case "conversations.replies":
                there = [message for message in self.messages.values() if message.thread == fields["ts"]]
                own = [self.said[fields["ts"]]] if fields["ts"] in self.said else []
                return {
                    "messages": own
                    + [{"ts": message.ts, "text": message.text, "metadata": message.metadata} for message in there]
                }
            case "chat.update":
                message = self.messages[fields["ts"]]
                message.text, message.blocks = fields["text"], blocks
                message.texts.append(fields["text"])
                return {"channel": message.channel, "ts": message.ts}
            case "reactions.add":
                if fields["name"] in self.reactions[fields["timestamp"]]:
                    return {"ok": False, "error": "already_reacted"}
                self.reactions[fields["timestamp"]].add(fields["name"])
                return {}
            case "reactions.remove":
                self.reactions[fields["timestamp"]].discard(fields["name"])
                return {}
            case "files.getUploadURLExternal":
                file = f"F{next(self._number)}"
                return {"file_id": file, "upload_url": f"http://127.0.0.1:{self.port}/upload/{file}"}
            case "files.completeUploadExternal":
                files = fields["files"]
                for upload in json.loads(files) if isinstance(files, str) else files:
                    data = self._waiting_uploads.pop(upload["id"])
                    self.uploads.append((fields["channel_id"], fields["thread_ts"], data))
                return {"files": []}
            case "files.info":
                if fields["file"] not in self.files:
                    return {"ok": False, "error": "file_deleted"}
                return {"file": {"id": fields["file"]}}
            case "chat.getPermalink":
                return {"permalink": f"https://test.slack.com/archives/{fields['channel']}/p{fields['message_ts']}"}
        return {"ok": False, "error": "unknown_method"}

    async def _download(self, request: web.Request) -> web.Response:
        """As Slack does: a page to sign in, not an error, for whoever may not see the file."""
        self.tokens_seen.append((request.path, request.headers.get("Authorization")))
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            raise web.HTTPFound("/login")
        file = request.match_info["file"].removeprefix(f"{TEAM}-")
        if file not in self.files:
            raise web.HTTPNotFound
        while file in self.held:
            await asyncio.sleep(0.02)
        data, mimetype = self.files[file]
        return web.Response(body=data, content_type=mimetype)

    async def _public(self, request: web.Request) -> web.Response:
        self.tokens_seen.append((request.path, request.headers.get("Authorization")))
        return web.Response(body=self.public[request.match_info["name"]], content_type="image/png")

    async def _login(self, request: web.Request) -> web.Response:
        return web.Response(text="<html>Sign in to Slack</html>", content_type="text/html")

    async def _take_upload(self, request: web.Request) -> web.Response:
        data = await request.read()
        if request.content_type.startswith("multipart/"):
            data = data.split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--", 1)[0]
        self._waiting_uploads[request.match_info["id"]] = data
        return web.Response(text=f"OK - {len(data)}")

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"type": "hello", "num_connections": 1, "connection_info": {"app_id": "A1"}})
        with self._changed:
            self._sockets.append(socket)
            self._changed.notify_all()
        async for message in socket:
            if message.type == WSMsgType.TEXT:
                with self._changed:
                    self.acks[json.loads(message.data)["envelope_id"]] = time.monotonic()
                    self._changed.notify_all()
        with self._changed:
            self._sockets.remove(socket)
            self._changed.notify_all()
        return socket
