"""`consilience encoders`: what can embed images, and which of it suits a folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from consilience.frontends.cli.options import PATH, collected, json_option, settings_options

if TYPE_CHECKING:
    from consilience.evals.separation import Separation
    from consilience.retrieval.encoders.encoder_catalogue import KnownEncoder


@click.group(invoke_without_command=True)
@click.option("--find", "word", metavar="WORD", help="Only those with WORD in their name, source or tower.")
@click.option("--here", is_flag=True, help="Only those whose weights are on this machine.")
@json_option
@click.pass_context
def encoders(ctx: click.Context, word: str | None, here: bool, as_json: bool) -> None:
    """List the encoders that can be used by name.

    Other names that work: 'open_clip:MODEL:FILE' for any open_clip checkpoint, 'open_clip:local-dir:FOLDER' and
    'open_clip:hf-hub:REPOSITORY' for models with a configuration of their own, 'transformers:FOLDER' and
    'transformers:REPOSITORY' for CLIP models of transformers. `consilience encoders try` compares some on your images.
    """
    if ctx.invoked_subcommand is not None:
        return
    from consilience.frontends.cli.terminal import console, print_json
    from consilience.retrieval.encoders.encoder_catalogue import find, known_encoders

    known = known_encoders()
    shown = [encoder for encoder in known if _matches(encoder, word) and (encoder.is_here or not here)]
    if word is not None and not any(_matches(encoder, word) for encoder in known):
        find(word, known)
    out = console()
    if as_json:
        for encoder in shown:
            print_json(out, json.dumps(encoder.to_dict()))
        return
    _list(shown)


def _matches(encoder: KnownEncoder, word: str | None) -> bool:
    text = " ".join([encoder.name, encoder.source, encoder.image_tower or "", encoder.text_tower or ""])
    return word is None or word.casefold() in text.casefold()


def _list(known: Sequence[KnownEncoder]) -> None:
    from consilience.frontends.cli.terminal import console, table

    out = console()
    rows = table(
        "Encoder", "Here", "Parameters", "Pixels", "Vector", "Image tower", "Text tower", "Licence", "Weights from"
    )
    for encoder in known:
        rows.add_row(
            encoder.name,
            "yes" if encoder.is_here else "",
            f"{encoder.parameters / 1e6:,.0f} M" if encoder.parameters else "",
            str(encoder.pixels or ""),
            str(encoder.dimension or ""),
            encoder.image_tower or "",
            encoder.text_tower or "",
            encoder.licence,
            encoder.source,
        )
    out.print(rows)
    out.print(f"{len(known)} encoders, {sum(encoder.is_here for encoder in known)} with their weights on this machine")


@encoders.command(name="try")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.argument("folder", type=PATH, metavar="FOLDER")
@json_option
@settings_options
def try_encoders(
    names: tuple[str, ...], folder: Path, as_json: bool, settings_file: Path | None, assignments: tuple[str, ...]
) -> None:
    """Compare how well encoders separate the labels of FOLDER.

    Accuracy is that of a linear probe in cross-validation, with its 95 % interval. 'Nearest' is the share of images
    whose nearest other image has the same label. The best encoder comes first. Speed is measured on this machine.
    """
    from consilience.core.errors import EncoderError
    from consilience.evals.separation import separation as separation_of
    from consilience.frontends.cli.outcome import Failure, complain, finish
    from consilience.frontends.cli.terminal import console, print_json, progress_on

    settings = collected(settings_file, assignments)
    separations: list[Separation] = []
    failed = 0
    with progress_on(console(stderr=True)) as progress:
        for name in dict.fromkeys(names):
            try:
                separations.append(separation_of(name, folder, settings, progress))
            except EncoderError as error:
                if len(names) == 1:
                    raise Failure(str(error)) from error
                complain("error", str(error))
                failed += 1
    separations.sort(key=lambda separation: (-separation.accuracy, -separation.nearest))
    if as_json:
        for separation in separations:
            print_json(console(), json.dumps(separation.to_dict()))
    elif separations:
        _compare(separations)
    finish(len(separations), failed)


def _compare(separations: Sequence[Separation]) -> None:
    from consilience.frontends.cli.terminal import console, table

    rows = table("Encoder", "Accuracy", "95 % interval", "Nearest", "Vector", "Weights", "Images a second")
    for separation in separations:
        rows.add_row(
            separation.encoder,
            f"{separation.accuracy:.3f}",
            f"{separation.low:.3f} to {separation.high:.3f}",
            f"{separation.nearest:.3f}",
            str(separation.dimension),
            f"{separation.weight_bytes / 2**20:,.0f} MB",
            f"{separation.images_per_second:,.1f}",
        )
    out = console()
    out.print(rows)
    out.print(
        f"{separations[0].images:,} images, {separations[0].folds}-fold cross-validation. "
        "Use one: consilience fit FOLDER --encoder NAME --panel DIR"
    )
