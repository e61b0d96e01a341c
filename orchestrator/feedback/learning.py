"""Learning from feedback: confirmed images join the image memory, the heads, calibration and trust; it can be undone.

The predictions that judge the agents were made before their image joined the memory, so they are as honest as those out
of fold. But confirmed images are a selected sample: people correct more readily than they confirm, which makes trust
too low rather than too high. What an agent said when the task had other labels judges nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import update

from consilience.core.diagnosis import Diagnosis
from consilience.core.errors import HistoryError, ImageError, PanelError
from consilience.core.exif import UNKNOWN_SHOT
from consilience.core.images import load_image
from consilience.core.progress import Progress, quiet
from consilience.core.settings.settings import Settings, settings_or
from consilience.core.task import NONE_OF_THESE, Task
from consilience.orchestrator.ensemble.members import Member
from consilience.orchestrator.ensemble.out_of_fold import LabelledPredictions
from consilience.orchestrator.ensemble.silence import unsaid
from consilience.orchestrator.feedback.database import CHANGES, from_moment, now
from consilience.orchestrator.feedback.feedback import Feedbacks
from consilience.orchestrator.feedback.history import History, StoredDiagnosis
from consilience.orchestrator.feedback.learned_changes import LearnedChange, changes_in, last_number, log_change
from consilience.orchestrator.fitting.update import check_each_label_is_left, judged_anew, with_labelled_images
from consilience.orchestrator.grouping.images_to_group import ImagesToGroup
from consilience.orchestrator.grouping.joining import joined_groups
from consilience.orchestrator.panel.panel import Panel
from consilience.orchestrator.panel.unknown_examples import joined, parted
from consilience.orchestrator.panel.writer import index, writing
from consilience.retrieval.encoders.encoder import Encoder
from consilience.retrieval.memory.labelled_images import AddReport, LabelledImages


@dataclass(frozen=True)
class LearnReport:
    """The outcome of `learn`.

    Attributes:
        change: how the panel changed; None if nothing was learned.
        left_out: by the id of a diagnosis, why it could not be learned.
        waiting: how many diagnoses have feedback that waits for review.
    """

    change: LearnedChange | None
    left_out: dict[str, str]
    waiting: int = 0


@dataclass(frozen=True)
class _ConfirmedImage:
    """An image that is to join the memory, or the examples of the unknown if its label is NONE_OF_THESE."""

    stored: StoredDiagnosis
    label: str
    vector: np.ndarray

    @property
    def identity(self) -> str:
        """Return the identity of the image."""
        return self.stored.diagnosis.identity


def learn(
    panel: str | Path, *, settings: Settings | None = None, progress: Progress = quiet, **arguments: Any
) -> LearnReport:
    """Learn all feedback that counts and was not learned yet, in one write of the panel.

    The kept vector of an image joins the memory. Where there is none of the panel's encoder, the image is loaded again
    from its source, if it is still the same. What shows none of the labels joins the panel's examples of the unknown:
    no agent learns it.

    Raises:
        HistoryError: the database cannot be used. PanelBusyError, EncoderError: as for `add`.
        PanelError: as for `add`, or the panel's trust is estimated from agreement.
    """
    path, settings = Path(panel), settings_or(settings, arguments)
    with writing(path), History.open(path, settings.history) as history:
        old, feedbacks = Panel.open(path), Feedbacks(history, settings.learning)
        if old.agreement is not None:
            raise PanelError(
                f"the panel '{path}' was fitted without truth, and cannot learn labelled images: fit one on a table "
                "that has their truth"
            )
        images = joined(old.labelled_images, old.unknown)
        examples, known, left_out = _examples_of(old, images, feedbacks, settings, progress)
        brought_by = {
            identity: change.number
            for change in changes_in(history.database)
            if change.undone is None
            for identity, _ in change.images
        }
        for id, identity in known.items():
            feedbacks.mark([id], brought_by.get(identity, 0))
        grown_images, report = _with_confirmed(old, images, examples)
        for conflict in report.conflicts:
            left_out |= {example.stored.id: str(conflict) for example in examples if example.identity == conflict.id}
        examples = [example for example in examples if example.stored.id not in left_out]
        if not examples:
            return LearnReport(None, left_out, len(feedbacks.waiting()))
        number = last_number(history.database) + 1
        labelled_images, unknown = parted(grown_images)
        grown, judged = replace(old, unknown=unknown), 0
        if labelled := [example for example in examples if example.label != NONE_OF_THESE]:
            grown = with_labelled_images(grown, labelled_images, settings)
            grown, judged = _judged(grown, labelled, frozenset(old.labelled_images.groups), number, settings)
        joining = [*zip(grown_images.ids, grown_images.labels, strict=True)][len(images) :]
        change = LearnedChange(number, from_moment(now()), tuple(joining), judged)
        with history.database.transaction() as connection:  # all of it, or what is kept here says that nothing happened
            log_change(connection, history.database, change)
            feedbacks.mark([example.stored.id for example in examples], number, connection)
            written = grown.save(path, overwrite=True)
    index(written, settings, progress)
    return LearnReport(change, left_out)


def _with_confirmed(
    panel: Panel, held: LabelledImages, examples: Sequence[_ConfirmedImage]
) -> tuple[LabelledImages, AddReport]:
    """Return the images that a panel holds with the examples, each in a group by the panel's rule."""
    ids = [example.identity for example in examples]
    sources = [example.stored.diagnosis.source for example in examples]
    vectors = np.array([example.vector for example in examples], dtype=np.float32)
    vectors = vectors.reshape(len(examples), panel.encoder.dimension)
    pictures = ((example.identity, example.stored.thumbnail) for example in examples)
    thumbnails = {identity: picture for identity, picture in pictures if picture is not None}
    images = ImagesToGroup(ids, sources, [UNKNOWN_SHOT] * len(ids), vectors, thumbnails.get)
    groups = joined_groups(images, [None] * len(ids), panel.grouping, panel.labelled_images, panel.encoder.name)
    labels = [example.label for example in examples]
    return held.with_added(ids, labels, sources, vectors, thumbnails, groups)


