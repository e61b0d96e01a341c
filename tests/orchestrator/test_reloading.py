"""A diagnoser follows its panel: a newer one takes over without a gap, a damaged one does not."""

from __future__ import annotations

import asyncio
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from consilience import Diagnoser, add
from consilience.core.dataset import LabelledImage
from consilience.core.errors import PanelDamagedError, PanelError
from consilience.orchestrator.reloading import ReloadingDiagnoser


@pytest.fixture
def own(picture_panel: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(picture_panel, tmp_path / "own"))


def grow(panel: Path, image: Path) -> None:
    add(panel, [LabelledImage(image, "blue")])


def looks(current: ReloadingDiagnoser) -> threading.Semaphore:
    """Released each time that it has looked for a newer panel in the background."""
    looked, refresh = threading.Semaphore(0), current.refresh

    def noted() -> bool:
        done = refresh()
        looked.release()
        return done

    current.refresh = noted  # type: ignore[method-assign]
    return looked


def test_a_newer_panel_takes_over(own: Path, tmp_path: Path, painted: Any) -> None:
    image = painted(tmp_path / "new.png", "blue", 900)
    with ReloadingDiagnoser.open(own) as current:
        before = current.diagnose(image)
        assert not current.refresh()
        grow(own, image)
        old = current.panel
        assert current.refresh()
        assert len(current.panel.labelled_images) == len(old.labelled_images) + 1
        assert current.problem is None
        with Diagnoser.open(own) as fresh:
            expected = fresh.diagnose(image).posterior
        after = asyncio.run(current.adiagnose(image))
        assert after.posterior == pytest.approx(expected)
        assert before.label == after.label == "blue"
    with pytest.raises(PanelError, match="closed"):
        current.diagnose(image)


def test_a_call_finds_the_newer_panel_by_itself(own: Path, tmp_path: Path, painted: Any) -> None:
    image = painted(tmp_path / "new.png", "blue", 901)
    with ReloadingDiagnoser.open(own) as current:
        looked = looks(current)
        grow(own, image)
        current.diagnose(image)
        assert looked.acquire(timeout=120)
        assert len(current.panel.labelled_images) == 25


def test_who_is_being_answered_is_answered_to_the_end(own: Path, tmp_path: Path, painted: Any) -> None:
    image = painted(tmp_path / "new.png", "blue", 902)
    with ReloadingDiagnoser.open(own, batch_size=1) as current:
        results = current.diagnose_many([image] * 4)
        next(results)
        grow(own, image)
        assert current.refresh()
        assert len(list(results)) == 3  # by the old one, which closes now and not before


def test_a_damaged_panel_leaves_the_old_one_at_work(own: Path, tmp_path: Path, painted: Any) -> None:
    image = painted(tmp_path / "new.png", "blue", 903)
    with ReloadingDiagnoser.open(own) as current:
        grow(own, image)
        (state,) = own.glob("state-*")
        sound = (state / "members.json").read_bytes()
        (state / "members.json").write_bytes(b"[]")
        assert not current.refresh()
        assert current.problem is not None
        assert "damaged" in current.problem
        assert current.diagnose(image).label == "blue"
        (state / "members.json").write_bytes(sound)
        assert current.refresh()
        assert current.problem is None


def test_a_panel_that_went_and_came_back_is_the_one_at_work(own: Path, tmp_path: Path, painted: Any) -> None:
    image = painted(tmp_path / "new.png", "blue", 902)
    with ReloadingDiagnoser.open(own) as current:
        looked = looks(current)
        own.rename(tmp_path / "away")
        assert current.diagnose(image).label == "blue"
        assert looked.acquire(timeout=120)
        assert "no such folder" in (current.problem or "")
        (tmp_path / "away").rename(own)
        assert current.diagnose(image).label == "blue"
        assert looked.acquire(timeout=120)
        assert current.problem is None


def test_a_panel_that_cannot_be_opened_at_first_is_refused(own: Path) -> None:
    (own / "panel.json").write_text("{}")
    with pytest.raises(PanelDamagedError):
        ReloadingDiagnoser.open(own)
