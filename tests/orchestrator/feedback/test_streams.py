"""Streams in the history: kept over restarts, each source by itself, each panel by itself, whoever writes at once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
from sqlalchemy import update

from consilience.core.diagnosis import Diagnosis
from consilience.core.errors import HistoryError
from consilience.core.exif import Shot
from consilience.core.images import Image
from consilience.orchestrator.diagnoser import Diagnoser
from consilience.orchestrator.feedback.database import STREAMS
from consilience.orchestrator.feedback.history import History
from consilience.orchestrator.feedback.streams import Streams, source_of
from consilience.orchestrator.panel.panel import Panel
from consilience.orchestrator.shift.shift_reference import ShiftReference


@pytest.fixture(scope="module")
def opened(panel: Path) -> Iterator[Diagnoser]:
    with Diagnoser.open(panel) as diagnoser:
        yield diagnoser


@pytest.fixture
def own(panel: Path, tmp_path: Path) -> Path:
    """A copy of the panel, for a history of its own."""
    return copytree(panel, tmp_path / "panel")


def diagnosed(opened: Diagnoser, vectors: np.ndarray, name: str = "image") -> list[Diagnosis]:
    results = opened.diagnose_vectors(vectors, [f"{name} {number}" for number in range(len(vectors))])
    return [result for result in results if isinstance(result, Diagnosis)]


@pytest.fixture(scope="module")
def usual(opened: Diagnoser, blobs: Any) -> list[Diagnosis]:
    return diagnosed(opened, blobs.drawn(30, 77)[0])


@pytest.fixture(scope="module")
def strange(opened: Diagnoser) -> list[Diagnosis]:
    vectors = np.eye(1, 8, 7) + 0.25 * np.random.default_rng(5).standard_normal((40, 8))
    return diagnosed(opened, (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), "strange")


@pytest.fixture(scope="module")
def reference(panel: Path) -> ShiftReference:
    return Panel.open(panel).shift_reference()


def test_each_source_has_a_watch_of_its_own_which_a_restart_does_not_end(
    own: Path, reference: ShiftReference, usual: list[Diagnosis], strange: list[Diagnosis]
) -> None:
    alarms = []
    for diagnosis, other in zip(strange[:25], usual, strict=False):
        with History.open(own) as history:
            alarms.append(Streams(history.database).observe(reference, [(diagnosis, "new"), (other, "old")]))
    assert alarms[0] == [False, False]
    assert alarms[-1] == [True, False]
    with History.open(own) as history:
        states = {stream.source: stream for stream in Streams(history.database).all(reference)}
    assert states["new"].alarm
    assert states["new"].wealth >= 0
    assert (states["new"].mean_rank or 0) > 0.9
    assert states["old"].seen == 25
    assert not states["old"].alarm
    assert states["new"].to_dict()["examples"][-1] == "strange 24"


def test_images_in_one_call_are_taken_in_their_order(
    own: Path, reference: ShiftReference, strange: list[Diagnosis]
) -> None:
    with History.open(own) as history:
        alarms = Streams(history.database).observe(reference, [(diagnosis, "new") for diagnosis in strange])
    assert alarms == sorted(alarms)
    assert not alarms[2]
    assert alarms[-1]


def test_a_panel_that_learned_the_new_source_begins_again(
    own: Path, reference: ShiftReference, strange: list[Diagnosis]
) -> None:
    vectors = np.stack([diagnosis.embedding.vector for diagnosis in strange if diagnosis.embedding is not None])
    images, _ = Panel.open(own).labelled_images.with_added(
        [diagnosis.identity for diagnosis in strange[20:]], ["apple"] * 20, ["s"] * 20, vectors[20:]
    )
    learned = ShiftReference.of(images, reference.encoder)
    with History.open(own) as history:
        streams = Streams(history.database)
        assert streams.observe(reference, [(diagnosis, "new") for diagnosis in strange[:20]])[-1]
        assert [stream.alarm for stream in streams.all(reference)] == [True]
        assert [stream.alarm for stream in streams.all(learned)] == [False]
        assert streams.observe(learned, [(strange[0], "new")]) == [False]


def test_many_who_write_at_once_lose_no_image(own: Path, reference: ShiftReference, usual: list[Diagnosis]) -> None:
    with History.open(own) as history, ThreadPoolExecutor(4) as pool:
        streams = Streams(history.database)
        list(pool.map(lambda diagnosis: streams.observe(reference, [(diagnosis, "web")]), usual[:12]))
        assert [stream.seen for stream in streams.all(reference)] == [12]


def test_what_is_deleted_from_the_history_is_gone_from_the_watch(
    own: Path, reference: ShiftReference, usual: list[Diagnosis]
) -> None:
    with History.open(own) as history:
        streams = Streams(history.database)
        streams.observe(reference, [(diagnosis, "web") for diagnosis in usual[:3]])
        stored = history.keep(usual[1])
        assert streams.all(reference)[0].examples == ("image 0", "image 1", "image 2")
        history.delete([stored.id])
        (stream,) = streams.all(reference)
        assert stream.examples == ("image 0", "image 2")
        assert stream.seen == 3
        assert streams.observe(reference, [(usual[4], "web")]) == [False]


def test_an_image_without_a_vector_of_the_panels_encoder_says_nothing(
    own: Path, reference: ShiftReference, usual: list[Diagnosis], strange: list[Diagnosis]
) -> None:
    blind = replace(strange[0], embedding=None)
    with History.open(own) as history:
        streams = Streams(history.database)
        assert streams.observe(reference, [(blind, "new")]) == [False]
        assert streams.all(reference)[0].seen == 0
        assert streams.observe(reference, [(diagnosis, "new") for diagnosis in strange])[-1]
        assert streams.observe(reference, [(blind, "new")]) == [True]


def test_a_damaged_record_says_what_to_do(own: Path, reference: ShiftReference, usual: list[Diagnosis]) -> None:
    with History.open(own) as history:
        streams = Streams(history.database)
        streams.observe(reference, [(usual[0], "web")])
        for record in ("{", "[]", '{"reference": 1}', '{"seen": "x", "counted": 0}'):
            with history.database.transaction() as connection:
                connection.execute(update(STREAMS).values(record=record))
            with pytest.raises(HistoryError, match=r"'web'.*damaged"):
                streams.all(reference)


def test_a_source_is_named_by_channel_place_and_camera(usual: list[Diagnosis]) -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    image = Image(pixels, "x", "y", Shot("Maker Model"))
    assert source_of(usual[0], "web") == "web"
    assert source_of(usual[0], "web", "gate 3\n") == "web, gate 3"
    assert source_of(replace(usual[0], image=image), "slack", "C1") == "slack, C1, Maker Model"
    assert len(source_of(usual[0], "web", "x" * 500)) == 200
