"""Every word that is sent to a model, as templates with a name and a version."""

from __future__ import annotations

from consilience.core.task import Task
from consilience.prompts.examples import examples, label_lines
from consilience.prompts.prompt import Prompt, check_prompts, load_prompt, prompt_names
from consilience.prompts.quoting import clean, quoted


def zero_shot_texts(task: Task) -> list[list[str]]:
    """Return for each label of the task the texts that describe an image of it to a text tower (CLIP's templates).

    >>> zero_shot_texts(Task.from_labels(["rust", "scab"], domain="apple leaf"))[0][:2]
    ['a photo of rust.', 'a photo of rust, apple leaf.']
    """
    prompt = load_prompt("zero-shot", task)
    return [
        [
            *(prompt.render(text, label=name, domain=task.domain) for text in prompt.texts for name in names),
            *label.descriptions,
        ]
        for label in task.labels
        for names in [[label.name.replace("-", " ").replace("_", " "), *label.synonyms]]
    ]


__all__ = [
    "Prompt",
    "check_prompts",
    "clean",
    "examples",
    "label_lines",
    "load_prompt",
    "prompt_names",
    "quoted",
    "zero_shot_texts",
]
