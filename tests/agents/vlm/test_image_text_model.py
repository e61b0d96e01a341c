"""The model in this process, against the plain, unbatched use of transformers on a real Qwen2.5-VL."""

from __future__ import annotations

import functools
import math
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from consilience.agents import TransformersAgent, TransformersSettings
from consilience.agents.vlm.image_question import ImageQuestion
from consilience.agents.vlm.image_text_model import open_model
from consilience.agents.vlm.label_answer import choices
from consilience.core.errors import AgentError
from tests.support.lazy_module import lazy_module
from tests.support.taught_model import BRIEF, DARK, FIRST, LIGHT, look, plain_scores, settings, shade
from tests.support.vlm_cases import evidence

torch = lazy_module("torch")
transformers = lazy_module("transformers")

LOOKS = {
    "small": ((40, 60), None),
    "large": ((300, 200), None),
    "with cases": ((60, 90), evidence("scab", "rust", "rust")),
    "with another case": ((60, 90), evidence("scab")),
}


def cases(of: TransformersSettings) -> list[ImageQuestion]:
    looks = enumerate(LOOKS.values())
    return [
        ImageQuestion(of, BRIEF, shade(50 * number, size), FIRST if evidence else None, evidence)
        for number, (size, evidence) in looks
    ]


@pytest.mark.parametrize("batch", [1, 4])
def test_scores_of_words_are_those_of_plain_passes_without_batches(model: Path, batch: int) -> None:
    mine = settings(model, confidence="logprob")
    conversations = [case.messages() for case in cases(mine)]
    words = choices(BRIEF)
    assert words == ["rust", "rusty", "scab", "unsure"]
    for reply, messages in zip(open_model(mine).scores(conversations, words, batch), conversations, strict=True):
        assert not isinstance(reply, AgentError)
        assert reply.scores == pytest.approx(plain_scores(model, messages, words), abs=1e-4, rel=1e-5)
        assert sum(map(math.exp, reply.scores)) < 1.0


SPOKEN = (
    "{% for message in messages %}{{ message['role'] }}:{% for part in message['content'] %}"
    " {% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% endif %}{{ part['text'] }}"
    "{% endfor %}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)
"""A template after which a reply begins with a blank, as some models have it."""


def test_words_are_cut_into_tokens_as_the_template_writes_replies(model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model, tmp_path / "model"))
    (folder / "chat_template.jinja").write_text(SPOKEN)
    messages = ImageQuestion(settings(folder, confidence="logprob"), BRIEF, shade(DARK)).messages()
    [reply] = open_model(settings(folder)).scores([messages], ["rust", "scab"], 1)
    assert not isinstance(reply, AgentError)
    assert reply.scores == pytest.approx(plain_scores(folder, messages, [" rust", " scab"]), abs=1e-4, rel=1e-5)


def test_a_temperature_makes_samples_differ(model: Path) -> None:
    torch.manual_seed(0)
    messages = ImageQuestion(settings(model), BRIEF, shade(DARK)).messages()
    [reply] = open_model(settings(model)).replies([messages], n=20, temperature=2.0, max_tokens=5, at_once=1)
    assert not isinstance(reply, AgentError)
    assert len({choice.message.content for choice in reply.choices}) > 2


def test_a_batch_that_does_not_fit_is_halved(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that holds two conversations at a time, and no more."""
    kind = transformers.Qwen2_5_VLForConditionalGeneration
    whole, sizes = kind.forward, []

    @functools.wraps(whole)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        size = kwargs["input_ids"].shape
        if size[1] > 1:  # a question, not the tokens of a reply
            sizes.append(size[0])
        if size[0] > room:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return whole(self, *args, **kwargs)

    monkeypatch.setattr(kind, "forward", forward)
    qwen, room = TransformersAgent(settings(model, batch_size=8, dtype="bfloat16")), 2
    seen = look(qwen, *[shade(DARK)] * 8, shade(LIGHT))
    assert [prediction.error for prediction in seen] == [None] * 9
    assert sizes == [8, 4, 2, 2, 4, 2, 2, 1]
    room = 0
    [failed] = look(qwen, shade(DARK))
    assert failed.error is not None
    assert failed.error.startswith("the memory of 'cpu' is too small for one image at a time; lower image_side")


def test_a_model_is_loaded_once(model: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(lambda n: open_model(settings(model, name=f"agent {n}", max_tokens=n + 1)), range(8)))
    assert len(set(map(id, opened))) == 1
    assert open_model(settings(model, dtype="bfloat16")) is not opened[0]
