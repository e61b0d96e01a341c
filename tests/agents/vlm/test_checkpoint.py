"""Checkpoints that cannot be used are refused in one line, and no code of theirs is run."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from consilience.agents import TransformersAgent
from tests.support.lazy_module import lazy_module
from tests.support.taught_model import CLEAR, DARK, look, settings, shade

torch = lazy_module("torch")
transformers = lazy_module("transformers")


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def pickled(folder: Path) -> None:
    from safetensors.torch import load_file

    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    without_weights(folder)


def with_a_weight_missing(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights.pop("lm_head.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def without_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()


def of_text_alone(folder: Path) -> None:
    own = transformers.Qwen2Config(vocab_size=64, hidden_size=16, num_hidden_layers=1, num_attention_heads=1)
    transformers.Qwen2ForCausalLM(own).save_pretrained(folder)


def with_code_of_its_own(folder: Path) -> None:
    own = json.loads((folder / "config.json").read_text())
    own |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModelForImageTextToText": "own.Own"}}
    (folder / "config.json").write_text(json.dumps(own))
    (folder / "own.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\nclass Own: pass\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without_weights, "no file named model.safetensors"),
        (pickled, "no file named model.safetensors"),
        (with_a_weight_missing, "1 of its weights are missing"),
        (without_template, "no template for conversations"),
        (of_text_alone, "Unrecognized configuration class"),
        (with_code_of_its_own, "custom code"),
    ],
)
def test_a_checkpoint_that_cannot_be_used_is_refused_in_a_line(
    model: Path, tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    folder = Path(shutil.copytree(model, tmp_path / "model"))
    spoil(folder)
    seen = look(TransformersAgent(settings(folder)), shade(DARK), shade(CLEAR))
    for request in seen:
        assert request.error is not None
        assert request.error.startswith(f"'{folder}' cannot be used as an image-text model: ")
        assert message in request.error
        assert "\n" not in request.error
    assert not (folder / "ran").exists()


def test_a_model_that_is_nowhere_is_named(tmp_path: Path) -> None:
    [seen] = look(TransformersAgent(settings(tmp_path / "absent")), shade(DARK))
    assert seen.error is not None
    assert "absent" in seen.error
    assert "Give a folder that holds one" in seen.error


@pytest.mark.slow
def test_without_its_packages_it_names_the_extra(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    [seen] = look(TransformersAgent(settings(model, dtype="float16")), shade(DARK))
    assert seen.error is not None
    assert "pip install 'consilience[transformers]'" in seen.error
