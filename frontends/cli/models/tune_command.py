"""`consilience tune`: a vision-language model learns the labels of a folder, as a small adapter."""

from __future__ import annotations

from pathlib import Path

import click

from consilience.frontends.cli.options import PATH, collected, settings_options
from consilience.frontends.cli.outcome import Failure, complain_of


@click.command()
@click.argument("folder", type=PATH, metavar="FOLDER")
@click.option(
    "--model", required=True, metavar="MODEL", help="A model of the Hugging Face hub, or a folder with a checkpoint."
)
@click.option(
    "--out", required=True, type=PATH, metavar="DIR", help="Folder for the adapter; a run that is there continues."
)
@click.option("--task", "task_file", type=PATH, metavar="FILE", help="A YAML file that describes the labels.")
@click.option(
    "--confidence",
    type=click.Choice(["logprob", "verbalised"]),
    default="logprob",
    show_default=True,
    help="How its confidence will be read: logprob teaches to answer with the label alone, verbalised in JSON.",
)
@click.option(
    "--held-out",
    default=0.2,
    show_default=True,
    type=click.FloatRange(0.01, 0.9),
    help="Share of each label that is held out to measure it.",
)
@click.option("--rank", default=16, show_default=True, type=click.IntRange(1, 256), help="Rank of the adapter.")
@click.option(
    "--rate", default=2e-4, show_default=True, type=click.FloatRange(0, 1, min_open=True), help="Learning rate."
)
@click.option("--epochs", default=20, show_default=True, type=click.IntRange(1), help="Most epochs.")
@click.option(
    "--patience", default=3, show_default=True, type=click.IntRange(1), help="Epochs without a gain before it stops."
)
@click.option("--batch-size", default=4, show_default=True, type=click.IntRange(1), help="Images in a step.")
@click.option(
    "--image-side",
    default=768,
    show_default=True,
    type=click.IntRange(28, 8192),
    help="Longer side of the images, in pixels.",
)
@click.option("--device", default="auto", show_default=True, help="Where it runs: auto, cpu, cuda, mps, ...")
@click.option(
    "--dtype",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    help="Number format of the weights.",
)
@settings_options
def tune(
    folder: Path,
    model: str,
    out: Path,
    task_file: Path | None,
    confidence: str,
    held_out: float,
    rank: int,
    rate: float,
    epochs: int,
    patience: int,
    batch_size: int,
    image_side: int,
    device: str,
    dtype: str,
    settings_file: Path | None,
    assignments: tuple[str, ...],
) -> None:
    """Fine-tune a vision-language model with LoRA.

    It learns to answer our prompt with the labels of FOLDER. If it is interrupted, run the same command again: it
    continues where it stopped. DIR then holds the adapter of the best epoch, loss.png and loss.jsonl. The settings of
    an agent that uses it are printed: put them into your settings file, and fit a panel on images that it was not tuned
    on.
    """
    from consilience.agents.finetune.lora_tuner import Tuner, Tuning
    from consilience.agents.finetune.loss_curve import loss_curve
    from consilience.agents.finetune.training_set import training_set_of
    from consilience.agents.vlm.image_text_model import ImageTextModel
    from consilience.core.errors import import_extra
    from consilience.core.task import Task
    from consilience.frontends.cli.terminal import console, print_settings, progress_on

    import_extra("peft", "tune")
    settings = collected(settings_file, assignments)
    task = Task.from_file(task_file) if task_file is not None else None
    if out.exists() and not out.is_dir():
        raise Failure(f"'{out}' is a file; give a folder with --out")
    with progress_on(console(stderr=True)) as progress:
        training_set = training_set_of(
            folder, task, side=image_side, label_only=confidence == "logprob", share=held_out, seed=settings.seed,
            limits=settings.images, progress=progress,
        )  # fmt: skip
        complain_of(training_set.failed)
        tuning = Tuning(rank, rate, epochs, batch_size, patience, settings.seed)
        tuner = Tuner(ImageTextModel(model, device, dtype), model, out, tuning)
        course = tuner.tune(training_set.training, training_set.held_out, progress)
    (out / "loss.png").write_bytes(loss_curve(course.curve, f"{out.name}, {len(training_set.training)} images"))
    judged = [line["held_out"] for line in course.curve if "held_out" in line]
    console(stderr=True).print(
        f"{course.epoch} epochs, {course.step} steps; loss on {len(training_set.held_out)} held-out images "
        f"{judged[0]:.3f} before, {course.best:.3f} at best"
    )
    agent = {
        "kind": "transformers",
        "name": out.absolute().name,
        "model": model,
        "adapter": str(out.absolute()),
        "confidence": confidence,
        "image_side": image_side,
    }
    print_settings(console(), {"models": [agent]})
