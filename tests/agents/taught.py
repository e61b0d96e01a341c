"""A tiny real Qwen2.5-VL that learns replies by heart, a task in few words, and the plain use of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tiny_qwen_vl

from consilience.agents.conversation import Message
from consilience.images import Image
from consilience.task import PromptOverride, Task

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


def shade(value: int, size: tuple[int, int] = (40, 60)) -> Image:
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
        found = model(**inputs, labels=labels)
        wrong = found.logits[:, :-1].argmax(dim=-1) != labels[:, 1:]
        if found.loss.item() < 0.02 and not wrong[labels[:, 1:] >= 0].any():
            break
        optimiser.zero_grad()
        found.loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    model.save_pretrained(folder)
    return folder
