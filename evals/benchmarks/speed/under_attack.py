"""What 32 visitors get from the web server while one address attacks it: slow uploads, scan bombs, endless headers.

Each visitor has an address of its own among those of the loopback (Linux has all of 127.0.0.0/8) and brings an image
every 10 s, for 5 minutes; the attacker is a process of its own, which shares the cores with them and the server.
"""

from __future__ import annotations

import io
import multiprocessing
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import PIL.Image

from consilience.evals.benchmarks.speed.encoder_rate import write_jpegs
from consilience.evals.benchmarks.speed.measure import Figure
from consilience.evals.benchmarks.speed.startup import labelled_folder
from consilience.evals.benchmarks.speed.web_api import server, told_by
from consilience.orchestrator.fitting.fit import fit

VISITORS, PAUSE_SECONDS = 32, 10.0
IMAGES_A_MINUTE = 120
"""Of one address: the default of `web.images_a_minute`."""

ATTACKER = "127.0.3.1"
SLOW_UPLOADS, OTHERS_AT_ONCE = 64, 4
BOMBS = ((1024, 1000), (1024, 100), (4000, 100))
"""Sides and scans of JPEG files: many more scans than are allowed, and as many."""

Address = tuple[str, int]


def figures(quick: bool) -> list[Figure]:
    """Return how long visitors waited, how many got no diagnosis, and the server's memory; alone, then attacked."""
    seconds = 40.0 if quick else 300.0
    with TemporaryDirectory() as work:
        panel, folder = Path(work, "panel"), Path(work, "images")
        fit(labelled_folder(Path(work, "labelled"), 20), panel)
        folder.mkdir()
        images = [path.read_bytes() for path in write_jpegs(folder, VISITORS, side=512, seed=3)]
        bombs = [scan_bomb(side, scans) for side, scans in BOMBS]
        with server(panel, IMAGES_A_MINUTE) as address:
            calm = visits(address, images, 2 * PAUSE_SECONDS)
            with attacked(address, bombs):
                waits = visits(address, images, seconds)
            memory = told_by(address, "process_resident_memory_bytes") / 1e6
    return [
        Figure("longest wait of a visitor, s, without an attack", (max(calm),)),
        Figure("longest wait of a visitor, s", (max(waits),), most=2.0),
        Figure(f"    median of {len(waits):,} images, s", (sorted(waits)[len(waits) // 2],)),
        Figure("visitors' images without a diagnosis", (float(waits.count(float("inf"))),), most=0),
        Figure("memory of the server at the end, MB", (memory,), most=1500),
    ]


def visits(address: Address, images: list[bytes], seconds: float) -> list[float]:
    """Return how long each image of each visitor took, in seconds; infinite if it got no diagnosis."""
    start = time.monotonic()

    def visitor(number: int) -> list[float]:
        waits = []
        for turn in range(round(seconds / PAUSE_SECONDS)):
            begin = start + PAUSE_SECONDS * (turn + number / VISITORS)
            time.sleep(max(0.0, begin - time.monotonic()))
            status = _ask(address, f"127.0.2.{number + 1}", images[number])
            waits.append(time.monotonic() - begin if status == 201 else float("inf"))
        return waits

    with ThreadPoolExecutor(VISITORS) as pool:
        return [wait for waits in pool.map(visitor, range(VISITORS)) for wait in waits]


def scan_bomb(side: int, scans: int) -> bytes:
    """Return a progressive JPEG of so many scans: the last, a refinement, again and again."""
    file = io.BytesIO()
    PIL.Image.radial_gradient("L").resize((side, side)).convert("RGB").save(file, "JPEG", progressive=True)
    data = file.getvalue()
    starts = [found.start() for found in re.finditer(b"\xff\xda", data)]
    return data[: starts[-1]] + data[starts[-1] : -2] * (scans - len(starts) + 1) + data[-2:]


@contextmanager
def attacked(address: Address, bombs: list[bytes]) -> Iterator[None]:
    """Attack until the end."""
    process = multiprocessing.get_context("spawn").Process(target=_attack, args=(address, bombs), daemon=True)
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


def _attack(address: Address, bombs: list[bytes]) -> None:
    number = count()
    again: list[Callable[[], object]] = [
        lambda: _ask(address, ATTACKER, bombs[next(number) % len(bombs)]),
        lambda: _endless_headers(address),
    ]

    def repeat(act: Callable[[], object]) -> None:
        while True:
            with suppress(OSError):
                act()

    for act in again * OTHERS_AT_ONCE:
        threading.Thread(target=repeat, args=(act,), daemon=True).start()
    _slow_uploads(address)


def _ask(address: Address, source: str, image: bytes) -> int:
    connection = HTTPConnection(*address, timeout=60, source_address=(source, 0))
    try:
        connection.request("POST", "/v1/diagnose", image, {"Content-Type": "application/octet-stream"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except OSError:
        return 0
    finally:
        connection.close()


def _endless_headers(address: Address) -> None:
    with socket.create_connection(address, timeout=60, source_address=(ATTACKER, 0)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        while True:
            connection.sendall(b"X-Long: " + b"x" * 60_000 + b"\r\n")


def _slow_uploads(address: Address) -> None:
    """Keep as many uploads open, each a byte a second."""
    uploads: list[socket.socket] = []
    while True:
        for upload in list(uploads):
            try:
                upload.sendall(b"x")
            except OSError:
                uploads.remove(upload)
                upload.close()
        while len(uploads) < SLOW_UPLOADS:
            try:
                upload = socket.create_connection(address, timeout=60, source_address=(ATTACKER, 0))
                upload.sendall(b"POST /v1/diagnose HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n")
            except OSError:
                break
            uploads.append(upload)
        time.sleep(1)
