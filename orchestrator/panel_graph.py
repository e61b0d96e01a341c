"""The graph of an open panel, compiled, and what it makes of images."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from consilience.agents import Agent, Budget
from consilience.agents.recorded import AnswerReader, features_of_rows
from consilience.core.diagnosis import Diagnosis, FailedImage
from consilience.core.diagnosis_record import Embedding, conclusion_from_dict
from consilience.core.errors import AllAgentsFailedError
from consilience.core.evidence import Evidence
from consilience.core.images import Image
from consilience.core.settings.settings import PolicySettings, Settings
from consilience.core.sources.answers import AnsweredImage
from consilience.orchestrator.answers.given_answers import answer_identity
from consilience.orchestrator.decision.run_state import State
from consilience.orchestrator.decision.weighing import Weigher
from consilience.orchestrator.fitting.ingest import vector_identity
from consilience.orchestrator.graph import Run, bounded, build_graph, first_state
from consilience.orchestrator.panel.panel import Panel
from consilience.orchestrator.reasoner.step import open_reasoner
from consilience.orchestrator.runtime.blas_threads import DIAGNOSING
from consilience.retrieval.memory.image_memory import ImageMemory

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph


@dataclass(frozen=True)
class Step:
    """One step of a run, for people who watch: the graph's node and what it added to the state."""

    node: str
    update: dict[str, Any]


