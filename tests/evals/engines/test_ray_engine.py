"""Evaluations on Ray: the rows of a local one, whatever happens to its workers."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consilience import evaluate, fit, load_settings
from consilience.core.errors import EvaluationError, MissingExtraError, PanelMissingError, SettingsError
from consilience.evals.engines.ray_engine import ATTEMPTS, Cluster, ClusterEngine
from consilience.evals.rows import ROWS_FILE, Decided
from consilience.evals.run_log import Tally
from consilience.evals.source import SourceImage

pytestmark = pytest.mark.slow  # a cluster starts and ends for each

SETTINGS = load_settings(agents="neighbours,gaussian", batch_size=8)
TWO = Cluster(workers=2)


def saved(path: Path, n: int, seed: int) -> Path:
    """Labelled unit vectors (n, 8), around a centre a label."""
    labels = np.arange(n) % 3
    vectors = np.eye(3, 8)[labels] + 0.6 * np.random.default_rng(seed).standard_normal((n, 8))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    names = np.array([f"{path.stem}-{number}" for number in range(n)])
    np.savez(path, embeddings=vectors, labels=np.array(["apple", "beech", "cedar"])[labels], names=names)
    return path


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A panel, and vectors that it does not know and that it knows."""
    folder = tmp_path_factory.mktemp("work")
    fit(saved(folder / "known.npz", 90, 0), folder / "panel", settings=SETTINGS)
    saved(folder / "test.npz", 240, 1)
    return folder


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """One Ray for all tests here: its start takes seconds. An evaluation uses what runs, and leaves it running."""
    ray = pytest.importorskip("ray", reason="Ray is not installed (the extra 'ray')")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=2**27)
    yield ray
    ray.shutdown()


def rows_of(out: Path) -> list[Any]:
    """Without what differs between two runs: their times."""

    def timeless(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: timeless(item) for name, item in value.items() if name != "seconds"}
        return [timeless(item) for item in value] if isinstance(value, list) else value

    rows = [timeless(json.loads(line)) for line in (out / ROWS_FILE).read_text().splitlines()]
    return sorted(rows, key=lambda row: row["row"])


def workers_of_this_process() -> set[int]:
    """The ids of the processes that Ray gave us, and that are at work.

    Found from their own entries upwards: the kernel's list of the children of a thread leaves some out while others
    come and go, and Ray's threads do.
    """
    parents, named = {}, set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(process.name)] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            if (process / "cmdline").read_bytes().startswith(b"ray::Worker"):
                named.add(int(process.name))
        except OSError:  # it has ended meanwhile
            continue

    def is_ours(pid: int) -> bool:
        while pid in parents and pid != os.getpid():
            pid = parents[pid]
        return pid == os.getpid()

    return {pid for pid in named if is_ours(pid)}


@pytest.mark.usefixtures("ray")
@pytest.mark.parametrize(("vectors", "drop_leaks"), [("test.npz", False), ("known.npz", True)])
def test_ray_decides_as_one_process_does(work: Path, tmp_path: Path, vectors: str, drop_leaks: bool) -> None:
    evaluations = [
        evaluate(work / vectors, work / "panel", out, settings=SETTINGS, drop_leaks=drop_leaks, cluster=cluster)
        for out, cluster in ((tmp_path / "local", None), (tmp_path / "ray", TWO))
    ]
    assert rows_of(tmp_path / "ray") == rows_of(tmp_path / "local")
    assert evaluations[0].metrics.fusion == evaluations[1].metrics.fusion
    assert evaluations[1].metrics.left_out == (90 if drop_leaks else 0)


