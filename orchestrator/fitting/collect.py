"""The answers of agents on the labelled images: first looks, and second looks with evidence."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from consilience.agents import Agent, AgentInput, AnswersBeside, kind_of_head
from consilience.agents.base import testimony_for
from consilience.agents.heads.neighbours import K
from consilience.core.errors import AgentError
from consilience.core.evidence import Evidence
from consilience.core.prediction import Prediction, Stage
from consilience.core.task import Task
from consilience.orchestrator.decision.second_look import NO_LABEL
from consilience.orchestrator.ensemble.calibration import FITTED, FITTED_TO_AGENTS, FITTED_TO_HEADS, states_labels
from consilience.orchestrator.ensemble.members import Member
from consilience.orchestrator.ensemble.scaling import FittedCalibrator
from consilience.orchestrator.ensemble.silence import raw_answer
from consilience.orchestrator.fitting.fit_context import FitContext
from consilience.orchestrator.runtime.calls import first_look, second_look
from consilience.retrieval.memory.image_memory import ImageMemory
from consilience.retrieval.memory.index import ExactIndex

BATCH = 64
"""Labelled images that agents are asked about at a time."""


@dataclass(frozen=True)
class MemberAnswers:
    """The answers of one agent on the n labelled images, in one look.

    Attributes:
        agent, stage: whose look it is.
        raw: probabilities before calibration, (n, c), out of fold; rows of NaN where the agent failed, of SILENT where
            it abstained.
        cost_usd, seconds: of one answer, on average.
        calibrators: the kinds to choose a calibrator from, by name.
        by_name: whether what it named counts for its calibration, see `fit_calibrator`: not of a head on features.
        in_words: whether it states labels, with or without a number, and is calibrated by what it said (`confusion`).
        predictions: the n answers as they were given; empty for a head, whose answer is no more than `raw`.
    """

    agent: str
    stage: Stage
    raw: np.ndarray
    cost_usd: float = 0.0
    calibrators: Mapping[str, type[FittedCalibrator]] = field(default_factory=lambda: FITTED)
    by_name: bool = False
    in_words: bool = False
    predictions: tuple[Prediction, ...] = ()
    seconds: float = 0.0

    @classmethod
    def of(cls, agent: str, stage: Stage, predictions: Sequence[Prediction], task: Task) -> Self:
        """Return the answers with what they take on average."""
        cost, seconds = np.mean([[prediction.cost_usd, prediction.seconds] for prediction in predictions], axis=0)
        given = cls.as_given(agent, stage, to_array(predictions, task))
        return replace(given, cost_usd=float(cost), seconds=float(seconds), predictions=tuple(predictions))

    @classmethod
    def as_given(cls, agent: str, stage: Stage, raw: np.ndarray) -> Self:
        """Return answers of which only the probabilities are known, (n, c)."""
        in_words = states_labels(raw[np.isfinite(raw).all(axis=1)])
        return cls(agent, stage, raw, calibrators=FITTED_TO_AGENTS, by_name=True, in_words=in_words)

    def prediction(self, row: int, task: Task) -> Prediction:
        """Return the agent's answer on the image in a row."""
        if self.predictions:
            return self.predictions[row]
        return Prediction(self.agent, self.stage, dict(zip(task.names, self.raw[row].tolist(), strict=True)))


