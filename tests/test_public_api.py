"""The public names: few, deliberate, and quick to import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import consilience

DOCUMENTED = [
    "AnswerArrays",
    "ConsilienceError",
    "Diagnoser",
    "Diagnosis",
    "Evaluation",
    "Evidence",
    "FailedImage",
    "FitReport",
    "Image",
    "Neighbour",
    "Prediction",
    "Settings",
    "Task",
    "Trust",
    "add",
    "diagnose",
    "evaluate",
    "fit",
    "fit_answers",
    "load_image",
    "load_settings",
    "remove",
]

HEAVY = [
    "torch",
    "open_clip",
    "transformers",
    "chromadb",
    "onnxruntime",
    "sklearn",
    "scipy",
    "langgraph",
    "matplotlib",
    "PIL",
    "pydantic",
    "numpy",
    "click",
    "httpcore",
]


def test_the_public_names_are_those_that_are_documented() -> None:
    assert sorted(consilience.__all__) == sorted(DOCUMENTED)
    assert dir(consilience) == sorted(DOCUMENTED)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_public_name_leads_to_what_it_is_called(name: str) -> None:
    public = getattr(consilience, name)
    assert public.__name__ == name
    assert public.__doc__


def test_a_star_import_brings_all_of_them_and_no_more() -> None:
    brought: dict[str, object] = {}
    exec("from consilience import *", brought)  # noqa: S102  our own words
    assert sorted(set(brought) - {"__builtins__"}) == sorted(DOCUMENTED)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'consilience' has no attribute 'diagnos'"):
        _ = consilience.diagnos


def run(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


def test_the_import_brings_nothing_heavy() -> None:
    assert run(f"import sys, consilience; print(*[name for name in {HEAVY} if name in sys.modules])").split() == []


def test_records_and_errors_can_be_used_without_anything_heavy() -> None:
    program = (
        "import sys; from consilience import ConsilienceError, Prediction, Evidence, Trust, Neighbour;"
        f"print(*[name for name in {HEAVY} if name in sys.modules])"
    )
    assert run(program).split() == []


def test_a_diagnoser_is_at_hand_without_what_only_fitting_needs() -> None:
    needless = ["torch", "open_clip", "transformers", "matplotlib", "sklearn", "onnxruntime", "chromadb"]
    program = f"import sys; from consilience import Diagnoser; print(*[n for n in {needless} if n in sys.modules])"
    assert run(program).split() == []


def test_onnx_runtime_reports_its_use_to_nobody(tmp_path: Path) -> None:
    """It would from its import on, and keep an identifier of this machine in the home folder."""
    folders = {name: str(tmp_path) for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")}
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")}
    code = "import consilience, onnxruntime; onnxruntime.SessionOptions()"
    subprocess.run([sys.executable, "-c", code], check=True, env=environment | folders)
    assert [*tmp_path.rglob("*")] == []
