"""`consilience export`: a labelled folder as the file on which a provider tunes a model."""

from __future__ import annotations

from pathlib import Path

import click

from consilience.frontends.cli.options import PATH, collected, settings_options
from consilience.frontends.cli.outcome import Failure, complain_of, finish


@click.command()
@click.argument("folder", type=PATH, metavar="FOLDER")
@click.option("--format", "form", type=click.Choice(["openai-finetune"]), required=True, help="The provider's format.")
@click.option("--out", required=True, type=PATH, metavar="FILE", help="The JSONL file to write.")
@click.option(
    "--held-out",
    default=0.0,
    type=click.FloatRange(0, 0.9),
    help="Share of each label that is held out, for validation.",
)
@click.option(
    "--label-only", is_flag=True, help="Teach to answer with the label alone, for agents with confidence: logprob."
)
@click.option(
    "--image-side",
    default=768,
    show_default=True,
    type=click.IntRange(28, 8192),
    help="Longer side of the images, in pixels.",
)
@click.option("--task", "task_file", type=PATH, metavar="FILE", help="A YAML file that describes the labels.")
@settings_options
def export(
    folder: Path,
    form: str,
    out: Path,
    held_out: float,
    label_only: bool,
    image_side: int,
    task_file: Path | None,
    settings_file: Path | None,
    assignments: tuple[str, ...],
) -> None:
    """Write labelled images as a fine-tuning file.

    Each example is a conversation: our prompt, the image, the right answer. The file is checked against the provider's
    limits. With --held-out, the images that are held out go to a second file, FILE with .held-out before its ending:
    give it to the provider for validation.
    """
    from consilience.agents.finetune.finetune_file import check, write
    from consilience.agents.finetune.training_set import training_set_of
    from consilience.core.task import Task
    from consilience.frontends.cli.terminal import console, progress_on

    settings = collected(settings_file, assignments)
    task = Task.from_file(task_file) if task_file is not None else None
    if not out.parent.is_dir():
        raise Failure(f"there is no folder '{out.parent}'; create it first")
    with progress_on(console(stderr=True)) as progress:
        training_set = training_set_of(
            folder, task, side=image_side, label_only=label_only, share=held_out, seed=settings.seed,
            limits=settings.images, progress=progress,
        )  # fmt: skip
    complain_of(training_set.failed)
    written = {out: training_set.training}
    if training_set.held_out:
        written[out.with_suffix(f".held-out{out.suffix}")] = training_set.held_out
    for file, some in written.items():
        write(file, some)
        number = check(file, *(() if file == out else (1,)))
        console().print(f"{number:,} examples in '{file}', {file.stat().st_size / 1e6:,.1f} MB")
    finish(len(training_set.training), len(training_set.failed))
