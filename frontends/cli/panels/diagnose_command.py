"""`consilience diagnose`: one image in detail, many in a line each, or JSON."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from consilience.core.errors import ConsilienceError, HeatMapError, ImageError
from consilience.frontends.cli.asked_addresses import ask_about_addresses
from consilience.frontends.cli.named_images import dropped_name, with_folders
from consilience.frontends.cli.options import (
    PATH,
    answers_option,
    collected,
    json_option,
    panel_option,
    settings_options,
)
from consilience.frontends.cli.outcome import complain, complain_of, complain_of_agents, finish

if TYPE_CHECKING:
    from rich.console import Console

    from consilience.core.diagnosis import Diagnosis, FailedImage
    from consilience.core.render.heat_map import HeatMap
    from consilience.core.settings.settings import Settings
    from consilience.frontends.cli.people.history_command import Keeper
    from consilience.orchestrator.diagnoser import Diagnoser
    from consilience.orchestrator.in_use.frequencies import FrequencyEstimate
    from consilience.orchestrator.panel_graph import Step
    from consilience.orchestrator.shift.two_sample import BatchShift


@click.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@panel_option
@answers_option
@json_option
@click.option("--events", is_flag=True, help="Print each step as it happens, and the diagnosis, as JSON.")
@click.option(
    "--picture",
    "pictures",
    type=PATH,
    metavar="DIR",
    help="Save each diagnosis as a picture in DIR, and where it looked.",
)
@click.option(
    "--occlusion", is_flag=True, help="Where agents cannot tell where they looked: find out with 49 blurred copies."
)
@click.option(
    "--source", default="", metavar="NAME", help="Where single images come from, such as a device; it is watched."
)
@click.option("--no-history", is_flag=True, help="Do not save the diagnoses.")
@settings_options
def diagnose(
    images: tuple[str, ...],
    panel: Path,
    answers: Path | None,
    as_json: bool,
    events: bool,
    pictures: Path | None,
    occlusion: bool,
    source: str,
    no_history: bool,
    settings_file: Path | None,
    assignments: tuple[str, ...],
) -> None:
    """Diagnose images.

    IMAGE is a file, a folder of images or an http(s) address; - reads names from standard input, one on each line. For
    a panel that was fitted on vectors, it is an .npz file of vectors; for one that was fitted on answers, a table of
    answers. One image is shown in detail, several on a line each.

    Every diagnosis is saved with a small picture. `consilience history` lists them, `consilience feedback` says whether
    one is right, and `consilience learn` teaches the panel.
    """
    from consilience.core.diagnosis import Diagnosis, FailedImage
    from consilience.core.diagnosis_record import json_of
    from consilience.core.images import ImageNotes
    from consilience.core.prediction import FailureTally
    from consilience.core.render.phrases import one_line
    from consilience.frontends.cli.people.history_command import keeper
    from consilience.frontends.cli.terminal import console, print_json, progress_on
    from consilience.orchestrator.diagnoser import Diagnoser
    from consilience.orchestrator.panel_graph import Step

    settings = collected(settings_file, assignments, history__keep=False if no_history else None)
    if answers is not None:
        settings = _with_answers(settings, answers, panel)
    ask_about_addresses(panel, settings)
    is_counted = not any(name == "-" or _kind_of(name) != "image" for name in images)
    if (events or pictures is not None) and any(_kind_of(name) == "answers" for name in images):
        raise click.UsageError("--events and --picture are for images; here are answers alone.")
    if occlusion and pictures is None:
        raise click.UsageError("--occlusion says what --picture draws: name a folder with --picture, too.")
    is_single = is_counted and len(images) == 1 and not os.path.isdir(images[0])
    names: Iterable[str] = with_folders(_named(images), settings.images.follow_links)
    is_estimated = settings.decision.frequencies == "estimate" and not is_single
    if "-" not in images or is_estimated:
        names = listed = [*names]
        if not is_single:
            _ask_about_spending(panel, listed, settings)
        if is_estimated:
            settings, frequencies = _estimated(panel, settings, listed)
            click.echo("" if frequencies is None else one_line(frequencies.words(), 2000), err=True)
    shifts: list[BatchShift] = []
    is_one_by_one = is_single or events or pictures is not None
    results = _one_by_one if is_one_by_one else partial(_in_batches, are_all_named="-" not in images, shifts=shifts)
    out, kinds, cost, failures, notes = console(), Counter[str](), 0.0, FailureTally(), ImageNotes()
    watched = out if out.is_terminal else console(stderr=True)
    with (
        Diagnoser.open(panel, settings=settings) as diagnoser,
        keeper(panel, settings.history) as keeping,
        progress_on(watched, keep=False) as progress,
    ):
        for result in results(diagnoser, names):
            if isinstance(result, Step):
                if events:
                    print_json(out, json.dumps({"node": result.node, "update": result.update}, ensure_ascii=False))
                continue
            if isinstance(result, Diagnosis) and is_one_by_one:
                result = _watched(result, diagnoser, keeping, source)
            id = None if isinstance(result, FailedImage) else keeping.keep(result)
            if as_json or events:
                print_json(out, json_of(result.to_dict() | ({} if id is None else {"id": id})))
            else:
                _print(out, result, in_detail=is_single)
                if is_single and id is not None and not isinstance(result, FailedImage):
                    out.print(f"Saved as {id}. {_feedback_words(result, id, panel)}", style="dim", soft_wrap=True)
            kinds[_kind(result)] += 1
            if not isinstance(result, FailedImage):
                cost += result.cost_usd
                failures.add(result.predictions)
                if result.image is not None:
                    notes.add(result.image)
            progress("diagnosing", kinds.total(), len(names) if is_counted and isinstance(names, list) else None)
            if pictures is not None and not isinstance(result, FailedImage):
                _save_picture(result, pictures, _heat(diagnoser, result, occlusion))
    if not (is_single or as_json or events):
        _sum_up(kinds, cost, shifts, panel if settings.history.keep else None)
    for note in () if is_single and not (as_json or events) else notes.sentences():  # in detail it stands there
        complain("note", note)
    finish(kinds["settled"] + kinds["referred"], kinds["failed"], complain_of_agents(failures.sentences))


def _ask_about_spending(panel: Path, names: Sequence[str], settings: Settings) -> None:
    from consilience.frontends.cli.asked_spending import ask_about_spending
    from consilience.frontends.cli.terminal import console, progress_on
    from consilience.orchestrator.spending import spending_on

    spending = spending_on(panel, lambda: [name for name in names if _kind_of(name) == "image"], settings)
    if spending.calls:
        with progress_on(console(stderr=True)) as progress:
            ask_about_spending(settings.policy, progress, spending)


def _with_answers(settings: Settings, answers: Path, panel: Path) -> Settings:
    from consilience.agents import with_answers
    from consilience.orchestrator.panel.panel import Panel

    return with_answers(settings, answers, Panel.open(panel).models)


def _estimated(panel: Path, settings: Settings, names: Sequence[str]) -> tuple[Settings, FrequencyEstimate | None]:
    """Return the settings with the frequencies that these images, or files of vectors, speak for."""
    import numpy as np

    from consilience.orchestrator.frequency_pass import with_estimated_frequencies
    from consilience.retrieval.encoders.precomputed import load_precomputed

    vectors = [load_precomputed(Path(name), labelled=False).embeddings for name in names if _kind_of(name) == "vectors"]
    images = np.concatenate(vectors) if vectors else names
    return with_estimated_frequencies(panel, settings, images)


def _watched(diagnosis: Diagnosis, diagnoser: Diagnoser, keeping: Keeper, source: str) -> Diagnosis:
    """Return a diagnosis, under the alarm of the source that its image comes from, if there is one."""
    from consilience.orchestrator.decision.policy import under_alarm
    from consilience.orchestrator.shift.shift_words import REASON

    if not keeping.alarm(diagnosis, diagnoser.shift_reference, source):
        return diagnosis
    complain("warning", REASON)
    return under_alarm(diagnosis, REASON) if diagnoser.settings.policy.on_shift == "refer" else diagnosis


def _feedback_words(diagnosis: Diagnosis, id: str, panel: Path) -> str:
    """Return how to say whether it is right, the command last, to be pasted.

    Where it names no label, "right" could be taken for none of them.
    """
    from consilience.core.render.phrases import claims_no_label

    first, others = "--right", "--label LABEL or --none-of-these"
    if claims_no_label(diagnosis):
        first, others = "--none-of-these", "--label LABEL"
    question = "What is it?" if claims_no_label(diagnosis) else "Is it right?"
    command = f"consilience feedback {id} {first} --panel {shlex.quote(str(panel))}"
    return f"{question} Instead of {first} also {others}: {command}"


def _named(images: Iterable[str]) -> Iterator[str]:
    """Yield the names, with those on standard input in the place of '-'."""
    for name in images:
        if name == "-":
            lines = (os.fsdecode(line.rstrip(b"\r\n")) for line in sys.stdin.buffer)
            yield from map(dropped_name, filter(None, lines))
        else:
            yield name


def _one_by_one(diagnoser: Diagnoser, names: Iterable[str]) -> Iterator[Step | Diagnosis | FailedImage]:
    """Diagnose each image in a run of its own, step by step; each diagnosis keeps its image."""
    from consilience.core.diagnosis import FailedImage

    for name in names:
        try:
            yield from diagnoser.stream(name)
        except ImageError as error:
            yield FailedImage(name, error)


def _in_batches(
    diagnoser: Diagnoser, names: Iterable[str], *, are_all_named: bool, shifts: list[BatchShift]
) -> Iterator[Diagnosis | FailedImage]:
    """Diagnose many images; if they differ from the labelled ones, that is said first.

    Args:
        are_all_named: whether all names are there already; else they come, perhaps slowly, from standard input.
        shifts: gets what was found of each batch.
    """
    from consilience.orchestrator.fitting.ingest import vector_identity
    from consilience.orchestrator.shift.batch_sample import vector_shift
    from consilience.retrieval.encoders.precomputed import load_precomputed

    for kind, group in groupby(names, _kind_of):
        if kind == "answers":
            for name in group:
                yield from diagnoser.diagnose_answers(name)
            continue
        if kind == "image":
            images: Iterable[str] = group
            batch = diagnoser.tested([*images] if are_all_named else images)
            for number, result in enumerate(diagnoser.diagnose_many(batch, keep_images=True)):
                if number == 0:
                    _say_first(batch.shift)
                    shifts.append(batch.shift)
                yield result
            continue
        for name in group:
            vectors = load_precomputed(Path(name), labelled=False)
            diagnoser.panel.encoder.check(vectors.encoder)
            shift = vector_shift(lambda: diagnoser.shift_reference, vectors.embeddings, vector_identity)
            _say_first(shift)
            shifts.append(shift)
            yield from diagnoser.diagnose_vectors(vectors.embeddings, vectors.names, shift=shift)


def _say_first(shift: BatchShift) -> None:
    from consilience.orchestrator.shift.shift_words import batch_sentence

    if shift.alarm:
        complain("warning", batch_sentence(shift))


def _kind_of(name: str) -> Literal["image", "vectors", "answers"]:
    from consilience.core.sources.answer_table import is_answer_table
    from consilience.orchestrator.fitting.ingest import is_vectors

    path = Path(name)
    return "vectors" if is_vectors(path) else "answers" if is_answer_table(path) else "image"


def _kind(result: Diagnosis | FailedImage) -> str:
    from consilience.core.diagnosis import FailedImage

    return "failed" if isinstance(result, FailedImage) else "settled" if result.settled else "referred"


def _sum_up(kinds: Counter[str], cost: float, shifts: Sequence[BatchShift], kept_by: Path | None) -> None:
    """Say on stderr how many images there were of each kind, and whether they differ from the labelled ones.

    Args:
        kinds: see `_kind`.
        cost: of all, in USD.
        shifts: what was found of each batch; an alarm was raised before the first image already.
        kept_by: the panel in whose history they are; None where they are not kept.
    """
    from consilience.core.render.phrases import one_line
    from consilience.orchestrator.shift.shift_words import batch_sentence

    if not kinds:
        click.echo("no images were given", err=True)
        return
    words = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items(), reverse=True))
    words += f", {cost:.4f} USD" if cost else ""
    if kept_by is not None:
        words += f". Look them up: consilience history --panel {shlex.quote(str(kept_by))}"
    click.echo(f"{kinds.total()} images: {words}", err=True)
    for sentence in dict.fromkeys(batch_sentence(shift) for shift in shifts if not shift.alarm):
        click.echo(one_line(sentence, 2000), err=True)


def _print(out: Console, result: Diagnosis | FailedImage, *, in_detail: bool) -> None:
    from consilience.core.diagnosis import FailedImage
    from consilience.frontends.cli.diagnosis_text import detail_of, line_of

    if isinstance(result, FailedImage):
        complain_of([result])
    elif in_detail:
        out.print(detail_of(result))
    else:
        out.print(line_of(result), soft_wrap=True)


def _heat(diagnoser: Diagnoser, diagnosis: Diagnosis, by_occlusion: bool) -> HeatMap | None:
    """Return where the agents looked; None where they cannot tell, and it is not to be found out."""
    try:
        return diagnoser.heat(diagnosis)
    except HeatMapError:
        if not by_occlusion:
            return None
    try:
        return diagnoser.occlusion_heat(diagnosis)
    except ConsilienceError as error:
        complain("warning", f"where the agents looked cannot be found out: {error}")
        return None


def _save_picture(diagnosis: Diagnosis, folder: Path, heat: HeatMap | None) -> None:
    """Save a picture named like the image and by its identity, so that images of the same name do not collide."""
    from consilience.core.render.phrases import source_name

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise ConsilienceError(
            f"the folder '{folder}' cannot be created ({cause.strerror}); choose another with --picture"
        ) from cause
    name = Path(source_name(diagnosis.source)).stem[:80]
    diagnosis.save_picture(folder / f"{name}-{diagnosis.identity[:8]}.png", heat)
