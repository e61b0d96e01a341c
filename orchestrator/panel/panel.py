"""A panel: one folder that holds a ready system; how it is written and read.

    task.yaml          the question
    grouping.json      how the labelled images are put into groups, and what ignoring that would have shown
    members.json       of each look of an agent: its calibrator and the trust it has earned
    fusion.json        what the weights follow from
    policy.json        what the thresholds of a settled diagnosis are chosen on
    novelty.npz        the signs of novelty of the labelled images, and the space in which vectors are compared
    predictions.npz    the members' predictions for labelled images, out of fold: all of the above is learned from them
    second_looks.npz   the second looks at the labelled images: what one more gains is foreseen from them
    agents/*.npz       fitted heads; that of `self-trained` holds the unlabelled images' vectors
    unlabelled.json    identities of these images, so that evaluations tell which images the panel has learned from
    agreement.json     how far the agents agree, if trust is estimated from that, and nothing was labelled
    contributions.json what each agent adds, and what the panel would be without it
    choices.json       why each agent was kept or dropped, if they were chosen
    links.json         why images are in one group, where groups were found
    models.json        how the agents and the reasoner that answer in words are asked; no key
    memory/            the labelled images: identities, labels, sources, vectors, thumbnails
    bounds.json        what light, contrast, sharpness and size are usual; not for vectors alone
    unknown/           examples of the unknown, in the same form; only if there are any
    encoders/          EfficientNet-Lite, if it reads with it, so that it runs on a machine without torch

The folder's form (manifest, checksums, generations) is core's, `consilience.core.storage.panel_folder`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from consilience.agents import (
    Agent,
    Budget,
    Head,
    LabelledFeatures,
    feature_agent,
    kind_of_head,
    open_agents,
    open_replies,
    reached,
    settings_of,
    unlabelled_of,
)
from consilience.agents.base import Features
from consilience.core.errors import AgentError, PanelDamagedError, SettingsError, TaskError
from consilience.core.image_quality import QualityBounds
from consilience.core.prediction import look_name
from consilience.core.settings.decision_settings import AS_LABELLED, DecisionSettings
from consilience.core.settings.model_kinds import ModelSettings
from consilience.core.settings.model_settings import ReasonerSettings
from consilience.core.settings.settings import PolicySettings, Settings
from consilience.core.storage.array_file import read_arrays
from consilience.core.storage.panel_folder import PanelFolder, fit_again, read_panel_folder, write_panel_folder
from consilience.core.task import Task
from consilience.orchestrator.decision.agreement_policy import AgreementPolicy
from consilience.orchestrator.decision.calibration_set import CalibrationSet
from consilience.orchestrator.decision.claim import Claim, claim_of
from consilience.orchestrator.decision.policy import Policy
from consilience.orchestrator.decision.second_look import SecondLookAnswers
from consilience.orchestrator.decision.settling import Settles, in_use, settles, settles_by_agreement
from consilience.orchestrator.ensemble.agreement import Agreement
from consilience.orchestrator.ensemble.contributions import Contribution
from consilience.orchestrator.ensemble.fusion import Fusion
from consilience.orchestrator.ensemble.members import AgentChoice, Member
from consilience.orchestrator.ensemble.out_of_fold import LabelledPredictions
from consilience.orchestrator.grouping.grouping import NO_GROUPING, Grouping
from consilience.orchestrator.grouping.links import Link
from consilience.orchestrator.novelty.novelty_score import Novelty
from consilience.orchestrator.novelty.reference import NoveltyReference
from consilience.orchestrator.panel.encoder_spec import EncoderRecord
from consilience.orchestrator.panel.model_addresses import MODELS_FILE, with_models_of
from consilience.orchestrator.panel.panel_records import (
    member_from_dict,
    member_to_dict,
    models_from_dict,
    models_to_dict,
    read_json,
    write_json,
)
from consilience.orchestrator.shift.shift_reference import ShiftReference
from consilience.retrieval.encoders.eye import Eye
from consilience.retrieval.encoders.no_encoder import NO_ENCODER
from consilience.retrieval.memory.image_memory import ImageMemory
from consilience.retrieval.memory.labelled_images import LabelledImages
from consilience.retrieval.memory.no_cases import NoCases

SECOND_LOOKS_FILE = "second_looks.npz"
NOVELTY_FILE = "novelty.npz"
BOUNDS_FILE = "bounds.json"
PREDICTIONS_FILE = "predictions.npz"
CONTRIBUTIONS_FILE = "contributions.json"
AGREEMENT_FILE = "agreement.json"


@dataclass(frozen=True)
class Panel:
    """A ready system: everything that a diagnosis needs.

    Attributes:
        encoder: which encoder wrote the vectors; 'none' of a panel that knows answers and no images.
        heads: the fitted feature agents, in the order of `agents`.
        agents: names of all agents, those included that it cannot hold and that must be given to `Diagnoser.open`.
        members: first looks in the order of `agents`, then second looks; the order of `fusion`.
        calibration_set: what the fusion said of the labelled images, out of fold.
        models: settings of the agents that answer in words.
        reasoner: settings of the adviser that it was fitted with, if any; its look stands among the members.
        second_looks: the agents' second looks at the labelled images.
        novelty: how novel an image is beside the labelled ones; None where too few labelled images could be judged, so
            that the distance to the neighbours in the memory alone tells.
        choices: why each agent was kept or dropped, if they were chosen (`--agents auto`).
        contributions: what each agent adds, out of fold; empty in a panel of an older version.
        predictions: the members' predictions that calibration, trust and fusion were learned from.
        unlabelled_ids: identities of the images that a head learned from without their labels.
        grouping: where the groups of the labelled images come from.
        links: why images are in one group, where the groups were found; of those that the panel was fitted on.
        ungrouped_accuracy: accuracy that splitting groups would have shown; None where no two images are of one group.
        agreement: what trust was estimated from where nothing was labelled; None: it was measured.
        unknown: images that people said show none of the labels; None if there are none.
        bounds: beyond which an image cannot be judged; None where only vectors are known.
        path, id: where it was read from, and the id it keeps for life; empty for one not yet written.
    """

    task: Task
    encoder: EncoderRecord
    labelled_images: LabelledImages
    heads: tuple[Head, ...]
    agents: tuple[str, ...]
    members: tuple[Member, ...]
    fusion: Fusion
    calibration_set: CalibrationSet
    predictions: LabelledPredictions
    models: tuple[ModelSettings, ...] = ()
    reasoner: ReasonerSettings | None = None
    second_looks: SecondLookAnswers = field(default_factory=SecondLookAnswers.none)
    novelty: Novelty | None = None
    contributions: tuple[Contribution, ...] = ()
    choices: tuple[AgentChoice, ...] = ()
    unlabelled_ids: frozenset[str] = frozenset()
    grouping: Grouping = NO_GROUPING
    links: tuple[Link, ...] = ()
    ungrouped_accuracy: float | None = None
    agreement: Agreement | None = None
    unknown: LabelledImages | None = None
    bounds: QualityBounds | None = None
    path: Path = Path()
    id: str = ""

    @classmethod
    def open(cls, path: str | Path) -> Panel:
        """Read and check a panel.

        Raises:
            PanelMissingError, PanelTooNewError, PanelDamagedError: the message gives the command that helps.
        """
        return read_panel_folder(path, _read)

    def save(self, path: Path, *, overwrite: bool = False) -> Panel:
        """Write it whole or not at all, and read it back; the caller holds the writer lock."""
        write_panel_folder(path, self._write, overwrite=overwrite)
        return Panel.open(path)

    @property
    def unlabelled(self) -> Features | None:
        """Return vectors of the unlabelled images that a head learned from, (m, d); None if there is no such head."""
        return unlabelled_of(self.heads, self.encoder.dimension)

    def has_learned_from(self, identity: str) -> bool:
        """Whether it holds this image, or was given it without its label."""
        is_unknown = self.unknown is not None and identity in self.unknown.rows
        return identity in self.labelled_images.rows or identity in self.unlabelled_ids or is_unknown

    def claim(self, settings: PolicySettings, decision: DecisionSettings = AS_LABELLED) -> Claim | None:
        """Return what to expect of new images under these settings; None where no labelled image could be judged."""
        calibration_set = self.calibration_set_in_use(decision)
        return claim_of(calibration_set, settings, self.grouping, self.ungrouped_accuracy)

    def settles(self, settings: PolicySettings, decision: DecisionSettings = AS_LABELLED) -> Settles:
        """Return what settles a first look under these settings, and what that does on the labelled images.

        Raises:
            SettingsError: `decision` does not fit the labels.
        """
        calibration_set = self.calibration_set_in_use(decision)
        return settles(settings, calibration_set) if self.agreement is None else settles_by_agreement(settings)

    def policy(self, settings: PolicySettings, decision: DecisionSettings = AS_LABELLED) -> Policy:
        """Return what settles diagnoses under these settings. Raises SettingsError as `settles`."""
        calibration_set = self.calibration_set_in_use(decision)
        if self.agreement is not None:
            return AgreementPolicy.of(settings, self.agreement)
        policy, sources = Policy.chosen(settings, calibration_set), self.fusion.sources
        if sources is None:
            return policy
        names = [look_name(member.agent, member.stage) for member in self.members]
        return replace(policy, sources=dict(zip(names, sources.of_look.tolist(), strict=True)))

    def calibration_set_in_use(self, decision: DecisionSettings) -> CalibrationSet:
        """Return the calibration set as it counts in use. Raises SettingsError as `settles`."""
        if self.agreement is not None and decision != AS_LABELLED:
            raise SettingsError(
                "decision.frequencies and decision.costs take a panel whose trust was measured: fit one on images "
                "whose truth is known"
            )
        return in_use(self.calibration_set, decision, self.task.names)

    def labelled_features(self) -> LabelledFeatures:
        """Return the memory's images as feature agents see them, without texts."""
        return labelled_features(self.labelled_images, self.task, self.encoder.eyes)

    def known(self) -> NoveltyReference | None:
        """Return what is known of the memory's vectors, for signs of novelty; None where `novelty` is."""
        if self.novelty is None:
            return None
        unknown = None if self.unknown is None else self.unknown.vectors
        known = _without_groups(self.labelled_images, self.task, self.encoder.eyes)
        return NoveltyReference.of(self.novelty.whitening, known, unknown)

    def shift_reference(self) -> ShiftReference:
        """Return what new images are compared with, to see whether they come from elsewhere."""
        return ShiftReference.of(self.labelled_images, self.encoder.fingerprint, self.grouping)

    @property
    def of_answers(self) -> bool:
        """Whether it was fitted on agents' answers alone, and cannot look at images."""
        return self.encoder.name == NO_ENCODER

    def open_memory(self, url: str | None = None) -> ImageMemory:
        """Open the image memory; `url`: of a Chroma server, instead of the embedded index."""
        if self.of_answers:
            return NoCases(self.labelled_images, self.task.names)
        return ImageMemory.open(
            self.labelled_images,
            self.task.names,
            store=self.path / "index",
            fingerprint=self.encoder.fingerprint,
            panel=self.id,
            url=url,
        )

    def with_models(self, settings: Settings, supplied: Sequence[Agent] = ()) -> Settings:
        """Return settings that also say where the panel's models are asked, as far as `settings` do not.

        Raises:
            UnconfirmedAddressError: the panel alone names an address, and the user has not confirmed it.
        """
        names = {agent.name for agent in supplied}
        return with_models_of(self.path, self.id, self.models, self.reasoner, settings, names)

    def open_agents(self, settings: Settings, supplied: Sequence[Agent], budget: Budget) -> dict[str, Agent]:
        """Return the agents by name: fitted heads, those that answer in words, and those the panel cannot hold.

        A panel of answers has none: its agents have answered already.

        Args:
            settings: its agents are reached as it says; `with_models` adds the panel's own.
            supplied: the last, and any that are to be asked in the place of those that the settings describe.
            budget: what those that answer in words may spend together.

        Raises:
            AgentError: one is missing, or the panel does not know it.
            SettingsError: one would be asked otherwise than when its trust was earned.
        """
        if self.of_answers:
            return {}
        own = {agent.name: agent for agent in supplied}
        set_up = {model.name: model for model in settings.models}
        held = {model.name for model in self.models}
        if unknown := [*own.keys() - set(self.agents), *set_up.keys() - held]:
            raise AgentError(f"the panel has no trust in {', '.join(sorted(unknown))}: fit it with these agents first")
        models = []
        for model in self.models:
            if model.name not in own:
                if model.name in set_up:
                    models.append(reached(model, set_up[model.name]))
            elif (now := settings_of(own[model.name])) is not None:
                reached(model, now)
        cache = open_replies(settings.replies) if models else None
        agents = {agent.name: agent for agent in (*self.heads, *open_agents(models, cache, budget), *supplied)}
        if missing := [name for name in self.agents if name not in agents]:
            raise AgentError(
                f"the panel was fitted with agents that it does not hold: {', '.join(missing)}; "
                "give them as Diagnoser.open(panel, agents=[...])"
            )
        return {name: agents[name] for name in self.agents}

    def _write(self, folder: Path) -> dict[str, Any]:
        (folder / "task.yaml").write_text(self.task.to_yaml(), encoding="utf-8")
        grouping = {**self.grouping.to_dict(), "ungrouped_accuracy": self.ungrouped_accuracy}
        write_json(folder / "grouping.json", grouping)
        write_json(folder / "links.json", [link.to_list() for link in self.links])
        write_json(folder / "members.json", [member_to_dict(member) for member in self.members])
        write_json(folder / "fusion.json", self.fusion.to_dict())
        write_json(folder / "policy.json", self.calibration_set.to_dict())
        write_json(folder / CONTRIBUTIONS_FILE, [contribution.to_dict() for contribution in self.contributions])
        write_json(folder / "choices.json", [asdict(choice) for choice in self.choices])
        write_json(folder / "unlabelled.json", sorted(self.unlabelled_ids))
        if self.agreement is not None:
            write_json(folder / AGREEMENT_FILE, self.agreement.to_dict())
        write_json(folder / MODELS_FILE, models_to_dict(self.models, self.reasoner))
        np.savez(folder / SECOND_LOOKS_FILE, allow_pickle=False, **self.second_looks.arrays())
        if self.novelty is not None:
            np.savez(folder / NOVELTY_FILE, allow_pickle=False, **self.novelty.arrays())
        np.savez(folder / PREDICTIONS_FILE, allow_pickle=False, **self.predictions.arrays())
        (folder / "agents").mkdir()
        for head in self.heads:
            np.savez(folder / "agents" / f"{head.name}.npz", allow_pickle=False, **head.arrays())
        self.labelled_images.save(folder / "memory")
        if self.bounds is not None:
            write_json(folder / BOUNDS_FILE, self.bounds.to_dict())
        if self.unknown is not None:
            self.unknown.save(folder / "unknown")
        encoder = self.encoder.write(folder)
        return {"encoder": encoder, "agents": list(self.agents), "images": len(self.labelled_images)}


