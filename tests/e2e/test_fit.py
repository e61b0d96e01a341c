from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from tests.support.commands import Invoke


def png(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    PIL.Image.fromarray(noise).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two labels with three images of noise each."""
    for number in range(6):
        png(tmp_path / "data" / "ab"[number % 2] / f"{number}.png", number)
    return tmp_path / "data"


def test_fit_says_what_was_fitted(invoke: Invoke, shapes: Path, tmp_path: Path) -> None:
    result = invoke("fit", shapes, "--panel", tmp_path / "panel")
    assert result.exit_code == 0
    assert result.stderr == ""
    assert "42 images, 3 labels, encoder efficientnet-lite0" in result.stdout
    rows = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines() if line and line[0].isalpha()}
    for agent in ("neighbours", "probe", "gaussian", "tip-adapter"):
        assert rows[agent][0] == "42"
    assert (
        "An image is settled without a person if only one label is possible (95.0 % coverage) and its "
        "probability is at least 80.0 %." in " ".join(result.stdout.split())
    )
    assert "\x1b" not in result.stdout


def test_fit_in_json(invoke: Invoke, shapes: Path, tmp_path: Path) -> None:
    result = invoke("fit", shapes, "--panel", tmp_path / "panel", "--json", "--agents", "probe,neighbours")
    fitted = json.loads(result.stdout)
    assert fitted["labels"] == {"circle": 14, "square": 14, "stripes": 14}
    assert [agent["agent"] for agent in fitted["agents"]] == ["probe", "neighbours"]
    assert [added["agent"] for added in fitted["contributions"]] == ["probe", "neighbours"]
    assert all(added["without"] is not None for added in fitted["contributions"])
    assert sum(agent["share_of_weight"] for agent in fitted["agents"]) == pytest.approx(1.0)
    assert fitted["images"] == {
        "added": 42,
        "skipped": 0,
        "kept_out": [],
        "failed": [],
        "ignored": [],
        "by_products": 0,
    }
    assert fitted["policy"]["target"] == 0.95


def test_few_images_settle_nothing_and_fit_says_so(invoke: Invoke, folder: Path, tmp_path: Path) -> None:
    options = ("--group", "none", "--set", "policy.coverage=0.99")
    result = invoke("fit", folder, "--panel", tmp_path / "panel", *options)
    assert result.exit_code == 0
    output = " ".join(result.stdout.split())
    assert "Every image will be referred to a person: 99.0 % coverage takes at least 99 labelled images." in output
    assert "Add images, or lower the setting policy.coverage." in output


def test_what_is_left_out_is_named_and_the_rest_is_fitted(invoke: Invoke, folder: Path, tmp_path: Path) -> None:
    (folder / "a" / "broken.jpg").write_text("no image")
    (folder / "a" / "empty.png").touch()
    shutil.copy(folder / "a" / "0.png", folder / "b" / "the same.png")
    (folder / "README.md").write_text("of no label")
    (folder / "a" / "notes.txt").write_text("no image by its name")
    result = invoke("fit", folder, "--panel", tmp_path / "panel")
    assert result.exit_code == 3
    errors = result.stderr.splitlines()
    assert "broken.jpg" in errors[0]
    assert "empty.png" in errors[1]
    assert errors[2].startswith("left out: the same image:")
    assert "0.png' (a)" in errors[2]
    assert "the same.png' (b)" in errors[2]
    assert errors[3].startswith("ignored: ")
    assert "notes.txt" in errors[3]
    assert len(errors) == 4
    assert "5 images, 2 labels" in result.stdout


@pytest.mark.slow
def test_unlabelled_images_teach_too(invoke: Invoke, folder: Path, tmp_path: Path) -> None:
    for number in range(5):
        png(tmp_path / "others" / "deeper" / f"{number}.png", 50 + number)
    shutil.copy(folder / "a" / "0.png", tmp_path / "others" / "labelled.png")
    fit = ("fit", folder, "--panel", tmp_path / "panel", "--unlabelled", tmp_path / "others")
    result = invoke(*fit)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "6 images, 2 labels, encoder efficientnet-lite0; 5 unlabelled images helped" in " ".join(
        result.stdout.split()
    )
    (tmp_path / "others" / "broken.jpg").write_text("no image")
    result = invoke(*fit, "--json", "--overwrite")
    assert result.exit_code == 3
    assert "broken.jpg" in result.stderr
    fitted = json.loads(result.stdout)
    assert fitted["unlabelled"] == 5
    assert "self-trained" in [agent["agent"] for agent in fitted["agents"]]
    assert "5 more images without labels" in invoke("show", tmp_path / "panel").stdout


def test_names_in_any_script(invoke: Invoke, tmp_path: Path) -> None:
    labels = ["健康", "ржавчина", "صدأ", "naïve 🍏"]
    for number in range(12):
        png(tmp_path / "data" / labels[number % 4] / f"画像 {number}.png", number)
    assert invoke("fit", tmp_path / "data", "--panel", tmp_path / "panel", "--agents", "neighbours").exit_code == 0
    shown = json.loads(invoke("show", tmp_path / "panel", "--json").stdout)
    assert shown["labels"] == dict.fromkeys(sorted(labels), 3)


def test_nested_folders_are_below_their_label(invoke: Invoke, folder: Path, tmp_path: Path) -> None:
    png(folder / "a" / "deep" / "deeper" / "7.png", 7)
    result = invoke("fit", folder, "--panel", tmp_path / "panel", "--agents", "neighbours", "--json")
    assert json.loads(result.stdout)["labels"] == {"a": 4, "b": 3}


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda data: shutil.rmtree(data), "does not exist"),
        (lambda data: shutil.rmtree(data / "b"), "has the label 'a' only"),
        (lambda data: [path.unlink() for path in data.glob("*/*")], "hold no images"),
        (lambda data: [path.unlink() for path in data.glob("b/*")], "'b' has 0"),
        (lambda data: [path.write_bytes(b"\xff\xd8\xff") for path in data.glob("b/*")], "'b' has no usable image"),
    ],
    ids=["no folder", "one label", "no images", "no image in a label", "no readable image in a label"],
)
def test_unusable_folders(
    invoke: Invoke, folder: Path, tmp_path: Path, prepare: Callable[[Path], object], message: str
) -> None:
    prepare(folder)
    result = invoke("fit", folder, "--panel", tmp_path / "panel")
    assert result.exit_code == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not (tmp_path / "panel").exists()


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (
            ["--encoder", "efficientnet-lite"],
            1,
            "There is no encoder 'efficientnet-lite'. There are: 'eff",
        ),
        (["--agents", "probe,oracle"], 1, "there is no agent 'oracle'; there are: neighbours, probe, gaussian"),
        (["--agents", "zero-shot"], 1, "zero-shot"),
        (["--agents", "self-trained"], 1, "fit with --unlabelled FOLDER"),
        (["--unlabelled", "missing"], 1, "missing"),
        (["--agents", "probe", "--unlabelled", "never-read"], 1, "add 'self-trained' to the agents"),
        (["--task", "missing.yaml"], 1, "missing.yaml"),
        (["--settings", "missing.yaml"], 1, "missing.yaml"),
        (["--set", "policy.target=2"], 1, "at most 1"),
        (["--set", "policy.tarot=0.9"], 2, "policy.target"),
        (["--set", "policy.target"], 2, "is not of the form NAME=VALUE"),
        (["--set", "memory.url=http://127.0.0.1:1"], 1, "127.0.0.1:1"),
        (["--bogus"], 2, "No such option"),
    ],
)
def test_wrong_options(
    invoke: Invoke, folder: Path, tmp_path: Path, options: list[str], code: int, message: str
) -> None:
    result = invoke("fit", folder, "--panel", tmp_path / "panel", *options)
    assert (result.exit_code, result.stdout) == (code, "")
    assert message in result.stderr


def test_a_panel_is_replaced_only_on_request(invoke: Invoke, folder: Path, tmp_path: Path) -> None:
    fit = ("fit", folder, "--panel", tmp_path / "panel", "--agents", "neighbours")
    assert invoke(*fit).exit_code == 0
    before = (tmp_path / "panel" / "panel.json").read_bytes()
    refused = invoke(*fit)
    assert refused.exit_code == 1
    assert "there is a panel at" in refused.stderr
    assert (tmp_path / "panel" / "panel.json").read_bytes() == before
    assert invoke(*fit, "--overwrite").exit_code == 0


def test_an_error_of_the_system_is_one_line(invoke: Invoke, folder: Path, tmp_path: Path) -> None:
    for options in (["--panel", tmp_path / ("x" * 300)], ["--panel", tmp_path / "panel", "--task", "y" * 300]):
        result = invoke("fit", folder, *options)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "File name too long" in result.stderr
        assert result.stderr.count("\n") == 1


def test_a_folder_that_is_no_panel_is_never_replaced(invoke: Invoke, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "panel").mkdir()
    (tmp_path / "panel" / "thesis.txt").write_text("years of work")
    result = invoke("fit", folder, "--panel", tmp_path / "panel", "--overwrite")
    assert result.exit_code == 1
    assert "'thesis.txt'" in result.stderr
    assert [path.name for path in (tmp_path / "panel").iterdir()] == ["thesis.txt"]


def test_vectors_instead_of_images(invoke: Invoke, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.array(["up", "down"] * 30)
    vectors = rng.normal(size=(60, 8)).astype(np.float32) + 4.0 * (labels == "up")[:, None]
    names = np.array([f"row {number}" for number in range(60)])
    file, other, panel = tmp_path / "vectors.npz", tmp_path / "other.npz", tmp_path / "panel"
    np.savez(file, embeddings=vectors, labels=labels, names=names)
    assert invoke("fit", file, "--panel", panel).exit_code == 0
    diagnosed = invoke("diagnose", file, "--panel", panel, "--json")
    assert diagnosed.exit_code == 0
    lines = [json.loads(line) for line in diagnosed.stdout.splitlines()]
    assert [line["source"] for line in lines] == names.tolist()
    assert [line["label"] for line in lines] == labels.tolist()
    np.savez(other, embeddings=vectors, labels=labels, names=names, encoder=np.array("another"))
    refused = invoke("diagnose", other, "--panel", panel)
    assert refused.exit_code == 1
    assert "the panel was written with the encoder 'precomputed:8'" in refused.stderr
    png(tmp_path / "image.png", 0)
    refused = invoke("diagnose", tmp_path / "image.png", "--panel", panel)
    assert refused.exit_code == 1
    assert "takes vectors of 8 numbers, not images" in refused.stderr
