"""`consilience prompts`: every word that is sent to a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from consilience.frontends.cli.options import PATH, json_option

if TYPE_CHECKING:
    from rich.console import Console

    from consilience.core.task import Task


@click.command()
@click.argument("name", required=False)
@click.option("--task", "task_file", type=PATH, metavar="FILE", help="A YAML file that describes the labels.")
@click.option("--panel", type=PATH, metavar="DIR", help="A panel, whose task may have words of its own.")
@json_option
def prompts(name: str | None, task_file: Path | None, panel: Path | None, as_json: bool) -> None:
    """Show the prompts that are sent to models.

    NAME shows one as a model reads it, with the task's own words where it has some. What is known only during a
    diagnosis is shown as <variable>.
    """
    from consilience.frontends.cli.terminal import console, print_json
    from consilience.prompts import check_prompts, prompt_names

    if task_file is not None and panel is not None:
        raise click.UsageError("Give --task or --panel, not both.")
    task = _task(task_file, panel)
    check_prompts(task)
    held = [_facts(prompt_name, task) for prompt_name in ([name] if name is not None else prompt_names())]
    out = console()
    if as_json:
        print_json(out, json.dumps(held[0] if name is not None else held, ensure_ascii=False))
    elif name is not None:
        _show(out, held[0])
    else:
        _list(out, held)


def _task(file: Path | None, panel: Path | None) -> Task:
    from consilience.core.task import Task
    from consilience.orchestrator.panel.panel import Panel

    if file is not None:
        return Task.from_file(file)
    if panel is not None:
        return Panel.open(panel).task
    return Task.from_labels(["one label", "another label"], domain="your domain")


def _facts(name: str, task: Task) -> dict[str, Any]:
    from consilience.prompts import examples, load_prompt

    prompt, own = load_prompt(name, task), task.prompts.get(name)
    return {
        "name": name,
        "version": prompt.version,
        "variables": prompt.variables,
        "texts": {
            text: {
                "template": prompt.texts[text],
                "rendered": rendered,
                "of_the_task": own is not None and text in own.texts,
            }
            for text, rendered in examples(prompt, task).items()
        },
    }


def _show(out: Console, prompt: dict[str, Any]) -> None:
    from rich.text import Text

    for text, entry in prompt["texts"].items():
        origin = ", of the task" if entry["of_the_task"] else ""
        out.print(Text(f"{prompt['name']} {prompt['version']}: {text}{origin}", style="bold"), soft_wrap=True)
        out.print(*map(_harmless, entry["rendered"].split("\n")), "", sep="\n", soft_wrap=True)
    for name, words in prompt["variables"].items():
        out.print(f"<{name}>: {words}", soft_wrap=True)


def _harmless(line: str) -> str:
    """Return a line with its leading blanks, without anything that a terminal would obey."""
    from consilience.core.render.phrases import one_line

    return " " * (len(line) - len(line.lstrip(" "))) + one_line(line, 2000)


def _list(out: Console, held: list[dict[str, Any]]) -> None:
    from consilience.frontends.cli.terminal import table

    shown = table("Prompt", "Version", "Texts", "Variables")
    for prompt in held:
        texts = [f"{text}*" if entry["of_the_task"] else text for text, entry in prompt["texts"].items()]
        shown.add_row(prompt["name"], str(prompt["version"]), ", ".join(texts), ", ".join(prompt["variables"]))
    out.print(shown)
    if any(entry["of_the_task"] for prompt in held for entry in prompt["texts"].values()):
        out.print("* written by the task")