def test_a_worker_that_is_killed_is_replaced_and_nothing_is_lost_or_doubled(
    ray: Any, work: Path, tmp_path: Path
) -> None:
    killed: set[int] = set()

    def watch(tally: Tally, batch: Sequence[Decided]) -> None:
        if batch and len(killed) < 2:
            while not (living := workers_of_this_process() - killed):  # one has no title while Ray writes another
                pass
            victim = min(living)
            os.kill(victim, signal.SIGKILL)
            killed.add(victim)

    evaluate(work / "test.npz", work / "panel", tmp_path / "ray", settings=SETTINGS, watch=watch, cluster=TWO)
    evaluate(work / "test.npz", work / "panel", tmp_path / "local", settings=SETTINGS)
    assert len(killed) == 2
    assert rows_of(tmp_path / "ray") == rows_of(tmp_path / "local")


class Interrupted(BaseException):
    pass


@pytest.mark.usefixtures("ray")
def test_what_ray_began_goes_on_without_it_and_the_other_way_round(work: Path, tmp_path: Path) -> None:
    def stop_at(done: int) -> Any:
        def watch(tally: Tally, batch: Sequence[Decided]) -> None:
            if tally.done >= done:
                raise Interrupted

        return watch

    out = tmp_path / "out"
    for done, cluster in ((50, TWO), (120, None)):
        with pytest.raises(Interrupted):
            evaluate(work / "test.npz", work / "panel", out, settings=SETTINGS, watch=stop_at(done), cluster=cluster)
    metrics = evaluate(work / "test.npz", work / "panel", out, settings=SETTINGS, cluster=TWO).metrics
    assert [row["row"] for row in rows_of(out)] == list(range(240))
    assert metrics.n == 240


def test_a_batch_that_ends_every_worker_ends_the_evaluation(ray: Any, work: Path, monkeypatch: Any) -> None:
    cases = [SourceImage(0, "poison", "apple", np.eye(8, dtype=np.float32)[0])]
    with ClusterEngine(TWO, work / "panel", SETTINGS, drop_leaks=False) as engine:
        asked: list[str] = []
        ask = engine._ask

        def ask_and_kill(task: Any) -> None:
            ask(task)
            if task.batch:
                asked.append(task.batch[0].name)
                ray.kill(task.worker)

        monkeypatch.setattr(engine, "_ask", ask_and_kill)
        with pytest.raises(EvaluationError, match="3 workers on Ray ended over the same work, images from 'poison' on"):
            list(engine.decide(cases))
    assert asked == ["poison"] * ATTEMPTS


@pytest.mark.usefixtures("ray")
def test_what_a_worker_cannot_open_is_said_as_it_is(work: Path) -> None:
    with pytest.raises(PanelMissingError, match="nowhere"):
        ClusterEngine(TWO, work / "nowhere", SETTINGS, drop_leaks=False)


def test_without_ray_the_extra_is_named(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'consilience\[ray\]'"):
        evaluate(work / "test.npz", work / "panel", tmp_path / "out", settings=SETTINGS, cluster=TWO)


@pytest.mark.parametrize(
    ("address", "problem"),
    [("127.0.0.1:{port}", "no Ray answers at"), ("ray://127.0.0.1:{port}", "HOST:PORT"), ("here", "HOST:PORT")],
)
def test_an_address_where_no_ray_is_is_named(work: Path, tmp_path: Path, address: str, problem: str) -> None:
    pytest.importorskip("ray", reason="Ray is not installed (the extra 'ray')").shutdown()
    with socket.socket() as free:  # bound, and listening to nobody
        free.bind(("127.0.0.1", 0))
        cluster = Cluster(address.format(port=free.getsockname()[1]))
        with pytest.raises(EvaluationError, match=problem):
            evaluate(work / "test.npz", work / "panel", tmp_path / "out", settings=SETTINGS, cluster=cluster)


def test_what_several_processes_cannot_keep_is_refused(work: Path, tmp_path: Path) -> None:
    limited = load_settings(agents="neighbours,gaussian", policy__max_run_cost_usd=1.0)
    with pytest.raises(SettingsError, match="max_run_cost_usd"):
        evaluate(work / "test.npz", work / "panel", tmp_path / "out", settings=limited, cluster=TWO)
