"""An OpenAI-compatible chat endpoint in a process of its own, which takes a fixed time over each request.

It reads a request whole, waits, and answers with the same words every time; it counts what it is asked, and how many
requests are there at once. It ends with the process that started it.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from urllib.request import urlopen


@dataclass
class Counts:
    """What was asked since the counts were last read.

    Attributes:
        requests: for a chat completion.
        most_at_once: of those, from the arrival of their last byte to the reply.
    """

    requests: int = 0
    most_at_once: int = 0


@dataclass(frozen=True)
class SlowServer:
    """A running server. Read its counts while no request is under way."""

    base_url: str

    def counts(self) -> Counts:
        """Return what was asked since the last call."""
        with urlopen(self.base_url) as reply:  # noqa: S310  our own address
            return Counts(**json.load(reply))


@contextmanager
def slow_server(latency: float, answer: str) -> Iterator[SlowServer]:
    """Start a server that answers `answer`, `latency` seconds after it has read a request."""
    command = [sys.executable, "-m", __name__, str(latency), answer]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:  # noqa: S603  our own command
        yield SlowServer(next(iter(process.stdout or ())).strip())


class _Counting:
    """The server's side."""

    def __init__(self, latency: float, answer: str) -> None:
        message = {"role": "assistant", "content": answer}
        self._reply: dict[str, object] = {
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1000, "completion_tokens": 50},
        }
        self._latency, self._at_once, self._counts = latency, 0, Counts()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection until it ends."""
        with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                _, _, length = head.partition("content-length:")
                if length:
                    await reader.readexactly(int(length.split("\r\n", 1)[0]))
                body = json.dumps(await self._completion() if head.startswith("post") else self._counted()).encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
                writer.write(b"content-length: %d\r\n\r\n" % len(body) + body)
        writer.close()

    async def _completion(self) -> dict[str, object]:
        self._at_once += 1
        self._counts.requests += 1
        self._counts.most_at_once = max(self._counts.most_at_once, self._at_once)
        await asyncio.sleep(self._latency)
        self._at_once -= 1
        return self._reply

    def _counted(self) -> dict[str, int]:
        counts, self._counts = self._counts, Counts()
        return asdict(counts)


async def _serve(latency: float, answer: str) -> None:
    async with await asyncio.start_server(_Counting(latency, answer).connected, "127.0.0.1", 0) as server:
        print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
        await asyncio.to_thread(sys.stdin.read)  # until the other process closes it, or is gone
        server.close()


if __name__ == "__main__":
    asyncio.run(_serve(float(sys.argv[1]), sys.argv[2]))
