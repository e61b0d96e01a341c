"""From labelled images to a panel: `fit`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from consilience.agents import (
    USUAL_AGENTS,
    Agent,
    Budget,
    Captioner,
    feature_agent,
    kind_of_head,
    on_each_eye,
    open_agents,
    open_replies,
    settings_of,
    with_answers,
)
from consilience.agents.heads.on_eye import AT
from consilience.agents.matched_answers import check_answers
from consilience.agents.vlm.spending_estimate import SpendingEstimate, is_paid, of_looks, of_reasoner
from consilience.core.diagnosis import FailedImage
from consilience.core.errors import DatasetError, SettingsError
from consilience.core.image_quality import QualityBounds
from consilience.core.images import Image, load_image
from consilience.core.progress import Progress, quiet
from consilience.core.settings.model_settings import ReasonerSettings
from consilience.core.settings.settings import Settings, settings_or
from consilience.core.settings.vlm_settings import VlmSettings
from consilience.core.sources.stored import openable
from consilience.core.storage.panel_folder import refuse_to_replace
from consilience.core.task import Task
from consilience.orchestrator.decision.case_summary import REASONER
from consilience.orchestrator.decision.settling import Settles, check_decision
from consilience.orchestrator.ensemble.members import LEFT_OUT, AgentChoice
from consilience.orchestrator.ensemble.out_of_fold import LabelledPredictions
from consilience.orchestrator.fitting.captions import captioner_among, with_captions
from consilience.orchestrator.fitting.fit_context import FitContext
from consilience.orchestrator.fitting.fit_ensemble import FittedEnsemble, fit_agents
from consilience.orchestrator.fitting.fit_warnings import fit_warnings, promise_warnings
from consilience.orchestrator.fitting.ingest import ingest, is_vectors
from consilience.orchestrator.fitting.label_texts import with_texts
from consilience.orchestrator.fitting.reasoner_trust import with_advice
from consilience.orchestrator.fitting.selection import AUTO, candidates, select
from consilience.orchestrator.fitting.ungrouped import accuracy_without_groups
from consilience.orchestrator.fitting.unlabelled import list_unlabelled, sample_unlabelled
from consilience.orchestrator.panel.encoder_spec import EncoderRecord
from consilience.orchestrator.panel.model_addresses import confirm_own
from consilience.orchestrator.panel.panel import Panel, labelled_features
from consilience.orchestrator.panel.writer import index, prepare_novelty, writing
from consilience.orchestrator.reasoner.reasoner import Reasoner
from consilience.orchestrator.runtime.calls import run_sync
from consilience.prompts import check_prompts
from consilience.retrieval.encoders.eye import Eye
from consilience.retrieval.memory.chroma_connection import ChromaConnection
from consilience.retrieval.memory.labelled_images import AddReport


@dataclass(frozen=True)
class FitReport:
    """The panel that `fit` wrote, and what became of the images.

    Attributes:
        panel: the panel as written.
        images: how many images were new, given twice, or kept out because they stand under several labels.
        failed: images that could not be read.
        ignored: files and folders that are no labelled images.
        unanswered: which agents of the panel did not answer about some labelled images, and why, a sentence each.
        by_products: files that other programs made beside the images, such as thumbnails: they are left out.
        settles: what settles a diagnosis, and what that does on the labelled images.
        cost_usd: what the answers of the agents in the settings cost now; answers kept from before cost nothing.
        asides: what in a table of answers did not count, which links were left out, and how images were read whose
            files leave that open; a sentence each.
    """

    panel: Panel
    images: AddReport
    failed: tuple[FailedImage, ...]
    ignored: tuple[Path, ...]
    settles: Settles
    cost_usd: float = 0.0
    by_products: tuple[Path, ...] = ()
    asides: tuple[str, ...] = ()
    unanswered: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what the panel cannot know because it has too few labelled images."""
        return (*fit_warnings(self.panel), *promise_warnings(self.panel.task.names, self.settles))

    @property
    def all_answered(self) -> bool:
        """Return whether every agent answered about every image, and is in the panel."""
        return not self.unanswered and not any(choice.reason.startswith(LEFT_OUT) for choice in self.panel.choices)

    @property
    def complete(self) -> bool:
        """Return whether every image could be used."""
        return not self.failed and not self.images.conflicts


def unconfirmed(estimate: SpendingEstimate) -> None:
    """Ignore what answers will cost: nobody is asked."""


