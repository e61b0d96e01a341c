"""The JSON Schema of a diagnosis, from its types: `python -m consilience.core.diagnosis_schema` prints it.

It describes `Diagnosis.to_dict()`, which `consilience diagnose --json`, predictions.jsonl, the history and the web API
write, too. A change of what is written that a reader would notice makes a new VERSION.
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy

from consilience.core.diagnosis_record import DiagnosisRecord
from consilience.core.evidence import Evidence
from consilience.core.prediction import Prediction

VERSION = 1

_DERIVED: dict[type, dict[str, Any]] = {
    DiagnosisRecord: {"probability": float, "headline": str},
    Prediction: {"label": str | None},
}
"""What `to_dict` writes in addition to the fields, for readers that have only the JSON."""

_NOT_WRITTEN = {"image", "embedding"}

_OPTIONAL: dict[type, set[str]] = {Evidence: {"testimony"}}
"""Fields that are written only where they hold something."""


def diagnosis_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of what `Diagnosis.to_dict()` returns."""
    definitions: dict[str, Any] = {}
    top = _object(DiagnosisRecord, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Diagnosis",
        "version": VERSION,
        **top,
        "$defs": dict(sorted(definitions.items())),
    }


def _object(kind: type, definitions: dict[str, Any]) -> dict[str, Any]:
    hints = get_type_hints(kind, localns={"np": numpy})  # that import is for type checkers only
    names = [f.name for f in fields(kind) if f.name not in _NOT_WRITTEN and not f.name.startswith("_")]
    described = {name: text for base in reversed(kind.__mro__) for name, text in _attributes(base).items()}
    properties = {
        name: _schema(hint, definitions) | ({"description": described[name]} if name in described else {})
        for name, hint in ({name: hints[name] for name in names} | _DERIVED.get(kind, {})).items()
    }
    return {
        "type": "object",
        "properties": properties,
        "required": sorted(properties.keys() - _OPTIONAL.get(kind, set())),
        "additionalProperties": False,
    }


def _schema(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return {"anyOf": [_schema(argument, definitions) for argument in arguments]}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is tuple:
        return {"type": "array", "items": _schema(arguments[0], definitions)}
    if origin is not None and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _schema(arguments[1], definitions)}
    if is_dataclass(hint) and isinstance(hint, type):
        if hint.__name__ not in definitions:
            definitions[hint.__name__] = {}  # a type that holds itself would go on for ever
            definitions[hint.__name__] = _object(hint, definitions)
        return {"$ref": f"#/$defs/{hint.__name__}"}
    return {"type": {str: "string", float: "number", int: "integer", bool: "boolean", types.NoneType: "null"}[hint]}


def _attributes(kind: type) -> dict[str, str]:
    """Return the description of each attribute in the docstring of `kind`."""
    _, _, listed = (kind.__doc__ or "").partition("Attributes:\n")
    listed = re.split(r"\n\s*\n", listed)[0]
    texts: dict[str, str] = {}
    for names, text in re.findall(r"^ {8}([a-z_, ]+): (.+(?:\n {12}.+)*)", listed, re.MULTILINE):
        texts |= dict.fromkeys(names.split(", "), re.sub(r"\s+", " ", text))
    return texts


if __name__ == "__main__":
    print(json.dumps(diagnosis_schema(), indent=2))
