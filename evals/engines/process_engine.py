"""Vectors shared out to processes of our own, one a core.

A worker opens the panel and reads cases from its standard input until that ends, so it ends with whoever started it,
however that one ended. What passes is a line of JSON and the vectors' own bytes: nothing is unpickled.

Why not `concurrent.futures.ProcessPoolExecutor`: its spawned processes import the caller's `__main__`, so a script that
calls `evaluate` without `if __name__ == "__main__"`, or one read from standard input, would break; and they outlive a
caller that is killed, since each holds both ends of the pool's pipes.
"""

from __future__ import annotations

import gc
import json
import os
import queue
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np

from consilience.core.errors import ConsilienceError, EvaluationError
from consilience.core.settings.settings import Settings
from consilience.evals.engines.engine import LocalEngine
from consilience.evals.engines.leaks import FreshDiagnoser, WatchfulDiagnoser
from consilience.evals.rows import Decided
from consilience.evals.source import SourceImage
from consilience.orchestrator.shift.two_sample import NOT_TESTED, BatchShift

OPEN = b"open\n"


class ProcessEngine:
    """Decides vectors in `count` processes. A context manager."""

    def __init__(
        self, panel: Path, settings: Settings, count: int, *, drop_leaks: bool, shift: BatchShift = NOT_TESTED
    ) -> None:
        self._size = settings.batch_size
        start = json.dumps([str(panel), drop_leaks, settings.model_dump(mode="json"), shift.to_dict()]).encode() + b"\n"
        self._free: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self.workers = [_Worker(start) for _ in range(count)]
        try:
            for worker in self.workers:
                worker.wait_until_open()
                self._free.put(worker)
        except BaseException:
            self.close()
            raise

    def decide(self, cases: Iterable[SourceImage]) -> Iterator[list[Decided]]:
        """Yield batches of rows in the order of the cases. Raises EvaluationError: a process has ended."""
        remaining = iter(cases)
        under_way: deque[Future[list[Decided]]] = deque()
        with ThreadPoolExecutor(len(self.workers), thread_name_prefix="consilience-workers") as pool:
            try:
                while True:
                    while len(under_way) < 2 * len(self.workers) and (batch := list(islice(remaining, self._size))):
                        under_way.append(pool.submit(self._ask, batch))
                    if not under_way:
                        return
                    yield under_way.popleft().result()
            except BaseException:
                self.close()  # else the pool would wait for what is under way
                raise

    def close(self) -> None:
        """End the processes."""
        for worker in self.workers:
            worker.close()

    def __enter__(self) -> ProcessEngine:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _ask(self, batch: Sequence[SourceImage]) -> list[Decided]:
        worker = self._free.get()
        try:
            return worker.ask(batch)
        finally:
            self._free.put(worker)


class _Worker:
    """One process, asked by one thread at a time."""

    def __init__(self, start: bytes) -> None:
        command = [sys.executable, "-P", "-m", __name__]
        # A core each: BLAS threads of several processes would get in each other's way.
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(  # noqa: S603  this interpreter, our own module, no shell
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
        self._stdin, self._stdout = _pipes(self._process)
        with suppress(BrokenPipeError):
            self._stdin.write(start)
            self._stdin.flush()

    def wait_until_open(self) -> None:
        """Wait until the process has opened the panel. Raises EvaluationError: it could not."""
        if self._stdout.readline() != OPEN:
            raise EvaluationError("a process that was to decide images could not open the panel")

    def ask(self, batch: Sequence[SourceImage]) -> list[Decided]:
        """Return the rows of a batch. Raises EvaluationError: the process has ended."""
        try:
            _write_cases(self._stdin, batch)
            self._stdin.flush()
            return [_read_decided(self._stdout) for _ in batch]
        except (OSError, ValueError) as cause:  # ValueError: a pipe that was closed, or half an answer
            raise EvaluationError(
                "a process that decided images has ended; its last words, if any, are above. "
                "Run the same again: it goes on where it was"
            ) from cause

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._stdin, self._stdout):
            with suppress(OSError):  # what nobody reads any more
                pipe.close()


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    if process.stdin is None or process.stdout is None:
        raise EvaluationError("a process was started without pipes")
    return process.stdin, process.stdout


def _write_cases(file: IO[bytes], batch: Sequence[SourceImage]) -> None:
    head = [[case.row, case.name, case.truth, case.group] for case in batch]
    vectors = np.stack([case.vector for case in batch if case.vector is not None])
    file.write(json.dumps([head, vectors.shape[1]]).encode() + b"\n" + vectors.tobytes())


def _read_cases(file: IO[bytes]) -> list[SourceImage]:
    """Return the next batch; none where there is no more."""
    line = file.readline()
    if not line:
        return []
    head, width = json.loads(line)
    data = file.read(4 * width * len(head))
    vectors = np.frombuffer(data, np.float32).reshape(len(head), width)
    rows = zip(head, vectors, strict=True)
    return [SourceImage(row, name, truth, vector, group) for (row, name, truth, group), vector in rows]


def _write_decided(file: IO[bytes], row: Decided) -> None:
    head = json.dumps([row.name, len(row.data), row.right, row.leak, row.cost_usd, row.error]).encode()
    file.write(head + b"\n" + row.data)


def _read_decided(file: IO[bytes]) -> Decided:
    name, size, *counted = json.loads(file.readline())
    return Decided(name, file.read(size), *counted)


def main() -> None:
    """Decide batches until there are no more; an error is one line on stderr."""
    try:
        work()
    except BrokenPipeError:  # whoever started us has gone
        os._exit(1)
    except ConsilienceError as error:
        sys.exit(f"error: {error}")


def work() -> None:
    """Open the panel that the first line names, then decide each batch on standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started us, who then ends us
    cases_in, rows_out = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nobody else writes where the rows go
    line = cases_in.readline()
    if not line:
        return
    panel, drop_leaks, settings, shift = json.loads(line)
    kind: Any = FreshDiagnoser if drop_leaks else WatchfulDiagnoser
    with kind.open(panel, settings=Settings.model_validate(settings)) as diagnoser:
        engine = LocalEngine(diagnoser, BatchShift(**shift))
        gc.freeze()  # the panel and all modules stay: the collector need not go through them again and again
        rows_out.write(OPEN)
        rows_out.flush()
        while batch := _read_cases(cases_in):
            for rows in engine.decide(batch):
                for row in rows:
                    _write_decided(rows_out, row)
            rows_out.flush()


if __name__ == "__main__":
    main()
