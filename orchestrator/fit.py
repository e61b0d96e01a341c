"""From labelled images to a panel, and changes to one: `fit`, `add`, `remove`."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from consilience.agents import (
    FEATURE_AGENTS,
    USUAL_AGENTS,
    Agent,
    Budget,
    LabelledFeatures,
    feature_agent,
    open_agents,
    open_replies,
    settings_of,
)
from consilience.dataset import LabelledImage
from consilience.diagnosis import FailedImage
from consilience.errors import DatasetError, PanelError, SettingsError
from consilience.images import load_image
from consilience.orchestrator.advice import with_advice
from consilience.orchestrator.ask import finished
from consilience.orchestrator.blas import one_blas_thread
from consilience.orchestrator.captions import captioner_among, described
from consilience.orchestrator.cautions import cautions
from consilience.orchestrator.fitting import fit_agents
from consilience.orchestrator.gather import Progress, gather, is_vectors, quiet, with_images
from consilience.orchestrator.panel import Choice, EncoderRecord, Panel, labelled_features
from consilience.orchestrator.policy import Settles, settles
from consilience.orchestrator.predictions import LabelledPredictions
from consilience.orchestrator.reasoner import Reasoner
from consilience.orchestrator.record import REASONER
from consilience.orchestrator.selection import AUTO, candidates, select
from consilience.panel_folder import refuse_to_replace
from consilience.prompts import check_prompts, zero_shot_texts
from consilience.retrieval.clip import ClipEncoder
from consilience.retrieval.connection import Connection
from consilience.retrieval.encoder import Encoder
from consilience.retrieval.memory import writer_lock
from consilience.retrieval.records import AddReport, Records
from consilience.settings import Settings, settings_or
from consilience.task import Task

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FitReport:
    """What became of the labelled images.

    Attributes:
        panel: the panel as written.
        images: how many were new, given twice, or kept out because they stand under several labels.
        failed: images that could not be read.
        ignored: files and folders that are no labelled images.
        settles: what settles a diagnosis, and what that does on the labelled images.
        cost_usd: what the answers of the agents in the settings cost now; those that were kept cost nothing.
    """

    panel: Panel
    images: AddReport
    failed: tuple[FailedImage, ...]
    ignored: tuple[Path, ...]
    settles: Settles
    cost_usd: float = 0.0

    @property
    def cautions(self) -> tuple[str, ...]:
        """What so few labelled images do not allow."""
        return cautions(self.panel)

    @property
    def complete(self) -> bool:
        """Whether every labelled image could be used."""
        return not self.failed and not self.images.conflicts


def fit(
    source: str | Path,
    panel: str | Path,
    *,
    task: Task | None = None,
    settings: Settings | None = None,
    agents: Sequence[Agent | str] = (),
    overwrite: bool = False,
    progress: Progress = quiet,
    **arguments: Any,
) -> FitReport:
    """Turn labelled images into a panel.

    Args:
        source: a folder with one subfolder a label (or `train/` and `val/` above them), or an .npz of vectors.
        panel: the folder to write. It is written whole or not at all.
        task: default: the labels as they are in `source`.
        settings: default: from the environment and `arguments`, see `load_settings`.
        agents: names of feature agents to fit, or 'auto' for a choice among all, instead of those in
            `settings.agents`; and agents that need no fitting, beside those of `settings.vlm` and
            `settings.transformers`. A reasoner that is to advise reads what they say.
        overwrite: whether a panel that is there may be replaced.

    Raises:
        DatasetError: the images cannot be used. EncoderError, AgentError: unknown names, or they do not fit.
        SettingsError: the task's own words for a prompt cannot be used, or `captioner` names nobody who can describe
            images. BudgetSpentError: answers would cost more than `policy.max_run_cost_usd`; those that were paid for
            are kept for the next time.
        PanelError: the panel cannot be written. PanelBusyError: somebody else is writing it.
        MemoryServerError: a Chroma server is set and cannot be reached.
    """
    source, path, settings = Path(source), Path(panel), settings_or(settings, arguments)
    refuse_to_replace(path, overwrite)  # before the work, not after it
    if task is not None:
        check_prompts(task)
    budget = Budget(settings.policy.max_run_cost_usd)
    others = [one for one in agents if not isinstance(one, str)]
    if settings.models:
        others += open_agents(settings.models, open_replies(settings.replies), budget)
    if taken := [one.name for one in others if one.name in FEATURE_AGENTS]:
        raise SettingsError(f"'{taken[0]}' is the name of an agent on the encoder's features: give yours another")
    if REASONER in (one.name for one in others):
        raise SettingsError(f"'{REASONER}' is the name of what reads the record: give your agent another")
    named = [one for one in agents if isinstance(one, str)] or settings.agents
    is_auto = [*(named or ())] == [AUTO]
    kinds = None if named is None or is_auto else [feature_agent(name).name for name in named]
    captioner = captioner_among(others, settings.captioner, None if is_auto else kinds or USUAL_AGENTS)
    load = None if is_vectors(source) else lambda image: load_image(image, settings.images)
    if settings.memory.url is not None:
        Connection.server(settings.memory.url).close()
    with writing(path):
        gathered = gather(source, task, settings, progress)
        records, task = gathered.records, gathered.task
        data = with_texts(labelled_features(records, task), gathered.encoder, task)
        if captioner is not None and data.texts is not None and load is not None:
            asked = described(
                data,
                captioner,
                gathered.encoder,
                task,
                records,
                load,
                settings.policy.agent_timeout_seconds,
                progress,
            )
            data = finished(asked)
        kinds = _supported(data) if kinds is None else kinds
        choices: list[Choice] = []
        if is_auto:
            kinds, choices = candidates(data)
        fitted = fit_agents(
            task,
            records,
            data,
            kinds,
            others,
            neighbours=settings.memory.neighbours,
            seed=settings.seed,
            load=load,
            timeout=settings.policy.agent_timeout_seconds,
            progress=progress,
        )
        if is_auto:
            fitted, chosen = select(fitted, task, data)
            choices = chosen + choices
        adviser = settings.reasoner if settings.reasoner and settings.reasoner.role == "advise" else None
        if adviser is not None:
            fitted = with_advice(
                fitted,
                Reasoner(adviser, task, open_replies(settings.replies), budget),
                task,
                records,
                data,
                others,
                neighbours=settings.memory.neighbours,
                policy=settings.policy,
                progress=progress,
            )
        prepare_novelty(records, settings)
        written = Panel(
            task=task,
            encoder=_record_of(gathered.encoder),
            records=records,
            heads=fitted.heads,
            agents=tuple(dict.fromkeys(one.agent for one in fitted.witnesses if one.agent != REASONER)),
            witnesses=fitted.witnesses,
            fusion=fitted.fusion,
            outcomes=fitted.outcomes,
            models=tuple(filter(None, map(settings_of, others))),
            reasoner=adviser,
            second_looks=fitted.second_looks,
            novelty=fitted.novelty,
            choices=tuple(choices),
            predictions=LabelledPredictions.of_fit(records.ids, data.labels, [one.raw for one in fitted.looks]),
        ).save(path, overwrite=overwrite)
    index(written, settings, progress)
    found = settles(settings.policy, written.outcomes)
    return FitReport(written, gathered.report, gathered.failed, gathered.ignored, found, budget.spent_usd)


def add(
    panel: str | Path,
    images: Sequence[LabelledImage],
    *,
    settings: Settings | None = None,
    progress: Progress = quiet,
    **arguments: Any,
) -> FitReport:
    """Add labelled images to a panel's memory and refresh its heads; calibration and trust stay as `fit` measured them.

    Raises:
        DatasetError: a label that the task lacks. PanelError and EncoderError as in `Diagnoser.open`.
        PanelBusyError: somebody else is writing it.
    """
    path, settings = Path(panel), settings_or(settings, arguments)
    with writing(path):
        old = Panel.open(path)
        known = [LabelledImage(one.path, _known_label(old.task, one.label)) for one in images]
        encoder = old.encoder.open(settings.device)
        records, report, failed = with_images(old.records, known, encoder, settings, progress)
        written = with_records(old, records, settings).save(path, overwrite=True) if report.added else old
    index(written, settings, progress)
    return FitReport(written, report, failed, (), settles(settings.policy, written.outcomes))


def remove(
    panel: str | Path, names: Collection[str], *, settings: Settings | None = None, **arguments: Any
) -> list[str]:
    """Take images out of a panel's memory, by identity or source, and refresh its heads.

    Returns:
        The names that the memory does not hold; if there are any, nothing was removed.

    Raises:
        DatasetError: a label would be left without images. PanelError, PanelBusyError as for `add`.
    """
    path, settings = Path(panel), settings_or(settings, arguments)
    with writing(path):
        old = Panel.open(path)
        known = {*old.records.ids, *old.records.sources}
        by_name = {name: name if name in known else str(Path(name).absolute()) for name in names}
        if missing := [name for name, full in by_name.items() if full not in known]:
            return missing
        records = old.records.without(by_name.values(), by_name.values())
        check_each_label_is_left(old.task, records)
        written = with_records(old, records, settings).save(path, overwrite=True)
    index(written, settings, quiet)
    return []


def check_each_label_is_left(task: Task, records: Records) -> None:
    for label in task.names:
        if not records.labels.count(label):
            raise DatasetError(f"'{label}' would be left without images; nothing was removed")


def with_records(old: Panel, records: Records, settings: Settings) -> Panel:
    """The panel with these images in its memory and its heads; what was said of images that went counts no more."""
    data, before = labelled_features(records, old.task), old.labelled_features()
    added = data.take(_rows_not_in(records, old.records))
    removed = before.take(_rows_not_in(old.records, records))
    prepare_novelty(records, settings)
    with one_blas_thread():
        heads = tuple(head.updated(data, added, removed) for head in old.heads)
    gone = [identity for identity in old.records.ids if identity not in records.rows]
    predictions = old.predictions.without(gone) if old.predictions is not None else None
    return replace(old, records=records, heads=heads, predictions=predictions)


def _rows_not_in(records: Records, others: Records) -> np.ndarray:
    return np.array([row for row, identity in enumerate(records.ids) if identity not in others.rows], dtype=np.intp)


def _known_label(task: Task, label: str) -> str:
    if (found := task.find(label)) is None:
        raise DatasetError(f"the panel's task has no label '{label}'; it has {', '.join(task.names)}")
    return found


def _supported(data: LabelledFeatures, names: Sequence[str] = USUAL_AGENTS) -> list[str]:
    """The feature agents, of those named, that can be fitted on what the encoder gives."""
    return [name for name in names if data.texts is not None or not FEATURE_AGENTS[name].needs_text]


def prepare_novelty(records: Records, settings: Settings) -> None:
    """Work out the distances that novelty is measured by, so that they are saved with the records."""
    records.kth_distances(min(settings.memory.neighbours, len(records) - 1))


def with_texts(data: LabelledFeatures, encoder: Encoder, task: Task) -> LabelledFeatures:
    """With the mean embedding of the texts of each label, and the texts one by one, if there is a text tower."""
    if not encoder.has_text:
        return data
    of_labels = zero_shot_texts(task)
    if isinstance(encoder, ClipEncoder):
        for name, texts in zip(task.names, of_labels, strict=True):
            if cut := sum(encoder.are_cut(texts)):
                log.warning(
                    "%d of the texts of the label '%s' are longer than '%s' reads, and are cut there; shorten them, or "
                    "split them into several descriptions",
                    cut,
                    name,
                    encoder.name,
                )
    embedded = [encoder.encode_texts(texts) for texts in of_labels]
    means = np.stack([vectors.mean(axis=0) for vectors in embedded])
    unit = np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True), dtype=np.float32)
    labels = np.repeat(np.arange(len(embedded)), [len(vectors) for vectors in embedded])
    tower = encoder.prompt_tower(task.names) if isinstance(encoder, ClipEncoder) else None
    return replace(data, texts=unit, captions=(np.concatenate(embedded), labels), tower=tower)


def _record_of(encoder: Encoder) -> EncoderRecord:
    """What a panel notes of its encoder; the embedded one's file travels with the panel."""
    file, sha256 = getattr(encoder, "onnx_path", None), getattr(encoder, "onnx_sha256", None)
    carried = encoder.name == "embedded"
    return EncoderRecord(
        encoder.name, encoder.fingerprint, encoder.dimension, file if carried else None, sha256 if carried else None
    )


def index(panel: Panel, settings: Settings, progress: Progress) -> None:
    """Bring the index up to date, if no reader owns it; whoever owns it next would do so otherwise."""
    progress("indexing images", 0, len(panel.records))
    with panel.open_memory(settings.memory.url) as memory:
        memory.prepare()
        progress("indexing images", len(panel.records), len(panel.records))


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Hold the writer lock; a folder that was made for it goes again if nothing was written."""
    is_new = not path.exists()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise PanelError(
            f"the panel '{path}' cannot be made: {cause.strerror}; check the path and your rights"
        ) from cause
    try:
        with writer_lock(path):
            yield
    finally:
        if is_new and {one.name for one in path.iterdir()} <= {"writer.lock"}:
            with suppress(OSError):
                (path / "writer.lock").unlink(missing_ok=True)
                path.rmdir()
