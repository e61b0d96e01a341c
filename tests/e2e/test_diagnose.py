from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageColor
import pytest

from consilience.core.diagnosis import Diagnosis
from consilience.core.render.colours import PALETTE
from consilience.orchestrator.diagnoser import Diagnoser
from tests.support.commands import Invoke
from tests.support.forked import works_in_a_child

KEYS = {"source", "label", "probability", "posterior", "verdict", "predictions", "evidence", "rounds", "seconds"}


def manifest_with(panel: Path, **entries: object) -> None:
    manifest = json.loads((panel / "panel.json").read_text(encoding="utf-8"))
    (panel / "panel.json").write_text(json.dumps({**manifest, **entries}), encoding="utf-8")


def test_one_image_in_detail(invoke: Invoke, fitted: Path, new_images: dict[str, Path]) -> None:
    result = invoke("diagnose", new_images["circle"], "--panel", fitted)
    assert (result.exit_code, result.stderr) == (0, "")
    first, *_ = result.stdout.splitlines()
    assert first.strip().startswith("✔ circle, ")
    for words in ("neighbours", "Similar case", "new-circle.png: 1 round"):
        assert words in result.stdout
    assert "\x1b" not in result.stdout


def test_how_an_image_was_read_is_said_once(invoke: Invoke, fitted: Path, new_images: dict[str, Path]) -> None:
    path = new_images["circle"]
    PIL.Image.fromarray(np.asarray(PIL.Image.open(path).convert("L")).astype(np.uint16) * 16).save(path)
    result = invoke("diagnose", path, "--panel", fitted)
    assert "How the image was read: taken as 12 bits in 16" in " ".join(result.stdout.split())
    assert result.stderr == ""


def test_many_images_in_json(invoke: Invoke, fitted: Path, new_images: dict[str, Path]) -> None:
    result = invoke("diagnose", *new_images.values(), "--panel", fitted, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["label"] for line in lines] == list(new_images)
    assert [line["source"] for line in lines] == list(map(str, new_images.values()))
    for line in lines:
        assert line.keys() >= KEYS | {"cost_usd"}
        assert sum(line["posterior"].values()) == pytest.approx(1.0)
        assert {p["agent"] for p in line["predictions"]} == {"neighbours", "probe", "gaussian", "tip-adapter"}
        assert line["evidence"]["neighbours"][0]["label"] == line["label"]


def test_many_images_on_a_line_each(invoke: Invoke, fitted: Path, new_images: dict[str, Path]) -> None:
    result = invoke("diagnose", *new_images.values(), "--panel", fitted)
    assert [line.split()[2] for line in result.stdout.splitlines()] == list(new_images)
    assert [line.split()[-1] for line in result.stdout.splitlines()] == list(map(str, new_images.values()))
    assert result.stderr.startswith("3 images: ")


def test_a_folder_stands_for_its_images(
    invoke: Invoke, fitted: Path, new_images: dict[str, Path], tmp_path: Path
) -> None:
    folder, elsewhere = tmp_path / "photos" / "today", tmp_path / "elsewhere.png"
    folder.mkdir(parents=True)
    for name, path in new_images.items():
        path.rename(folder / f"{name}.png")
    (folder / "notes.txt").write_text("no image")
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "._circle.png").write_bytes(b"the other fork")
    elsewhere.write_bytes((folder / "circle.png").read_bytes())
    (folder / "theirs.png").symlink_to(elsewhere)
    grey = PIL.Image.open(folder / "square.png").convert("L")
    PIL.Image.fromarray(np.asarray(grey).astype(np.uint16) * 16).save(folder / "square.png")
    result = invoke("diagnose", folder.parent, "--panel", fitted, "--json")
    assert [Path(json.loads(line)["source"]).stem for line in result.stdout.splitlines()] == sorted(new_images)
    assert f"left out: 1 link leads out of the folder ('{folder / 'theirs.png'}')" in result.stderr
    assert f"note: '{folder / 'square.png'}' taken as 12 bits in 16" in result.stderr
    followed = invoke("diagnose", folder, "--panel", fitted, "--json", "--set", "images.follow_links=true")
    assert len(followed.stdout.splitlines()) == 4


