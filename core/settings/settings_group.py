"""The base of every group of settings: frozen, and strict about what a person writes; lists of names."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError


def split_names(value: object) -> object:
    """Return the names in a text, which has commas between them, in brackets or not; anything else as it is."""
    if not isinstance(value, str):
        return value
    names = value.strip().removeprefix("[").removesuffix("]")  # as YAML has it
    return [name.strip() for name in names.split(",") if name.strip()]


def _once(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


Names = Annotated[tuple[str, ...], BeforeValidator(split_names), AfterValidator(_once)]
"""Names in order, each once, given as a list or as one text with commas between them, in brackets or not."""


class SettingsGroup(BaseModel):
    """Settings that belong together. An unknown one is refused, and true does not pass for 1.

    `repr=False` on a setting says that its value may hold a secret, so that no message shows it.
    """

    # The input of a wrong setting may be an address with a password.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: object, info: ValidationInfo) -> object:
        if isinstance(value, bool) and cls.model_fields[info.field_name or ""].annotation is not bool:
            raise PydanticCustomError("truth_value", "must not be true or false")
        return value
