"""Messages about wrong settings: where one was set and what is allowed there, but no value that may be secret."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


class SettingSource(NamedTuple):
    """The value of a setting, and where it was set.

    Attributes:
        value: as it was written.
        origin: "the variable CONSILIENCE_SEED", "the argument 'seed'".
    """

    value: Any
    origin: str


def nearest(name: str, names: Iterable[str]) -> str:
    """Return " (the nearest is ...)" with the most similar of `names`, which must not be empty."""
    by_letters = {name.lower(): name for name in names}
    close = difflib.get_close_matches(name.lower(), by_letters, n=1, cutoff=0)
    return f" (the nearest is {by_letters[close[0]]})"


def groups_in(annotation: Any) -> tuple[type[BaseModel], ...]:
    """Return the groups of settings in an annotation: itself, optional, or the kinds of a list's entries."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return (annotation,)
    return tuple(group for inner in get_args(annotation) for group in groups_in(inner))


def _by_kind(groups: Iterable[type[BaseModel]]) -> dict[str, type[BaseModel]]:
    """Return, by kind, the groups between which an entry of a list chooses by its `kind`."""
    return {group.model_fields["kind"].default: group for group in groups if "kind" in group.model_fields}


def problem(error: ErrorDetails, settings: type[BaseModel], sources: Mapping[str, SettingSource]) -> str:
    """Return the message for one of pydantic's errors.

    Args:
        error: its location may lie deeper than a setting: in the setting's value.
        settings: the type that was validated.
        sources: what was set, by path, such as 'policy.target'.
    """
    location = error["loc"]
    key = _key(location, sources)
    value, origin = sources[key]
    group, field, place = settings, None, list[str]()
    kinds: dict[str, type[BaseModel]] = {}
    for part in location:
        if part in kinds:  # where pydantic says which kind of entry it took
            group, kinds = kinds[str(part)], {}
            continue
        place.append(str(part))
        if isinstance(part, str):
            field = group.model_fields.get(part)
            inner = groups_in(field.annotation) if field is not None else ()
            if not inner:
                break
            group, kinds = inner[0], _by_kind(inner)
    path, there = ".".join(place), ", ".join(kinds)
    if error["type"] == "union_tag_not_found" and isinstance(error["input"], Mapping):
        return f"{origin} sets '{path}' without its 'kind': one of {there}"
    if error["type"] == "union_tag_invalid":
        return f"{origin} sets '{path}.kind' to {_written(error['input']['kind'])}; it must be one of {there}"
    if error["type"] in ("extra_forbidden", "invalid_key") or field is None:
        return f"{origin} sets '{path}', which is no setting{nearest(str(location[-1]), group.model_fields)}"
    if error["type"] == "missing":
        return f"{origin} sets '{'.'.join(place[:-1])}' without its '{location[-1]}': {field.description}"
    if error["type"] == "value_error":  # in words of our own, which quote no value
        return f"{origin} sets '{path}': {error['ctx']['error']}"
    if path != key:
        value = error["input"]
    shown = f" to {_written(value)}" if field.repr and not isinstance(value, Mapping) else ""
    return f"{origin} sets '{path}'{shown}; it must be {_allowed(field, is_entry=place[-1].isdigit())}"


def _key(location: tuple[int | str, ...], sources: Mapping[str, SettingSource]) -> str:
    """Return the path of the setting in which a location lies; for one that is missing, another of its group."""
    parts = [*map(str, location)]
    inside = [key for key in sources if key.split(".") == parts[: key.count(".") + 1]]
    return (inside or [key for key in sources if key.startswith(f"{parts[0]}.")])[0]


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _allowed(field: FieldInfo, is_entry: bool) -> str:
    """Return the type and range of a setting in words."""
    if is_entry:
        return "a mapping"
    schema = TypeAdapter(field.rebuild_annotation()).json_schema()
    return " or ".join(dict.fromkeys(_described(option) for option in schema.get("anyOf", [schema])))


def _described(schema: Mapping[str, Any]) -> str:
    if "const" in schema:
        return str(schema["const"])
    if "enum" in schema:
        return "one of " + ", ".join(schema["enum"])
    kinds = {"integer": "a whole number", "number": "a finite number", "string": "a text", "boolean": "true or false"}
    kinds |= {"array": "a list of names", "object": "a mapping", "null": "nothing"}
    if "oneOf" in schema.get("items", {}):
        return "a list of mappings, in a settings file or as an argument in Python"
    bounds = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most"}
    parts = [f"{words} {schema[bound]}" for bound, words in bounds.items() if bound in schema]
    if "minLength" in schema:
        parts.append("not empty")
    if "maxLength" in schema:
        parts.append(f"of at most {schema['maxLength']} characters")
    return ", ".join([kinds[schema["type"]], *([" and ".join(parts)] if parts else [])])