def test_a_photo_of_an_iphone_is_named_where_it_cannot_be_read(
    invoke: Invoke, fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "IMG_0001.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    result = invoke("diagnose", tmp_path, "--panel", fitted)
    assert result.exit_code == 1
    assert "IMG_0001.HEIC' is HEIC: " in result.stderr
    assert "consilience[heic]" in result.stderr


def test_bad_images_are_named_and_the_others_diagnosed(
    invoke: Invoke, fitted: Path, new_images: dict[str, Path], tmp_path: Path
) -> None:
    text, empty, cut = tmp_path / "text.jpg", tmp_path / "empty.png", tmp_path / "cut.jpg"
    text.write_text("this is no image")
    empty.touch()
    PIL.Image.open(new_images["circle"]).save(cut)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    tiny = tmp_path / "tiny.png"
    PIL.Image.new("RGB", (1, 1)).save(tiny)
    link = tmp_path / "link.png"
    link.symlink_to(tmp_path / "nowhere.png")
    nothing = tmp_path / "empty"
    nothing.mkdir()
    bad = [text, empty, cut, tiny, link, nothing, tmp_path / "missing.png", "http://127.0.0.1:1/private.png"]
    good = list(new_images.values())
    result = invoke("diagnose", good[0], *bad, *good[1:], "--panel", fitted, "--json")
    assert result.exit_code == 3
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["source"] for line in lines] == list(map(str, [good[0], *bad, *good[1:]]))
    assert ["error" in line for line in lines] == [False, *[True] * len(bad), False, False]
    errors = {Path(line["source"]).name: line["error"] for line in lines if "error" in line}
    for name, words in {
        "text.jpg": "is not an image",
        "empty.png": "is empty",
        "cut.jpg": "truncated",
        "tiny.png": "1 x 1",
        "link.png": "broken symbolic link",
        "missing.png": "there is no file",
        "private.png": "127.0.0.1",
        "empty": "is a directory",
    }.items():
        assert words in errors[name]
    in_text = invoke("diagnose", *good, text, "--panel", fitted)
    assert in_text.exit_code == 3
    assert len(in_text.stdout.splitlines()) == 3
    assert in_text.stderr.splitlines()[0].startswith("error: ")
    assert "4 images: 3 settled, 1 failed. " in in_text.stderr.splitlines()[1]


def test_when_no_image_can_be_diagnosed_it_is_an_error(invoke: Invoke, fitted: Path, tmp_path: Path) -> None:
    result = invoke("diagnose", tmp_path / "missing.png", "--panel", fitted)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"error: there is no file '{tmp_path / 'missing.png'}'; check the path\n"


def test_names_on_standard_input(invoke: Invoke, fitted: Path, new_images: dict[str, Path]) -> None:
    names = "\n".join(map(str, new_images.values())) + "\n\n"
    result = invoke("diagnose", "-", "--panel", fitted, "--json", stdin=names)
    assert [json.loads(line)["label"] for line in result.stdout.splitlines()] == list(new_images)
    nothing = invoke("diagnose", "-", "--panel", fitted, stdin="")
    assert (nothing.exit_code, nothing.stdout) == (0, "")


def test_every_step_as_an_event(invoke: Invoke, fitted: Path, new_images: dict[str, Path]) -> None:
    result = invoke("diagnose", new_images["square"], "--panel", fitted, "--events")
    *steps, diagnosis = [json.loads(line) for line in result.stdout.splitlines()]
    assert [step["node"] for step in steps] == ["retrieve", *["predict"] * 4, "weigh", "conclude"]
    assert steps[-1]["update"]["conclusions"][0]["label"] == diagnosis["label"] == "square"


