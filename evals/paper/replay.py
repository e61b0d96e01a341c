"""Replay: the orchestrator over recorded answers, beside what the recorded orchestrator made of them.

The graph, the weigher and the policy are those of a diagnosis; only the agents and the image memory are recorded. What
is weighed (`Recording`) holds no true labels; they are for `compare`, afterwards.

How the members earn their trust, where nothing but the published summary numbers is known (`from_summary`):
- An agent's confidence is lowered by its ECE, and each word then counts in full (`Fusion.independent`).
- A second look has no figures of its own, and they are not invented: it is lowered as the first look. It takes the
  first look's place and never speaks beside it, since it is not independent of the evidence that it saw.
- The neighbours are judged by leave-one-out on the memory, with a calibrator that keeps the label that the recorded
  search named: shifts of single labels that one search shows need not hold for another.
- No labelled image tells where the fusion errs, so the posterior is taken at its word: what is less probable than the
  target is looked at again. Heads are not counted: a calibrated posterior has weighed the disagreement.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from consilience.agents import Neighbours
from consilience.agents.recorded import features_of_rows, rows_of
from consilience.core.errors import DatasetError
from consilience.core.prediction import Prediction, look_name
from consilience.core.settings.settings import PolicySettings, Settings
from consilience.core.storage.json_text import parsed_json
from consilience.core.task import Task
from consilience.core.trust import Trust
from consilience.evals.paper.recordings import Recording
from consilience.evals.scores import FUSION, Score, score
from consilience.orchestrator.decision.policy import Policy
from consilience.orchestrator.decision.threshold import Threshold
from consilience.orchestrator.decision.weighing import Weigher
from consilience.orchestrator.ensemble.calibration import ORDER_KEEPING, to_dict
from consilience.orchestrator.ensemble.cross_fitting import split_into_folds
from consilience.orchestrator.ensemble.fusion import Fusion
from consilience.orchestrator.ensemble.members import Member
from consilience.orchestrator.ensemble.scaling import ConfidenceDiscount
from consilience.orchestrator.fitting.collect import MemberAnswers, to_array
from consilience.orchestrator.fitting.expected_errors import error_prior_of
from consilience.orchestrator.fitting.fit_ensemble import first_looks, judge_all, second_looks
from consilience.orchestrator.graph import Run, bounded, build_graph, first_state
from consilience.orchestrator.panel.panel import labelled_features
from consilience.orchestrator.runtime.calls import run_sync
from consilience.retrieval.memory.image_memory import ImageMemory, Neighbourhood
from consilience.retrieval.memory.index import ExactIndex
from consilience.retrieval.memory.labelled_images import LabelledImages
from consilience.retrieval.memory.neighbour_distance import Vectors
from consilience.retrieval.memory.no_cases import NoCases

RECORDED = "recorded orchestrator"


class RecordedMemory(NoCases):
    """Gives the recorded shares as evidence."""

    def __init__(self, recording: Recording) -> None:
        nothing = LabelledImages((), (), (), np.empty((0, 1), np.float32))
        super().__init__(nothing, recording.task.names)
        self._retrieved = recording.looks.get((Neighbours.name, "first"), ())

    def query(self, vectors: Vectors, k: int, exclude: Sequence[str | None] | None = None) -> Neighbourhood:
        """Return the rows themselves, for `evidence`."""
        rows = np.array(rows_of(vectors), np.intp)[:, None]
        return Neighbourhood(rows, np.zeros(rows.shape, np.float32), np.full(rows.shape, -1, np.intp))

    def evidence(self, neighbourhood: Neighbourhood) -> list[dict[str, Any]]:
        """Return the recorded share of each label as evidence, without neighbours."""
        shares = [self._retrieved[row].probabilities if self._retrieved else None for row in neighbourhood.rows[:, 0]]
        return [{"neighbours": [], "distribution": dict(distribution or {})} for distribution in shares]


def read_trust(path: Path) -> dict[str, Trust]:
    """Read published summary numbers: `{"n": images, "agents": {name: {"ece": .., "ocr": .., "ccc": ..}}}`.

    Raises:
        DatasetError: the file cannot be read, or is not such a file.
    """
    try:
        data = parsed_json(path.read_text(encoding="utf-8-sig"))
        n = int(data["n"])
        return {
            agent: Trust(agent, "first", n, float(numbers["ece"]), float(numbers["ocr"]), float(numbers["ccc"]))
            for agent, numbers in data["agents"].items()
        }
    except OSError as cause:
        raise DatasetError(f"'{path}' cannot be read: {cause.strerror}") from cause
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as cause:
        raise DatasetError(
            f"'{path}' holds no summary numbers ({type(cause).__name__}: {cause}); it must be JSON such as "
            '{"n": 512, "agents": {"Qwen": {"ece": 0.45, "ocr": 0.5, "ccc": 0.1}}}'
        ) from cause


def neighbours_member(labelled_images: LabelledImages, task: Task, settings: Settings) -> Member:
    """Return the neighbours with calibrator and trust, from leave-one-out on the images of a memory."""
    memory = ImageMemory(labelled_images, task.names, ExactIndex(labelled_images))
    evidence = memory.evidence(memory.query(labelled_images.vectors, settings.memory.neighbours, labelled_images.ids))
    shares = np.array([list(item["distribution"].values()) for item in evidence])
    labels = labelled_features(labelled_images, task).labels
    folds = split_into_folds(labels, settings.seed)
    answers = MemberAnswers(Neighbours.name, "first", shares, calibrators=ORDER_KEEPING)
    return judge_all([answers], labels, folds, task)[0][0]


def from_summary(
    recording: Recording, trusts: Mapping[str, Trust], neighbours: Member | None, settings: Settings
) -> Weigher:
    """Return a weigher by summary numbers alone. Without a member for them, the recorded neighbours are not weighed.

    Raises:
        DatasetError: an agent of the recording has no trust.
    """
    members = []
    for agent, stage in recording.looks:
        if agent == Neighbours.name:
            members += [neighbours] if neighbours is not None else []
        elif agent in trusts:
            trust = replace(trusts[agent], stage=stage)
            members.append(Member(agent, stage, ConfidenceDiscount(trust.ece), trust))
        else:
            raise DatasetError(f"nothing is known of the agent '{agent}'; there is trust in: {', '.join(trusts)}")
    return _weigher(recording.task, members, Fusion.independent(len(members)), settings, second_look="always")


def from_labelled(
    recording: Recording, labelled: Recording, truths: Sequence[str], neighbours: Member | None, settings: Settings
) -> Weigher:
    """Return a weigher by what labelled recorded answers teach, as `fit` does.

    Raises:
        DatasetError: they hold images of the recording, lack one of its looks, or a label has too few images.
    """
    if common := set(recording.images) & set(labelled.images):
        raise DatasetError(
            f"{len(common)} images are both replayed and calibrated on, such as '{min(common)}': give other images"
        )
    labels = places(truths, recording.task)
    folds = split_into_folds(labels, settings.seed)
    looks = []
    for agent, stage in recording.looks:
        answers = labelled.looks.get((agent, stage), ())
        if not any(answer.probabilities for answer in answers):
            raise DatasetError(f"the labelled recorded answers hold none of '{look_name(agent, stage)}'")
        looks.append(MemberAnswers.of(agent, stage, answers, recording.task))
    members, calibrated = judge_all(looks, labels, folds, recording.task)
    for number, look in enumerate(looks):
        if look.agent == Neighbours.name and neighbours is not None:
            answered = np.isfinite(look.raw).all(axis=1)
            members[number], calibrated[number, answered] = neighbours, neighbours.calibrator(look.raw[answered])
    prior = error_prior_of([member.agent for member in members], len(labels))
    fusion = Fusion.from_predictions(calibrated, labels, first_looks(members, calibrated), prior)
    weigher = _weigher(recording.task, members, fusion, settings, second_look="when-it-helps")
    return replace(weigher, second_looks=second_looks(looks, calibrated, labels))


def _weigher(task: Task, members: Sequence[Member], fusion: Fusion, settings: Settings, second_look: str) -> Weigher:
    """Settled is what is as probable as the target, unless the settings ask for more."""
    chosen: dict[str, Any] = {"second_look": second_look, "max_disagreement": 1.0}
    policy = PolicySettings(**chosen | settings.policy.model_dump(exclude_unset=True))
    return Weigher(task, tuple(members), fusion, Policy(policy, Threshold(policy.target, math.nan, math.nan)))


def replay(recording: Recording, weigher: Weigher) -> list[dict[str, Any]]:
    """Run the graph over the recorded answers: n conclusions, as `Weigher.conclude`."""
    weighed = {member.agent for member in weigher.members}
    agents = {name: agent for name, agent in recording.agents().items() if name in weighed}
    policy, n = weigher.policy.settings, len(recording)
    graph = build_graph(weigher=weigher, policy=policy, neighbours=1).compile()
    run = Run(agents, RecordedMemory(recording), [None] * n, features_of_rows(n), math.inf)
    rows = [f"row {row}" for row in range(n)]  # an image's address may tell its label
    final = run_sync(graph.ainvoke(first_state(rows, rows), bounded(policy), context=run))
    conclusions: list[dict[str, Any]] = final["conclusions"]
    return conclusions


def places(truths: Sequence[str], task: Task) -> np.ndarray:
    """Return the true labels as places in the task's order, int (n,). Raises DatasetError if the task lacks one."""
    names = [task.find(truth) for truth in truths]
    if None in names:
        raise DatasetError(
            f"the true label '{truths[names.index(None)]}' is no label of the task, which has {', '.join(task.names)}; "
            "give a task file with all labels"
        )
    return np.array([task.names.index(name) for name in names if name is not None], dtype=np.intp)


