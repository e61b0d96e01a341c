"""`consilience replies`: the models' answers that are kept, so that none is paid for twice."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from consilience.frontends.cli.options import collected, json_option, settings_options

if TYPE_CHECKING:
    from consilience.agents import ReplyCache
    from consilience.core.settings.settings import RepliesSettings


@click.command()
@click.option("--clear", is_flag=True, help="Delete all answers; asks first.")
@click.option("--yes", is_flag=True, help="With --clear: do not ask first.")
@json_option
@settings_options
def replies(clear: bool, yes: bool, as_json: bool, settings_file: Path | None, assignments: tuple[str, ...]) -> None:
    """Show or delete the saved answers of models.

    A command that asks a model the same question again uses the saved answer and pays nothing. The setting replies.path
    names the file.
    """
    from consilience.core.render.phrases import counted, one_line
    from consilience.frontends.cli.terminal import console, print_json

    if yes and not clear:
        raise click.UsageError("--yes works only together with --clear")
    settings = collected(settings_file, assignments).replies
    held = _facts(settings)
    out, answers = console(), counted(held["answers"], "answer")
    if clear:
        if held["answers"] and not yes:
            click.confirm(f"Delete {answers} in '{one_line(held['path'])}'?", abort=True, err=True)
        if (cache := _opened(settings)) is not None:
            cache.clear()
        held["cleared"] = held["answers"]
    if as_json:
        print_json(out, json.dumps(held, ensure_ascii=False))
    elif clear:
        out.print(f"{answers} deleted", soft_wrap=True)
    else:
        if held["models"]:
            out.print(_table(held["models"]), "", sep="\n")
        size = f"{held['bytes'] / 2**20:.1f} MB of {settings.max_megabytes} MB at most"
        out.print(f"'{one_line(held['path'])}': {answers}, {size}", soft_wrap=True)


def _opened(settings: RepliesSettings) -> ReplyCache | None:
    """Return the cache if its file exists: to look creates none."""
    from consilience.agents import ReplyCache, replies_path

    path = replies_path(settings)
    return ReplyCache(path, settings.max_megabytes * 2**20) if path.exists() else None


def _facts(settings: RepliesSettings) -> dict[str, Any]:
    from consilience.agents import replies_path

    cache = _opened(settings)
    entries = cache.entries() if cache is not None else []
    answers = Counter((entry.model, entry.prompt, entry.stage) for entry in entries)
    return {
        "path": str(replies_path(settings)),
        "answers": len(entries),
        "bytes": cache.size_bytes if cache is not None else 0,
        "max_bytes": settings.max_megabytes * 2**20,
        "models": [
            {"model": model, "prompt": prompt, "stage": stage, "answers": number}
            for (model, prompt, stage), number in sorted(answers.items())
        ],
    }


def _table(models: list[dict[str, Any]]) -> Any:
    from consilience.core.render.phrases import one_line
    from consilience.frontends.cli.terminal import table

    shown = table("Model", "Prompts", "Look", "Answers")
    shown.columns[-1].justify = "right"
    for group in models:
        shown.add_row(one_line(group["model"]), one_line(group["prompt"]), group["stage"], f"{group['answers']:,}")
    return shown