def test_pictures(invoke: Invoke, fitted: Path, new_images: dict[str, Path], tmp_path: Path) -> None:
    result = invoke("diagnose", *new_images.values(), "--panel", fitted, "--picture", tmp_path / "out" / "pictures")
    assert result.exit_code == 0
    pictures = sorted((tmp_path / "out" / "pictures").iterdir())
    assert [path.name.rpartition("-")[0] for path in pictures] == ["new-circle", "new-square", "new-stripes"]
    with PIL.Image.open(pictures[0]) as picture:
        assert picture.format == "PNG"
        beside_the_key = picture.getpixel((40, 900 - 334))  # the colour of the label that it speaks for
        assert beside_the_key in {PIL.ImageColor.getrgb(colour) for colour in PALETTE}
    (tmp_path / "file").touch()
    refused = invoke("diagnose", new_images["circle"], "--panel", fitted, "--occlusion")
    assert (refused.exit_code, "name a folder with --picture" in refused.stderr) == (2, True)
    refused = invoke("diagnose", new_images["circle"], "--panel", fitted, "--picture", tmp_path / "file")
    assert refused.exit_code == 1
    assert "cannot be created" in refused.stderr


def test_the_panel_from_the_environment(
    invoke: Invoke, fitted: Path, new_images: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert invoke("diagnose", new_images["circle"]).exit_code == 2
    monkeypatch.setenv("CONSILIENCE_PANEL", str(fitted))
    assert invoke("diagnose", new_images["circle"]).exit_code == 0
    assert invoke("show").exit_code == 0


def test_names_that_would_command_the_terminal_are_inert(invoke: Invoke, fitted: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"\x1b[31m[bold red]\xff\x9b2J\r\n.png")
    bad = tmp_path / name
    bad.write_text("no image")
    good = tmp_path / f"good{name}"
    PIL.Image.new("RGB", (32, 32), "red").save(bad.with_name("plain.png"))
    bad.with_name("plain.png").rename(good)
    for options in ([], ["--json"]):
        result = invoke("diagnose", good, bad, "--panel", fitted, *options)
        assert result.exit_code == 3
        printed = (result.stdout + result.stderr).replace("\n", "")
        assert printed.isprintable()
        assert "[bold red]" in printed
        assert len(result.stdout.splitlines()) == (2 if options else 1)
    assert [json.loads(line)["source"] for line in result.stdout.splitlines()] == [str(good), str(bad)]


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda panel: (panel / "panel.json").unlink(), "is half-written"),
        (lambda panel: manifest_with(panel, format=99), "format 99"),
        (
            lambda panel: manifest_with(
                panel, encoder={"name": "efficientnet-lite0", "fingerprint": "0", "dimension": 1280, "parts": {}}
            ),
            "was written with the encoder 'efficientnet-lite0' (0)",
        ),
        (lambda panel: (panel / "state-0001" / "fusion.json").write_text("{}"), "fusion.json is changed"),
        (lambda panel: (panel / "state-0001" / "memory" / "vectors.npy").unlink(), "vectors.npy is missing"),
        (lambda panel: (panel / "panel.json").write_text("{"), "panel.json cannot be read"),
    ],
    ids=["half-written", "newer", "another encoder", "changed", "lost", "no manifest"],
)
def test_panels_that_cannot_be_opened(
    invoke: Invoke, panel: Path, new_images: dict[str, Path], break_it: Callable[[Path], object], message: str
) -> None:
    break_it(panel)
    result = invoke("diagnose", new_images["circle"], "--panel", panel)
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert message in line


def test_no_panel(invoke: Invoke, new_images: dict[str, Path], tmp_path: Path) -> None:
    result = invoke("diagnose", new_images["circle"], "--panel", tmp_path / "nothing")
    assert result.exit_code == 1
    assert "make one with 'consilience fit'" in result.stderr


def test_a_server_that_cannot_be_reached(invoke: Invoke, fitted: Path, new_images: dict[str, Path]) -> None:
    result = invoke("diagnose", new_images["circle"], "--panel", fitted, "--set", "memory.url=http://127.0.0.1:1")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "127.0.0.1:1" in result.stderr


def test_a_child_of_a_process_that_diagnosed_diagnoses_too(fitted: Path, new_images: dict[str, Path]) -> None:
    """Servers that load before they fork hung at the first image."""
    with Diagnoser.open(fitted) as diagnoser:
        label = diagnoser.diagnose(new_images["circle"]).label
        assert works_in_a_child(lambda: diagnoser.diagnose(new_images["circle"]).label == label)
        several = [new_images["square"]] * 2
        assert works_in_a_child(lambda: [*map(type, diagnoser.diagnose_many(several))] == [Diagnosis] * 2)
