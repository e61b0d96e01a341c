"""Prompts: named texts with variables, in YAML files that a task can override."""

from __future__ import annotations

from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from string import Formatter
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from consilience.errors import SettingsError
from consilience.yaml_file import read_yaml_mapping


class Prompt(BaseModel):
    """The texts of one occasion to speak to a model.

    Attributes:
        name: of the prompt, which is that of its file.
        version: stands in every cache key; raise it with every change.
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
        for name, text in self.texts.items():
            for variable in _inserted(text, name):
                if variable not in self.variables:
                    known = ", ".join(self.variables)
                    raise ValueError(f"the text '{name}' inserts '{variable}', which is no variable ({known})")
        return self

    def render(self, text: str, **values: str) -> str:
        """The text called `text` with the values in place; braces in a value mean nothing.

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
    """The variables of a template. ValueError if it does more than insert them."""
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
    """The prompts that there are."""
    names = [one.name for one in files("consilience.prompts").iterdir()]
    return tuple(sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml")))


@cache
def _built_in(name: str) -> Prompt:
    with as_file(files("consilience.prompts") / f"{name}.yaml") as path:
        return Prompt.model_validate(read_yaml_mapping(path))


def load_prompt(name: str, overrides: Path | None = None) -> Prompt:
    """The prompt called `name`, with the texts that `overrides/NAME.yaml` replaces.

    Such a file holds `name`, a `version` of its own and, under `texts`, those that differ. It inserts the same
    variables.

    Raises:
        SettingsError: there is no such prompt or folder, the folder holds a file for no prompt, or the file is wrong.
    """
    if name not in prompt_names():
        raise SettingsError(f"there is no prompt '{name}'; there are: {', '.join(prompt_names())}")
    if overrides is None:
        return _built_in(name)
    if not overrides.is_dir():
        raise SettingsError(f"there is no folder '{overrides}' of prompts; check the path")
    for file in sorted(overrides.glob("*.yaml")):
        if file.stem not in prompt_names():
            raise SettingsError(f"'{file}' overrides no prompt; there are: {', '.join(prompt_names())}")
    file = overrides / f"{name}.yaml"
    return _overridden(_built_in(name), file) if file.exists() else _built_in(name)


def _overridden(prompt: Prompt, file: Path) -> Prompt:
    try:
        given: dict[str, Any] = read_yaml_mapping(file)
        if "variables" in given:
            raise ValueError("sets 'variables', which are fixed; give name, version and texts")
        texts = given.get("texts")
        if isinstance(texts, dict):
            if unknown := [one for one in texts if one not in prompt.texts]:
                raise ValueError(f"has a text '{unknown[0]}', which is none of {', '.join(prompt.texts)}")
            given["texts"] = prompt.texts | texts
        if given.get("name", prompt.name) != prompt.name:
            raise ValueError(f"is called '{given['name']}' inside; call it '{prompt.name}' as the file")
        return Prompt.model_validate(given | {"variables": prompt.variables})
    except ValidationError as cause:
        problems = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'texts'}: {one['msg']}" for one in cause.errors())
        raise SettingsError(f"the prompt '{file}' cannot be used: {problems}") from cause
    except ValueError as cause:
        raise SettingsError(f"the prompt '{file}' {cause}") from cause