def compare(conclusions: Sequence[Mapping[str, Any]], recording: Recording, truths: Sequence[str]) -> list[Score]:
    """Return the scores of each recorded look, of the recorded orchestrator, and of the fusion, last.

    Raises:
        DatasetError: a true label is not among the task's.
    """
    task, labels = recording.task, places(truths, recording.task)
    table = [
        score(look_name(agent, stage), to_array(answers, task), labels)
        for (agent, stage), answers in recording.looks.items()
    ]
    if recording.orchestrator is not None:
        table.append(score(RECORDED, to_array(recording.orchestrator, task), labels))
    return [*table, score(FUSION, posteriors(conclusions, task), labels)]


def posteriors(conclusions: Sequence[Mapping[str, Any]], task: Task) -> np.ndarray:
    """Return the posteriors, float (n, c); rows of NaN where no agent answered."""
    silent = dict.fromkeys(task.names, math.nan)
    return np.array([list((conclusion["posterior"] or silent).values()) for conclusion in conclusions])


def figures(
    conclusions: Sequence[Mapping[str, Any]], recording: Recording, weigher: Weigher, scores: Sequence[Score]
) -> dict[str, Any]:
    """Return what `metrics.json` holds; null where there is no figure."""
    taken = [prediction for conclusion in conclusions for prediction in conclusion["predictions"]]
    looked_again = sum(
        any(look["stage"] == "second" for look in conclusion["predictions"]) for conclusion in conclusions
    )
    everything = [*recording.looks.values(), recording.orchestrator or ()]
    answers: list[Prediction] = [answer for column in everything for answer in column]
    return {
        "rows": len(recording),
        "labels": list(recording.task.names),
        "scores": [{key: _finite(value) for key, value in asdict(score).items()} for score in scores],
        "second_looks": {"rows": looked_again, "share": looked_again / len(recording)},
        "settled": sum(conclusion["verdict"] == "confident" for conclusion in conclusions) / len(recording),
        "cost_usd": {
            "replayed": sum(prediction["cost_usd"] for prediction in taken),
            "recorded": sum(a.cost_usd for a in answers),
        },
        "seconds": {
            "replayed": sum(prediction["seconds"] for prediction in taken),
            "recorded": sum(a.seconds for a in answers),
        },
        "members": [{**member.trust.to_dict(), "calibrator": to_dict(member.calibrator)} for member in weigher.members],
        "fusion": weigher.fusion.to_dict(),
        "policy": weigher.policy.settings.model_dump(),
    }


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
