"""Tuning a real Qwen2.5-VL by LoRA: it learns labels that it names wrongly, goes on after a kill, and is read again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consilience.agents import ReplyCache, TransformersAgent
from consilience.agents.finetune.lora_tuner import Course, Tuner, Tuning
from consilience.agents.finetune.training_example import TrainingExample, training_example
from consilience.agents.vlm.image_text_model import ImageTextModel
from consilience.agents.vlm.lora_adapter import configuration_of, rank_of
from consilience.core.errors import AgentError
from consilience.core.images import Image
from tests.support.lazy_module import lazy_module
from tests.support.taught_model import BRIEF, CLEAR, DARK, look, settings, shade

torch = lazy_module("torch")
lazy_module("peft")

NAMES = {"rust": CLEAR, "scab": DARK}
"""The other way round than the model has learned them."""

QUICK = Tuning(rank=8, rate=5e-3, epochs=12, batch_size=4, patience=3, save_every=3)


def noisy(level: int, number: int) -> Image:
    pixels = np.full((40, 60, 3), level) + np.random.default_rng([level, number]).integers(-3, 4, (40, 60, 3))
    return Image.from_pixels(pixels.astype(np.uint8), f"{level}-{number}")


def lessons(numbers: range) -> list[TrainingExample]:
    side = settings("-").image_side
    return [
        training_example(BRIEF, noisy(level, n), label, side, True) for n in numbers for label, level in NAMES.items()
    ]


TRAINING, HELD_OUT = range(8), range(100, 104)


def tune(model: Path, folder: Path, tuning: Tuning = QUICK, stop_after: int | None = None) -> Course | None:
    """Tune; `stop_after` so many steps as a kill does it."""

    class Killed(BaseException):
        pass

    def progress(_: str, step: int, __: int) -> None:
        if step == stop_after:
            raise Killed

    opened = ImageTextModel(str(model), "cpu", "float32")
    try:
        return Tuner(opened, str(model), folder, tuning).tune(lessons(TRAINING), lessons(HELD_OUT), progress)
    except Killed:
        return None


pytestmark = pytest.mark.slow  # a model is taught, and tuned


@pytest.fixture(scope="module")
def tuned(model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Course]:
    folder = tmp_path_factory.mktemp("tuned") / "adapter"
    course = tune(model, folder)
    assert course is not None
    return folder, course


def named(model: Path, cache: ReplyCache | None = None, **more: Any) -> list[str | None]:
    agent = TransformersAgent(settings(model, confidence="logprob", **more), cache)
    return [prediction.label for prediction in look(agent, *(noisy(level, 500) for level in NAMES.values()))]


def test_the_tuned_agent_names_what_the_untuned_one_confuses(model: Path, tuned: tuple[Path, Course]) -> None:
    folder, course = tuned
    assert named(model) == ["scab", "rust"]
    assert named(model, adapter=str(folder)) == ["rust", "scab"]
    judged = [line["held_out"] for line in course.curve if "held_out" in line]
    assert course.best == min(judged) < 0.1 * judged[0]
    assert course.done
    assert (rank_of(folder), sorted(file.suffix for file in folder.glob("adapter*"))) == (8, [".json", ".safetensors"])
    assert [json.loads(line) for line in (folder / "loss.jsonl").read_text().splitlines()] == course.curve


def test_a_run_that_was_killed_goes_on_and_ends_as_one_that_was_not(
    model: Path, tuned: tuple[Path, Course], tmp_path: Path
) -> None:
    assert tune(model, tmp_path, stop_after=8) is None
    went_on = tune(model, tmp_path)
    whole, course = tuned
    assert went_on is not None
    assert [line.get("loss") for line in went_on.curve] == pytest.approx([line.get("loss") for line in course.curve])
    load = pytest.importorskip("safetensors.numpy").load_file
    before, after = load(whole / "adapter_model.safetensors"), load(tmp_path / "adapter_model.safetensors")
    for name, weights in before.items():
        np.testing.assert_allclose(after[name], weights, atol=1e-6)


def test_a_run_that_has_ended_is_not_repeated(model: Path, tuned: tuple[Path, Course]) -> None:
    folder, course = tuned
    stamp = (folder / "adapter_model.safetensors").stat().st_mtime_ns
    assert tune(model, folder, stop_after=course.step + 1) == course
    assert (folder / "adapter_model.safetensors").stat().st_mtime_ns == stamp


def test_another_run_in_the_folder_is_refused(model: Path, tuned: tuple[Path, Course]) -> None:
    with pytest.raises(AgentError, match="holds the tuning of another model, data or settings; use another --out"):
        tune(model, tuned[0], Tuning(rank=8, rate=1e-3))


def test_the_loss_is_that_of_the_answer_alone(model: Path, tmp_path: Path) -> None:
    """Against the plain use of transformers: minus the log probability of the label and the end after it."""
    from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

    from tests.support.taught_model import plain_inputs

    example = training_example(BRIEF, shade(DARK), "rust", 768, True)
    processor = AutoProcessor.from_pretrained(model)
    network = Qwen2_5_VLForConditionalGeneration.from_pretrained(model, dtype=torch.float32).eval()
    inputs = plain_inputs(processor, (example.messages, "rust<|im_end|>"))
    start = plain_inputs(processor, (example.messages, ""))["input_ids"].shape[1]
    with torch.no_grad():
        logs = network(**inputs).logits[0].log_softmax(dim=-1)
    tokens = inputs["input_ids"][0, start:].tolist()
    expected = -sum(float(logs[start - 1 + place, token]) for place, token in enumerate(tokens))
    tuner = Tuner(ImageTextModel(str(model), "cpu", "float32"), str(model), tmp_path, QUICK)
    wide = training_example(BRIEF, shade(DARK, (40, 200)), "rusty", 768, True)  # longer: the other one is padded
    assert tuner.loss([example]) == pytest.approx(expected, rel=1e-4)
    assert tuner.loss([example, wide]) == pytest.approx((tuner.loss([example]) + tuner.loss([wide])) / 2, rel=1e-4)


def test_answers_without_the_adapter_are_not_taken_for_its_own(
    model: Path, tuned: tuple[Path, Course], tmp_path: Path
) -> None:
    cache = ReplyCache(tmp_path / "replies.sqlite")
    assert named(model, cache) == ["scab", "rust"]
    assert named(model, cache, adapter=str(tuned[0])) == ["rust", "scab"]


def changed(folder: Path, target: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    shutil.copytree(folder, target)
    file = target / "adapter_config.json"
    config = json.loads(file.read_text())
    change(config)
    file.write_text(json.dumps(config))
    return target


def test_what_is_no_plain_adapter_is_not_read(model: Path, tuned: tuple[Path, Course], tmp_path: Path) -> None:
    whole = tuned[0]
    evil = changed(whole, tmp_path / "evil", lambda config: config.update(megatron_config={"a": 1}, megatron_core="os"))
    with pytest.raises(AgentError, match="is not plain LoRA"):
        configuration_of(evil)
    prompt = changed(whole, tmp_path / "prompt", lambda config: config.update(peft_type="PROMPT_TUNING"))
    with pytest.raises(AgentError, match="is not plain LoRA"):
        configuration_of(prompt)
    (prompt / "adapter_config.json").write_text("{")
    with pytest.raises(AgentError, match="is damaged"):
        configuration_of(prompt)
    pickled = Path(shutil.copytree(whole, tmp_path / "pickled"))
    (pickled / "adapter_model.safetensors").unlink()
    torch.save({}, pickled / "adapter_model.bin")
    agent = TransformersAgent(settings(model, adapter=str(pickled)))
    assert "holds no adapter" in str(look(agent, shade(DARK))[0].error)


def test_an_adapter_of_another_form_is_refused(model: Path, tuned: tuple[Path, Course], tmp_path: Path) -> None:
    other = changed(tuned[0], tmp_path / "other", lambda config: config.update(r=4))
    agent = TransformersAgent(settings(model, adapter=str(other)))
    assert "does not fit the model" in str(look(agent, shade(DARK))[0].error)
