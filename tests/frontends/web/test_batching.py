"""Images that come at once share a run, and each keeps its own result."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from shapes import LABELS, draw

from consilience.errors import ImageError
from consilience.frontends.web.batching import Batching


@pytest.fixture(scope="module")
def batching(fitted_shapes: Path) -> Iterator[Batching]:
    with Batching.open(fitted_shapes) as one:
        yield one


def test_each_gets_its_own_and_a_bad_one_fails_alone(batching: Batching, tmp_path: Path) -> None:
    runs: list[int] = []
    batching.on_run = runs.append
    wanted = [LABELS[number % 3] for number in range(20)]
    images = [draw(label, 3000 + number) for number, label in enumerate(wanted)]

    async def all_at_once() -> list[object]:
        asked = [*map(batching.adiagnose, images[:10]), batching.adiagnose(tmp_path / "none.png")]
        return await asyncio.gather(*asked, *map(batching.adiagnose, images[10:]), return_exceptions=True)

    found = asyncio.run(all_at_once())
    assert isinstance(found.pop(10), ImageError)
    assert [one.label for one in found] == wanted  # type: ignore[attr-defined]
    assert [one.image is not None for one in found] == [True] * 20  # type: ignore[attr-defined]
    assert sum(runs) == 21
    assert runs[0] == 11  # the others are embedded while these are weighed
    assert len(runs) <= 4


def test_what_comes_while_a_run_embeds_shares_the_next(batching: Batching, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: asyncio.Queue[int] = asyncio.Queue()
    batching.on_run = runs.put_nowait
    may_embed, diagnose_many = threading.Event(), batching.diagnose_many

    def waiting(images: list[object], **arguments: object) -> Iterator[object]:
        assert may_embed.wait(60)
        yield from diagnose_many(images, **arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(batching, "diagnose_many", waiting)

    async def one_and_then_five() -> list[int]:
        first = asyncio.create_task(batching.adiagnose(draw("circle", 1)))
        found = [await runs.get()]
        others = [asyncio.create_task(batching.adiagnose(draw("square", number))) for number in range(5)]
        await asyncio.sleep(0)
        may_embed.set()
        await asyncio.gather(first, *others)
        return [*found, await runs.get()]

    assert asyncio.run(one_and_then_five()) == [1, 5]


def test_no_run_waits_for_the_answers_to_another(batching: Batching, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: asyncio.Queue[int] = asyncio.Queue()
    batching.on_run = runs.put_nowait
    both_wait, diagnose_many = threading.Barrier(2, timeout=60), batching.diagnose_many

    def slow(images: list[object], on_embedded: Callable[[], object], **arguments: object) -> Iterator[object]:
        on_embedded()
        both_wait.wait()
        yield from diagnose_many(images, **arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(batching, "diagnose_many", slow)

    async def one_and_then_another() -> list[str]:
        first = asyncio.create_task(batching.adiagnose(draw("circle", 1)))
        await runs.get()
        return [one.label for one in await asyncio.gather(first, batching.adiagnose(draw("square", 2)))]

    assert asyncio.run(one_and_then_another()) == ["circle", "square"]


def test_who_goes_away_disturbs_nobody(batching: Batching) -> None:
    async def one_leaves() -> str:
        leaves = asyncio.create_task(batching.adiagnose(draw("square", 1)))
        stays = asyncio.create_task(batching.adiagnose(draw("circle", 1)))
        await asyncio.sleep(0)
        leaves.cancel()
        return (await stays).label

    assert asyncio.run(one_leaves()) == "circle"


def test_an_error_of_the_run_reaches_everybody(batching: Batching, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(batching, "diagnose_many", broken)

    async def two() -> list[object]:
        asked = [batching.adiagnose(draw("circle", number)) for number in (1, 2)]
        return await asyncio.gather(*asked, return_exceptions=True)

    assert [str(one) for one in asyncio.run(two())] == ["out of memory"] * 2
