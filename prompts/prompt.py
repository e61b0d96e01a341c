"""Prompts: named texts with variables, in YAML files that a task can override."""

from __future__ import annotations

from functools import cache
from importlib.resources import as_file, files
from string import Formatter

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from consilience.core.errors import SettingsError
from consilience.core.storage.yaml_file import read_yaml_mapping
from consilience.core.task import Task


class Prompt(BaseModel):
    """The texts that a model gets on one occasion, such as a first look or a caption.

    Attributes:
        name: the prompt's name, which is that of its file.
        version: part of every cache key; raise it with every change.
        variables: what the texts may insert, each with an explanation.
        texts: templates by name. `{variable}` inserts one; `{{` and `}}` are braces.

    Raises:
        ValueError: a text names a variable that is not among `variables`, or is no template.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    version: int | str
    variables: dict[str, str]
    texts: dict[str, str] = Field(min_length=1)

    @model_validator(mode="after")
    def _texts_insert_what_there_is(self) -> Prompt:
        """Raise ValueError where a text inserts what is no variable."""
        for name, text in self.texts.items():
            for variable in _inserted(text, name):
                if variable not in self.variables:
                    known = ", ".join(self.variables)
                    raise ValueError(f"the text '{name}' inserts '{variable}', which is no variable ({known})")
        return self

    def render(self, text: str, **values: str) -> str:
        """Return the text called `text` with the values in place; braces in a value are left as they are.

        Raises:
            SettingsError: there is no such text, a variable that it inserts has no value, or a value is for no variable
                of this prompt. A variable that the text does not insert may be given.
        """
        if text not in self.texts:
            raise SettingsError(f"the prompt '{self.name}' has no text '{text}'; it has {', '.join(self.texts)}")
        if unknown := [name for name in values if name not in self.variables]:
            raise SettingsError(f"the prompt '{self.name}' has no variable '{unknown[0]}'")
        template = self.texts[text]
        if missing := [name for name in _inserted(template, text) if name not in values]:
            raise SettingsError(f"the text '{text}' of the prompt '{self.name}' lacks its variable '{missing[0]}'")
        return template.format(**values)


def _inserted(template: str, name: str) -> list[str]:
    """Return the variables of a template, in order. Raises ValueError if it does more than insert them."""
    try:
        parts = list(Formatter().parse(template))
    except ValueError as cause:
        raise ValueError(f"the text '{name}' is no template ({cause}); write braces as {{{{ and }}}}") from cause
    variables = []
    for _, variable, form, conversion in parts:
        if variable is None:
            continue
        if form or conversion or not variable.isidentifier():
            raise ValueError(f"the text '{name}' may insert variables as {{name}}, not as {{{variable}...}}")
        variables.append(variable)
    return variables


@cache
def prompt_names() -> tuple[str, ...]:
    """Return the names of all built-in prompts, sorted."""
    names = [file.name for file in files("consilience.prompts").iterdir()]
    return tuple(sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml")))


@cache
def _built_in(name: str) -> Prompt:
    """Read the built-in prompt called `name`."""
    with as_file(files("consilience.prompts") / f"{name}.yaml") as path:
        return Prompt.model_validate(read_yaml_mapping(path))


def load_prompt(name: str, task: Task | None = None) -> Prompt:
    """Return the prompt called `name`; texts that the task replaces are the task's, and insert the same variables.

    Raises:
        SettingsError: there is no such prompt, or the task's texts for it cannot be used.
    """
    if name not in prompt_names():
        raise SettingsError(f"there is no prompt '{name}'; there are: {', '.join(prompt_names())}")
    prompt = _built_in(name)
    if task is None or name not in task.prompts:
        return prompt
    own = task.prompts[name]
    if unknown := [name for name in own.texts if name not in prompt.texts]:
        raise SettingsError(
            f"the task's prompt '{name}' has a text '{unknown[0]}', which is none of {', '.join(prompt.texts)}"
        )
    if own.version == prompt.version:
        raise SettingsError(f"the task's prompt '{name}' needs a version of its own: {own.version} is the built-in one")
    try:
        return Prompt(name=name, version=own.version, variables=prompt.variables, texts=prompt.texts | own.texts)
    except ValidationError as cause:
        problems = "; ".join(problem["msg"] for problem in cause.errors())
        raise SettingsError(f"the task's prompt '{name}' cannot be used: {problems}") from cause


def check_prompts(task: Task) -> None:
    """Raise SettingsError where the task has texts for a prompt that does not exist, or texts that cannot be used."""
    for name in task.prompts:
        load_prompt(name, task)
