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
@click.option("--find", "word", metavar="WORD", help="Only those whose name, source or tower has WORD in it.")
@click.option("--here", is_flag=True, help="Only those whose weights are on this machine.")
@json_option
@click.pass_context
def encoders(ctx: click.Context, word: str | None, here: bool, as_json: bool) -> None:
    """List the encoders that can be used by name.

    Beside those: 'open_clip:MODEL:FILE' for any open_clip checkpoint, 'open_clip:local-dir:FOLDER' and
    'open_clip:hf-hub:REPOSITORY' for models with a configuration of their own, 'transformers:FOLDER' or
    'transformers:REPOSITORY' for any checkpoint of transformers' CLIP classes.
    """
    if ctx.invoked_subcommand is not None:
        return
    from consilience.frontends.cli.terminal import console, print_json
    from consilience.retrieval.encoders.encoder_catalogue import find, known_encoders

    known = known_encoders()
    shown = [one for one in known if _matches(one, word) and (one.is_here or not here)]
    if word is not None and not any(_matches(one, word) for one in known):
        find(word, known)
    out = console()
    if as_json:
        for one in shown:
            print_json(out, json.dumps(one.to_dict()))
        return
    _list(shown)


def _matches(one: KnownEncoder, word: str | None) -> bool:
    text = " ".join([one.name, one.source, one.image_tower or "", one.text_tower or ""])
    return word is None or word.casefold() in text.casefold()


def _list(known: Sequence[KnownEncoder]) -> None:
    from consilience.frontends.cli.terminal import console, table

    out = console()
    rows = table(
        "encoder", "here", "params", "pixels", "vector", "image tower", "text tower", "licence", "weights from"
    )
    for one in known:
        rows.add_row(
            one.name,
            "yes" if one.is_here else "",
            f"{one.parameters / 1e6:,.0f} M" if one.parameters else "",
            str(one.pixels or ""),
            str(one.dimension or ""),
            one.image_tower or "",
            one.text_tower or "",
            one.licence,
            one.source,
        )
    out.print(rows)
    out.print(f"{len(known)} encoders, {sum(one.is_here for one in known)} with their weights on this machine")


@encoders.command(name="try")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.argument("folder", type=PATH, metavar="FOLDER")
@json_option
@settings_options
def try_encoders(
    names: tuple[str, ...], folder: Path, as_json: bool, settings_file: Path | None, assignments: tuple[str, ...]
) -> None:
    """How well encoders separate the labels of FOLDER, at what rate and size.

    The accuracy is that of a linear probe in cross-validation, with its 95 % interval; 'nearest' is the share of images
    whose nearest other image has their label. The best comes first; the rate is this machine's as it is now.
    """
    from consilience.core.errors import EncoderError
    from consilience.evals.separation import separation
    from consilience.frontends.cli.outcome import Failure, complain, finish
    from consilience.frontends.cli.terminal import console, print_json, progress_on

    settings = collected(settings_file, assignments)
    found: list[Separation] = []
    failed = 0
    with progress_on(console(stderr=True)) as progress:
        for name in dict.fromkeys(names):
            try:
                found.append(separation(name, folder, settings, progress))
            except EncoderError as error:
                if len(names) == 1:
                    raise Failure(str(error)) from error
                complain("error", str(error))
                failed += 1
    found.sort(key=lambda one: (-one.accuracy, -one.nearest))
    if as_json:
        for one in found:
            print_json(console(), json.dumps(one.to_dict()))
    elif found:
        _compare(found)
    finish(len(found), failed)


def _compare(found: Sequence[Separation]) -> None:
    from consilience.frontends.cli.terminal import console, table

    rows = table("encoder", "accuracy", "95 % interval", "nearest", "vector", "weights", "images a second")
    for one in found:
        rows.add_row(
            one.encoder,
            f"{one.accuracy:.3f}",
            f"{one.low:.3f} to {one.high:.3f}",
            f"{one.nearest:.3f}",
            str(one.dimension),
            f"{one.weight_bytes / 2**20:,.0f} MB",
            f"{one.images_per_second:,.1f}",
        )
    out = console()
    out.print(rows)
    out.print(f"{found[0].images:,} images, {found[0].folds} folds")
