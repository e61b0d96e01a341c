"""A task's labels as a prompt lists them, and whole prompts with examples for what is known only at a diagnosis."""

from __future__ import annotations

from consilience.core.task import Task
from consilience.prompts.prompt import Prompt, load_prompt
from consilience.prompts.quoting import quoted


def label_lines(prompt: Prompt, task: Task) -> list[str]:
    """Return one line for each label of the task, from the prompt's texts `label` and `described-label`."""
    return [
        prompt.render(
            "described-label" if label.descriptions else "label",
            label=quoted(label.name),
            description=quoted(" ".join(label.descriptions)),
        )
        for label in task.labels
    ]


def examples(prompt: Prompt, task: Task) -> dict[str, str]:
    """Return each text of a prompt with the task's domain and labels in place, and `<variable>` for all else.

    >>> examples(load_prompt("second-look"), Task.from_labels(["rust", "scab"]))["case"]
    'Case <number>, labelled "rust", similarity <similarity>:'
    """
    first = task.labels[0]
    known = {"domain": task.domain, "label": first.name, "description": " ".join(first.descriptions)}
    values = {name: f"<{name}>" for name in prompt.variables}
    values |= {
        name: quoted(known[name]) if explanation.endswith("quoted") else known[name]
        for name, explanation in prompt.variables.items()
        if name in known
    }
    if "labels" in values:
        values["labels"] = "\n".join(label_lines(load_prompt("look", task), task))
    if "form" in values:
        values["form"] = prompt.texts.get("json", values["form"])
    return {text: prompt.render(text, **values) for text in prompt.texts}
