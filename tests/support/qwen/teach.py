"""Teaches the tiny Qwen2.5-VL to answer this project's prompts about leaves, so that its answers depend on pixels.

usage: python -m tests.support.qwen.teach FOLDER [--photographs FOLDER] [--seed N] [--threads N]

After each round it is examined on leaves that it has not seen; it goes on until it passes, and fails after some rounds.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from consilience.agents.vlm.conversation import Message, MessagePicture
from tests.support.qwen import tiny_qwen_vl
from tests.support.qwen.exam import PASS, examined
from tests.support.qwen.lessons import Course, Lesson, drawn, photographed

RATE, BARE = 1e-3, 100
"""Of the learning: its highest rate, and the steps on pictures alone."""

ROUNDS = (500, 200, 200, 200)
"""Steps on whole conversations before each exam."""

FIRST, SECOND = False, True
LABEL, JSON = True, False
LOOKS = ((LABEL, FIRST), (JSON, SECOND), (JSON, FIRST), (LABEL, SECOND), (JSON, SECOND))
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
        """Return the model's inputs, and the tokens to predict: -100 but for the answers."""
        texts, pictures = [], []
        for lesson in lessons:
            asked = self.processor.apply_chat_template(
                [_turn(message) for message in lesson.messages], add_generation_prompt=True, tokenize=False
            )
            texts.append(f"{asked}{lesson.answer}<|im_end|>")
            parts = [part for message in lesson.messages for part in message.parts]
            pictures.append([part.scaled() for part in parts if isinstance(part, MessagePicture)])
        inputs = self.processor(text=texts, images=pictures, padding=True, return_tensors="pt")
        wanted = inputs["input_ids"].clone()
        wanted[inputs["attention_mask"] == 0] = -100
        for row, lesson in enumerate(lessons):
            answer = len(self.processor.tokenizer(f"{lesson.answer}<|im_end|>")["input_ids"])
            length = int(inputs["attention_mask"][row].sum())
            wanted[row, : length - answer] = -100
        return inputs, wanted

    def loss(self, lessons: Sequence[Lesson]) -> Any:
        """Return how far the model is from the answers, in nats: the mean of the lessons."""
        import torch

        inputs, wanted = self.read(lessons)
        scores = self.model(**inputs).logits[:, :-1].transpose(1, 2)
        lacking = torch.nn.functional.cross_entropy(scores, wanted[:, 1:], ignore_index=-100, reduction="sum")
        return lacking / len(lessons)

    def teach(self, course: Course, rng: random.Random) -> Iterator[int]:
        """Teach pictures and labels alone, which takes most steps and little text; then whole conversations.

        Yields after each round, with the steps so far; the next goes on from there.
        """
        done = 0
        for number, conversations in enumerate(ROUNDS):
            bare = BARE if number == 0 else 0
            self._round(course, rng, bare, bare + conversations, RATE if number == 0 else RATE / 2)
            done += bare + conversations
            yield done

    def _round(self, course: Course, rng: random.Random, bare: int, steps: int, rate: float) -> None:
        """The rate rises over the first steps, and falls over the last third."""
        import torch

        learner = torch.optim.AdamW(self.model.parameters(), lr=rate, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            learner, lambda step: min(1.0, (step + 1) / 20, 3 * (steps - step) / steps)
        )
        self.model.train()
        for step in range(steps):
            label_only, again = LOOKS[step % len(LOOKS)]
            if step < bare:
                lessons = [course.lesson(rng, LABEL, FIRST).bare() for _ in range(24)]
            else:
                lessons = [course.lesson(rng, label_only, again) for _ in range(8 if again else 16)]
            loss = self.loss(lessons)
            learner.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            learner.step()
            schedule.step()
            if step % 50 == 0:
                print(f"step {step} of {steps}, {time.process_time():.0f} s of CPU: loss {loss.item():.3f}", flush=True)
        self.model.eval()


def _turn(message: Message) -> dict[str, Any]:
    parts = [{"type": "text", "text": part} if isinstance(part, str) else {"type": "image"} for part in message.parts]
    return {"role": message.role, "content": parts}


def main() -> None:
    """Make the tiny model, teach it, and put it into its folder when all is done."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photographs", type=Path, help="photographs to learn from instead, one folder a label")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.use_deterministic_algorithms(True)
    shutil.rmtree(arguments.folder, ignore_errors=True)
    course = photographed(arguments.photographs) if arguments.photographs else drawn()
    with tempfile.TemporaryDirectory(dir=arguments.folder.parent) as temporary:
        model = tiny_qwen_vl.make(Path(temporary) / "model", arguments.seed)
        teacher = Teacher(model, arguments.seed)
        for steps in teacher.teach(course, random.Random(arguments.seed)):  # noqa: S311
            teacher.model.save_pretrained(model)
            marks = examined(model, course)
            summary = ", ".join(f"{look} {mark:.3f}" for look, mark in marks.items())
            print(f"exam after {steps} steps, {time.process_time():.0f} s of CPU: {summary}", flush=True)
            if min(marks.values()) >= PASS:
                model.rename(arguments.folder)
                return
    sys.exit(f"The tiny model has not learned: each look must be right at least {PASS} of the time")


if __name__ == "__main__":
    main()
