"""`consilience chat` through a pipe, as a program uses it."""

from __future__ import annotations

import json
from pathlib import Path

import click.testing

from consilience.frontends.cli.main import main
from tests.support.shapes import draw


def talk(panel: Path, *lines: str, options: tuple[str, ...] = ()) -> click.testing.Result:
    arguments = ["chat", "--panel", str(panel), *options]
    return click.testing.CliRunner().invoke(main, arguments, input="".join(f"{line}\n" for line in lines))


def test_each_line_has_a_reply(panel: Path, tmp_path: Path) -> None:
    draw("circle", 1000).save(tmp_path / "a b.png")
    lines = ("why?", f"'{tmp_path / 'a b.png'}'", "why?", "look again", "/wrong square", "/quit", "why?")
    result = talk(panel, *lines, options=("--json", "--pictures", str(tmp_path / "pictures")))
    hello, diagnosed, why, again, noted = map(json.loads, result.stdout.splitlines())
    assert result.exit_code == 0
    assert hello["text"].startswith("Give me an image")
    assert diagnosed["text"].startswith("circle, ")
    assert diagnosed["table"][0]["Agent"] == "neighbours"
    assert Path(diagnosed["pictures"][0]).read_bytes().startswith(b"\x89PNG")
    assert why["text"].startswith("Most likely circle, ")
    assert again["diagnosis"] != diagnosed["diagnosis"]
    assert "Saved: square." in noted["text"]


def test_an_image_is_compared_with_the_one_before(panel: Path, tmp_path: Path) -> None:
    for label in ("circle", "square"):
        draw(label, 1000).save(tmp_path / f"{label}.png")
    asked = "how does it compare to the last one?"
    lines = (str(tmp_path / "circle.png"), asked, str(tmp_path / "square.png"), "look again", asked)
    _, nothing, _, _, compared = map(json.loads, talk(panel, *lines, options=("--json",)).stdout.splitlines())
    assert nothing["text"].startswith("There is no other image before this one")
    assert "Before (circle.png): circle, " in compared["text"]
    assert compared["table"][0]["What"] == "square"


def test_what_goes_wrong_is_named_and_the_talk_goes_on(panel: Path, tmp_path: Path) -> None:
    draw("square", 1000).save(tmp_path / "good.png")
    result = talk(panel, str(tmp_path / "none.png"), str(tmp_path / "good.png"), "/dance", "/wrong triangle", "why?")
    assert result.exit_code == 3
    assert "Most likely square, " in result.stdout
    for complaint in ("there is no file", "there is no command '/dance'", "no label 'triangle'"):
        assert complaint in result.stderr


def test_a_referral_is_a_picture_in_a_folder(panel: Path, tmp_path: Path) -> None:
    draw("square", 1000).save(tmp_path / "good.png")
    options = ("--json", "--refer-to", str(tmp_path / "to-see"), "--pictures", str(tmp_path / "pictures"))
    result = talk(panel, str(tmp_path / "good.png"), "/refer", options=options)
    diagnosed, referred = map(json.loads, result.stdout.splitlines())
    assert referred["text"].startswith("Referred to a person, by the file ")
    assert [path.stem for path in (tmp_path / "to-see").iterdir()] == [diagnosed["diagnosis"]]


def test_a_panel_that_is_missing_is_named(tmp_path: Path) -> None:
    result = talk(tmp_path / "none", "why?")
    assert result.exit_code == 1
    assert "none" in result.stderr
