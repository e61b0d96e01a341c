"""Every way in gives the same answer, to the right image, from one thread or many."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

import consilience
from consilience import Diagnoser, Diagnosis, FailedImage, Image, fit, load_image
from consilience.agents import AgentInput
from consilience.core.errors import DatasetError, EncoderError, ImageError, PanelError, PanelMissingError
from consilience.core.prediction import Prediction
from consilience.orchestrator.panel_graph import Step
from consilience.retrieval.encoders.precomputed import PrecomputedEncoder

Paint = Callable[[Path, str, int], Path]
LABELS = ("blue", "green", "red")


@pytest.fixture(scope="module")
def diagnoser(picture_panel: Path) -> Iterator[Diagnoser]:
    with Diagnoser.open(picture_panel, batch_size=4) as opened:
        yield opened


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory, painted: Paint) -> list[Path]:
    """Twelve new pictures: blue, green, red, blue, ..."""
    folder = tmp_path_factory.mktemp("new")
    return [painted(folder / f"{number:02}.png", LABELS[number % 3], 1000 + number) for number in range(12)]


def assert_same(first: Diagnosis | FailedImage, other: Diagnosis | FailedImage) -> None:
    assert isinstance(first, Diagnosis)
    assert isinstance(other, Diagnosis)
    assert (first.label, first.verdict, first.identity) == (other.label, other.verdict, other.identity)
    assert first.posterior == pytest.approx(other.posterior, abs=1e-6)
    assert [p.agent for p in first.predictions] == [p.agent for p in other.predictions]
    for prediction, also in zip(first.predictions, other.predictions, strict=True):
        assert prediction.calibrated == pytest.approx(also.calibrated, abs=1e-6)
        assert prediction.weight == pytest.approx(also.weight, abs=1e-6)
    near, also_near = first.evidence.neighbours, other.evidence.neighbours
    assert [case.similarity for case in near] == pytest.approx([case.similarity for case in also_near], abs=1e-5)
    assert first.novelty == other.novelty


def test_a_diagnosis_says_what_it_is_of_and_why(diagnoser: Diagnoser, paths: list[Path]) -> None:
    result = diagnoser.diagnose(paths[1])
    assert result.label == "green"
    assert result.posterior.keys() == set(LABELS)
    assert result.probability == max(result.posterior.values()) > 0.8
    assert result.source == str(paths[1])
    assert result.identity == load_image(paths[1]).identity
    assert [p.agent for p in result.predictions] == ["neighbours", "gaussian"]
    assert [trust.agent for trust in result.trust] == ["neighbours", "gaussian"]
    assert {case.label for case in result.evidence.neighbours[:5]} == {"green"}
    assert load_image(result.evidence.neighbours[0].source).width == 48
    assert result.evidence.neighbours[0].thumbnail() is not None
    assert result.rounds == 1
    assert json.loads(result.to_json())["label"] == "green"


def test_all_kinds_of_image_give_the_same_diagnosis(diagnoser: Diagnoser, paths: list[Path]) -> None:
    path = paths[2]
    with path.open("rb") as file, PIL.Image.open(path) as picture:
        sources: list[Any] = [str(path), path.read_bytes(), picture, np.asarray(picture), file, load_image(path)]
        expected = diagnoser.diagnose(path)
        assert expected.label == "red"
        for source in sources:
            assert_same(diagnoser.diagnose(source), expected)


def test_a_one_line_call_does_the_same(picture_panel: Path, diagnoser: Diagnoser, paths: list[Path]) -> None:
    result = consilience.diagnose(paths[0], panel=picture_panel)
    assert result.label == "blue"
    assert_same(result, diagnoser.diagnose(paths[0]))


def test_many_are_diagnosed_in_order_and_bad_ones_are_named(
    diagnoser: Diagnoser, paths: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("no picture")
    bad = [tmp_path / "missing.png", tmp_path / "empty.png", tmp_path / "text.jpg"]
    mixed = [bad[0], *paths[:3], bad[1], *paths[3:], bad[2]]
    results = list(diagnoser.diagnose_many(mixed))
    assert [result.source for result in results] == [str(path) for path in mixed]
    for path, result in zip(mixed, results, strict=True):
        if path in bad:
            assert isinstance(result, FailedImage)
            assert isinstance(result.error, ImageError)
            assert path.name in str(result.error)
        else:
            assert_same(result, diagnoser.diagnose(path))


def test_only_bad_images_and_none_at_all(diagnoser: Diagnoser, tmp_path: Path) -> None:
    assert list(diagnoser.diagnose_many([])) == []
    results = list(diagnoser.diagnose_many([tmp_path / f"{number}" for number in range(9)]))
    assert all(isinstance(result, FailedImage) for result in results)
    assert len(results) == 9


def test_images_are_taken_as_they_are_needed(diagnoser: Diagnoser, paths: list[Path]) -> None:
    taken: list[int] = []

    def endless() -> Iterator[Path]:
        while True:
            taken.append(len(taken))
            yield paths[taken[-1] % len(paths)]

    results = diagnoser.diagnose_many(endless())
    labels = [result.label for result, _ in zip(results, range(30), strict=False) if isinstance(result, Diagnosis)]
    assert labels == [LABELS[number % 3] for number in range(30)]
    assert len(taken) < 1000


def test_a_batch_keeps_only_the_images_that_cannot_be_loaded_again(diagnoser: Diagnoser, paths: list[Path]) -> None:
    by_path, by_bytes = diagnoser.diagnose_many([paths[0], paths[0].read_bytes()])
    assert isinstance(by_path, Diagnosis)
    assert isinstance(by_bytes, Diagnosis)
    assert by_path.image is None
    assert isinstance(by_bytes.image, Image)


@pytest.fixture(scope="module")
def guesser_panel(tmp_path_factory: pytest.TempPathFactory, pictures: Path, picture_panel: Path, scripted: Any) -> Path:
    """A panel on pictures with 'guesser' as well, who finds all labels alike."""
    path = tmp_path_factory.mktemp("panels") / "guesser"
    fit(pictures, path, agents=["gaussian", scripted("guesser", guess)])
    return path


def guess(inputs: AgentInput) -> list[Prediction]:
    even = dict.fromkeys(inputs.task.names, 1 / len(inputs.task.names))
    return [Prediction("guesser", probabilities=even) for _ in range(len(inputs))]


def test_the_next_batch_is_asked_about_while_one_is_waited_for(
    guesser_panel: Path, paths: list[Path], scripted: Any
) -> None:
    seen: list[Image | None] = []
    both = asyncio.Event()

    async def together(inputs: AgentInput) -> list[Prediction]:
        seen.extend(inputs.images)
        if len(seen) == 8:
            both.set()
        await asyncio.wait_for(both.wait(), 20)
        return guess(inputs)

    with Diagnoser.open(guesser_panel, agents=[scripted("guesser", together)], batch_size=4) as diagnoser:
        results = list(diagnoser.diagnose_many(paths[:8]))
    assert [result.source for result in results] == [str(path) for path in paths[:8]]
    assert all(isinstance(result, Diagnosis) and not any(p.error for p in result.predictions) for result in results)


def test_who_has_seen_enough_spends_no_more(guesser_panel: Path, paths: list[Path], scripted: Any) -> None:
    first_batch, next_asked, stopped = {str(path) for path in paths[:4]}, asyncio.Event(), threading.Event()

    async def endless(inputs: AgentInput) -> list[Prediction]:
        if {image.source for image in inputs.images if image is not None} <= first_batch:
            await next_asked.wait()
            return guess(inputs)
        next_asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return []

    with Diagnoser.open(guesser_panel, agents=[scripted("guesser", endless)], batch_size=4) as diagnoser:
        results = diagnoser.diagnose_many(paths)
        assert isinstance(results, Generator)
        assert isinstance(next(results), Diagnosis)
        assert not stopped.is_set()
        results.close()
        assert stopped.wait(10)


def test_from_many_threads_each_image_gets_its_own_answer(diagnoser: Diagnoser, paths: list[Path]) -> None:
    alone = [diagnoser.diagnose(path) for path in paths]
    assert [result.label for result in alone] == [LABELS[number % 3] for number in range(12)]
    with ThreadPoolExecutor(8) as pool:
        for result, expected in zip(pool.map(diagnoser.diagnose, paths * 3), alone * 3, strict=True):
            assert_same(result, expected)
        batches = pool.map(lambda part: list(diagnoser.diagnose_many(part)), [paths, paths[::-1]])
        for batch, expected_batch in zip(batches, [alone, alone[::-1]], strict=True):
            for decided, expected in zip(batch, expected_batch, strict=True):
                assert_same(decided, expected)


def test_from_many_tasks_each_image_gets_its_own_answer(diagnoser: Diagnoser, paths: list[Path]) -> None:
    async def all_at_once() -> list[Diagnosis]:
        return await asyncio.gather(*(diagnoser.adiagnose(path) for path in paths))

    results = asyncio.run(all_at_once())
    assert [result.label for result in results] == [LABELS[number % 3] for number in range(12)]
    for result, path in zip(results, paths, strict=True):
        assert_same(result, diagnoser.diagnose(path))


def test_inside_a_running_event_loop_it_works_as_well(diagnoser: Diagnoser, paths: list[Path]) -> None:
    async def plain_call() -> Diagnosis:
        return diagnoser.diagnose(paths[0])

    result = asyncio.run(plain_call())
    assert result.label == "blue"
    assert_same(result, diagnoser.diagnose(paths[0]))


def test_every_step_can_be_watched_and_the_diagnosis_comes_last(diagnoser: Diagnoser, paths: list[Path]) -> None:
    *steps, result = diagnoser.stream(paths[0])
    assert [step.node for step in steps if isinstance(step, Step)] == [
        "retrieve",
        "predict",
        "predict",
        "weigh",
        "conclude",
    ]
    assert isinstance(result, Diagnosis)
    assert_same(result, diagnoser.diagnose(paths[0]))


def test_an_image_that_cannot_be_read_is_an_error_everywhere(diagnoser: Diagnoser, tmp_path: Path) -> None:
    missing = tmp_path / "missing.png"
    with pytest.raises(ImageError, match=r"missing\.png"):
        diagnoser.diagnose(missing)
    with pytest.raises(ImageError, match=r"missing\.png"):
        asyncio.run(diagnoser.adiagnose(missing))
    with pytest.raises(ImageError, match=r"missing\.png"):
        list(diagnoser.stream(missing))


def test_a_closed_diagnoser_says_so(panel: Path, blobs: Any) -> None:
    with Diagnoser.open(panel) as diagnoser:
        pass
    diagnoser.close()
    with pytest.raises(PanelError, match=r"this diagnoser is closed: open the panel '.*' again"):
        list(diagnoser.diagnose_vectors(blobs.between(0, 1), ["a"]))


def test_who_waits_when_it_is_closed_does_not_wait_for_ever(expert_panel: Path, scripted: Any, blobs: Any) -> None:
    looking = threading.Event()

    async def forever(inputs: Any) -> Any:
        looking.set()
        await asyncio.Event().wait()

    diagnoser = Diagnoser.open(expert_panel, agents=[scripted("expert", forever)])
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(lambda: list(diagnoser.diagnose_vectors(blobs.between(0, 1), ["a"])))
        assert looking.wait(10)
        diagnoser.close()
        with pytest.raises(CancelledError):
            waiting.result(10)


def test_ctrl_c_stops_the_run_so_that_nothing_more_is_spent(expert_panel: Path, scripted: Any, blobs: Any) -> None:
    looking, stopped = threading.Event(), threading.Event()

    async def expensive(inputs: Any) -> Any:
        looking.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    def press() -> None:
        assert looking.wait(10)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    with Diagnoser.open(expert_panel, agents=[scripted("expert", expensive)]) as diagnoser:
        threading.Thread(target=press).start()
        with pytest.raises(KeyboardInterrupt):
            list(diagnoser.diagnose_vectors(blobs.between(0, 1), ["a"]))
        assert stopped.wait(10)


def test_vectors_are_diagnosed_like_the_images_that_they_were_made_of(diagnoser: Diagnoser, paths: list[Path]) -> None:
    vectors = diagnoser.encoder.encode([load_image(path) for path in paths])
    results = list(diagnoser.diagnose_vectors(vectors, [str(path) for path in paths]))
    for result, path in zip(results, paths, strict=True):
        assert isinstance(result, Diagnosis)
        assert result.posterior == pytest.approx(diagnoser.diagnose(path).posterior, abs=1e-6)
        assert (result.source, result.image) == (str(path), None)


def test_vectors_that_do_not_fit_are_refused(panel: Path, blobs: Any) -> None:
    vectors, _ = blobs.drawn(3, 1)
    with Diagnoser.open(panel) as diagnoser:
        for wrong in (vectors[:, :7], vectors[0], np.zeros((2, 9), np.float32)):
            with pytest.raises(EncoderError, match=r"do not fit the panel's \(n, 8\)"):
                list(diagnoser.diagnose_vectors(wrong, ["a"]))
        for row, length in ((vectors[0] * 2, "2"), (vectors[0] * 0, "0"), (vectors[0] * np.nan, "nan")):
            with pytest.raises(DatasetError, match=f"the vector of 'b' has length {length}, not 1"):
                list(diagnoser.diagnose_vectors(np.stack([vectors[0], row]), ["a", "b"]))
        assert len(list(diagnoser.diagnose_vectors(vectors.astype(np.float64), list("abc")))) == 3
        with pytest.raises(DatasetError, match="2 names for 3 vectors"):
            list(diagnoser.diagnose_vectors(vectors, ["a", "b"]))
        with pytest.raises(EncoderError, match="cannot take vectors of 'precomputed:8:another'"):
            list(diagnoser.diagnose_vectors(vectors, list("abc"), made_by=PrecomputedEncoder(8, "another")))
        with pytest.raises(EncoderError, match="takes vectors of 8 numbers, not images"):
            diagnoser.diagnose(np.zeros((8, 8, 3), np.uint8))


def test_another_encoder_is_refused(panel: Path) -> None:
    with pytest.raises(EncoderError, match="open it with the same weights, or fit a new panel"):
        Diagnoser.open(panel, encoder=PrecomputedEncoder(8, "another"))


def test_a_panel_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PanelMissingError, match="nowhere"):
        consilience.diagnose("leaf.jpg", panel=tmp_path / "nowhere")