def labelled_features(labelled_images: LabelledImages, task: Task, eyes: tuple[Eye, ...] = ()) -> LabelledFeatures:
    """Return images of the memory as feature agents see them: vectors (n, d), labels in the task's order, groups."""
    return replace(_without_groups(labelled_images, task, eyes), groups=labelled_images.group_numbers)


def _without_groups(labelled_images: LabelledImages, task: Task, eyes: tuple[Eye, ...]) -> LabelledFeatures:
    """Return the same, each image a group of its own: enough where nothing is learned, and numbering takes time."""
    place = {name: number for number, name in enumerate(task.names)}
    labels = np.array([place[label] for label in labelled_images.labels], dtype=np.intp)
    return LabelledFeatures(labelled_images.vectors, labels, len(task.names), eyes=eyes)


def _read(folder: PanelFolder) -> Panel:
    state, manifest = folder.state, folder.manifest
    try:
        task = Task.from_file(state / "task.yaml")
        labelled_images = LabelledImages.open(state / "memory")
        encoder = EncoderRecord.read(folder)
        data = _without_groups(labelled_images, task, encoder.eyes)
        names = tuple(manifest["agents"])
        heads = tuple(
            feature_agent(name).from_arrays(read_arrays(path), data)
            for name in names
            if kind_of_head(name) and (path := state / "agents" / f"{name}.npz").exists()
        )
        novelty, bounds, grouping = state / NOVELTY_FILE, state / BOUNDS_FILE, read_json(state / "grouping.json")
        added, agreed = state / CONTRIBUTIONS_FILE, state / AGREEMENT_FILE
        models, reasoner = models_from_dict(read_json(state / MODELS_FILE))
        return Panel(
            task=task,
            encoder=encoder,
            labelled_images=labelled_images,
            heads=heads,
            agents=names,
            members=tuple(member_from_dict(member) for member in read_json(state / "members.json")),
            fusion=Fusion.from_dict(read_json(state / "fusion.json")),
            calibration_set=CalibrationSet.from_dict(read_json(state / "policy.json")),
            models=models,
            reasoner=reasoner,
            second_looks=SecondLookAnswers.from_arrays(read_arrays(state / SECOND_LOOKS_FILE)),
            novelty=Novelty.from_arrays(read_arrays(novelty)) if novelty.exists() else None,
            contributions=tuple(map(Contribution.from_dict, read_json(added) if added.exists() else ())),
            choices=tuple(AgentChoice(**choice) for choice in read_json(state / "choices.json")),
            predictions=LabelledPredictions.from_arrays(read_arrays(state / PREDICTIONS_FILE)),
            unlabelled_ids=frozenset(read_json(state / "unlabelled.json")),
            grouping=Grouping.from_dict(grouping),
            links=tuple(map(Link.from_list, read_json(state / "links.json"))),
            ungrouped_accuracy=grouping["ungrouped_accuracy"],
            agreement=Agreement.from_dict(read_json(agreed)) if agreed.exists() else None,
            bounds=QualityBounds.from_dict(read_json(bounds)) if bounds.exists() else None,
            unknown=LabelledImages.open(state / "unknown") if (state / "unknown").exists() else None,
            path=folder.path,
            id=folder.id,
        )
    except (KeyError, TypeError, ValueError, FileNotFoundError, TaskError) as cause:
        raise PanelDamagedError(
            f"the panel '{folder.path}' does not hold what its format says ({cause!r}): {fit_again(folder.path)}"
        ) from cause
