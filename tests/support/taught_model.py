"""A tiny real Qwen2.5-VL that learns replies by heart, a task in few words, and the plain use of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from consilience.agents import TransformersAgent, TransformersSettings
from consilience.agents.vlm.conversation import Message
from consilience.agents.vlm.endpoint.chat_completion import CompletionChoice
from consilience.agents.vlm.image_question import ImageQuestion
from consilience.core.errors import AnswerError
from consilience.core.images import Image
from consilience.core.prediction import Prediction
from consilience.core.task import PromptOverride, Task
from tests.support.qwen import tiny_qwen_vl
from tests.support.scripted_server import says
from tests.support.vlm_cases import evidence, inputs

BRIEF = Task.from_labels(["rust", "rusty", "scab"]).model_copy(
    update={
        "prompts": {
            "look": PromptOverride(
                version="brief",
                texts={"system": "Look.", "question": "{labels}\n{form}", "json": "JSON.", "choice": "Label."},
            ),
            "second-look": PromptOverride(
                version="brief", texts={"question": "{shares}\nAgain. {form}", "json": "JSON."}
            ),
            "repair": PromptOverride(version="brief", texts={"question": "{problem}. Again."}),
        }
    }
)
"""Labels of which one begins another, and short prompts: a question of some 60 tokens is learned in seconds."""


DARK, CLEAR, WRONG, BABBLE, LIGHT = 10, 60, 110, 160, 240
"""Shades of grey: of the first two and the last the model knows what to say, of the others only wrong replies."""

FIRST = Prediction("tiny", probabilities={"rust": 0.8, "rusty": 0.1, "scab": 0.1}, rationale="spots")


def shade(value: int, size: tuple[int, int] = (40, 60)) -> Image:
    """Return an image of one shade."""
    return Image.from_pixels(np.full((*size, 3), value, np.uint8), f"shade-{value}")


def plain_inputs(processor: Any, *lessons: tuple[Sequence[Message], str]) -> Any:
    """Conversations and the beginning of the reply to each, as the documentation of transformers has them."""
    texts, pictures = [], []
    for messages, reply in lessons:
        chat = [
            {
                "role": message.role,
                "content": [
                    {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"}
                    for part in message.parts
                ],
            }
            for message in messages
        ]
        texts.append(processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) + reply)
        pictures.append([part.scaled() for message in messages for part in message.parts if not isinstance(part, str)])
    return processor(text=texts, images=pictures, padding=True, padding_side="right", return_tensors="pt")


def teach(folder: Path, lessons: Sequence[tuple[Sequence[Message], str]]) -> Path:
    """Make the model and have it learn each reply by heart, in some 50 steps of a third of a second."""
    import torch
    from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

    tiny_qwen_vl.make(folder)
    processor = AutoProcessor.from_pretrained(folder)
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    inputs = plain_inputs(processor, *((messages, f"{reply}<|im_end|>") for messages, reply in lessons))
    labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
    for row, (messages, _) in zip(labels, lessons, strict=True):
        row[: plain_inputs(processor, (messages, ""))["input_ids"].shape[1]] = -100
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.0)
    for _ in range(200):
        output = model(**inputs, labels=labels)
        wrong = output.logits[:, :-1].argmax(dim=-1) != labels[:, 1:]
        if output.loss.item() < 0.02 and not wrong[labels[:, 1:] >= 0].any():
            break
        optimiser.zero_grad()
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    model.save_pretrained(folder)
    return folder


def settings(model: Path | str, **more: Any) -> TransformersSettings:
    """Return settings of the taught model."""
    usual = {"name": "tiny", "model": str(model), "device": "cpu", "max_tokens": 60}
    return TransformersSettings.model_validate(usual | more)


def repaired(case: ImageQuestion, reply: str) -> list[Message]:
    """Return the conversation after a reply that is no answer."""
    replies = [CompletionChoice.of(reply, ended=True)]
    try:
        case.prediction(replies)
    except AnswerError as problem:
        return [*case.messages(), *case.repair(replies, problem)]
    raise AssertionError(f"{reply!r} is an answer")


def lessons() -> list[tuple[Sequence[Message], str]]:
    """Return what the model is taught: conversations, and the reply to each."""

    def case(value: int, confidence: str = "verbalised", *more: Any) -> ImageQuestion:
        return ImageQuestion(settings("-", confidence=confidence), BRIEF, shade(value), *more)

    mildew = says("mildew", 0.5)
    return [
        (case(DARK).messages(), says("rust", 0.8)),
        (case(CLEAR).messages(), says("scab", 0.9)),
        (case(LIGHT).messages(), says("unsure", 0.5)),
        (case(WRONG).messages(), mildew),
        (repaired(case(WRONG), mildew), says("Scab", 0.6)),
        (case(BABBLE).messages(), "Rust?"),
        (repaired(case(BABBLE), "Rust?"), "Rust!"),
        (case(DARK, "logprob").messages(), "rust"),
        (case(CLEAR, "logprob").messages(), "scab"),
        (case(BABBLE, "logprob").messages(), "rusty"),
        (case(LIGHT, "logprob").messages(), "unsure"),
        (case(DARK, "verbalised", FIRST, evidence("scab")).messages(), says("scab", 0.7)),
    ]


def look(vlm: TransformersAgent, *images: Image | None, task: Task = BRIEF) -> list[Prediction]:
    """Return the agent's first looks at the images."""
    return vlm.predict(inputs(*images, task=task))


def plain_scores(model: Path, messages: Sequence[Message], words: Sequence[str]) -> list[float]:
    """Log probability of each word and an end after it: one forward pass a word, nothing kept, nothing padded."""
    import torch
    import transformers

    processor = transformers.AutoProcessor.from_pretrained(model)
    network = transformers.Qwen2_5_VLForConditionalGeneration.from_pretrained(model, dtype=torch.float32).eval()
    start = plain_inputs(processor, (messages, ""))["input_ids"].shape[1]
    scores = []
    for word in words:
        inputs = plain_inputs(processor, (messages, word))
        with torch.no_grad():
            logs = network(**inputs).logits[0].double().log_softmax(dim=-1)
        tokens = inputs["input_ids"][0, start:].tolist()
        ends = [processor.tokenizer.convert_tokens_to_ids(end) for end in ("<|im_end|>", "<|endoftext|>")]
        score = sum(logs[start - 1 + place, token] for place, token in enumerate(tokens))
        scores.append(float(score + torch.logsumexp(logs[-1, ends], dim=0)))
    return scores
