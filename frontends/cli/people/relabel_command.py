"""`consilience relabel`: images move into the folders of other labels, and back."""

from __future__ import annotations

from pathlib import Path

import click

from consilience.frontends.cli.options import PATH


@click.command()
@click.argument("moves", type=PATH, required=False, metavar="[MOVES]")
@click.option("--folder", type=PATH, required=True, metavar="FOLDER", help="The labelled folder that holds the images.")
@click.option("--apply", is_flag=True, help="Move the files; without it, what would be moved is shown.")
@click.option("--resume", is_flag=True, help="End a run that was broken off.")
@click.option("--undo", is_flag=True, help="Bring back what the last run moved.")
def relabel(moves: Path | None, folder: Path, apply: bool, resume: bool, undo: bool) -> None:
    """Move images into the folders of other labels.

    MOVES is a table such as `consilience suspects --moves` writes: each file in its column path goes into the folder of
    the label in its column new_label; rows without one move nothing. Nothing is replaced: if one row cannot be
    followed, no file is moved. A panel learns of it when it is fitted again.
    """
    from consilience.core.relabelling.relabel import relabel as relabelled
    from consilience.core.relabelling.relabel import resume_relabel, undo_relabel
    from consilience.core.render.phrases import counted, one_line

    if resume + undo + (moves is not None) != 1 or (apply and moves is None):
        raise click.UsageError("Give a table of MOVES, with or without --apply; or --resume; or --undo.")
    if moves is not None:
        done, words = relabelled(moves, folder, apply=apply), "moved" if apply else "would be moved"
    elif undo:
        done, words = undo_relabel(folder), "moved back"
    else:
        done, words = resume_relabel(folder), "moved"
    for move in done:
        click.echo(f"{one_line(move.source, 4000)} -> {one_line(move.target, 4000)}")
    click.echo(f"{counted(len(done), 'file')} {words}", err=True)
    if moves is not None and done and not apply:
        click.echo("Nothing was touched: --apply moves them.", err=True)
    elif apply and done:
        click.echo("--undo brings them back. Fit again, so that the panel learns the new labels.", err=True)
