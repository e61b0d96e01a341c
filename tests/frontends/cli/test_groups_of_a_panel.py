"""`consilience fit --group` and `consilience show --groups`: groups that are given, and a page of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from consilience.frontends.cli.main import main
from tests.support.shapes import LABELS, draw


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shapes of four things a label, three images each: 'circle/<b>2-0.png'; and thumbnails of a NAS."""
    folder = tmp_path_factory.mktemp("photos")
    for label in LABELS:
        (folder / label / "@eaDir").mkdir(parents=True)
        draw(label, 0).resize((32, 32)).save(folder / label / "@eaDir" / "thumb.jpg")
        for number in range(12):
            draw(label, number).save(folder / label / f"{label} <b>{number // 3}-{number}.png")
    return folder


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [*map(str, words)])


def test_groups_are_given_counted_and_shown(photos: Path, tmp_path: Path) -> None:
    panel, page = tmp_path / "panel", tmp_path / "groups.html"
    fitted = run("fit", photos, "--panel", panel, "--agents", "neighbours", "--group", "{group}-*.png")
    assert fitted.exit_code == 0, fitted.stderr
    assert "left out: 3 files that other programs made beside your photos" in fitted.stderr.replace("\n", " ")
    shown = run("show", panel, "--json", "--groups", page)
    held = json.loads(shown.stdout)
    assert held["grouping"] == {
        "how": "given",
        "rule": "{group}-*.png",
        "distance": None,
        "groups": 12,
        "of_several_images": 12,
    }
    assert (held["claim"]["grouping"], held["claim"]["groups"], held["claim"]["images"]) == ("given", 12, 36)
    html = page.read_text(encoding="utf-8")
    assert html.count("<section") == 12
    assert html.count("data:image/jpeg;base64,") == 36
    assert "circle &lt;b&gt;2" in html
    assert "<b>" not in html  # names are no markup
    assert "36 images of panel show 12 things" in html
    assert "the pattern &#39;{group}-*.png&#39; on the paths" in html


def test_found_groups_are_shown_with_their_reasons(photos: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    for label in LABELS:
        (own / label).mkdir(parents=True)
        for number in range(6):
            draw(label, number).save(own / label / f"{number}.png")
        draw(label, 0).rotate(90).save(own / label / "0_rot90.png")
    assert run("fit", own, "--panel", tmp_path / "panel", "--agents", "neighbours").exit_code == 0
    assert run("show", tmp_path / "panel", "--groups", tmp_path / "groups.html").exit_code == 0
    html = (tmp_path / "groups.html").read_text(encoding="utf-8")
    assert html.count("the name differs by a mark of a copy only (1)") == 3


@pytest.mark.parametrize(
    ("group", "problem"),
    [
        ("{group}+*.png", "matches none of the images"),
        ("parent", "into one group"),
        ("{group", "must name the group once"),
    ],
)
def test_a_pattern_that_does_not_fit_is_one_line_of_error(
    photos: Path, tmp_path: Path, group: str, problem: str
) -> None:
    result = run("fit", photos, "--panel", tmp_path / "panel", "--group", group)
    assert result.exit_code != 0
    assert problem in result.stderr
    assert not (tmp_path / "panel").exists()


def test_a_page_that_cannot_be_written_is_an_error(photos: Path, tmp_path: Path) -> None:
    assert run("fit", photos, "--panel", tmp_path / "panel", "--agents", "neighbours").exit_code == 0
    result = run("show", tmp_path / "panel", "--groups", tmp_path / "none" / "groups.html")
    assert result.exit_code != 0
    assert "cannot be written" in result.stderr
