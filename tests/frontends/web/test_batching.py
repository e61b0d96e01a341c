"""Images that come at once share a run, and each keeps its own result."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from consilience.core.diagnosis import Diagnosis, FailedImage
from consilience.core.errors import ImageError
from consilience.core.images import ImageSource
from consilience.core.storage.panel_folder import MANIFEST
from consilience.frontends.web.batching import Batching
from consilience.orchestrator.diagnoser import Diagnoser
from consilience.retrieval.encoders.batch_embedding import Embedded
from tests.support.shapes import LABELS, draw


@pytest.fixture(scope="module")
def batching(fitted_shapes: Path) -> Iterator[Batching]:
    """On two cores, so that how many images are ready at once does not depend on the machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("consilience.frontends.web.batching.usable_cores", lambda: 2)
        with Batching.open(fitted_shapes) as opened:
            yield opened


def test_each_gets_its_own_and_a_bad_one_fails_alone(batching: Batching, tmp_path: Path) -> None:
    runs: list[int] = []
    batching.on_run = runs.append
    wanted = [LABELS[number % 3] for number in range(20)]
    images = [draw(label, 3000 + number) for number, label in enumerate(wanted)]

    async def all_at_once() -> list[Diagnosis | BaseException]:
        asked = [*map(batching.adiagnose, images[:10]), batching.adiagnose(tmp_path / "none.png")]
        return await asyncio.gather(*asked, *map(batching.adiagnose, images[10:]), return_exceptions=True)

    results = asyncio.run(all_at_once())
    assert isinstance(results.pop(10), ImageError)
    diagnoses = [result for result in results if isinstance(result, Diagnosis)]
    assert [diagnosis.label for diagnosis in diagnoses] == wanted
    assert [diagnosis.image is not None for diagnosis in diagnoses] == [True] * 20
    assert sum(runs) == 21
    assert 11 <= runs[0] < 21  # the others are embedded while these are weighed
    assert len(runs) <= 4


def test_what_comes_while_others_are_embedded_shares_a_run(batching: Batching, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[int] = []
    batching.on_run = runs.append
    may_embed, embed = threading.Event(), Diagnoser.embed

    def waiting(diagnoser: Diagnoser, images: Sequence[ImageSource]) -> Embedded[ImageSource]:
        assert may_embed.wait(60)
        return embed(diagnoser, images)

    monkeypatch.setattr(Diagnoser, "embed", waiting)

    async def one_and_then_seven() -> None:
        asked = [asyncio.create_task(batching.adiagnose(draw("square", number))) for number in range(8)]
        await asyncio.sleep(0)
        may_embed.set()
        await asyncio.gather(*asked)

    asyncio.run(one_and_then_seven())
    assert sum(runs) == 8
    assert runs[0] >= 4  # half of them


def test_no_run_waits_for_the_answers_to_another(batching: Batching, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: asyncio.Queue[int] = asyncio.Queue()
    batching.on_run = runs.put_nowait
    diagnose = Diagnoser.adiagnose_embedded

    async def one_and_then_another() -> list[str]:
        both_wait = asyncio.Barrier(2)

        async def slow(diagnoser: Diagnoser, batch: Embedded[ImageSource]) -> list[Diagnosis | FailedImage]:
            await asyncio.wait_for(both_wait.wait(), 60)
            return await diagnose(diagnoser, batch)

        monkeypatch.setattr(Diagnoser, "adiagnose_embedded", slow)
        first = asyncio.create_task(batching.adiagnose(draw("circle", 1)))
        await runs.get()
        return [diagnosis.label for diagnosis in await asyncio.gather(first, batching.adiagnose(draw("square", 2)))]

    assert asyncio.run(one_and_then_another()) == ["circle", "square"]


def test_each_is_diagnosed_by_the_panel_at_work_when_it_came(
    fitted_shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = shutil.copytree(fitted_shapes, tmp_path / "panel")
    asked_diagnosers: list[Diagnoser] = []
    may_embed, embed = threading.Event(), Diagnoser.embed

    def waiting(diagnoser: Diagnoser, images: Sequence[ImageSource]) -> Embedded[ImageSource]:
        asked_diagnosers.extend([diagnoser] * len(images))
        assert may_embed.wait(60)
        return embed(diagnoser, images)

    monkeypatch.setattr(Diagnoser, "embed", waiting)
    shapes = [(LABELS[number % 3], number) for number in range(6)]
    with Batching.open(panel) as batching:

        async def before_and_after() -> list[str]:
            old = [asyncio.create_task(batching.adiagnose(draw(*shape))) for shape in shapes]
            await asyncio.sleep(0)
            shutil.copy(panel / MANIFEST, tmp_path / "new")
            (tmp_path / "new").replace(panel / MANIFEST)
            assert await asyncio.to_thread(batching.refresh)
            new = [asyncio.create_task(batching.adiagnose(draw(*shape))) for shape in shapes]
            await asyncio.sleep(0)
            may_embed.set()
            return [diagnosis.label for diagnosis in await asyncio.gather(*old, *new)]

        assert asyncio.run(before_and_after()) == [label for label, _ in shapes] * 2
    assert [asked_diagnosers.count(diagnoser) for diagnoser in dict.fromkeys(asked_diagnosers)] == [6, 6]


def test_who_goes_away_disturbs_nobody(batching: Batching) -> None:
    async def one_leaves() -> str:
        leaves = asyncio.create_task(batching.adiagnose(draw("square", 1)))
        stays = asyncio.create_task(batching.adiagnose(draw("circle", 1)))
        await asyncio.sleep(0)
        leaves.cancel()
        return (await stays).label

    assert asyncio.run(one_leaves()) == "circle"


@pytest.mark.parametrize("step", ["embed", "adiagnose_embedded"])
def test_an_error_of_all_reaches_everybody(batching: Batching, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Diagnoser, step, broken)

    async def two() -> list[object]:
        asked = [batching.adiagnose(draw("circle", number)) for number in (1, 2)]
        return await asyncio.gather(*asked, return_exceptions=True)

    assert [str(error) for error in asyncio.run(two())] == ["out of memory"] * 2
