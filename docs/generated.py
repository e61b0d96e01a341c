"""The reference, made from the product at each build: a page writes ```` ```{generated} commands ```` where it stands.

Each function in SECTIONS returns Markdown. So no command, setting or name can be missing or out of date.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from docutils import nodes
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import consilience
from consilience.core.diagnosis_schema import diagnosis_schema
from consilience.core.settings.settings import FIELDS, PREFIX, Settings
from consilience.core.settings.settings_group import SettingsGroup
from consilience.frontends.cli.main import main

EXTENSION_POINTS = {
    "Agents": ("consilience.agents.base", ["Agent", "AgentInput", "FeatureAgent", "LabelledFeatures", "Captioner"]),
    "Calibrators": ("consilience.orchestrator.ensemble.scaling", ["Calibrator", "FittedCalibrator"]),
    "Encoders": ("consilience.retrieval.encoders.encoder", ["Encoder"]),
    "The graph": ("consilience.orchestrator.graph", ["build_graph", "Run"]),
    "A panel that changes while it is served": ("consilience.orchestrator.reloading", ["ReloadingDiagnoser"]),
    "Diagnoses that are kept": ("consilience.orchestrator.feedback.history", ["History"]),
}
"""What a program reads beside the public names of `consilience`, by heading: module and names."""

FORMATS = {
    "The folder of a panel": "consilience.core.storage.panel_folder",
    "What is in a panel": "consilience.orchestrator.panel.panel",
    "Labelled images to evaluate on": "consilience.evals.source",
    "Rows of an evaluation": "consilience.evals.rows",
    "Figures of an evaluation": "consilience.evals.figures",
    "Vectors instead of images": "consilience.retrieval.encoders.precomputed.EXPECTED",
    "Tables of answers": "consilience.core.sources.answer_cells",
    "Recorded answers of agents": "consilience.evals.paper.recordings",
}
"""Docstrings of modules, and texts, that describe what is read or written."""


class Generated(SphinxDirective):
    """Stands for the Markdown that a function of SECTIONS returns."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()  # the product may have changed where the page has not
        return self.parse_text_to_nodes(SECTIONS[self.arguments[0]](), allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive with Sphinx."""
    app.add_directive("generated", Generated)
    app.connect("doctree-read", _name_files)
    return {"version": "1", "parallel_read_safe": True}


def _name_files(app: Sphinx, page: nodes.document) -> None:
    """Leave the names of files beside README, such as LICENSE, as they are: they are no pages to link to."""
    for link in list(page.findall(pending_xref)):
        if (Path(app.srcdir).parent / str(link["reftarget"])).is_file():
            link.replace_self(link.children)


def commands() -> str:
    """Return every command with its usage, help, arguments and options, as click knows them, by section."""
    parts = []
    for heading, members in main.sections.items():
        parts.append(f"## {heading}")
        for member in members:
            parts += [_command(command, path) for path, command in walk(member, ("consilience", str(member.name)))]
    return "\n\n".join(parts)


def walk(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield a command and those below it, each with the words that call it."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from walk(command.commands[name], (*path, name))


def _command(command: click.Command, path: tuple[str, ...]) -> str:
    name = " ".join(path)
    context = click.Context(command, info_name=name)
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    text = inspect.cleandoc(command.help or "").replace("\b\n", "").replace("\f", "")
    options = [
        f"`{names}`\n: {_escaped(meaning)}"
        for parameter in command.get_params(context)
        if (record := parameter.get_help_record(context)) is not None
        for names, meaning in [record]
        if meaning
    ]
    return "\n\n".join([f"### {name}", f"```text\n{usage}\n```", _escaped(text), *options])


def _escaped(text: str) -> str:
    """Return plain text as Markdown that reads the same; what stands in backticks is code already."""
    plain, *rest = text.split("`", 1)
    plain = re.sub(
        r"(?<!\S)(--[a-z][a-z-]*)", r"`\1`", plain.replace("<", "&lt;").replace("*", "\\*").replace("[", "\\[")
    )
    if not rest:
        return plain
    code, _, behind = rest[0].partition("`")
    return f"{plain}`{code}`{_escaped(behind)}"


def settings() -> str:
    """Return every setting with type, default and meaning, as pydantic knows them."""
    single = {name: field for name, field in FIELDS.items() if not _groups(field.annotation)}
    parts = ["## By path", _settings_table(single, with_variable=True)]
    for name, field in Settings.model_fields.items():
        models = [group for group in _groups(field.annotation) if name in FIELDS]
        for group in models:
            kind = group.model_fields.get("kind")
            beside = f", kind `{kind.default}`" if kind else ""
            parts += [f"## Entries of `{name}`{beside}", field.description or "", _settings_table(group.model_fields)]
    return "\n\n".join(parts)


def _settings_table(fields: Mapping[str, FieldInfo], with_variable: bool = False) -> str:
    rows = []
    for name, field in fields.items():
        variable = f"; variable `{PREFIX}{name.replace('.', '__').upper()}`" if with_variable else ""
        reply = _sentence(field.description or "")
        rows.append(f"`{name}`\n: {reply}\n\n  {_sentence(f'{_type(field)}, {_default(field)}{variable}')}")
    return "\n\n".join(rows)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].removesuffix('.')}."


def _type(field: FieldInfo) -> str:
    bounds = [
        f"{sign} {getattr(limit, name)}"
        for limit in field.metadata
        for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))
        if getattr(limit, name, None) is not None
    ]
    return ", ".join([_type_name(field.annotation), *bounds])


def _type_name(annotation: Any) -> str:
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is typing.Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if typing.get_origin(annotation) is typing.Annotated:
        return _type_name(arguments[0])
    if typing.get_origin(annotation) is tuple:
        return f"list of {_type_name(arguments[0])}"
    if typing.get_origin(annotation) is dict:
        return "mapping"
    if arguments:
        return " or ".join(_type_name(argument) for argument in arguments if argument is not type(None))
    names = {str: "text", int: "whole number", float: "number", bool: "`true` or `false`"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)).lower())


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    if value is None or value == () or value == {}:
        return "none by default"
    return f"default `{str(value).lower() if isinstance(value, bool) else value}`"


def _groups(annotation: Any) -> list[type[SettingsGroup]]:
    """Return the groups of settings that an annotation speaks of, however deep."""
    if isinstance(annotation, type) and issubclass(annotation, SettingsGroup):
        return [annotation]
    return [group for argument in typing.get_args(annotation) for group in _groups(argument)]


def public() -> str:
    """Return every public name of `consilience`, from its docstring."""
    return "\n\n".join(_documented(f"consilience.{name}", getattr(consilience, name)) for name in consilience.__all__)


def extensions() -> str:
    """Return what programs extend or call beside the public names."""
    parts = []
    for heading, (module_name, names) in EXTENSION_POINTS.items():
        module = importlib.import_module(module_name)
        parts += [f"## {heading}", f"From `{module_name}`:"]
        parts += [_documented(f"{module_name}.{name}", getattr(module, name)) for name in names]
    return "\n\n".join(parts)


def _documented(path: str, function: Callable[..., object]) -> str:
    directive = "autoclass" if inspect.isclass(function) else "autofunction"
    members = (
        "\n   :members:\n   :inherited-members: BaseModel, BaseException, Exception" if directive == "autoclass" else ""
    )
    return f"```{{eval-rst}}\n.. {directive}:: {path}{members}\n```"


def formats() -> str:
    """Return what the modules that read and write files say of them."""
    return "\n\n".join(f"## {heading}\n\n```text\n{_text(path)}\n```" for heading, path in FORMATS.items())


def _text(path: str) -> str:
    """Return a module's docstring, or the value of a constant."""
    module, _, name = path.rpartition(".")
    if name.isupper():
        return str(getattr(importlib.import_module(module), name))
    return inspect.cleandoc(importlib.import_module(path).__doc__ or "")


def errors() -> str:
    """Return the family of errors, as its module draws it."""
    return f"```text\n{_text('consilience.core.errors')}\n```"


def schema() -> str:
    """Return the fields of a diagnosis in JSON, from its schema."""
    whole = diagnosis_schema()
    parts = ["## Diagnosis", _schema_table(whole)]
    for name, definition in whole["$defs"].items():
        parts += [f"## {name}", _schema_table(definition)]
    return "\n\n".join(parts)


def _schema_table(definition: Mapping[str, Any]) -> str:
    return "\n\n".join(
        f"`{name}`\n: {_escaped(_sentence(field.get('description', '')))}\n\n  {_sentence(_json_type(field))}"
        for name, field in definition["properties"].items()
    )


def _json_type(field: Mapping[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(map(_json_type, field["anyOf"]))
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in field:
        return " or ".join(f"`{json.dumps(value)}`" for value in field["enum"])
    if field["type"] == "array":
        return f"list of {_json_type(field['items'])}"
    if isinstance(field.get("additionalProperties"), dict):
        return f"object of {_json_type(field['additionalProperties'])}"
    return str(field["type"])


SECTIONS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "settings": settings,
    "public": public,
    "extensions": extensions,
    "errors": errors,
    "formats": formats,
    "schema": schema,
}
"""What a page may ask for."""