async def predictions_of_others(
    context: FitContext,
    heads: Sequence[MemberAnswers],
    images: range | None = None,
    failed: dict[str, str] | None = None,
) -> list[MemberAnswers]:
    """Ask the context's other agents about labelled images: first looks, then second looks with evidence.

    The evidence on an image leaves the image itself out, and what the heads say of it is out of fold.

    Args:
        heads: their answers on the images that are looked at.
        images: rows of the labelled images that are looked at; None: all.
        failed: where it is given, an agent that failed on every image of the first batch is asked no more, and its
            cause is put there.

    Returns:
        The answers of each agent in its first look, and in its second where it can revise.

    Raises:
        AgentError: an agent failed on every image of the first batch, and `failed` is None.
        BudgetSpentError: the agents may spend no more.
    """
    task, labelled_images, data, others = context.task, context.labelled_images, context.data, context.others
    neighbours, load, timeout = context.neighbours, context.load, context.timeout_seconds
    memory = ImageMemory(labelled_images, task.names, ExactIndex(labelled_images))
    answers: dict[tuple[str, Stage], list[Prediction]] = {}
    asked = range(len(labelled_images)) if images is None else images
    for start in range(0, len(asked), BATCH):
        rows = asked[start : start + BATCH]
        nearest = memory.query(data.features[rows], max(K, neighbours), [labelled_images.ids[row] for row in rows])
        evidence = [
            Evidence.from_dict(item, labelled_images.thumbnail) for item in memory.evidence(nearest.first(neighbours))
        ]
        loaded = [load(labelled_images.sources[row]) if load is not None else None for row in rows]
        inputs = AgentInput(task, loaded, data.features[rows], nearest.labels, nearest.similarities)
        firsts = await asyncio.gather(*(first_look(agent, inputs, timeout) for agent in others))
        if start == 0:
            others, firsts = _that_answered(others, firsts, failed)
        of_heads = ([head.prediction(start + place, task) for place in range(len(rows))] for head in heads)
        per_image = [*zip(*of_heads, *firsts, strict=True)]
        able = [(agent, first) for agent, first in zip(others, firsts, strict=True) if agent.can_revise]
        seconds = await asyncio.gather(
            *(
                second_look(agent, inputs, first, _with_first_predictions(agent, evidence, per_image), timeout)
                for agent, first in able
            )
        )
        for agent, first in zip(others, firsts, strict=True):
            answers.setdefault((agent.name, "first"), []).extend(first)
        for (agent, _), second in zip(able, seconds, strict=True):
            answers.setdefault((agent.name, "second"), []).extend(second)
        context.progress("asking agents about labelled images", start + len(rows), len(asked))
    return [MemberAnswers.of(name, stage, predictions, task) for (name, stage), predictions in answers.items()]


def _that_answered(
    agents: Sequence[Agent], firsts: Sequence[Sequence[Prediction]], failed: dict[str, str] | None
) -> tuple[list[Agent], list[list[Prediction]]]:
    """Return the agents that did not fail on all images of the first batch, with their answers.

    The others will not do better on the rest, but for those whose answers stand in a table: they are put into `failed`
    with the cause, or if that is None an AgentError is raised.
    """
    pairs = zip(agents, firsts, strict=True)
    answered = [isinstance(agent, AnswersBeside) or any(p.error is None for p in first) for agent, first in pairs]
    for agent, first, has_answered in zip(agents, firsts, answered, strict=True):
        if not has_answered:
            cause = f"failed on each of the first images: {first[0].error}"
            if failed is None:
                raise AgentError(f"the agent '{agent.name}' {cause}")
            failed[agent.name] = cause
    judged = zip(agents, firsts, answered, strict=True)
    kept = [(agent, first) for agent, first, has_answered in judged if has_answered]
    return [agent for agent, _ in kept], [[*first] for _, first in kept]


def _with_first_predictions(
    agent: Agent, evidence: Sequence[Evidence], first_predictions: Sequence[Sequence[Prediction]]
) -> list[Evidence]:
    """Return the evidence on each image with all first predictions that the agent is told of."""
    pairs = zip(evidence, first_predictions, strict=True)
    return [replace(item, testimony=testimony_for(agent, predictions)) for item, predictions in pairs]


def answers_of(member: Member, raw: np.ndarray) -> MemberAnswers:
    """Return a member's raw answers (n, c) with the calibrators that suit it, as `fit` has them."""
    if kind_of_head(member.agent):
        look = MemberAnswers(member.agent, member.stage, raw, calibrators=FITTED_TO_HEADS)
    else:
        look = MemberAnswers.as_given(member.agent, member.stage, raw)
    return replace(look, cost_usd=member.cost_usd, seconds=member.seconds)


def to_array(predictions: Sequence[Prediction], task: Task) -> np.ndarray:
    """Return raw probabilities (n, c), with rows of NaN where the agent failed, of SILENT where it abstained."""
    raw = np.empty((len(predictions), len(task.names)))
    for row, prediction in enumerate(predictions):
        raw[row] = raw_answer(prediction)
    return raw


def named_labels(raw: np.ndarray) -> np.ndarray:
    """Return the most probable label of each row of (n, c), int (n,); NO_LABEL for rows of NaN."""
    return np.where(np.isfinite(raw).all(axis=1), np.nan_to_num(raw).argmax(axis=1), NO_LABEL)
