"""The base install, without any extra: it has no torch, and diagnoses with a panel that came from elsewhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
FILES = ("LICENSE", "NOTICE", "README.md", "pyproject.toml")
PARTS = ("agents", "core", "evals", "frontends", "orchestrator", "prompts", "retrieval", "src")

pytestmark = pytest.mark.slow


def pip(*arguments: object, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    command = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh environment that holds the wheel and what it depends on."""
    folder = tmp_path_factory.mktemp("base")
    if pip("download", "--no-deps", "--dest", folder / "probe", "click").returncode != 0:
        pytest.skip("no package index can be reached")
    (folder / "source").mkdir()  # a copy, so that building leaves nothing in the checkout
    for name in FILES:
        shutil.copy(PROJECT / name, folder / "source")
    for name in PARTS:
        without = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(PROJECT / name, folder / "source" / name, symlinks=True, ignore=without)
    built = pip("wheel", "--no-deps", "--wheel-dir", folder, folder / "source")
    assert built.returncode == 0, built.stderr
    venv.create(folder / "venv", with_pip=True)
    programs = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    (wheel,) = folder.glob("*.whl")
    installed = pip("install", wheel, python=str(programs / "python"))
    assert installed.returncode == 0, installed.stderr
    return programs


def test_the_base_install(base: Path, fitted: Path, new_images: dict[str, Path], tmp_path: Path) -> None:
    absent = [
        "torch",
        "torchvision",
        "open_clip",
        "transformers",
        "onnx",
        "elpv_dataset",
        "pytest",
        "efficientnet_lite_pytorch",
    ]
    program = f"import importlib.util as u; print([name for name in {absent} if u.find_spec(name)])"
    packages = subprocess.run(
        [base / "python", "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert packages.stdout == "[]\n"
    panel = shutil.copytree(fitted, tmp_path / "panel")
    command: list[str | Path] = [base / "consilience", "diagnose", *new_images.values(), "--panel", panel, "--json"]
    empty_cache = {**os.environ, "CONSILIENCE_CACHE": str(tmp_path / "cache")}
    diagnosed = subprocess.run(command, capture_output=True, text=True, check=False, env=empty_cache)
    assert (diagnosed.returncode, diagnosed.stderr) == (0, "")
    assert [json.loads(line)["label"] for line in diagnosed.stdout.splitlines()] == list(new_images)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("encoder", ["efficientnet-lite0", "open_clip:ViT-B-32:openai"])
def test_it_says_which_extra_is_missing(base: Path, shapes: Path, tmp_path: Path, encoder: str) -> None:
    command: list[str | Path] = [
        base / "consilience",
        "fit",
        shapes,
        "--panel",
        tmp_path / "panel",
        "--encoder",
        encoder,
    ]
    empty_cache = {**os.environ, "CONSILIENCE_CACHE": str(tmp_path / "cache")}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=empty_cache)
    assert (result.returncode, result.stdout) == (1, "")
    assert "pip install 'consilience[clip]'" in result.stderr
    assert not (tmp_path / "panel").exists()
