"""`consilience serve-vlm` with a real child process: a small server in the place of vllm, which does as it is told."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import pytest
import yaml

from consilience.frontends.cli.models import server_process as served

STAND_IN = """#!{python}
import functools, http.server, json, os, signal, socket, subprocess, sys

line = socket.create_connection(("127.0.0.1", {port}))  # which closes when the last of these processes has ended
tell = functools.partial(print, file=line.makefile("w"), flush=True)
tell(json.dumps([sys.argv[1:], dict(os.environ)]))
if "--dies" in sys.argv:
    sys.exit("\\x1b[31mno GPU of \\u202e16 GB\\nwas found")
if "--family" in sys.argv:
    subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], pass_fds=[line.fileno()])
if "--stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, lambda *_: tell("no"))
asked = 0


class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        global asked
        asked += 1
        if self.path == "/die":
            print("out of memory", file=sys.stderr, flush=True)
            os._exit(7)
        models = [{{"id": "org/Tiny-VL"}}, {{"id": "leaves"}}]
        body = json.dumps({{"data": models, "key": self.headers["Authorization"]}}).encode()
        ready = "--never" not in sys.argv and asked > 2
        if self.path == "/v1/models":
            tell(self.headers["Authorization"])
        self.send_response(200 if ready else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


place = (sys.argv[sys.argv.index("--host") + 1], int(sys.argv[sys.argv.index("--port") + 1]))
http.server.ThreadingHTTPServer(place, Answers).serve_forever()
"""


class StandIn:
    """The program, and what its processes say of themselves."""

    def __init__(self, folder: Path) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(60)
        self.path = folder / "vllm"
        self.path.write_text(STAND_IN.format(python=sys.executable, port=self.listener.getsockname()[1]))
        self.path.chmod(0o755)

    @cached_property
    def reports(self) -> IO[str]:
        connection, _ = self.listener.accept()
        connection.settimeout(60)
        return connection.makefile()

    def line(self) -> str:
        """The next line that it says, waited for; empty when the last of its processes has ended."""
        return self.reports.readline().strip()


@pytest.fixture
def stand_in(tmp_path: Path) -> Iterator[StandIn]:
    server = StandIn(tmp_path)
    with server.listener:
        yield server


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(script: str, stand_in: StandIn, port: int, tmp_path: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def serve(*arguments: str, **environment: str) -> subprocess.Popen[str]:
        command = [script, "serve-vlm", "org/Tiny-VL", "--executable", str(stand_in.path), "--port", str(port)]
        variables = {**os.environ, "TMPDIR": str(tmp_path), **environment}
        process = subprocess.Popen(
            [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables
        )
        started.append(process)
        return process

    yield serve
    for process in started:
        process.kill()
        process.communicate()


def ready(process: subprocess.Popen[str], entries: int = 2) -> str:
    """What is printed when it is ready."""
    assert process.stdout is not None
    return "".join(process.stdout.readline() for _ in range(2 + 5 * entries))


def logs(folder: Path) -> list[Path]:
    return list(folder.glob("consilience-vllm-*.log"))


def test_a_server_is_started_waited_for_and_stopped(start: Start, stand_in: StandIn, port: int, tmp_path: Path) -> None:
    process = start("--", "--family", "--tensor-parallel-size", "2", DO_NOT_TRACK="yes")
    arguments, environment = json.loads(stand_in.line())
    settings = ready(process)
    assert settings.startswith(f"# org/Tiny-VL is served at http://127.0.0.1:{port}/v1; Ctrl-C stops it.")
    usual = {"kind": "endpoint", "base_url": f"http://127.0.0.1:{port}/v1", "confidence": "logprob"}
    assert yaml.safe_load(settings) == {
        "models": [{"name": "tiny-vl", "model": "org/Tiny-VL"} | usual, {"name": "leaves", "model": "leaves"} | usual]
    }
    assert arguments[:6] == ["serve", "org/Tiny-VL", "--host", "127.0.0.1", "--port", str(port)]
    assert arguments[-3:] == ["--family", "--tensor-parallel-size", "2"]
    assert '--limit-mm-per-prompt={"image": 5, "video": 0}' in arguments
    assert "--enforce-eager" not in arguments
    assert (environment["VLLM_NO_USAGE_STATS"], environment["DO_NOT_TRACK"]) == ("1", "yes")
    assert environment["PATH"].split(os.pathsep)[0] == str(tmp_path)
    assert "TORCHDYNAMO_DISABLE" not in environment
    process.send_signal(signal.SIGINT)
    assert stand_in.line() == "None"  # it was asked for no key
    assert stand_in.line() == ""
    _, complaints = process.communicate()
    assert process.returncode == 130
    assert "starting vLLM with org/Tiny-VL; its log is " in complaints
    assert "Traceback" not in complaints
    assert logs(tmp_path) == []


def test_on_a_cpu_nothing_is_compiled_and_a_key_is_asked_for(start: Start, stand_in: StandIn) -> None:
    process = start("--cpu", VLLM_API_KEY="secret-123")
    arguments, environment = json.loads(stand_in.line())
    settings = ready(process)
    assert {"--enforce-eager", "--kv-cache-memory-bytes=1G"} <= {*arguments}
    assert environment["TORCHDYNAMO_DISABLE"] == "1"
    assert stand_in.line() == "Bearer secret-123"
    assert "key_variable: VLLM_API_KEY" in settings
    assert "secret" not in settings


def test_the_settings_are_the_same_yaml_on_a_narrow_terminal(start: Start, stand_in: StandIn) -> None:
    process = start(COLUMNS="40")
    stand_in.line()
    agents = yaml.safe_load(ready(process))["models"]
    assert [agent["confidence"] for agent in agents] == ["logprob", "logprob"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)])
def test_it_stops_however_we_are_stopped(start: Start, stand_in: StandIn, number: signal.Signals, code: int) -> None:
    process = start()
    stand_in.line()
    ready(process)
    stand_in.line()
    process.send_signal(number)
    assert stand_in.line() == ""
    assert process.wait() == code


def test_one_that_does_not_end_when_asked_is_killed_at_the_second_ctrl_c(start: Start, stand_in: StandIn) -> None:
    process = start("--", "--stubborn")
    stand_in.line()
    ready(process)
    stand_in.line()
    process.send_signal(signal.SIGINT)
    assert stand_in.line() == "no"
    process.send_signal(signal.SIGINT)
    assert stand_in.line() == ""
    assert process.wait() == 130


def test_one_that_does_not_end_when_asked_is_killed_after_a_while(
    stand_in: StandIn, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "GRACE_SECONDS", 0.01)
    command = [str(stand_in.path), "--host", "127.0.0.1", "--port", str(port), "--stubborn", "--family"]
    with served.served(command, os.environ, "127.0.0.1", port, tmp_path / "log") as server:
        stand_in.line()
        server.wait_until_healthy(60)
    assert server.process.returncode == -signal.SIGKILL
    assert stand_in.line() == "no"
    assert stand_in.line() == ""


def test_one_that_does_not_start_shows_the_end_of_its_log(start: Start, stand_in: StandIn, tmp_path: Path) -> None:
    _, complaints = start("--", "--dies").communicate()
    (log,) = logs(tmp_path)
    assert complaints.splitlines()[-3:] == [
        "[31mno GPU of 16 GB",
        "was found",
        f"error: the server ended before it answered (exit code 1); its log is '{log}'",
    ]


def test_one_that_dies_later_is_told(start: Start, stand_in: StandIn, port: int, tmp_path: Path) -> None:
    process = start("--log", str(tmp_path / "kept.log"))
    ready(process)
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/die")
    _, complaints = process.communicate()
    assert process.returncode == 1
    assert "out of memory\nerror: the server ended by itself (exit code 7); its log is " in complaints
    assert "out of memory" in (tmp_path / "kept.log").read_text()
    assert logs(tmp_path) == []


def test_one_that_is_never_ready_is_stopped(start: Start, stand_in: StandIn) -> None:
    process = start("--timeout", "1", "--", "--never", "--family")
    stand_in.line()
    assert stand_in.line() == ""
    _, complaints = process.communicate()
    assert process.returncode == 1
    assert "error: the server did not answer within 1 seconds (--timeout)" in complaints


def test_a_port_that_is_in_use(start: Start, port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        process = start()
        _, complaints = process.communicate()
    assert process.returncode == 1
    assert complaints.startswith(f"error: port {port} of 127.0.0.1 cannot be used (Address already in use)")


def test_no_vllm(invoke: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, port: int) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    missing = invoke("serve-vlm", "org/Tiny-VL")
    assert missing.exit_code == 1
    assert "pip install 'consilience[vllm]'" in missing.stderr
    wrong = invoke("serve-vlm", "org/Tiny-VL", "--executable", tmp_path)
    assert f"'{tmp_path}' is not a program that can be run" in wrong.stderr
    elsewhere = invoke("serve-vlm", "org/Tiny-VL", "--", f"--port={port}")
    assert (elsewhere.exit_code, "Give --port before --" in elsewhere.stderr) == (2, True)


def adapter(folder: Path, rank: int) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": rank}))
    (folder / "adapter_model.safetensors").write_bytes(b"")
    return folder


def test_adapters_are_served_under_the_names_of_their_folders(start: Start, stand_in: StandIn, tmp_path: Path) -> None:
    leaves, scans = adapter(tmp_path / "leaves", 12), adapter(tmp_path / "scans", 4)
    start("--lora", str(leaves), "--lora", str(scans), "--", "--dtype", "float32")
    arguments, _ = json.loads(stand_in.line())
    place = arguments.index("--enable-lora")
    assert arguments[place:] == [
        "--enable-lora", "--max-loras=2", "--max-lora-rank=16", "--lora-modules",
        f"leaves={leaves}", f"scans={scans}", "--dtype", "float32",
    ]  # fmt: skip


def test_a_folder_without_an_adapter_is_refused(start: Start, tmp_path: Path) -> None:
    process = start("--lora", str(tmp_path))
    _, complaints = process.communicate(timeout=300)
    assert process.returncode == 1
    assert f"'{tmp_path}' holds no adapter: it must have adapter_config.json" in complaints
