"""`consilience evaluate` as a user runs it: what it says, how it ends, and what is left when it is killed."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click.testing
import numpy as np
import PIL.Image
import pytest

from tests.support.commands import Invoke, Run

LABELS = ("apple", "beech", "cedar")


def save(path: Path, n: int, seed: int) -> Path:
    """Labelled vectors around three centres."""
    labels = np.arange(n) % 3
    vectors = np.eye(3, 8)[labels] + 0.6 * np.random.default_rng(seed).standard_normal((n, 8))
    names = np.array([f"{seed}-{row}" for row in range(n)])
    np.savez(path, embeddings=vectors.astype(np.float32), labels=np.array(LABELS)[labels], names=names)
    return path


@pytest.fixture(scope="module")
def vector_panel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from consilience.frontends.cli.main import main

    folder = tmp_path_factory.mktemp("vectors")
    command = ["fit", str(save(folder / "known.npz", 90, 0)), "--panel", str(folder / "panel")]
    result = click.testing.CliRunner().invoke(main, [*command, "--agents", "neighbours,gaussian"])
    assert result.exit_code == 0, result.stderr
    return folder / "panel"


def rows_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "predictions.jsonl").read_bytes().splitlines()]


def metrics_of(out: Path) -> Any:
    return timeless(json.loads((out / "metrics.json").read_bytes()))


def timeless(value: Any) -> Any:
    """Without what depends on how fast the machine was."""
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if key not in ("seconds", "images_per_second")}
    return [timeless(item) for item in value] if isinstance(value, list) else value


def test_a_folder_is_evaluated(invoke: Invoke, shapes: Path, fitted: Path, tmp_path: Path) -> None:
    result = invoke("evaluate", shapes, "--panel", fitted, "--out", tmp_path / "out", "--json")
    metrics = json.loads(result.stdout)
    assert (result.exit_code, metrics["n"], metrics["errors"], metrics["leaks"]) == (0, 42, 0, 42)
    assert result.stderr.startswith("warning: the panel has learned from 42 of the images ('")
    assert (
        "and 37 more): the figures look better than they are; leave these images out with --drop-leaks" in result.stderr
    )
    assert json.loads((tmp_path / "out" / "metrics.json").read_bytes()) == metrics
    assert Path(rows_of(tmp_path / "out")[0]["source"]).exists()


def test_it_says_what_came_of_it(invoke: Invoke, shapes: Path, fitted: Path, tmp_path: Path) -> None:
    output = invoke("evaluate", shapes, "--panel", fitted, "--out", tmp_path / "out").stdout
    assert "95 % interval" in output
    assert "Accuracy of the fusion minus that of its best agent" in output
    assert "McNemar" in output
    assert "Settled without a person: " in output


def test_a_manifest_is_evaluated_and_what_cannot_be_read_is_named(
    run: Run, new_images: dict[str, Path], fitted: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG and no more")
    lines = [f"{path.relative_to(tmp_path)},{label}" for label, path in new_images.items()]
    manifest = tmp_path / "images.csv"
    manifest.write_text("\n".join(["path,label", *lines, "gone.png,circle", "broken.png,circle"]) + "\n")
    result = run("evaluate", manifest, "--panel", fitted, "--out", tmp_path / "out", "--json")
    metrics = json.loads(result.stdout)
    assert (result.returncode, metrics["n"], metrics["errors"], metrics["fusion"]["accuracy"]) == (3, 3, 2, 1.0)
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == ["error", "error"]
    assert "gone.png" in result.stderr
    assert "broken.png" in result.stderr


def test_where_no_image_can_be_used_it_fails(invoke: Invoke, fitted: Path, tmp_path: Path) -> None:
    (tmp_path / "images.csv").write_text("path,label\ngone.png,circle\n")
    result = invoke("evaluate", tmp_path / "images.csv", "--panel", fitted, "--out", tmp_path / "out")
    assert result.exit_code == 1


def test_images_of_the_memory_can_be_left_out(invoke: Invoke, shapes: Path, fitted: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(shapes / "circle", photos / "circle")
    (photos / "square").mkdir()
    PIL.Image.fromarray(np.full((40, 40, 3), 200, np.uint8)).save(photos / "square" / "new.png")
    command = ("evaluate", photos, "--panel", fitted, "--out", tmp_path / "out", "--drop-leaks", "--json")
    result = invoke(*command)
    metrics = json.loads(result.stdout)
    assert (result.exit_code, metrics["n"], metrics["left_out"]) == (0, 1, 14)
    assert "no image has the label 'stripes'" in result.stderr
    assert "they are left out" in result.stderr


def test_images_of_no_known_label_are_told_from_the_others(
    invoke: Invoke, fitted: Path, new_images: dict[str, Path], tmp_path: Path
) -> None:
    rng, known, novel = np.random.default_rng(0), tmp_path / "known", tmp_path / "novel"
    for label, path in new_images.items():
        (known / label).mkdir(parents=True)
        shutil.copy(path, known / label)
    novel.mkdir()
    for number in range(4):
        checks = np.kron(rng.integers(0, 2, (6, 6, 3)), np.ones((16, 16, 1))) * 255
        PIL.Image.fromarray(checks.astype(np.uint8)).save(novel / f"{number}.png")  # a flat folder
    command = ("evaluate", known, "--panel", fitted, "--out", tmp_path / "out", "--novel", novel)
    result = invoke(*command)
    assert result.exit_code == 0
    novelty = json.loads((tmp_path / "out" / "metrics.json").read_bytes())["novelty"]
    assert (novelty["known"], novelty["novel"], novelty["novel_called"]) == (3, 4, 1.0)
    assert novelty["score"] == {"auroc": 1.0, "fpr_at_95": 0.0}
    assert set(novelty["signs"]) == {"predictive_entropy", "disagreement", "mahalanobis", "knn"}
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["score", "3", "4", "1.000", "0", "%"] in lines
    assert "Called unlike the known images: 100 % of the " in result.stdout
    assert len(rows_of(tmp_path / "out" / "novel")) == 4
    assert len(rows_of(tmp_path / "out")) == 3  # what is novel counts in no other figure
    again = json.loads(invoke(*command, "--json").stdout)
    assert again["novelty"] == novelty


def test_a_bad_folder_of_novel_images_is_named_before_anything_is_decided(
    run: Run, new_images: dict[str, Path], fitted: Path, tmp_path: Path
) -> None:
    manifest = tmp_path / "images.csv"
    manifest.write_text("\n".join(["path,label", *(f"{path},{label}" for label, path in new_images.items())]) + "\n")
    (tmp_path / "bare").mkdir()
    for name, problem in (("bare", "holds no images"), ("gone", "does not exist")):
        novel = tmp_path / name
        result = run("evaluate", manifest, "--panel", fitted, "--out", tmp_path / "out", "--novel", novel)
        assert (result.returncode, result.stdout) == (1, "")
        assert f"'{novel}'" in result.stderr
        assert problem in result.stderr
        assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_what_is_wrong_is_one_line(run: Run, shapes: Path, fitted: Path, tmp_path: Path) -> None:
    photos = Path(shutil.copytree(shapes, tmp_path / "photos"))
    (photos / "circle").rename(photos / "ring")
    wrong = {
        ("--map", "ring"): (2, "'ring' is not of the form OLD=NEW"),
        (): (1, "labels that the task does not know: 'ring'"),
        ("--map", "rnig=circle"): (1, "nothing in"),
        ("--limit", "0"): (2, "0 is not in the range"),
    }
    for options, (code, problem) in wrong.items():
        result = run("evaluate", photos, "--panel", fitted, "--out", tmp_path / "out", *options)
        assert (result.returncode, result.stdout) == (code, "")
        assert problem in result.stderr
        assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()
    mapped = run("evaluate", photos, "--panel", fitted, "--out", tmp_path / "out", "--map", "ring=circle", "--limit", 2)
    assert mapped.returncode == 0
    again = run("evaluate", photos, "--panel", fitted, "--out", tmp_path / "out", "--limit", 2, "--map", "ring=square")
    assert again.returncode == 1
    assert again.stderr.count("\n") == 1
    assert 'choice.map.ring was "circle" and is "square"' in again.stderr


@pytest.fixture
def evaluating(script: str, vector_panel: Path, tmp_path: Path) -> Callable[[Path], list[str]]:
    def command(out: Path) -> list[str]:
        test_set = tmp_path / "test.npz"
        if not test_set.exists():
            save(test_set, 600, 1)
        options = ["--panel", str(vector_panel), "--out", str(out), "--set", "batch_size=8"]
        return [script, "evaluate", str(test_set), *options]

    return command


def kill_once_written(command: list[str], rows: Path, size: int) -> bool:
    """kill -9 as soon as the rows are so long; whether it came to that."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not rows.exists() or rows.stat().st_size < size:
        try:
            process.communicate(timeout=0.001)
        except subprocess.TimeoutExpired:
            continue
        assert process.returncode == 0
        return False
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    return True


