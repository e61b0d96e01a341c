"""What is wrong with a setting, in words: where it was set, what is allowed there, and nothing that may be a secret."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


class SettingSource(NamedTuple):
    """A value and where it was set."""

    value: Any
    origin: str


def nearest(name: str, names: Iterable[str]) -> str:
    """' (the nearest is ...)', of the names that there are."""
    by_letters = {name.lower(): name for name in names}
    close = difflib.get_close_matches(name.lower(), by_letters, n=1, cutoff=0)
    return f" (the nearest is {by_letters[close[0]]})"


def group_in(annotation: Any) -> type[BaseModel] | None:
    """The group of settings in an annotation: itself, optional, or as the entries of a list; None if there is none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((inner for argument in get_args(annotation) if (inner := group_in(argument)) is not None), None)


def problem(error: ErrorDetails, settings: type[BaseModel], sources: Mapping[str, SettingSource]) -> str:
    """What is wrong with the setting to which pydantic points; deeper than a setting, it points into its value."""
    location = error["loc"]
    key = _key(location, sources)
    value, origin = sources[key]
    group, field, place = settings, None, []
    for part in location:
        place.append(str(part))
        if isinstance(part, str):
            field = group.model_fields.get(part)
            inner = group_in(field.annotation) if field is not None else None
            if inner is None:
                break
            group = inner
    path = ".".join(place)
    if error["type"] in ("extra_forbidden", "invalid_key") or field is None:
        return f"{origin} sets '{path}', which is no setting{nearest(str(location[-1]), group.model_fields)}"
    if error["type"] == "missing":
        above = ".".join(map(str, location[:-1]))
        return f"{origin} sets '{above}' without its '{location[-1]}': {field.description}"
    if error["type"] == "value_error":  # in words of our own, which quote no value
        return f"{origin} sets '{path}': {error['ctx']['error']}"
    if path != key:
        value = error["input"]
    shown = f" to {_written(value)}" if field.repr and not isinstance(value, Mapping) else ""
    return f"{origin} sets '{path}'{shown}; it must be {_allowed(field, is_entry=place[-1].isdigit())}"


def _key(location: tuple[int | str, ...], sources: Mapping[str, SettingSource]) -> str:
    """The setting in which a location lies; for one that is missing, another of its group."""
    parts = [*map(str, location)]
    inside = [key for key in sources if key.split(".") == parts[: key.count(".") + 1]]
    return (inside or [key for key in sources if key.startswith(f"{parts[0]}.")])[0]


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _allowed(field: FieldInfo, is_entry: bool) -> str:
    """The type and range of a setting in words."""
    if is_entry:
        return "a mapping"
    schema = TypeAdapter(field.rebuild_annotation()).json_schema()
    return " or ".join(_described(option) for option in schema.get("anyOf", [schema]))


def _described(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return "one of " + ", ".join(schema["enum"])
    kinds = {"integer": "a whole number", "number": "a finite number", "string": "a text", "boolean": "true or false"}
    kinds |= {"array": "a list of names", "object": "a mapping", "null": "nothing"}
    if "$ref" in schema.get("items", {}):
        return "a list of mappings, in a settings file or as an argument in Python"
    bounds = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most"}
    parts = [f"{words} {schema[bound]}" for bound, words in bounds.items() if bound in schema]
    if "minLength" in schema:
        parts.append("not empty")
    if "maxLength" in schema:
        parts.append(f"of at most {schema['maxLength']} characters")
    return ", ".join([kinds[schema["type"]], *([" and ".join(parts)] if parts else [])])
