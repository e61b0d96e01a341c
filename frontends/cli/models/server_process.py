"""A server as a child process: it is started, waited for, and never left behind."""

from __future__ import annotations

import ctypes
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from consilience.frontends.cli.outcome import Failure

GRACE_SECONDS = 20.0
"""For a server to end by itself, after which it is killed."""

TAIL = 20
"""Last lines of the log that are shown."""

PR_SET_PDEATHSIG = 1
"""Of Linux's prctl(2)."""


class ServerFailure(Failure):
    """A server did not start, or ended by itself; the end of its log is shown first."""

    def __init__(self, message: str, log: Path) -> None:
        super().__init__(f"{message}; its log is '{log}'")
        self.log = log

    def show(self, file: object = None) -> None:
        from consilience.core.render.phrases import one_line
        from consilience.frontends.cli.terminal import console

        lines = self.log.read_text("utf-8", errors="replace").splitlines()
        for line in lines[-TAIL:]:
            console(stderr=True).print(one_line(line))
        super().show(file)


@dataclass(frozen=True)
class Server:
    """A running server: its process, which leads its own process group, where it listens, and its log file."""

    process: subprocess.Popen[bytes]
    host: str
    port: int
    log: Path

    @property
    def base_url(self) -> str:
        """The address that an agent on this machine asks."""
        return f"http://{f'[{self.reachable}]' if ':' in self.reachable else self.reachable}:{self.port}/v1"

    @property
    def reachable(self) -> str:
        """An address of this machine that it listens on."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104

    def get(self, path: str, headers: Mapping[str, str]) -> bytes | None:
        """Return the body of an answer with status 200, else None. No proxy is used."""
        connection = http.client.HTTPConnection(self.reachable, self.port, timeout=10)
        try:
            connection.request("GET", path, headers=dict(headers))
            response = connection.getresponse()
            body = response.read(2**20)
            return body if response.status == 200 else None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def wait_until_healthy(self, seconds: float) -> None:
        """Wait until it is ready. Raises ServerFailure: it ended before, or takes longer than `seconds`."""
        until = time.monotonic() + seconds
        while self.get("/health", {}) is None:
            if time.monotonic() > until:
                raise ServerFailure(f"the server did not answer within {seconds:g} seconds (--timeout)", self.log)
            with suppress(subprocess.TimeoutExpired):
                raise self._ended(self.process.wait(timeout=0.5), "before it answered")

    def wait(self) -> None:
        """Wait until it ends. Raises ServerFailure: its exit code is not 0."""
        if code := self.process.wait():
            raise self._ended(code, "by itself")

    def _ended(self, code: int, when: str) -> ServerFailure:
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        return ServerFailure(f"the server ended {when} ({how})", self.log)


def refuse_busy_port(host: str, port: int) -> None:
    """Raise Failure unless the port is free: whoever listens there would be taken for our server."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except OSError as cause:
        raise Failure(f"port {port} of {host} cannot be used ({cause.strerror}); choose another with --port") from cause


@contextmanager
def served(command: Sequence[str], environment: Mapping[str, str], host: str, port: int, log: Path) -> Iterator[Server]:
    """Start a server, and stop it with all its processes however this ends: by an error, a signal or Ctrl-C."""
    before = {number: signal.signal(number, _leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    prepare = _end_with_parent() if sys.platform == "linux" else None
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C comes to us alone, and what it starts can be stopped with it
            preexec_fn=prepare,
        )
    try:
        yield Server(process, host, port, log)
    finally:
        _stop(process)
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _end_with_parent() -> Callable[[], object]:
    """Return what the child runs before it becomes the server, so that Linux ends it when we are killed."""
    control, parent = ctypes.CDLL(None).prctl, os.getpid()

    def prepare() -> None:
        control(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # killed meanwhile
            os._exit(1)

    return prepare


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end; kill what is left of its group after a while, or at once on a second Ctrl-C."""
    try:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