def undo(panel: str | Path, number: int, *, settings: Settings | None = None, **arguments: Any) -> LearnedChange:
    """Take back a change: its images leave the memory, the heads, calibration, trust and the examples of the unknown.

    Raises:
        HistoryError: there is no such change, or it was undone. DatasetError: as for `remove`.
    """
    path, settings = Path(panel), settings_or(settings, arguments)
    with writing(path), History.open(path, settings.history) as history:
        matching = [change for change in changes_in(history.database) if change.number == number]
        if not matching or matching[0].undone is not None:
            problem = "was undone already" if matching else "does not exist"
            raise HistoryError(
                f"change {number} of the panel '{path}' {problem}: 'consilience learned' lists the changes"
            )
        old = Panel.open(path)
        images = joined(old.labelled_images, old.unknown).without([identity for identity, _ in matching[0].images])
        labelled_images, unknown = parted(images)
        shrunk = replace(old, unknown=unknown)
        if len(labelled_images) < len(old.labelled_images):
            check_each_label_is_left(old.task, labelled_images)
            shrunk = with_labelled_images(shrunk, labelled_images, settings)
            shrunk = relearned(shrunk, shrunk.predictions, settings)
        moment = now()
        with history.database.transaction() as connection:
            this = (CHANGES.c.panel == history.database.panel, CHANGES.c.number == number)
            connection.execute(update(CHANGES).where(*this).values(undone=moment))
            Feedbacks(history, settings.learning).mark_undone(number, connection)
            written = shrunk.save(path, overwrite=True)
    index(written, settings, quiet)
    return replace(matching[0], undone=from_moment(moment))


def changes(panel: str | Path, *, settings: Settings | None = None, **arguments: Any) -> list[LearnedChange]:
    """Return what the panel learned, the oldest change first.

    Raises:
        PanelError: there is no panel. HistoryError: the database cannot be used.
    """
    with History.open(panel, settings_or(settings, arguments).history) as history:
        return changes_in(history.database)


def relearned(panel: Panel, predictions: LabelledPredictions, settings: Settings) -> Panel:
    """Return the panel with calibration, trust, fusion and thresholds from the predictions that still count."""
    lasting = predictions.take(predictions.lasting(settings.learning.half_life_images))
    fitted = judged_anew(panel, lasting, settings)
    return replace(panel, predictions=predictions, **fitted.parts())


