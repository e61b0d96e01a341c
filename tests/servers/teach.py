"""Teaches the tiny Qwen2.5-VL to answer this project's prompts about leaves, so that its answers depend on pixels.

usage: python tests/servers/teach.py FOLDER [--leaves FOLDER] [--steps N] [--threads N]

The lessons are the messages that a vision-language agent sends, in both forms of answer, at the first and the second
look, with the answer that would be right. Two minutes on two cores of a laptop.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from consilience.agents.answer import UNSURE
from consilience.agents.conversation import Message, Picture, first_messages, on_the_wire, second_messages
from consilience.evidence import Evidence, Neighbour
from consilience.images import Image, load_image
from consilience.prediction import Prediction
from consilience.prompts import load_prompt
from consilience.task import Task

sys.path.insert(0, str(Path(__file__).parent))
import leaves
import tiny_qwen_vl

SIDE, CASE_SIDE = leaves.SIDE, 56
"""Longer side in pixels of the image and of a similar case: what the tests' settings must say, too."""


@dataclass(frozen=True)
class Lesson:
    """A conversation and the answer that is to follow."""

    messages: list[Message]
    answer: str


class Leaves:
    """Pictures of one task; a picture too dark to tell now and then."""

    def __init__(self, task: Task, picture: Callable[[str, random.Random], tuple[Image, float]]) -> None:
        self.task = task
        self.picture = picture

    def lesson(self, rng: random.Random, label_only: bool, again: bool) -> Lesson:
        task, label = self.task, rng.choice(self.task.names)
        image, clarity = self.picture(label, rng)
        said = label if clarity else UNSURE
        messages = first_messages(load_prompt("look", task), task, image, SIDE, label_only)
        if not again:
            return Lesson(messages, said if label_only else _json(said, clarity))
        first = self._first(label, rng, label_only)
        evidence = self._evidence(label, rng)
        prompt = load_prompt("second-look", task)
        messages += second_messages(prompt, first, evidence, len(evidence.neighbours), CASE_SIDE, label_only)
        changed = label != first.label
        return Lesson(messages, label if label_only else _json(label, clarity or 1.0, changed=changed))

    def _first(self, label: str, rng: random.Random, label_only: bool) -> Prediction:
        """A first answer, which was right three times in four."""
        said = label if rng.random() < 0.75 else rng.choice(self.task.names)
        confidence = rng.choice((0.6, 0.95))
        rest = (1 - confidence) / (len(self.task.names) - 1)
        shares = {name: confidence if name == said else rest for name in self.task.names}
        return Prediction("student", probabilities=shares, rationale="" if label_only else _reason(said))

    def _evidence(self, label: str, rng: random.Random) -> Evidence:
        """Up to four cases, most of them of the image's own label."""
        found, pictures = [], {}
        for number in range(rng.randint(1, 4)):
            of = label if rng.random() < 0.85 else rng.choice(self.task.names)
            image, _ = self.picture(of, rng)
            pictures[str(number)] = image.thumbnail(CASE_SIDE)
            found.append(Neighbour(str(number), of, rng.uniform(0.8, 0.99), "", pictures.get))
        labels = [one.label for one in found]
        return Evidence(tuple(found), {name: labels.count(name) / len(labels) for name in self.task.names}, 0.5)


def drawn() -> Leaves:
    """Leaves that no test draws: tests number theirs from 0."""

    def picture(label: str, rng: random.Random) -> tuple[Image, float]:
        number, dark = rng.randrange(10**6, 10**9), rng.random() < 0.1
        clarity = 0.0 if dark else rng.uniform(0.5, 1.0)
        return Image.from_pixels(np.asarray(leaves.draw(label, number, clarity)), f"leaf-{number}"), clarity

    return Leaves(leaves.TASK, picture)


def photographed(folder: Path) -> Leaves:
    """Leaves of a labelled folder."""
    paths = {one.name: sorted(one.iterdir()) for one in sorted(folder.iterdir()) if one.is_dir()}
    loaded: dict[Path, Image] = {}

    def picture(label: str, rng: random.Random) -> tuple[Image, float]:
        path = rng.choice(paths[label])
        if path not in loaded:
            loaded[path] = load_image(path)
        return loaded[path], 1.0

    return Leaves(Task.from_labels([*paths], domain="apple leaf"), picture)


def _reason(label: str) -> str:
    return "too dark" if label == UNSURE else f"looks like {label}"


def _json(label: str, clarity: float, **changed: bool) -> str:
    confidence = 0.95 if clarity > 0.7 else 0.6
    return json.dumps({"rationale": _reason(label), "label": label, **changed, "confidence": confidence})


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
        texts, asked, pictures = [], [], []
        for lesson in lessons:
            sent = on_the_wire(lesson.messages, "auto")
            asked.append(self.processor.apply_chat_template(sent, add_generation_prompt=True, tokenize=False))
            texts.append(f"{asked[-1]}{lesson.answer}<|im_end|>")
            parts = [part for message in lesson.messages for part in message.parts]
            pictures.append([PIL.Image.open(io.BytesIO(part.jpeg())) for part in parts if isinstance(part, Picture)])
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
        return torch.nn.functional.cross_entropy(scores, wanted[:, 1:], ignore_index=-100, reduction="sum") / len(
            lessons
        )

    def teach(self, courses: Sequence[Leaves], rng: random.Random) -> None:
        """First pictures and labels alone, which takes most steps and little text; then whole conversations."""
        import torch

        learner = torch.optim.AdamW(self.model.parameters(), lr=RATE, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.LambdaLR(learner, lambda n: min(1.0, (n + 1) / 20, (STEPS - n) / LAST))
        self.model.train()
        started = time.monotonic()
        for step in range(STEPS):
            course, again, label_only = rng.choice(courses), step % 2 == 1, step % 4 < 2
            if step < BARE:
                lessons = [bare(course.lesson(rng, True, again=False)) for _ in range(24)]
            else:
                lessons = [course.lesson(rng, label_only, again) for _ in range(8 if again else 16)]
            loss = self.loss(lessons)
            learner.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            learner.step()
            schedule.step()
            if step % 20 < 4 and step % 20 >= 0:
                print(
                    f"step {step}: loss {loss.item():.3f}, {time.monotonic() - started:.0f} s {time.process_time():.0f}",
                    flush=True,
                )
        self.model.eval()


RATE, STEPS, BARE, LAST = 1e-3, 360, 160, 100
"""Of the learning: its rate, all steps, those on pictures alone, and those at the end over which the rate falls."""


def bare(lesson: Lesson) -> Lesson:
    """The picture and the answer, without words."""
    _, question = lesson.messages
    return Lesson([Message("user", question.parts[:1])], lesson.answer)


def main() -> None:
    """Make the tiny model, teach it, and put it into its folder when all is done."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--leaves", type=Path, help="photographs of leaves, one folder a label, to learn as well")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    shutil.rmtree(arguments.folder, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=arguments.folder.parent) as temporary:
        untaught = tiny_qwen_vl.make(Path(temporary) / "model")
        teacher = Teacher(untaught, seed=0)
        courses = [drawn(), *([photographed(arguments.leaves)] if arguments.leaves else [])]
        teacher.teach(courses, random.Random(0))  # noqa: S311
        teacher.model.save_pretrained(untaught)
        untaught.rename(arguments.folder)


if __name__ == "__main__":
    main()
