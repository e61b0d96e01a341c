"""Ray: images shared out to workers, on this machine or on many.

A worker is a process that holds encoder and panel, takes one CPU and reads the images itself: what passes is names or
vectors one way, rows the other. One that dies is replaced, and its batches are done again. Rows are written only by
whoever evaluates, so none is lost and none is there twice.
"""

from __future__ import annotations

import os
import socket
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from consilience.core.errors import EvaluationError, SettingsError, import_extra
from consilience.core.render.phrases import one_line
from consilience.core.settings.settings import Settings
from consilience.evals.engines.engine import LocalEngine
from consilience.evals.engines.leaks import FreshDiagnoser, WatchfulDiagnoser
from consilience.evals.rows import Decided
from consilience.evals.source import SourceImage
from consilience.orchestrator.shift.two_sample import NOT_TESTED, BatchShift
from consilience.retrieval.encoders.batch_embedding import usable_cores

CHUNKS_PER_WORKER = 2
"""Batches that a worker has: while the answers to one are waited for, the next is embedded."""

ATTEMPTS = 3
"""Workers that may end over the same batch, or one after another before they have opened the panel."""

CONNECT_SECONDS, START_SECONDS = 5.0, 300.0
"""How long the head node may take to answer, and a cluster to make room for the first worker."""

STORE_BYTES = 2**27
"""Shared memory of a Ray of our own: batches and rows are small."""


@dataclass(frozen=True)
class Cluster:
    """Where Ray runs.

    Attributes:
        address: HOST:PORT of the head node, or 'auto' where Ray knows it: this machine must be one of the cluster.
            None: a Ray of our own on this machine, which ends with the evaluation.
        workers: how many; None: one for each CPU. Those for which there is no room join when there is.
    """

    address: str | None = None
    workers: int | None = None


class Worker:
    """What runs in a worker's process."""

    def __init__(self, panel: str, settings: dict[str, Any], drop_leaks: bool, shift: BatchShift) -> None:
        self._panel, self._settings, self._shift = panel, settings, shift
        self._kind: Any = FreshDiagnoser if drop_leaks else WatchfulDiagnoser
        self._engine: LocalEngine | None = None

    def decide(self, batch: list[SourceImage]) -> list[Decided]:
        """Decide the rows of a batch; the first, which is empty, opens the panel."""
        if self._engine is None:
            diagnoser = self._kind.open(self._panel, settings=Settings.model_validate(self._settings))
            diagnoser.threads = 1  # a worker has one CPU
            self._engine = LocalEngine(diagnoser, self._shift)
        return [row for rows in self._engine.decide(batch) for row in rows]


@dataclass(frozen=True)
class _Task:
    """A batch that a worker has; one without cases opens the panel."""

    worker: Any
    batch: list[SourceImage] = field(default_factory=list)
    attempt: int = 1