def fit(
    source: str | Path,
    panel: str | Path,
    *,
    task: Task | None = None,
    group: str | None = None,
    unlabelled: str | Path | None = None,
    answers: str | Path | None = None,
    settings: Settings | None = None,
    agents: Sequence[Agent | str] = (),
    overwrite: bool = False,
    progress: Progress = quiet,
    confirm: Callable[[SpendingEstimate], None] = unconfirmed,
    **arguments: Any,
) -> FitReport:
    """Turn labelled images into a panel.

    Args:
        source: a folder with one subfolder a label (or `train/` and `val/` above them); a manifest (.csv, .parquet or
            .jsonl) with `path`, `label` and perhaps `group`; or an .npz of vectors.
        panel: the folder to write. It is written whole or not at all.
        task: default: the labels as they are in `source`.
        group: which images show one thing, and stay together in every split: a pattern on the path (`{group}-*.jpg`,
            or a regular expression with a group named 'group'), 'parent' for the folder that an image lies in, or
            'none' for each image by itself. Default: as the manifest says; else groups are found.
        unlabelled: a folder with other images of the same kinds, or an .npz of their vectors, from which the agent
            'self-trained' learns, too; their labels are not asked for. Of more than 2,000 a random part is taken.
        answers: a table (.csv, .parquet or .jsonl) of what other agents answered about the images, which it names by
            their paths; they join the panel. A truth in it must be the image's label.
        settings: default: from the environment and `arguments`, see `load_settings`.
        agents: names of feature agents to fit, or 'auto' for a choice among all, instead of those in
            `settings.agents`; and agents that need no fitting, beside those of `settings.models`. A reasoner that is to
            advise reads what they say.
        overwrite: whether a panel that is there may be replaced.
        progress: is told how far the work is.
        confirm: is told what the answers of models will take, before the first is paid for, if any is; what it raises
            ends the fit, and nothing is written.

    Raises:
        DatasetError: the images cannot be used; or `group` or the answers do not fit them, named with their row.
        EncoderError, AgentError: unknown names, or they do not fit.
        SettingsError: the task's own words for a prompt cannot be used, `captioner` names nobody who can describe
            images, or unlabelled images are given and no agent learns from them; or `decision` does
            not fit the labels.
        BudgetSpentError: answers would cost more than `policy.max_run_cost_usd`; those that were paid for are kept for
            the next time.
        PanelError: the panel cannot be written. PanelBusyError: somebody else is writing it.
        MemoryServerError: a Chroma server is set and cannot be reached.
    """
    source, path, settings = Path(source), Path(panel), settings_or(settings, arguments)
    refuse_to_replace(path, overwrite)  # before the work, not after it
    if task is not None:
        check_prompts(task)
    if answers is not None:
        settings = _with_answers(settings, answers, source)
    budget = Budget(settings.policy.max_run_cost_usd)
    others = _agents_beside_heads(agents, settings, budget)
    named = _heads_named(agents, settings, unlabelled is not None)
    unlabelled_source = None if unlabelled is None else list_unlabelled(Path(unlabelled), settings.images.follow_links)
    captioner = captioner_among(others, settings.captioner, None if named == [AUTO] else named or USUAL_AGENTS)
    if settings.memory.url is not None:
        ChromaConnection.server(settings.memory.url).close()
    with writing(path):
        ingested = ingest(source, task, settings, progress, group)
        load = None if is_vectors(source) else _loader(ingested.addresses, settings)
        labelled_images, task, encoder = ingested.labelled_images, ingested.task, ingested.encoder
        asides = (*ingested.asides, *check_answers(others, labelled_images.sources, labelled_images.labels, task))
        check_decision(settings.decision, task.names, [labelled_images.labels.count(name) for name in task.names])
        data = with_texts(labelled_features(labelled_images, task, encoder.eyes), encoder, task)
        failed, unlabelled_ids = ingested.failed, frozenset[str]()
        if unlabelled_source is not None:
            beside = sample_unlabelled(unlabelled_source, encoder, labelled_images.rows.keys(), settings, progress)
            data, failed = data.with_unlabelled(beside.vectors), failed + beside.failed
            unlabelled_ids = frozenset(beside.ids)
            asides += tuple(filter(None, [unlabelled_source.aside]))
        context = FitContext.of(task, labelled_images, data, settings, others=others, load=load, progress=progress)
        adviser = settings.reasoner if settings.reasoner and settings.reasoner.role == "advise" else None
        if (estimate := _spending(context, settings, captioner, adviser)).calls:
            confirm(estimate)
        if captioner is not None and data.reads_texts:
            context = replace(context, data=run_sync(with_captions(context, captioner, encoder)))
        fitted, choices = _fitted(context, named)
        unanswered = fitted.unanswered
        fitted_agents = {member.agent for member in fitted.members}
        if adviser is not None:
            reasoner = Reasoner(adviser, task, open_replies(settings.replies), budget)
            fitted = with_advice(fitted, context, reasoner, settings.policy)
        ungrouped_accuracy = accuracy_without_groups(fitted, context)
        prepare_novelty(fitted.novelty, labelled_images, settings)
        written = Panel(
            task=task,
            encoder=EncoderRecord.of(encoder),
            labelled_images=labelled_images,
            agents=tuple(dict.fromkeys(member.agent for member in fitted.members if member.agent != REASONER)),
            models=tuple(filter(None, (settings_of(agent) for agent in others if agent.name in fitted_agents))),
            reasoner=adviser,
            choices=tuple(choices),
            predictions=LabelledPredictions.of_fit(
                labelled_images.ids, data.labels, [look.raw for look in fitted.looks]
            ),
            grouping=ingested.grouping,
            links=ingested.links,
            bounds=QualityBounds.of(ingested.measures),
            ungrouped_accuracy=ungrouped_accuracy,
            unlabelled_ids=unlabelled_ids if any(head.needs_unlabelled for head in fitted.heads) else frozenset(),
            **fitted.parts(),
        ).save(path, overwrite=overwrite)
    confirm_own(written.id, written.models, written.reasoner)
    index(written, settings, progress)
    settling = written.settles(settings.policy, settings.decision)
    return FitReport(
        written,
        ingested.report,
        failed,
        ingested.ignored,
        settling,
        budget.spent_usd,
        ingested.by_products,
        asides,
        unanswered=unanswered,
    )