class PanelGraph:
    """Runs images through a panel's graph: with its weights, under the settings' policy, by its agents.

    Args:
        agents: of the panel, by name.
        memory: of the panel.
        fingerprint: of the encoder that makes the vectors.
        budget: what the reasoner may spend.

    Attributes:
        agents: of the panel, by name.
        weigher: what weighs predictions.
        compiled: the graph itself.
        bounds: within which an image can be judged; None: every image counts as such.

    Raises:
        SettingsError: `decision` does not fit the labels.
    """

    def __init__(
        self,
        panel: Panel,
        settings: Settings,
        agents: Mapping[str, Agent],
        memory: ImageMemory,
        fingerprint: str,
        budget: Budget,
    ) -> None:
        self._panel, self._settings, self.agents = panel, settings, agents
        self._memory, self._fingerprint = memory, fingerprint
        policy = panel.policy(settings.policy, settings.decision)
        fusion = replace(panel.fusion, ratio=panel.calibration_set_in_use(settings.decision).ratio)
        self._known = known = panel.known()
        novelty = panel.novelty if panel.novelty is None or known is None else panel.novelty.beside(known)
        self.weigher = Weigher(panel.task, panel.members, fusion, policy, panel.second_looks, novelty)
        self.bounds = panel.bounds if settings.policy.refer_unjudgeable else None
        self._reasoner = open_reasoner(panel, settings, budget)
        self.compiled = self._compile(settings.policy)

    async def run(
        self,
        images: Sequence[Image | None],
        vectors: np.ndarray,
        names: Sequence[str] = (),
        on_step: Callable[[Step], None] | None = None,
        *,
        eager: bool = False,
        maps: tuple[np.ndarray | None, ...] = (),
    ) -> list[Diagnosis | FailedImage]:
        """Return what becomes of each of n images.

        Args:
            images: None where only the vector is known. vectors: float32 (n, d).
            names: of the images, where they are not all there.
            on_step: is told of each step as it happens.
            eager: whether agents look again where the first looks settle nothing, worth its price or not.
            maps: of a single image, where the encoder saw what (`Sight.maps`): its diagnosis keeps them.
        """
        if not len(images):
            return []
        started = time.monotonic()
        sources = list(names) or [image.source for image in images if image is not None]
        identities = [
            vector_identity(vectors[row]) if image is None else image.identity for row, image in enumerate(images)
        ]
        state = first_state(sources, identities, [*map(self._unjudgeable, images)])
        run = Run(self.agents, self._memory, images, vectors, started + self._settings.policy.max_seconds)
        final = await self._run(state, run, self._eager if eager else self.compiled, on_step)
        seconds = (time.monotonic() - started) / len(sources)
        # No views: they would keep the batch alive.
        embeddings = [Embedding(vector.copy(), self._fingerprint, maps) for vector in vectors]
        return [self._result(final, row, image, embeddings[row], seconds) for row, image in enumerate(images)]

    async def run_answered(
        self, images: Sequence[AnsweredImage], reader: AnswerReader
    ) -> list[Diagnosis | FailedImage]:
        """Return what becomes of images of which only the agents' answers are known; `reader`: of these answers."""
        if not images:
            return []
        started = time.monotonic()
        first, second = ([m.agent for m in self.weigher.members if m.stage == stage] for stage in ("first", "second"))
        agents = {agent.name: agent for agent in reader.agents(images, first, second)}
        state = first_state([image.name for image in images], [answer_identity(image.name) for image in images])
        nothing: list[None] = [None] * len(images)
        run = Run(agents, self._memory, nothing, features_of_rows(len(images)), math.inf)
        final = await self._run(state, run, self.compiled)
        seconds = (time.monotonic() - started) / len(images)
        vector = np.empty(0, np.float32)  # as the labelled images of such a panel have
        embedding = Embedding(vector, self._fingerprint)
        return [self._result(final, row, None, embedding, seconds) for row in range(len(images))]

    async def _run(
        self,
        state: State,
        run: Run,
        graph: CompiledStateGraph[State, Run, State, State],
        on_step: Callable[[Step], None] | None = None,
    ) -> dict[str, Any]:
        """Return what the run knows at its end: of each key the last update."""
        final: dict[str, Any] = {**state}
        chunk: Any
        config = bounded(self._settings.policy)
        with DIAGNOSING:
            async for chunk in graph.astream(state, config, context=run, stream_mode="updates"):
                for node, update in chunk.items():
                    final |= update
                    if on_step is not None:
                        on_step(Step(node, update))
        return final

    def _unjudgeable(self, image: Image | None) -> str:
        """Return why an image cannot be judged; empty if it can, or where nothing is known of it or of the panel's."""
        return "" if image is None or self.bounds is None else self.bounds.reason(image.measures)

    def _compile(self, policy: PolicySettings) -> CompiledStateGraph[State, Run, State, State]:
        weigher = replace(self.weigher, policy=replace(self.weigher.policy, settings=policy))
        graph = build_graph(
            weigher=weigher,
            policy=policy,
            neighbours=self._settings.memory.neighbours,
            reasoner=self._reasoner,
            known=self._known,
        )
        return graph.compile()

    @cached_property
    def _eager(self) -> CompiledStateGraph[State, Run, State, State]:
        return self._compile(self._settings.policy.model_copy(update={"second_look": "always"}))

    def _result(
        self, state: Any, row: int, image: Image | None, embedding: Embedding, seconds: float
    ) -> Diagnosis | FailedImage:
        conclusion, source = conclusion_from_dict(state["conclusions"][row]), state["sources"][row]
        predictions = conclusion.predictions
        if not conclusion.posterior:
            causes = "; ".join(f"{prediction.agent}: {prediction.error or 'abstained'}" for prediction in predictions)
            return FailedImage(source, AllAgentsFailedError(f"no agent could look at '{source}': {causes}"))
        counted = {(p.agent, p.stage) for p in predictions if p.calibrated is not None}
        return Diagnosis(
            **conclusion.parts(),
            evidence=Evidence.from_dict(state["evidence"][row], self._memory.labelled_images.thumbnail),
            seconds=seconds,
            identity=state["identities"][row],
            source=source,
            image_note="" if image is None else image.note,
            trust=tuple(member.trust for member in self._panel.members if (member.agent, member.stage) in counted),
            image=image,
            embedding=embedding,
        )
