"""Teaches the tiny Qwen2.5-VL to answer this project's prompts about leaves, so that its answers depend on pixels.

usage: python tests/servers/teach.py FOLDER [--photographs FOLDER] [--threads N]
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tiny_qwen_vl
from lessons import Course, Lesson, drawn, photographed

from consilience.agents.conversation import Message, Picture

RATE, STEPS, BARE, LAST = 1e-3, 380, 100, 100
"""Of the learning: its rate, all steps, those on pictures alone, and those at the end over which the rate falls."""

FIRST, SECOND = False, True
LABEL, JSON = True, False
LOOKS = ((LABEL, FIRST), (JSON, SECOND), (JSON, FIRST), (JSON, SECOND), (LABEL, SECOND), (JSON, SECOND))
"""What is practised in turn; what is hardest most often."""


class Teacher:
    """The tiny model and its processor; it learns what follows the conversations."""

    def __init__(self, folder: Path, seed: int) -> None:
        import torch
        from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

        torch.manual_seed(seed)
        self.processor = AutoProcessor.from_pretrained(folder)
        self.processor.tokenizer.padding_side = "right"
        self.model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)

    def read(self, lessons: Sequence[Lesson]) -> tuple[Any, Any]:
        """The model's inputs, and the tokens to predict: -100 but for the answers."""
        texts, pictures = [], []
        for lesson in lessons:
            asked = self.processor.apply_chat_template(
                [_turn(message) for message in lesson.messages], add_generation_prompt=True, tokenize=False
            )
            texts.append(f"{asked}{lesson.answer}<|im_end|>")
            parts = [part for message in lesson.messages for part in message.parts]
            pictures.append([part.scaled() for part in parts if isinstance(part, Picture)])
        inputs = self.processor(text=texts, images=pictures, padding=True, return_tensors="pt")
        wanted = inputs["input_ids"].clone()
        wanted[inputs["attention_mask"] == 0] = -100
        for row, lesson in enumerate(lessons):
            answer = len(self.processor.tokenizer(f"{lesson.answer}<|im_end|>")["input_ids"])
            length = int(inputs["attention_mask"][row].sum())
            wanted[row, : length - answer] = -100
        return inputs, wanted

    def loss(self, lessons: Sequence[Lesson]) -> Any:
        """What the model does not know yet of the answers: nats, the mean of the lessons."""
        import torch

        inputs, wanted = self.read(lessons)
        scores = self.model(**inputs).logits[:, :-1].transpose(1, 2)
        lacking = torch.nn.functional.cross_entropy(scores, wanted[:, 1:], ignore_index=-100, reduction="sum")
        return lacking / len(lessons)

    def teach(self, courses: Sequence[Course], rng: random.Random) -> None:
        """First pictures and labels alone, which takes most steps and little text; then whole conversations."""
        import torch

        learner = torch.optim.AdamW(self.model.parameters(), lr=RATE, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.LambdaLR(learner, lambda n: min(1.0, (n + 1) / 20, (STEPS - n) / LAST))
        self.model.train()
        started = time.monotonic()
        for step in range(STEPS):
            course, (label_only, again) = rng.choice(courses), LOOKS[step % len(LOOKS)]
            if step < BARE:
                lessons = [course.lesson(rng, True, again=False).bare() for _ in range(24)]
            else:
                lessons = [course.lesson(rng, label_only, again) for _ in range(8 if again else 16)]
            loss = self.loss(lessons)
            learner.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            learner.step()
            schedule.step()
            if step % 50 == 0:
                print(f"step {step} of {STEPS}, {time.monotonic() - started:.0f} s: loss {loss.item():.3f}", flush=True)
        self.model.eval()


def _turn(message: Message) -> dict[str, Any]:
    parts = [{"type": "text", "text": part} if isinstance(part, str) else {"type": "image"} for part in message.parts]
    return {"role": message.role, "content": parts}


def main() -> None:
    """Make the tiny model, teach it, and put it into its folder when all is done."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photographs", type=Path, help="photographs of leaves, one folder a label, to learn as well")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    shutil.rmtree(arguments.folder, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=arguments.folder.parent) as temporary:
        untaught = tiny_qwen_vl.make(Path(temporary) / "model")
        teacher = Teacher(untaught, seed=0)
        courses = [drawn(), *([photographed(arguments.photographs)] if arguments.photographs else [])]
        teacher.teach(courses, random.Random(0))  # noqa: S311
        teacher.model.save_pretrained(untaught)
        untaught.rename(arguments.folder)


if __name__ == "__main__":
    main()