class ClusterEngine:
    """Decides on Ray; batches come as they are ready, in no order. A context manager."""

    def __init__(
        self, cluster: Cluster, panel: Path, settings: Settings, *, drop_leaks: bool, shift: BatchShift = NOT_TESTED
    ) -> None:
        """Connect, and wait until one worker has opened the panel.

        Raises:
            MissingExtraError: Ray is not installed.
            SettingsError: the settings hold what several processes cannot keep.
            EvaluationError: the cluster cannot be reached, or has no room.
            and whatever a worker raises that opens the panel.
        """
        if settings.policy.max_run_cost_usd is not None:
            raise SettingsError(
                "policy.max_run_cost_usd is kept by one process, and workers on Ray are several: leave it out, or "
                "evaluate without Ray"
            )
        self._ray: Any = import_extra("ray", "ray")
        self._is_ours = not self._ray.is_initialized()
        if self._is_ours:
            self._connect(cluster)
        self._size = settings.batch_size
        self._start = str(panel.absolute()), settings.model_dump(mode="json"), drop_leaks, shift
        self._remote = self._ray.remote(num_cpus=1, max_concurrency=CHUNKS_PER_WORKER)(Worker)
        self._under_way: dict[Any, _Task] = {}
        self._batches_of: Counter[Any] = Counter()  # of the workers that have opened the panel
        self._again: deque[_Task] = deque()  # batches of workers that died
        try:
            for _ in range(cluster.workers or max(1, int(self._ray.cluster_resources().get("CPU", 1)))):
                self._begin(attempt=1)
            while not self._batches_of:
                self._next_rows()
        except BaseException:
            self.close()
            raise

    def decide(self, cases: Iterable[SourceImage]) -> Iterator[list[Decided]]:
        """Yield batches of rows, in any order. Raises EvaluationError: Ray has no room, or workers keep ending."""
        remaining = iter(cases)
        while True:
            self._share_out(remaining)
            if not (self._again or any(task.batch for task in self._under_way.values())):
                return
            if rows := self._next_rows():
                yield rows

    def close(self) -> None:
        """End the workers, and a Ray that was started or connected to here."""
        if self._is_ours:
            self._ray.shutdown()
            return
        for worker in {task.worker for task in self._under_way.values()} | set(self._batches_of):
            self._ray.kill(worker)

    def __enter__(self) -> ClusterEngine:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _connect(self, cluster: Cluster) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
        quiet = {"log_to_driver": False, "logging_level": "error"}
        if cluster.address is None:
            cpus = cluster.workers or usable_cores()
            ours = {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": STORE_BYTES}
            self._ray.init("local", **ours, **quiet)
            return
        _check_answers(cluster.address)
        try:
            self._ray.init(cluster.address, **quiet)
        except (ConnectionError, ImportError, RuntimeError, ValueError) as cause:
            raise EvaluationError(
                f"Ray at '{cluster.address}' cannot be used ({one_line(str(cause))}); check --ray-address, that "
                "Ray and Python are of the cluster's versions, and RAY_AUTH_MODE=token where it wants a token"
            ) from cause

    def _begin(self, attempt: int) -> None:
        self._ask(_Task(self._remote.remote(*self._start), attempt=attempt))

    def _ask(self, task: _Task) -> None:
        self._under_way[task.worker.decide.remote(task.batch)] = task

    def _share_out(self, remaining: Iterator[SourceImage]) -> None:
        """Give the open workers what they can take."""
        for worker, batches in self._batches_of.items():
            for _ in range(CHUNKS_PER_WORKER - batches):
                if self._again:
                    lost = self._again.popleft()
                    task = _Task(worker, lost.batch, lost.attempt + 1)
                elif batch := list(islice(remaining, self._size)):
                    task = _Task(worker, batch)
                else:
                    return
                self._ask(task)
                self._batches_of[worker] += 1

    def _next_rows(self) -> list[Decided]:
        """Wait for a worker: the rows of its batch; none if it has opened the panel, or died."""
        ready, _ = self._ray.wait(list(self._under_way), timeout=None if self._batches_of else START_SECONDS)
        if not ready:
            raise EvaluationError(
                f"Ray found no room for a worker in {START_SECONDS:.0f} s; each takes one CPU: see what holds them all"
            )
        task = self._under_way.pop(ready[0])
        try:
            rows: list[Decided] = self._ray.get(ready[0])
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except self._ray.exceptions.RayError as error:  # the worker, its machine or the way to it is gone
            self._replace(task, error)
            return []
        self._batches_of[task.worker] -= bool(task.batch)
        return rows

    def _replace(self, task: _Task, error: Exception) -> None:
        if task.attempt == ATTEMPTS:
            what = f"images from '{one_line(task.batch[0].name)}' on" if task.batch else "opening the panel"
            raise EvaluationError(
                f"{ATTEMPTS} workers on Ray ended over the same work, {what} ({one_line(str(error))}); see to their "
                "memory and their installation, then run the same again: it goes on where it was"
            ) from error
        if task.batch:
            self._again.append(task)
        if not task.batch or task.worker in self._batches_of:
            self._batches_of.pop(task.worker, None)
            self._begin(attempt=1 if task.batch else task.attempt + 1)


def _check_answers(address: str) -> None:
    """Ray itself would try for minutes to reach what is not there."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or "://" in host or not port.isdecimal():
        raise EvaluationError(
            f"'{address}' is no address that can be used: on a machine of the Ray cluster, write HOST:PORT of its "
            "head node, or auto"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as cause:
        raise EvaluationError(
            f"no Ray answers at '{address}' ({cause}); check --ray-address, and that the cluster runs"
        ) from cause
