"""A history keeps diagnoses whole, from many threads and processes, and says clearly when it cannot."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import event

from consilience import Diagnoser, Diagnosis, fit
from consilience.core.errors import DiagnosisMissingError, HistoryError, PanelMissingError
from consilience.core.settings.settings import HistorySettings
from consilience.core.storage.panel_folder import open_panel_folder
from consilience.orchestrator.feedback.history import History, StoredDiagnosis


@pytest.fixture
def own(panel: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(panel, tmp_path / "own", ignore=shutil.ignore_patterns("history.sqlite*")))


@pytest.fixture
def diagnoses(own: Path, blobs: Any) -> list[Diagnosis]:
    with Diagnoser.open(own) as diagnoser:
        diagnoses = list(diagnoser.diagnose_vectors(blobs.drawn(6, 5)[0], [f"leaf {n}" for n in range(6)]))
    return [diagnosis for diagnosis in diagnoses if isinstance(diagnosis, Diagnosis)]


def test_a_diagnosis_comes_back_as_it_was(own: Path, diagnoses: list[Diagnosis]) -> None:
    odd = replace(diagnoses[0], source="bl\udcffau.jpg")  # a file name that is not Unicode
    with History.open(own) as history:
        ids = [history.keep(diagnosis, channel="web", person="Ada").id for diagnosis in (odd, diagnoses[1])]
    with History.open(own) as history:
        kept = history.get(ids[0])
        assert kept.diagnosis == odd
        assert (kept.channel, kept.person, kept.thumbnail) == ("web", "Ada", None)
        assert odd.embedding is not None
        assert kept.diagnosis.embedding is not None
        np.testing.assert_array_equal(kept.diagnosis.embedding.vector, odd.embedding.vector)
        assert kept.diagnosis.embedding.encoder == odd.embedding.encoder
    assert len(set(ids)) == 2
    assert all(len(id) == 32 and id.isalnum() for id in ids)


def test_many_are_kept_together_or_none_is(
    own: Path, diagnoses: list[Diagnosis], monkeypatch: pytest.MonkeyPatch
) -> None:
    with History.open(own) as history:
        kept = history.keep_many([(diagnoses[0], "web", "Ada"), (diagnoses[1], "slack", "")])
        read = [history.get(stored.id) for stored in kept]
        assert [(stored.diagnosis, stored.channel, stored.person) for stored in read] == [
            (diagnoses[0], "web", "Ada"),
            (diagnoses[1], "slack", ""),
        ]
        assert [stored.when for stored in read] == [stored.when for stored in kept]
        monkeypatch.setattr("consilience.orchestrator.feedback.history.secrets.token_hex", lambda _: "0" * 32)
        with pytest.raises(HistoryError, match="UNIQUE"):
            history.keep_many([(diagnosis, "web", "") for diagnosis in diagnoses])
        assert history.count() == 2


def test_the_thumbnail_of_the_image_is_kept_unless_told_not_to(
    picture_panel: Path, tmp_path: Path, painted: Any
) -> None:
    own = Path(shutil.copytree(picture_panel, tmp_path / "own"))
    path = painted(tmp_path / "new.png", "blue", 777)
    with Diagnoser.open(own) as diagnoser, History.open(own) as history:
        diagnosis = diagnoser.diagnose(path)
        kept = history.get(history.keep(diagnosis).id, diagnoser.panel.labelled_images.thumbnail)
        assert diagnosis.image is not None
        assert kept.thumbnail == diagnosis.image.thumbnail()
        assert kept.diagnosis.evidence.neighbours[0].thumbnail()
        with History.open(own, HistorySettings(thumbnails=False)) as bare:
            assert bare.get(bare.keep(diagnosis).id).thumbnail is None


def test_find_filters_and_goes_from_the_newest_to_the_oldest(
    own: Path, diagnoses: list[Diagnosis], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consilience.orchestrator.feedback.history.PAGE", 2)
    with History.open(own) as history:
        ids = [history.keep(diagnosis, person=("Ada", "Bo")[n % 2]).id for n, diagnosis in enumerate(diagnoses)]

        def ids_of(**wanted: Any) -> list[str]:
            return [stored.id for stored in history.find(**wanted)]

        assert ids_of() == ids[::-1]
        assert ids_of(limit=3) == ids[:2:-1]
        assert ids_of(person="Bo") == ids[5::-2]
        label = diagnoses[0].label
        assert ids_of(label=label) == [i for i, d in zip(ids[::-1], diagnoses[::-1], strict=True) if d.label == label]
        assert sorted(ids_of(verdict="confident") + ids_of(verdict="refer")) == sorted(ids)
        middle = history.get(ids[3]).when
        assert ids_of(since=middle) == ids[:2:-1]
        assert ids_of(until=middle) == ids[2::-1]
        assert ids_of(since=middle + timedelta(days=1)) == ids_of(channel="slack") == []
        assert history.count() == 6
        assert history.delete([ids[0], ids[1], "no such id"]) == 2
        assert ids_of() == ids[:1:-1]
        with pytest.raises(HistoryError, match="has no diagnosis"):
            history.get(ids[0])


def test_a_history_is_no_part_of_the_panel_but_goes_with_its_copy(
    own: Path, diagnoses: list[Diagnosis], vectors: Path, tmp_path: Path
) -> None:
    with History.open(own) as history:
        id = history.keep(diagnoses[0]).id
        open_panel_folder(own)  # still whole
    with History.open(Path(shutil.copytree(own, tmp_path / "copy"))) as history:
        assert history.get(id).diagnosis == diagnoses[0]
    fit(vectors, own, agents=["gaussian"], overwrite=True)
    with History.open(own) as history:
        assert history.get(id).diagnosis == diagnoses[0]


def test_one_database_at_a_url_serves_many_panels(
    own: Path, vectors: Path, diagnoses: list[Diagnosis], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    fit(vectors, other, agents=["gaussian"])
    settings = HistorySettings(url=f"sqlite:///{tmp_path / 'all.sqlite'}")
    with History.open(own, settings) as first, History.open(other, settings) as second:
        id = first.keep(diagnoses[0]).id
        assert [kept.id for kept in first.find()] == [id]
        assert list(second.find()) == []
        assert second.delete([id]) == 0
        with pytest.raises(HistoryError, match="another panel's"):
            second.get(id)
    assert not (own / "history.sqlite").exists()


def test_threads_and_processes_keep_at_once(own: Path, diagnoses: list[Diagnosis]) -> None:
    program = (
        "import sys; from consilience.orchestrator.feedback.history import History\n"
        "with History.open(sys.argv[1]) as history:\n"
        "    one = next(history.find()).diagnosis\n"
        "    for _ in range(20): history.keep(one)\n"
    )
    with History.open(own) as history:
        history.keep(diagnoses[0])
        others = [subprocess.Popen([sys.executable, "-c", program, str(own)]) for _ in range(2)]
        threads = [
            threading.Thread(target=lambda: [history.keep(diagnosis) for diagnosis in diagnoses for _ in range(5)])
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [process.wait(timeout=300) for process in others] == [0, 0]
        assert history.count() == 1 + 40 + 90
        assert len({stored.id for stored in history.find()}) == 131


def test_what_is_no_history_is_refused(own: Path, tmp_path: Path) -> None:
    with pytest.raises(PanelMissingError):
        History.open(tmp_path / "nowhere")
    (own / "history.sqlite").write_bytes(b"something else entirely, and long enough to be a header" * 20)
    with pytest.raises(HistoryError, match="damaged or no database: move it away"):
        History.open(own)
    (own / "history.sqlite").unlink()
    (own / "history.sqlite").mkdir()
    with pytest.raises(HistoryError, match="check the path and its permissions"):
        History.open(own)


def test_an_address_is_refused_without_its_password(own: Path) -> None:
    for url, words in {
        "no address": "not the address of a database",
        "oracle+nothing://u:secret@h/d": "needs a driver that is not installed",
        "postgresql+pg8000://u:secret@127.0.0.1:1/d": "driver",
    }.items():
        with pytest.raises(HistoryError, match=words) as caught:
            History.open(own, HistorySettings(url=url))
        assert "secret" not in str(caught.value)


def test_a_locked_store_says_so(own: Path, diagnoses: list[Diagnosis], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consilience.orchestrator.feedback.database.BUSY_SECONDS", 0.1)
    with History.open(own) as history:
        other = sqlite3.connect(own / "history.sqlite", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(HistoryError, match=r"locked.*another process is writing it"):
            history.keep(diagnoses[0])
        other.execute("ROLLBACK")
        other.close()
        history.keep(diagnoses[0])


@pytest.mark.parametrize(
    ("pragma", "words"),
    [("max_page_count = 1", "make room on the disk"), ("query_only = 1", "check the permissions of its folder")],
)
def test_a_full_or_read_only_store_says_so(own: Path, diagnoses: list[Diagnosis], pragma: str, words: str) -> None:
    with History.open(own) as history:
        history.database.close()  # the next connection is a new one
        event.listen(history.database._engine, "connect", lambda connection, _: connection.execute(f"PRAGMA {pragma}"))
        many = replace(diagnoses[0], rationale="long " * 100_000)  # the pages that are there may take a short one
        with pytest.raises(HistoryError, match=words):
            history.keep(many)
        assert all(isinstance(stored, StoredDiagnosis) for stored in history.find())


def test_a_damaged_record_is_named(own: Path, diagnoses: list[Diagnosis]) -> None:
    with History.open(own) as history:
        id = history.keep(diagnoses[0]).id
        with sqlite3.connect(own / "history.sqlite") as other:
            other.execute("UPDATE consilience_diagnoses SET record = '{}'")
        other.close()
        with pytest.raises(HistoryError, match=f"the diagnosis '{id}' .* is damaged"):
            history.get(id)
        assert history.delete([id]) == 1


def test_the_beginning_of_an_id_is_enough(own: Path, diagnoses: list[Diagnosis]) -> None:
    with History.open(own) as history:
        ids = [history.keep(diagnoses[number % 6]).id for number in range(17)]  # two of them begin alike
        assert [history.whole_id(id[:12]) for id in ids] == [history.whole_id(id) for id in ids] == ids
        (first, *_) = [id[0] for id in ids if sum(other[0] == id[0] for other in ids) > 1]
        with pytest.raises(HistoryError, match=f"several diagnoses begin with '{first}': {first}"):
            history.whole_id(first)
        for nothing in ("", "%", f"{ids[0][:6]}%", f"{ids[0]}x", "'; --"):
            with pytest.raises(DiagnosisMissingError, match="has no diagnosis"):
                history.whole_id(nothing)