def _spending(
    context: FitContext, settings: Settings, captioner: Captioner | None, adviser: ReasonerSettings | None
) -> SpendingEstimate:
    """Return what the answers of the context's models, and of an adviser, will take."""
    images, load = context.labelled_images, context.load
    models = [model for model in map(settings_of, context.others) if isinstance(model, VlmSettings)]
    total = SpendingEstimate()
    if load is not None and any(map(is_paid, models)):
        example, cache = load(images.sources[0]), open_replies(settings.replies)
        for model in models:
            is_captioner = captioner is not None and context.data.reads_texts and captioner.name == model.name
            total += of_looks(model, context.task, example, images.ids, cache, is_captioner)
    return total if adviser is None else total + of_reasoner(adviser, REASONER, images.ids)


def _loader(addresses: Mapping[str, str], settings: Settings) -> Callable[[str], Image]:
    """Return what loads an image again by its source; `addresses` are whole, with what sources leave out."""
    return lambda source: load_image(openable(addresses.get(source, source)), settings.images)


def _with_answers(settings: Settings, answers: str | Path, source: Path) -> Settings:
    """Return settings with the agents of a table of answers about the images of `source`."""
    if is_vectors(source):
        raise DatasetError(f"'{source}' holds vectors, and answers are found by the paths of images: give a folder")
    return with_answers(settings, answers, images=Path(os.path.abspath(source)) if source.is_dir() else None)


def _agents_beside_heads(agents: Sequence[Agent | str], settings: Settings, budget: Budget) -> list[Agent]:
    """Return the agents that need no fitting: those given, and those of the settings."""
    others = [agent for agent in agents if not isinstance(agent, str)]
    if settings.models:
        others += open_agents(settings.models, open_replies(settings.replies), budget)
    if taken := [agent.name for agent in others if kind_of_head(agent.name)]:
        raise SettingsError(f"'{taken[0]}' is the name of a built-in agent: give your agent another name")
    if REASONER in (agent.name for agent in others):
        raise SettingsError(f"'{REASONER}' is the name of the reasoner: give your agent another name")
    return others


def _heads_named(agents: Sequence[Agent | str], settings: Settings, unlabelled: bool) -> list[str] | None:
    """Return the names of the feature agents that are asked for, or [AUTO]; None: the usual ones.

    Args:
        unlabelled: whether unlabelled images are given.
    """
    named = [name for name in agents if isinstance(name, str)] or settings.agents
    if named is None:
        return None
    if [*named] == [AUTO]:
        return [AUTO]
    kinds = [feature_agent(name) for name in named]
    if unlabelled and not any(kind.needs_unlabelled for kind in kinds):
        raise SettingsError(
            "unlabelled images were given, but no agent learns from them: add 'self-trained' to the agents"
        )
    return [kind.name for kind in kinds]


def _fitted(context: FitContext, named: Sequence[str] | None) -> tuple[FittedEnsemble, list[AgentChoice]]:
    """Return what the images teach with the heads of those names; with [AUTO], with those worth having, and why."""
    able, untried = candidates(context.data)
    if is_auto := named == [AUTO]:
        kinds = able
    elif named is None:
        kinds = [name for name in able if name.partition(AT)[0] in USUAL_AGENTS]
    else:
        kinds = _on_able_eyes(named, able, context.data.eyes)
    fitted = fit_agents(context, kinds)
    left_out = [*fitted.left_out]
    if not is_auto:
        return fitted, left_out
    selected, chosen = select(fitted, context.task, context.data)
    return replace(selected, unanswered=fitted.unanswered), chosen + untried + left_out


def _on_able_eyes(named: Sequence[str], able: Sequence[str], eyes: Sequence[Eye]) -> list[str]:
    """Return the heads of these names, on each eye that they can read; on all, to say what is wrong, if there is none.

    Args:
        able: names of all heads that can be fitted.
    """
    heads = list[str]()
    for name in named:
        on_eyes = on_each_eye([name], eyes)
        heads += [head for head in on_eyes if head in able] or on_eyes
    return heads
