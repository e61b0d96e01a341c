"""A panel gives back what was written, and is refused if a part of it is missing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from consilience.core.errors import PanelDamagedError
from consilience.orchestrator.panel.panel import Panel
from consilience.orchestrator.panel.panel_records import READ_BY_PEOPLE, read_json, write_json

PARTS = [
    "task.yaml",
    "members.json",
    "fusion.json",
    "policy.json",
    "choices.json",
    "unlabelled.json",
    "models.json",
    "second_looks.npz",
    "predictions.npz",
]


def test_a_panel_is_read_back_as_it_was_written(panel: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(panel, tmp_path / "own"))
    before = Panel.open(own)
    after = before.save(own, overwrite=True)
    assert (after.members, after.agents, after.task) == (before.members, before.agents, before.task)
    assert np.array_equal(after.predictions.raw, before.predictions.raw)
    assert np.array_equal(after.calibration_set.posterior, before.calibration_set.posterior)
    assert after.fusion.to_dict() == before.fusion.to_dict()


@pytest.mark.parametrize(("numbers", "lines"), [(10, 12), (READ_BY_PEOPLE, 1)])
def test_json_is_broken_into_lines_where_somebody_may_read_it(numbers: int, lines: int, tmp_path: Path) -> None:
    data = [number / 7 for number in range(numbers)]
    write_json(tmp_path / "file.json", data)
    assert len((tmp_path / "file.json").read_text().splitlines()) == lines
    assert read_json(tmp_path / "file.json") == data


@pytest.mark.parametrize("part", PARTS)
def test_a_panel_without_a_part_is_refused_with_the_command_that_fits_it_again(
    part: str, panel: Path, tmp_path: Path
) -> None:
    own = Path(shutil.copytree(panel, tmp_path / "own"))
    manifest = json.loads((own / "panel.json").read_text())
    del manifest["files"][part]
    (own / "panel.json").write_text(json.dumps(manifest))
    (own / "state-0001" / part).unlink()
    with pytest.raises(PanelDamagedError) as caught:
        Panel.open(own)
    assert str(caught.value).endswith(f"fit it again with 'consilience fit IMAGES --panel {own} --overwrite'")