def raw_predictions(diagnosis: Diagnosis, members: Sequence[Member], task: Task) -> np.ndarray:
    """Return the raw probabilities of each member's look in a diagnosis, (a, c).

    A row is SILENT where the look abstained, NaN where it gave none, or one over other labels than the task's.
    """
    raw = np.full((len(members), len(task.names)), np.nan)
    looks = {(member.agent, member.stage): number for number, member in enumerate(members)}
    for prediction in diagnosis.predictions:
        number = looks.get((prediction.agent, prediction.stage))
        probabilities = prediction.probabilities
        if number is None:
            continue
        if probabilities is None:
            raw[number] = unsaid(prediction.abstained, prediction.stage)
        elif set(probabilities) == set(task.names):
            raw[number] = [probabilities[name] for name in task.names]
    return raw


def _examples_of(
    panel: Panel, images: LabelledImages, feedbacks: Feedbacks, settings: Settings, progress: Progress
) -> tuple[list[_ConfirmedImage], dict[str, str], dict[str, str]]:
    """Return the images to learn; by diagnosis, the identity of those already there, and why others are left out."""
    examples: list[_ConfirmedImage] = []
    known: dict[str, str] = {}
    left_out: dict[str, str] = {}
    encoder: Encoder | None = None
    votes = feedbacks.to_learn()
    for done, vote in enumerate(votes):
        progress("reading feedback", done, len(votes))
        stored = feedbacks.history.get(vote.diagnosis)
        identity, row = stored.diagnosis.identity, images.rows.get(stored.diagnosis.identity)
        label = vote.label if vote.label == NONE_OF_THESE else panel.task.find(vote.label)
        held_as = None if row is None else images.labels[row]
        if label is None:
            left_out[stored.id] = f"the panel's task has no label '{vote.label}' any more"
        elif held_as == label:
            known[stored.id] = identity
        elif held_as is not None:
            left_out[stored.id] = (
                f"the panel holds this image as '{held_as.strip()}', not '{label.strip()}': if that is wrong, take it "
                f"out with 'consilience remove {identity}'"
            )
        else:
            embedding = stored.diagnosis.embedding
            if embedding is not None and embedding.encoder == panel.encoder.fingerprint:
                examples.append(_ConfirmedImage(stored, label, embedding.vector))
                continue
            try:
                image = load_image(stored.diagnosis.source, settings.images)
            except ImageError as cause:
                left_out[stored.id] = f"the panel needs the image again, and it cannot be read: {cause}"
                continue
            if image.identity != identity:
                left_out[stored.id] = f"'{stored.diagnosis.source}' is another image now"
                continue
            encoder = encoder or panel.encoder.open(settings.device)
            examples.append(
                _ConfirmedImage(replace(stored, thumbnail=image.thumbnail()), label, encoder.encode([image])[0])
            )
    return examples, known, left_out


def _change_of(panel: Panel, identity: str) -> int:
    """Return the change that brought an image into the memory; 0 if none did."""
    if identity not in panel.predictions.ids:
        return 0
    return int(panel.predictions.changes[panel.predictions.ids.index(identity)])


def _judged(
    panel: Panel,
    examples: Sequence[_ConfirmedImage],
    learned_groups: Collection[str],
    number: int,
    settings: Settings,
) -> tuple[Panel, int]:
    """Return the panel with calibration and trust that count the examples, and how many they count.

    An image of a group that the agents had learned from when they judged it says nothing of new things.
    """
    place = {name: number for number, name in enumerate(panel.task.names)}
    by_image: dict[str, _ConfirmedImage] = {}
    for example in examples:
        by_image.setdefault(example.identity, example)  # of one image, the first diagnosis
    raw_of = {
        identity: raw_predictions(example.stored.diagnosis, panel.members, panel.task)
        for identity, example in by_image.items()
    }
    images = panel.labelled_images
    answered = [
        identity
        for identity, raw in raw_of.items()
        if np.isfinite(raw).any() and images.groups[images.rows[identity]] not in learned_groups
    ]
    if not answered:
        return panel, 0
    labels = np.array([place[by_image[identity].label] for identity in answered], dtype=np.intp)
    raw = np.stack([raw_of[identity] for identity in answered], axis=1)
    return relearned(panel, panel.predictions.with_added(answered, labels, raw, number), settings), len(answered)
