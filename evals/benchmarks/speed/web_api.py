"""What 32 users at once get from the web API, beside `diagnose_many` of the same JPEG files in the same turns.

The server is a process of its own, as `consilience web` starts it, and keeps every diagnosis; the users, who share the
cores with it, are threads that each bring one image after the other over a connection of their own.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from io import BufferedReader
from pathlib import Path
from tempfile import TemporaryDirectory

from consilience.core.diagnosis import Diagnosis
from consilience.evals.benchmarks.speed.encoder_rate import write_jpegs
from consilience.evals.benchmarks.speed.measure import Figure, ratios
from consilience.evals.benchmarks.speed.startup import labelled_folder
from consilience.orchestrator.diagnoser import Diagnoser
from consilience.orchestrator.fitting.fit import fit

USERS = 32

PROCESSOR_SECONDS = "process_cpu_seconds_total"
"""Metric: what the server has used so far. On a busy machine it tells what a rate does not."""


@dataclass(frozen=True)
class Answered:
    """One answer: its status, and whose image it speaks of."""

    status: int
    body: bytes

    def fits(self, diagnosis: Diagnosis) -> bool:
        """Return whether it is about the same image and names the same label as the diagnosis."""
        reply = json.loads(self.body)
        return (reply["identity"], reply["label"]) == (diagnosis.identity, diagnosis.label)


def figures(quick: bool) -> list[Figure]:
    """Return the rates of both, their ratio, and the answers that are errors or are about another image."""
    each, turns = (4, 2) if quick else (10, 5)
    with TemporaryDirectory() as work:
        panel, folder = Path(work, "panel"), Path(work, "images")
        fit(labelled_folder(Path(work, "labelled"), 20), panel)
        folder.mkdir()
        images = write_jpegs(folder, USERS * each, seed=2)
        alone: list[float] = []
        served: list[float] = []
        work_alone: list[float] = []
        work_served: list[float] = []
        answers: list[Answered] = []
        with Diagnoser.open(panel) as diagnoser, server(panel, len(images) * (turns + 1)) as (host, port):
            for turn in range(turns + 1):
                start, worked = time.perf_counter(), time.process_time()
                expected = list(diagnoser.diagnose_many(images))
                middle, work_of_many = time.perf_counter(), time.process_time() - worked
                worked = told_by((host, port), PROCESSOR_SECONDS)
                replies = ask_all(host, port, images)
                end, work_of_server = time.perf_counter(), told_by((host, port), PROCESSOR_SECONDS) - worked
                answers += replies
                if turn > 0:  # the first is not measured
                    alone.append(len(images) / (middle - start))
                    served.append(len(images) / (end - middle))
                    work_alone.append(1000 * work_of_many / len(images))
                    work_served.append(1000 * work_of_server / len(images))
        right = [diagnosis for diagnosis in expected if isinstance(diagnosis, Diagnosis)] * (turns + 1)
        failed = sum(answer.status != 201 for answer in answers)
        wrong = sum(
            answer.status == 201 and not answer.fits(diagnosis)
            for answer, diagnosis in zip(answers, right, strict=True)
        )
    return [
        Figure("images a second, diagnose_many", tuple(alone)),
        Figure(f"images a second, {USERS} users of the web API", tuple(served)),
        Figure("    / diagnose_many (ratio)", ratios(served, alone), least=0.8),
        Figure("ms of a core for an image, diagnose_many", tuple(work_alone)),
        Figure("ms of a core for an image, the server", tuple(work_served)),
        Figure(f"errors in {len(answers):,} answers", (failed,), most=0),
        Figure("answers that are not of their own image", (wrong,), most=0),
    ]


@contextmanager
def server(panel: Path, images: int) -> Iterator[tuple[str, int]]:
    """Start the web server. Yield its host and port; it takes so many images a minute from one address."""
    command = [str(Path(sysconfig.get_path("scripts"), "consilience")), "web", "--panel", str(panel), "--port", "0"]
    command += ["--set", f"web.images_a_minute={images}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CONSILIENCE_WEB")}
    process = subprocess.Popen(  # noqa: S603  our own command
        command, env=environment | {"COLUMNS": "500"}, stderr=subprocess.PIPE, text=True
    )
    try:
        line = process.stderr.readline() if process.stderr is not None else ""
        if (address := re.search(r"http://([\d.]+):(\d+)", line)) is None:
            sys.exit(f"the server did not start: {line}")
        yield address[1], int(address[2])
    finally:
        process.terminate()
        process.communicate()


def told_by(address: tuple[str, int], metric: str) -> float:
    """Return what the server says of itself in one of its metrics."""
    connection = HTTPConnection(*address, timeout=120)
    connection.request("GET", "/metrics")
    metrics = connection.getresponse().read().decode()
    connection.close()
    return float(re.findall(rf"^{metric} (\S+)$", metrics, re.MULTILINE)[0])


def ask_all(host: str, port: int, images: Sequence[Path]) -> list[Answered]:
    """Return the answers to all images, in their order, asked by USERS users at once."""

    def user(number: int) -> list[Answered]:
        with socket.create_connection((host, port), timeout=120) as connection, connection.makefile("rb") as replies:
            answers = []
            for path in images[number::USERS]:
                body = path.read_bytes()
                head = f"POST /v1/diagnose?name={path.name} HTTP/1.1\r\nhost: {host}\r\n"
                connection.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
                answers.append(_read_answer(replies))
            return answers

    with ThreadPoolExecutor(USERS) as pool:
        parts = list(pool.map(user, range(USERS)))
    return [parts[place % USERS][place // USERS] for place in range(len(images))]


def _read_answer(replies: BufferedReader) -> Answered:
    """One answer of known length: `http.client` would take twice the processor's time, which the server lacks."""
    status, length = int(replies.readline().split()[1]), 0
    while (line := replies.readline().strip().lower()) != b"":
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    return Answered(status, replies.read(length))