@pytest.mark.slow
@pytest.mark.parametrize("moments", [3, 20])
def test_killed_at_random_moments_it_ends_as_if_nothing_had_happened(
    evaluating: Callable[[Path], list[str]], tmp_path: Path, moments: int
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(evaluating(whole), check=True, capture_output=True)
    size = (whole / "predictions.jsonl").stat().st_size
    kills = 0
    for moment in sorted(np.random.default_rng(moments).integers(1, size, moments).tolist()):
        kills += kill_once_written(evaluating(killed), killed / "predictions.jsonl", moment)
    assert kills >= moments // 2
    subprocess.run(evaluating(killed), check=True, capture_output=True)
    assert [row["row"] for row in rows_of(killed)] == list(range(600))
    assert timeless(rows_of(killed)) == timeless(rows_of(whole))
    assert metrics_of(killed) == metrics_of(whole)


@pytest.mark.slow
def test_an_interrupted_evaluation_says_how_to_go_on_and_shows_where_it_stands(
    evaluating: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    watching, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200"}
    command = evaluating(tmp_path / "out")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=terminal, env=environment)
    os.close(terminal)
    seen = b""
    while b"right (" not in seen:
        seen += os.read(watching, 4096)
    process.send_signal(signal.SIGINT)
    try:
        while part := os.read(watching, 4096):
            seen += part
    except OSError:  # Linux says so instead of an empty read
        pass
    process.communicate()
    os.close(watching)
    assert process.returncode == 130
    assert b"run the same command again" in seen
    assert b"Traceback" not in seen
    done = subprocess.run(command, check=True, capture_output=True)
    assert done.returncode == 0
    assert [row["row"] for row in rows_of(tmp_path / "out")] == list(range(600))
