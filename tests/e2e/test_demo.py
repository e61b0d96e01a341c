from __future__ import annotations

import re
import sys
from pathlib import Path

import PIL.Image
import pytest

from consilience.core.errors import PanelError
from consilience.frontends.cli.panels.demo_command import run
from consilience.frontends.cli.panels.solar_cells import SolarCellSplit, read_cells, split
from tests.support.commands import Invoke


def small(seed: int = 0) -> SolarCellSplit:
    """A few of the demo's cells."""
    drawn = split(read_cells(), 60, seed)
    return SolarCellSplit(drawn.fit, drawn.held_out[:20], drawn.between[:10])


@pytest.mark.slow
def test_the_demo_on_few_cells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(small(), tmp_path / "out")
    output = capsys.readouterr().out
    assert output.startswith("90 electroluminescence images of solar cells")
    for agent in ("neighbours", "probe", "gaussian", "tip-adapter", "fusion"):
        assert re.search(rf"^{agent} +[\d.]+ % +[\d.]+ to [\d.]+ % ", output, re.MULTILINE)
    *_, picture_line, next_line = output.splitlines()
    assert picture_line == f"The same as a picture: {tmp_path / 'out' / 'diagnosis.png'}"
    assert next_line == "Next, your own images: consilience fit FOLDER --panel DIR"
    with PIL.Image.open(tmp_path / "out" / "diagnosis.png") as picture:
        assert picture.size == (1400, 900)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["diagnosis.png", "panel"]
    run(small(), tmp_path / "out")  # its own panel may be replaced


def test_the_demo_replaces_no_other_panel(panel: Path) -> None:
    before = (panel / "panel.json").read_bytes()
    with pytest.raises(PanelError, match="holds another panel than the demo's"):
        run(small(), panel.parent)
    assert (panel / "panel.json").read_bytes() == before


def test_the_demo_without_its_extra(invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "elpv_dataset", None)
    result = invoke("demo", "--out", tmp_path / "out")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "pip install 'consilience[demo]'" in result.stderr
    assert not (tmp_path / "out").exists()


def test_no_cell_is_both_fitted_on_and_held_out() -> None:
    cells = read_cells()
    drawn = split(cells, 1000, seed=0)
    assert len(cells) == 2624
    assert (len(drawn.fit), len(drawn.held_out), len(drawn.between)) == (1000, 1223, 401)
    assert len({cell.path for part in (drawn.fit, drawn.held_out, drawn.between) for cell in part}) == 2624
    assert {cell.label for cell in drawn.fit} == {"functional", "defective"}
    assert {round(cell.defect_probability, 2) for cell in drawn.between} == {0.33, 0.67}
    assert drawn == split(cells, 1000, seed=0)
    assert drawn.fit != split(cells, 1000, seed=1).fit
