"""Tunes an image-text model by low-rank adaptation (LoRA, Hu et al. 2022), in a run that can be interrupted.

Only the projections of the language model are adapted: those are what vLLM serves adapters of. Tuning stops when the
loss on the held-out examples has not fallen for `patience` epochs, and the adapter of the best epoch is kept. Every
step follows from the seed, so that a run that was killed and goes on ends as one that was not.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from consilience.agents.finetune.training_example import TrainingExample
from consilience.agents.vlm.image_text_model import ImageTextModel
from consilience.agents.vlm.lora_adapter import EXTRA, load_weights, save
from consilience.core.errors import AgentError, import_extra
from consilience.core.storage.atomic_write import write_atomically
from consilience.core.storage.json_text import parsed_json

ADAPTED = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
"""Names of the layers that are adapted; where a model has none so called, every linear layer but its head is."""

WARMING = 10
"""Steps over which the learning rate rises to its full value."""

STATE, LAST, OPTIMISER, CURVE = "state.json", "last", "optimiser.safetensors", "loss.jsonl"


@dataclass(frozen=True)
class Tuning:
    """How a model is tuned.

    Attributes:
        rank: of the adapter.
        rate: learning rate of AdamW (Loshchilov and Hutter 2019).
        epochs: passes over the training examples, at most.
        batch_size: examples a step.
        patience: epochs without a lower held-out loss after which it stops.
        seed: decides the adapter's first weights and the order of the examples.
        save_every: steps between two saved states, from which a run can go on.
    """

    rank: int = 16
    rate: float = 2e-4
    epochs: int = 20
    batch_size: int = 4
    patience: int = 3
    seed: int = 0
    save_every: int = 20


@dataclass
class Course:
    """How far a tuning run is: what `state.json` holds.

    Attributes:
        run: hash of all that decides the run.
        step: steps taken.
        epoch: the one under way, from 0.
        best: least loss on the held-out examples so far.
        best_epoch: the epoch after which that was; -1: before any.
        curve: a line for each step (`loss`) and each epoch (`held_out`), losses in nats an answer.
        done: whether it has ended.
    """

    run: str
    step: int = 0
    epoch: int = 0
    best: float = math.inf
    best_epoch: int = -1
    curve: list[dict[str, float]] = field(default_factory=list)
    done: bool = False


class Tuner:
    """Tunes one model; the adapter, the state and the losses go into one folder."""

    def __init__(self, model: ImageTextModel, name: str, folder: Path, tuning: Tuning) -> None:
        """Give the model an adapter that changes nothing yet.

        Args:
            model: the model to tune.
            name: the name or folder that it was opened by; part of what decides the run.
            folder: where the results go; one that holds the same run is gone on with.
            tuning: how to tune.

        Raises:
            MissingExtraError: the extra 'tune' is not installed.
        """
        self._torch = import_extra("torch", EXTRA)
        self._safetensors = import_extra("safetensors.torch", EXTRA)
        peft = import_extra("peft", EXTRA)
        self._model, self._name, self._folder, self._tuning = model, name, folder, tuning
        self._torch.manual_seed(tuning.seed)
        layers = [layer for layer, _ in model.network.named_modules()]
        target = ADAPTED if any(re.fullmatch(ADAPTED, layer) for layer in layers) else "all-linear"
        configuration = peft.LoraConfig(
            r=tuning.rank, lora_alpha=2 * tuning.rank, target_modules=target, bias="none", task_type="CAUSAL_LM"
        )
        self._adapted = peft.get_peft_model(model.network, configuration)
        self._learned = {name: weights for name, weights in self._adapted.named_parameters() if weights.requires_grad}
        self._optimiser = self._torch.optim.AdamW(self._learned.values(), lr=tuning.rate, weight_decay=0.0)

    def tune(
        self,
        training: Sequence[TrainingExample],
        held_out: Sequence[TrainingExample],
        progress: Callable[[str, int, int], None],
    ) -> Course:
        """Tune, or go on where the same run stopped; return how it went. The folder then holds the best adapter.

        Args:
            training: examples to learn from.
            held_out: examples to judge by after each epoch.
            progress: called after each step with what is being done, the steps taken, and the most there can be.

        Raises:
            AgentError: the folder holds another run or a damaged one, or the loss is not a finite number.
        """
        tuning = self._tuning
        course = self._begun(training, held_out)
        in_epoch = -(-len(training) // tuning.batch_size)
        if course.step == 0 and not course.curve:
            self._judge(course, held_out, -1)
        while not course.done:
            order = np.random.default_rng([tuning.seed, course.epoch]).permutation(len(training))
            while (place := course.step - course.epoch * in_epoch) < in_epoch:
                rows = order[place * tuning.batch_size : (place + 1) * tuning.batch_size]
                loss = self._step([training[row] for row in rows], course.step)
                course.step += 1
                course.curve.append({"step": course.step, "loss": loss})
                progress("tuning", course.step, in_epoch * tuning.epochs)
                if course.step % tuning.save_every == 0:
                    self._save(course)
            self._judge(course, held_out, course.epoch)
            course.epoch += 1
            course.done = course.epoch >= tuning.epochs or course.epoch - 1 - course.best_epoch >= tuning.patience
            self._save(course)
        return course

    def loss(self, examples: Sequence[TrainingExample]) -> float:
        """Return the cross-entropy of the right answers, in nats an answer, averaged over the examples."""
        size, total = self._tuning.batch_size, 0.0
        with self._torch.inference_mode():
            for start in range(0, len(examples), size):
                some = examples[start : start + size]
                total += self._lacking(some).item() * len(some)
        return total / len(examples)

    def _lacking(self, examples: Sequence[TrainingExample]) -> Any:
        """Return the same as a tensor, through which gradients flow."""
        inputs, wanted = self._model.read_answered(
            [example.messages for example in examples], [example.answer for example in examples]
        )
        scores = self._adapted(**inputs).logits[:, :-1].float().transpose(1, 2)
        lost = self._torch.nn.functional.cross_entropy(scores, wanted[:, 1:], ignore_index=-100, reduction="sum")
        return lost / len(examples)

    def _step(self, examples: Sequence[TrainingExample], step: int) -> float:
        """Take one step of AdamW; return the loss before it."""
        for group in self._optimiser.param_groups:
            group["lr"] = self._tuning.rate * min(1.0, (step + 1) / WARMING)
        loss = self._lacking(examples)
        if not math.isfinite(value := loss.item()):
            raise AgentError(f"the loss is no number at step {step + 1}; use a lower --rate, or dtype float32")
        self._optimiser.zero_grad()
        loss.backward()
        self._torch.nn.utils.clip_grad_norm_(list(self._learned.values()), 1.0)
        self._optimiser.step()
        return float(value)

    def _judge(self, course: Course, held_out: Sequence[TrainingExample], epoch: int) -> None:
        """Note the held-out loss after an epoch, and keep the adapter if it is the best."""
        loss = self.loss(held_out)
        course.curve.append({"step": course.step, "held_out": loss})
        if loss < course.best:
            course.best, course.best_epoch = loss, epoch
            save(self._adapted, self._folder)

    def _begun(self, training: Sequence[TrainingExample], held_out: Sequence[TrainingExample]) -> Course:
        """Return how far the folder's run is, and restore its weights and optimiser; a new run where there is none."""
        run = self._run(training, held_out)
        self._folder.mkdir(parents=True, exist_ok=True)
        if not (self._folder / STATE).exists():
            return Course(run)
        try:
            course = Course(**parsed_json((self._folder / STATE).read_text("utf-8")))
        except (ValueError, TypeError) as cause:
            raise AgentError(f"'{self._folder / STATE}' is damaged ({cause}); tune into another folder") from cause
        if course.run != run:
            raise AgentError(f"'{self._folder}' holds the tuning of another model, data or settings; use another --out")
        kept = self._folder / f"{LAST}-{course.step}"
        load_weights(self._adapted, kept / "adapter_model.safetensors")
        moments = self._safetensors.load_file(str(kept / OPTIMISER))
        for name, weights in self._learned.items():
            if f"{name}/step" in moments:
                self._optimiser.state[weights] = {
                    key: moments[f"{name}/{key}"].to("cpu" if key == "step" else weights.device)
                    for key in ("step", "exp_avg", "exp_avg_sq")
                }
        return course

    def _save(self, course: Course) -> None:
        """Write adapter and optimiser, then `state.json`, which names them: so a state is whole or not there."""
        kept = self._folder / f"{LAST}-{course.step}"
        kept.mkdir(exist_ok=True)
        save(self._adapted, kept)
        moments = {
            f"{name}/{key}": value.contiguous()
            for name, weights in self._learned.items()
            for key, value in self._optimiser.state[weights].items()
        }
        self._safetensors.save_file(moments, str(kept / OPTIMISER))
        lines = "".join(f"{json.dumps(line)}\n" for line in course.curve)
        (self._folder / CURVE).write_text(lines, encoding="utf-8")
        write_atomically(self._folder / STATE, json.dumps(asdict(course)))
        for old in self._folder.glob(f"{LAST}-*"):
            if old != kept:
                for file in old.iterdir():
                    file.unlink()
                old.rmdir()

    def _run(self, training: Sequence[TrainingExample], held_out: Sequence[TrainingExample]) -> str:
        """Return a hash of all that decides a run."""
        decisive = asdict(self._tuning) | {"save_every": None}
        shown = [[example.image, example.answer] for example in (*training, *held_out)]
        words = [part for part in training[0].messages[-1].parts if isinstance(part, str)]
        text = json.dumps([self._name, decisive, len(training), shown, words], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()
